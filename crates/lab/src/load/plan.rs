//! A checked load: the request as bytes, who connects from where, and when it is over.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tidegate_wire::http1::head::Method;
use tidegate_wire::http1::write::{put_field, put_number_field};
use tokio::time::Instant;

use super::progress::LoadProgress;
use super::target;
use super::tls::TlsPlan;
use super::websocket::{KEY, Message};
use super::{
    CONNECTIONS_MAX, DURATION_MAX, LoadError, LoadMode, LoadOptions, MESSAGE_MAX, THREADS_MAX,
};
use crate::server::local_runtime;

/// One source address carries at most this many connections: the ephemeral range has about 28,000 ports.
const PORTS_PER_SOURCE: usize = 20_000;

/// What every thread works from.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) addr: SocketAddr,
    pub(super) mode: LoadMode,
    pub(super) method: Method,
    /// Head and body of every request; with a message, of the upgrade.
    pub(super) request: Vec<u8>,
    /// What a WebSocket carries, to and fro.
    pub(super) message: Option<Message>,
    pub(super) tls: Option<TlsPlan>,
    /// Each connection carries one request.
    pub(super) close: bool,
    pub(super) timeout: Duration,
    /// No request starts after this.
    pub(super) stop_at: Instant,
    pub(super) begun: Instant,
    pub(super) progress: Arc<LoadProgress>,
    connections: usize,
    threads: usize,
    spread: bool,
    /// Requests that may still start.
    left: AtomicU64,
    /// Threads that still open idle connections.
    opening: AtomicUsize,
}

impl Plan {
    pub(super) fn new(
        options: &LoadOptions,
        progress: Arc<LoadProgress>,
    ) -> Result<Plan, LoadError> {
        let found = target::find(&options.url, options.i_own_this_target);
        let target = local_runtime()?.block_on(found)?;
        check(options)?;
        let spread = options.spread_sources || options.connections > PORTS_PER_SOURCE;
        if spread && !matches!(target.addr.ip(), IpAddr::V4(ip) if ip.is_loopback()) {
            let problem = "more than 20,000 connections need source addresses in 127.0.0.0/8, \
                           and so a target there";
            return Err(LoadError::Option { option: "connections", problem: problem.to_owned() });
        }
        let tls = target.scheme.tls.then(|| {
            TlsPlan::new(&target.authority, target.addr, options.ca.as_deref(), options.handshakes)
        });
        let tls = tls.transpose()?;
        if options.handshakes.is_some() && tls.is_none() {
            let problem = "only https and wss have handshakes";
            return Err(LoadError::Option { option: "handshakes", problem: problem.to_owned() });
        }
        let websocket = target.scheme.websocket;
        if websocket
            && (options.close
                || options.handshakes.is_some()
                || matches!(options.mode, LoadMode::Streams))
        {
            let problem = "a WebSocket stays open and carries messages, no event streams";
            return Err(LoadError::Option { option: "url", problem: problem.to_owned() });
        }
        let begun = Instant::now();
        Ok(Plan {
            message: websocket.then(|| Message::new(options.message_bytes)),
            tls,
            close: options.close || options.handshakes.is_some(),
            addr: target.addr,
            mode: options.mode,
            method: Method::of(options.method.as_bytes()),
            request: request(options, &target),
            timeout: options.timeout,
            stop_at: begun + options.duration,
            begun,
            progress,
            connections: options.connections,
            threads: options.threads,
            spread,
            left: AtomicU64::new(options.count.unwrap_or(u64::MAX)),
            opening: AtomicUsize::new(options.threads),
        })
    }

    /// Whether one more request may start; if so, it is counted.
    pub(super) fn take(&self) -> bool {
        if Instant::now() >= self.stop_at {
            return false;
        }
        let taken = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        taken.is_ok()
    }

    /// A thread has opened its idle connections.
    pub(super) fn thread_opened(&self) {
        self.opening.fetch_sub(1, Relaxed);
    }

    /// Whether all threads have.
    pub(super) fn all_opened(&self) -> bool {
        self.opening.load(Relaxed) == 0
    }

    /// The numbers of the connections that `thread` has.
    pub(super) fn connections_of(&self, thread: usize) -> impl Iterator<Item = usize> {
        (thread..self.connections).step_by(self.threads)
    }

    /// The address that connection `number` comes from; `None` leaves it to the system.
    pub(super) fn source(&self, number: usize) -> Option<Ipv4Addr> {
        let place = number / PORTS_PER_SOURCE;
        self.spread.then(|| Ipv4Addr::new(127, 0, 0, (2 + place).min(254) as u8))
    }
}

fn check(options: &LoadOptions) -> Result<(), LoadError> {
    let refused = |option, problem: String| Err(LoadError::Option { option, problem });
    if !(1..=CONNECTIONS_MAX).contains(&options.connections) {
        return refused("connections", format!("must be 1 to {CONNECTIONS_MAX}"));
    }
    if !(1..=THREADS_MAX.min(options.connections)).contains(&options.threads) {
        let most = THREADS_MAX.min(options.connections);
        return refused("threads", format!("must be 1 to {most}, and no more than connections"));
    }
    let hold = if let LoadMode::Idle { hold } = options.mode { hold } else { Duration::ZERO };
    for (option, given) in
        [("duration", options.duration), ("timeout", options.timeout), ("hold", hold)]
    {
        if given > DURATION_MAX {
            return refused(option, "must be at most a day".to_owned());
        }
    }
    if options.message_bytes > MESSAGE_MAX {
        return refused("message", format!("must be at most {MESSAGE_MAX} bytes"));
    }
    if options.timeout.is_zero() {
        return refused("timeout", "must be more than nothing".to_owned());
    }
    if options.method.is_empty() || !options.method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return refused("method", "must be letters, as in GET or POST".to_owned());
    }
    for (name, value) in &options.headers {
        let name_fits = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !name_fits || value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f) {
            let problem = "a name is letters, digits and dashes, a value one line of text";
            return refused("header", format!("{name}: {problem}"));
        }
    }
    Ok(())
}

fn request(options: &LoadOptions, target: &target::Target) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + options.body.len());
    for piece in [options.method.as_str(), " ", target.path.as_str(), " HTTP/1.1\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    let given =
        |wanted: &str| options.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if !given("host") {
        put_field(&mut out, b"host", target.authority.as_bytes());
    }
    if !given("user-agent") {
        put_field(&mut out, b"user-agent", b"tidegate-bench");
    }
    if target.scheme.websocket {
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ] {
            put_field(&mut out, name.as_bytes(), value.as_bytes());
        }
    } else if options.close || options.handshakes.is_some() {
        put_field(&mut out, b"connection", b"close");
    }
    for (name, value) in &options.headers {
        // Framing is ours: a second length would make the request invalid.
        let framing = ["content-length", "transfer-encoding"];
        if !framing.iter().any(|field| name.eq_ignore_ascii_case(field)) {
            put_field(&mut out, name.as_bytes(), value.as_bytes());
        }
    }
    if !options.body.is_empty() || options.method == "POST" {
        put_number_field(&mut out, b"content-length", options.body.len() as u64);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&options.body);
    out
}
