//! Streams: delivered at once, byte for byte; a broken one never looks complete.

mod aborts;
mod breaks;
mod deadlines;
mod delivery;
mod heartbeats;
mod slow_reader;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tidegate_scenario::PATIENCE;

/// Lets a test tell a scripted server's thread to go on.
pub(crate) struct Signal {
    go: SyncSender<()>,
    waiting: Mutex<Receiver<()>>,
}

impl Signal {
    pub(crate) fn new() -> Self {
        let (go, waiting) = sync_channel(64);
        Self { go, waiting: Mutex::new(waiting) }
    }

    /// Waits for one word to go on.
    pub(crate) fn wait(&self) {
        self.waiting.lock().unwrap().recv_timeout(PATIENCE).expect("the test goes on");
    }

    /// Gives it.
    pub(crate) fn give(&self) {
        self.go.try_send(()).unwrap();
    }
}
