//! Sizes in bytes as operators write them: `64KiB`, `2GiB`, `1500`, `10MB`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::problem::shorten;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// Unit suffixes, largest binary unit first: `Display` takes the first that divides.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// How many of [`UNITS`] are binary.
const BINARY_UNITS: usize = 4;

impl ByteSize {
    /// `count` bytes.
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// `count` × 1024 bytes.
    pub const fn kib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 10))
    }

    /// `count` × 1024² bytes.
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 20))
    }

    /// `count` × 1024³ bytes.
    pub const fn gib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes as an index; saturates where a `usize` is smaller than the size.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The nearest readable form with one decimal, such as `14.6 MiB`: for tables, not for parsing.
    pub fn approximate(self) -> String {
        UNITS[..BINARY_UNITS].iter().find(|(_, unit)| self.0 >= *unit).map_or_else(
            || format!("{} B", self.0),
            |(name, unit)| format!("{:.1} {name}", self.0 as f64 / *unit as f64),
        )
    }
}

/// Why a text is not a size; the text says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a size: write a whole number of bytes or one with a unit, such as 64KiB, 10MB or 2GiB"
)]
pub struct SizeError(String);

impl FromStr for ByteSize {
    type Err = SizeError;

    /// A whole number and an optional unit, which may follow a space. Binary units (`KiB`, `MiB`,
    /// `GiB`, `TiB`) are powers of 1024; decimal ones (`kB`, `MB`, `GB`, `TB`) of 1000. The case of
    /// letters is not looked at.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || SizeError(shorten(text));
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        if unit.is_empty() {
            return Ok(Self(number));
        }
        let (_, factor) =
            UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?;
        number.checked_mul(*factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    /// Exact: reads back as the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS[..BINARY_UNITS]
            .iter()
            .find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit));
        match exact {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "minimum": 0,
            "pattern": "^[0-9]+ ?([KMGTkmgt][Ii]?)?[Bb]?$|^\\$\\{",
            "description": "A size in bytes: a whole number, or one with a unit such as 64KiB, 10MB or 2GiB."
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_read_as_written() {
        for (text, bytes) in [
            ("0", 0),
            ("1500", 1500),
            ("1500B", 1500),
            ("64KiB", 65_536),
            ("64 KiB", 65_536),
            ("64kib", 65_536),
            ("10kB", 10_000),
            ("10MB", 10_000_000),
            ("2GiB", 2_147_483_648),
            ("1TiB", 1_099_511_627_776),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().as_u64(), bytes, "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_sizes() {
        for text in [
            "",
            "KiB",
            "-1",
            "1.5GiB",
            "64 K iB",
            "64Ki",
            "1e6",
            "+5",
            "１KiB",
            "99999999999999999999",
            "99999999999999TiB",
            "64  KiB",
            " 64",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn tables_show_one_decimal() {
        assert_eq!(ByteSize::bytes(15_360_000).approximate(), "14.6 MiB");
        assert_eq!(ByteSize::bytes(12).approximate(), "12 B");
    }

    proptest! {
        #[test]
        fn a_printed_size_reads_back(bytes in any::<u64>(), shift in 0_u32..40) {
            for size in [ByteSize::bytes(bytes), ByteSize::bytes((bytes >> 24) << shift)] {
                prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _: Result<ByteSize, _> = text.parse();
        }
    }
}
