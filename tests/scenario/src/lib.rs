//! What scenarios stand on: the gateway as a process, raw HTTP over sockets, waiting for events.
//!
//! Nothing here sleeps for a guessed time: [`until`] looks again until a condition holds or a
//! generous deadline ends the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]
#![allow(clippy::format_push_string)]

pub mod bystander;
pub mod gate;
pub mod gateway;
pub mod h2raw;
pub mod h2tunnel;
pub mod http;
pub mod http2_origin;
pub mod llm;
pub mod origin;
pub mod process;
pub mod recorder;
pub mod scripted;
pub mod secure;
pub mod websocket;

use std::time::{Duration, Instant};

/// Longest wait for anything. Only a failing test reaches it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks again until `condition` gives something; panics with `what` when it never does.
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        #[allow(clippy::disallowed_methods)] // between two looks, not in place of one
        std::thread::sleep(Duration::from_millis(2));
    }
}
