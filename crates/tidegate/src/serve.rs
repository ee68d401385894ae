//! `tidegate serve`: both planes, reloads, and the drain at the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_config::Config;
use tidegate_control::{AdminBind, Control, ORDERS_MAX, Options, Order};
use tidegate_gateway::{Fresh, Gateway};
use tidegate_snapshot::{Live, Shared, Snapshot, compile};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::ServeOptions;
use crate::handover::Owner;
use crate::notify::notify;
use crate::reload::{CertificateStamps, Origin, certificate_stamps};
use crate::upgrade::{Inherited, Program, Successor};
use crate::{Failure, files, logging};

/// How often the configuration file is looked at.
const FILE_CHECK: Duration = Duration::from_secs(1);

/// Longest wait for the first addresses of the endpoints' names.
const FIRST_NAMES: Duration = Duration::from_secs(3);

/// How often a drain looks whether it is over.
const DRAIN_CHECK: Duration = Duration::from_millis(50);

/// How long a drain goes on answering new connections when nothing is in flight: whoever routes
/// traffic to us sees `/health` turn to 503 first.
const DRAIN_QUIET: Duration = Duration::from_millis(500);

/// Serves what the command line names until it is told to stop.
pub(crate) fn run(options: &ServeOptions) -> Result<(), Failure> {
    let preset = files::preset(options.preset.as_deref())?;
    let origin = match (&options.source.config, &options.source.env_file) {
        (Some(path), _) => Origin::Yaml(path.clone(), preset),
        (None, Some(path)) => Origin::Env(path.clone(), preset),
        (None, None) => return Err(Failure::User("name a --config or an --env-file".to_owned())),
    };
    let config = origin.load()?;
    logging::begin(&config.log);
    let server = Server::start(config)?;
    server.run(&origin, |server| {
        let snapshot = server.shared.snapshot.load();
        for (configured, address) in server.gateway.listening() {
            let listener = snapshot.listener(configured);
            let scheme = match listener.map(|l| (l.tcp.is_some(), l.tls.is_some())) {
                Some((true, _)) => "tcp",
                Some((false, true)) => "https",
                _ => "http",
            };
            tracing::info!("listening on {scheme}://{address}");
        }
        if let Some(address) = server.control.admin_address() {
            tracing::info!("admin on http://{address}");
        }
        Ok(())
    })
}

/// A running process.
pub(crate) struct Server {
    shared: Arc<Shared>,
    pub(crate) gateway: Gateway,
    control: Control,
    /// From the process before us, until we have told it that we are ready.
    inherited: Inherited,
    /// The certificate files as they were when they were last read.
    certificates: CertificateStamps,
    /// What the admin API asks for.
    orders: mpsc::Receiver<Order>,
    /// The text that the configuration was changed to, where it does not come from a YAML file.
    pub(crate) memory: Option<String>,
}

/// A configuration that is ready to be put in force.
pub(crate) struct Prepared {
    snapshot: Snapshot,
    fresh: Fresh,
    certificates: CertificateStamps,
}

impl Prepared {
    /// What could not be read and would stay as it is.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.snapshot.complaints.iter().map(ToString::to_string).collect()
    }
}

/// Why the main loop has ended.
enum End {
    /// A signal said so.
    Stop,
    /// Another process has taken our place.
    Replaced,
}

impl Server {
    /// Starts both planes.
    pub(crate) fn start(config: Config) -> Result<Self, Failure> {
        raise_file_limit(&config);
        let mut inherited =
            Inherited::receive().context("cannot take the old process's sockets")?;
        let shards = config.shards.unwrap_or_else(files::cores);
        let live = Live::new(shards);
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let options = Options {
            admin: config.admin.as_ref().map(|admin| AdminBind {
                bind: admin.bind,
                token: admin
                    .token
                    .as_ref()
                    .map_or_else(String::new, |token| token.expose().to_owned()),
            }),
            admin_socket: inherited.admin.take(),
            orders: Some(sender),
        };
        let certificates = certificate_stamps(&config);
        let snapshot = compile(Arc::new(config), &live, 1)
            .map_err(|error| Failure::User(error.to_string()))?;
        let shared = Arc::new(Shared::new(snapshot, live));
        tidegate_control::resolve_once(
            &shared.live,
            &shared.snapshot.load().config.resolver,
            FIRST_NAMES,
        );
        let control = Control::start(Arc::clone(&shared), options)
            .map_err(|error| Failure::User(error.to_string()))?;
        let gateway = Gateway::start(&shared, std::mem::take(&mut inherited.listeners))
            .map_err(|error| Failure::User(error.to_string()))?;
        Ok(Self { shared, gateway, control, inherited, certificates, orders, memory: None })
    }

    /// Reloads on SIGHUP and when the file changes; starts the new binary on SIGUSR2; drains on
    /// SIGTERM and SIGINT. `ready` is called once signals are heard: what is announced before could
    /// be stopped the hard way.
    pub(crate) fn run(
        mut self,
        origin: &Origin,
        ready: impl FnOnce(&Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let program = Program::current().context("cannot tell which program this is")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the main loop")?;
        runtime.block_on(async {
            let mut hangup = signal(SignalKind::hangup()).context("cannot take SIGHUP")?;
            let mut terminate = signal(SignalKind::terminate()).context("cannot take SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("cannot take SIGINT")?;
            let mut upgrade = signal(SignalKind::user_defined2()).context("cannot take SIGUSR2")?;
            ready(&self)?;
            notify("READY=1");
            std::mem::take(&mut self.inherited).ready();
            let mut successor: Option<Successor> = None;
            let mut file_check = tokio::time::interval(FILE_CHECK);
            let mut stamp = origin.stamp();
            let end = loop {
                tokio::select! {
                    _ = hangup.recv() => {
                        stamp = origin.stamp();
                        self.reload(origin);
                        self.reload_changed_certificates();
                    }
                    _ = file_check.tick() => {
                        let now = origin.stamp();
                        if now.is_some() && now != stamp {
                            stamp = now;
                            self.reload(origin);
                        }
                        self.reload_changed_certificates();
                    }
                    Some(order) = self.orders.recv() => {
                        // What we have written ourselves is no news.
                        if self.obey(origin, order) {
                            stamp = origin.stamp();
                        }
                    }
                    _ = upgrade.recv() => {
                        if successor.is_some() {
                            tracing::warn!("an upgrade is under way already");
                        } else if matches!(origin, Origin::Made(_)) {
                            tracing::error!("only `tidegate serve` can be upgraded in place");
                        } else {
                            successor = self.begin_upgrade(&program);
                        }
                    }
                    started = outcome(&mut successor) => {
                        successor = None;
                        match started {
                            Ok(process) => {
                                tracing::info!(process, "upgraded: the new process accepts");
                                notify(&format!("MAINPID={process}"));
                                break End::Replaced;
                            }
                            Err(error) => tracing::error!("not upgraded: {error}"),
                        }
                    }
                    _ = terminate.recv() => break End::Stop,
                    _ = interrupt.recv() => break End::Stop,
                }
            };
            if matches!(end, End::Stop) {
                notify("STOPPING=1");
            }
            if let Some(successor) = successor {
                successor.give_up().await;
            }
            tokio::select! {
                () = self.drain(&end) => tracing::info!("drained"),
                _ = terminate.recv() => tracing::warn!("stopped without waiting"),
                _ = interrupt.recv() => tracing::warn!("stopped without waiting"),
            }
            Ok::<(), Failure>(())
        })?;
        self.gateway.stop();
        self.control.stop();
        Ok(())
    }

    /// Puts a changed configuration in force, or says why the old one stays.
    fn reload(&mut self, origin: &Origin) {
        let config = match origin.load() {
            Ok(config) => config,
            Err(Failure::User(text)) => {
                return tracing::error!("reload refused, the old configuration stays: {text}");
            }
            Err(Failure::Internal(error)) => {
                return tracing::error!("reload failed, the old configuration stays: {error:#}");
            }
        };
        self.memory = None;
        if *self.config() == config {
            return tracing::info!("reload: nothing has changed");
        }
        match self.prepare(Arc::new(config)) {
            Ok(prepared) => self.put_in_force(prepared),
            Err(error) => tracing::error!("reload refused, the old configuration stays: {error}"),
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.shared.snapshot.load().config)
    }

    /// Its number.
    pub(crate) fn generation(&self) -> u64 {
        self.shared.snapshot.load().generation
    }

    /// Compiles a checked configuration with whatever the files that it names hold now, and binds
    /// its new addresses. Nothing changes by that.
    pub(crate) fn prepare(&self, config: Arc<Config>) -> Result<Prepared, String> {
        if config.shards.is_some_and(|shards| shards != self.shared.live.shard_count()) {
            tracing::warn!("reload: `shards` changes with the next start");
        }
        // Before they are read: a change in between is seen at the next look.
        let certificates = certificate_stamps(&config);
        let generation = self.generation() + 1;
        let snapshot =
            compile(config, &self.shared.live, generation).map_err(|error| error.to_string())?;
        let fresh = self.gateway.bind(&snapshot).map_err(|error| error.to_string())?;
        Ok(Prepared { snapshot, fresh, certificates })
    }

    /// Puts a prepared configuration in force. What could not be read and stays as it was is
    /// complained about in the log.
    pub(crate) fn put_in_force(&mut self, prepared: Prepared) {
        let Prepared { snapshot, fresh, certificates } = prepared;
        for complaint in &snapshot.complaints {
            tracing::error!("{complaint}");
        }
        let (generation, snapshot) = (snapshot.generation, Arc::new(snapshot));
        self.shared.snapshot.store(Arc::clone(&snapshot));
        self.gateway.listen(fresh, &snapshot);
        self.shared.live.forget_unused();
        self.certificates = certificates;
        tracing::info!(generation, "reloaded");
    }

    /// Reads the certificates anew if one of their files has changed.
    fn reload_changed_certificates(&mut self) {
        let now = certificate_stamps(&self.shared.snapshot.load().config);
        if now == self.certificates {
            return;
        }
        // Once for each change, whatever comes of it.
        self.certificates = now;
        match self.prepare(self.config()) {
            Ok(prepared) => {
                self.put_in_force(prepared);
                tracing::info!(generation = self.generation(), "certificates read anew");
            }
            Err(error) => {
                tracing::error!("certificates not read anew, the old ones stay: {error}");
            }
        }
    }

    /// Starts the new binary.
    fn begin_upgrade(&self, program: &Program) -> Option<Successor> {
        let sockets: io::Result<Vec<_>> = (self.gateway.sockets().into_iter())
            .map(|(address, socket)| Ok((Owner::Listener(address), socket.try_clone()?)))
            .chain(self.control.admin_socket().map(|s| Ok((Owner::Admin, s.try_clone()?))))
            .collect();
        match sockets.and_then(|sockets| Successor::start(program, sockets)) {
            Ok(successor) => Some(successor),
            Err(error) => {
                tracing::error!("not upgraded: {error}");
                None
            }
        }
    }

    /// Waits until nothing is in flight, at most as long as that may take. Before a stop new
    /// connections are still answered for a while: whoever sends them has not heard of it yet. After
    /// an upgrade they go to the new process.
    async fn drain(&mut self, end: &End) {
        let timeouts = self.shared.snapshot.load().timeouts;
        let (limit, grace) = match end {
            End::Stop => (timeouts.drain, DRAIN_QUIET),
            End::Replaced => (timeouts.upgrade, Duration::from_millis(timeouts.keep_alive)),
        };
        let limit = Duration::from_millis(limit);
        let live = Arc::clone(&self.shared.live);
        let in_flight = || {
            live.gauges.in_flight.load(std::sync::atomic::Ordering::Acquire)
                + live.gauges.waiting.load(std::sync::atomic::Ordering::Acquire)
                + live.gauges.tcp.load(std::sync::atomic::Ordering::Acquire)
        };
        tracing::info!(in_flight = in_flight(), "draining for {limit:?} at most");
        if matches!(end, End::Replaced) {
            self.gateway.close_listeners();
            self.control.close_admin();
        }
        live.begin_drain(grace);
        self.gateway.close_idle();
        let emptied = async {
            if matches!(end, End::Stop) {
                let mut quiet = Duration::ZERO;
                while quiet < DRAIN_QUIET {
                    tokio::time::sleep(DRAIN_CHECK).await;
                    quiet = if in_flight() == 0 { quiet + DRAIN_CHECK } else { Duration::ZERO };
                }
                self.gateway.close_listeners();
            }
            // Idle connections close a few at a time: all are gone when the last has had its turn.
            while in_flight() > 0 || !live.has_closed_idle() {
                tokio::time::sleep(DRAIN_CHECK).await;
            }
            // The last replies leave their sockets.
            tokio::time::sleep(DRAIN_CHECK).await;
        };
        if tokio::time::timeout(limit, emptied).await.is_err() {
            tracing::warn!(in_flight = in_flight(), "the drain took too long");
        }
    }
}

/// Waits for the process that is to take our place, where one has been started.
async fn outcome(successor: &mut Option<Successor>) -> io::Result<u32> {
    match successor {
        Some(successor) => successor.outcome().await,
        None => std::future::pending().await,
    }
}

/// Takes as many open files as the system allows, and says when the limits need more.
fn raise_file_limit(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let budget = files::budget(config);
    let shortages =
        [limit.maximum.and_then(|files| budget.file_shortage(files)), budget.memory_shortage()];
    for shortage in shortages.into_iter().flatten() {
        tracing::warn!("{shortage}");
    }
}
