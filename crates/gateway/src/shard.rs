//! A shard: one thread of the data plane with its own listeners, pools, timers and buffers.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use tidegate_policy::balance::mix;
use tidegate_snapshot::series::ShardCell;
use tidegate_snapshot::{Live, Shared, Snapshot};
use tokio::sync::mpsc;

use crate::admission::{Gates, Queue};
use crate::buffer::{Buffers, Scratch};
use crate::listener::Listening;
use crate::rounds::Rounds;
use crate::timer::{TICK_MS, Timers};
use crate::tunnel::Pipes;
use crate::upstream::current::Current;
use crate::upstream::http2::Http2Pool;
use crate::upstream::pool::Pool;
use crate::upstream::queue::{self, EndpointQueues};

/// What the rest of the process asks of a shard.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept on this socket too, for the listener with this configured address.
    Listen(SocketAddr, std::net::TcpListener),
    /// Stop accepting for the listener with this configured address.
    Unlisten(SocketAddr),
    /// Close idle connections, and each other one after its exchange.
    Drain,
    /// Look at all deadlines: one has moved closer.
    Wake,
    /// Stop accepting anywhere.
    CloseListeners,
    /// End the thread; what is still open is dropped.
    Stop,
}

/// The state of one shard. Only its own thread sees it.
#[derive(Debug)]
pub(crate) struct Shard {
    /// 0, 1, …
    pub(crate) index: usize,
    /// The configuration in force and the live state.
    pub(crate) shared: Arc<Shared>,
    /// Deadlines.
    pub(crate) timers: Rc<Timers>,
    /// When all sockets have been looked at.
    pub(crate) rounds: Rounds,
    /// Buffers for request heads.
    pub(crate) buffers: Rc<Buffers>,
    /// Space for one poll.
    pub(crate) scratch: RefCell<Scratch>,
    /// Idle connections to endpoints.
    pub(crate) pool: Pool,
    /// Connections of HTTP/2 to endpoints.
    pub(crate) http2: Http2Pool,
    /// What big transfers of tunnels go through.
    pub(crate) pipes: Rc<Pipes>,
    /// Who waits for admission here.
    pub(crate) queue: Queue,
    /// Who waits for an endpoint here.
    pub(crate) endpoint_queues: EndpointQueues,
    /// How shards tell each other of free places.
    pub(crate) gates: Arc<Gates>,
    /// Replies that are being compressed.
    pub(crate) encoders: Cell<u32>,
    // An Rc around the Arc: taking the snapshot for a request then costs no atomic operation on a
    // counter that all shards share.
    #[expect(clippy::redundant_allocation)]
    snapshot: RefCell<Rc<Arc<Snapshot>>>,
    in_force: RefCell<Cache<InForce, Arc<Snapshot>>>,
    random: Cell<u64>,
    tasks: Cell<u64>,
    log_lines: Cell<LogLines>,
    /// The second in progress and the handshakes beyond the limit that were made in it.
    handshakes_over_limit: Cell<(u64, u32)>,
    /// Copies of requests in flight.
    pub(crate) mirrors: Cell<u32>,
}

/// Where the snapshot in force is swapped.
#[derive(Debug)]
struct InForce(Arc<Shared>);

impl std::ops::Deref for InForce {
    type Target = ArcSwap<Snapshot>;
    fn deref(&self) -> &ArcSwap<Snapshot> {
        &self.0.snapshot
    }
}

/// Lines about failures that a shard logs per second. Writing them blocks, and an endpoint that is
/// down fails as often as it is asked; the metrics count them all.
const LOG_LINES_PER_SECOND: u32 = 10;

/// TLS handshakes with connections beyond the limit that a shard makes per second, so that `/health`
/// answers there too: few enough that refusing costs less than 2 % of its time.
const HANDSHAKES_OVER_LIMIT_PER_SECOND: u32 = 20;

/// The lines of the second in progress.
#[derive(Debug, Clone, Copy, Default)]
struct LogLines {
    second: u64,
    written: u32,
    left_out: u64,
}

impl Shard {
    /// A shard with nothing to do yet.
    pub(crate) fn new(index: usize, shared: Arc<Shared>, gates: Arc<Gates>) -> Rc<Self> {
        let snapshot = shared.snapshot.load_full();
        let now_ms = shared.live.now_ms();
        let seed = mix(std::process::id().into()) ^ mix(index as u64) ^ mix(nanos());
        Rc::new(Self {
            index,
            timers: Timers::new(now_ms),
            rounds: Rounds::default(),
            buffers: Rc::new(Buffers::default()),
            scratch: RefCell::new(Scratch::default()),
            pool: Pool::default(),
            http2: Http2Pool::default(),
            pipes: Rc::default(),
            queue: Queue::default(),
            endpoint_queues: EndpointQueues::default(),
            gates,
            snapshot: RefCell::new(Rc::new(snapshot)),
            in_force: RefCell::new(Cache::new(InForce(Arc::clone(&shared)))),
            encoders: Cell::default(),
            random: Cell::new(seed),
            tasks: Cell::new(0),
            log_lines: Cell::default(),
            handshakes_over_limit: Cell::default(),
            mirrors: Cell::new(0),
            shared,
        })
    }

    /// The configuration in force, to be held for one exchange.
    #[expect(clippy::redundant_allocation)]
    pub(crate) fn snapshot(&self) -> Rc<Arc<Snapshot>> {
        let mut in_force = self.in_force.borrow_mut();
        let current = in_force.load();
        let mut snapshot = self.snapshot.borrow_mut();
        if !Arc::ptr_eq(current, &snapshot) {
            *snapshot = Rc::new(Arc::clone(current));
        }
        Rc::clone(&snapshot)
    }

    /// The live state.
    pub(crate) fn live(&self) -> &Live {
        &self.shared.live
    }

    /// This shard's counters.
    pub(crate) fn cell(&self) -> &ShardCell {
        self.shared.live.shards.of(self.index)
    }

    /// A random number; not for secrets.
    pub(crate) fn random(&self) -> u64 {
        let next = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(next);
        mix(next)
    }

    /// May a line about a failure be logged now? Then: how many were left out before it.
    pub(crate) fn log_line(&self) -> Option<u64> {
        let mut lines = self.log_lines.get();
        let second = self.timers.now_ms() / 1000;
        if lines.second != second {
            lines = LogLines { second, written: 0, ..lines };
        }
        let left_out = if lines.written < LOG_LINES_PER_SECOND {
            lines.written += 1;
            Some(std::mem::take(&mut lines.left_out))
        } else {
            lines.left_out += 1;
            None
        };
        self.log_lines.set(lines);
        left_out
    }

    /// May a TLS handshake be made with a connection beyond the limit?
    pub(crate) fn may_shake_hands_over_limit(&self) -> bool {
        let second = self.timers.now_ms() / 1000;
        let (before, made) = self.handshakes_over_limit.get();
        let made = if before == second { made } else { 0 };
        self.handshakes_over_limit.set((second, made + 1));
        made < HANDSHAKES_OVER_LIMIT_PER_SECOND
    }

    /// Runs a task of this shard. It holds the guard, and is counted, for as long as it lives.
    ///
    /// The guard is handed to the task instead of wrapped around it: a future inside another is
    /// stored twice.
    pub(crate) fn spawn<F: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        task: impl FnOnce(TaskGuard) -> F,
    ) {
        tokio::task::spawn_local(task(TaskGuard::new(self)));
    }

    /// The once-a-tick work: the clock, the deadlines.
    fn tick(&self) {
        self.timers.advance(self.live().now_ms());
    }

    /// The once-a-second work: idle connections that are too old, gauges for the metrics page.
    fn sweep(&self, worst_lag: Duration) {
        let snapshot = self.snapshot();
        let (now_ms, idle_ms) = (self.timers.now_ms(), snapshot.timeouts.upstream_idle);
        let current = Current::of(&snapshot);
        self.pool.sweep(now_ms, idle_ms, &current);
        self.http2.sweep(now_ms, idle_ms, &current);
        let cell = self.cell();
        let http2 = self.http2.counts();
        cell.upstream_http2_connections.store(http2.connections.get(), Relaxed);
        cell.upstream_http2_streams.store(http2.streams.get(), Relaxed);
        cell.tasks.store(self.tasks.get(), Relaxed);
        self.pipes.sweep();
        cell.pipes.store(self.pipes.len() as u64, Relaxed);
        cell.pool_idle.store(self.pool.len() as u64, Relaxed);
        cell.buffers_lent.store(self.buffers.lent() as u64, Relaxed);
        cell.lag_us.store(worst_lag.as_micros() as u64, Relaxed);
    }
}

/// Counts a task.
#[derive(Debug)]
pub(crate) struct TaskGuard(Rc<Shard>);

impl TaskGuard {
    fn new(shard: &Rc<Shard>) -> Self {
        shard.tasks.set(shard.tasks.get() + 1);
        Self(Rc::clone(shard))
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.tasks.set(self.0.tasks.get() - 1);
    }
}

/// Runs a shard on the calling thread until it is told to stop.
pub(crate) fn run(
    index: usize,
    shared: Arc<Shared>,
    gates: Arc<Gates>,
    commands: mpsc::Receiver<Command>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // Sockets are looked at after this many task polls: small enough for even latency, large
        // enough that a busy shard does not pay a system call per request.
        .event_interval(61)
        .build_local(tokio::runtime::LocalOptions::default())?;
    let shard = Shard::new(index, shared, gates);
    runtime.block_on(live(shard, commands));
    Ok(())
}

fn nanos() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

/// The shard's own loop: commands, ticks, sweeps.
async fn live(shard: Rc<Shard>, mut commands: mpsc::Receiver<Command>) {
    let mut listening = Listening::default();
    let woken = Rc::clone(&shard);
    shard.spawn(|counted| async move {
        let _counted = counted;
        tokio::join!(crate::admission::serve_queue(&woken), woken.rounds.turn());
    });
    let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last_tick = Instant::now();
    let mut worst_lag = Duration::ZERO;
    let mut ticks_to_sweep = 0u32;
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Listen(address, socket)) => {
                    listening.open(&shard, address, socket);
                }
                Some(Command::Unlisten(address)) => listening.close(address),
                Some(Command::Drain | Command::Wake) => shard.timers.wake_all(),
                Some(Command::CloseListeners) => listening.close_all(),
                Some(Command::Stop) | None => return,
            },
            _ = ticks.tick() => {
                let now = Instant::now();
                let late = (now - last_tick).saturating_sub(Duration::from_millis(TICK_MS));
                worst_lag = worst_lag.max(late);
                last_tick = now;
                shard.tick();
                queue::grant_all(&shard);
                ticks_to_sweep += 1;
                if u64::from(ticks_to_sweep) * TICK_MS >= 1000 {
                    shard.sweep(worst_lag);
                    // A reload may have raised the limit.
                    crate::admission::grant(&shard);
                    ticks_to_sweep = 0;
                    worst_lag = Duration::ZERO;
                }
            }
        }
    }
}
