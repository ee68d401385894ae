//! The configuration of SpeedMimi, the reverse proxy that Tidegate replaces: read once by an
//! import, and spoken by the admin API to those who still use its documents.
//!
//! - [`import_speedmimi`]: a whole file to a YAML text of ours;
//! - [`view`]: a configuration of ours as SpeedMimi would have shown it;
//! - [`patch`]: a partial document of SpeedMimi's to a merge patch of ours.

mod backend;
mod import;
mod patch;
mod value;
mod view;

pub use backend::{Backend, BackendChange, backend_id, backend_patch};
pub use import::{Imported, import_speedmimi};
pub use patch::{Patched, patch};
pub use view::view;

use crate::model::Algorithm;

/// The sections of a SpeedMimi document. None of them is a section of ours.
pub const SECTIONS: [&str; 5] = ["server", "ssl", "backends", "routing", "grpc"];

/// SpeedMimi's names of ways to balance and ours. The first of ours that is equal is shown back.
const ALGORITHMS: [(&str, &str); 6] = [
    ("ip_hash", "ip_hash"),
    ("least_connections_weight", "least_connections"),
    ("least_connections", "least_connections"),
    ("weight", "weighted_round_robin"),
    ("performance_least_connections_weight", "performance"),
    ("performance", "performance"),
];

/// Our name for a way to balance: by SpeedMimi's name, or by ours.
fn algorithm(name: &str) -> Option<&'static str> {
    let theirs = ALGORITHMS.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours);
    let known = |name: &str| Algorithm::ALL.iter().map(|ours| ours.as_str()).find(|o| *o == name);
    known(theirs.unwrap_or(name))
}

/// SpeedMimi's name for a way of ours; ours where it had none.
fn their_algorithm(ours: &str) -> &str {
    ALGORITHMS.iter().find(|(_, name)| *name == ours).map_or(ours, |(theirs, _)| theirs)
}

/// Does a way to balance look at weights?
fn is_weighted(ours: &str) -> bool {
    matches!(ours, "least_connections" | "weighted_round_robin" | "performance")
}
