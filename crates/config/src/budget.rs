//! What the limits of a configuration cost at most: memory and open files.

use std::fmt;

use crate::model::{Config, LimitBy, Listener, Protocol};
use crate::size::ByteSize;

/// An idle client connection: ours and the kernel-independent part of the runtime.
const CONNECTION: u64 = 1536;

/// What TLS adds to it: an idle connection was measured at 9.3 KB.
const TLS: u64 = 8 << 10;

/// An idle HTTP/2 connection after its first request, most of it buffers of the protocol's
/// library. Measured at 17.6 KB.
const HTTP2_CONNECTION: u64 = 18 << 10;

/// The table of a rate limit that counts by client or field.
const RATE_TABLE: u64 = 512 << 10;

/// A request in flight besides its stream buffer: heads, timers, the record.
const REQUEST: u64 = 4 << 10;

/// A waiting request: its connection's head stays in the buffer that was read.
const WAITER: u64 = 1 << 10;

/// A request body that must be looked at before it can be sent on, as is usual for a chat.
const USUAL_BODY: u64 = 32 << 10;

/// The program itself, its threads and its allocator before the first connection.
const PROCESS: u64 = 32 << 20;

/// A shard's thread, pools and buffers.
const SHARD: u64 = 2 << 20;

/// Log, admin, epoll and timer files of the process.
const FILES: u64 = 64;

/// What the limits cost when they are all reached at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes that `limits.memory` allows.
    pub memory_limit_bytes: u64,
    /// Open files, sockets included.
    pub files: u64,
    /// How both numbers come about, one line for each part.
    pub lines: Vec<String>,
}

impl Budget {
    /// Adds up what the limits need on a machine with this many `cores`.
    pub fn of(config: &Config, cores: usize) -> Self {
        let limits = &config.limits;
        let connections = u64::from(limits.connections);
        let requests = u64::from(limits.requests);
        let waiters = u64::from(limits.queue.size);
        let shards = config.shards.unwrap_or(cores).max(1) as u64;
        let stream = limits.stream_buffer.as_u64();
        let (kind, connection) = dearest_connection(config);
        let limited = config.routes.iter().filter_map(|route| route.rate_limit.as_ref());
        let rate_tables = limited.filter(|limit| limit.by != LimitBy::Route).count() as u64;
        let parts = [
            ("process", 1, PROCESS),
            ("shards", shards, SHARD),
            (kind, connections, connection),
            ("requests in flight", requests, REQUEST.saturating_add(stream)),
            ("their bodies, 32 KiB as usual", requests, USUAL_BODY),
            ("requests waiting", waiters, WAITER),
            ("tables of rate limits", rate_tables, RATE_TABLE),
        ];
        let mut memory_bytes: u64 = 0;
        let mut lines = Vec::new();
        for (what, count, each) in parts.into_iter().filter(|(_, count, _)| *count > 0) {
            let bytes = count.saturating_mul(each);
            memory_bytes = memory_bytes.saturating_add(bytes);
            lines.push(format!(
                "memory  {what:<31} {count:>9} × {:>9} = {:>10}",
                ByteSize::bytes(each).approximate(),
                ByteSize::bytes(bytes).approximate()
            ));
        }
        let binds = config.listeners.len() as u64;
        let listeners = binds * shards + u64::from(config.admin.is_some());
        // A TCP connection takes no place among the requests, and one connection to an endpoint.
        let tcp = config.listeners.iter().any(|listener| listener.protocol == Protocol::Tcp);
        let tunnels = if tcp { connections } else { 0 };
        let file_parts = [
            ("process", FILES),
            ("listeners on every shard", listeners),
            ("client connections", connections),
            ("connections to endpoints", requests.saturating_mul(2).saturating_add(tunnels)),
        ];
        let mut files: u64 = 0;
        for (what, count) in file_parts {
            files = files.saturating_add(count);
            lines.push(format!("files   {what:<31} {count:>9}"));
        }
        Self { memory_bytes, memory_limit_bytes: limits.memory.as_u64(), files, lines }
    }

    /// Why `limits.memory` is too small for the other limits, if it is.
    pub fn memory_shortage(&self) -> Option<String> {
        (self.memory_bytes > self.memory_limit_bytes).then(|| {
            format!(
                "the other limits can need {}, more than these {}: requests are refused before they are reached",
                ByteSize::bytes(self.memory_bytes).approximate(),
                ByteSize::bytes(self.memory_limit_bytes).approximate()
            )
        })
    }

    /// Why a process that may open `open_files` files (RLIMIT_NOFILE) cannot reach the limits, if
    /// so.
    pub fn file_shortage(&self, open_files: u64) -> Option<String> {
        (self.files > open_files).then(|| {
            format!(
                "the limits can need {} open files, but this process may open {open_files}: raise it with \"ulimit -n {}\" \
                 or lower limits.connections",
                self.files,
                self.files.next_power_of_two()
            )
        })
    }
}

/// What a connection is that costs the most on any of the listeners, and its bytes: callers choose
/// where they connect and which protocol they speak.
fn dearest_connection(config: &Config) -> (&'static str, u64) {
    let of = |listener: &Listener| {
        let http2 = listener.http2 && listener.protocol == Protocol::Http;
        match (http2, !listener.tls.is_empty()) {
            (false, false) => ("client connections", CONNECTION),
            (false, true) => ("client connections, TLS", CONNECTION + TLS),
            (true, false) => ("client connections, HTTP/2", HTTP2_CONNECTION),
            (true, true) => ("client connections, HTTP/2, TLS", HTTP2_CONNECTION + TLS),
        }
    };
    let all = config.listeners.iter().map(of);
    all.max_by_key(|(_, bytes)| *bytes).unwrap_or(("client connections", CONNECTION))
}

impl fmt::Display for Budget {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        writeln!(
            f,
            "memory needed {} of {}",
            ByteSize::bytes(self.memory_bytes).approximate(),
            ByteSize::bytes(self.memory_limit_bytes).approximate()
        )?;
        write!(f, "files  needed {}", self.files)
    }
}
