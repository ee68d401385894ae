//! Active health checks: endpoints of upstreams are asked, and left out while they do not answer.
//!
//! One task owns every verdict; probes run beside it and report back. An endpoint that several
//! upstreams name is down while any of their checks says so.

mod probe;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tidegate_config::Health;
use tidegate_snapshot::{Endpoint, Live, Snapshot};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use probe::{ProbeError, probe};

/// Probes under way at once; others wait for a place.
const PROBES_MAX: usize = 64;

/// Shortest time between two probes of an endpoint, whatever is configured.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// First probes are spread over this time (or the interval, where it is shorter).
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// When nothing is due, the task looks again after this.
const REST: Duration = Duration::from_mins(1);

/// Upstream and endpoint key.
type Id = (String, String);

/// Checks endpoints until the snapshots end.
pub(crate) async fn run(live: Arc<Live>, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
    let mut checks = Checks { live, by_id: BTreeMap::new(), unable: false };
    let mut probes: JoinSet<(Id, Result<(), ProbeError>)> = JoinSet::new();
    checks.reconcile(&snapshots.borrow_and_update().clone());
    loop {
        let now = Instant::now();
        for (id, check) in &mut checks.by_id {
            if probes.len() >= PROBES_MAX {
                break;
            }
            if !check.running && check.due <= now {
                check.running = true;
                let id = id.clone();
                let endpoint = Arc::clone(&check.endpoint);
                let settings = check.settings.clone();
                probes.spawn(async move {
                    let result = probe(&endpoint, &settings).await;
                    (id, result)
                });
            }
        }
        let due = checks.by_id.values().filter(|check| !check.running).map(|check| check.due).min();
        tokio::select! {
            () = sleep_until(due.unwrap_or(now + REST)), if probes.len() < PROBES_MAX => {}
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return;
                }
                checks.reconcile(&snapshots.borrow_and_update().clone());
            }
            Some(done) = probes.join_next() => {
                if let Ok((id, result)) = done {
                    checks.note(&id, result.err().as_ref());
                }
            }
        }
    }
}

#[derive(Debug)]
struct Check {
    endpoint: Arc<Endpoint>,
    settings: Health,
    /// Probes in a row that say otherwise than the verdict.
    contrary: u32,
    /// The verdict.
    failing: bool,
    due: Instant,
    running: bool,
}

#[derive(Debug)]
struct Checks {
    live: Arc<Live>,
    by_id: BTreeMap<Id, Check>,
    /// The last probe could not be made, for a shortage of ours.
    unable: bool,
}

impl Checks {
    /// Takes over what a snapshot wants to be checked: the upstreams with `health`, and in them every
    /// endpoint, whether it gets traffic now or not. Known checks keep what they found out.
    fn reconcile(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.by_id);
        for group in snapshot.upstreams.values() {
            let written = snapshot.config.upstreams.get(&group.name);
            let Some(settings) = written.and_then(|upstream| upstream.health.as_ref()) else {
                continue;
            };
            for member in &group.members {
                let endpoint = Arc::clone(&member.endpoint);
                let id = (group.name.clone(), endpoint.live.key.clone());
                if self.by_id.contains_key(&id) {
                    continue;
                }
                let check = match before.remove(&id) {
                    Some(known) if known.settings == *settings => Check { endpoint, ..known },
                    // Other settings ask another question; the verdict stands until it is answered.
                    Some(known) => Check {
                        endpoint,
                        settings: settings.clone(),
                        contrary: 0,
                        due: Instant::now(),
                        ..known
                    },
                    None => Check {
                        endpoint,
                        settings: settings.clone(),
                        contrary: 0,
                        failing: false,
                        due: Instant::now()
                            + FIRST_WITHIN.min(settings.interval).mul_f64(random_fraction()),
                        running: false,
                    },
                };
                self.by_id.insert(id, check);
            }
        }
        // No check, no verdict.
        for ((_, key), gone) in before {
            self.judge(&key, &gone.endpoint);
        }
    }

    /// Notes how a probe went.
    fn note(&mut self, id: &Id, error: Option<&ProbeError>) {
        let Some(check) = self.by_id.get_mut(id) else { return };
        check.running = false;
        check.due = Instant::now() + jittered(check.settings.interval);
        let (upstream, endpoint) = (id.0.as_str(), id.1.as_str());
        let unable = matches!(error, Some(ProbeError::Shortage(_)));
        if let Some(error) = error.filter(|_| unable && !self.unable) {
            warn!(upstream, endpoint, %error, "health checks cannot be made; verdicts stand");
        }
        self.unable = unable;
        if unable {
            return;
        }
        if error.is_some() == check.failing {
            check.contrary = 0;
        } else {
            check.contrary = check.contrary.saturating_add(1);
        }
        let contrary = check.contrary;
        match error {
            None if check.failing && contrary >= check.settings.successes => {
                check.failing = false;
                check.contrary = 0;
                info!(upstream, endpoint, "health check passes again");
            }
            Some(error) if !check.failing && contrary >= check.settings.failures => {
                check.failing = true;
                check.contrary = 0;
                warn!(upstream, endpoint, failures = contrary, %error, "health check fails");
            }
            _ => {}
        }
        let endpoint = Arc::clone(&check.endpoint);
        self.judge(&id.1, &endpoint);
    }

    /// Tells the data plane what all checks of an endpoint say together.
    fn judge(&self, key: &str, endpoint: &Endpoint) {
        let down = self.by_id.iter().any(|((_, of), check)| of == key && check.failing);
        let now_ms = self.live.now_ms();
        if endpoint.live.health.checked(down, now_ms) && !down {
            // A slow start begins.
            endpoint.live.since_ms.store(now_ms, Relaxed);
        }
    }
}

/// Nine to eleven tenths of the interval, so that many checks do not fall into step.
fn jittered(interval: Duration) -> Duration {
    interval.max(INTERVAL_MIN).mul_f64(0.9 + 0.2 * random_fraction())
}

/// 0 to 1; not for secrets.
fn random_fraction() -> f64 {
    // RandomState is seeded from the operating system's randomness and differs at every call.
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_config::load;
    use tidegate_snapshot::compile;

    use super::*;

    fn snapshot(live: &Live, upstreams: &str) -> Snapshot {
        let text = format!(
            "upstreams:\n{upstreams}\nroutes: [{{ path: /a/, upstream: a }}, {{ path: /, upstream: b }}]\n"
        );
        let loaded = load(&text, "test.yaml", &|_: &str| None).unwrap();
        compile(Arc::new(loaded.config), live, 1).unwrap()
    }

    const BOTH: &str = "  a: { endpoints: [http://127.0.0.1:1], health: { failures: 1 } }\n  \
                        b: { endpoints: [http://127.0.0.1:1], health: { failures: 2 } }\n";
    const ONE: &str = "  a: { endpoints: [http://127.0.0.1:1] }\n  \
                       b: { endpoints: [http://127.0.0.1:1], health: { failures: 2 } }\n";
    const NONE: &str = "  a: { endpoints: [http://127.0.0.1:1] }\n  \
                        b: { endpoints: [http://127.0.0.1:1] }\n";

    fn checks(live: &Arc<Live>) -> Checks {
        Checks { live: Arc::clone(live), by_id: BTreeMap::new(), unable: false }
    }

    fn id(upstream: &str) -> Id {
        (upstream.to_owned(), "http://127.0.0.1:1".to_owned())
    }

    #[test]
    fn an_endpoint_is_down_while_any_of_its_checks_fails() {
        let live = Live::new(1);
        let mut checks = checks(&live);
        checks.reconcile(&snapshot(&live, BOTH));
        let down = || live.endpoint("http://127.0.0.1:1").health.standing().is_down();
        checks.note(&id("b"), Some(&ProbeError::Closed));
        assert!(!down(), "one failure of two");
        checks.note(&id("a"), Some(&ProbeError::Closed));
        checks.note(&id("b"), None);
        assert!(down(), "a says so");
        checks.note(&id("a"), None);
        assert!(!down());
    }

    #[test]
    fn only_failures_in_a_row_count() {
        let live = Live::new(1);
        let mut checks = checks(&live);
        checks.reconcile(&snapshot(&live, ONE));
        for error in [Some(ProbeError::Closed), None, Some(ProbeError::Status(500))] {
            checks.note(&id("b"), error.as_ref());
        }
        assert!(!live.endpoint("http://127.0.0.1:1").health.standing().is_down());
        checks.note(&id("b"), Some(&ProbeError::NoAddress));
        assert!(live.endpoint("http://127.0.0.1:1").health.standing().is_down());
    }

    #[test]
    fn a_probe_that_could_not_be_made_says_nothing() {
        let live = Live::new(1);
        let mut checks = checks(&live);
        checks.reconcile(&snapshot(&live, BOTH));
        let down = || live.endpoint("http://127.0.0.1:1").health.standing().is_down();
        let shortage = || Some(ProbeError::Shortage(std::io::ErrorKind::OutOfMemory.into()));
        checks.note(&id("a"), shortage().as_ref());
        checks.note(&id("b"), Some(&ProbeError::Closed));
        checks.note(&id("b"), shortage().as_ref());
        assert!(!down());
        checks.note(&id("b"), Some(&ProbeError::Closed));
        assert!(down(), "it is no success either");
        checks.note(&id("b"), shortage().as_ref());
        assert!(down());
    }

    #[test]
    fn a_failing_endpoint_returns_after_successes_in_a_row() {
        let live = Live::new(1);
        let mut checks = checks(&live);
        let text = "  a: { endpoints: [http://127.0.0.1:1] }\n  \
                    b: { endpoints: [http://127.0.0.1:1], health: { failures: 1, successes: 2 } }\n";
        checks.reconcile(&snapshot(&live, text));
        let mut down_after = |error: Option<ProbeError>| {
            checks.note(&id("b"), error.as_ref());
            live.endpoint("http://127.0.0.1:1").health.standing().is_down()
        };
        let closed = || Some(ProbeError::Closed);
        let said = [closed(), None, closed(), None, None].map(&mut down_after);
        assert_eq!(said, [true, true, true, true, false]);
    }

    #[test]
    fn endpoints_without_traffic_are_checked_too() {
        let live = Live::new(1);
        let mut checks = checks(&live);
        let text = "  a: { endpoints: [{ url: http://127.0.0.1:1, weight: 0 }, { url: http://127.0.0.1:4, draining: true }, http://127.0.0.1:5], health: {} }\n  \
                    b: { endpoints: [http://127.0.0.1:2] }\n  \
                    idle: { endpoints: [http://127.0.0.1:3], health: {} }\n";
        checks.reconcile(&snapshot(&live, text));
        let keys: Vec<_> = checks.by_id.keys().map(|(upstream, _)| upstream.as_str()).collect();
        assert_eq!(keys, ["a", "a", "a", "idle"]);
    }

    #[test]
    fn a_verdict_survives_a_reload_and_ends_with_its_check() {
        let live = Live::new(1);
        let mut checks = checks(&live);
        checks.reconcile(&snapshot(&live, BOTH));
        checks.note(&id("a"), Some(&ProbeError::Closed));
        let down = || live.endpoint("http://127.0.0.1:1").health.standing().is_down();
        checks.reconcile(&snapshot(&live, BOTH));
        assert!(down());
        checks.reconcile(&snapshot(&live, ONE));
        assert!(!down(), "the check that failed is gone");
        checks.note(&id("a"), Some(&ProbeError::Closed));
        assert!(!down(), "a probe that was under way has no say any more");
        for _ in 0..2 {
            checks.note(&id("b"), Some(&ProbeError::Closed));
        }
        assert!(down());
        checks.reconcile(&snapshot(&live, NONE));
        assert!(!down());
    }

    proptest! {
        #[test]
        fn jitter_stays_within_a_tenth_and_above_the_minimum(ms in 0_u64..86_400_000) {
            let interval = Duration::from_millis(ms).max(INTERVAL_MIN);
            let jittered = jittered(Duration::from_millis(ms));
            prop_assert!(jittered >= interval.mul_f64(0.899) && jittered <= interval.mul_f64(1.101));
        }
    }
}
