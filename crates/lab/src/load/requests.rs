//! Load of requests: each connection sends one, waits for its reply, and starts again.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::client::{Client, Failure};
use super::plan::Plan;
use super::progress::LoadPhase;
use super::tally::Tally;

/// After a failed connect a connection waits, instead of spinning.
pub(super) const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// Runs the connections of `thread`.
pub(super) async fn run(plan: &Arc<Plan>, thread: usize) -> io::Result<Tally> {
    plan.progress.enter(LoadPhase::Running);
    let tally = Rc::new(RefCell::new(Tally::new()?));
    let tasks: Vec<_> = plan
        .connections_of(thread)
        .map(|number| {
            tokio::task::spawn_local(repeat(
                Client::new(plan, number),
                Arc::clone(plan),
                Rc::clone(&tally),
            ))
        })
        .collect();
    for task in tasks {
        task.await.map_err(io::Error::other)?;
    }
    finished(&tally)
}

/// The tally, once no task holds it any more.
pub(super) fn finished(tally: &Rc<RefCell<Tally>>) -> io::Result<Tally> {
    Ok(tally.replace(Tally::new()?))
}

async fn repeat(mut client: Client, plan: Arc<Plan>, tally: Rc<RefCell<Tally>>) {
    while plan.take() {
        tally.borrow_mut().started += 1;
        plan.progress.started();
        let begun = Instant::now();
        let mut bytes = 0;
        let outcome = client.exchange(None, |body| bytes += body.len() as u64).await;
        plan.progress.finished(outcome.is_ok());
        tally.borrow_mut().settle(begun, outcome);
        tally.borrow_mut().body_bytes += bytes;
        if matches!(outcome, Err(Failure::Connect | Failure::Handshake)) {
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }
    tally.borrow_mut().made.add(client.made);
}
