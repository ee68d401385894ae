//! Load of server-sent event streams: when the first event came, and the time between events.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tidegate_wire::sse::SseDecoder;
use tokio::time::Instant;

use super::client::{Client, Failure};
use super::plan::Plan;
use super::progress::LoadPhase;
use super::requests::{RECONNECT_PAUSE, finished};
use super::tally::{Tally, microseconds};

/// Largest event, in bytes.
const EVENT_MAX: usize = 1 << 20;

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

async fn repeat(mut client: Client, plan: Arc<Plan>, tally: Rc<RefCell<Tally>>) {
    while plan.take() {
        tally.borrow_mut().started += 1;
        plan.progress.started();
        let begun = Instant::now();
        let mut stream = Arrivals::new(begun);
        let outcome = client
            .exchange(Some(plan.stop_at), |body| {
                if stream.last.is_none() {
                    plan.progress.opened();
                }
                stream.arrived(body, &mut tally.borrow_mut());
            })
            .await;
        if stream.last.is_some() {
            plan.progress.closed();
        }
        let outcome = if stream.broken { Err(Failure::BadReply) } else { outcome };
        if outcome == Err(Failure::Timeout) && Instant::now() >= plan.stop_at {
            tally.borrow_mut().unfinished += 1;
            plan.progress.finished(true);
            break;
        }
        plan.progress.finished(outcome.is_ok());
        tally.borrow_mut().settle(begun, outcome);
        if matches!(outcome, Err(Failure::Connect | Failure::Handshake)) {
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }
    tally.borrow_mut().made.add(client.made);
}

/// The events of one stream as they arrive.
struct Arrivals {
    decoder: SseDecoder,
    begun: Instant,
    /// When bytes with an event last came; before the first event, when any bytes came.
    last: Option<Instant>,
    has_event: bool,
    broken: bool,
}

impl Arrivals {
    fn new(begun: Instant) -> Arrivals {
        let decoder = SseDecoder::new(EVENT_MAX);
        Arrivals { decoder, begun, last: None, has_event: false, broken: false }
    }

    /// Counts the events that `bytes` complete. Events that came together have one arrival.
    fn arrived(&mut self, bytes: &[u8], tally: &mut Tally) {
        tally.body_bytes += bytes.len() as u64;
        let events = self.decoder.push(bytes).map(|events| events.count() as u64);
        self.broken |= events.is_err();
        let events = events.unwrap_or(0);
        let now = Instant::now();
        if events == 0 {
            self.last.get_or_insert(now);
            return;
        }
        tally.events += events;
        match self.last {
            Some(last) if self.has_event => {
                tally.gap.saturating_record(microseconds(now - last));
            }
            _ => tally.first_event.saturating_record(microseconds(now - self.begun)),
        }
        self.has_event = true;
        self.last = Some(now);
    }
}
