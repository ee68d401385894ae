//! Buffers lent for the length of a request head, and the scratch space that a shard reads into.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tidegate_wire::http1::head::{RequestHead, ResponseHead};

/// Idle buffers kept per shard; what a burst needed beyond is freed.
const FREE_MAX: usize = 128;

/// Bytes of a lent buffer: most requests fit, head and body together. Larger heads get a larger one.
const SMALL: usize = 4096;

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
    // Boxed: a lent one lives in futures, whose size counts per connection.
    #[expect(clippy::vec_box)]
    free: RefCell<Vec<Box<Inbound>>>,
    lent: Cell<usize>,
    /// What a buffer that was given back reads as.
    empty: Inbound,
}

impl Buffers {
    /// Lends a buffer of [`SMALL`] bytes.
    pub(crate) fn lend(self: &Rc<Self>) -> Lent {
        let mut inbound = self.free.borrow_mut().pop().unwrap_or_default();
        if inbound.bytes.is_empty() {
            inbound.bytes = vec![0; SMALL].into_boxed_slice();
        }
        inbound.filled = 0;
        let inbound = Some(inbound);
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
    inbound: Option<Box<Inbound>>,
    stock: Rc<Buffers>,
}

impl Lent {
    /// Makes room for `size` bytes, keeping what is there.
    pub(crate) fn grow(&mut self, size: usize) {
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        bytes.resize(size.max(bytes.len()), 0);
        self.bytes = bytes.into_boxed_slice();
    }

    /// Gives the buffer back early; what is left is empty.
    pub(crate) fn give_back(&mut self) {
        let Some(inbound) = self.inbound.take() else { return };
        self.stock.lent.set(self.stock.lent.get().saturating_sub(1));
        let mut free = self.stock.free.borrow_mut();
        if free.len() < FREE_MAX && inbound.bytes.len() == SMALL {
            free.push(inbound);
        }
    }
}

impl std::ops::Deref for Lent {
    type Target = Inbound;
    fn deref(&self) -> &Inbound {
        self.inbound.as_deref().unwrap_or(&self.stock.empty)
    }
}

impl std::ops::DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Inbound {
        self.inbound.get_or_insert_default()
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
        let first = stock.lend();
        let address = first.bytes.as_ptr();
        assert_eq!(stock.lent(), 1);
        drop(first);
        assert_eq!(stock.lent(), 0);
        assert_eq!(stock.lend().bytes.as_ptr(), address);
    }

    #[test]
    fn the_stock_is_bounded() {
        let stock = Rc::new(Buffers::default());
        let all: Vec<_> = (0..FREE_MAX + 50).map(|_| stock.lend()).collect();
        drop(all);
        assert_eq!(stock.free.borrow().len(), FREE_MAX);
    }
}
