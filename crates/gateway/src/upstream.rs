//! The endpoints' side: picking one, waiting for one, its connections of HTTP/1.1 and HTTP/2,
//! egress proxies.

mod attempts;
pub(crate) mod breaker;
pub(crate) mod connect;
pub(crate) mod current;
pub(crate) mod egress;
pub(crate) mod health;
pub(crate) mod http2;
pub(crate) mod key;
pub(crate) mod leg;
mod note;
pub(crate) mod pick;
pub(crate) mod pool;
pub(crate) mod queue;

pub(crate) use attempts::Attempts;
pub(crate) use breaker::{Passed, pass};
pub(crate) use connect::{Alpn, open, proxy_header};
pub(crate) use key::key;
pub(crate) use leg::Leg;
pub(crate) use pick::{Lease, Newer, Picked, Want, beside, pick};
