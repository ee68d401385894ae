//! Limits: what is over them is refused in words or waits its turn, and the gauges say what is true.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tidegate_scenario::gate::Gate;
use tidegate_scenario::gateway::Gateway;
use tidegate_scenario::http::{Connection, Reply, get, llm_call};
use tidegate_scenario::origin::{Answer, Origin};
use tidegate_scenario::until;

const TOO_BUSY: &str = "Server too busy, please try again later";

/// An origin that answers when the gate lets it, and a gateway before it with these limits.
fn gated(limits: &str) -> (Gate, Origin, Gateway) {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        held.pass();
        Answer::ok("ok")
    });
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n{limits}\n",
        origin.address
    ));
    (gate, origin, gateway)
}

/// Sends a request and leaves the reply for later.
fn asks(gateway: &Gateway) -> Connection {
    let mut connection = Connection::open(gateway.address);
    connection.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    connection
}

/// Waits until `/status` says that so many are in flight and so many wait.
#[track_caller]
fn until_load(gateway: &Gateway, in_flight: u64, waiting: u64) {
    until(&format!("{in_flight} in flight and {waiting} waiting"), || {
        let status = gateway.status();
        let now = (status["current_connections"].as_u64()?, status["queued_requests"].as_u64()?);
        (now == (in_flight, waiting)).then_some(())
    });
}

#[track_caller]
fn is_polite(reply: &Reply, reason: &str) {
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(reply.json()["error"]["message"], TOO_BUSY);
    assert_eq!(reply.field("x-tidegate-reason"), Some(reason));
    let seconds: u64 = reply.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[test]
fn fifteen_hundred_clients_on_a_thousand_places_and_five_hundred_waiting_are_all_answered() {
    let (gate, origin, gateway) =
        gated("limits: { requests: 1000, queue: { size: 500, wait: 20s } }");
    let mut clients: Vec<_> = (0..1500).map(|_| asks(&gateway)).collect();
    until_load(&gateway, 1000, 500);
    until("the origin has them all", || (origin.connections() == 1000).then_some(()));
    assert_eq!(get(gateway.address, "/health").text(), r#"{"status":"full"}"#);
    // Everyone beyond is refused at once, and the others do not notice.
    for _ in 0..100 {
        is_polite(&asks(&gateway).reply(), "busy");
    }
    until_load(&gateway, 1000, 500);
    gate.open();
    for client in &mut clients {
        let reply = client.reply();
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    }
    until_load(&gateway, 0, 0);
    assert_eq!(origin.requests().len(), 1500);
    assert_eq!(get(gateway.address, "/health").text(), r#"{"status":"ok"}"#);
    let status = gateway.status();
    assert_eq!((&status["total_requests"], &status["error_count"]), (&1600.into(), &100.into()));
}

#[test]
fn a_rush_never_puts_more_than_the_limit_in_flight() {
    // What the origin is busy with and the most that it ever was: the truth behind the gauge.
    let busy = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counted = Arc::clone(&busy);
    let origin = Origin::start(move |_| {
        let [now, most] = &*counted;
        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        std::thread::yield_now();
        now.fetch_sub(1, SeqCst);
        Answer::ok("ok")
    });
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\n\
         limits: {{ requests: 20, queue: {{ size: 2000, wait: 20s }} }}\n",
        origin.address
    ));
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..500).map(|_| asks(&gateway)).collect();
        for client in &mut clients {
            assert_eq!(client.reply().status, 200);
            assert!(gateway.status()["current_connections"].as_u64().unwrap() <= 20);
        }
    }
    assert!(busy[1].load(SeqCst) <= 20, "{busy:?}");
    assert_eq!(origin.requests().len(), 1500);
    until_load(&gateway, 0, 0);
}

#[test]
fn ten_are_in_flight_five_wait_and_the_sixteenth_is_refused() {
    let (gate, origin, gateway) = gated("limits: { requests: 10, queue: { size: 5, wait: 20s } }");
    let mut clients: Vec<_> = (0..15).map(|_| asks(&gateway)).collect();
    until_load(&gateway, 10, 5);
    let mut sixteenth = asks(&gateway);
    is_polite(&sixteenth.reply(), "busy");
    // It may try again on the same connection.
    sixteenth.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(sixteenth.reply().status, 200);
    until("the origin has ten", || (origin.connections() == 10).then_some(()));
    // One place becomes free: one of those who wait has it.
    gate.let_one_through();
    until_load(&gateway, 10, 4);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.reply().status == 200));
    until_load(&gateway, 0, 0);
}

#[test]
fn who_waits_for_too_long_is_refused_politely() {
    let (gate, _origin, gateway) =
        gated("limits: { requests: 1, queue: { size: 5, wait: 200ms } }");
    let mut first = asks(&gateway);
    until_load(&gateway, 1, 0);
    is_polite(&asks(&gateway).reply(), "queue_timeout");
    until_load(&gateway, 1, 0);
    gate.open();
    assert_eq!(first.reply().status, 200);
}

#[test]
fn the_time_for_a_body_begins_when_the_wait_for_a_place_is_over() {
    let (gate, origin, gateway) =
        gated("limits: { requests: 1, queue: { size: 5, wait: 20s } }\ntimeouts: { body: 300ms }");
    let mut first = asks(&gateway);
    until_load(&gateway, 1, 0);
    let mut second = Connection::open(gateway.address);
    second.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    until_load(&gateway, 1, 1);
    let began = Instant::now();
    until("the body is late", || (began.elapsed() > Duration::from_millis(400)).then_some(()));
    gate.open();
    assert_eq!(first.reply().status, 200);
    assert!(second.until_seen(b"100 Continue"));
    assert_eq!(second.send(b"body").reply().status, 200);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_queue_of_none_refuses_at_once() {
    let (gate, _origin, gateway) = gated("limits: { requests: 1, queue: { size: 0, wait: 20s } }");
    let mut first = asks(&gateway);
    until_load(&gateway, 1, 0);
    is_polite(&asks(&gateway).reply(), "busy");
    gate.open();
    assert_eq!(first.reply().status, 200);
}

#[test]
fn a_client_that_leaves_the_queue_frees_its_place() {
    let (gate, origin, gateway) = gated("limits: { requests: 1, queue: { size: 1, wait: 20s } }");
    let mut first = asks(&gateway);
    until_load(&gateway, 1, 0);
    let leaving = asks(&gateway);
    until_load(&gateway, 1, 1);
    drop(leaving);
    until_load(&gateway, 1, 0);
    let mut next = asks(&gateway);
    until_load(&gateway, 1, 1);
    gate.open();
    assert_eq!((first.reply().status, next.reply().status), (200, 200));
    assert_eq!(origin.requests().len(), 2, "nobody asked for the one who left");
}

#[test]
fn a_client_that_leaves_while_in_flight_frees_its_place() {
    let (gate, _origin, gateway) = gated("limits: { requests: 1, queue: { size: 1, wait: 20s } }");
    let leaving = asks(&gateway);
    until_load(&gateway, 1, 0);
    let mut next = asks(&gateway);
    until_load(&gateway, 1, 1);
    drop(leaving);
    until_load(&gateway, 1, 0);
    gate.open();
    assert_eq!(next.reply().status, 200);
    until_load(&gateway, 0, 0);
}

#[test]
fn an_upload_that_waits_in_the_queue_keeps_every_byte() {
    let (gate, origin, gateway) = gated("limits: { requests: 1, queue: { size: 2, wait: 20s } }");
    let mut first = asks(&gateway);
    until_load(&gateway, 1, 0);
    let body: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let mut upload = Connection::open(gateway.address);
    let head = format!("PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut writer = upload.stream.try_clone().unwrap();
    let sent = [head.as_bytes(), &body].concat();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &sent));
    until_load(&gateway, 1, 1);
    gate.open();
    assert_eq!(first.reply().status, 200);
    assert_eq!(upload.reply().status, 200);
    sending.join().unwrap().unwrap();
    let requests = origin.requests();
    let received = &requests.iter().find(|seen| seen.line().starts_with("PUT")).unwrap().body;
    assert!(*received == body, "{} of {} bytes", received.len(), body.len());
    assert_eq!(requests.len(), 2, "no part of the body became a request");
}

#[test]
fn high_priority_leaves_the_queue_first_and_low_last() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        held.pass();
        Answer::ok(r#"{"id":"x","object":"chat.completion","choices":[]}"#)
    });
    let gateway = Gateway::start(&format!(
        "providers: {{ app: {{ dialect: openai, base_url: http://{}/v1, api_key: none }} }}\n\
         shards: 1\nlimits: {{ requests: 1, queue: {{ size: 10, wait: 20s }} }}\n\
         callers:\n  - {{ name: h, key: sk-scenario-high-01, priority: high }}\n  \
         - {{ name: n, key: sk-scenario-normal-01 }}\n  \
         - {{ name: l, key: sk-scenario-low-01, priority: low }}\n",
        origin.address
    ));
    let mut clients = Vec::new();
    for (waiting, name) in
        ["normal", "low", "normal", "high", "low", "high", "normal"].into_iter().enumerate()
    {
        let body = format!(r#"{{"model":"{waiting}-{name}","messages":[]}}"#);
        let mut client = Connection::open(gateway.address);
        client.send(&llm_call("/v1/chat/completions", &format!("sk-scenario-{name}-01"), &body));
        clients.push(client);
        until_load(&gateway, 1, waiting as u64);
    }
    gate.open();
    assert!(clients.iter_mut().all(|client| client.reply().status == 200));
    let order: Vec<_> = origin
        .requests()
        .iter()
        .map(|seen| {
            let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
            body["model"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(order, ["0-normal", "3-high", "5-high", "2-normal", "6-normal", "1-low", "4-low"]);
}

#[test]
fn a_refusal_for_load_is_told_in_the_callers_dialect() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        held.pass();
        Answer::ok("{}")
    });
    let gateway = Gateway::start(&format!(
        "providers: {{ app: {{ dialect: openai, base_url: http://{}/v1, api_key: none }} }}\n\
         limits: {{ requests: 1, queue: {{ size: 0 }} }}\n",
        origin.address
    ));
    let key = tidegate_scenario::gateway::KEY;
    let body = r#"{"model":"m","messages":[]}"#;
    let mut first = Connection::open(gateway.address);
    first.send(&llm_call("/v1/chat/completions", key, body));
    until_load(&gateway, 1, 0);
    let refused = |path: &str| {
        let mut client = Connection::open(gateway.address);
        let reply = client.send(&llm_call(path, key, body)).reply();
        assert!(reply.field("retry-after").is_some() && reply.text().contains(TOO_BUSY));
        (reply.status, reply.json())
    };
    let (status, openai) = refused("/v1/chat/completions");
    assert_eq!((status, &openai["error"]["code"]), (503, &"busy".into()));
    let (status, anthropic) = refused("/v1/messages");
    assert!(matches!(status, 503 | 529), "{status}");
    assert_eq!(anthropic["type"], "error");
    assert_eq!(anthropic["error"]["type"], "overloaded_error");
    gate.open();
    first.reply();
}

#[test]
fn a_connection_over_the_limit_is_refused_in_words_and_health_still_answers() {
    let (gate, origin, gateway) = gated("limits: { connections: 20 }\nshards: 1");
    gate.open();
    let mut held: Vec<_> = (0..20)
        .map(|_| {
            let mut connection = asks(&gateway);
            assert_eq!(connection.reply().status, 200);
            connection
        })
        .collect();
    is_polite(&asks(&gateway).reply(), "connections_full");
    assert_eq!(get(gateway.address, "/health").status, 200);
    until("only the twenty are open", || {
        (gateway.status()["open_connections"] == 21).then_some(())
    });
    assert_eq!(gateway.status()["open_connections_limit"], 20);
    // Those within the limit go on.
    let first = &mut held[0];
    assert_eq!(first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reply().status, 200);
    assert_eq!(origin.requests().len(), 21);
    drop(held);
    until("a place is free", || (asks(&gateway).reply().status == 200).then_some(()));
}

#[test]
fn connections_far_beyond_the_limit_are_refused_unread() {
    let (gate, _origin, gateway) = gated("limits: { connections: 5 }\nshards: 1");
    gate.open();
    // The limit, the reserve for /health and /status, and some.
    let mut all: Vec<_> = (0..90).map(|_| Connection::open(gateway.address)).collect();
    let last = all.last_mut().unwrap();
    is_polite(&last.reply(), "connections_full");
    assert_eq!(last.rest(), b"");
    drop(all);
    until("the gateway answers again", || (asks(&gateway).reply().status == 200).then_some(()));
}

#[test]
fn a_body_over_the_limit_is_refused_also_when_it_comes_with_its_head() {
    let origin = Origin::start(|_| Answer::ok("taken"));
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\n\
         routes: [{{ path: /, upstream: app }}]\nlimits: {{ body: 1KiB }}\n",
        origin.address
    ));
    let mut connection = Connection::open(gateway.address);
    for (size, status) in [(1024, 200), (1025, 413), (1024, 200)] {
        let body = "x".repeat(size);
        let request = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{body}");
        let reply = connection.send(request.as_bytes()).reply();
        assert_eq!(reply.status, status, "{size} bytes: {}", reply.text());
    }
}
