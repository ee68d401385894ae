//! What the crate promises, tested from outside: one module per module of the crate.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod errors;
mod forms;
mod operations;
mod requests;
mod streams;
mod usages;
mod vendors;
