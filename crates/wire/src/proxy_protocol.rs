//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): the header in which a
//! proxy says, before anything else on a connection, where the client is. Read and written.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1 in bytes, its CRLF included (section 2.1).
pub const V1_BYTES_MAX: usize = 107;

/// Longest header of version 2 in bytes that is read: 16 fixed, 216 for two Unix addresses, and
/// room for TLVs, which are skipped. The format allows 64 KiB more; nobody sends them.
pub const V2_BYTES_MAX: usize = 536;

/// Longest header of either version in bytes.
pub const BYTES_MAX: usize = V2_BYTES_MAX;

/// The first bytes of version 2.
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 before its addresses.
const V2_FIXED: usize = 16;

/// The first bytes of version 1.
const V1_SIGNATURE: [u8; 6] = *b"PROXY ";

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A proxied connection.
    Proxied {
        /// Where the client is.
        source: SocketAddr,
        /// Which address it connected to.
        destination: SocketAddr,
    },
    /// A proxied connection whose client has no IP address: `UNKNOWN`, Unix sockets, other families.
    Unknown,
    /// The proxy's own connection, such as a health check (version 2, LOCAL).
    Local,
}

/// How far a header was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// It is whole: what it says, and how many bytes it has. What follows is the connection's own.
    Whole(Told, usize),
    /// It goes on. Every byte seen so far belongs to it.
    Incomplete,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyProtocolError {
    /// They begin like neither version.
    #[error("the connection does not begin with a PROXY protocol header")]
    NotAHeader,
    /// Version 1 does not end within [`V1_BYTES_MAX`].
    #[error("the PROXY line has no end")]
    LineTooLong,
    /// Version 1 says something else than the format allows.
    #[error("the PROXY line is malformed")]
    BadLine,
    /// A version other than 2 in the binary form.
    #[error("the PROXY header has an unknown version")]
    Version,
    /// A command other than LOCAL and PROXY.
    #[error("the PROXY header has an unknown command")]
    Command,
    /// More than [`V2_BYTES_MAX`].
    #[error("the PROXY header is longer than {V2_BYTES_MAX} bytes")]
    TooLong,
    /// Fewer bytes than the addresses of its family take.
    #[error("the PROXY header is too short for its addresses")]
    TooShort,
}

/// Reads a header from the first bytes of a connection, of whatever length they are.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    if begins(bytes, &V2_SIGNATURE) {
        return parse_v2(bytes);
    }
    if begins(bytes, &V1_SIGNATURE) {
        return parse_v1(bytes);
    }
    Err(ProxyProtocolError::NotAHeader)
}

/// The bytes begin with the signature, or are the beginning of it.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    let seen = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        return if seen.len() < V1_BYTES_MAX {
            Ok(Parsed::Incomplete)
        } else {
            Err(ProxyProtocolError::LineTooLong)
        };
    };
    let line = seen.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let told = line.and_then(told_v1).ok_or(ProxyProtocolError::BadLine)?;
    Ok(Parsed::Whole(told, end + 1))
}

fn told_v1(line: &str) -> Option<Told> {
    let rest = line.strip_prefix("PROXY ")?;
    // What follows UNKNOWN is to be ignored (section 2.1).
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(Told::Unknown);
    }
    let mut words = rest.split(' ');
    let family = words.next()?;
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse().ok().map(IpAddr::V4),
            "TCP6" => text.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address(words.next()?)?, address(words.next()?)?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    Some(Told::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// A port as the format writes it: digits only, no zero in front.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    if digits && plain { text.parse().ok() } else { None }
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED>() else {
        // What is there already must be right.
        if let Some(command) = bytes.get(12) {
            check_command(*command)?;
        }
        return Ok(Parsed::Incomplete);
    };
    let [.., command, family, high, low] = *fixed;
    check_command(command)?;
    let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_BYTES_MAX {
        return Err(ProxyProtocolError::TooLong);
    }
    // Looked at before all of it is there: a header that cannot become right is refused at once.
    let addresses = match (command & 0x0F, family >> 4) {
        (0, _) => 0,
        (_, 1) => 12,
        (_, 2) => 36,
        (_, 3) => 216,
        _ => 0,
    };
    if length < V2_FIXED + addresses {
        return Err(ProxyProtocolError::TooShort);
    }
    let Some(body) = bytes.get(V2_FIXED..length) else { return Ok(Parsed::Incomplete) };
    let told = match command & 0x0F {
        0 => Told::Local,
        _ => told_v2(family, body).unwrap_or(Told::Unknown),
    };
    Ok(Parsed::Whole(told, length))
}

fn check_command(byte: u8) -> Result<(), ProxyProtocolError> {
    match (byte >> 4, byte & 0x0F) {
        (2, 0 | 1) => Ok(()),
        (2, _) => Err(ProxyProtocolError::Command),
        _ => Err(ProxyProtocolError::Version),
    }
}

/// The addresses of a family that has IP addresses, over a stream; None for all others.
fn told_v2(family: u8, body: &[u8]) -> Option<Told> {
    let (source, destination, ports) = match family {
        0x11 => {
            let (source, rest) = body.split_first_chunk::<4>()?;
            let (destination, ports) = rest.split_first_chunk::<4>()?;
            (IpAddr::from(*source), IpAddr::from(*destination), ports)
        }
        0x21 => {
            let (source, rest) = body.split_first_chunk::<16>()?;
            let (destination, ports) = rest.split_first_chunk::<16>()?;
            (IpAddr::from(*source), IpAddr::from(*destination), ports)
        }
        _ => return None,
    };
    let [a, b, c, d] = *ports.first_chunk::<4>()?;
    Some(Told::Proxied {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    })
}

/// Appends a header of version 1: at most [`V1_BYTES_MAX`] bytes.
pub fn write_v1(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) {
    // Writing to a vector cannot fail.
    let _ = match one_family(source.ip(), destination.ip()) {
        Addresses::V4(from, to) => {
            write!(out, "PROXY TCP4 {from} {to} {} {}\r\n", source.port(), destination.port())
        }
        Addresses::V6(from, to) => {
            write!(out, "PROXY TCP6 {from} {to} {} {}\r\n", source.port(), destination.port())
        }
    };
}

/// Appends a header of version 2, without TLVs: at most 52 bytes.
pub fn write_v2(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) {
    out.extend_from_slice(&V2_SIGNATURE);
    match one_family(source.ip(), destination.ip()) {
        Addresses::V4(from, to) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        Addresses::V6(from, to) => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

/// Appends a version 2 header for a connection of our own (LOCAL), such as a health check.
pub fn write_v2_local(out: &mut Vec<u8>) {
    out.extend_from_slice(&V2_SIGNATURE);
    out.extend_from_slice(&[0x20, 0, 0, 0]);
}

enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// Both addresses in the family that can say both: a header has one family only.
fn one_family(source: IpAddr, destination: IpAddr) -> Addresses {
    let mapped = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    match (source.to_canonical(), destination.to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Addresses::V4(from, to),
        (from, to) => Addresses::V6(mapped(from), mapped(to)),
    }
}
