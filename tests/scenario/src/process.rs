//! Commands of the binary that end by themselves, and those that serve until the test ends.

use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use rustix::process::Pid;

use crate::gateway::binary;
use crate::until;

/// The binary with a clean environment: nothing that the tester's shell exports is seen.
pub fn tidegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Output {
    tidegate(arguments).output().expect("the binary runs")
}

/// A running command; it ends with this value.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    /// What it has said so far, on both outputs.
    pub said: Vec<String>,
}

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (sender, lines) = sync_channel(10_000);
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("its output is piped")),
            Box::new(child.stderr.take().expect("its log is piped")),
        ];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = sender.try_send(line);
                }
            });
        }
        Self { child, lines, said: Vec::new() }
    }

    /// Waits for a line with these words.
    pub fn says(&mut self, words: &str) -> String {
        until(&format!("a line with {words:?}"), || {
            while let Ok(line) = self.lines.try_recv() {
                self.said.push(line);
            }
            let found = self.said.iter().find(|line| line.contains(words)).cloned();
            if found.is_none()
                && let Ok(Some(status)) = self.child.try_wait()
            {
                panic!("it ended with {status}: {:#?}", self.said);
            }
            found
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of the test's own.
pub fn directory() -> PathBuf {
    let path = std::env::temp_dir().join(format!("tidegate-scenario-files-{}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a directory");
    path
}

/// A process that this one has started and that is there yet.
pub fn child_of(parent: Pid) -> Option<Pid> {
    let wanted = parent.as_raw_nonzero().to_string();
    std::fs::read_dir("/proc").ok()?.find_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // proc_pid_stat(5): behind the command in brackets come the state and the parent.
        let (_, behind) = stat.rsplit_once(')')?;
        (behind.split_whitespace().nth(1)? == wanted).then_some(Pid::from_raw(pid)?)
    })
}
