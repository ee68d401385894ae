//! Ranges of addresses in CIDR notation (RFC 4632, RFC 4291 section 2.3): who is trusted, who may enter.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses: those that begin with the same bits. A single address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The first address. Never one that is mapped from IPv4: that is written as IPv4.
    first: IpAddr,
    /// Bits that all of them have in common: 0 to 32, or to 128 for IPv6.
    bits: u8,
}

/// Why a text is not a range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No address before the slash.
    #[error("this is neither an IP address nor a range such as 10.0.0.0/8 or fd00::/8")]
    NotAnAddress,
    /// No number, or one that is too large, after the slash.
    #[error("after the slash stands how many bits count: 0 to {max}")]
    Bits {
        /// 32 for IPv4, 128 for IPv6.
        max: u8,
    },
    /// Bits that do not count are not zero: a slip of the pen, since they would be ignored.
    #[error("the bits after the first {bits} are not zero; the range begins at {first}")]
    HostBits {
        /// How many bits count.
        bits: u8,
        /// The address with the others cleared.
        first: IpAddr,
    },
}

impl Cidr {
    /// Is this address in the range? An IPv4 address that came as IPv6 (`::ffff:a.b.c.d`) is one of
    /// IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()) & mask_v4(self.bits) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()) & mask_v6(self.bits) == 0
            }
            _ => false,
        }
    }

    /// Bits that all addresses have in common: 0 to 32, or to 128 for IPv6.
    pub fn bits(&self) -> u8 {
        self.bits
    }
}

/// Is the address in one of the ranges?
pub fn contains(ranges: &[Cidr], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}

fn mask_v4(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

fn mask_v6(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| CidrError::NotAnAddress)?;
        let max = if written.is_ipv4() { 32 } else { 128 };
        let bits = match length {
            None => max,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().ok().filter(|bits| *bits <= max).ok_or(CidrError::Bits { max })?
            }
            Some(_) => return Err(CidrError::Bits { max }),
        };
        let first = match written {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask_v4(bits))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask_v6(bits))),
        };
        if first != written {
            return Err(CidrError::HostBits { bits, first });
        }
        // The mapped range is IPv4's own: addresses are compared in their canonical form.
        match first {
            IpAddr::V6(v6) if bits >= 96 => match v6.to_ipv4_mapped() {
                Some(v4) => Ok(Self { first: IpAddr::V4(v4), bits: bits - 96 }),
                None => Ok(Self { first, bits }),
            },
            _ => Ok(Self { first, bits }),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        match (self.first, self.bits) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => Ok(()),
            (_, bits) => write!(f, "/{bits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_range_holds_what_begins_with_its_bits() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.168.1.128/25", "192.168.1.129", "192.168.1.127"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("::1", "::1", "::2"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.1"),
        ] {
            let range = cidr(range);
            assert!(range.contains(inside.parse().unwrap()), "{range} {inside}");
            assert!(!range.contains(outside.parse().unwrap()), "{range} {outside}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "a", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0/8", "/8"]
        {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
        let error = "10.1.0.0/8".parse::<Cidr>().unwrap_err();
        assert!(error.to_string().contains("begins at 10.0.0.0"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bits: u128, length in 0_u8..=128, four: bool) {
            let text = if four {
                let length = length % 33;
                format!("{}/{length}", Ipv4Addr::from_bits(bits as u32 & mask_v4(length)))
            } else {
                format!("{}/{length}", Ipv6Addr::from_bits(bits & mask_v6(length)))
            };
            let range = cidr(&text);
            prop_assert_eq!(range, cidr(&range.to_string()));
            prop_assert!(range.contains(range.first));
        }
    }
}
