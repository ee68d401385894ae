//! A binary upgrade: the old process starts the new binary, hands its listening sockets over, and
//! goes on only until its exchanges have ended.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use crate::handover::{self, Owner, READY};

/// Names the socket on which the old process waits.
const VARIABLE: &str = "TIDEGATE_HANDOVER";

/// How long the new process may take until it accepts connections.
const START_MAX: Duration = Duration::from_mins(1);

/// How often the old process looks whether the new one has come or ended.
const LOOK: Duration = Duration::from_millis(20);

/// How long the new process of an upgrade that is given up may take to be gone.
const GIVE_UP_MAX: Duration = Duration::from_secs(5);

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

/// A new process that is starting to take our place.
#[derive(Debug)]
pub(crate) struct Successor {
    outcome: oneshot::Receiver<io::Result<u32>>,
    given_up: Arc<AtomicBool>,
}

impl Successor {
    /// Starts it on a thread of its own: that takes as long as the new process does.
    pub(crate) fn start(program: &Program, sockets: Vec<(Owner, TcpListener)>) -> io::Result<Self> {
        let (sender, outcome) = oneshot::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let (program, told) = (program.clone(), Arc::clone(&given_up));
        std::thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
            // Nobody listens any more only when this process ends.
            let _ = sender.send(hand_over(&program, &sockets, &told));
        })?;
        Ok(Self { outcome, given_up })
    }

    /// Waits until it accepts connections; answers with its process id. On an error it has ended,
    /// and nothing has changed.
    pub(crate) async fn outcome(&mut self) -> io::Result<u32> {
        let given_up = || Err(io::Error::other("the upgrade was given up"));
        (&mut self.outcome).await.unwrap_or_else(|_| given_up())
    }

    /// Ends it, because this process is told to stop: who says so does not know of another one. If
    /// it accepts already, it stops as we do.
    pub(crate) async fn give_up(mut self) {
        self.given_up.store(true, Relaxed);
        match tokio::time::timeout(GIVE_UP_MAX, self.outcome()).await {
            Ok(Ok(process)) => {
                let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
                let told = pid.map(|pid| kill_process(pid, Signal::TERM));
                tracing::info!(process, ?told, "the new process is told to stop too");
            }
            Ok(Err(error)) => tracing::info!("not upgraded: {error}"),
            Err(_) => tracing::error!("the new process of the upgrade may still be there"),
        }
    }
}

/// Starts the program anew and hands `sockets` over to it. Blocks until the new process accepts
/// connections; answers with its process id.
///
/// On an error the new process has ended, and nothing has changed.
fn hand_over(
    program: &Program,
    sockets: &[(Owner, TcpListener)],
    given_up: &AtomicBool,
) -> io::Result<u32> {
    let place = Place::make()?;
    let waiting = UnixListener::bind(&place.socket)?;
    waiting.set_nonblocking(true)?;
    let mut child = Command::new(&program.path)
        .args(&program.arguments)
        .env(VARIABLE, &place.socket)
        .stdin(Stdio::null())
        .spawn()?;
    match introduce(&mut child, &waiting, sockets, given_up) {
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
    given_up: &AtomicBool,
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
        wait(child, deadline, given_up)?;
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
        wait(child, deadline, given_up)?;
    }
}

fn is_child(stream: &UnixStream, child: &Child) -> bool {
    socket_peercred(stream)
        .is_ok_and(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()) == Ok(child.id()))
}

/// Waits a moment, unless the new process has ended, takes too long, or is wanted no more.
fn wait(child: &mut Child, deadline: Instant, given_up: &AtomicBool) -> io::Result<()> {
    if given_up.load(Relaxed) {
        return Err(io::Error::other("this process is told to stop"));
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_new_process_that_accepts_already_is_told_to_stop_too() {
        let mut new = Command::new("sleep").arg("600").spawn().unwrap();
        let (sender, outcome) = oneshot::channel();
        sender.send(Ok(new.id())).unwrap();
        let given_up = Arc::new(AtomicBool::new(false));
        let successor = Successor { outcome, given_up: Arc::clone(&given_up) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(successor.give_up());
        assert!(given_up.load(Relaxed));
        assert_eq!(new.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    }
}
