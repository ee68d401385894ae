//! Rounds of a shard: in each, all sockets are looked at once. Whoever has had enough of a round waits
//! here for the next one.
//!
//! A task that is woken at once, by itself or by a library on its behalf, would run many times before
//! the shard looks at other sockets again.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

use tokio::sync::Notify;

/// The rounds of one shard.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    number: Cell<u64>,
    /// At most one for each connection.
    waiting: RefCell<Vec<Waker>>,
    asked: Notify,
}

impl Rounds {
    /// The number of the round in progress. It changes only while somebody waits.
    pub(crate) fn number(&self) -> u64 {
        self.number.get()
    }

    /// Waits until the next round begins. Whoever yields once behind that comes after all that were
    /// woken for the round.
    pub(crate) async fn next(&self) {
        let before = self.number();
        std::future::poll_fn(|cx| {
            if self.number() != before {
                return Poll::Ready(());
            }
            self.wait(cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Wakes the task when the next round begins.
    pub(crate) fn wait(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        self.asked.notify_one();
    }

    /// Begins the rounds that are waited for. Never ends.
    pub(crate) async fn turn(&self) {
        loop {
            self.asked.notified().await;
            // The runtime wakes who has yielded only after it has looked at the sockets.
            tokio::task::yield_now().await;
            self.number.set(self.number.get() + 1);
            let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::{spawn_local, yield_now};

    use super::*;

    /// Runs a test on a runtime like that of a shard, whose rounds turn.
    fn run(test: impl AsyncFnOnce(Rc<Rounds>)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .event_interval(61)
            .build_local(tokio::runtime::LocalOptions::default());
        runtime.unwrap().block_on(async {
            let rounds = Rc::new(Rounds::default());
            let turning = Rc::clone(&rounds);
            let task = spawn_local(async move { turning.turn().await });
            test(rounds).await;
            task.abort();
        });
    }

    #[test]
    fn a_round_that_is_waited_for_begins_and_no_other() {
        run(async |rounds| {
            for expected in 1..4 {
                rounds.next().await;
                assert_eq!(rounds.number(), expected);
            }
            for _ in 0..10 {
                yield_now().await;
            }
            // One more was asked for at most: by the last look.
            assert!(rounds.number() <= 4);
            assert!(rounds.waiting.borrow().is_empty());
        });
    }

    #[test]
    fn who_yields_in_a_new_round_comes_after_those_whose_turn_it_is() {
        run(async |rounds| {
            // The runtime looks at sockets, and wakes who has yielded, every 61 polls: it shall do so at
            // every place in between.
            for others in 0..130 {
                for first in ["turn", "yielding"] {
                    let order = Rc::new(RefCell::new(Vec::new()));
                    let begin = |name: &'static str| {
                        let (rounds, order) = (Rc::clone(&rounds), Rc::clone(&order));
                        spawn_local(async move {
                            rounds.next().await;
                            if name == "yielding" {
                                yield_now().await;
                            }
                            order.borrow_mut().push(name);
                        })
                    };
                    let earlier = begin(first);
                    for _ in 0..others {
                        drop(spawn_local(async {}));
                    }
                    let later = begin(if first == "turn" { "yielding" } else { "turn" });
                    earlier.await.unwrap();
                    later.await.unwrap();
                    assert_eq!(*order.borrow(), ["turn", "yielding"], "{others} {first}");
                }
            }
        });
    }
}
