//! The endpoints' side: picking one, its connection pool, opening connections, egress proxies.

pub(crate) mod connect;
pub(crate) mod egress;
pub(crate) mod pick;
pub(crate) mod pool;

pub(crate) use connect::connect;
pub(crate) use pick::{Attempts, Picked, pick};
