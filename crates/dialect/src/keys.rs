//! Finds object keys in JSON that is not parsed: replies and stream chunks pass by unread but for a
//! few fields.
//!
//! Inside a JSON string every quote is escaped, so a quote whose left neighbour (blanks aside) is
//! `{` or `,` opens or closes a string; followed by the key's text it can only open one, and a
//! colon after it makes it a key. That holds at any depth and in a fragment that begins in the
//! middle. Reads bytes, never panics.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// A key to look for, quotes included, with its search table built once.
pub(crate) struct Key(LazyLock<Finder<'static>>);

pub(crate) static ERROR: Key = Key(LazyLock::new(|| Finder::new("\"error\"")));
pub(crate) static FINISH_REASON: Key = Key(LazyLock::new(|| Finder::new("\"finish_reason\"")));
pub(crate) static SEQUENCE_NUMBER: Key = Key(LazyLock::new(|| Finder::new("\"sequence_number\"")));
pub(crate) static USAGE: Key = Key(LazyLock::new(|| Finder::new("\"usage\"")));

impl Key {
    /// The text after the colon of each occurrence, blanks skipped, from the front.
    pub(crate) fn values<'a>(&'static self, json: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let len = self.0.needle().len();
        self.0.find_iter(json).filter_map(move |at| value_at(json, at, len))
    }
}

fn value_at(json: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    let before = json.get(..at)?.trim_ascii_end();
    if !matches!(before.last(), Some(b'{' | b',')) {
        return None;
    }
    let after = json.get(at + len..)?.trim_ascii_start();
    Some(after.strip_prefix(b":")?.trim_ascii_start())
}
