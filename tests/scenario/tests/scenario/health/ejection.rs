//! Who is ejected, who is not, and how one returns.

use tidegate_scenario::http::{Connection, get};
use tidegate_scenario::origin::Origin;
use tidegate_scenario::until;

use super::{Moody, before, state};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn an_endpoint_that_answers_500_is_ejected_and_returns_by_a_trial() {
    let (moody, well) = (Moody::start(500), Origin::plain());
    let outlier = "outlier: { consecutive_errors: 3, ejection: 300ms, ejection_max: 600ms }";
    let gateway = before(&[moody.origin.address, well.address], outlier, "shards: 1");
    let mut connection = Connection::open(gateway.address);
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(connection.send(GET).reply().status);
    }
    // A reply is passed on as it is; only that it counts.
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), moody.asked());
    assert!((3..=4).contains(&moody.asked()), "{}", moody.asked());
    assert_eq!(gateway.metric("tidegate_upstream_ejections_total", ""), 1.0);
    moody.says(200);
    until("it is tried", || {
        assert_eq!(connection.send(GET).reply().status, 200);
        let labels = state(moody.origin.address, "admitting");
        (gateway.metric("tidegate_upstream_state", &labels) == 1.0).then_some(())
    });
    let before = moody.asked();
    for _ in 0..10 {
        assert_eq!(connection.send(GET).reply().status, 200);
    }
    assert_eq!(moody.asked() - before, 5, "it has its share again");
}

#[test]
fn a_trial_that_fails_ejects_again() {
    let (moody, well) = (Moody::start(503), Origin::plain());
    let outlier = "outlier: { consecutive_errors: 2, ejection: 50ms, ejection_max: 100ms }";
    let gateway = before(&[moody.origin.address, well.address], outlier, "shards: 1");
    let mut connection = Connection::open(gateway.address);
    until("ejected again and again", || {
        connection.send(GET).reply();
        (gateway.metric("tidegate_upstream_ejections_total", "") >= 4.0).then_some(())
    });
    // Two errors eject; from then on each trial is one.
    let ejections = gateway.metric("tidegate_upstream_ejections_total", "");
    assert!(moody.asked() as f64 <= ejections + 2.0, "{} asked, {ejections}", moody.asked());
}

#[test]
fn the_share_that_may_be_ejected_is_kept() {
    let moody = [Moody::start(500), Moody::start(500), Moody::start(500)];
    let addresses = [0, 1, 2].map(|n: usize| moody[n].origin.address);
    let gateway = before(&addresses, "outlier: { consecutive_errors: 1 }", "");
    let mut connection = Connection::open(gateway.address);
    for _ in 0..30 {
        assert_eq!(connection.send(GET).reply().status, 500);
    }
    assert_eq!(gateway.metric("tidegate_upstream_admitting", ""), 2.0, "half of three is one");
}

#[test]
fn an_endpoint_that_is_alone_is_never_ejected() {
    let moody = Moody::start(500);
    let gateway = before(&[moody.origin.address], "outlier: { consecutive_errors: 1 }", "");
    for _ in 0..5 {
        assert_eq!(get(gateway.address, "/").status, 500);
    }
    moody.says(200);
    assert_eq!(get(gateway.address, "/").status, 200);
    assert_eq!(moody.asked(), 6);
}

#[test]
fn requests_that_are_wrong_themselves_eject_nobody() {
    let (moody, well) = (Moody::start(404), Origin::plain());
    let outlier = "outlier: { consecutive_errors: 1 }";
    let gateway = before(&[moody.origin.address, well.address], outlier, "");
    for status in [404, 429, 400, 501, 505] {
        moody.says(status);
        for _ in 0..4 {
            get(gateway.address, "/");
        }
    }
    assert_eq!(gateway.metric("tidegate_upstream_ejections_total", ""), 0.0);
}

#[test]
fn below_the_panic_threshold_health_is_ignored() {
    let well = Origin::plain();
    let sick = [Moody::start(500), Moody::start(500)];
    let addresses = [well.address, sick[0].origin.address, sick[1].origin.address];
    let checks =
        "health: { interval: 100ms, timeout: 100ms, failures: 1 }\n    panic_threshold: 50";
    let mut gateway = before(&addresses, checks, "");
    until("two fail their checks", || {
        (gateway.metric("tidegate_upstream_admitting", "") == 1.0).then_some(())
    });
    let statuses: Vec<_> = (0..9).map(|_| get(gateway.address, "/").status).collect();
    assert!(statuses.contains(&500) && statuses.contains(&200), "{statuses:?}");
    assert_eq!(gateway.metric("tidegate_upstream_panicking", ""), 1.0);
    gateway.logged("health is ignored");
    sick[0].says(200);
    until("two of three admit", || {
        (gateway.metric("tidegate_upstream_admitting", "") == 2.0).then_some(())
    });
    for _ in 0..9 {
        assert_eq!(get(gateway.address, "/").status, 200);
    }
    assert_eq!(gateway.metric("tidegate_upstream_panicking", ""), 0.0);
}
