//! Who may come in, by address.

use std::net::IpAddr;

use crate::cidr::Cidr;

/// Ranges that may come in and ranges that may not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// These may. Empty: all that are not in `deny`.
    pub allow: Vec<Cidr>,
    /// These may not.
    pub deny: Vec<Cidr>,
}

impl Access {
    /// May this address come in? The range with the most bits decides; of an allowed and a denied
    /// range that are the same, the denied one. Outside all ranges only those may who are not asked
    /// to be in `allow`.
    pub fn admits(&self, address: IpAddr) -> bool {
        let allowed = narrowest(&self.allow, address);
        let denied = narrowest(&self.deny, address);
        match (allowed, denied) {
            (Some(allowed), Some(denied)) => allowed > denied,
            (None, Some(_)) => false,
            (Some(_), None) => true,
            (None, None) => self.allow.is_empty(),
        }
    }
}

/// The bits of the narrowest range that has the address.
fn narrowest(ranges: &[Cidr], address: IpAddr) -> Option<u8> {
    ranges.iter().filter(|range| range.contains(address)).map(Cidr::bits).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[&str]) -> Vec<Cidr> {
        list.iter().map(|range| range.parse().unwrap()).collect()
    }

    #[test]
    fn the_narrowest_range_decides() {
        let access = Access {
            allow: ranges(&["10.0.0.0/8", "10.1.2.3", "2001:db8::/32"]),
            deny: ranges(&["10.1.0.0/16", "192.0.2.0/24", "10.5.0.0/16"]),
        };
        for (address, admitted) in [
            ("10.0.0.1", true),
            ("10.1.0.1", false),
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("::ffff:10.1.2.4", false),
            ("192.0.2.1", false),
            ("203.0.113.1", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(access.admits(address.parse().unwrap()), admitted, "{address}");
        }
    }

    #[test]
    fn without_allowed_ranges_all_may_who_are_not_denied() {
        let access = Access { allow: Vec::new(), deny: ranges(&["10.0.0.0/8"]) };
        assert!(access.admits("192.0.2.1".parse().unwrap()));
        assert!(!access.admits("10.0.0.1".parse().unwrap()));
        assert!(Access::default().admits("::1".parse().unwrap()));
    }

    #[test]
    fn the_same_range_on_both_sides_is_denied() {
        let both = ranges(&["10.0.0.0/8"]);
        let access = Access { allow: both.clone(), deny: both };
        assert!(!access.admits("10.0.0.1".parse().unwrap()));
    }
}
