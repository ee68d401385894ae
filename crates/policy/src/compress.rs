//! Which coding a reply gets: what the caller accepts, of what the route offers (RFC 9110 section 12.5.3).

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Its registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// Replies of known length below this are not worth it: head and checksums eat the gain.
pub const LENGTH_MIN: u64 = 1024;

/// The coding for a reply: of `offered` the one that the caller wants most, the first of equal ones.
/// `accept`: the values of the request's Accept-Encoding lines. None: the reply goes as it is, which
/// also holds where the caller would rather have that.
#[allow(clippy::needless_pass_by_value)] // an iterator is a cursor: it is cloned, not consumed
pub fn choose<'v>(
    offered: &[Coding],
    accept: impl Iterator<Item = &'v [u8]> + Clone,
) -> Option<Coding> {
    let weight = |name: &[u8]| weight_of(accept.clone(), name);
    let anything = weight(b"*");
    let plain = weight(b"identity");
    let mut best: Option<(Coding, u16)> = None;
    for coding in offered {
        let named = weight(coding.as_str().as_bytes());
        let named = match coding {
            // RFC 9110 section 8.4.1.3.
            Coding::Gzip => named.or_else(|| weight(b"x-gzip")),
            _ => named,
        };
        let wanted = named.or(anything).unwrap_or(0);
        if wanted > best.map_or(0, |(_, most)| most) && wanted >= plain.unwrap_or(0) {
            best = Some((*coding, wanted));
        }
    }
    best.map(|(coding, _)| coding)
}

/// The weight in thousandths that a list gives to a name, if it has it.
fn weight_of<'v>(values: impl Iterator<Item = &'v [u8]>, name: &[u8]) -> Option<u16> {
    values.flat_map(|value| value.split(|byte| *byte == b',')).find_map(|item| {
        let mut parts = item.split(|byte| *byte == b';');
        if !parts.next()?.trim_ascii().eq_ignore_ascii_case(name) {
            return None;
        }
        let weight = parts.find_map(|part| {
            let part = part.trim_ascii();
            part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="))
        });
        Some(weight.map_or(1000, thousandths))
    })
}

/// A weight such as `0.5`; what is malformed counts as 0.
fn thousandths(text: &[u8]) -> u16 {
    let (whole, rest) = match text.split_first() {
        Some((b'1', rest)) => (1000, rest),
        Some((b'0', rest)) => (0, rest),
        _ => return 0,
    };
    let digits = match rest.split_first() {
        None => return whole,
        Some((b'.', digits)) if digits.len() <= 3 => digits,
        Some(_) => return 0,
    };
    let mut sum = 0;
    for (digit, unit) in digits.iter().zip([100, 10, 1]) {
        if !digit.is_ascii_digit() {
            return 0;
        }
        sum += u16::from(digit - b'0') * unit;
    }
    (whole + sum).min(1000)
}

/// Does content of this type become smaller? Text does, and what is written like it.
pub fn is_text(content_type: &[u8]) -> bool {
    const TYPES: [&[u8]; 16] = [
        b"application/json",
        b"application/javascript",
        b"application/ecmascript",
        b"application/manifest+json",
        b"application/graphql",
        b"application/wasm",
        b"application/x-ndjson",
        b"application/x-javascript",
        b"application/xml",
        b"application/yaml",
        b"application/toml",
        b"application/rtf",
        b"application/vnd.ms-fontobject",
        b"font/ttf",
        b"font/otf",
        b"image/bmp",
    ];
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let begins = essence.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"text/"));
    let ends = |suffix: &[u8]| {
        essence
            .len()
            .checked_sub(suffix.len())
            .and_then(|at| essence.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    begins
        || ends(b"+json")
        || ends(b"+xml")
        || TYPES.iter().any(|known| essence.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_decides_and_the_order_of_the_route_breaks_ties() {
        use Coding::{Brotli, Gzip, Zstd};
        for (offered, accept, expected) in [
            (&[Zstd, Brotli, Gzip][..], "gzip, deflate, br, zstd", Some(Zstd)),
            (&[Gzip, Zstd], "gzip, zstd", Some(Gzip)),
            (&[Zstd, Gzip], "gzip, zstd;q=0.5", Some(Gzip)),
            (&[Zstd, Gzip], "GZIP;Q=0.5 , zstd;q=0.25", Some(Gzip)),
            (&[Gzip], "x-gzip", Some(Gzip)),
            (&[Gzip], "*", Some(Gzip)),
            (&[Gzip], "gzip;q=0, *", None),
            (&[Brotli], "gzip", None),
            (&[Gzip], "", None),
            (&[Gzip], "gzip;q=0", None),
            (&[Gzip], "gzip;q=0.000", None),
            (&[Gzip], "gzip;q=nonsense", None),
            (&[Gzip], "gzip;q=0.5, identity", None),
            (&[Gzip], "gzip, identity;q=0.5", Some(Gzip)),
            (&[Gzip], "gzip;q=0.1, identity;q=0", Some(Gzip)),
            (&[], "gzip", None),
        ] {
            let found = choose(offered, [accept.as_bytes()].into_iter());
            assert_eq!(found, expected, "{offered:?} {accept}");
        }
        let lines = [&b"br;q=0.1"[..], b"gzip"];
        assert_eq!(choose(&[Brotli, Gzip], lines.into_iter()), Some(Gzip));
    }

    #[test]
    fn text_is_told_from_what_is_compressed_already() {
        for text in [
            "text/html; charset=utf-8",
            "TEXT/css",
            "application/problem+json",
            "image/svg+xml",
            "application/json",
            "text/event-stream",
        ] {
            assert!(is_text(text.as_bytes()), "{text}");
        }
        for other in [
            "image/png",
            "application/octet-stream",
            "application/grpc",
            "video/mp4",
            "",
            "application/zip",
            "texts/html",
        ] {
            assert!(!is_text(other.as_bytes()), "{other}");
        }
    }
}
