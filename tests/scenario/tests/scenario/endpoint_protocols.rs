//! How endpoints are called: HTTP/2, TLS with our own certificate, Unix sockets, PROXY headers.

mod grpc;
mod http2;
mod http2_ends;
mod sockets;
mod tls;
mod trailers;
mod websocket;

use tidegate_scenario::gateway::Gateway;

/// Everything to an upstream with these lines, on one shard.
fn before(upstream: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams:\n  app: {{ {upstream} }}\nroutes: [{{ path: /, upstream: app }}]\nshards: 1\n"
    ))
}
