//! Passing listening sockets from a process to the one that takes its place, over a Unix socket.
//!
//! The old process sends a line of JSON with the owner of each socket, in order, and then the
//! sockets in batches (SCM_RIGHTS, unix(7)). The new process answers [`READY`] once it accepts.

use std::io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// Says that the new process accepts connections.
pub(crate) const READY: u8 = b'R';

/// Sockets in one message; the kernel takes 253.
const BATCH: usize = 64;

/// Sockets in all: listeners times shards.
const SOCKETS_MAX: usize = 16_384;

/// Bytes of the line that names the sockets.
const LINE_MAX: u64 = 4 * 1024 * 1024;

/// How long the other side may take for one step of the exchange.
const STEP: Duration = Duration::from_secs(10);

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Owner {
    /// The listener with this configured address.
    Listener(SocketAddr),
    /// The admin listener.
    Admin,
}

/// Sends the sockets.
pub(crate) fn send(stream: &UnixStream, sockets: &[(Owner, BorrowedFd<'_>)]) -> io::Result<()> {
    stream.set_write_timeout(Some(STEP))?;
    let owners: Vec<Owner> = sockets.iter().map(|(owner, _)| *owner).collect();
    let mut line = serde_json::to_vec(&owners)?;
    line.push(b'\n');
    (&*stream).write_all(&line)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    for batch in sockets.chunks(BATCH) {
        let files: Vec<BorrowedFd<'_>> = batch.iter().map(|(_, socket)| *socket).collect();
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(io::Error::other("a batch of sockets does not fit into a message"));
        }
        // A message carries at least one byte besides the sockets.
        sendmsg(stream, &[IoSlice::new(b".")], &mut control, SendFlags::empty())?;
    }
    Ok(())
}

/// Receives the sockets.
pub(crate) fn receive(stream: &UnixStream) -> io::Result<Vec<(Owner, TcpListener)>> {
    stream.set_read_timeout(Some(STEP))?;
    let line = read_line(stream)?;
    let owners: Vec<Owner> = serde_json::from_slice(&line)?;
    if owners.len() > SOCKETS_MAX {
        return Err(io::Error::other("too many sockets"));
    }
    let mut files: Vec<OwnedFd> = Vec::with_capacity(owners.len());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    while files.len() < owners.len() {
        let mut byte = [0];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut byte)];
        let message = recvmsg(stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let before = files.len();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = part {
                files.extend(received);
            }
        }
        if message.bytes == 0 || files.len() == before {
            return Err(io::Error::other("the old process ended the handover"));
        }
    }
    Ok(owners.into_iter().zip(files.into_iter().map(TcpListener::from)).collect())
}

/// Reads up to a line's end and not a byte further: what follows comes with sockets, which a
/// buffered read would lose.
fn read_line(stream: &UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut by_byte = BufReader::with_capacity(1, stream.take(LINE_MAX));
    by_byte.read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::Error::other("the old process ended the handover"));
    }
    Ok(line)
}

/// A borrowed handle of a listening socket.
pub(crate) fn file(socket: &TcpListener) -> BorrowedFd<'_> {
    socket.as_fd()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sockets_arrive_with_their_owners_in_more_than_one_batch() {
        let (old, new) = UnixStream::pair().unwrap();
        let bound: Vec<TcpListener> =
            (0..BATCH + 3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let sockets: Vec<_> = bound
            .iter()
            .map(|socket| (Owner::Listener(socket.local_addr().unwrap()), file(socket)))
            .chain([(Owner::Admin, file(&bound[0]))])
            .collect();
        send(&old, &sockets).unwrap();
        let received = receive(&new).unwrap();
        assert_eq!(received.len(), bound.len() + 1);
        for (owner, socket) in &received[..bound.len()] {
            assert_eq!(*owner, Owner::Listener(socket.local_addr().unwrap()));
        }
        assert_eq!(received[bound.len()].0, Owner::Admin);
    }

    #[test]
    fn a_handover_that_breaks_off_is_an_error() {
        let (old, new) = UnixStream::pair().unwrap();
        (&old).write_all(br#"["admin"]"#).unwrap();
        drop(old);
        assert!(receive(&new).is_err());
        let (old, new) = UnixStream::pair().unwrap();
        (&old).write_all(b"[\"admin\"]\n").unwrap();
        drop(old);
        assert!(receive(&new).is_err());
    }
}
