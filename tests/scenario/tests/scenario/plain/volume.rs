//! Large bodies in both directions: every byte, and no more memory for them.

use std::io::{Read as _, Write as _};

use tidegate_lab::origin::{OriginOptions, spawn_origin};
use tidegate_scenario::http::Connection;
use tidegate_scenario::origin::Origin;

use super::before;

const MIB: u64 = 1 << 20;

#[test]
fn a_download_of_100_mib_streams_in_flat_memory() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(&[lab.addr], "", "");
    let mut connection = Connection::open(gateway.address);
    connection.send(b"GET /bytes/1048576 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.reply().body.len() as u64, MIB);
    let before = gateway.resident();
    connection.send(
        format!("GET /bytes/{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 100 * MIB)
            .as_bytes(),
    );
    let mut piece = vec![0; 256 * 1024];
    let (mut total, mut most) = (0u64, before);
    let mut head = Vec::new();
    loop {
        let read = connection.stream.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        let mut body = &piece[..read];
        if total == 0 {
            head.extend_from_slice(body);
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            body = &head[end + 4..];
        }
        total += body.len() as u64;
        most = most.max(gateway.resident());
    }
    assert_eq!(total, 100 * MIB);
    #[allow(clippy::print_stdout)] // the figures, for whoever looks at a failure
    {
        println!("resident before {before}, at most {most}");
    }
    assert!(most <= before + 8 * MIB, "resident before {before}, at most {most}");
}

#[test]
fn an_upload_of_20_mib_streams_in_flat_memory_and_arrives_whole() {
    let origin = Origin::plain();
    let gateway = before(&[origin.address], "", "");
    let block: Vec<u8> = (0..MIB / 4).flat_map(|n| (n as u32).to_le_bytes()).collect();
    for framing in ["Content-Length: 20971520", "Transfer-Encoding: chunked"] {
        let before = gateway.resident();
        let mut most = before;
        let mut connection = Connection::open(gateway.address);
        connection.send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes());
        for _ in 0..20 {
            if framing.starts_with("Transfer") {
                connection.send(b"100000\r\n");
                connection.stream.write_all(&block).unwrap();
                connection.send(b"\r\n");
            } else {
                connection.stream.write_all(&block).unwrap();
            }
            most = most.max(gateway.resident());
        }
        if framing.starts_with("Transfer") {
            connection.send(b"0\r\n\r\n");
        }
        assert_eq!(connection.reply().status, 200, "{framing}");
        let seen = origin.requests().pop().unwrap();
        assert_eq!(seen.body.len() as u64, 20 * MIB, "{framing}");
        assert!(seen.body.chunks(block.len()).all(|piece| piece == block), "{framing}");
        assert!(most <= before + 8 * MIB, "{framing}: resident before {before}, at most {most}");
    }
}

#[test]
fn an_upload_on_a_fresh_connection_loses_no_byte_at_any_size() {
    // Around the sizes of the buffers on the way, each on a new connection to the origin.
    let origin = Origin::plain();
    let gateway = before(&[origin.address], "", "");
    for size in
        [1, 16_000, 16_384, 16_385, 32_768, 65_300, 65_536, 65_537, 70_000, 131_072, 500_000]
    {
        let body: Vec<u8> = (0..size).map(|n: u32| (n % 251) as u8).collect();
        let mut request =
            format!("PUT /{size} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
                .into_bytes();
        request.extend_from_slice(&body);
        let next = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
        request.extend_from_slice(next);
        let mut connection = Connection::open(gateway.address);
        let mut writer = connection.stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || writer.write_all(&request));
        assert_eq!(connection.reply().status, 200, "{size}");
        assert_eq!(connection.reply().status, 200, "the request behind {size}");
        sending.join().unwrap().unwrap();
        let requests = origin.requests();
        let [.., upload, behind] = &requests[..] else { panic!("{size}") };
        assert!(upload.body == body, "{size}");
        assert_eq!(behind.line(), "GET /next HTTP/1.1");
        origin.hang_up();
    }
}

#[test]
fn a_slow_reader_holds_the_origin_back_instead_of_filling_memory() {
    let lab = spawn_origin(&OriginOptions::default()).unwrap();
    let gateway = before(&[lab.addr], "", "");
    let before = gateway.resident();
    let mut readers: Vec<_> = (0..20)
        .map(|_| {
            let mut connection = Connection::open(gateway.address);
            connection.send(b"GET /bytes/52428800 HTTP/1.1\r\nHost: a\r\n\r\n");
            assert!(connection.until_seen(b"\r\n\r\n"));
            connection
        })
        .collect();
    let held = gateway.resident();
    assert!(held <= before + 16 * MIB, "resident before {before}, now {held}");
    let mut piece = vec![0; MIB as usize];
    for reader in &mut readers {
        reader.stream.read_exact(&mut piece).unwrap();
    }
    let held = gateway.resident();
    assert!(held <= before + 16 * MIB, "resident before {before}, now {held}");
}
