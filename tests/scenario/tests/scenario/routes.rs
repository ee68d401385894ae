//! Routes: what they match, where they lead, and what they change on the way.

mod changes;
mod destinations;
mod explain;
mod matching;
mod mirrors;

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Reply, once};
use tidegate_scenario::origin::{Answer, Origin};

/// An origin that answers with its name.
fn named(name: &'static str) -> Origin {
    Origin::start(move |_| Answer::ok(name))
}

/// A gateway with these routes before origins, each an upstream of the name given.
fn before(origins: &[(&str, &Origin)], routes: &str) -> Gateway {
    let mut yaml = "upstreams:\n".to_owned();
    for (name, origin) in origins {
        yaml.push_str(&format!("  {name}: {{ endpoints: [http://{}] }}\n", origin.address));
    }
    Gateway::start(&format!("{yaml}routes:\n{routes}shards: 1\n"))
}

/// One request without a body; `fields` are whole lines.
fn ask(gateway: &Gateway, method: &str, host: &str, target: &str, fields: &str) -> Reply {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    once(gateway.address, request.as_bytes())
}
