//! Tokens that a reply says it cost.

use crate::json::{Fault, Scanner, Token};
use crate::{Dialect, Operation, keys};

/// Tokens of one exchange, counted the same way for every dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub input: u64,
    /// Generated tokens, reasoning included.
    pub output: u64,
    /// The part of `input` that was read from the provider's cache.
    pub cached: u64,
}

/// How much of the end of a body is worth keeping to look for usage in, in bytes. What follows
/// usage in a reply (service tier, fingerprint, echoed metadata) is shorter.
pub const TAIL_MAX: usize = 64 * 1024;

/// Usage from the body of a reply that is not a stream, or from the last [`TAIL_MAX`] bytes of it.
/// The last object under a `usage` key that holds token counts is taken. `None` when the reply
/// reports none.
pub fn usage_in_body(dialect: Dialect, operation: Operation, body: &[u8]) -> Option<Usage> {
    if operation == Operation::CountTokens {
        // Its whole reply is a count, of tokens that nobody used.
        return None;
    }
    last_counts(body).map(|counts| counts.usage(dialect))
}

/// How many objects under a `usage` key are tried, from the last: others may bear that name, in a
/// caller's metadata or the schema of a tool, but a body full of them must not cost more than a few
/// reads.
const CANDIDATES: usize = 8;

/// The last usage object in `json` that holds a token count.
pub(crate) fn last_counts(json: &[u8]) -> Option<Counts> {
    // Searched from the front, because that search runs on vector registers and the other does not.
    let mut candidates: [&[u8]; CANDIDATES] = [b""; CANDIDATES];
    let mut found = 0;
    for value in keys::USAGE.values(json) {
        if value.starts_with(b"{") {
            candidates.rotate_right(1);
            candidates[0] = value;
            found += 1;
        }
    }
    candidates.into_iter().take(found).find_map(Counts::read)
}

/// Token counts as they are written; a field that is missing or null is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// `prompt_tokens` or `input_tokens`.
    input: Option<u64>,
    /// `completion_tokens` or `output_tokens`.
    output: Option<u64>,
    /// `total_tokens`.
    total: Option<u64>,
    /// Tokens read from the cache, under any of the names in use.
    cache_read: Option<u64>,
    /// Anthropic's `cache_creation_input_tokens`.
    cache_write: Option<u64>,
}

impl Counts {
    /// Reads the object at the front of `json`; `None` when it is broken or holds no token count.
    fn read(json: &[u8]) -> Option<Self> {
        let counts = Self::members(&mut Scanner::new(json)).ok()?;
        let found = counts.input.or(counts.output).or(counts.total);
        found.map(|_| counts)
    }

    fn members(scanner: &mut Scanner<'_>) -> Result<Self, Fault> {
        let mut counts = Self::default();
        let mut member = scanner.open_object("")?;
        while let Some(key) = member {
            counts.member(key, scanner)?;
            if counts.is_complete() {
                // Only details of the output can follow, which nobody asks for.
                break;
            }
            member = scanner.next_member()?;
        }
        Ok(counts)
    }

    /// Has OpenAI's object said all that is counted? Anthropic's has no total.
    fn is_complete(&self) -> bool {
        self.input.is_some()
            && self.output.is_some()
            && self.total.is_some()
            && self.cache_read.is_some()
    }

    fn member(&mut self, key: Token, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
        let (field, count) = match key.content(scanner.bytes()) {
            b"prompt_tokens" | b"input_tokens" => (&mut self.input, scanner.unsigned()?),
            b"completion_tokens" | b"output_tokens" => (&mut self.output, scanner.unsigned()?),
            b"total_tokens" => (&mut self.total, scanner.unsigned()?),
            // Anthropic, DeepSeek, Moonshot.
            b"cache_read_input_tokens" | b"prompt_cache_hit_tokens" | b"cached_tokens" => {
                (&mut self.cache_read, scanner.unsigned()?)
            }
            b"cache_creation_input_tokens" => (&mut self.cache_write, scanner.unsigned()?),
            b"prompt_tokens_details" | b"input_tokens_details" => {
                (&mut self.cache_read, cached_in_details(scanner)?)
            }
            _ => return scanner.skip_value(),
        };
        *field = count.or(*field);
        Ok(())
    }

    /// Takes over what `later` says. Anthropic's counts are cumulative: the last one stands,
    /// nothing is added up.
    pub(crate) fn replace(&mut self, later: Self) {
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
        self.total = later.total.or(self.total);
        self.cache_read = later.cache_read.or(self.cache_read);
        self.cache_write = later.cache_write.or(self.cache_write);
    }

    pub(crate) fn usage(self, dialect: Dialect) -> Usage {
        let cached = self.cache_read.unwrap_or(0);
        match dialect {
            // Its input excludes what went through the cache.
            Dialect::Anthropic => Usage {
                input: [self.input, self.cache_write, self.cache_read]
                    .into_iter()
                    .flatten()
                    .fold(0, u64::saturating_add),
                output: self.output.unwrap_or(0),
                cached,
            },
            Dialect::OpenAi => {
                let input = self.input.or(self.total).unwrap_or(0);
                // Some vendors leave reasoning out of the completion but count it in the total.
                let rest = match (self.output, self.total) {
                    (Some(_), Some(total)) => total.saturating_sub(input),
                    _ => 0,
                };
                Usage {
                    input,
                    output: self.output.unwrap_or(0).max(rest),
                    cached: cached.min(input),
                }
            }
        }
    }
}

/// `cached_tokens` of a details object, if it has one.
fn cached_in_details(scanner: &mut Scanner<'_>) -> Result<Option<u64>, Fault> {
    let mut cached = None;
    if scanner.peek_value() != Some(b'{') {
        scanner.skip_value()?;
        return Ok(cached);
    }
    let json = scanner.bytes();
    let mut member = scanner.open_object("")?;
    while let Some(key) = member {
        if key.content(json) == b"cached_tokens" {
            cached = scanner.unsigned()?;
        } else {
            scanner.skip_value()?;
        }
        member = scanner.next_member()?;
    }
    Ok(cached)
}
