//! Rows of HTTP/2: frames in, the stream's or the connection's end and the origin's record out.

use tidegate_scenario::h2raw::{
    END_HEADERS, END_STREAM, HEADERS, Outcome, Raw, fields_block, frame, request,
};

use super::{Seen, Stage, all_right};

/// What one client sends behind its preface and settings.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// What it is.
    pub(super) name: &'static str,
    bytes: Vec<u8>,
    end: End,
    seen: Seen,
}

/// How stream 1 ends, or the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A whole reply of the gateway with this status and reason code.
    Told(u16, &'static str),
    /// The origin's reply.
    Served,
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code, and the connection is closed.
    Goaway(u32),
    /// The connection is closed without a word.
    Closed,
}

/// Error codes (RFC 9113 section 7).
pub(super) const PROTOCOL: u32 = 1;
pub(super) const FLOW_CONTROL: u32 = 3;

/// Nothing of it is seen.
pub(super) fn unseen(name: &'static str, bytes: Vec<u8>, end: End) -> Row {
    Row { name, bytes, end, seen: Seen::Nothing }
}

/// The origin may see a beginning.
pub(super) fn begun(name: &'static str, bytes: Vec<u8>, end: End) -> Row {
    Row { name, bytes, end, seen: Seen::Broken }
}

/// Passed on as these requests.
pub(super) fn passed(name: &'static str, bytes: Vec<u8>, seen: &[&str]) -> Row {
    let seen = seen.iter().map(|message| (*message).to_owned()).collect();
    Row { name, bytes, end: End::Served, seen: Seen::Whole(seen) }
}

/// The origin may see these requests, whole as they were announced, or a beginning.
pub(super) fn perhaps(name: &'static str, bytes: Vec<u8>, seen: &[&str], end: End) -> Row {
    let Row { seen, .. } = passed(name, Vec::new(), seen);
    let Seen::Whole(messages) = seen else { unreachable!("passed rows are whole") };
    Row { name, bytes, end, seen: Seen::Perhaps(messages) }
}

/// A head of stream 1 that ends it, of these fields alone.
pub(super) fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields_block(fields))
}

/// A GET of `/x` with these fields.
pub(super) fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    head(&request("GET", "/x", fields))
}

/// The head of a POST to `/x` with these fields; a body follows.
pub(super) fn post(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &fields_block(&request("POST", "/x", fields)))
}

/// A stream beyond those of the rows.
const BEHIND: u32 = 1001;

/// How the origin sees what is asked there.
const BEHIND_SEEN: &str = "GET /behind HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Plays the rows and fails with all that went wrong.
pub(super) fn play(rows: &[Row]) {
    let mut stage = Stage::set();
    let mut wrong = Vec::new();
    for row in rows {
        let (told, stays) = told(&stage, row);
        let result = told.and(stage.judge(&row.seen, stays.then_some(BEHIND_SEEN)));
        wrong.extend(result.err().map(|error| format!("{}: {error}", row.name)));
    }
    all_right(&wrong);
}

/// Sends the row and compares what is said; then whether the connection goes on, if it should.
fn told(stage: &Stage, row: &Row) -> (Result<(), String>, bool) {
    let mut raw = Raw::open(stage.gateway.address);
    raw.bytes(&row.bytes);
    let ends = matches!(row.end, End::Goaway(_) | End::Closed);
    let mut outcome = if ends {
        // What follows is not taken for anything.
        raw.get(BEHIND, "/behind");
        raw.outcome(BEHIND)
    } else {
        raw.outcome(1)
    };
    if ends && outcome.reset.is_none() && !outcome.complete {
        outcome.goaway = raw.ended().or(outcome.goaway);
    }
    let found = end(&outcome);
    if found != format!("{:?}", row.end) {
        return (Err(format!("ended with {found}, not {:?}: {}", row.end, outcome.text())), false);
    }
    if ends {
        return (Ok(()), false);
    }
    raw.get(BEHIND, "/behind");
    let behind = raw.outcome(BEHIND);
    let served = behind.text() == "/behind" && behind.complete;
    (if served { Ok(()) } else { Err(format!("the connection does not go on: {behind:?}")) }, true)
}

/// As the rows write it.
fn end(outcome: &Outcome) -> String {
    if let Some(code) = outcome.goaway {
        return format!("{:?}", End::Goaway(code));
    }
    if let Some(code) = outcome.reset {
        return format!("{:?}", End::Reset(code));
    }
    if !outcome.complete {
        return format!("{:?}", End::Closed);
    }
    if outcome.status == 200 {
        return format!("{:?}", End::Served);
    }
    let text = outcome.text();
    let code = text.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next());
    format!("Told({}, {:?})", outcome.status, code.unwrap_or_default())
}

/// Every table.
pub(super) fn tables() -> Vec<Vec<Row>> {
    vec![
        super::h2_targets::rows(),
        super::h2_fields::rows(),
        super::h2_bodies::rows(),
        super::h2_connect::rows(),
        super::h2_frames::rows(),
        super::h2_hpack::rows(),
    ]
}
