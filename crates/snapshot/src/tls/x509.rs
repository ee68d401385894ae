//! As much of an X.509 certificate (RFC 5280) as operators must know: its names and when it ends.
//! Trust is not decided here.

use std::net::IpAddr;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Facts {
    /// Host names of the subjectAltName in lower case, wildcards as written.
    pub(super) hosts: Vec<String>,
    /// IP addresses of the subjectAltName.
    pub(super) addresses: Vec<IpAddr>,
    /// Valid from, in seconds since 1970.
    pub(super) not_before: i64,
    /// Valid until, in seconds since 1970.
    pub(super) not_after: i64,
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0] version` of a certificate.
const VERSION: u8 = 0xA0;
/// `[3] extensions` of a certificate.
const EXTENSIONS: u8 = 0xA3;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1D, 0x11];
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[2] dNSName` of a general name.
const DNS_NAME: u8 = 0x82;
/// `[7] iPAddress` of a general name.
const IP_ADDRESS: u8 = 0x87;

/// Reads a DER certificate; None when it is none.
pub(super) fn facts(der: &[u8]) -> Option<Facts> {
    let (certificate, _) = take(der, SEQUENCE)?;
    let (mut rest, _) = take(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = any(rest)?.2;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        rest = any(rest)?.2;
    }
    let (validity, after) = take(rest, SEQUENCE)?;
    let (tag, begin, end) = any(validity)?;
    let not_before = time(tag, begin)?;
    let (tag, end, _) = any(end)?;
    let not_after = time(tag, end)?;
    let mut facts = Facts { not_before, not_after, ..Facts::default() };
    rest = after;
    while let Some((tag, content, more)) = any(rest) {
        if tag == EXTENSIONS {
            let (mut extensions, _) = take(content, SEQUENCE)?;
            while let Some((extension, more)) = take(extensions, SEQUENCE) {
                extensions = more;
                let (identifier, value) = take(extension, OBJECT_IDENTIFIER)?;
                if identifier == SUBJECT_ALT_NAME {
                    names(value, &mut facts)?;
                }
            }
        }
        rest = more;
    }
    Some(facts)
}

/// The general names of a subjectAltName; `value` begins with an optional BOOLEAN.
fn names(value: &[u8], facts: &mut Facts) -> Option<()> {
    let (tag, content, after) = any(value)?;
    let octets = if tag == OCTET_STRING { content } else { take(after, OCTET_STRING)?.0 };
    let (mut general_names, _) = take(octets, SEQUENCE)?;
    while let Some((tag, content, more)) = any(general_names) {
        general_names = more;
        match tag {
            DNS_NAME => {
                let name = std::str::from_utf8(content).ok()?;
                facts.hosts.push(name.trim_end_matches('.').to_ascii_lowercase());
            }
            IP_ADDRESS => {
                let v4 = <[u8; 4]>::try_from(content).map(IpAddr::from);
                let v6 = || <[u8; 16]>::try_from(content).map(IpAddr::from);
                facts.addresses.extend(v4.or_else(|_| v6()));
            }
            _ => {}
        }
    }
    Some(())
}

/// The first element: its tag, its content, and what follows it.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if first & 0x80 == 0 {
        (usize::from(*first), rest)
    } else {
        // Certificates of more than 16 MiB do not exist.
        let count = usize::from(first & 0x7F);
        let digits = rest.get(..count).filter(|_| (1..=3).contains(&count))?;
        let length = digits.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        (length, rest.get(count..)?)
    };
    Some((*tag, rest.get(..length)?, rest.get(length..)?))
}

/// As [`any`], for an element that must have this tag.
fn take(bytes: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    any(bytes).filter(|(tag, ..)| *tag == expected).map(|(_, content, rest)| (content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` in seconds since 1970 (RFC 5280 section 4.1.2.5).
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = digits.get(from..to)?;
        part.iter().try_fold(0, |sum, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
        })
    };
    let (year, at) = match tag {
        UTC_TIME => {
            let year = number(0, 2)?;
            (if year >= 50 { 1900 + year } else { 2000 + year }, 2)
        }
        GENERALIZED_TIME => (number(0, 4)?, 4),
        _ => return None,
    };
    let part = |index: usize| number(at + 2 * index, at + 2 * index + 2);
    let days = days_since_1970(year, part(0)?, part(1)?);
    Some(((days * 24 + part(2)?) * 60 + part(3)?) * 60 + part(4)?)
}

/// Days of the proleptic Gregorian calendar; years begin in March, so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (century, of_century) = (year.div_euclid(100), year.rem_euclid(100));
    146_097 * century.div_euclid(4)
        + 36_524 * century.rem_euclid(4)
        + 1_461 * of_century / 4
        + (153 * month + 2) / 5
        + day
        - 719_469
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_1970() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "000229235959Z", 951_868_799),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (UTC_TIME, "500101000000Z", -631_152_000),
            (GENERALIZED_TIME, "20000301000000Z", 951_868_800),
            (GENERALIZED_TIME, "21000301000000Z", 4_107_542_400),
        ] {
            assert_eq!(time(tag, text.as_bytes()), Some(seconds), "{text}");
        }
        for text in ["", "Z", "7001010000Z", "70010100000xZ", "700101000000"] {
            assert_eq!(time(UTC_TIME, text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn names_and_validity_are_those_that_were_signed() {
        let mut params = rcgen::CertificateParams::new(vec![
            "App.example.com".to_owned(),
            "*.example.org".to_owned(),
            "192.0.2.7".to_owned(),
            "::1".to_owned(),
        ])
        .unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 2, 3);
        params.not_after = rcgen::date_time_ymd(2061, 12, 31);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let facts = facts(certificate.der()).unwrap();
        assert_eq!(facts.hosts, ["app.example.com", "*.example.org"]);
        assert_eq!(facts.addresses, ["192.0.2.7", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!((facts.not_before, facts.not_after), (981_158_400, 2_903_212_800));
    }

    #[test]
    fn no_cut_of_a_certificate_panics() {
        let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let der = certificate.der();
        for cut in 0..der.len() {
            assert_eq!(facts(&der[..cut]), None, "cut at {cut}");
            let mut bent = der.to_vec();
            bent[cut] ^= 0xFF;
            let _ = facts(&bent);
        }
    }
}
