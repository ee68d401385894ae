//! What the admin API asks of the process: changes of the configuration, which the binary makes,
//! because it alone knows both planes and the file.

use serde::Serialize;
use serde_json::Value;
use tidegate_config::Difference;
use tidegate_config::speedmimi::BackendChange;
use tokio::sync::oneshot;

/// Orders that may wait; one more is refused as busy.
pub const ORDERS_MAX: usize = 16;

/// Something that the binary is asked to do. Orders are carried out one after the other.
#[derive(Debug)]
pub enum Order {
    /// Change the configuration.
    Change(ChangeOrder),
    /// Say which versions of the file there are, the newest first.
    History(oneshot::Sender<Vec<Version>>),
    /// Let everything that waits in the data plane look at its deadlines: one of them has moved.
    Wake,
}

/// A change, and who waits for its outcome.
#[derive(Debug)]
pub struct ChangeOrder {
    /// What is to change.
    pub change: Change,
    /// Only say what would happen.
    pub dry_run: bool,
    /// Who gets the outcome.
    pub reply: oneshot::Sender<Result<Applied, ChangeError>>,
}

/// What is to change.
#[derive(Debug)]
pub enum Change {
    /// A JSON merge patch (RFC 7396) of the configuration in our vocabulary.
    Patch(Value),
    /// A partial document with SpeedMimi's sections, ours, or both.
    Document(Value),
    /// One backend of an upstream.
    Backend(BackendChange),
    /// The version of the file with this id is written and put in force again; without an id the
    /// newest.
    Revert(Option<String>),
    /// The source of the configuration is read again.
    Reload,
    /// Certificates are read again.
    ReloadTls,
}

/// A change that was made, or would be.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Applied {
    /// The generation that is in force now.
    pub generation: u64,
    /// The configuration is another one than before.
    pub changed: bool,
    /// Which fields differ; secrets are shown as `***`.
    pub differences: Vec<Difference>,
    /// What is odd about the new configuration, or about what was asked for.
    pub warnings: Vec<String>,
    /// The change is in the configuration file.
    pub persisted: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// One thing that is wrong with a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeProblem {
    /// Which field; empty for the whole.
    pub path: String,
    /// What is wrong with it, and what was perhaps meant.
    pub message: String,
}

/// Why a change was not made. Everything is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The change, or what would come of it, is wrong: every problem.
    #[error("the change is refused")]
    Refused(Vec<ChangeProblem>),
    /// What the change is about is not there.
    #[error("{0}")]
    Missing(String),
    /// It is right and cannot be made now: a file that cannot be written, an address that is taken.
    #[error("{0}")]
    Failed(String),
}

/// An earlier version of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// What a revert calls it.
    pub id: String,
    /// When it was replaced, in seconds since 1970.
    pub replaced_at: u64,
    /// Its size in bytes.
    pub bytes: u64,
}
