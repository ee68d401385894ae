//! Rows of HTTP/1.1: bytes in, replies and the origin's record out.

use tidegate_scenario::http::Connection;

use super::{Seen, Stage, all_right};

/// One request, or several in a row, as bytes.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// What it is.
    pub(super) name: &'static str,
    bytes: Vec<u8>,
    /// Status and reason code of each reply; the origin's own have no code.
    replies: Vec<(u16, &'static str)>,
    /// What follows on the connection is a request again.
    stays: bool,
    /// The caller says nothing more and ends its side.
    ends: bool,
    seen: Seen,
}

/// Refused, the connection closed, nothing seen.
pub(super) fn refused(
    name: &'static str,
    bytes: impl Into<Vec<u8>>,
    status: u16,
    code: &'static str,
) -> Row {
    let replies = vec![(status, code)];
    Row { name, bytes: bytes.into(), replies, stays: false, ends: false, seen: Seen::Nothing }
}

/// Refused, nothing seen, but where the next request begins is beyond doubt.
pub(super) fn declined(
    name: &'static str,
    bytes: impl Into<Vec<u8>>,
    status: u16,
    code: &'static str,
) -> Row {
    Row { stays: true, ..refused(name, bytes, status, code) }
}

/// Refused in the middle of its body: the origin may have seen a beginning.
pub(super) fn broken(
    name: &'static str,
    bytes: impl Into<Vec<u8>>,
    status: u16,
    code: &'static str,
) -> Row {
    Row { seen: Seen::Broken, ..refused(name, bytes, status, code) }
}

/// Passed on as these requests; the connection stays.
pub(super) fn passed(name: &'static str, bytes: impl Into<Vec<u8>>, seen: &[&str]) -> Row {
    let seen: Vec<_> = seen.iter().map(|message| (*message).to_owned()).collect();
    Row {
        replies: vec![(200, ""); seen.len()],
        stays: true,
        seen: Seen::Whole(seen),
        ..refused(name, bytes, 200, "")
    }
}

/// Passed on as these requests; the connection ends behind the last one's reply.
pub(super) fn passed_last(name: &'static str, bytes: impl Into<Vec<u8>>, seen: &[&str]) -> Row {
    Row { stays: false, ..passed(name, bytes, seen) }
}

impl Row {
    /// The caller ends its side behind the bytes.
    pub(super) fn ended(self) -> Self {
        Self { ends: true, stays: false, ..self }
    }

    /// The connection ends behind the replies, and nothing of what is behind the row is seen.
    pub(super) fn stops(self) -> Self {
        Self { stays: false, ..self }
    }

    /// These are the replies.
    pub(super) fn told(self, replies: &[(u16, &'static str)]) -> Self {
        Self { replies: replies.to_vec(), ..self }
    }
}

/// A GET of `/x` with these lines, each with its own CRLF.
pub(super) fn with(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET /x HTTP/1.1\r\nHost: a\r\n", lines.as_ref(), b"\r\n"].concat()
}

/// A POST to `/x` with these lines and this behind the head.
pub(super) fn post(lines: impl AsRef<[u8]>, behind: impl AsRef<[u8]>) -> Vec<u8> {
    [b"POST /x HTTP/1.1\r\nHost: a\r\n", lines.as_ref(), b"\r\n", behind.as_ref()].concat()
}

/// A GET of this target.
pub(super) fn get(target: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET ", target.as_ref(), b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat()
}

/// What comes behind each row on its connection.
const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n";

/// How the origin sees it.
const BEHIND_SEEN: &str = "GET /behind HTTP/1.1\r\nHost: b\r\n\r\n";

/// How the bytes of a row come.
#[derive(Clone, Copy)]
enum Pace {
    AtOnce,
    /// Few at a time, so that every state of every parser is interrupted.
    InCrumbs,
}

/// Plays the rows, in both paces, and fails with all that went wrong.
pub(super) fn play(rows: &[Row]) {
    let mut stage = Stage::set();
    let mut wrong = Vec::new();
    for (pace, how) in [(Pace::AtOnce, "at once"), (Pace::InCrumbs, "in crumbs")] {
        for row in rows {
            let told = told(&stage, row, pace);
            let behind = row.stays.then_some(BEHIND_SEEN);
            let result = told.and(stage.judge(&row.seen, behind));
            wrong.extend(result.err().map(|error| format!("{} ({how}): {error}", row.name)));
        }
    }
    all_right(&wrong);
}

/// Sends the row and compares what is said.
fn told(stage: &Stage, row: &Row, pace: Pace) -> Result<(), String> {
    let mut connection = Connection::open(stage.gateway.address);
    let behind = if row.ends { &[] } else { BEHIND };
    match pace {
        Pace::AtOnce => {
            connection.send(&[&row.bytes, behind].concat());
        }
        Pace::InCrumbs => {
            let size = row.bytes.len() / 64 + 1;
            for crumb in row.bytes.chunks(size) {
                connection.send(crumb);
            }
            connection.send(behind);
        }
    }
    if row.ends {
        connection.finish();
    }
    let said = connection.rest();
    let is_head = |index: usize| index == 0 && row.bytes.starts_with(b"HEAD ");
    let replies = replies(&said, is_head);
    let mut wanted: Vec<_> = row.replies.iter().map(|(s, c)| (*s, (*c).to_owned())).collect();
    if row.stays {
        wanted.push((200, String::new()));
    }
    let mut found: Vec<_> =
        replies.iter().map(|reply| (reply.status, reply.code.clone())).collect();
    if matches!(pace, Pace::InCrumbs) && found.last().is_some_and(|(status, _)| *status == 400) {
        // Of two faults the one that came first is told.
        for (_, code) in found.iter_mut().chain(&mut wanted) {
            code.clear();
        }
    }
    if found != wanted {
        return Err(format!("told {found:?}, not {wanted:?}: {}", said.escape_ascii()));
    }
    let last = replies.last().map_or("", |reply| &*reply.body);
    if row.stays && last != "/behind" {
        return Err(format!("the reply to what is behind it is {last:?}"));
    }
    let silent = row.ends || row.bytes.windows(8).any(|window| window == b"HTTP/1.0");
    let announced = |reply: &Said| silent || reply.head.contains("\r\nConnection: close");
    if !replies.last().is_none_or(announced) {
        return Err(format!("the end is not announced: {}", said.escape_ascii()));
    }
    Ok(())
}

struct Said {
    head: String,
    status: u16,
    code: String,
    body: String,
}

/// All final replies in what was said. A rest that is none counts as one of status 0.
fn replies(mut said: &[u8], is_head: impl Fn(usize) -> bool) -> Vec<Said> {
    let mut replies = Vec::new();
    while !said.is_empty() {
        let end = said.windows(4).position(|w| w == b"\r\n\r\n").map_or(said.len(), |at| at + 4);
        let head = String::from_utf8_lossy(&said[..end]).into_owned();
        said = &said[end..];
        let value = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        let words: Vec<_> = head.split(' ').collect();
        let is_reply = words[0] == "HTTP/1.1" && words.len() > 1;
        let status = if is_reply { words[1].parse().unwrap_or(0) } else { 0 };
        if status == 100 {
            continue;
        }
        let length = value("Content-Length:").parse().unwrap_or(0);
        let length = if is_head(replies.len()) { 0 } else { said.len().min(length) };
        let body = String::from_utf8_lossy(&said[..length]).into_owned();
        said = &said[length..];
        replies.push(Said { code: value("X-Tidegate-Reason:"), head, status, body });
    }
    replies
}

/// Every table.
pub(super) fn tables() -> Vec<Vec<Row>> {
    vec![
        super::lines::rows(),
        super::targets::rows(),
        super::hosts::rows(),
        super::fields::rows(),
        super::lengths::rows(),
        super::codings::rows(),
        super::chunks::rows(),
        super::connection::rows(),
        super::bounds::rows(),
        super::flow::rows(),
    ]
}
