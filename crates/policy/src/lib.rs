//! Decisions: route match, balance, admission, retry, health. No I/O; time and randomness are arguments.
pub mod admission;
pub mod balance;
pub mod cidr;
pub mod health;
pub mod path;
pub mod retry;
pub mod route;
