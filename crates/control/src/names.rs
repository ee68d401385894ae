//! Host names to addresses: looked up here, so that the data plane never has to.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_snapshot::live::Name;
use tidegate_snapshot::{Live, Snapshot};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

/// How old an answer may grow before it is asked for again.
const FRESH_INTERVAL: Duration = Duration::from_secs(30);

/// How soon a name that never had an answer is asked for again: its endpoints cannot be used.
const UNRESOLVED_INTERVAL: Duration = Duration::from_secs(2);

/// How long one answer is waited for.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Look-ups under way at once.
pub(crate) const LOOKUPS_MAX: usize = 8;

/// Addresses that are kept of one answer.
const ADDRESSES_MAX: usize = 32;

/// Resolves every name in use, before the listeners open. Blocks until all have been answered, for
/// `timeout` at most. Names without an answer are left to the control plane, which keeps asking.
pub fn resolve_once(live: &Live, timeout: Duration) {
    let deadline = std::time::Instant::now() + timeout;
    let names = live.names_in_use();
    let count = names.len();
    let waiting = Arc::new(Mutex::new(names));
    let (sender, answers) = mpsc::sync_channel(LOOKUPS_MAX);
    for _ in 0..count.min(LOOKUPS_MAX) {
        let waiting = Arc::clone(&waiting);
        let sender = sender.clone();
        // Not joined: the system's resolver cannot be interrupted and may outlast the deadline.
        let spawned = std::thread::Builder::new().name("resolve".to_owned()).spawn(move || {
            while std::time::Instant::now() < deadline {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(name) = next else { return };
                let answer = resolve(&name.host, name.port);
                if sender.send((name, answer)).is_err() {
                    return;
                }
            }
        });
        if let Err(error) = spawned {
            warn!(%error, "no thread to resolve names with");
        }
    }
    drop(sender);
    for answered in 0..count {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        match answers.recv_timeout(left) {
            Ok((name, answer)) => {
                State::default().note(&name, answer);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let unanswered = count - answered;
                warn!(unanswered, ?timeout, "names without an answer in time; asking goes on");
                return;
            }
        }
    }
}

/// Keeps the names in use resolved until the snapshots end.
pub(crate) async fn keep_fresh(live: Arc<Live>, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
    let places = Arc::new(Semaphore::new(LOOKUPS_MAX));
    let mut states: HashMap<(String, u16), State> = HashMap::new();
    // One look-up per name at most, so that a resolver that hangs collects nothing.
    let mut lookups = JoinSet::new();
    loop {
        let names = live.names_in_use();
        let now = Instant::now();
        states.retain(|_, state| state.busy || state.seen);
        for state in states.values_mut() {
            state.seen = false;
        }
        for name in names {
            let state = states.entry(key(&name)).or_default();
            state.seen = true;
            if !state.busy && state.due.is_none_or(|due| due <= now) {
                state.busy = true;
                lookups.spawn(look_up(name, Arc::clone(&places)));
            }
        }
        loop {
            let due = states.values().filter(|s| !s.busy).filter_map(|s| s.due).min();
            tokio::select! {
                () = sleep_until(due.unwrap_or(now + FRESH_INTERVAL)) => break,
                changed = snapshots.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(done) = lookups.join_next() => {
                    if let Ok((name, answer)) = done
                        && let Some(state) = states.get_mut(&key(&name))
                    {
                        let unresolved = state.note(&name, answer);
                        state.busy = false;
                        let pause =
                            if unresolved { UNRESOLVED_INTERVAL } else { FRESH_INTERVAL };
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

async fn look_up(
    name: Arc<Name>,
    places: Arc<Semaphore>,
) -> (Arc<Name>, io::Result<Vec<SocketAddr>>) {
    let Ok(place) = places.acquire_owned().await else {
        return (name, Err(io::ErrorKind::Interrupted.into()));
    };
    let host = name.host.clone();
    let port = name.port;
    let asking = spawn_blocking(move || {
        // Held by the thread: a look-up that is no longer waited for still takes a place.
        let _place = place;
        resolve(&host, port)
    });
    let answer = match timeout(LOOKUP_TIMEOUT, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(ended)) => Err(io::Error::other(ended)),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer in {} s", LOOKUP_TIMEOUT.as_secs()),
        )),
    };
    (name, answer)
}

/// Asks the system's resolver. Blocks.
fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    #[expect(clippy::disallowed_methods, reason = "on a thread that is there to be blocked")]
    let found = (host, port).to_socket_addrs()?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// What is known of a name between look-ups.
#[derive(Debug, Default)]
struct State {
    /// When it is asked for next; `None` is at once.
    due: Option<Instant>,
    /// A look-up is under way.
    busy: bool,
    /// The last look-up failed, and the log has it.
    failing: bool,
    /// In use at the last scan.
    seen: bool,
}

impl State {
    /// Takes an answer over; a failure leaves the last good one in place. Logs what has changed.
    /// True where the name has no address at all.
    fn note(&mut self, name: &Name, answer: io::Result<Vec<SocketAddr>>) -> bool {
        let before = name.addresses.load();
        let host = name.host.as_str();
        match answer {
            Ok(addresses) => {
                if self.failing {
                    info!(host, "name resolves again");
                    self.failing = false;
                }
                if !same(&before, &addresses) {
                    if before.is_empty() {
                        debug!(host, ?addresses, "name resolved");
                    } else {
                        info!(host, ?addresses, before = ?**before, "name has new addresses");
                    }
                    name.addresses.store(Arc::new(addresses));
                }
                false
            }
            Err(error) => {
                if !self.failing {
                    warn!(host, %error, kept = before.len(), "name does not resolve");
                    self.failing = true;
                }
                before.is_empty()
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

    #[test]
    fn a_failure_keeps_the_last_good_answer() {
        let name = Live::new(1).name("app.example.com", 80);
        let mut state = State::default();
        let failure = || Err(io::Error::from(io::ErrorKind::TimedOut));
        assert!(state.note(&name, failure()), "there is no address yet");
        assert!(!state.note(&name, Ok(addresses(&["192.0.2.1:80"]))));
        assert!(!state.note(&name, failure()));
        assert_eq!(**name.addresses.load(), addresses(&["192.0.2.1:80"]));
    }

    #[test]
    fn a_new_answer_replaces_the_old_one_and_a_rotated_one_does_not() {
        let name = Live::new(1).name("app.example.com", 80);
        let mut state = State::default();
        state.note(&name, Ok(addresses(&["192.0.2.1:80", "192.0.2.2:80"])));
        let first = name.addresses.load_full();
        state.note(&name, Ok(addresses(&["192.0.2.2:80", "192.0.2.1:80"])));
        assert!(Arc::ptr_eq(&first, &name.addresses.load_full()));
        state.note(&name, Ok(addresses(&["192.0.2.3:80"])));
        assert_eq!(**name.addresses.load(), addresses(&["192.0.2.3:80"]));
    }

    #[test]
    fn failures_are_logged_once() {
        let name = Live::new(1).name("app.example.com", 80);
        let mut state = State::default();
        for _ in 0..3 {
            state.note(&name, Err(io::ErrorKind::NotFound.into()));
            assert!(state.failing);
        }
        state.note(&name, Ok(addresses(&["192.0.2.1:80"])));
        assert!(!state.failing, "the next failure is news again");
    }
}
