//! A plain HTTP/1.1 origin: what a gateway's routes, framing and limits are tested and measured against.
//!
//! | path | answer |
//! |---|---|
//! | `/small` | 1 KiB of text |
//! | `/big` | 1 MiB |
//! | `/bytes/N` | N bytes, at most 1 GiB |
//! | `/echo` | JSON: method, target, headers in order, body, HTTP version, number of the connection |
//! | `/sse?count=N` | N events (10), `x-lab-interval-ms` between them |
//! | `/slow?ms=N` | after N ms |
//! | `/status/NNN` | that status, 200 to 599 |
//! | `/chunked?count=N` | N chunks (10) of one line each |
//! | `/close` | a body that the end of the connection ends |
//! | `/ws` | a WebSocket that echoes messages of up to 1 MiB |
//! | `/early` | 413 before the body has been read, then close |
//! | `/lab/trouble?status=NNN`, `?ms=N`, `?reset` | from now on that is what every other request gets; without a query all is well |
//!
//! Any method does; `Expect: 100-continue` is answered when the body is wanted.

mod trouble;

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use tidegate_wire::http1::chunked::{CHUNK_END, LAST_CHUNK, chunk_head};
use tidegate_wire::http1::head::{FieldId, Method, Version};
use tidegate_wire::http1::write::{put_field, put_status_line};
use tidegate_wire::websocket::accept;
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::trouble::Trouble;
use crate::connection::{BodyError, Connection, Gone, Request};
use crate::json::{put, put_number, put_text};
use crate::provider::put_request;
use crate::reply::{Length, put_head};
use crate::server::{ServerHandle, accept_each, spawn};
use crate::websocket;

const SMALL_BYTES: u64 = 1 << 10;
const BIG_BYTES: u64 = 1 << 20;
const BYTES_MAX: u64 = 1 << 30;

/// Bodies are written in pieces of this many bytes, all taken from one page.
const PAGE_BYTES: usize = 64 << 10;

/// Most events, chunks and milliseconds that a query can ask for.
const COUNT_MAX: u64 = 1_000_000;
const WAIT_MAX: Duration = Duration::from_mins(10);

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// What an origin is started with.
#[derive(Clone, Debug)]
pub struct OriginOptions {
    /// Where [`spawn_origin`] listens; port 0 picks a free one.
    pub bind: SocketAddr,
}

impl Default for OriginOptions {
    fn default() -> Self {
        OriginOptions { bind: (Ipv4Addr::LOCALHOST, 0).into() }
    }
}

/// What all connections share.
struct Pages {
    /// Bytes that all replies are made of: lower case letters, repeated.
    page: Vec<u8>,
    trouble: Cell<Trouble>,
}

/// Serves on `listener` for ever. Must run on a `LocalRuntime` (see [`crate::server::local_runtime`]).
pub async fn serve_origin(listener: TcpListener) -> io::Result<()> {
    let page = (b'a'..=b'z').cycle().take(PAGE_BYTES).collect();
    let pages = Rc::new(Pages { page, trouble: Cell::default() });
    accept_each(listener, |stream, number| serve_connection(Rc::clone(&pages), stream, number))
        .await
}

/// Starts an origin on its own thread. Fails when the address cannot be bound or no thread can be had.
pub fn spawn_origin(options: &OriginOptions) -> io::Result<ServerHandle> {
    spawn("lab-origin", options.bind, serve_origin)
}

async fn serve_connection(pages: Rc<Pages>, stream: TcpStream, number: u64) {
    let mut connection = Some(Connection::new(stream));
    while let Some(current) = connection {
        connection = serve_request(&pages, current, number).await;
    }
}

/// What to answer, decided while the request is at hand.
enum Plan {
    /// The first bytes of the page.
    Page { status: u16, bytes: u64, wait: Duration },
    /// JSON.
    Echo(Vec<u8>),
    /// Events, chunks or lines: `count` times what `line` writes.
    Lines {
        kind: &'static str,
        line: fn(&mut Vec<u8>, u64),
        count: u64,
        interval: Duration,
        until_close: bool,
    },
    /// Plain text with this status.
    Refuse(u16, &'static str),
}

/// Serves one request. The connection comes back when it can carry another.
async fn serve_request(
    pages: &Pages,
    mut connection: Connection,
    number: u64,
) -> Option<Connection> {
    connection.receive_head().await?;
    if connection.request().path() == "/early" {
        connection.refuse(413, "refused before the body was read").await;
        return None;
    }
    match connection.receive_body().await {
        Ok(()) => {}
        Err(BodyError::Gone) => return None,
        Err(BodyError::Refused(status, message)) => {
            connection.refuse(status, message).await;
            return None;
        }
    }
    if connection.request().path() == "/ws" {
        serve_websocket(&mut connection).await;
        return None;
    }
    let Some((plan, late)) = troubled(pages, &connection.request(), number) else {
        connection.reset();
        return None;
    };
    connection.finish_request();
    if !late.is_zero() {
        connection.pause_until(Instant::now() + late).await.ok()?;
    }
    // Where the client went, nothing is left to do.
    let open = answer(pages, &mut connection, plan).await.unwrap_or(false);
    open.then_some(connection)
}

/// Switches to WebSocket (RFC 6455 section 4.2) and echoes until it ends.
async fn serve_websocket(connection: &mut Connection) {
    let request = connection.request();
    let asked = request
        .known_field(FieldId::Upgrade)
        .is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"));
    let sound = request.head.method == Method::Get
        && request.known_field(FieldId::SecWebsocketVersion) == Some("13");
    let accepted = request.known_field(FieldId::SecWebsocketKey).map(str::as_bytes).map(accept);
    let (Some(accepted), true, true) = (accepted, asked, sound) else {
        connection.refuse(426, "this path speaks WebSocket, version 13").await;
        return;
    };
    let mut out = Vec::with_capacity(256);
    put_status_line(&mut out, 101);
    put_field(&mut out, b"upgrade", b"websocket");
    put_field(&mut out, b"connection", b"Upgrade");
    put_field(&mut out, b"sec-websocket-accept", accepted.as_bytes());
    put(&mut out, "\r\n");
    connection.finish_request();
    if connection.send(&out).await.is_ok() && websocket::echo(connection).await.is_ok() {
        connection.linger().await;
    }
}

/// What to answer in the trouble that we are in, and how much later; None resets the connection.
fn troubled(pages: &Pages, request: &Request, number: u64) -> Option<(Plan, Duration)> {
    let empty = |status| Plan::Page { status, bytes: 0, wait: Duration::ZERO };
    if request.path() == "/lab/trouble" {
        let plan = match trouble::asked(request) {
            Some(asked) => {
                pages.trouble.set(asked);
                empty(204)
            }
            None => Plan::Refuse(400, "one of status=200 to 599, ms, reset, or nothing"),
        };
        return Some((plan, Duration::ZERO));
    }
    match pages.trouble.get() {
        Trouble::Well => Some((plan(request, number), Duration::ZERO)),
        Trouble::Late(time) => Some((plan(request, number), time)),
        Trouble::Status(status) => Some((empty(status), Duration::ZERO)),
        Trouble::Resets => None,
    }
}

fn plan(request: &Request, number: u64) -> Plan {
    let page = |status, bytes| Plan::Page { status, bytes, wait: Duration::ZERO };
    let count = || request.query("count").and_then(|count| count.parse().ok()).unwrap_or(10);
    let milliseconds = |name| {
        let wanted = request.knob(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Duration::from_millis(wanted).min(WAIT_MAX)
    };
    let lines = |kind, line, interval, until_close| Plan::Lines {
        kind,
        line,
        count: count().min(COUNT_MAX),
        interval,
        until_close,
    };
    match request.path() {
        "/small" => page(200, SMALL_BYTES),
        "/big" => page(200, BIG_BYTES),
        "/echo" => Plan::Echo(echo(request, number)),
        "/sse" => lines("text/event-stream", put_event, milliseconds("x-lab-interval-ms"), false),
        "/slow" => Plan::Page { status: 200, bytes: SMALL_BYTES, wait: milliseconds("ms") },
        "/chunked" => lines(TEXT, put_line, milliseconds("x-lab-interval-ms"), false),
        "/close" => lines(TEXT, put_line, milliseconds("x-lab-interval-ms"), true),
        path => {
            let number =
                |prefix| path.strip_prefix(prefix).and_then(|n: &str| n.parse::<u64>().ok());
            match (number("/bytes/"), number("/status/")) {
                (Some(bytes @ 0..=BYTES_MAX), _) => page(200, bytes),
                (_, Some(status @ 200..600)) => {
                    page(status as u16, if bodiless(status) { 0 } else { 32 })
                }
                _ => Plan::Refuse(404, "no such path: see the list of the lab origin's paths"),
            }
        }
    }
}

/// 204 and 304 have no body (RFC 9110 section 6.4.1).
fn bodiless(status: u64) -> bool {
    matches!(status, 204 | 304)
}

fn echo(request: &Request, number: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + request.body.len());
    put(&mut out, "{");
    put_request(&mut out, request.head, request.raw_head, request.body);
    put(&mut out, ",\"version\":");
    put_text(
        &mut out,
        match request.head.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        },
    );
    put(&mut out, ",\"connection\":");
    put_number(&mut out, number);
    put(&mut out, "}");
    out
}

fn put_event(out: &mut Vec<u8>, number: u64) {
    put(out, "id: ");
    put_number(out, number);
    put(out, "\ndata: event ");
    put_number(out, number);
    put(out, "\n\n");
}

fn put_line(out: &mut Vec<u8>, number: u64) {
    put(out, "line ");
    put_number(out, number);
    put(out, "\n");
}

/// Sends the reply. Says whether the connection can carry another request.
async fn answer(pages: &Pages, connection: &mut Connection, plan: Plan) -> Result<bool, Gone> {
    let keep_alive = connection.keep_alive();
    let mut out = Vec::with_capacity(2048);
    match plan {
        Plan::Page { status, bytes, wait } => {
            if !wait.is_zero() {
                connection.pause_until(Instant::now() + wait).await?;
            }
            send_page(pages, connection, status, bytes).await?;
            Ok(keep_alive)
        }
        Plan::Echo(body) => {
            let length = Length::Exactly(body.len() as u64);
            put_head(&mut out, 200, "application/json", &[], length, keep_alive);
            if !connection.is_head_request() {
                out.extend_from_slice(&body);
            }
            connection.send(&out).await?;
            Ok(keep_alive)
        }
        Plan::Refuse(status, message) => {
            let length = Length::Exactly(message.len() as u64);
            put_head(&mut out, status, TEXT, &[], length, keep_alive);
            if !connection.is_head_request() {
                put(&mut out, message);
            }
            connection.send(&out).await?;
            Ok(keep_alive)
        }
        Plan::Lines { kind, line, count, interval, until_close } => {
            let length = if until_close { Length::UntilClose } else { connection.open_ended() };
            let keep_alive = keep_alive && length == Length::Chunked;
            put_head(&mut out, 200, kind, &[("cache-control", "no-cache")], length, keep_alive);
            if !connection.is_head_request() {
                send_lines(connection, &mut out, line, count, interval, length).await?;
            }
            connection.send(&out).await?;
            Ok(keep_alive)
        }
    }
}

async fn send_page(
    pages: &Pages,
    connection: &mut Connection,
    status: u16,
    bytes: u64,
) -> Result<(), Gone> {
    let mut out = Vec::with_capacity(2048);
    let keep_alive = connection.keep_alive();
    if bodiless(u64::from(status)) {
        out.extend_from_slice(format!("HTTP/1.1 {status} Lab\r\n\r\n").as_bytes());
        return connection.send(&out).await;
    }
    let kind = if bytes > SMALL_BYTES { BYTES } else { TEXT };
    put_head(&mut out, status, kind, &[], Length::Exactly(bytes), keep_alive);
    if connection.is_head_request() {
        return connection.send(&out).await;
    }
    let mut left = bytes;
    // A small body leaves with the head; a big one follows from the page, uncopied.
    if left <= SMALL_BYTES {
        out.extend_from_slice(pages.page.get(..left as usize).unwrap_or_default());
        left = 0;
    }
    connection.send(&out).await?;
    while left > 0 {
        let piece = (left as usize).min(PAGE_BYTES);
        connection.send(pages.page.get(..piece).unwrap_or_default()).await?;
        left -= piece as u64;
    }
    Ok(())
}

/// Writes lines behind what `out` already holds; the last bytes stay in `out`.
async fn send_lines(
    connection: &mut Connection,
    out: &mut Vec<u8>,
    line: fn(&mut Vec<u8>, u64),
    count: u64,
    interval: Duration,
    length: Length,
) -> Result<(), Gone> {
    let mut piece = Vec::with_capacity(64);
    let mut due = Instant::now();
    for number in 1..=count {
        if number > 1 && !interval.is_zero() {
            due = (due + interval).max(Instant::now());
            connection.pause_until(due).await?;
        }
        piece.clear();
        line(&mut piece, number);
        if length == Length::Chunked {
            out.extend_from_slice(chunk_head(piece.len(), &mut [0; 20]));
            out.extend_from_slice(&piece);
            out.extend_from_slice(CHUNK_END);
        } else {
            out.extend_from_slice(&piece);
        }
        if !interval.is_zero() || out.len() >= PAGE_BYTES {
            connection.send(out).await?;
            connection.check_gone().await?;
            out.clear();
        }
    }
    if length == Length::Chunked {
        out.extend_from_slice(LAST_CHUNK);
    }
    Ok(())
}
