//! Host names to addresses: looked up here, so that the data plane never has to.

mod lookup;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tidegate_config::Resolver;
use tidegate_snapshot::live::Name;
use tidegate_snapshot::{Live, Snapshot};
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use lookup::{Answer, FILES_INTERVAL, LookupError, TTL_MAX, TTL_MIN, look_up, resolver};

/// The longest pause after failures in a row; the first one is [`TTL_MIN`], each further one twice
/// as long.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Look-ups under way at once.
const LOOKUPS_MAX: usize = 8;

type Done = (Arc<Name>, Result<Answer, LookupError>);

/// Resolves every name in use, before the listeners open. Blocks until all have been answered, for
/// `timeout` at most. Names without an answer are left to the control plane, which keeps asking.
pub fn resolve_once(live: &Live, settings: &Resolver, timeout: Duration) {
    let names = live.names_in_use();
    if names.is_empty() {
        return;
    }
    let settings = settings.clone();
    // On a thread of its own: the caller may be inside a runtime, which must not be blocked.
    let asking = std::thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(ask_all(names, &settings, timeout)),
            Err(error) => warn!(%error, "no runtime to resolve names with"),
        }
    });
    match asking {
        Ok(asking) => {
            let _ = asking.join();
        }
        Err(error) => warn!(%error, "no thread to resolve names with"),
    }
}

async fn ask_all(names: Vec<Arc<Name>>, settings: &Resolver, within: Duration) {
    let deadline = Instant::now() + within;
    let resolver = made(settings);
    let places = Arc::new(Semaphore::new(LOOKUPS_MAX));
    let mut unanswered = names.len();
    let mut lookups = JoinSet::new();
    for name in names {
        lookups.spawn(one(name, resolver.clone(), Arc::clone(&places)));
    }
    while Instant::now() < deadline
        && let Ok(Some(done)) = timeout_at(deadline, lookups.join_next()).await
    {
        unanswered -= 1;
        if let Ok((name, answer)) = done {
            State::default().note(&name, answer);
        }
    }
    if unanswered > 0 {
        warn!(unanswered, ?within, "names without an answer in time; asking goes on");
    }
}

/// The resolver, or none where the system's files cannot be read.
fn made(settings: &Resolver) -> Option<TokioResolver> {
    resolver(settings)
        .inspect_err(|error| warn!(%error, "the system's resolver configuration cannot be read"))
        .ok()
}

/// Keeps the names in use resolved until the snapshots end.
pub(crate) async fn keep_fresh(live: Arc<Live>, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
    let places = Arc::new(Semaphore::new(LOOKUPS_MAX));
    let mut states: HashMap<(String, u16), State> = HashMap::new();
    // One look-up per name at most, so that name servers that hang collect nothing.
    let mut lookups = JoinSet::new();
    let mut settings = snapshots.borrow_and_update().config.resolver.clone();
    let mut resolver = made(&settings);
    let mut read_at = Instant::now();
    loop {
        let names = live.names_in_use();
        let now = Instant::now();
        if read_at + FILES_INTERVAL <= now {
            resolver = made(&settings);
            read_at = now;
        }
        states.retain(|_, state| state.busy || state.seen);
        for state in states.values_mut() {
            state.seen = false;
        }
        for name in names {
            let state = states.entry(key(&name)).or_default();
            state.seen = true;
            if !state.busy && state.due.is_none_or(|due| due <= now) {
                state.busy = true;
                lookups.spawn(one(name, resolver.clone(), Arc::clone(&places)));
            }
        }
        loop {
            let due = states.values().filter(|s| !s.busy).filter_map(|s| s.due).min();
            tokio::select! {
                () = sleep_until(due.unwrap_or(now + TTL_MAX)) => break,
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wanted = snapshots.borrow_and_update().config.resolver.clone();
                    if wanted != settings {
                        settings = wanted;
                        resolver = made(&settings);
                        read_at = Instant::now();
                        // Others may know better.
                        for state in states.values_mut() {
                            state.due = None;
                        }
                    }
                    break;
                }
                Some(done) = lookups.join_next() => {
                    if let Ok((name, answer)) = done
                        && let Some(state) = states.get_mut(&key(&name))
                    {
                        let pause = state.note(&name, answer);
                        state.busy = false;
                        state.due = Some(Instant::now() + pause);
                    }
                }
            }
        }
    }
}

fn key(name: &Name) -> (String, u16) {
    (name.host.clone(), name.port)
}

async fn one(name: Arc<Name>, resolver: Option<TokioResolver>, places: Arc<Semaphore>) -> Done {
    let Some(resolver) = resolver else { return (name, Err(LookupError::NoResolver)) };
    let Ok(_place) = places.acquire().await else { return (name, Err(LookupError::Timeout)) };
    let answer = look_up(&resolver, &name.host, name.port).await;
    (name, answer)
}

/// What is known of a name between look-ups.
#[derive(Debug, Default)]
struct State {
    /// When it is asked for next; `None` is at once.
    due: Option<Instant>,
    /// A look-up is under way.
    busy: bool,
    /// Look-ups in a row that failed; the log has the first.
    failures: u32,
    /// In use at the last scan.
    seen: bool,
}

impl State {
    /// Takes an answer over; a failure leaves the last good one in place. Logs what has changed.
    /// The time until the name is asked for again.
    fn note(&mut self, name: &Name, answer: Result<Answer, LookupError>) -> Duration {
        let before = name.addresses.load();
        let host = name.host.as_str();
        match answer {
            Ok(Answer { addresses, ttl }) => {
                if self.failures > 0 {
                    info!(host, "name resolves again");
                    self.failures = 0;
                }
                if !same(&before, &addresses) {
                    if before.is_empty() {
                        debug!(host, ?addresses, "name resolved");
                    } else {
                        info!(host, ?addresses, before = ?**before, "name has new addresses");
                    }
                    name.addresses.store(Arc::new(addresses));
                }
                ttl
            }
            Err(error) => {
                if self.failures == 0 {
                    warn!(host, %error, kept = before.len(), "name does not resolve");
                }
                name.failures.fetch_add(1, Relaxed);
                let pause = TTL_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
                self.failures = self.failures.saturating_add(1);
                pause
            }
        }
    }
}

/// The same addresses in any order: resolvers rotate them.
fn same(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn answer(texts: &[&str]) -> Answer {
        Answer { addresses: addresses(texts), ttl: Duration::from_secs(9) }
    }

    #[test]
    fn a_failure_keeps_the_last_good_answer_and_is_asked_again_ever_later() {
        let name = Live::new(1).name("app.example.com", 80);
        let mut state = State::default();
        let failure = || Err(LookupError::Timeout);
        let mut pauses: Vec<_> = (0..7).map(|_| state.note(&name, failure()).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(state.note(&name, Ok(answer(&["192.0.2.1:80"]))).as_secs(), 9);
        pauses = (0..2).map(|_| state.note(&name, failure()).as_secs()).collect();
        assert_eq!(pauses, [1, 2]);
        assert_eq!(**name.addresses.load(), addresses(&["192.0.2.1:80"]));
        assert_eq!(name.failures.load(Relaxed), 9);
    }

    #[test]
    fn a_new_answer_replaces_the_old_one_and_a_rotated_one_does_not() {
        let name = Live::new(1).name("app.example.com", 80);
        let mut state = State::default();
        state.note(&name, Ok(answer(&["192.0.2.1:80", "192.0.2.2:80"])));
        let first = name.addresses.load_full();
        state.note(&name, Ok(answer(&["192.0.2.2:80", "192.0.2.1:80"])));
        assert!(Arc::ptr_eq(&first, &name.addresses.load_full()));
        state.note(&name, Ok(answer(&["192.0.2.3:80"])));
        assert_eq!(**name.addresses.load(), addresses(&["192.0.2.3:80"]));
    }
}
