//! HTTP/2: requests for a tunnel (RFC 8441) that are none.

use tidegate_scenario::h2raw::{DATA, END_HEADERS, HEADERS, fields_block, frame};

use super::two::{End, PROTOCOL, Row, head, play, unseen};

type Field<'f> = (&'f str, &'f str);

const M: Field = (":method", "CONNECT");
const W: Field = (":protocol", "websocket");
const S: Field = (":scheme", "http");
const A: Field = (":authority", "localhost");
const P: Field = (":path", "/x");

/// A request that the origin would answer, were it passed on.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The head of stream 1, which stays open, and a request in DATA behind it.
fn open(fields: &[Field]) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, 1, &fields_block(fields)), frame(DATA, 0, 1, SMUGGLED)].concat()
}

fn reset(name: &'static str, fields: &[Field]) -> Row {
    unseen(name, open(fields), End::Reset(PROTOCOL))
}

fn told(name: &'static str, fields: &[Field], status: u16, code: &'static str) -> Row {
    unseen(name, open(fields), End::Told(status, code))
}

/// With a length; nothing follows, so that it is not the length that is wrong.
fn length(name: &'static str, length: &str) -> Row {
    let fields = [M, W, S, A, P, ("content-length", length)];
    let bytes = frame(HEADERS, END_HEADERS, 1, &fields_block(&fields));
    unseen(name, bytes, End::Told(400, "bad_request"))
}

fn protocol(name: &'static str, protocol: &str) -> Row {
    told(name, &[M, (":protocol", protocol), S, A, P], 501, "unknown_protocol")
}

pub(super) fn rows() -> Vec<Row> {
    const BAD: &str = "bad_request";
    vec![
        reset("h2: a tunnel without :path", &[M, W, S, A]),
        reset("h2: a tunnel without :scheme", &[M, W, A, P]),
        reset("h2: a tunnel to an empty path", &[M, W, S, A, (":path", "")]),
        reset(
            "h2: a tunnel to a path with lines in it",
            &[M, W, S, A, (":path", "/x HTTP/1.1\r\nHost: a\r\n\r\nGET /y")],
        ),
        reset("h2: two :protocol", &[M, W, W, S, A, P]),
        reset("h2: :protocol behind a field", &[M, S, A, P, ("x", "y"), W]),
        reset("h2: :protocol of a POST", &[(":method", "POST"), W, S, A, P]),
        reset("h2: a tunnel with connection", &[M, W, S, A, P, ("connection", "upgrade")]),
        reset("h2: a tunnel with upgrade", &[M, W, S, A, P, ("upgrade", "websocket")]),
        reset(
            "h2: a tunnel with transfer-encoding",
            &[M, W, S, A, P, ("transfer-encoding", "chunked")],
        ),
        told("h2: a tunnel without an authority", &[M, W, S, P], 400, "missing_host"),
        told("h2: a tunnel to an asterisk", &[M, W, S, A, (":path", "*")], 400, BAD),
        told("h2: a tunnel above the root", &[M, W, S, A, (":path", "/../x")], 400, BAD),
        told("h2: a tunnel of another scheme", &[M, W, (":scheme", "wss"), A, P], 400, BAD),
        told(
            "h2: a tunnel to another host than its own",
            &[M, W, S, A, P, ("host", "evil.example")],
            400,
            BAD,
        ),
        length("h2: a tunnel with a length", "40"),
        length("h2: a tunnel with the length 0", "0"),
        reset("h2: a tunnel with te", &[M, W, S, A, P, ("te", "gzip")]),
        protocol("h2: a tunnel of a protocol that nobody knows", "connect-udp"),
        protocol("h2: a tunnel of two protocols", "websocket, connect-udp"),
        protocol("h2: a tunnel of no protocol", ""),
        protocol("h2: a tunnel of a protocol with lines in it", "websocket\r\nX: y"),
        unseen("h2: a tunnel that has ended", head(&[M, W, S, A, P]), End::Told(400, BAD)),
    ]
}

#[test]
fn a_tunnel_that_is_none_is_not_asked_for() {
    play(&rows());
}
