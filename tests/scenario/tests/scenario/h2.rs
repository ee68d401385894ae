//! HTTP/2 towards callers: what goes in comes out, what is malformed goes nowhere, floods are bounded.

mod attacks;
mod bombs;
mod ends;
mod malformed;
mod messages;

use std::net::SocketAddr;

use tidegate_scenario::gateway::Gateway;

/// Everything to one endpoint, with further sections.
fn before(address: SocketAddr, sections: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{address}] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n{sections}"
    ))
}
