//! The plain proxy: what goes in comes out, to the right endpoint, in little memory.

mod endpoints;
mod messages;
mod volume;

use std::net::SocketAddr;

use tidegate_scenario::gateway::Gateway;

/// Everything to these endpoints, with further lines of the upstream and further sections.
fn before(endpoints: &[SocketAddr], upstream: &str, sections: &str) -> Gateway {
    let list: Vec<_> = endpoints.iter().map(|address| format!("http://{address}")).collect();
    Gateway::start(&format!(
        "upstreams:\n  app:\n    endpoints: [{}]\n{upstream}routes: [{{ path: /, upstream: app }}]\n{sections}",
        list.join(", ")
    ))
}
