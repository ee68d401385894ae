//! End-to-end scenarios, one module per promise. One binary, so that it links once.

#![allow(clippy::unwrap_used, clippy::expect_used)]
// Figures are printed for whoever reads the log; metrics are counts that happen to be floats.
#![allow(clippy::print_stdout, clippy::float_cmp, clippy::format_push_string)]

mod admin;
mod bad_input;
mod balance;
mod edge;
mod egress;
mod endpoint_protocols;
mod env_start;
mod failover;
mod first_answer;
mod framing;
mod h2;
mod health;
mod hostile;
mod leaks;
mod lifecycle;
mod limits;
mod listener;
mod plain;
mod regressions;
mod relay;
mod routes;
mod streams;
mod tcp;
mod tls;
mod websocket;
