//! Replays the fuzz seeds (and every crash kept beside them) through the checks of the fuzz
//! targets.
#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/checks.rs"]
mod checks;

use std::fs;
use std::path::Path;

/// Seeds named `sound-…` must be accepted, `crash-…` only survive, all others (`rule-NN-…`,
/// `incomplete-…`) must not be accepted.
fn replay(target: &str, check: fn(&[u8]) -> bool, at_least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let accepted = check(&fs::read(&path).unwrap());
        if !name.starts_with("crash-") {
            assert_eq!(accepted, name.starts_with("sound-"), "{target}/{name}");
        }
        replayed += 1;
    }
    assert!(replayed >= at_least, "{target}: {replayed} seeds, fewer than there were");
}

#[test]
fn request_head_seeds_hold() {
    replay("request_head", checks::request_head, 52);
}

#[test]
fn response_head_seeds_hold() {
    replay("response_head", checks::response_head, 20);
}

#[test]
fn chunked_seeds_hold() {
    replay("chunked", checks::chunked, 28);
}

#[test]
fn client_hello_seeds_hold() {
    replay("client_hello", checks::client_hello, 12);
}

#[test]
fn sse_seeds_hold() {
    replay("sse", checks::sse, 10);
}

#[test]
fn proxy_protocol_seeds_hold() {
    replay("proxy_protocol", checks::proxy_protocol, 21);
}
