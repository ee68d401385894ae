//! Heads that are small on the wire and large behind it, or large in many pieces: refused before
//! they are, at little cost, and nobody else notices.

use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_scenario::bystander::Bystander;
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::h2raw::{
    CALM, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, Outcome, RST_STREAM, Raw, WINDOW_UPDATE,
    fields_block, frame, request,
};
use tidegate_scenario::http::get;
use tidegate_scenario::until;

use super::before;

const MIB: u64 = 1024 * 1024;

/// What all bombs of a test together may add to the resident memory.
const GROWTH_MAX: u64 = 12 * MIB;

/// Connections that each throw the same bomb.
const TIMES: usize = 50;

/// How often somebody else must be served meanwhile.
const SERVED: usize = 20;

/// The block of a GET.
fn asking() -> Vec<u8> {
    fields_block(&request("GET", "/small", &[]))
}

/// A field that the table remembers (RFC 7541 section 6.2.1); short name and value.
fn stored(name: &str, value: &[u8]) -> Vec<u8> {
    let mut block = vec![0x40, name.len() as u8];
    block.extend_from_slice(name.as_bytes());
    put_length(value.len(), 7, 0, &mut block);
    block.extend_from_slice(value);
    block
}

/// A number with a prefix of so many bits (RFC 7541 section 5.1).
fn put_length(number: usize, bits: u32, pattern: u8, block: &mut Vec<u8>) {
    let most = (1 << bits) - 1;
    if number < most {
        block.push(pattern | number as u8);
        return;
    }
    block.push(pattern | most as u8);
    let mut rest = number - most;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The newest entry of the table.
const NEWEST: u8 = 0xbe;

/// A change of the table's size (RFC 7541 section 6.3).
fn resized(size: usize) -> Vec<u8> {
    let mut block = Vec::new();
    put_length(size, 5, 0x20, &mut block);
    block
}

/// A head of stream 1 in frames of at most 16 KiB.
fn in_frames(block: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    let last = block.chunks(16_384).count() - 1;
    for (index, piece) in block.chunks(16_384).enumerate() {
        let kind = if index == 0 { HEADERS } else { CONTINUATION };
        let start = if index == 0 { END_STREAM } else { 0 };
        let end = if index == last { END_HEADERS } else { 0 };
        frames.extend(frame(kind, start | end, 1, piece));
    }
    frames
}

/// A gateway before an origin, somebody who is served, and the memory before anything has happened.
struct Scene {
    gateway: Gateway,
    bystander: Bystander,
    warm: u64,
    _lab: tidegate_lab::server::ServerHandle,
}

impl Scene {
    fn set() -> Self {
        let lab = spawn_origin(&OriginOptions::default()).unwrap();
        let gateway = before(lab.addr, "shards: 1\n");
        assert_eq!(get(gateway.address, "/small").status, 200);
        let bystander = Bystander::start(gateway.address);
        let warm = gateway.resident();
        Self { gateway, bystander, warm, _lab: lab }
    }

    /// Throws the bomb again and again, at least until the bystander has been served often.
    fn throw(&self, name: &str, bomb: &[u8], right: impl Fn(&Outcome) -> bool) {
        let before = self.bystander.served();
        let mut thrown = 0;
        while thrown < TIMES || self.bystander.served() < before + SERVED {
            let mut raw = Raw::open(self.gateway.address);
            raw.bytes(bomb);
            let outcome = raw.outcome(1);
            assert!(right(&outcome), "{name}: {outcome:?}");
            thrown += 1;
        }
        let now = self.gateway.resident();
        println!(
            "{name}: {} bytes thrown {thrown} times; RSS {} KiB, then {} KiB",
            bomb.len(),
            self.warm / 1024,
            now / 1024
        );
        assert!(now < self.warm + GROWTH_MAX, "{name}: {} became {now}", self.warm);
    }

    fn end(self) {
        self.bystander.end();
        until("nothing is held", || {
            let names = [
                "tidegate_h2_connections",
                "tidegate_h2_streams_open",
                "tidegate_requests_in_flight",
                "tidegate_buffers_lent",
            ];
            names.iter().all(|name| self.gateway.metric(name, "") == 0.0).then_some(())
        });
    }
}

/// COMPRESSION_ERROR: what the protocol library says when a head that it already ignores goes on.
const COMPRESSION: u32 = 9;

/// Thrown out. The word for it is lost when the reset of what we still sent overtakes it.
fn is_calmed(outcome: &Outcome) -> bool {
    let word = matches!(outcome.goaway, Some(CALM | COMPRESSION) | None);
    outcome.status == 0 && word && outcome.reset.is_none()
}

#[test]
fn a_megabyte_of_fields_in_continuations_is_thrown_out_early() {
    let scene = Scene::set();
    let value = "y".repeat(200);
    let mut block = asking();
    for index in 0..4_000 {
        block.extend(fields_block(&[(&format!("x-{index}"), &value)]));
    }
    scene.throw("a megabyte of fields", &in_frames(&block), is_calmed);
    scene.end();
}

#[test]
fn a_stored_field_that_is_named_again_and_again_is_not_unfolded() {
    let scene = Scene::set();
    // 16 KB on the wire, 48 MB were they unfolded; and a bomb of one name without a value.
    let large = [asking(), stored("x", &[b'y'; 4_000]), vec![NEWEST; 12_000]].concat();
    scene.throw("4 KB named 12,000 times", &in_frames(&large), is_calmed);
    let small = [asking(), stored("x", b""), vec![NEWEST; 15_000]].concat();
    scene.throw("an empty field named 15,000 times", &in_frames(&small), is_calmed);
    let spread = [asking(), stored("x", &[b'y'; 4_000]), vec![NEWEST; 100_000]].concat();
    scene.throw("4 KB named 100,000 times", &in_frames(&spread), is_calmed);
    scene.end();
}

#[test]
fn cookie_crumbs_count_with_32_bytes_each() {
    let scene = Scene::set();
    let refused = |outcome: &Outcome| outcome.status == 431 && outcome.complete;
    // 16 KiB is the limit: 38 bytes a crumb and what a GET has besides.
    for (name, crumbs) in [("500 crumbs", 500), ("800 crumbs", 800)] {
        let mut block = asking();
        block.extend(fields_block(&vec![("cookie", ""); crumbs]));
        scene.throw(name, &in_frames(&block), refused);
        let stored = [asking(), stored("cookie", b""), vec![NEWEST; crumbs]].concat();
        scene.throw(&format!("{name} from the table"), &in_frames(&stored), refused);
    }
    let many = [asking(), stored("cookie", b""), vec![NEWEST; 15_000]].concat();
    scene.throw("15,000 crumbs from the table", &in_frames(&many), is_calmed);
    // Below the limit they are one field, and no field count is exceeded.
    let few = [asking(), stored("cookie", b"a=b"), vec![NEWEST; 300]].concat();
    scene.throw("300 crumbs", &in_frames(&few), |outcome| outcome.status == 200);
    scene.end();
}

#[test]
fn changes_of_the_tables_size_are_taken_and_cost_nothing_that_stays() {
    let scene = Scene::set();
    let flips = [resized(0), resized(4_096)].concat().repeat(2_000);
    let served = |outcome: &Outcome| outcome.status == 200 && outcome.complete;
    scene.throw("4,000 changes in a head", &in_frames(&[flips, asking()].concat()), served);
    let beyond = [resized(4_097), asking()].concat();
    scene.throw("a table larger than allowed", &in_frames(&beyond), |o| o.goaway.is_some());
    // Emptied and filled with each request of one connection.
    let mut raw = Raw::open(scene.gateway.address);
    raw.frame(WINDOW_UPDATE, 0, 0, &0x7000_0000u32.to_be_bytes());
    for turn in 0..1_000 {
        let stream = 2 * turn + 1;
        let filled = stored("x", &[b'y'; 4_000]);
        let block = [resized(0), resized(4_096), asking(), filled].concat();
        raw.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
        let outcome = raw.outcome(stream);
        assert!(outcome.complete && outcome.reset.is_none(), "{turn}: {outcome:?}");
    }
    assert!(scene.gateway.resident() < scene.warm + GROWTH_MAX);
    drop(raw);
    scene.end();
}

#[test]
fn a_table_of_ours_grows_no_larger_because_the_peer_offers_room() {
    let scene = Scene::set();
    // SETTINGS_HEADER_TABLE_SIZE of 4 GiB; each refusal has a request id that no other has.
    let mut raw = Raw::open_with(scene.gateway.address, &[(1, u32::MAX)]);
    raw.frame(WINDOW_UPDATE, 0, 0, &0x7000_0000u32.to_be_bytes());
    let mut measured = 0;
    for turn in 0..6_000 {
        let stream = 2 * turn + 1;
        raw.head(stream, &request("TRACE", "/", &[]), true);
        let ended = std::iter::from_fn(|| raw.next_frame())
            .find(|f| f.stream == stream && (f.kind == RST_STREAM || f.flags & END_STREAM != 0));
        assert!(ended.is_some_and(|frame| frame.kind != RST_STREAM), "{turn}");
        if turn == 1_000 {
            measured = scene.gateway.resident();
        }
    }
    let grown = scene.gateway.resident().saturating_sub(measured);
    println!("5,000 more replies with fields of their own: {} KiB more", grown / 1024);
    assert!(grown < 2 * MIB, "{grown}");
    drop(raw);
    scene.end();
}
