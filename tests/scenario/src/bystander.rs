//! A caller who has nothing to do with what goes on beside it, and is served all the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use crate::http::Connection;
use crate::until;

/// One who asks for `/small` again and again, on a connection of its own.
#[derive(Debug)]
pub struct Bystander {
    served: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    asking: JoinHandle<()>,
}

impl Bystander {
    /// Begins to ask. Anything but a 200 within the patience of all tests fails the test.
    #[track_caller]
    pub fn start(address: SocketAddr) -> Self {
        let served = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (counter, stopped) = (Arc::clone(&served), Arc::clone(&stop));
        let mut connection = Connection::open(address);
        let asking = std::thread::spawn(move || {
            while !stopped.load(Relaxed) {
                let reply = connection.send(b"GET /small HTTP/1.1\r\nHost: beside\r\n\r\n").reply();
                assert_eq!(reply.status, 200, "the bystander: {}", reply.text());
                counter.fetch_add(1, Relaxed);
            }
        });
        Self { served, stop, asking }
    }

    /// Replies so far.
    pub fn served(&self) -> usize {
        self.served.load(Relaxed)
    }

    /// Waits until it has been served `times` more.
    #[track_caller]
    pub fn until_served(&self, times: usize) {
        let wanted = self.served() + times;
        until("the bystander is served", || {
            let failed = self.asking.is_finished();
            (failed || self.served() >= wanted).then_some(())
        });
    }

    /// Stops; fails if it ever was refused.
    #[track_caller]
    pub fn end(self) {
        self.stop.store(true, Relaxed);
        assert!(self.asking.join().is_ok(), "the bystander was not served");
    }
}
