//! The control plane over real sockets.
#![allow(clippy::unwrap_used)]

mod admin;
mod api;
mod dns;
mod health;
mod metrics;
mod names;
mod stand;
