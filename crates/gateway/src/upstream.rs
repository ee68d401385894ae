//! The endpoints' side: picking one, waiting for one, its connection pool, opening connections,
//! egress proxies.

mod attempts;
pub(crate) mod connect;
pub(crate) mod egress;
pub(crate) mod key;
mod note;
pub(crate) mod pick;
pub(crate) mod pool;
pub(crate) mod queue;

pub(crate) use attempts::Attempts;
pub(crate) use connect::connect;
pub(crate) use key::key;
pub(crate) use pick::{Newer, Picked, Want, pick};
