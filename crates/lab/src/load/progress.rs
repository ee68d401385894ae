//! How far a load is: counters that other threads may watch, and the progress bar that does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{LoadMode, LoadOptions};

/// Time between drawings of the bar.
const TICK: Duration = Duration::from_millis(200);

/// The parts of a run, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LoadPhase {
    /// Not started.
    Waiting,
    /// Idle connections are being opened.
    Opening,
    /// Requests or streams run.
    Running,
    /// Idle connections are held: the time to look at a server's memory.
    Holding,
    /// Some of the idle connections carry a request.
    Waking,
    /// Done.
    Over,
}

/// Live counters of a run.
#[derive(Debug, Default)]
pub struct LoadProgress {
    started: AtomicU64,
    finished: AtomicU64,
    failed: AtomicU64,
    open: AtomicU64,
    phase: AtomicU8,
}

impl LoadProgress {
    /// Where the run is.
    pub fn phase(&self) -> LoadPhase {
        match self.phase.load(Relaxed) {
            0 => LoadPhase::Waiting,
            1 => LoadPhase::Opening,
            2 => LoadPhase::Running,
            3 => LoadPhase::Holding,
            4 => LoadPhase::Waking,
            _ => LoadPhase::Over,
        }
    }

    /// Exchanges that have begun.
    pub fn started_count(&self) -> u64 {
        self.started.load(Relaxed)
    }

    /// Exchanges that have ended, well or not.
    pub fn finished_count(&self) -> u64 {
        self.finished.load(Relaxed)
    }

    /// Exchanges that have failed.
    pub fn failed_count(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Streams whose body has begun, or idle connections held, now.
    pub fn open_count(&self) -> u64 {
        self.open.load(Relaxed)
    }

    pub(super) fn enter(&self, phase: LoadPhase) {
        self.phase.fetch_max(phase as u8, Relaxed);
    }

    pub(super) fn started(&self) {
        self.started.fetch_add(1, Relaxed);
    }

    pub(super) fn finished(&self, well: bool) {
        self.finished.fetch_add(1, Relaxed);
        if !well {
            self.failed.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

/// A bar being drawn; dropping it takes it off the screen.
pub(super) struct Bar {
    thread: Option<(SyncSender<()>, JoinHandle<()>)>,
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // Only drawing can have failed there.
            let _ = thread.join();
        }
    }
}

/// Draws a bar on standard error, if that is a terminal, from an own thread.
pub(super) fn draw(options: &LoadOptions, progress: Arc<LoadProgress>) -> io::Result<Bar> {
    let (stop, stopped) = sync_channel(0);
    let (mode, count, duration) = (options.mode, options.count, options.duration);
    let connections = options.connections as u64;
    let thread = std::thread::Builder::new().name("load-bar".to_owned()).spawn(move || {
        let begun = Instant::now();
        let whole = match (mode, count) {
            (LoadMode::Idle { .. }, _) => connections,
            (_, Some(count)) => count,
            (_, None) => duration.as_millis() as u64,
        };
        let bar = ProgressBar::new(whole);
        if let Ok(style) =
            ProgressStyle::with_template("{elapsed_precise} {wide_bar} {percent}% {msg}")
        {
            bar.set_style(style);
        }
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            bar.set_position(match (mode, count) {
                (LoadMode::Idle { .. }, _) => progress.open_count(),
                (_, Some(_)) => progress.finished_count(),
                (_, None) => (begun.elapsed().as_millis() as u64).min(whole),
            });
            bar.set_message(message(mode, &progress));
        }
        bar.finish_and_clear();
    })?;
    Ok(Bar { thread: Some((stop, thread)) })
}

fn message(mode: LoadMode, progress: &LoadProgress) -> String {
    let (finished, failed) = (progress.finished_count(), progress.failed_count());
    let open = progress.open_count();
    match mode {
        LoadMode::Requests => format!("{finished} requests, {failed} failed"),
        LoadMode::Streams => format!("{open} streams open, {finished} ended, {failed} failed"),
        LoadMode::Idle { .. } => {
            let doing = match progress.phase() {
                LoadPhase::Waiting | LoadPhase::Opening => "opening",
                LoadPhase::Holding => "holding",
                _ => "waking",
            };
            format!("{doing}: {open} open, {failed} failed")
        }
    }
}
