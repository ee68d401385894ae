//! Rounds of a shard: in each, all sockets are looked at once. Whoever has had enough of a round waits
//! here for the next one.
//!
//! A task that is woken at once, by itself or by a library on its behalf, would run many times before
//! the shard looks at other sockets again.

use std::cell::{Cell, RefCell};
use std::task::Waker;

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

    use super::*;

    #[test]
    fn a_round_that_is_waited_for_begins_and_no_other() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build_local(tokio::runtime::LocalOptions::default());
        runtime.unwrap().block_on(async {
            let rounds = Rc::new(Rounds::default());
            let turning = Rc::clone(&rounds);
            let task = tokio::task::spawn_local(async move { turning.turn().await });
            for expected in 1..4 {
                let before = rounds.number();
                std::future::poll_fn(|cx| {
                    if rounds.number() != before {
                        return std::task::Poll::Ready(());
                    }
                    rounds.wait(cx.waker());
                    std::task::Poll::Pending
                })
                .await;
                assert_eq!(rounds.number(), expected);
            }
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            // One more was asked for at most: by the last look.
            assert!(rounds.number() <= 4);
            assert!(rounds.waiting.borrow().is_empty());
            task.abort();
        });
    }
}
