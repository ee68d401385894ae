//! A provider with everything filled in that its vendor's row knows.

use tidegate_dialect::{Auth, Dialect, VENDORS, Vendor, vendor};

use crate::address::{AddressError, HttpUrl};
use crate::model::Provider;
use crate::secret::Secret;
use crate::suggest::nearest;

/// The `api_key` that means: send none.
pub const NO_KEY: &str = "none";

/// A provider ready to be called.
#[derive(Clone, Debug)]
pub struct ResolvedProvider<'a> {
    /// What it speaks.
    pub dialect: Dialect,
    /// Where its API lives.
    pub base_url: HttpUrl,
    /// Where the key goes.
    pub auth: Auth,
    /// The key to send, if any.
    pub key: Option<&'a Secret>,
}

/// What a provider lacks. `field` of [`ResolveError::field`] says which key of it is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// `vendor` names none.
    #[error("no vendor is named \"{name}\"")]
    UnknownVendor {
        /// The name written.
        name: String,
        /// A vendor with a similar name.
        suggestion: Option<String>,
    },
    /// Neither a vendor nor an address.
    #[error("\"{name}\" is no known vendor: a provider of your own needs base_url and dialect")]
    NoAddress {
        /// The provider's name.
        name: String,
        /// A vendor with a similar name.
        suggestion: Option<String>,
    },
    /// An address but neither vendor nor dialect.
    #[error("is missing: write openai or anthropic")]
    NoDialect,
    /// A bad address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A vendor that wants a key.
    #[error("is missing: write \"${{{variable}}}\", or none to send no key")]
    NoKey {
        /// The variable that holds it by convention.
        variable: &'static str,
    },
}

impl ResolveError {
    /// The key of the provider that the problem is about; empty for the provider as a whole.
    pub fn field(&self) -> &'static str {
        match self {
            Self::UnknownVendor { .. } => "vendor",
            Self::NoAddress { .. } => "",
            Self::NoDialect => "dialect",
            Self::Address(_) => "base_url",
            Self::NoKey { .. } => "api_key",
        }
    }

    /// What was perhaps meant.
    pub fn suggestion(&self) -> Option<String> {
        match self {
            Self::UnknownVendor { suggestion, .. } | Self::NoAddress { suggestion, .. } => {
                suggestion.clone()
            }
            _ => None,
        }
    }
}

impl Provider {
    /// The vendor's row: the one `vendor` names, else the one that is named as the provider is.
    pub fn vendor_row(&self, name: &str) -> Option<&'static Vendor> {
        vendor(self.vendor.as_deref().unwrap_or(name))
    }

    /// Everything that is needed to call the provider called `name`.
    pub fn resolve(&self, name: &str) -> Result<ResolvedProvider<'_>, ResolveError> {
        let row = self.vendor_row(name);
        if let (Some(written), None) = (&self.vendor, row) {
            return Err(ResolveError::UnknownVendor {
                name: written.clone(),
                suggestion: nearest(written, VENDORS.iter().map(|vendor| vendor.name)),
            });
        }
        let base_url: HttpUrl = match (&self.base_url, row) {
            (Some(written), _) => written.parse()?,
            (None, Some(row)) => row.base_url.parse()?,
            (None, None) => {
                return Err(ResolveError::NoAddress {
                    name: name.to_owned(),
                    suggestion: nearest(name, VENDORS.iter().map(|vendor| vendor.name)),
                });
            }
        };
        let dialect = self.dialect.or(row.map(|row| row.dialect)).ok_or(ResolveError::NoDialect)?;
        let auth = match row {
            Some(row) if row.dialect == dialect => row.auth,
            _ => match dialect {
                Dialect::OpenAi => Auth::Bearer,
                Dialect::Anthropic => Auth::XApiKey,
            },
        };
        if let (None, None, Some(row)) = (&self.api_key, &self.base_url, row)
            && !row.is_local()
        {
            return Err(ResolveError::NoKey { variable: row.key_variable });
        }
        let key = self.api_key.as_ref().filter(|key| key.expose() != NO_KEY);
        Ok(ResolvedProvider { dialect, base_url, auth, key })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_vendor_of_the_table_resolves_by_its_name() {
        for row in VENDORS {
            let provider =
                Provider { api_key: Some(Secret::new("sk-something")), ..Provider::default() };
            let resolved = provider.resolve(row.name).unwrap();
            assert_eq!(resolved.dialect, row.dialect, "{}", row.name);
            assert_eq!(resolved.key.unwrap().expose(), "sk-something");
        }
    }

    #[test]
    fn none_sends_no_key() {
        let provider = Provider { api_key: Some(Secret::new("none")), ..Provider::default() };
        assert!(provider.resolve("openai").unwrap().key.is_none());
    }

    #[test]
    fn a_dialect_other_than_the_vendors_takes_its_own_way_of_sending_the_key() {
        let provider = Provider {
            dialect: Some(Dialect::Anthropic),
            api_key: Some(Secret::new("sk-something")),
            ..Provider::default()
        };
        let resolved = provider.resolve("deepseek").unwrap();
        assert_eq!(resolved.dialect, Dialect::Anthropic);
        assert_eq!(resolved.auth, Auth::XApiKey);
    }

    #[test]
    fn a_local_server_needs_no_key() {
        assert!(Provider::default().resolve("ollama").unwrap().key.is_none());
    }
}
