//! What only the LLM relay has: providers and models.

use std::collections::HashMap;
use std::sync::Arc;

use memchr::memmem::Finder;
use tidegate_dialect::Dialect;

use super::Group;
use crate::live::ModelSeries;

/// What an endpoint needs to be an LLM provider.
pub struct Provider {
    /// Name in the configuration.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// Path part of the base URL, without a slash at the end.
    pub base_path: String,
    /// The key field of every request, ready to send (`Authorization: Bearer …\r\n`); empty without a key.
    pub key_field: Vec<u8>,
    /// Finds the key in what comes back, where it is masked. None for keys under
    /// [`Provider::MASKED_KEY_MIN`] bytes.
    pub key: Option<Finder<'static>>,
    /// Additional fields, ready to send, each line ending in CRLF.
    pub fields: Vec<u8>,
    /// Lower-case names of those fields: the caller's own of that name are not forwarded.
    pub field_names: Vec<String>,
}

impl Provider {
    /// Shorter keys are placeholders for local servers; words of a reply might equal them.
    pub const MASKED_KEY_MIN: usize = 8;
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("dialect", &self.dialect)
            .finish()
    }
}

/// A model name and the providers behind it.
#[derive(Debug)]
pub struct Model {
    /// Name or pattern as written.
    pub name: String,
    /// The group of providers for each dialect that callers may use.
    pub groups: Vec<(Dialect, Arc<Group>)>,
    /// Counters.
    pub series: Arc<ModelSeries>,
}

impl Model {
    /// The providers that can serve callers of this dialect.
    pub fn group(&self, dialect: Dialect) -> Option<&Arc<Group>> {
        self.groups.iter().find(|(d, _)| *d == dialect).map(|(_, group)| group)
    }
}

/// Model names: exact ones, then prefixes (longest first), then the wildcard (a prefix of length 0).
#[derive(Debug, Default)]
pub struct Models {
    /// Exact names.
    pub exact: HashMap<String, Arc<Model>>,
    /// `(prefix, model)`, longest first.
    pub prefixes: Vec<(String, Arc<Model>)>,
    /// Exact names in the order written, for `GET /v1/models`.
    pub listed: Vec<Arc<Model>>,
    /// Where calls without a model go (files, batches, …): the wildcard, or all providers.
    pub default: Option<Arc<Model>>,
}

impl Models {
    /// The model that a name selects.
    pub fn find(&self, name: &str) -> Option<&Arc<Model>> {
        self.exact.get(name).or_else(|| {
            self.prefixes
                .iter()
                .find(|(prefix, _)| name.starts_with(prefix.as_str()))
                .map(|(_, m)| m)
        })
    }
}
