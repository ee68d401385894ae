//! Where a caller is, by what trusted proxies say of it (RFC 7239, X-Forwarded-For).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::cidr::{Cidr, contains};

/// How a field tells addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A list to which each proxy appends the address that it was called from: X-Forwarded-For.
    List,
    /// The same with parameters: `Forwarded` (RFC 7239 section 4).
    Forwarded,
    /// One address, written by the proxy before us.
    Single,
}

/// Entries of a list that are looked at: no chain of proxies is longer.
const HOPS_MAX: usize = 32;

/// The address of the caller. `peer`: who has connected. `values`: the values of the field's lines,
/// the last line first.
///
/// An address is believed as far as the one that tells it is in `trusted`. What is malformed ends
/// the walk: then it is the last proxy that is known.
pub fn caller<'v>(
    peer: IpAddr,
    trusted: &[Cidr],
    form: Form,
    values: impl Iterator<Item = &'v [u8]>,
) -> IpAddr {
    let mut caller = peer.to_canonical();
    if !contains(trusted, caller) {
        return caller;
    }
    if form == Form::Single {
        // Two lines contradict each other: then nobody is believed.
        let mut values = values;
        return match (values.next().and_then(address), values.next()) {
            (Some(told), None) => told,
            _ => caller,
        };
    }
    let entries = values.flat_map(|value| value.rsplit(|byte| *byte == b','));
    for entry in entries.take(HOPS_MAX) {
        let told = match form {
            Form::Forwarded => node(entry).and_then(address),
            _ => address(entry),
        };
        let Some(told) = told else { break };
        caller = told;
        if !contains(trusted, caller) {
            break;
        }
    }
    caller
}

/// An address with or without a port; IPv6 with or without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let parsed = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
        None => text
            .parse::<IpAddr>()
            .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
            .ok(),
    };
    parsed.map(|address| address.to_canonical())
}

/// What `for` says in an element of `Forwarded`.
fn node(element: &[u8]) -> Option<&[u8]> {
    element.split(|byte| *byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let (name, value) = pair.split_at_checked(pair.iter().position(|byte| *byte == b'=')?)?;
        if !name.eq_ignore_ascii_case(b"for") {
            return None;
        }
        let value = value.get(1..)?;
        let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        Some(quoted.unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(form: Form, peer: &str, lines: &[&str]) -> String {
        let trusted: Vec<Cidr> =
            ["10.0.0.0/8", "fd00::/8"].iter().map(|range| range.parse().unwrap()).collect();
        let values = lines.iter().rev().map(|line| line.as_bytes());
        caller(peer.parse().unwrap(), &trusted, form, values).to_string()
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_caller() {
        for (peer, lines, expected) in [
            ("192.0.2.1", &["1.1.1.1"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1"], "1.1.1.1"),
            ("::ffff:10.0.0.1", &["1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.2.2.2"], "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6", "1.1.1.1,10.2.2.2", "10.3.3.3"], "1.1.1.1"),
            ("10.0.0.1", &["10.4.4.4, 10.5.5.5"], "10.4.4.4"),
            ("10.0.0.1", &["1.1.1.1:4711"], "1.1.1.1"),
            ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("fd00::1", &["[2001:db8::1]"], "2001:db8::1"),
            ("fd00::1", &["[2001:db8::1]:80, fd00::2"], "2001:db8::1"),
            ("10.0.0.1", &["::ffff:1.1.1.1"], "1.1.1.1"),
            // What is malformed ends the walk.
            ("10.0.0.1", &["1.1.1.1, unknown, 10.2.2.2"], "10.2.2.2"),
            ("10.0.0.1", &["1.1.1.1, "], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, [1.2.3.4]"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1.1"], "10.0.0.1"),
        ] {
            assert_eq!(told(Form::List, peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_field_with_one_address_is_believed_as_it_is() {
        for (peer, lines, expected) in [
            ("10.0.0.1", &["1.1.1.1"][..], "1.1.1.1"),
            ("10.0.0.1", &["10.2.2.2"], "10.2.2.2"),
            ("192.0.2.1", &["1.1.1.1"], "192.0.2.1"),
            ("10.0.0.1", &["1.1.1.1, 2.2.2.2"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1", "2.2.2.2"], "10.0.0.1"),
        ] {
            assert_eq!(told(Form::Single, peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn forwarded_names_the_caller_in_for() {
        for (lines, expected) in [
            (&["for=1.1.1.1;proto=https;by=10.9.9.9"][..], "1.1.1.1"),
            (&["For=\"[2001:db8::1]:4711\"; host=a"], "2001:db8::1"),
            (&["for=6.6.6.6, for=1.1.1.1, for=10.2.2.2"], "1.1.1.1"),
            (&["for=1.1.1.1, for=_hidden, for=10.2.2.2"], "10.2.2.2"),
            (&["for=1.1.1.1, proto=https"], "10.0.0.1"),
        ] {
            assert_eq!(told(Form::Forwarded, "10.0.0.1", lines), expected, "{lines:?}");
        }
    }

    proptest! {
        /// Whatever a caller writes, it stands left of what the first proxy appends.
        #[test]
        fn a_caller_cannot_choose_its_address(written in "[ -~]{0,60}", hops in 0_usize..5) {
            let mut line = format!("{written}, 1.1.1.1");
            for hop in 0..hops {
                line.extend([", 10.0.0.", &hop.to_string()]);
            }
            prop_assert_eq!(told(Form::List, "10.9.9.9", &[&line]), "1.1.1.1");
        }
    }
}
