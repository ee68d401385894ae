//! Who is let in, and what is answered.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tidegate_control::{AdminBind, Control, ControlError, Options};

use crate::stand::{
    PATIENCE, PLAIN, TOKEN, config, eventually, get, get_with, parse, reload, send, shared, start,
};

const PATHS: [&str; 5] =
    ["/metrics", "/health", "/api/v1/config", "/api/monitor/health", "/no-such-path"];

#[test]
fn every_path_asks_for_the_token() {
    let (control, admin) = start(&shared(PLAIN));
    for path in PATHS {
        for fields in [
            String::new(),
            "Authorization: Bearer wrong\r\n".to_owned(),
            format!("Authorization: Bearer {TOKEN}2\r\n"),
            format!("Authorization: Basic {TOKEN}\r\n"),
            "Authorization: Bearer \r\n".to_owned(),
            format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n"),
        ] {
            let reply = get_with(admin, path, &fields);
            assert_eq!(reply.status, 401, "{path} {fields}");
            assert_eq!(reply.json()["error"]["code"], "unauthenticated");
            assert!(reply.head.contains("www-authenticate: bearer"), "{}", reply.head);
        }
    }
    control.stop();
}

#[test]
fn the_token_opens_what_exists() {
    let (control, admin) = start(&shared(PLAIN));
    for path in PATHS {
        let expected = if path == "/no-such-path" { 404 } else { 200 };
        let reply = get(admin, path);
        assert_eq!(reply.status, expected, "{path}: {}", reply.body);
    }
    assert_eq!(get(admin, "/no-such-path").json()["error"]["code"], "not_found");
    control.stop();
}

#[test]
fn another_method_is_refused_in_json() {
    let (control, admin) = start(&shared(PLAIN));
    let request = format!(
        "POST /api/v1/config HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let reply = send(admin, request.as_bytes());
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (405, &"method_not_allowed".into()));
    control.stop();
}

#[test]
fn the_token_follows_a_reload() {
    let shared = shared(PLAIN);
    let (control, admin) = start(&shared);
    reload(&shared, config(&PLAIN.replace(TOKEN, "another-admin-token")), 2);
    assert_eq!(get(admin, "/health").status, 401);
    let reply = get_with(admin, "/api/v1/config", "Authorization: Bearer another-admin-token\r\n");
    assert_eq!((reply.status, &reply.json()["generation"]), (200, &2.into()));
    control.stop();
}

#[test]
fn a_reload_without_an_admin_section_shuts_everybody_out() {
    let shared = shared(PLAIN);
    let (control, admin) = start(&shared);
    let without = PLAIN.split_once('\n').unwrap().1;
    reload(&shared, config(without), 2);
    assert_eq!(get(admin, "/health").status, 401);
    control.stop();
}

#[test]
fn a_given_token_counts_while_the_configuration_has_none() {
    let shared = shared(PLAIN.split_once('\n').unwrap().1);
    let (control, admin) = start(&shared);
    assert_eq!(get(admin, "/health").status, 200);
    reload(&shared, config(&PLAIN.replace(TOKEN, "another-admin-token")), 2);
    assert_eq!(get(admin, "/health").status, 401);
    control.stop();
}

#[test]
fn the_configuration_shows_no_secret() {
    let text = "\
admin: { bind: 127.0.0.1:0, token: admin-token-of-the-test }
callers: [{ name: dev, key: sk-caller-secret-1 }]
providers:
  p:
    dialect: openai
    base_url: http://127.0.0.1:9/v1
    api_key: sk-provider-secret-2
    egress: socks5://user:egress-secret-3@127.0.0.1:9
    headers: { X-Api-Key: header-secret-4 }
";
    let (control, admin) = start(&shared(text));
    let reply = get(admin, "/api/v1/config");
    for secret in
        [TOKEN, "sk-caller-secret-1", "sk-provider-secret-2", "egress-secret-3", "header-secret-4"]
    {
        assert!(!reply.body.contains(secret), "{secret} in {}", reply.body);
    }
    let json = reply.json();
    assert_eq!(json["generation"], 1);
    assert_eq!(json["config"]["callers"][0]["name"], "dev");
    assert_eq!(json["config"]["callers"][0]["key"], "***");
    control.stop();
}

#[test]
fn the_monitor_answers_in_the_old_shape() {
    let shared = shared(PLAIN);
    shared.live.shards.of(0).tasks.store(40, std::sync::atomic::Ordering::Relaxed);
    shared.live.shards.of(1).tasks.store(2, std::sync::atomic::Ordering::Relaxed);
    let (control, admin) = start(&shared);
    let json = get(admin, "/api/monitor/health").json();
    assert_eq!(json["status"], "ok");
    assert!(json["tasks"].as_u64().unwrap() >= 42, "{json}");
    assert_eq!(json["tasks"], json["goroutines"]);
    let memory = &json["memory"];
    assert!(memory["sys_mb"].as_u64().unwrap() >= memory["alloc_mb"].as_u64().unwrap());
    assert!(memory["sys_mb"].as_u64().unwrap() > 0);
    assert!(memory["num_gc"].is_u64());
    control.stop();
}

#[test]
fn health_says_when_the_process_drains() {
    let shared = shared(PLAIN);
    let (control, admin) = start(&shared);
    assert_eq!(get(admin, "/health").json()["status"], "ok");
    shared.live.begin_drain(Duration::ZERO);
    let reply = get(admin, "/health");
    assert_eq!((reply.status, &reply.json()["status"]), (503, &"draining".into()));
    control.stop();
}

#[test]
fn an_oversized_head_is_refused() {
    let (control, admin) = start(&shared(PLAIN));
    let reply = get_with(admin, "/health", &format!("X-Long: {}\r\n", "x".repeat(15 * 1024)));
    assert_eq!(reply.status, 401, "this one fits");
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET /health HTTP/1.1\r\nHost: a\r\nX-Long: {}", "x".repeat(64 * 1024));
    // The listener closes before it has read all of it: either side of that may fail.
    let _ = stream.write_all(head.as_bytes());
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => assert_eq!(parse(&bytes).status, 431),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    control.stop();
}

/// Sends a request that keeps the connection and waits until the reply has begun.
fn occupy(admin: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 401");
    stream
}

#[test]
fn the_connection_after_the_64th_waits_for_a_place() {
    let (control, admin) = start(&shared(PLAIN));
    let mut held: Vec<_> = (0..64).map(|_| occupy(admin)).collect();
    let mut late = TcpStream::connect(admin).unwrap();
    late.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let early = late.read(&mut [0; 1]).map_err(|error| error.kind());
    assert!(matches!(early, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{early:?}");
    held.pop();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    late.read_to_end(&mut bytes).unwrap();
    assert_eq!(parse(&bytes).status, 401);
    control.stop();
}

#[test]
fn an_idle_connection_gives_its_place_back() {
    let (control, admin) = start(&shared(PLAIN));
    let mut idle = occupy(admin);
    let mut rest = Vec::new();
    // Ends because the listener closes; a listener that does not makes the read time out.
    idle.read_to_end(&mut rest).unwrap();
    control.stop();
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap();
    let admin = Some(AdminBind { bind, token: TOKEN.to_owned() });
    let error = Control::start(shared(PLAIN), Options { admin, admin_socket: None, orders: None })
        .unwrap_err();
    assert!(matches!(error, ControlError::Bind { address, .. } if address == bind));
    assert!(error.to_string().contains(&bind.to_string()), "{error}");
}

#[test]
fn without_an_admin_section_there_is_no_listener() {
    let control = Control::start(shared(PLAIN), Options::default()).unwrap();
    assert_eq!(control.admin_address(), None);
    control.stop();
}

#[test]
fn a_stop_closes_the_listener() {
    let (control, admin) = start(&shared(PLAIN));
    let mut open = occupy(admin);
    control.stop();
    assert!(TcpStream::connect(admin).is_err());
    // Reset or closed, and not left open.
    let end = open.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
    assert!(matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)), "{end:?}");
}

#[test]
fn a_drop_closes_the_listener_too() {
    let (control, admin) = start(&shared(PLAIN));
    let mut open = occupy(admin);
    drop(control);
    let end = open.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
    assert!(matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    eventually("the listener goes", || TcpStream::connect(admin).is_err());
}

#[test]
fn the_token_is_not_in_what_is_printed_for_debugging() {
    let bind = "127.0.0.1:1".parse().unwrap();
    let options = Options {
        admin: Some(AdminBind { bind, token: TOKEN.to_owned() }),
        admin_socket: None,
        orders: None,
    };
    assert!(!format!("{options:?}").contains(TOKEN));
}
