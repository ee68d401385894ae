//! The server's side of a WebSocket (RFC 6455) that echoes every message.

use std::ops::Range;

use crate::connection::{Connection, Gone};

/// Largest message in bytes, over all its fragments.
const MESSAGE_MAX: usize = 1 << 20;

/// Largest payload of a control frame (section 5.5).
const CONTROL_MAX: usize = 125;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Status codes of a close frame (section 7.4.1).
const PROTOCOL_ERROR: u16 = 1002;
const NOT_TEXT: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// One frame of a client.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    /// The last of its message.
    last: bool,
    opcode: u8,
    /// Where its payload lies, unmasked.
    payload: Range<usize>,
}

/// Reads the frame at the start of `bytes` and unmasks it in place. None: more bytes are needed.
/// Err: the status to close with.
fn frame(bytes: &mut [u8]) -> Result<Option<Frame>, u16> {
    let &[first, second, ref rest @ ..] = &*bytes else { return Ok(None) };
    let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
    let control = opcode >= CLOSE;
    let known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
    // Without an extension the reserved bits are 0; clients mask; control frames are not cut.
    if first & 0x70 != 0 || second & 0x80 == 0 || !known || (control && !last) {
        return Err(PROTOCOL_ERROR);
    }
    let width = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(written) = rest.get(..width) else { return Ok(None) };
    let length = match width {
        0 => u64::from(second & 0x7f),
        _ => written.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    if control && length > CONTROL_MAX as u64 {
        return Err(PROTOCOL_ERROR);
    }
    if length > MESSAGE_MAX as u64 {
        return Err(TOO_BIG);
    }
    let begin = 2 + width + 4;
    let payload = begin..begin + length as usize;
    if bytes.len() < payload.end {
        return Ok(None);
    }
    let (head, data) = bytes.split_at_mut(begin);
    let mask = head.get(begin - 4..).unwrap_or_default();
    let data = data.get_mut(..length as usize).unwrap_or_default();
    for (byte, mask) in data.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(Some(Frame { last, opcode, payload }))
}

/// Writes a whole message or control frame, unmasked as servers do.
fn put_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        short @ 0..126 => out.push(short as u8),
        medium @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// The message in progress.
#[derive(Debug, Default)]
struct Message {
    /// The opcode of its first frame; 0 when there is none in progress.
    opcode: u8,
    bytes: Vec<u8>,
}

/// What a frame asks for.
enum Step {
    /// Go on.
    On,
    /// The close has been answered.
    Closed,
}

/// Echoes messages until either side closes. The head of the 101 has been sent.
pub(crate) async fn echo(connection: &mut Connection) -> Result<(), Gone> {
    let mut message = Message::default();
    let mut out = Vec::new();
    loop {
        let step = take(connection.input(), &mut message, &mut out);
        if !out.is_empty() {
            connection.send(&out).await?;
            // A big message should not be held for the life of a quiet connection.
            out = Vec::new();
        }
        match step {
            Some(Step::On) => {}
            Some(Step::Closed) => return Ok(()),
            None => connection.more().await?,
        }
    }
}

/// Takes one frame off the input and writes what it is answered with. None: there is no whole one.
fn take(input: &mut Vec<u8>, message: &mut Message, out: &mut Vec<u8>) -> Option<Step> {
    match frame(input) {
        Ok(None) => None,
        Ok(Some(frame)) => {
            let payload = input.get(frame.payload.clone()).unwrap_or_default();
            let answered = answer(&frame, payload, message, out);
            input.drain(..frame.payload.end);
            Some(answered.unwrap_or_else(|code| close(out, code)))
        }
        Err(code) => Some(close(out, code)),
    }
}

fn close(out: &mut Vec<u8>, code: u16) -> Step {
    put_frame(out, CLOSE, &code.to_be_bytes());
    Step::Closed
}

fn answer(
    frame: &Frame,
    payload: &[u8],
    message: &mut Message,
    out: &mut Vec<u8>,
) -> Result<Step, u16> {
    match frame.opcode {
        PING => put_frame(out, PONG, payload),
        PONG => {}
        CLOSE => {
            put_frame(out, CLOSE, payload.get(..2).unwrap_or_default());
            return Ok(Step::Closed);
        }
        opcode => {
            // A message begins with its kind and goes on as a continuation (section 5.4).
            if (opcode == CONTINUATION) != (message.opcode != 0) {
                return Err(PROTOCOL_ERROR);
            }
            if message.bytes.len() + payload.len() > MESSAGE_MAX {
                return Err(TOO_BIG);
            }
            message.opcode = message.opcode.max(opcode);
            message.bytes.extend_from_slice(payload);
            if frame.last {
                let whole = std::mem::take(message);
                if whole.opcode == TEXT && std::str::from_utf8(&whole.bytes).is_err() {
                    return Err(NOT_TEXT);
                }
                put_frame(out, whole.opcode, &whole.bytes);
            }
        }
    }
    Ok(Step::On)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A client's frame.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        put_frame(&mut frame, 0, payload);
        frame[0] = first;
        frame[1] |= 0x80;
        let at = frame.len() - payload.len();
        let mask = [1, 2, 3, 4];
        for (byte, mask) in frame[at..].iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        frame.splice(at..at, mask);
        frame
    }

    /// What is answered to these bytes, and whether the connection is closed.
    fn answered(mut input: Vec<u8>) -> (Vec<u8>, bool) {
        let (mut message, mut out) = (Message::default(), Vec::new());
        while let Some(step) = take(&mut input, &mut message, &mut out) {
            if matches!(step, Step::Closed) {
                return (out, true);
            }
        }
        (out, false)
    }

    #[test]
    fn messages_of_every_length_come_back() {
        for length in [0, 1, 125, 126, 65_535, 65_536, MESSAGE_MAX] {
            let payload = vec![b'x'; length];
            let mut expected = Vec::new();
            put_frame(&mut expected, BINARY, &payload);
            assert_eq!(answered(masked(0x82, &payload)), (expected, false), "{length}");
        }
    }

    #[test]
    fn fragments_are_joined_and_pings_answered_between_them() {
        let input = [
            masked(0x01, b"one "),
            masked(0x89, b"?"),
            masked(0x00, b"two "),
            masked(0x80, b"three"),
        ];
        let mut expected = Vec::new();
        put_frame(&mut expected, PONG, b"?");
        put_frame(&mut expected, TEXT, b"one two three");
        assert_eq!(answered(input.concat()), (expected, false));
    }

    #[test]
    fn violations_close_with_their_code() {
        let long = vec![0; MESSAGE_MAX];
        let mut unmasked = masked(0x81, b"");
        unmasked[1] &= 0x7f;
        for (input, code) in [
            (unmasked, PROTOCOL_ERROR),
            (masked(0xc1, b""), PROTOCOL_ERROR),
            (masked(0x83, b""), PROTOCOL_ERROR),
            (masked(0x09, b""), PROTOCOL_ERROR),
            (masked(0x89, &[0; 126]), PROTOCOL_ERROR),
            (masked(0x80, b"no beginning"), PROTOCOL_ERROR),
            ([masked(0x01, b"a"), masked(0x81, b"b")].concat(), PROTOCOL_ERROR),
            (masked(0x81, b"\xff"), NOT_TEXT),
            ([masked(0x02, &long), masked(0x80, b"x")].concat(), TOO_BIG),
        ] {
            let mut expected = Vec::new();
            close(&mut expected, code);
            assert_eq!(answered(input), (expected, true), "{code}");
        }
        assert_eq!(answered(masked(0x88, b"\x03\xe8bye")), (vec![0x88, 2, 0x03, 0xe8], true));
    }

    #[test]
    fn a_frame_may_come_in_pieces() {
        let whole = masked(0x82, &[7; 200]);
        for end in 0..whole.len() {
            assert_eq!(frame(&mut whole.clone()[..end]), Ok(None), "{end}");
        }
    }
}
