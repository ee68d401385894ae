//! LLM formats: what to read in a request, usage, error envelopes, vendors. No I/O, no clock.

//!
//! In request order: [`classify`] says what is asked for, [`scan_request`] or [`scan_form`] reads
//! the model, [`rename_model`] or [`rename_form_model`] writes the provider's name for it,
//! [`upstream_path()`] says where to ask; then [`StreamWatch`] and [`usage_in_body`] read what the
//! reply tells, and [`envelope`] and [`stream_error`] say what went wrong.

pub mod error;
pub mod json;
pub mod multipart;
pub mod operation;
pub mod stream;
pub mod text;
pub mod upstream_path;
pub mod usage;
pub mod vendors;

mod keys;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use error::{ErrorKind, ErrorText, envelope, plain_envelope, status_for, stream_error};
pub use json::{
    JsonError, RequestFacts, push_json_string, rename_model, renamed_len, scan_request,
};
pub use multipart::{FormError, FormFacts, rename_form_model, renamed_form_len, scan_form};
pub use operation::{Call, Operation, Shape, classify};
pub use stream::{StreamWatch, heartbeat};
pub use text::{Text, TextError};
pub use upstream_path::upstream_path;
pub use usage::{Usage, usage_in_body};
pub use vendors::{Auth, TRANSLATIONS, VENDORS, Vendor, can_relay, vendor};

/// The wire format of an LLM API: what a caller speaks to us and what a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The OpenAI API and its many compatible vendors: every `/v1/…` path that is not Anthropic's.
    OpenAi,
    /// The Anthropic API: `/v1/messages` and what hangs below it.
    Anthropic,
}

impl Dialect {
    /// Every dialect, in the order in which they are documented.
    pub const ALL: [Self; 2] = [Self::OpenAi, Self::Anthropic];

    /// The name used in configuration, logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no dialect; its text lists those that are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown dialect '{0}': expected openai or anthropic")]
pub struct UnknownDialect(pub String);

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.as_str() == name)
            .ok_or_else(|| UnknownDialect(name.to_owned()))
    }
}
