//! The ClientHello: what is found, in any pieces, and what is refused.
#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/checks.rs"]
#[allow(dead_code, reason = "the other checks run elsewhere")]
mod checks;

use proptest::prelude::*;
use tidegate_wire::client_hello::{
    CLIENT_HELLO_MAX, ClientHello, ClientHelloError, parse_client_hello,
};

fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &long(data)].concat()
}

fn names(names: &[(u8, &str)]) -> Vec<u8> {
    let list: Vec<u8> = names
        .iter()
        .flat_map(|(kind, name)| [&[*kind][..], &long(name.as_bytes())].concat())
        .collect();
    extension(0, &long(&list))
}

fn alpn(protocols: &[&str]) -> Vec<u8> {
    let list: Vec<u8> = protocols.iter().flat_map(|name| short(name.as_bytes())).collect();
    extension(16, &long(&list))
}

/// A handshake message with these extensions; None leaves the block out.
fn message(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(short(&[1; 32]));
    body.extend(long(&[0x13, 0x01]));
    body.extend(short(&[0]));
    body.extend(extensions.map(long).unwrap_or_default());
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[1..], &body].concat()
}

/// Records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|piece| [&[22, 3, 1][..], &long(piece)].concat()).collect()
}

fn parse(extensions: &[u8]) -> Result<Option<ClientHello>, ClientHelloError> {
    parse_client_hello(&records(&message(Some(extensions)), 1 << 14))
}

#[test]
fn name_and_protocols_are_found_in_lower_case() {
    let extensions =
        [extension(10, &[0, 2, 0, 29]), names(&[(0, "A.Example.COM")]), alpn(&["h2", "http/1.1"])];
    let hello = parse(&extensions.concat()).unwrap().unwrap();
    assert_eq!(hello.server_name.as_deref(), Some("a.example.com"));
    assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
}

#[test]
fn a_hello_without_names_is_sound() {
    for hello in [message(None), message(Some(&[])), message(Some(&names(&[(1, "other kind")])))] {
        let hello = parse_client_hello(&records(&hello, 1 << 14)).unwrap().unwrap();
        assert_eq!(hello, ClientHello::default());
    }
}

#[test]
fn other_protocols_are_told_from_broken_tls() {
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0-x", b"\x80\x2e\x01", b"\x16\x02\x00"] {
        assert_eq!(parse_client_hello(bytes), Err(ClientHelloError::NotTls), "{bytes:?}");
    }
    assert_eq!(parse_client_hello(b"\x16\x03"), Ok(None));
}

#[test]
fn ambiguous_and_broken_hellos_are_refused() {
    let name = names(&[(0, "a.example")]);
    for (what, extensions) in [
        ("the extension twice", [name.clone(), name.clone()].concat()),
        ("two host names", names(&[(0, "a.example"), (0, "b.example")])),
        ("an empty name", names(&[(0, "")])),
        ("an empty list", names(&[])),
        ("a name with a blank", names(&[(0, "a example")])),
        ("a name with a NUL", names(&[(0, "a\0.example")])),
        ("a name that is too long", names(&[(0, &"a".repeat(256))])),
        ("bytes behind the list", extension(0, &[0, 4, 0, 0, 1, b'a', 9])),
        ("an empty protocol", alpn(&["h2", ""])),
        ("no protocol", alpn(&[])),
        ("a cut extension", vec![0, 0, 0, 9, 1]),
    ] {
        assert_eq!(parse(&extensions), Err(ClientHelloError::Malformed), "{what}");
    }
    let mut behind = message(Some(&name));
    behind.push(0);
    behind[3] += 1;
    let behind = parse_client_hello(&records(&behind, 1 << 14));
    assert_eq!(behind, Err(ClientHelloError::Malformed), "bytes behind the extensions");
}

#[test]
fn what_is_read_is_bounded() {
    let mut endless = records(&[&[1, 0, 0xff, 0xff][..], &[0; 60]].concat(), 1 << 14);
    assert_eq!(parse_client_hello(&endless), Err(ClientHelloError::TooLarge), "it says so");
    // One byte in a record: the heads count too.
    let padding = extension(21, &vec![0; CLIENT_HELLO_MAX / 4]);
    endless = records(&message(Some(&padding)), 1);
    endless.truncate(CLIENT_HELLO_MAX);
    assert_eq!(parse_client_hello(&endless), Err(ClientHelloError::TooLarge));
    endless.truncate(CLIENT_HELLO_MAX - 1);
    assert_eq!(parse_client_hello(&endless), Ok(None));
}

proptest! {
    #[test]
    fn pieces_and_records_do_not_matter(name in "[a-zA-Z0-9-]{1,20}(\\.[a-z]{1,9}){0,3}", size in 1_usize..300) {
        let message = message(Some(&[names(&[(0, &name)]), alpn(&["x"])].concat()));
        let bytes = records(&message, size);
        prop_assert!(checks::client_hello(&bytes));
        let hello = parse_client_hello(&bytes).unwrap().unwrap();
        prop_assert_eq!(hello.server_name, Some(name.to_ascii_lowercase()));
    }

    #[test]
    fn damaged_hellos_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), size in 1_usize..300) {
        let extensions = [names(&[(0, "a.example")]), alpn(&["h2"])].concat();
        let mut bytes = records(&message(Some(&extensions)), size);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        checks::client_hello(&bytes);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        checks::client_hello(&bytes);
        checks::client_hello(&[&[22, 3, 1, 0, 100, 1, 0, 0, 90][..], &bytes].concat());
    }
}
