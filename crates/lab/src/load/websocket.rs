//! The client's side of a WebSocket that echoes (RFC 6455): the upgrade, then one message at a time.

use tokio::io::AsyncReadExt as _;

use super::client::Failure;
use super::reply_reader::BadReply;
use super::stream::Stream;

/// Largest message of a load, in bytes: what the lab's origin takes.
pub const MESSAGE_MAX: usize = 1 << 20;

/// The reply of an upgrade may be so long.
const UPGRADE_MAX: usize = 16 << 10;

/// The key of section 1.3 and what it is answered with.
pub(super) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Masks need not be random here: nothing between us and the target can be fooled by it.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

/// A whole binary message.
const BINARY: u8 = 0x82;

/// A message as it is sent, and as it must come back.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) sent: Vec<u8>,
    pub(super) echoed: Vec<u8>,
}

impl Message {
    /// A binary message of `bytes` bytes.
    pub(super) fn new(bytes: usize) -> Message {
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(bytes).collect();
        let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let mut sent = head(bytes, 0x80);
        sent.extend_from_slice(&MASK);
        sent.extend(masked);
        let mut echoed = head(bytes, 0);
        echoed.extend_from_slice(&payload);
        Message { sent, echoed }
    }
}

/// A frame's opcode and length (section 5.2); `masked` is the bit beside the length.
fn head(bytes: usize, masked: u8) -> Vec<u8> {
    let mut out = vec![BINARY];
    match bytes {
        short @ 0..126 => out.push(masked + short as u8),
        medium @ 126..=0xffff => {
            out.push(masked + 126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(masked + 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out
}

/// Reads the answer to an upgrade to its end: it must be the 101 that our key asks for.
pub(super) async fn upgraded(stream: &mut Stream) -> Result<(), Failure> {
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).await.map_err(|_| Failure::Reset)?;
        if read == 0 {
            return Err(if answer.is_empty() { Failure::Closed } else { Failure::Cut });
        }
        answer.extend_from_slice(piece.get(..read).unwrap_or_default());
        if answer.windows(4).any(|four| four == b"\r\n\r\n") {
            // Nobody speaks before we do: behind the head of a 101 there is nothing yet.
            let text = String::from_utf8_lossy(&answer);
            let agreed = text.starts_with("HTTP/1.1 101")
                && text.contains(ACCEPT)
                && text.ends_with("\r\n\r\n");
            return if agreed { Ok(()) } else { Err(Failure::BadReply) };
        }
        if answer.len() > UPGRADE_MAX {
            return Err(Failure::BadReply);
        }
    }
}

/// Reads one echo after the other.
#[derive(Debug, Default)]
pub(super) struct EchoReader {
    /// Bytes of the echo that have come.
    come: usize,
}

impl EchoReader {
    /// Forgets the last echo.
    pub(super) fn start(&mut self) {
        self.come = 0;
    }

    pub(super) fn has_begun(&self) -> bool {
        self.come > 0
    }

    pub(super) fn is_done(&self, message: &Message) -> bool {
        self.come == message.echoed.len()
    }

    /// Takes the next bytes; they must be those of `message`.
    pub(super) fn feed(&mut self, message: &Message, bytes: &[u8]) -> Result<(), BadReply> {
        let wanted = message.echoed.get(self.come..).unwrap_or_default();
        self.come += bytes.len();
        if wanted.starts_with(bytes) { Ok(()) } else { Err(BadReply) }
    }
}

#[cfg(test)]
mod tests {
    use super::{EchoReader, MASK, Message};

    #[test]
    fn messages_are_masked_and_wanted_back_plain() {
        for (bytes, head) in [
            (0, vec![0x82, 0x80]),
            (125, vec![0x82, 0xfd]),
            (126, vec![0x82, 0xfe, 0, 126]),
            (65_536, vec![0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let message = Message::new(bytes);
            assert_eq!(message.sent.len(), head.len() + MASK.len() + bytes, "{bytes}");
            assert_eq!(message.sent.get(..head.len()), Some(head.as_slice()), "{bytes}");
            assert_eq!(message.echoed.len(), head.len() + bytes, "{bytes}");
            assert_eq!(message.echoed.get(1).map(|length| length & 0x80), Some(0), "{bytes}");
            let unmasked = message.sent.iter().skip(head.len() + 4).zip(MASK.iter().cycle());
            let unmasked: Vec<u8> = unmasked.map(|(byte, mask)| byte ^ mask).collect();
            assert_eq!(message.echoed.get(head.len()..), Some(unmasked.as_slice()), "{bytes}");
        }
    }

    #[test]
    fn an_echo_may_come_in_pieces_and_must_be_the_message() {
        let message = Message::new(200);
        for cut in 0..=message.echoed.len() {
            let (front, back) = message.echoed.split_at(cut);
            let mut reader = EchoReader::default();
            assert_eq!(reader.feed(&message, front), Ok(()));
            assert_eq!(reader.is_done(&message), back.is_empty(), "{cut}");
            assert_eq!(reader.feed(&message, back), Ok(()));
            assert!(reader.is_done(&message), "{cut}");
        }
        let mut other = message.echoed.clone();
        other.push(0);
        assert!(EchoReader::default().feed(&message, &other).is_err());
        assert!(EchoReader::default().feed(&message, &message.sent).is_err());
    }
}
