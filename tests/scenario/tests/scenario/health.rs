//! Endpoints that fail: few requests notice, the endpoint is left alone, and it comes back.

mod breaker;
mod ejection;
mod faults;
mod hedge;
mod shortage;
mod statuses;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::origin::{Answer, Origin};

/// Everything to these endpoints, with further keys of the upstream and further sections.
fn before(endpoints: &[SocketAddr], upstream: &str, sections: &str) -> Gateway {
    let list: Vec<_> = endpoints.iter().map(|address| format!("http://{address}")).collect();
    Gateway::start(&format!(
        "upstreams:\n  app:\n    endpoints: [{}]\n    {upstream}\n\
         routes: [{{ path: /, upstream: app }}]\n{sections}\n",
        list.join(", ")
    ))
}

/// An origin whose status can be changed.
struct Moody {
    origin: Origin,
    status: Arc<AtomicU32>,
}

impl Moody {
    fn start(status: u32) -> Self {
        let status = Arc::new(AtomicU32::new(status));
        let now = Arc::clone(&status);
        let origin = Origin::start(move |_| {
            let status = now.load(SeqCst);
            Answer::keep(format!("HTTP/1.1 {status} Mood\r\nContent-Length: 2\r\n\r\nhi"))
        });
        Self { origin, status }
    }

    fn says(&self, status: u32) {
        self.status.store(status, SeqCst);
    }

    fn asked(&self) -> usize {
        self.origin.requests().len()
    }
}

/// The labels of an endpoint's state.
fn state(address: SocketAddr, state: &str) -> String {
    format!("endpoint=\"http://{address}\",state=\"{state}\"")
}
