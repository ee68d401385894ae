//! A copy of a body that is still being read from the caller.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// The copy. The request writes it, the mirror's task waits for it.
#[derive(Debug)]
pub(crate) struct BodyCopy(RefCell<Copied>);

#[derive(Debug)]
struct Copied {
    bytes: Vec<u8>,
    limit: usize,
    state: State,
    waker: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Growing,
    Whole,
    /// Longer than the limit, or never read to its end.
    Lost,
}

/// The request's end: without it the copy grows no more.
#[derive(Debug)]
pub(crate) struct CopyWriter(Rc<BodyCopy>);

impl CopyWriter {
    /// An empty copy of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> (Self, Rc<BodyCopy>) {
        let copied = Copied { bytes: Vec::new(), limit, state: State::Growing, waker: None };
        let copy = Rc::new(BodyCopy(RefCell::new(copied)));
        (Self(Rc::clone(&copy)), copy)
    }

    /// Adds a piece; `last`: the body ends behind it.
    pub(crate) fn add(&self, piece: &[u8], last: bool) {
        let mut copied = self.0.0.borrow_mut();
        if copied.state != State::Growing {
            return;
        }
        if copied.bytes.len() + piece.len() > copied.limit {
            copied.bytes = Vec::new();
            copied.end(State::Lost);
            return;
        }
        copied.bytes.extend_from_slice(piece);
        if last {
            copied.end(State::Whole);
        }
    }
}

impl Drop for CopyWriter {
    fn drop(&mut self) {
        let mut copied = self.0.0.borrow_mut();
        if copied.state == State::Growing {
            copied.end(State::Lost);
        }
    }
}

impl Copied {
    fn end(&mut self, state: State) {
        self.state = state;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl BodyCopy {
    /// The whole body; None when it was lost.
    pub(crate) async fn whole(&self) -> Option<Vec<u8>> {
        std::future::poll_fn(|cx| {
            let mut copied = self.0.borrow_mut();
            match copied.state {
                State::Whole => Poll::Ready(Some(std::mem::take(&mut copied.bytes))),
                State::Lost => Poll::Ready(None),
                State::Growing => {
                    copied.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn now(copy: &BodyCopy) -> Poll<Option<Vec<u8>>> {
        pin!(copy.whole()).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_copy_is_there_when_the_body_has_ended() {
        let (writer, copy) = CopyWriter::new(4);
        writer.add(b"ab", false);
        assert_eq!(now(&copy), Poll::Pending);
        writer.add(b"cd", true);
        drop(writer);
        assert_eq!(now(&copy), Poll::Ready(Some(b"abcd".to_vec())));
    }

    #[test]
    fn a_body_that_is_too_long_or_breaks_off_is_no_copy() {
        let (writer, copy) = CopyWriter::new(4);
        writer.add(b"abcde", true);
        assert_eq!(now(&copy), Poll::Ready(None));
        let (writer, copy) = CopyWriter::new(4);
        writer.add(b"a", false);
        drop(writer);
        assert_eq!(now(&copy), Poll::Ready(None));
    }
}
