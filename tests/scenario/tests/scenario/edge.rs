//! What stands before a route: who a caller is, whether it may come in, how often, and how its
//! replies are compressed.

mod access;
mod compression;
mod rates;
mod real_ip;
mod request_id;

use std::net::SocketAddr;

use tidegate_scenario::gateway::Gateway;

/// A gateway before an origin. `listener`: keys besides `bind`. `route`: keys besides `upstream`.
fn gateway(origin: SocketAddr, listener: &str, route: &str) -> Gateway {
    let comma = |keys: &str| if keys.is_empty() { String::new() } else { format!(", {keys}") };
    Gateway::start(&format!(
        "listeners: [{{ bind: 127.0.0.1:0{} }}]\n\
         upstreams: {{ app: {{ endpoints: [http://{origin}] }} }}\n\
         routes: [{{ upstream: app{} }}]\nshards: 2\n",
        comma(listener),
        comma(route)
    ))
}

/// A GET with these field lines, each ending in CRLF.
fn get_with(fields: &str) -> Vec<u8> {
    format!("GET /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}
