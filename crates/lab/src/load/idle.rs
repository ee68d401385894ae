//! Load of idle connections: opens them, sends one request on each, holds them, then wakes one in a hundred.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::client::Client;
use super::plan::Plan;
use super::progress::LoadPhase;
use super::requests::finished;
use super::tally::{Tally, microseconds};

/// Connections that one thread opens at the same time: below every usual accept backlog.
const OPENING_MAX: usize = 100;

/// Time between looks at whether the other threads have opened their connections.
const OTHER_THREADS_CHECK: Duration = Duration::from_millis(10);

/// One connection in this many is woken at the end.
const WAKE_ONE_IN: usize = 100;

/// Runs the connections of `thread`; they are held for `hold` once the last of the run is open.
pub(super) async fn run(plan: &Arc<Plan>, thread: usize, hold: Duration) -> io::Result<Tally> {
    plan.progress.enter(LoadPhase::Opening);
    let tally = Rc::new(RefCell::new(Tally::new()?));
    let opening = Rc::new(Semaphore::new(OPENING_MAX));
    let (end_hold, holding) = watch::channel(false);
    // Every task keeps a sender until its first request has ended: when all are gone, nothing more comes.
    let (opened, mut opened_all) = mpsc::channel::<()>(1);
    let mut tasks = Vec::new();
    for number in plan.connections_of(thread) {
        let client = Client::new(plan, number);
        let wake = number % WAKE_ONE_IN == 0;
        let idle = Idle { client, plan: Arc::clone(plan), tally: Rc::clone(&tally), wake };
        let (opening, opened, holding) = (Rc::clone(&opening), opened.clone(), holding.clone());
        tasks.push(tokio::task::spawn_local(idle.live(opening, opened, holding)));
    }
    drop((opened, holding));
    let _ = opened_all.recv().await;
    plan.thread_opened();
    while !plan.all_opened() {
        tokio::time::sleep(OTHER_THREADS_CHECK).await;
    }
    plan.progress.enter(LoadPhase::Holding);
    tokio::time::sleep(hold).await;
    plan.progress.enter(LoadPhase::Waking);
    // Every task may have ended already; then nobody needs to be told.
    let _ = end_hold.send(true);
    for task in tasks {
        task.await.map_err(io::Error::other)?;
    }
    finished(&tally)
}

struct Idle {
    client: Client,
    plan: Arc<Plan>,
    tally: Rc<RefCell<Tally>>,
    /// Whether it carries a request after the hold.
    wake: bool,
}

impl Idle {
    async fn live(
        mut self,
        opening: Rc<Semaphore>,
        opened: mpsc::Sender<()>,
        mut holding: watch::Receiver<bool>,
    ) {
        let turn = opening.acquire().await;
        let open = self.exchange(false).await;
        drop(turn);
        if open {
            self.plan.progress.opened();
        }
        drop(opened);
        if open {
            tokio::select! {
                () = self.client.closed() => self.tally.borrow_mut().lost += 1,
                _ = holding.wait_for(|over| *over) => {
                    self.tally.borrow_mut().held += 1;
                    if self.wake {
                        self.exchange(true).await;
                    }
                }
            }
            self.plan.progress.closed();
        }
        self.tally.borrow_mut().made.add(self.client.made);
    }

    /// One request; whether it had a whole reply.
    async fn exchange(&mut self, awake: bool) -> bool {
        self.tally.borrow_mut().started += 1;
        self.plan.progress.started();
        let begun = Instant::now();
        let mut bytes = 0;
        let outcome = self.client.exchange(None, |body| bytes += body.len() as u64).await;
        self.plan.progress.finished(outcome.is_ok());
        let mut tally = self.tally.borrow_mut();
        tally.body_bytes += bytes;
        tally.settle(begun, outcome);
        if awake && outcome.is_ok() {
            tally.awakened.saturating_record(microseconds(begun.elapsed()));
        }
        outcome.is_ok()
    }
}
