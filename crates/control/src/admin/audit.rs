//! The audit log: who asked for a change, from where, and what came of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

/// Entries kept in memory; older ones are in the log only.
pub(super) const ENTRIES_MAX: usize = 1000;

/// Fields that one entry lists.
const PATHS_MAX: usize = 50;

/// One request that was to change something.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Entry {
    /// Counts up from 1.
    pub(super) sequence: u64,
    /// Milliseconds since 1970.
    pub(super) at_ms: u64,
    /// The name of the token.
    pub(super) who: String,
    /// Where the request came from.
    pub(super) from: SocketAddr,
    /// Method and path.
    pub(super) what: String,
    /// Which fields it changed, or what it was about.
    pub(super) fields: Vec<String>,
    /// It only asked what would happen.
    pub(super) dry_run: bool,
    /// The status that was answered.
    pub(super) status: u16,
    /// The message, where it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<String>,
}

/// The last entries.
#[derive(Debug, Default)]
pub(super) struct Audit {
    entries: Mutex<VecDeque<Entry>>,
}

impl Audit {
    /// Keeps an entry and writes it to the log under the target `audit`.
    pub(super) fn note(&self, mut entry: Entry) {
        entry.fields.truncate(PATHS_MAX);
        entry.at_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        tracing::info!(
            target: "audit",
            who = entry.who,
            from = %entry.from,
            what = entry.what,
            fields = entry.fields.join(" "),
            dry_run = entry.dry_run,
            status = entry.status,
            refused = entry.refused,
            "admin request"
        );
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entry.sequence = entries.back().map_or(1, |last| last.sequence + 1);
        if entries.len() >= ENTRIES_MAX {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    /// The newest entries, the newest first.
    pub(super) fn newest(&self, limit: usize) -> Vec<Entry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().rev().take(limit).cloned().collect()
    }
}

/// What a request was about, from its body: names only, never values.
pub(super) fn subject(body: &Value) -> Vec<String> {
    let keys = ["upstream", "upstream_id", "endpoint", "backend_id", "id"];
    keys.iter()
        .filter_map(|key| Some(format!("{key}={}", body.get(key)?.as_str()?)))
        .map(|text| text.chars().filter(|c| !c.is_control()).take(200).collect())
        .collect()
}
