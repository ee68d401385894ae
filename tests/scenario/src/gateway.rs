//! The gateway under test: the real binary, started with a configuration, ended by its pid.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;

use crate::http;
use crate::until;

/// The caller key in [`Gateway::start`]'s configurations.
pub const KEY: &str = "sk-scenario-key-0001";

/// The admin token.
pub const TOKEN: &str = "scenario-admin-token-0001";

/// A running gateway; it ends with this value.
#[derive(Debug)]
pub struct Gateway {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its admin listener is.
    pub admin: SocketAddr,
    child: Child,
    /// Processes that took its place in binary upgrades.
    successors: Vec<Pid>,
    directory: PathBuf,
    lines: Receiver<String>,
    log: Vec<String>,
}

/// The binary: beside the test's own executable, or where `TIDEGATE_BIN` says.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test has a path");
    let target = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/test");
    let path = target.join("tidegate");
    assert!(path.exists(), "{} is missing: cargo build -p tidegate", path.display());
    path
}

impl Gateway {
    /// Starts with this YAML. Listeners on free ports, the admin listener and a caller named `dev`
    /// with [`KEY`] are added unless the text has such a section.
    pub fn start(yaml: &str) -> Self {
        let directory = std::env::temp_dir().join(format!(
            "tidegate-scenario-{}-{:x}",
            std::process::id(),
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_nanos())
        ));
        fs::create_dir_all(&directory).expect("a directory for the configuration");
        let text = complete(yaml);
        let file = directory.join("tidegate.yaml");
        fs::write(&file, text).expect("the configuration is written");
        let mut child = Command::new(binary())
            .args(["serve", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let stderr = child.stderr.take().expect("its log is piped");
        let (sender, lines) = sync_channel(10_000);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // A test that does not look at the log must not block the gateway.
                let _ = sender.try_send(line);
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Self {
            address: nowhere,
            admin: nowhere,
            child,
            successors: Vec::new(),
            directory,
            lines,
            log: Vec::new(),
        };
        gateway.address = gateway.announced("listening on ");
        gateway.admin = gateway.announced("admin on ");
        gateway
    }

    /// Where the listener with `protocol: tcp` is; the last one, should there be several.
    pub fn tcp_address(&mut self) -> SocketAddr {
        let line = self.logged("listening on tcp://");
        address(&line, "listening on ")
    }

    fn announced(&mut self, words: &str) -> SocketAddr {
        let line = self.logged(words);
        address(&line, words)
    }

    /// The addresses of all listeners, in the order of their configured addresses.
    pub fn addresses(&mut self) -> Vec<SocketAddr> {
        const WORDS: &str = "listening on ";
        // Announced after the listeners.
        self.logged("admin on ");
        let lines = self.log.iter().filter(|line| line.contains(WORDS));
        lines.map(|line| address(line, WORDS)).collect()
    }

    /// The directory of its configuration file.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits for a line of the log with these words.
    pub fn logged(&mut self, words: &str) -> String {
        if let Some(line) = self.log.iter().find(|line| line.contains(words)) {
            return line.clone();
        }
        until(&format!("log line with {words:?}"), || {
            while let Ok(line) = self.lines.try_recv() {
                self.log.push(line);
            }
            if let Ok(Some(status)) = self.child.try_wait()
                && !self.log.iter().any(|line| line.contains(words))
            {
                panic!("the gateway ended with {status}: {:#?}", self.log);
            }
            self.log.iter().find(|line| line.contains(words)).cloned()
        })
    }

    /// Writes a new configuration over the one in force (completed as in [`Gateway::start`]; a
    /// listener on port 0 stays where it is) and sends SIGHUP.
    pub fn reload(&self, yaml: &str) {
        self.rewrite(yaml);
        self.signal(Signal::HUP);
    }

    /// Writes a new configuration over the one in force and leaves it to the gateway to notice.
    pub fn rewrite(&self, yaml: &str) {
        // Whole or not at all: the gateway may look at it in the middle.
        let fresh = self.directory.join("tidegate.fresh");
        fs::write(&fresh, complete(yaml)).expect("the configuration is written");
        fs::rename(&fresh, self.directory.join("tidegate.yaml")).expect("and put in its place");
    }

    /// The generation of the configuration in force: 1 at the start, one more with each reload.
    pub fn generation(&self) -> u64 {
        self.admin("/api/v1/config").json()["generation"].as_u64().expect("a number")
    }

    /// A GET of the admin listener with its token.
    pub fn admin(&self, path: &str) -> http::Reply {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        );
        http::once(self.admin, request.as_bytes())
    }

    /// A request of the admin listener with a token and a JSON body.
    pub fn admin_request(&self, method: &str, path: &str, token: &str, body: &str) -> http::Reply {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {token}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        http::once(self.admin, request.as_bytes())
    }

    /// The text of its configuration file.
    pub fn file(&self) -> String {
        fs::read_to_string(self.directory.join("tidegate.yaml")).expect("the file is there")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the gateway is running");
    }

    /// The process that was started; after an upgrade it is the old one.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Upgrades the newest process in place and gives the one that took its place.
    pub fn upgrade(&mut self) -> Pid {
        let newest = self.successors.last().copied().unwrap_or_else(|| self.pid());
        self.log.retain(|line| !line.contains("upgraded: the new process accepts"));
        kill_process(newest, Signal::USR2).expect("the gateway is running");
        let line = self.logged("upgraded: the new process accepts");
        let pid = line.rsplit("process=").next().and_then(|pid| pid.trim().parse().ok());
        let pid = pid.and_then(Pid::from_raw).unwrap_or_else(|| panic!("a process id in {line:?}"));
        self.successors.push(pid);
        pid
    }

    /// Waits for its end and gives the exit code.
    pub fn ended(&mut self) -> Option<i32> {
        until("the gateway ends", || self.child.try_wait().ok().flatten()).code()
    }

    /// `GET /status`.
    pub fn status(&self) -> Value {
        let reply = http::get(self.address, "/status");
        serde_json::from_slice(&reply.body).expect("/status is JSON")
    }

    /// A metric's value, summed over its labels; `with` selects label text such as `reason="busy"`.
    pub fn metric(&self, name: &str, with: &str) -> f64 {
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        );
        let reply = http::once(self.admin, request.as_bytes());
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        text.lines()
            .filter(|line| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                    && line.contains(with)
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Lets its process open no file whose descriptor is this number or above; None: as many as it
    /// could at its start. Those that are open stay.
    pub fn limit_files(&self, below: Option<u64>) {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: below.or(maximum), maximum };
        prlimit(Some(self.pid()), Resource::Nofile, limit).expect("the limit is set");
    }

    /// Open files of its process.
    pub fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid().as_raw_nonzero());
        fs::read_dir(path).map_or(0, Iterator::count)
    }

    /// Resident bytes of its process.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.pid().as_raw_nonzero());
        let pages = fs::read_to_string(path).unwrap_or_default();
        pages.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 4096
    }
}

/// The address of the URL behind these words.
fn address(line: &str, words: &str) -> SocketAddr {
    let url = line.split(words).nth(1).and_then(|rest| rest.split_whitespace().next());
    url.and_then(|url| url.split("://").nth(1)?.parse().ok())
        .unwrap_or_else(|| panic!("an address in {line:?}"))
}

fn complete(yaml: &str) -> String {
    let mut text = String::new();
    for (section, default) in [
        ("listeners:", "listeners: [{ bind: 127.0.0.1:0 }]\n".to_owned()),
        ("admin:", format!("admin: {{ bind: 127.0.0.1:0, token: {TOKEN} }}\n")),
        ("callers:", format!("callers: [{{ name: dev, key: {KEY} }}]\n")),
    ] {
        if !yaml.lines().any(|line| line.starts_with(section)) {
            text.push_str(&default);
        }
    }
    text.push_str(yaml);
    text
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in &self.successors {
            let _ = kill_process(*pid, Signal::KILL);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}
