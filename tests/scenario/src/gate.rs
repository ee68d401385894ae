//! A gate that holds an origin's answers back until the test has seen what it waits for.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::PATIENCE;

/// Shut at first; whoever passes waits for it to open. Copies are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<usize>, Condvar)>);

/// Open for all.
const OPEN: usize = usize::MAX;

impl Gate {
    /// Waits until it is open, or one of those let through.
    pub fn pass(&self) {
        let (places, changed) = &*self.0;
        let held = places.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut places, _) = changed
            .wait_timeout_while(held, PATIENCE, |places| *places == 0)
            .unwrap_or_else(PoisonError::into_inner);
        if *places != OPEN {
            *places = places.saturating_sub(1);
        }
    }

    /// Opens it for good.
    pub fn open(&self) {
        self.set(|_| OPEN);
    }

    /// Lets one through.
    pub fn let_one_through(&self) {
        self.set(|places| places.saturating_add(1));
    }

    fn set(&self, change: impl FnOnce(usize) -> usize) {
        let (places, changed) = &*self.0;
        let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
        *places = change(*places);
        changed.notify_all();
    }
}
