//! Listeners with protocol tcp: bytes both ways, by server name or not, and how connections end.

mod bytes;
mod edges;
mod names;

use tidegate_scenario::gateway::Gateway;

/// A TCP listener with these fields before these upstreams, beside the HTTP listener that tells how
/// the gateway is.
fn before(listener: &str, upstreams: &str, sections: &str) -> Gateway {
    Gateway::start(&format!(
        "listeners:\n  - bind: 127.0.0.1:0\n  \
         - {{ bind: 127.0.0.2:0, protocol: tcp, {listener} }}\n\
         upstreams: {{ {upstreams} }}\n{sections}"
    ))
}
