//! `tidegate serve`: both planes, reloads, and the drain at the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_config::Config;
use tidegate_control::{AdminBind, Control, Options};
use tidegate_gateway::Gateway;
use tidegate_snapshot::{Live, Shared, compile};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::ServeOptions;
use crate::reload::Origin;
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
        for address in server.gateway.addresses() {
            tracing::info!("listening on http://{address}");
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
}

impl Server {
    /// Starts both planes.
    pub(crate) fn start(config: Config) -> Result<Self, Failure> {
        raise_file_limit(&config);
        let shards = config.shards.unwrap_or_else(files::cores);
        let live = Live::new(shards);
        let options = Options {
            admin: config.admin.as_ref().map(|admin| AdminBind {
                bind: admin.bind,
                token: admin.token.expose().to_owned(),
            }),
        };
        let snapshot = compile(Arc::new(config), &live, 1)
            .map_err(|error| Failure::User(error.to_string()))?;
        let shared = Arc::new(Shared::new(snapshot, live));
        tidegate_control::resolve_once(&shared.live, FIRST_NAMES);
        let control = Control::start(Arc::clone(&shared), options)
            .map_err(|error| Failure::User(error.to_string()))?;
        let gateway = Gateway::start(&shared).map_err(|error| Failure::User(error.to_string()))?;
        Ok(Self { shared, gateway, control })
    }

    /// Reloads on SIGHUP and when the file changes; drains on SIGTERM and SIGINT. `ready` is called
    /// once signals are heard: what is announced before could be stopped the hard way.
    pub(crate) fn run(
        mut self,
        origin: &Origin,
        ready: impl FnOnce(&Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the main loop")?;
        runtime.block_on(async {
            let mut hangup = signal(SignalKind::hangup()).context("cannot take SIGHUP")?;
            let mut terminate = signal(SignalKind::terminate()).context("cannot take SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("cannot take SIGINT")?;
            ready(&self)?;
            let mut file_check = tokio::time::interval(FILE_CHECK);
            let mut stamp = origin.stamp();
            loop {
                tokio::select! {
                    _ = hangup.recv() => {
                        stamp = origin.stamp();
                        self.reload(origin);
                    }
                    _ = file_check.tick() => {
                        let now = origin.stamp();
                        if now.is_some() && now != stamp {
                            stamp = now;
                            self.reload(origin);
                        }
                    }
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                }
            }
            tokio::select! {
                () = self.drain() => tracing::info!("drained"),
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
        let before = self.shared.snapshot.load_full();
        if *before.config == config {
            return tracing::info!("reload: nothing has changed");
        }
        if config.shards.is_some_and(|shards| shards != self.shared.live.shard_count()) {
            tracing::warn!("reload: `shards` changes with the next start");
        }
        let snapshot = match compile(Arc::new(config), &self.shared.live, before.generation + 1) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                return tracing::error!("reload refused, the old configuration stays: {error}");
            }
        };
        let fresh = match self.gateway.bind(&snapshot) {
            Ok(fresh) => fresh,
            Err(error) => {
                return tracing::error!("reload refused, the old configuration stays: {error}");
            }
        };
        let (generation, snapshot) = (snapshot.generation, Arc::new(snapshot));
        self.shared.snapshot.store(Arc::clone(&snapshot));
        self.gateway.listen(fresh, &snapshot);
        self.shared.live.forget_unused();
        tracing::info!(generation, "reloaded");
    }

    /// Waits until nothing is in flight, at most as long as the drain may take. New connections are
    /// still answered meanwhile: whoever sends them has not heard of the shutdown yet.
    async fn drain(&self) {
        let limit = Duration::from_millis(self.shared.snapshot.load().timeouts.drain);
        let gauges = &self.shared.live.gauges;
        let in_flight = || {
            gauges.in_flight.load(std::sync::atomic::Ordering::Acquire)
                + gauges.waiting.load(std::sync::atomic::Ordering::Acquire)
        };
        tracing::info!(in_flight = in_flight(), "draining for {limit:?} at most");
        self.shared.live.begin_drain();
        self.gateway.close_idle();
        let emptied = async {
            let mut quiet = Duration::ZERO;
            while quiet < DRAIN_QUIET {
                tokio::time::sleep(DRAIN_CHECK).await;
                quiet = if in_flight() == 0 { quiet + DRAIN_CHECK } else { Duration::ZERO };
            }
            self.gateway.close_listeners();
            while in_flight() > 0 {
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
