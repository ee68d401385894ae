//! The lab's models: the name says how the provider behaves.

use std::time::Duration;

/// Most tokens that `lab-tokens-N` streams.
const TOKENS_MAX: u32 = 1_000_000;

/// How long `lab-slow` thinks before its first token.
pub(super) const SLOW: Duration = Duration::from_secs(2);

/// Names shown by the model lists: one of each kind.
pub(super) const LISTED: [&str; 11] = [
    "lab-echo",
    "lab-tokens-100",
    "lab-slow",
    "lab-error-429",
    "lab-error-500",
    "lab-cut",
    "lab-stall",
    "lab-tools",
    "lab-think",
    "lab-flaky-10",
    "lab-late-error",
];

/// A behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// Answers with the last user message.
    Echo,
    /// Answers N tokens: `t1 t2 … tN`.
    Tokens(u32),
    /// Echo, first token after [`SLOW`].
    Slow,
    /// Answers this status, 400 to 599, in the dialect's envelope.
    Error(u16),
    /// Breaks the connection in the middle of the reply.
    Cut,
    /// Sends a little, then nothing until the client goes.
    Stall,
    /// Calls the first tool offered.
    Tools,
    /// Reasons first, then echoes.
    Think,
    /// Echo, but every N-th such request fails with 500.
    Flaky(u64),
    /// Half a stream, then the dialect's error event and a clean end. Without streaming: status 500.
    LateError,
}

impl Model {
    /// The behaviour called `name`; `None` for a name that is not the lab's.
    pub(super) fn named(name: &str) -> Option<Model> {
        let behaviour = name.strip_prefix("lab-")?;
        match behaviour {
            "echo" => Some(Model::Echo),
            "slow" => Some(Model::Slow),
            "cut" => Some(Model::Cut),
            "stall" => Some(Model::Stall),
            "tools" => Some(Model::Tools),
            "think" => Some(Model::Think),
            "late-error" => Some(Model::LateError),
            _ => {
                let (kind, number) = behaviour.rsplit_once('-')?;
                // `parse` would take a sign, and leading zeros would give one behaviour many names.
                if !number.bytes().all(|byte| byte.is_ascii_digit()) || number.starts_with('0') {
                    return None;
                }
                match kind {
                    "tokens" => number.parse().ok().filter(|n| *n <= TOKENS_MAX).map(Model::Tokens),
                    "error" => {
                        number.parse().ok().filter(|n| (400..600).contains(n)).map(Model::Error)
                    }
                    "flaky" => number.parse().ok().map(Model::Flaky),
                    _ => None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LISTED, Model};

    #[test]
    fn names_tell_the_behaviour() {
        let table = [
            ("lab-echo", Some(Model::Echo)),
            ("lab-tokens-1", Some(Model::Tokens(1))),
            ("lab-tokens-1000000", Some(Model::Tokens(1_000_000))),
            ("lab-tokens-1000001", None),
            ("lab-tokens-0", None),
            ("lab-tokens-", None),
            ("lab-tokens-+5", None),
            ("lab-tokens-05", None),
            ("lab-error-529", Some(Model::Error(529))),
            ("lab-error-399", None),
            ("lab-error-600", None),
            ("lab-flaky-3", Some(Model::Flaky(3))),
            ("lab-late-error", Some(Model::LateError)),
            ("echo", None),
            ("lab-", None),
            ("gpt-4o", None),
        ];
        for (name, model) in table {
            assert_eq!(Model::named(name), model, "{name}");
        }
    }

    #[test]
    fn every_listed_model_exists() {
        for name in LISTED {
            assert!(Model::named(name).is_some(), "{name}");
        }
    }
}
