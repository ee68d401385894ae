//! Reloads: by signal and by file, right and wrong, one and many, and who may look at the result.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tidegate_lab::provider::{ProviderOptions, spawn_provider};
use tidegate_scenario::gateway::{Gateway, KEY, TOKEN};
use tidegate_scenario::http::{Connection, get, llm_call, once};
use tidegate_scenario::http2_origin::{Http2Origin, Options};
use tidegate_scenario::origin::Origin;
use tidegate_scenario::until;

use super::{provider, stream};

#[track_caller]
fn until_generation(gateway: &Gateway, wanted: u64) {
    until(&format!("generation {wanted}"), || (gateway.generation() == wanted).then_some(()));
}

fn ask(gateway: &Gateway, key: &str, model: &str) -> u16 {
    let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#);
    once(gateway.address, &llm_call("/v1/chat/completions", key, &body)).status
}

#[test]
fn a_reload_swaps_keys_and_models_under_a_running_stream() {
    let old = spawn_provider(ProviderOptions::default()).unwrap();
    let new = spawn_provider(ProviderOptions::default()).unwrap();
    let gateway = Gateway::start(&provider(old.addr));
    let mut running = stream(gateway.address, 100, 20);
    assert_eq!(ask(&gateway, KEY, "lab-echo"), 200);
    gateway.reload(&format!(
        "providers: {{ other: {{ dialect: openai, base_url: http://{}/v1, api_key: none }} }}\n\
         models: [{{ name: gpt-new, to: [{{ provider: other, model: lab-echo }}] }}]\n\
         callers: [{{ name: next, key: sk-scenario-next-001 }}]\n",
        new.addr
    ));
    until_generation(&gateway, 2);
    assert_eq!(ask(&gateway, KEY, "gpt-new"), 401, "the old key is gone");
    assert_eq!(ask(&gateway, "sk-scenario-next-001", "gpt-new"), 200);
    assert_eq!(ask(&gateway, "sk-scenario-next-001", "lab-echo"), 404);
    assert_eq!(new.stats().completed, 1);
    assert_eq!(gateway.status()["current_connections"], 1, "the stream has not ended yet");
    let reply = running.reply();
    assert!(reply.complete && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    assert_eq!((old.stats().completed, old.stats().cancelled), (2, 0));
}

#[test]
fn a_bad_file_changes_nothing_and_the_log_names_the_line() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let good = provider(lab.addr);
    let mut gateway = Gateway::start(&good);
    let mut running = stream(gateway.address, 40, 20);
    // Two lines of the harness, then this.
    gateway.reload(&format!("{good}models:\n  - {{ name: x, to: [nobody] }}\n"));
    gateway.logged("reload refused");
    gateway.logged("tidegate.yaml:6:");
    assert_eq!(gateway.generation(), 1);
    assert_eq!(ask(&gateway, KEY, "lab-echo"), 200);
    gateway.reload("{{{ not yaml");
    assert!(running.reply().complete);
    assert_eq!((gateway.generation(), ask(&gateway, KEY, "lab-echo")), (1, 200));
    // And a good one is taken again.
    gateway.reload(&format!("{good}limits: {{ requests: 77 }}\n"));
    until_generation(&gateway, 2);
    assert_eq!(gateway.status()["max_connections"], 77);
}

#[test]
fn a_changed_file_is_taken_without_a_signal() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let good = provider(lab.addr);
    let gateway = Gateway::start(&good);
    gateway.rewrite(&format!("{good}limits: {{ requests: 78 }}\n"));
    until("the change is seen", || (gateway.status()["max_connections"] == 78).then_some(()));
    assert_eq!(gateway.generation(), 2);
}

#[test]
fn listeners_come_and_go_with_reloads() {
    let origin = Origin::plain();
    let extra: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rest = format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\nroutes: [{{ path: /, upstream: app }}]\n",
        origin.address
    );
    let gateway = Gateway::start(&rest);
    assert!(TcpStream::connect(extra).is_err());
    let mut kept = Connection::open(gateway.address);
    kept.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(kept.reply().status, 200);

    gateway.reload(&format!("listeners: [{{ bind: 127.0.0.1:0 }}, {{ bind: {extra} }}]\n{rest}"));
    until_generation(&gateway, 2);
    let mut on_extra = until("the new listener answers", || {
        TcpStream::connect(extra).is_ok().then(|| Connection::open(extra))
    });
    on_extra.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(on_extra.reply().status, 200);

    gateway.reload(&rest);
    until_generation(&gateway, 3);
    until("the listener is gone", || TcpStream::connect(extra).is_err().then_some(()));
    // Connections that are open stay open, wherever they came in.
    for connection in [&mut kept, &mut on_extra] {
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(connection.reply().status, 200);
    }
}

#[test]
fn an_address_that_cannot_be_bound_refuses_the_reload() {
    let origin = Origin::plain();
    let rest = format!(
        "upstreams: {{ app: {{ endpoints: [http://{}] }} }}\nroutes: [{{ path: /, upstream: app }}]\n",
        origin.address
    );
    let mut gateway = Gateway::start(&rest);
    // The origin has this one.
    gateway.reload(&format!(
        "listeners: [{{ bind: 127.0.0.1:0 }}, {{ bind: {} }}]\n{rest}",
        origin.address
    ));
    gateway.logged(&format!("cannot listen on {}", origin.address));
    assert_eq!((gateway.generation(), get(gateway.address, "/").status), (1, 200));
}

#[test]
fn fifty_reloads_under_load_fail_no_request_and_leak_nothing() {
    let origin = Origin::plain();
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let text = |requests: u64| {
        format!(
            "{}upstreams: {{ app: {{ endpoints: [http://{}] }} }}\n\
             routes: [{{ path: /v1/, llm: true }}, {{ path: /, upstream: app }}]\n\
             limits: {{ requests: {requests} }}\n",
            provider(lab.addr),
            origin.address
        )
    };
    let gateway = Gateway::start(&text(500));
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (stop, answered, address) = (stop.clone(), answered.clone(), gateway.address);
            std::thread::spawn(move || {
                let body = r#"{"model":"lab-echo","messages":[{"role":"user","content":"hi"}]}"#;
                let request = if number % 2 == 0 {
                    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()
                } else {
                    llm_call("/v1/chat/completions", KEY, body)
                };
                let mut connection = Connection::open(address);
                while !stop.load(Relaxed) {
                    let reply = connection.send(&request).reply();
                    assert!(reply.status == 200 && reply.complete, "{reply:?}");
                    answered.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let mut before = (0, 0);
    for reload in 1..=60u64 {
        let goal = answered.load(Relaxed) + 20;
        gateway.reload(&text(500 + reload));
        until_generation(&gateway, reload + 1);
        until("requests go on", || (answered.load(Relaxed) >= goal).then_some(()));
        if reload == 10 {
            before = (gateway.resident(), gateway.open_files());
        }
    }
    let after = (gateway.resident(), gateway.open_files());
    stop.store(true, Relaxed);
    for client in clients {
        client.join().expect("no request fails");
    }
    #[allow(clippy::print_stdout)] // the figures, for whoever looks at a failure
    {
        println!("resident and files after 10 reloads {before:?}, after 60 {after:?}");
    }
    assert!(after.0 * 10 <= before.0 * 13, "resident memory: {before:?}, {after:?}");
    // The admin connections of the test come and go.
    assert!(after.1 <= before.1 + 4, "open files: {before:?}, {after:?}");
    assert_eq!(gateway.status()["error_count"], 0);
}

#[test]
fn the_admin_listener_demands_its_token_and_shows_no_secret() {
    let lab = spawn_provider(ProviderOptions::default()).unwrap();
    let secret = "sk-provider-secret-4711";
    let gateway = Gateway::start(&format!(
        "providers: {{ lab: {{ dialect: openai, base_url: http://{}/v1, api_key: {secret} }} }}\n",
        lab.addr
    ));
    for path in ["/metrics", "/api/v1/config", "/api/monitor/health", "/nothing"] {
        for fields in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic eDp5\r\n"] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n");
            let reply = once(gateway.admin, request.as_bytes());
            assert_eq!(reply.status, 401, "{path} with {fields:?}");
            assert!(reply.field("www-authenticate").is_some(), "{path}");
        }
    }
    let reply = gateway.admin("/api/v1/config");
    assert_eq!(reply.status, 200);
    let text = reply.text();
    assert!(text.contains(&lab.addr.to_string()) && text.contains("\"dev\""), "{text}");
    for hidden in [secret, KEY, TOKEN] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    let metrics = gateway.admin("/metrics").text();
    for hidden in [secret, KEY, TOKEN] {
        assert!(!metrics.contains(hidden), "{hidden} in the metrics");
    }
    // And the admin's paths are not on the listener of the callers.
    assert_eq!(get(gateway.address, "/metrics").status, 404);
}

#[test]
fn idle_connections_to_an_endpoint_that_is_taken_out_are_closed() {
    let (stays, goes) = (Origin::plain(), Origin::plain());
    let other = Http2Origin::start(Options::default());
    let to = |endpoints: &str, http2: &str| {
        format!(
            "upstreams:\n  app: {{ endpoints: [{endpoints}] }}\n{http2}\
             routes:\n  - {{ path: /, upstream: app }}\n{}\
             shards: 1\ntimeouts: {{ upstream_idle: 1h }}\n",
            if http2.is_empty() { "" } else { "  - { path: /h2/, upstream: other }\n" }
        )
    };
    let both = format!("http://{}, http://{}", stays.address, goes.address);
    let http2 = format!("  other: {{ endpoints: [http://{}], protocol: http2 }}\n", other.address);
    let gateway = Gateway::start(&to(&both, &http2));
    for path in ["/", "/", "/h2/"] {
        assert_eq!(get(gateway.address, path).status, 200);
    }
    let idle = || gateway.metric("tidegate_pool_idle_connections", "");
    until("one is kept for each", || (idle() == 2.0 && other.open() == 1).then_some(()));
    gateway.reload(&to(&format!("http://{}", stays.address), ""));
    until("theirs are closed", || (idle() == 1.0 && other.open() == 0).then_some(()));
    assert_eq!(get(gateway.address, "/").status, 200);
    assert_eq!(stays.connections(), 1, "the one that stays keeps its own");
}
