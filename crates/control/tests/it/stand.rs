//! What the tests stand on: a configuration in force, a caller of the admin API, an endpoint.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tidegate_config::{Config, load};
use tidegate_control::{AdminBind, Control, Options};
use tidegate_snapshot::{Live, Shared, compile};

/// Longest wait for an event that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const TOKEN: &str = "admin-token-of-the-test";

/// The smallest configuration with an admin listener and something to serve.
pub(crate) const PLAIN: &str = "\
admin: { bind: 127.0.0.1:0, token: admin-token-of-the-test }
upstreams: { app: { endpoints: [http://127.0.0.1:9] } }
routes: [{ path: /, upstream: app }]
";

pub(crate) fn config(text: &str) -> Config {
    load(text, "test.yaml", &|_: &str| None).unwrap().config
}

/// Puts a configuration in force, for two shards.
pub(crate) fn in_force(config: Config) -> Arc<Shared> {
    let live = Live::new(2);
    let snapshot = compile(Arc::new(config), &live, 1).unwrap();
    Arc::new(Shared::new(snapshot, live))
}

pub(crate) fn shared(text: &str) -> Arc<Shared> {
    in_force(config(text))
}

/// Puts another one in force.
pub(crate) fn reload(shared: &Shared, config: Config, generation: u64) {
    let snapshot = compile(Arc::new(config), &shared.live, generation).unwrap();
    shared.snapshot.store(Arc::new(snapshot));
}

/// Waits for what nothing announces.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Starts with an admin listener on a free port.
pub(crate) fn start(shared: &Arc<Shared>) -> (Control, SocketAddr) {
    let bind = "127.0.0.1:0".parse().unwrap();
    let admin = Some(AdminBind { bind, token: TOKEN.to_owned() });
    let control =
        Control::start(Arc::clone(shared), Options { admin, admin_socket: None, orders: None })
            .unwrap();
    let address = control.admin_address().unwrap();
    (control, address)
}

/// A reply in pieces.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Sends bytes and reads until the other side closes.
pub(crate) fn send(address: SocketAddr, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&bytes)
}

pub(crate) fn parse(bytes: &[u8]) -> Reply {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// GET with these fields.
pub(crate) fn get_with(address: SocketAddr, path: &str, fields: &str) -> Reply {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n{fields}\r\n");
    send(address, request.as_bytes())
}

/// GET with the token.
pub(crate) fn get(address: SocketAddr, path: &str) -> Reply {
    get_with(address, path, &format!("Authorization: Bearer {TOKEN}\r\n"))
}

/// An endpoint that answers every connection with one status and counts the requests.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    shared: Arc<EndpointState>,
}

#[derive(Default)]
struct EndpointState {
    seen: Mutex<Seen>,
    more: Condvar,
}

#[derive(Default)]
struct Seen {
    status: u16,
    requests: usize,
    last_head: String,
}

impl Endpoint {
    /// Closes without a reply.
    pub(crate) const CLOSE: u16 = 0;
    /// Never replies.
    pub(crate) const SILENT: u16 = 1;

    pub(crate) fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(EndpointState::default());
        shared.seen.lock().unwrap().status = status;
        let state = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let last_head = read_head(&mut stream);
                let status = {
                    let mut seen = state.seen.lock().unwrap();
                    seen.requests += 1;
                    seen.last_head = last_head;
                    state.more.notify_all();
                    seen.status
                };
                match status {
                    Self::CLOSE => {}
                    Self::SILENT => silent.push(stream),
                    status => reply(&mut stream, status),
                }
            }
        });
        Self { address, shared }
    }

    fn wait(&self, until: impl Fn(&Seen) -> bool) -> String {
        let seen = self.shared.seen.lock().unwrap();
        let (seen, waited) =
            self.shared.more.wait_timeout_while(seen, PATIENCE, |seen| !until(seen)).unwrap();
        assert!(!waited.timed_out(), "{} requests, and no more", seen.requests);
        seen.last_head.clone()
    }

    /// Waits for the first request; a head.
    pub(crate) fn first(&self) -> String {
        self.wait(|seen| seen.requests > 0)
    }

    /// Answers with another status and waits until `judged` of those replies have been judged: one
    /// probe is under way at a time, so that the next request says so.
    pub(crate) fn answer(&self, status: u16, judged: usize) {
        let before = {
            let mut seen = self.shared.seen.lock().unwrap();
            seen.status = status;
            seen.requests
        };
        self.wait(|seen| seen.requests > before + judged);
    }
}

/// Reads a request head.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Writes an interim reply and one of this status.
pub(crate) fn reply(stream: &mut impl Write, status: u16) {
    // The prober may close as soon as it has seen the status.
    let _ = write!(
        stream,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 {status} Fine\r\nContent-Length: 2\r\n\r\nok"
    );
}
