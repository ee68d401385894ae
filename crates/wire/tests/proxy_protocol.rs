//! The PROXY protocol: what each header says, what is refused, and that any cut of it reads the same.
#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/checks.rs"]
#[allow(dead_code, reason = "one check of it is used here")]
mod checks;

use std::net::SocketAddr;

use proptest::prelude::*;
use tidegate_wire::proxy_protocol::{
    Parsed, ProxyProtocolError as E, Told, V1_BYTES_MAX, V2_BYTES_MAX, parse, write_v1, write_v2,
    write_v2_local,
};

fn proxied(source: &str, destination: &str) -> Told {
    Told::Proxied { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// A version 2 header with this version and command, family and body.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend_from_slice(&[command, family]);
    bytes.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn lines_of_version_1_say_where_the_client_is() {
    for (line, told) in [
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
            proxied("192.0.2.1:56324", "198.51.100.2:443"),
        ),
        ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", proxied("[2001:db8::1]:1", "[::1]:65535")),
        ("PROXY TCP4 255.255.255.255 0.0.0.0 0 0\r\n", proxied("255.255.255.255:0", "0.0.0.0:0")),
        ("PROXY UNKNOWN\r\n", Told::Unknown),
        ("PROXY UNKNOWN ffff::1 whatever 1 2\r\n", Told::Unknown),
    ] {
        let mut bytes = line.as_bytes().to_vec();
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
        assert_eq!(parse(&bytes), Ok(Parsed::Whole(told, line.len())), "{line}");
    }
}

#[test]
fn lines_that_another_reader_could_take_otherwise_are_refused() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 1 443\r\n",
        "PROXY TCP4 ::1 ::1 1 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 1 443\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.2 1 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.2 1 443\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 443\r\r\n",
        "PROXY TCP4 a\u{e9} 198.51.100.2 1 443\r\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(E::BadLine), "{line:?}");
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(V1_BYTES_MAX));
    assert_eq!(parse(endless.as_bytes()), Err(E::LineTooLong));
    for other in ["GET / HTTP/1.1\r\n", "PROXIES", "proxy TCP4", "\x16\x03\x01", "\r\n\r\nGET"] {
        assert_eq!(parse(other.as_bytes()), Err(E::NotAHeader), "{other:?}");
    }
}

#[test]
fn headers_of_version_2_say_where_the_client_is() {
    let four = [192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB];
    let mut six = [0; 36];
    (six[15], six[31], six[33], six[35]) = (1, 2, 80, 90);
    let mut with_tlvs = four.to_vec();
    with_tlvs.extend_from_slice(&[0x04, 0, 5, 1, 2, 3, 4, 5]);
    let here = proxied("192.0.2.1:56324", "198.51.100.2:443");
    for (bytes, told) in [
        (v2(0x21, 0x11, &four), here),
        (v2(0x21, 0x11, &with_tlvs), here),
        (v2(0x21, 0x21, &six), proxied("[::1]:80", "[::2]:90")),
        (v2(0x20, 0x00, &[]), Told::Local),
        (v2(0x20, 0x11, &four), Told::Local),
        (v2(0x20, 0x11, &[1, 2, 3]), Told::Local),
        (v2(0x21, 0x31, &[b'/'; 216]), Told::Unknown),
        (v2(0x21, 0x12, &four), Told::Unknown),
        (v2(0x21, 0x00, &[]), Told::Unknown),
        (v2(0x21, 0x00, &[9; 20]), Told::Unknown),
    ] {
        assert_eq!(parse(&bytes), Ok(Parsed::Whole(told, bytes.len())), "{bytes:?}");
    }
}

#[test]
fn headers_of_version_2_that_cannot_be_right_are_refused() {
    let mut long = v2(0x21, 0x11, &[0; V2_BYTES_MAX - 16 + 1]);
    assert_eq!(parse(&long), Err(E::TooLong));
    long.truncate(16);
    assert_eq!(parse(&long), Err(E::TooLong), "before its bytes have come");
    for (bytes, error) in [
        (v2(0x11, 0x11, &[0; 12]), E::Version),
        (v2(0x31, 0x11, &[0; 12]), E::Version),
        (v2(0x22, 0x11, &[0; 12]), E::Command),
        (v2(0x21, 0x11, &[0; 11]), E::TooShort),
        (v2(0x21, 0x21, &[0; 35]), E::TooShort),
        (v2(0x21, 0x31, &[0; 215]), E::TooShort),
    ] {
        assert_eq!(parse(&bytes), Err(error), "{bytes:?}");
    }
    assert_eq!(parse(&v2(0x31, 0, &[])[..13]), Err(E::Version), "at the first wrong byte");
}

#[test]
fn what_is_written_reads_back() {
    let (four, six) = ("192.0.2.1:5".parse().unwrap(), "[2001:db8::1]:6".parse().unwrap());
    let mapped: SocketAddr = "[::ffff:192.0.2.1]:5".parse().unwrap();
    for write in [write_v1, write_v2] {
        for (source, destination, read) in [
            (four, four, proxied("192.0.2.1:5", "192.0.2.1:5")),
            (six, six, proxied("[2001:db8::1]:6", "[2001:db8::1]:6")),
            (mapped, four, proxied("192.0.2.1:5", "192.0.2.1:5")),
            (four, six, proxied("[::ffff:192.0.2.1]:5", "[2001:db8::1]:6")),
        ] {
            let mut bytes = Vec::new();
            write(&mut bytes, source, destination);
            assert_eq!(parse(&bytes), Ok(Parsed::Whole(read, bytes.len())), "{bytes:?}");
        }
    }
    let mut local = Vec::new();
    write_v2_local(&mut local);
    assert_eq!(parse(&local), Ok(Parsed::Whole(Told::Local, 16)));
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn any_cut_of_a_header_is_incomplete(
        source in address(), destination in address(), second: bool, tail in any::<Vec<u8>>(),
    ) {
        let mut bytes = Vec::new();
        if second {
            write_v2(&mut bytes, source, destination);
        } else {
            write_v1(&mut bytes, source, destination);
        }
        let max = if second { 52 } else { V1_BYTES_MAX };
        prop_assert!(bytes.len() <= max);
        for cut in 0..bytes.len() {
            prop_assert_eq!(parse(&bytes[..cut]), Ok(Parsed::Incomplete));
        }
        let length = bytes.len();
        bytes.extend_from_slice(&tail);
        match parse(&bytes) {
            Ok(Parsed::Whole(Told::Proxied { source: read, .. }, used)) => {
                prop_assert_eq!(used, length);
                prop_assert_eq!(read.ip().to_canonical(), source.ip().to_canonical());
                prop_assert_eq!(read.port(), source.port());
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// Random bytes rarely get past the signature; bent headers do.
    #[test]
    fn a_bent_header_is_read_within_its_bounds_or_refused(
        source in address(), second: bool, at in any::<prop::sample::Index>(), byte: u8,
        tail in any::<Vec<u8>>(),
    ) {
        let mut bytes = Vec::new();
        if second {
            write_v2(&mut bytes, source, source);
        } else {
            write_v1(&mut bytes, source, source);
        }
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.extend_from_slice(&tail);
        checks::proxy_protocol(&bytes);
    }
}
