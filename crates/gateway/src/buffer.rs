//! Buffers lent for the length of a request head, and the scratch space that a shard reads into.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tidegate_wire::http1::head::{RequestHead, ResponseHead};

/// Idle buffers kept per shard; what a burst needed beyond is freed.
const FREE_MAX: usize = 128;

/// Bytes read from an endpoint at once.
pub(crate) const SCRATCH: usize = 64 * 1024;

/// A request head, as bytes and parsed.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    /// What was read, `filled` bytes of it valid.
    pub(crate) bytes: Box<[u8]>,
    /// How much of `bytes` is valid.
    pub(crate) filled: usize,
    /// The parsed head; its spans point into `bytes`.
    pub(crate) head: RequestHead,
}

impl Inbound {
    /// The valid bytes.
    pub(crate) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

/// The shard's stock of buffers, last in first out: the next request gets the one that is still
/// in the cache.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: RefCell<Vec<Inbound>>,
    lent: Cell<usize>,
}

impl Buffers {
    /// Lends a buffer of `size` bytes.
    pub(crate) fn lend(self: &Rc<Self>, size: usize) -> Lent {
        let mut inbound = self.free.borrow_mut().pop().unwrap_or_default();
        if inbound.bytes.len() != size {
            inbound.bytes = vec![0; size].into_boxed_slice();
        }
        inbound.filled = 0;
        self.lent.set(self.lent.get() + 1);
        Lent { inbound, stock: Rc::clone(self) }
    }

    /// How many are out.
    pub(crate) fn lent(&self) -> usize {
        self.lent.get()
    }
}

/// A lent buffer; it goes back when dropped.
#[derive(Debug)]
pub(crate) struct Lent {
    inbound: Inbound,
    stock: Rc<Buffers>,
}

impl Lent {
    /// Gives the buffer back early; what is left is empty.
    pub(crate) fn give_back(&mut self) {
        if self.inbound.bytes.is_empty() {
            return;
        }
        self.stock.lent.set(self.stock.lent.get() - 1);
        let mut free = self.stock.free.borrow_mut();
        let inbound = std::mem::take(&mut self.inbound);
        if free.len() < FREE_MAX {
            free.push(inbound);
        }
    }
}

impl std::ops::Deref for Lent {
    type Target = Inbound;
    fn deref(&self) -> &Inbound {
        &self.inbound
    }
}

impl std::ops::DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Inbound {
        &mut self.inbound
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Space that a shard reads into and composes in: borrowed within one poll, never across.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// For reads.
    pub(crate) read: Box<[u8]>,
    /// For composing heads.
    pub(crate) head: Vec<u8>,
    /// For parsing reply heads.
    pub(crate) reply: ResponseHead,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            read: vec![0; SCRATCH].into_boxed_slice(),
            head: Vec::with_capacity(4096),
            reply: ResponseHead::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_goes_back_and_comes_again() {
        let stock = Rc::new(Buffers::default());
        let first = stock.lend(4096);
        let address = first.bytes.as_ptr();
        assert_eq!(stock.lent(), 1);
        drop(first);
        assert_eq!(stock.lent(), 0);
        assert_eq!(stock.lend(4096).bytes.as_ptr(), address);
    }

    #[test]
    fn the_stock_is_bounded() {
        let stock = Rc::new(Buffers::default());
        let all: Vec<_> = (0..FREE_MAX + 50).map(|_| stock.lend(64)).collect();
        drop(all);
        assert_eq!(stock.free.borrow().len(), FREE_MAX);
    }
}
