//! A tunnel: bytes pass between a caller and an endpoint, both ways as they come, until both have
//! ended. WebSocket and TCP connections are tunnels.

#[cfg(target_os = "linux")]
mod splice;
#[cfg(not(target_os = "linux"))]
#[path = "tunnel/no_splice.rs"]
mod splice;

use std::io::IoSlice;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use tidegate_snapshot::Reason;
use tidegate_snapshot::live::EndpointLive;
use tidegate_snapshot::series::Counter;

use crate::client::Client;
use crate::shard::Shard;
use crate::upstream::Leg;

use splice::Pipe;
pub(crate) use splice::Pipes;

/// Reads in one poll before other tasks of the shard have their turn: at most 1 MiB each way.
const ROUNDS_MAX: u32 = 16;

/// A read of at least this many bytes belongs to a big transfer.
const BULK_READ: usize = 16 * 1024;

/// After so many bytes in such reads, one after the other, the kernel passes them on by itself.
/// Below, the system calls of a pipe cost more than the copy that they save.
const BULK_AFTER: u32 = 256 * 1024;

/// Where bytes are counted as they pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter<'m> {
    /// From the caller to the endpoint.
    pub(crate) received: &'m Counter,
    /// From the endpoint to the caller.
    pub(crate) sent: &'m Counter,
}

/// How long a tunnel may be silent, in ms. Any byte in either direction begins the time anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits<'l> {
    /// The endpoint, which an operator may take out of service.
    pub(crate) endpoint: &'l EndpointLive,
    /// While both directions are open.
    pub(crate) idle_ms: u64,
    /// Once one of them has ended.
    pub(crate) half_closed_ms: u64,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    state: State,
    /// Bytes in big reads, one after the other.
    run: u32,
    /// What the kernel has taken from the one socket and not given to the other.
    pipe: Option<Pipe>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Bytes may come.
    #[default]
    Open,
    /// The end has been read and is still to be passed on.
    Ending,
    /// It has been passed on.
    Ended,
}

impl Way {
    /// Counts a read towards a big transfer.
    fn note(&mut self, read: usize) {
        self.run = if read >= BULK_READ { self.run.saturating_add(read as u32) } else { 0 };
    }

    fn is_bulk(&self) -> bool {
        self.run >= BULK_AFTER
    }
}

/// What one direction has done in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Something moved: look again.
    Moved,
    /// Nothing to do before the task is woken.
    Waits,
}

/// Why a tunnel ends before both directions have.
enum Broken {
    /// The caller's side failed.
    Caller,
    /// The endpoint's side failed.
    Endpoint,
}

struct Tunnel<'t> {
    shard: &'t Rc<Shard>,
    meter: Meter<'t>,
    leg: Leg,
    /// Read from the caller and not yet taken by the endpoint: at most one read's worth.
    unsent: Vec<u8>,
    unsent_from: usize,
    up: Way,
    down: Way,
    /// When the last byte passed (ms).
    moved_ms: u64,
}

/// Passes bytes until both directions have ended. Otherwise: why not.
///
/// An end is passed on as an end and a reset as a reset. What one side does not take is not read
/// from the other.
pub(crate) async fn run(
    shard: &Rc<Shard>,
    client: &mut Client,
    leg: Leg,
    limits: Limits<'_>,
    meter: Meter<'_>,
) -> Option<Reason> {
    let mut tunnel = Tunnel {
        shard,
        meter,
        leg,
        unsent: Vec::new(),
        unsent_from: 0,
        up: Way::default(),
        down: Way::default(),
        moved_ms: client.now_ms(),
    };
    std::future::poll_fn(|cx| tunnel.poll(cx, client, limits)).await
}

impl Tunnel<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        limits: Limits<'_>,
    ) -> Poll<Option<Reason>> {
        let mut rounds = ROUNDS_MAX;
        loop {
            let turns = (self.turn_up(cx, client), self.turn_down(cx, client));
            let turns = match turns {
                (Ok(up), Ok(down)) => [up, down],
                (Err(broken), _) | (_, Err(broken)) => {
                    return Poll::Ready(Some(self.break_off(client, &broken)));
                }
            };
            if self.up.state == State::Ended && self.down.state == State::Ended {
                return Poll::Ready(None);
            }
            if turns == [Turn::Waits; 2] {
                break;
            }
            self.moved_ms = client.now_ms();
            rounds -= 1;
            if rounds == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        // The reset of a stream is seen without reading, which is not done while the endpoint is slow.
        if client.is_framed() && client.poll_gone(cx).is_ready() {
            return Poll::Ready(Some(self.break_off(client, &Broken::Caller)));
        }
        let both_open = self.up.state == State::Open && self.down.state == State::Open;
        let patience = if both_open { limits.idle_ms } else { limits.half_closed_ms };
        // What a slow caller takes of one read moves too.
        let moved_ms = self.moved_ms.max(client.reply.progress_ms);
        let mut end = (moved_ms.saturating_add(patience), Reason::TunnelTimeout);
        let drained = limits.endpoint.close_at_ms.load(Relaxed);
        if drained != 0 && drained < end.0 {
            end = (drained, Reason::EndpointDrained);
        }
        if client.timer.passed(end.0) {
            return Poll::Ready(Some(end.1));
        }
        client.timer.arm(end.0, cx.waker());
        Poll::Pending
    }

    /// One side has failed: the other is reset, so that it cannot take this for an end.
    fn break_off(&self, client: &mut Client, broken: &Broken) -> Reason {
        match broken {
            Broken::Caller => {
                self.leg.reset_on_close();
                Reason::ClientGone
            }
            Broken::Endpoint => {
                client.reset_on_close();
                Reason::UpstreamCut
            }
        }
    }

    /// From the caller to the endpoint.
    fn turn_up(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Result<Turn, Broken> {
        while self.unsent_from < self.unsent.len() {
            let rest = self.unsent.get(self.unsent_from..).unwrap_or_default();
            match self.leg.poll_write(cx, &[IoSlice::new(rest)]) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.unsent_from += n;
                    self.moved_ms = client.now_ms();
                }
                Poll::Ready(_) => return Err(Broken::Endpoint),
                Poll::Pending => return Ok(Turn::Waits),
            }
        }
        if self.unsent_from > 0 {
            // Freed, not kept: a tunnel that stalled once should not hold memory for good.
            self.unsent = Vec::new();
            self.unsent_from = 0;
        }
        if self.up.state == State::Open
            && (self.up.pipe.is_some() || self.up.is_bulk())
            && let (Some(from), Some(to)) = (client.bare_source(), self.leg.bare())
        {
            let passed = splice::pass(cx, &mut self.up.pipe, &self.shard.pipes, from, to);
            match passed {
                Some(Poll::Ready(Ok(0))) => self.up.state = State::Ending,
                Some(Poll::Ready(Ok(n))) => {
                    self.up.note(n);
                    self.meter.received.add(n as u64);
                    self.shard.cell().spliced_bytes.add(n as u64);
                    return Ok(Turn::Moved);
                }
                Some(Poll::Ready(Err(splice::Failed::From))) => return Err(Broken::Caller),
                Some(Poll::Ready(Err(splice::Failed::To))) => return Err(Broken::Endpoint),
                Some(Poll::Pending) => return Ok(Turn::Waits),
                None => self.up.run = 0,
            }
        }
        if self.up.state == State::Open {
            let mut scratch = self.shard.scratch.borrow_mut();
            match client.poll_read(cx, &mut scratch.read) {
                Poll::Ready(Ok(0)) => self.up.state = State::Ending,
                Poll::Ready(Ok(n)) => {
                    self.up.note(n);
                    self.meter.received.add(n as u64);
                    let bytes = scratch.read.get(..n).unwrap_or_default();
                    return match self.leg.poll_write(cx, &[IoSlice::new(bytes)]) {
                        Poll::Ready(Ok(0) | Err(_)) => Err(Broken::Endpoint),
                        Poll::Ready(Ok(sent)) => {
                            self.unsent.extend_from_slice(bytes.get(sent..).unwrap_or_default());
                            Ok(Turn::Moved)
                        }
                        Poll::Pending => {
                            self.unsent.extend_from_slice(bytes);
                            Ok(Turn::Moved)
                        }
                    };
                }
                Poll::Ready(Err(_)) => return Err(Broken::Caller),
                Poll::Pending => {
                    // What TLS still holds must not wait for the next piece.
                    return match self.leg.poll_flush(cx) {
                        Poll::Ready(Err(_)) => Err(Broken::Endpoint),
                        _ => Ok(Turn::Waits),
                    };
                }
            }
        }
        if self.up.state == State::Ending {
            return Ok(ended(&mut self.up, self.leg.poll_shutdown(cx).is_ready()));
        }
        Ok(Turn::Waits)
    }

    /// From the endpoint to the caller.
    fn turn_down(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Result<Turn, Broken> {
        match client.poll_flush(cx) {
            Poll::Ready(Err(_)) => return Err(Broken::Caller),
            Poll::Pending if client.is_blocked() => return Ok(Turn::Waits),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if self.down.state == State::Open
            && (self.down.pipe.is_some() || self.down.is_bulk())
            && let (Some(from), Some(to)) = (self.leg.bare(), client.bare_sink())
        {
            let passed = splice::pass(cx, &mut self.down.pipe, &self.shard.pipes, from, to);
            match passed {
                Some(Poll::Ready(Ok(0))) => self.down.state = State::Ending,
                Some(Poll::Ready(Ok(n))) => {
                    self.down.note(n);
                    self.meter.sent.add(n as u64);
                    client.reply.bytes += n as u64;
                    self.shard.cell().spliced_bytes.add(n as u64);
                    return Ok(Turn::Moved);
                }
                Some(Poll::Ready(Err(splice::Failed::From))) => return Err(Broken::Endpoint),
                Some(Poll::Ready(Err(splice::Failed::To))) => return Err(Broken::Caller),
                Some(Poll::Pending) => return Ok(Turn::Waits),
                None => self.down.run = 0,
            }
        }
        if self.down.state == State::Open {
            let mut scratch = self.shard.scratch.borrow_mut();
            match self.leg.poll_read(cx, &mut scratch.read) {
                Poll::Ready(Ok(0)) => self.down.state = State::Ending,
                Poll::Ready(Ok(n)) => {
                    self.down.note(n);
                    self.meter.sent.add(n as u64);
                    let bytes = scratch.read.get(..n).unwrap_or_default();
                    return match client.send(cx, &mut [IoSlice::new(bytes)]) {
                        Ok(()) => Ok(Turn::Moved),
                        Err(_) => Err(Broken::Caller),
                    };
                }
                Poll::Ready(Err(_)) => return Err(Broken::Endpoint),
                Poll::Pending => return Ok(Turn::Waits),
            }
        }
        if self.down.state == State::Ending {
            return Ok(ended(&mut self.down, client.poll_shutdown(cx).is_ready()));
        }
        Ok(Turn::Waits)
    }
}

/// Notes that an end has been passed on. A side that has gone already needs none.
fn ended(way: &mut Way, shut: bool) -> Turn {
    if shut {
        way.state = State::Ended;
        return Turn::Moved;
    }
    Turn::Waits
}
