//! Listeners: TLS towards callers, and the PROXY protocol.

mod certificates;
mod handshakes;
mod proxy_protocol;

use std::net::SocketAddr;

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, Reply};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: app.example\r\n\r\n";

/// Everything to this endpoint, from listeners with these keys behind `bind`.
fn listening(keys: &[&str], endpoint: SocketAddr, sections: &str) -> Gateway {
    Gateway::start(&configuration(keys, endpoint, sections))
}

fn configuration(keys: &[&str], endpoint: SocketAddr, sections: &str) -> String {
    let mut listeners = String::new();
    for (index, keys) in keys.iter().enumerate() {
        listeners += &format!("  - {{ bind: 127.0.0.{}:0, {keys} }}\n", index + 1);
    }
    format!(
        "listeners:\n{listeners}upstreams: {{ app: {{ endpoints: [\"http://{endpoint}\"] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n{sections}"
    )
}

fn get(connection: &mut Connection) -> Reply {
    connection.send(GET).reply()
}
