//! One endpoint of three dies under load, in different ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tidegate_lab::fault::{Fault, FaultProxy};
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::Connection;
use tidegate_scenario::origin::Origin;
use tidegate_scenario::until;

use super::{before, state};

/// Callers at once, and requests of each.
const CALLERS: usize = 16;
const REQUESTS: usize = 200;

/// Failed requests of all that are allowed: 0.1 %.
const FAILED_MAX: usize = CALLERS * REQUESTS / 1000;

/// Loads three endpoints with GETs, lets `fault` happen to one of them on the way, and gives the
/// number of requests that failed.
fn failed_under(
    fault: Fault,
    gateway_of: impl FnOnce(&[std::net::SocketAddr]) -> Gateway,
) -> Gateway {
    let origins = [Origin::plain(), Origin::plain(), Origin::plain()];
    let proxy = FaultProxy::spawn(origins[0].address).unwrap();
    let gateway = gateway_of(&[proxy.addr, origins[1].address, origins[2].address]);
    let (begun, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (address, begun, failed) =
                (gateway.address, Arc::clone(&begun), Arc::clone(&failed));
            std::thread::spawn(move || {
                let mut connection = Connection::open(address);
                for _ in 0..REQUESTS {
                    begun.fetch_add(1, SeqCst);
                    let reply = connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply();
                    if reply.status != 200 || !reply.complete {
                        failed.fetch_add(1, SeqCst);
                        println!("failed: {} {:?}", reply.status, reply.field("x-tidegate-reason"));
                    }
                }
            })
        })
        .collect();
    until("the callers are busy", || (begun.load(SeqCst) >= 600).then_some(()));
    proxy.set(fault);
    if fault == Fault::Refuse {
        proxy.kill_connections();
    }
    for caller in callers {
        caller.join().unwrap();
    }
    let failed = failed.load(SeqCst);
    println!(
        "{fault:?}: {failed} of {} failed, {} retries",
        CALLERS * REQUESTS,
        gateway.metric("tidegate_retries_total", "")
    );
    assert!(failed <= FAILED_MAX, "{failed} failed");
    assert!(gateway.metric("tidegate_upstream_ejections_total", "") >= 1.0);
    assert_eq!(gateway.metric("tidegate_upstream_state", &state(proxy.addr, "ejected")), 1.0);
    assert_eq!(gateway.metric("tidegate_upstream_admitting", ""), 2.0);
    gateway
}

#[test]
fn an_endpoint_that_is_killed_fails_no_more_than_one_get_in_a_thousand() {
    failed_under(Fault::Refuse, |endpoints| before(endpoints, "", ""));
}

#[test]
fn an_endpoint_in_a_black_hole_fails_no_more_than_one_get_in_a_thousand() {
    let within = "timeouts: { connect: 300ms, request: 300ms }";
    failed_under(Fault::BlackHole, |endpoints| before(endpoints, "", within));
}

#[test]
fn an_endpoint_that_resets_every_connection_fails_no_more_than_one_get_in_a_thousand() {
    failed_under(Fault::ResetAfter(0), |endpoints| before(endpoints, "", ""));
}

#[test]
fn an_endpoint_that_is_too_slow_fails_no_more_than_one_get_in_a_thousand() {
    let slow = Fault::Delay(Duration::from_secs(2));
    failed_under(slow, |endpoints| before(endpoints, "", "timeouts: { request: 400ms }"));
}
