//! How much a peer may stir on an HTTP/2 connection without asking for anything.
//!
//! Frames that carry no request and no body are cheap to send and not to answer: SETTINGS and PING
//! are acknowledged, RST_STREAM throws away work that has begun, PRIORITY, empty DATA and unknown
//! frames are looked at. An honest peer sends few of them for each request that it lets finish. So
//! each costs, finished streams and passing time pay back, and who is in debt is told to be calm
//! (ENHANCE_YOUR_CALM): rapid reset (CVE-2023-44487), floods of settings (CVE-2019-9515), pings
//! (CVE-2019-9512), empty frames (CVE-2019-9518), priorities (CVE-2019-9513) and window updates.
//!
//! The meter sees the bytes as they come, in whatever pieces, and keeps nothing but where it is in
//! the frame at hand.

/// Length of a frame's head (RFC 9113 §4.1).
const FRAME_HEAD: usize = 9;

/// What may be spent at once: 200 requests reset in a row, or a thousand pings.
pub const CREDIT_MAX: u32 = 1_000;

/// What a second pays back: 10 resets or 50 pings.
pub const CREDIT_PER_SECOND: u32 = 50;

/// What a stream pays back that ended with its reply.
pub const CREDIT_PER_STREAM: u32 = 8;

/// What each write of ours pays back, each DATA frame, and each [`CREDIT_BYTES`]: the peer
/// acknowledges them with window updates, one for the stream and one for the connection.
pub const CREDIT_PER_WRITE: u32 = 2;

/// See [`CREDIT_PER_WRITE`].
pub const CREDIT_BYTES: usize = 512;

/// Throws away work, or changes what all streams go by.
const DEAR: u32 = 5;

/// Is looked at and answered.
const CHEAP: u32 = 1;

/// The meter of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Calm {
    credit: u32,
    /// The second up to which time has paid back.
    paid_until: u64,
    head: [u8; FRAME_HEAD],
    /// Bytes of `head` that have come.
    have: u8,
    /// Bytes of the payload that are still to come.
    payload: u32,
    resets: u64,
}

impl Calm {
    /// A fresh meter; the client's preface must have been taken off the bytes. `second`: now, on any
    /// clock that only goes forward.
    pub const fn new(second: u64) -> Self {
        Self {
            credit: CREDIT_MAX,
            paid_until: second,
            head: [0; FRAME_HEAD],
            have: 0,
            payload: 0,
            resets: 0,
        }
    }

    /// Looks at the next bytes from the peer. False: it has stirred too much, now or before.
    pub fn observe(&mut self, mut bytes: &[u8], second: u64) -> bool {
        self.pay_for_time(second);
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = bytes.len().min(self.payload as usize);
                self.payload -= skipped as u32;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let have = usize::from(self.have);
            let taken = bytes.len().min(FRAME_HEAD - have);
            if let (Some(to), Some(from)) =
                (self.head.get_mut(have..have + taken), bytes.get(..taken))
            {
                to.copy_from_slice(from);
            }
            bytes = bytes.get(taken..).unwrap_or_default();
            self.have += taken as u8;
            if usize::from(self.have) == FRAME_HEAD {
                self.have = 0;
                self.frame();
            }
        }
        self.credit > 0
    }

    /// A head has become a request.
    pub fn stream_opened(&mut self) {
        self.pay(CHEAP);
    }

    /// A stream has ended with its reply.
    pub fn stream_ended(&mut self) {
        self.pay(CREDIT_PER_STREAM);
    }

    /// So many bytes were sent, which the peer may acknowledge.
    pub fn sent(&mut self, bytes: usize) {
        let more = u32::try_from(bytes / CREDIT_BYTES).unwrap_or(CREDIT_MAX).min(CREDIT_MAX);
        self.pay(CREDIT_PER_WRITE * (1 + more));
    }

    /// A DATA frame is on its way. Many leave in one write, and the peer may acknowledge each.
    pub fn framed(&mut self) {
        self.pay(CREDIT_PER_WRITE);
    }

    /// Streams that the peer has reset so far.
    pub const fn resets(&self) -> u64 {
        self.resets
    }

    fn frame(&mut self) {
        let [l0, l1, l2, kind, flags, ..] = self.head;
        self.payload = u32::from_be_bytes([0, l0, l1, l2]);
        let ends_stream = flags & 0x1 != 0;
        let cost = match kind {
            // DATA: an empty one that does not even end the stream.
            0x0 if self.payload == 0 && !ends_stream => CHEAP,
            // DATA is bounded by windows.
            0x0 => 0,
            // RST_STREAM.
            0x3 => {
                self.resets += 1;
                DEAR
            }
            // SETTINGS that is no acknowledgement.
            0x4 if !ends_stream => DEAR,
            // PRIORITY, PING, WINDOW_UPDATE, CONTINUATION, GOAWAY, and what nobody knows. HEADERS pays
            // back once it has become a request: a head that is refused before would be free.
            _ => CHEAP,
        };
        // Once in debt, always in debt: the connection ends.
        if self.credit > 0 {
            self.credit = self.credit.saturating_sub(cost);
        }
    }

    fn pay_for_time(&mut self, second: u64) {
        let passed = second.saturating_sub(self.paid_until);
        if passed > 0 {
            self.paid_until = second;
            self.pay(CREDIT_PER_SECOND.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX)));
        }
    }

    fn pay(&mut self, credit: u32) {
        if self.credit > 0 {
            self.credit = self.credit.saturating_add(credit).min(CREDIT_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const PRIORITY: u8 = 2;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, length: u32) -> Vec<u8> {
        let [_, l0, l1, l2] = length.to_be_bytes();
        let mut bytes = vec![l0, l1, l2, kind, flags, 0, 0, 0, 1];
        bytes.resize(FRAME_HEAD + length as usize, 0x5a);
        bytes
    }

    /// How many such frames are taken in one second, up to 10,000.
    fn taken(bytes: &[u8]) -> usize {
        let mut calm = Calm::new(7);
        (0..10_000).take_while(|_| calm.observe(bytes, 7)).count()
    }

    #[test]
    fn floods_are_stopped_by_what_they_cost() {
        for (name, bytes, most) in [
            ("rapid reset", [frame(HEADERS, 5, 30), frame(RST_STREAM, 0, 4)].concat(), 166),
            ("refused heads", frame(HEADERS, 5, 30), 999),
            ("settings", frame(SETTINGS, 0, 6), 199),
            ("empty settings", frame(SETTINGS, 0, 0), 199),
            ("pings", frame(PING, 0, 8), 999),
            ("priorities", frame(PRIORITY, 0, 5), 999),
            ("window updates", frame(WINDOW_UPDATE, 0, 4), 999),
            ("empty data", frame(DATA, 0, 0), 999),
            ("unknown frames", frame(0xbe, 0xef, 100), 999),
        ] {
            assert_eq!(taken(&bytes), most, "{name}");
        }
    }

    #[test]
    fn requests_and_bodies_cost_nothing() {
        for bytes in [frame(DATA, 0, 1), frame(DATA, 1, 0)] {
            assert_eq!(taken(&bytes), 10_000);
        }
        let mut calm = Calm::new(0);
        for _ in 0..10_000 {
            assert!(calm.observe(&frame(HEADERS, 5, 30), 0));
            calm.stream_opened();
        }
    }

    #[test]
    fn a_peer_that_lets_as_many_streams_end_as_it_resets_goes_on_for_ever() {
        let reset = frame(RST_STREAM, 0, 4);
        let mut calm = Calm::new(0);
        for _ in 0..100_000 {
            assert!(calm.observe(&reset, 0));
            calm.stream_ended();
        }
        assert_eq!(calm.resets(), 100_000);
    }

    #[test]
    fn each_data_frame_pays_for_two_window_updates() {
        let update = frame(WINDOW_UPDATE, 0, 4);
        let mut calm = Calm::new(0);
        for _ in 0..100_000 {
            calm.framed();
            assert!(calm.observe(&update, 0) && calm.observe(&update, 0));
        }
    }

    #[test]
    fn time_pays_back_and_debt_stays() {
        let ping = frame(PING, 0, 8);
        let mut calm = Calm::new(0);
        for second in 0..10_000 {
            assert!((0..CREDIT_PER_SECOND).all(|_| calm.observe(&ping, second)), "{second}");
        }
        while calm.observe(&ping, 10_000) {}
        assert!(!calm.observe(&[], 20_000));
        calm.stream_ended();
        calm.sent(1 << 40);
        assert!(!calm.observe(&[], 20_000));
    }

    proptest! {
        #[test]
        fn any_pieces_cost_the_same(
            frames in prop::collection::vec((0u8..12, any::<u8>(), 0u32..40), 0..60),
            cuts in prop::collection::vec(1usize..50, 1..40),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(k, f, l)| frame(*k, *f, *l)).collect();
            let (mut whole, mut pieces) = (Calm::new(0), Calm::new(0));
            whole.observe(&bytes, 0);
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.observe(piece, 0);
                rest = after;
            }
            prop_assert_eq!(whole.credit, pieces.credit);
            prop_assert_eq!(whole.resets, pieces.resets);
            prop_assert_eq!((pieces.have, pieces.payload), (0, 0));
        }

        #[test]
        fn any_bytes_are_looked_at_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut calm = Calm::new(0);
            calm.observe(&bytes, 0);
            prop_assert!(usize::from(calm.have) < FRAME_HEAD);
        }
    }
}
