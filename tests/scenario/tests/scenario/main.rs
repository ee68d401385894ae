//! End-to-end scenarios, one module per promise. One binary, so that it links once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod failover;
mod first_answer;
mod framing;
mod leaks;
mod streams;
