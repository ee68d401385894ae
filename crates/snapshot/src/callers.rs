//! Who may call: static keys, held only as salted hashes and compared in constant time.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tidegate_config::Priority;

/// A known caller.
#[derive(Debug)]
pub struct Caller {
    /// The name in the configuration.
    pub name: String,
    /// Whose turn comes first in the queue.
    pub priority: Priority,
}

type Known = ([u8; 32], Arc<Caller>);

/// The table of callers.
///
/// A key is looked up by the first 8 bytes of its salted SHA-256 and confirmed by a constant-time
/// comparison of all 32, so that neither timing nor a memory dump gives keys away.
#[derive(Debug)]
pub struct Callers {
    // One SHA-256 block holds salt and key for keys of up to 47 bytes.
    salt: [u8; 8],
    by_prefix: HashMap<u64, Vec<Known>>,
}

impl Callers {
    /// Hashes the keys under a fresh random salt.
    pub fn new<'k>(callers: impl IntoIterator<Item = (&'k str, &'k str, Priority)>) -> Self {
        // RandomState is seeded from the operating system's randomness.
        let salt = RandomState::new().build_hasher().finish().to_le_bytes();
        let mut by_prefix: HashMap<u64, Vec<_>> = HashMap::new();
        for (name, key, priority) in callers {
            let hash = digest(salt, key.as_bytes());
            let caller = Arc::new(Caller { name: name.to_owned(), priority });
            by_prefix.entry(prefix(&hash)).or_default().push((hash, caller));
        }
        Self { salt, by_prefix }
    }

    /// The caller with this key.
    pub fn identify(&self, key: &[u8]) -> Option<&Arc<Caller>> {
        let hash = digest(self.salt, key);
        let candidates = self.by_prefix.get(&prefix(&hash))?;
        candidates.iter().find(|(known, _)| bool::from(known.ct_eq(&hash))).map(|(_, c)| c)
    }

    /// No caller at all?
    pub fn is_empty(&self) -> bool {
        self.by_prefix.is_empty()
    }
}

fn digest(salt: [u8; 8], key: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(key).finalize().into()
}

fn prefix(hash: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_caller_and_nothing_else_does() {
        let callers = Callers::new([
            ("ann", "sk-ann-1234", Priority::Normal),
            ("bob", "sk-bob-1234", Priority::High),
        ]);
        assert_eq!(callers.identify(b"sk-bob-1234").map(|c| c.name.as_str()), Some("bob"));
        for wrong in [&b"sk-bob-1235"[..], b"", b"sk-bob-123", b"sk-bob-12345"] {
            assert!(callers.identify(wrong).is_none());
        }
    }

    #[test]
    fn keys_are_not_kept() {
        let callers = Callers::new([("ann", "sk-ann-1234", Priority::Low)]);
        assert!(!format!("{callers:?}").contains("sk-ann"));
    }
}
