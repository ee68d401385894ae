//! WebSocket over HTTP/1.1: the switch, the tunnel behind it, its ends and its bounds.

mod life;
mod switch;

use std::net::SocketAddr;

use tidegate_scenario::gateway::Gateway;

/// Everything to this endpoint, with further sections.
fn before(endpoint: SocketAddr, sections: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [\"http://{endpoint}\"] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n{sections}"
    ))
}
