//! A deterministic LLM provider: it answers as OpenAI, Anthropic and Gemini would, and the model's name says how it
//! behaves (see [`ProviderOptions`] for the knobs, `GET /lab/stats` and `GET /lab/last` for what it saw).
//!
//! `lab-echo` repeats the last user message; `lab-tokens-N` says N tokens; `lab-slow` waits 2 s; `lab-error-STATUS` fails;
//! `lab-cut` breaks the reply in the middle (`x-lab-cut: reset` or `mid-event` for a ruder break); `lab-stall` stops
//! sending; `lab-tools` calls the first tool offered, and reads its result out when it gets one; `lab-think` reasons
//! first; `lab-flaky-N` fails every N-th time; `lab-late-error` ends half a stream with an error event.
//!
//! `x-lab-first-token-ms` and `x-lab-interval-ms`, as query parameters or fields, set the pace.

mod answer;
mod anthropic_messages;
mod arguments;
mod call;
mod deliver;
mod failure;
mod gemini;
mod last;
mod model;
mod models;
mod narration;
mod openai_chat;
mod openai_completions;
mod openai_inputs;
mod openai_media;
mod openai_responses;
mod prompt;
mod route;
mod stats;
mod story;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::connection::{BodyError, Connection};
use crate::reply::{Length, put_head};
use crate::server::{ServerHandle, accept_each, spawn};

use self::last::LastRequest;
pub(crate) use self::last::put_request;
pub use self::stats::{Stats, StatsPage};

/// Threads that may ask for the counters at the same moment; further ones read them a moment early.
const PULSES_MAX: usize = 64;

/// What a provider is started with.
#[derive(Clone, Debug)]
pub struct ProviderOptions {
    /// Where [`spawn_provider`] listens; port 0 picks a free one.
    pub bind: SocketAddr,
    /// The only key let in; `None` takes any key and none.
    pub key: Option<String>,
}

impl Default for ProviderOptions {
    fn default() -> Self {
        ProviderOptions { bind: (Ipv4Addr::LOCALHOST, 0).into(), key: None }
    }
}

/// What all connections share.
#[derive(Debug)]
struct Provider {
    key: Option<String>,
    stats: Arc<Stats>,
    last: Mutex<LastRequest>,
}

/// A provider on its own thread; dropping it stops it, with all its connections.
#[derive(Debug)]
pub struct ProviderHandle {
    /// Where it listens, with the real port.
    pub addr: SocketAddr,
    stats: Arc<Stats>,
    /// Asks the provider's thread for a sign of life.
    pulse: mpsc::Sender<SyncSender<()>>,
    server: ServerHandle,
}

impl ProviderHandle {
    /// The counters now: what `GET /lab/stats` says, without a request. A reply that somebody has read to its end is
    /// counted as completed.
    pub fn stats(&self) -> StatsPage {
        // The provider counts a reply just after its last write: between its tasks, both have happened or neither.
        let (beat, felt) = sync_channel(1);
        if self.pulse.try_send(beat).is_ok() {
            // A provider that stops meanwhile sends nothing and counts nothing more.
            let _ = felt.recv();
        }
        self.stats.page()
    }

    /// The base URL, as in `http://127.0.0.1:9000`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops it and waits until its sockets are closed. Stopping twice is fine.
    pub fn stop(&self) {
        self.server.stop();
    }
}

/// Serves on `listener` for ever. Must run on a `LocalRuntime` (see [`crate::server::local_runtime`]).
///
/// `options.bind` is not used here. Fails only when the listener cannot be used.
pub async fn serve_provider(listener: TcpListener, options: ProviderOptions) -> io::Result<()> {
    serve(listener, options, Arc::default()).await
}

/// Starts a provider on its own thread. Fails when the address cannot be bound or no thread can be had.
pub fn spawn_provider(options: ProviderOptions) -> io::Result<ProviderHandle> {
    let stats = Arc::new(Stats::default());
    let shared = Arc::clone(&stats);
    let (pulse, asked) = mpsc::channel(PULSES_MAX);
    let server = spawn("lab-provider", options.bind, async move |listener| {
        tokio::select! {
            served = serve(listener, options, shared) => served,
            never = answer_pulses(asked) => never,
        }
    })?;
    Ok(ProviderHandle { addr: server.addr, stats, pulse, server })
}

/// Tells those who ask that no task is half way through a step.
async fn answer_pulses(mut asked: mpsc::Receiver<SyncSender<()>>) -> io::Result<()> {
    while let Some(beat) = asked.recv().await {
        // Who asked may have gone.
        let _ = beat.try_send(());
    }
    std::future::pending().await
}

async fn serve(
    listener: TcpListener,
    options: ProviderOptions,
    stats: Arc<Stats>,
) -> io::Result<()> {
    let provider = Arc::new(Provider { key: options.key, stats, last: Mutex::default() });
    accept_each(listener, |stream, _| serve_connection(Arc::clone(&provider), stream)).await
}

async fn serve_connection(provider: Arc<Provider>, stream: TcpStream) {
    let _connected = provider.stats.connected();
    let mut connection = Some(Connection::new(stream));
    while let Some(current) = connection {
        connection = serve_request(&provider, current).await;
    }
}

/// Serves one request. The connection comes back when it can carry another.
async fn serve_request(provider: &Provider, mut connection: Connection) -> Option<Connection> {
    connection.receive_head().await?;
    if connection.request().path().starts_with("/lab/") {
        return serve_lab(provider, connection).await;
    }
    let exchange = provider.stats.begin();
    match connection.receive_body().await {
        Ok(()) => {}
        Err(BodyError::Gone) => return None,
        Err(BodyError::Refused(status, message)) => {
            provider.stats.count_error();
            exchange.complete();
            connection.refuse(status, message).await;
            return None;
        }
    }
    let request = connection.request();
    provider.last.lock().unwrap_or_else(PoisonError::into_inner).remember(&request);
    let answer = route::answer(request, provider.key.as_deref(), &provider.stats);
    if answer.status >= 400 {
        provider.stats.count_error();
    }
    connection.finish_request();
    deliver::deliver(connection, answer, exchange).await
}

/// The provider's own pages, uncounted: they must not change what they show.
async fn serve_lab(provider: &Provider, mut connection: Connection) -> Option<Connection> {
    connection.receive_body().await.ok()?;
    let request = connection.request();
    let page = match (request.method(), request.path()) {
        ("GET", "/lab/stats") => serde_json::to_vec(&provider.stats.page()).unwrap_or_default(),
        ("GET", "/lab/last") => provider.last.lock().unwrap_or_else(PoisonError::into_inner).page(),
        ("POST", "/lab/reset") => {
            provider.stats.reset();
            *provider.last.lock().unwrap_or_else(PoisonError::into_inner) = LastRequest::default();
            b"{}".to_vec()
        }
        _ => {
            connection
                .refuse(404, "there are GET /lab/stats, GET /lab/last, POST /lab/reset")
                .await;
            return None;
        }
    };
    connection.finish_request();
    let mut out = Vec::with_capacity(256 + page.len());
    let length = Length::Exactly(page.len() as u64);
    let keep_alive = connection.keep_alive();
    put_head(&mut out, 200, "application/json", &[], length, keep_alive);
    out.extend_from_slice(&page);
    connection.send(&out).await.ok()?;
    keep_alive.then_some(connection)
}
