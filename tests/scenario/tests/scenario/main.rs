//! End-to-end scenarios, one module per promise. One binary, so that it links once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod env_start;
mod failover;
mod first_answer;
mod framing;
mod leaks;
mod lifecycle;
mod limits;
mod plain;
mod relay;
mod streams;
