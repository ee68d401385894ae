//! Broken start lines that come in pieces: the refusal is that of the line which comes at once.
#![allow(clippy::unwrap_used)]

use tidegate_wire::http1::head::{
    HeadError, HeadLimits, Method, RequestHead, ResponseHead, parse_request, parse_response,
};

fn request_error(head: &[u8]) -> Option<HeadError> {
    parse_request(head, &HeadLimits::default(), &mut RequestHead::default()).err()
}

fn response_error(head: &[u8]) -> Option<HeadError> {
    parse_response(head, &HeadLimits::default(), Method::Get, &mut ResponseHead::default()).err()
}

/// Every word of up to `length` of these bytes behind `HTTP/`: those that decide which version it is.
fn versions(length: u32) -> impl Iterator<Item = String> {
    const BYTES: [char; 7] = ['0', '1', '2', '.', 'x', ' ', '\r'];
    (0..=length).flat_map(|length| {
        (0..BYTES.len().pow(length)).map(move |mut number| {
            let mut version = String::from("HTTP/");
            for _ in 0..length {
                version.push(BYTES[number % BYTES.len()]);
                number /= BYTES.len();
            }
            version
        })
    })
}

fn assert_cuts_change_nothing(head: &str, error_of: fn(&[u8]) -> Option<HeadError>) {
    let whole = error_of(head.as_bytes());
    let first_in_pieces = (1..=head.len()).find_map(|end| error_of(&head.as_bytes()[..end]));
    assert_eq!(first_in_pieces, whole, "in pieces and at once: {head:?}");
}

#[test]
fn the_refusal_of_a_version_does_not_depend_on_where_its_bytes_are_cut() {
    for version in versions(5) {
        assert_cuts_change_nothing(&format!("GET /x {version}\r\nHost: a\r\n\r\n"), request_error);
        assert_cuts_change_nothing(&format!("{version} 200 OK\r\n\r\n"), response_error);
    }
}
