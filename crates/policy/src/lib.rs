//! Decisions: route match, balance, admission, retry, health. No I/O; time and randomness are arguments.
pub mod access;
pub mod admission;
pub mod balance;
pub mod cidr;
pub mod compress;
pub mod health;
pub mod limits;
pub mod path;
pub mod real_ip;
pub mod retry;
pub mod route;
