//! WebSocket: the switch, over HTTP/1.1 and HTTP/2, the tunnel behind it, its ends and its bounds.

mod life;
mod over_h2;
mod over_h2_life;
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
