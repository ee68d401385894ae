//! Changes of a configuration file's text: what is not changed stays as it was written, comments
//! and `${NAME}` references included.
//!
//! A change is a JSON Merge Patch (RFC 7396) of the configuration as it is shown by
//! [`masked_json`](crate::masked_json). [`merge`] makes the document that is wanted, [`step`]
//! changes the text piece by piece until it says the same.

mod difference;
mod document;
mod located;
mod merge;
mod render;
mod step;

use serde_json::Value;

pub use difference::{Difference, differences};
pub(crate) use document::Document;
pub(crate) use render::document_text;

use crate::load::CONFIG_BYTES_MAX;
use crate::mask::masked_json;
use crate::model::Config;

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The change itself is at fault.
    #[error("{path}: {message}")]
    Patch {
        /// Which field of the change; empty for all of it.
        path: String,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// The text is one that cannot be changed by a program.
    #[error("{0}")]
    Text(String),
}

/// Applies `patch` to the text that `config` was loaded from and gives the changed text, which is
/// not checked yet. A value of the patch that is what `config` has already changes nothing; `***`
/// in the place of a secret leaves it as it is; `null` takes a field away.
pub fn edited(text: &str, config: &Config, patch: &Value) -> Result<String, EditError> {
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let written = located::parse(bare)?.map(|node| node.document());
    let wanted = merge::merged(written.as_ref(), &masked_json(config), patch)?;
    let changed = step::stepped(bare, &wanted)?;
    if changed.len() > CONFIG_BYTES_MAX {
        let message = format!(
            "the changed configuration has {} bytes; at most {CONFIG_BYTES_MAX} are read",
            changed.len()
        );
        return Err(EditError::Text(message));
    }
    let mark = if bare.len() == text.len() { "" } else { "\u{feff}" };
    Ok(format!("{mark}{changed}"))
}
