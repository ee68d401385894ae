//! A binary upgrade: the old process starts the new binary, hands its listening sockets over, and
//! goes on only until its exchanges have ended.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;

use crate::handover::{self, Owner, READY};

/// Names the socket on which the old process waits.
const VARIABLE: &str = "TIDEGATE_HANDOVER";

/// How long the new process may take until it accepts connections.
const START_MAX: Duration = Duration::from_mins(1);

/// How often the old process looks whether the new one has come or ended.
const LOOK: Duration = Duration::from_millis(20);

/// What this process was started as. Read at the start: later the file may be another one.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<std::ffi::OsString>,
}

impl Program {
    /// The running program.
    pub(crate) fn current() -> io::Result<Self> {
        let arguments = std::env::args_os().skip(1).collect();
        Ok(Self { path: std::env::current_exe()?, arguments })
    }
}

/// Sockets of the process before us, and the way to tell it that we have taken its place.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Sockets of listeners, by configured address.
    pub(crate) listeners: Vec<(SocketAddr, TcpListener)>,
    /// The socket of the admin listener.
    pub(crate) admin: Option<TcpListener>,
    old: Option<UnixStream>,
}

impl Inherited {
    /// What the process before us hands over; nothing where there is none.
    pub(crate) fn receive() -> io::Result<Self> {
        let Some(path) = std::env::var_os(VARIABLE) else { return Ok(Self::default()) };
        let old = UnixStream::connect(path)?;
        let mut inherited = Self::default();
        for (owner, socket) in handover::receive(&old)? {
            match owner {
                Owner::Listener(address) => inherited.listeners.push((address, socket)),
                Owner::Admin => inherited.admin = Some(socket),
            }
        }
        inherited.old = Some(old);
        Ok(inherited)
    }

    /// Tells the process before us that we accept connections now.
    pub(crate) fn ready(self) {
        if let Some(mut old) = self.old
            && let Err(error) = old.write_all(&[READY])
        {
            tracing::warn!(%error, "the old process does not hear that the upgrade is done");
        }
    }
}

/// Starts the program anew and hands `sockets` over to it. Blocks until the new process accepts
/// connections; answers with its process id.
///
/// On an error the new process has ended, and nothing has changed.
pub(crate) fn hand_over(program: &Program, sockets: &[(Owner, TcpListener)]) -> io::Result<u32> {
    let place = Place::make()?;
    let waiting = UnixListener::bind(&place.socket)?;
    waiting.set_nonblocking(true)?;
    let mut child = Command::new(&program.path)
        .args(&program.arguments)
        .env(VARIABLE, &place.socket)
        .stdin(Stdio::null())
        .spawn()?;
    match introduce(&mut child, &waiting, sockets) {
        Ok(()) => Ok(child.id()),
        Err(error) => {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

fn introduce(
    child: &mut Child,
    waiting: &UnixListener,
    sockets: &[(Owner, TcpListener)],
) -> io::Result<()> {
    let deadline = Instant::now() + START_MAX;
    let stream = loop {
        match waiting.accept() {
            // Whoever else may come: only the process that we started gets the sockets.
            Ok((stream, _)) if is_child(&stream, child) => break stream,
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        wait(child, deadline)?;
    };
    stream.set_nonblocking(false)?;
    let borrowed: Vec<_> =
        sockets.iter().map(|(owner, socket)| (*owner, handover::file(socket))).collect();
    handover::send(&stream, &borrowed)?;
    stream.set_nonblocking(true)?;
    loop {
        let mut answer = [0];
        match (&stream).read(&mut answer) {
            Ok(1) if answer == [READY] => return Ok(()),
            Ok(_) => {
                return Err(io::Error::other("the new process could not start; its log says why"));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        wait(child, deadline)?;
    }
}

fn is_child(stream: &UnixStream, child: &Child) -> bool {
    socket_peercred(stream)
        .is_ok_and(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()) == Ok(child.id()))
}

/// Waits a moment, unless the new process has ended or takes too long.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<()> {
    if let Some(status) = child.try_wait()? {
        return Err(io::Error::other(format!("the new process ended with {status}")));
    }
    if Instant::now() >= deadline {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the new process did not start within {START_MAX:?}"),
        ));
    }
    #[allow(clippy::disallowed_methods)] // the upgrade's own thread, which serves nobody
    std::thread::sleep(LOOK);
    Ok(())
}

/// A directory that only we can enter, and the socket in it; both go when dropped.
struct Place {
    directory: PathBuf,
    socket: PathBuf,
}

impl Place {
    fn make() -> io::Result<Self> {
        let base = std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|path| path.is_dir())
            .unwrap_or_else(std::env::temp_dir);
        let directory = base.join(format!("tidegate-upgrade-{}", std::process::id()));
        remove(&directory);
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        // Made by somebody else in between, it would not be ours.
        if fs::metadata(&directory)?.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other(format!("{} is not ours", directory.display())));
        }
        Ok(Self { socket: directory.join("handover.sock"), directory })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        remove(&self.directory);
    }
}

fn remove(directory: &Path) {
    // What is not there need not be removed.
    let _ = fs::remove_file(directory.join("handover.sock"));
    let _ = fs::remove_dir(directory);
}
