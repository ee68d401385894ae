//! Malformed, ambiguous and boundary requests, one row each: what the caller is told, and what the
//! origin sees. That is what was meant, or nothing.
//!
//! Behind each row comes a request on the same connection, and then one on a new connection. The
//! origin must have seen these and what the row says, nothing before, between or behind them.

mod bounds;
mod chunks;
mod codings;
mod connection;
mod fields;
mod flow;
mod h2_bodies;
mod h2_connect;
mod h2_fields;
mod h2_frames;
mod h2_hpack;
mod h2_targets;
mod hosts;
mod lengths;
mod lines;
mod one;
mod targets;
mod two;

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::get;
use tidegate_scenario::recorder::{Message, Recorder};

/// What the origin may see of a row.
#[derive(Debug, Clone)]
enum Seen {
    /// Not a byte.
    Nothing,
    /// A beginning at most, never a whole request.
    Broken,
    /// Exactly these requests: head and decoded body, without what the gateway adds to each.
    Whole(Vec<String>),
    /// Exactly these, or a beginning at most.
    Perhaps(Vec<String>),
}

/// A gateway before an origin that records.
struct Stage {
    gateway: Gateway,
    recorder: Recorder,
    /// The field lines that the gateway adds to each request.
    own: Vec<String>,
    rows: usize,
}

/// The most bytes of a head here.
const HEAD_MAX: usize = 8 * 1024;

/// The most bytes of a body here.
const BODY_MAX: usize = 4 * 1024;

impl Stage {
    fn set() -> Self {
        let recorder = Recorder::start();
        let gateway = Gateway::start(&format!(
            "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\n\
             routes: [{{ path: /, upstream: app }}]\n\
             limits: {{ head: {HEAD_MAX}, body: {BODY_MAX} }}\n",
            recorder.address
        ));
        let mut stage = Self { gateway, recorder, own: Vec::new(), rows: 0 };
        assert_eq!(get(stage.gateway.address, "/first").status, 200);
        let first = stage.recorder.take().remove(0);
        stage.own = first.lines[1..].to_vec();
        stage.own.retain(|line| line != "Host: localhost");
        stage
    }

    /// Asks for something sound on a new connection and compares what the origin has seen of the
    /// row, `behind` it on its connection, and this.
    fn judge(&mut self, seen: &Seen, behind: Option<&str>) -> Result<(), String> {
        self.rows += 1;
        let marker = format!("/marker-{}", self.rows);
        let reply = get(self.gateway.address, &marker);
        if (reply.status, reply.text()) != (200, marker.clone()) {
            return Err(format!("the next caller was told {} {}", reply.status, reply.text()));
        }
        self.recorder.settle();
        let broken = self.recorder.take_broken();
        if !(broken.is_empty() || matches!(seen, Seen::Broken | Seen::Perhaps(_))) {
            return Err(format!("the origin saw a beginning: {broken:?}"));
        }
        if let Some(fault) = self.recorder.faults().first() {
            return Err(format!("the origin saw what is no request: {fault}"));
        }
        let found: Vec<_> = self.recorder.take().iter().map(|m| self.without_own(m)).collect();
        let others = 1 + usize::from(behind.is_some());
        let mut wanted = match seen {
            Seen::Whole(messages) => messages.clone(),
            Seen::Perhaps(messages) if found.len() > others => messages.clone(),
            _ => Vec::new(),
        };
        wanted.extend(behind.map(str::to_owned));
        wanted.push(format!("GET {marker} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        if found != wanted {
            return Err(format!("the origin saw {found:#?}, meant was {wanted:#?}"));
        }
        Ok(())
    }

    /// The message without the lines that the gateway adds to each, which must be there once.
    fn without_own(&self, message: &Message) -> String {
        let mut message = message.clone();
        for own in &self.own {
            let name = own.split(':').next().unwrap_or_default();
            let same = |line: &String| {
                line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name))
            };
            // Each request has a name of its own, but of the same kind.
            let like_own = |line: &String| line == own || is_id(line) && is_id(own);
            match message.lines.iter().position(like_own) {
                Some(at) => drop(message.lines.remove(at)),
                None => message.lines.push(format!("(no {name})")),
            }
            if message.lines.iter().any(same) {
                message.lines.push(format!("(another {name})"));
            }
        }
        message.text()
    }
}

/// Is this the field with the name that the gateway gives to a request?
fn is_id(line: &str) -> bool {
    let id = line.strip_prefix("X-Request-Id: ");
    id.is_some_and(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Fails with all that went wrong.
fn all_right(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn there_are_rows_enough_and_each_has_a_name_of_its_own() {
    let one: Vec<_> = one::tables().into_iter().flatten().map(|row| row.name).collect();
    let two: Vec<_> = two::tables().into_iter().flatten().map(|row| row.name).collect();
    println!("{} rows of HTTP/1.1, {} of HTTP/2", one.len(), two.len());
    assert!(one.len() >= 170 && two.len() >= 80);
    let mut names = [one, two].concat();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "a name is there twice");
}
