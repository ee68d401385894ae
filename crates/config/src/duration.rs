//! Durations as operators write them: `250ms`, `2s`, `15m`, `1h`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serializer;

use crate::problem::shorten;

/// Unit suffixes and their milliseconds, largest first: printing takes the first that divides.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not a duration; the text says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number alone: it could mean seconds or milliseconds.
    #[error("\"{0}\" has no unit: write {0}s for seconds or {0}ms for milliseconds")]
    NoUnit(String),
    /// Anything else.
    #[error(
        "\"{0}\" is not a duration: write a whole number and a unit (ms, s, m or h), such as 250ms, 2s or 15m"
    )]
    NotADuration(String),
}

/// Reads a whole number and one unit. `0` needs no unit.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let wrong = || DurationError::NotADuration(shorten(text));
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    if unit.is_empty() {
        return if number == 0 {
            Ok(Duration::ZERO)
        } else {
            Err(DurationError::NoUnit(shorten(text)))
        };
    }
    let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    number.checked_mul(*milliseconds).map(Duration::from_millis).ok_or_else(wrong)
}

/// The shortest text that [`parse_duration`] reads back as the same whole number of milliseconds;
/// what is finer than a millisecond is dropped.
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    UNITS.iter().find(|(_, unit)| milliseconds.is_multiple_of(*unit)).map_or_else(
        || format!("{milliseconds}ms"),
        |(name, unit)| format!("{}{name}", milliseconds / unit),
    )
}

/// For `#[serde(serialize_with)]` on a `Duration`.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes fields by reference
pub(crate) fn serialize<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

/// For `#[serde(serialize_with)]` on an `Option<Duration>`.
#[allow(clippy::ref_option)] // serde passes fields by reference
pub(crate) fn serialize_optional<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize(duration, serializer),
        None => serializer.serialize_none(),
    }
}

/// Stands for a `Duration` in the JSON Schema.
pub(crate) struct DurationText;

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "maximum": 0,
            "pattern": "^[0-9]+(ms|s|m|h)$|^\\$\\{",
            "description": "A whole number and a unit: 250ms, 2s, 15m or 1h. Zero needs no unit."
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_written() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("2s", 2_000),
            ("15m", 900_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                parse_duration(text).unwrap(),
                Duration::from_millis(milliseconds),
                "{text}"
            );
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_a_hint() {
        assert_eq!(
            parse_duration("30").unwrap_err().to_string(),
            "\"30\" has no unit: write 30s for seconds or 30ms for milliseconds"
        );
    }

    #[test]
    fn other_texts_are_no_durations() {
        for text in ["", "s", "-1s", "1.5s", "2 s", "2S", "1d", "1h30m", "99999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text:?} was read");
        }
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(milliseconds in any::<u64>(), small in 0_u64..10_000_000) {
            for value in [milliseconds, small, small * 1000] {
                let duration = Duration::from_millis(value);
                prop_assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = parse_duration(&text);
        }
    }
}
