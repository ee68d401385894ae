//! JSON in and out without a tree: an object as a list of raw fields, and functions that append JSON to a buffer.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
pub(crate) use tidegate_wire::http1::write::put_number;

/// The fields of one JSON object in the order written, values unparsed. A repeated name is allowed and its last value
/// counts, as with the vendors: a derived struct would refuse it.
#[derive(Debug, Default)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, to: &mut fmt::Formatter) -> fmt::Result {
                to.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Text(name), value)) = map.next_entry::<Text, &RawValue>()? {
                    fields.push((name, value));
                }
                Ok(Object(fields))
            }
        }
        from.deserialize_map(Fields)
    }
}

impl<'a> Object<'a> {
    /// The object that `bytes` are; an error for anything else.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The object that `raw` is; empty when it is something else.
    pub(crate) fn of(raw: &'a RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }

    /// The value of `name` as written; `None` when absent or `null`.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().rev().find(|(other, _)| other == name)?;
        (value.get() != "null").then_some(*value)
    }

    /// The string at `name`, unescaped.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw(name).and_then(text_of)
    }

    /// The whole number at `name`.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }

    /// Whether `name` is `true`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.raw(name).is_some_and(|value| value.get() == "true")
    }

    /// The object at `name`; empty when there is none.
    pub(crate) fn object(&self, name: &str) -> Object<'a> {
        self.raw(name).map(Object::of).unwrap_or_default()
    }

    /// The elements of the array at `name`; empty when there is none.
    pub(crate) fn list(&self, name: &str) -> Vec<&'a RawValue> {
        self.raw(name).map(list_of).unwrap_or_default()
    }
}

/// The string that `raw` is, unescaped.
pub(crate) fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text>(raw.get()).ok().map(|Text(text)| text)
}

/// The elements of the array that `raw` is; empty when it is something else.
pub(crate) fn list_of(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// Appends `text` as it is: JSON syntax, or text known to need no escapes.
pub(crate) fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Appends `text` as a JSON string, quoted and escaped.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text;
    // Most tokens hold nothing to escape: copy whole runs.
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        put(out, &rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => put(out, "\\\""),
            b'\\' => put(out, "\\\\"),
            b'\n' => put(out, "\\n"),
            b'\r' => put(out, "\\r"),
            b'\t' => put(out, "\\t"),
            control => put(out, &format!("\\u{control:04x}")),
        }
        rest = &rest[at + 1..];
    }
    put(out, rest);
    out.push(b'"');
}

/// Appends 16 hex digits: how fingerprints appear in identifiers.
pub(crate) fn put_hex(out: &mut Vec<u8>, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for place in (0..16).rev() {
        out.push(DIGITS[(number >> (4 * place) & 0xf) as usize]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Object, put_hex, put_text};

    #[test]
    fn the_last_of_repeated_names_counts() {
        let object = Object::parse(br#"{"model":"a","n":1,"model":"b"}"#).unwrap();
        assert_eq!(object.text("model").unwrap(), "b");
        assert_eq!(object.number("n"), Some(1));
    }

    #[test]
    fn null_is_absent() {
        let object = Object::parse(br#"{"tools":null}"#).unwrap();
        assert!(object.raw("tools").is_none());
    }

    #[test]
    fn every_string_written_reads_back_the_same() {
        for text in ["", "plain", "\"q\" \\ / \n\r\t\u{0}\u{1f}\u{7f}", "grüße 日本 🦀", "\u{2028}"]
        {
            let mut out = Vec::new();
            put_text(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn fingerprints_have_sixteen_digits() {
        let mut out = Vec::new();
        put_hex(&mut out, 0xab);
        assert_eq!(out, b"00000000000000ab");
    }
}
