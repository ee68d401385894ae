//! Each kind of problem, as the line that the operator reads.

use tidegate_config::{Problems, load};

fn env(name: &str) -> Option<String> {
    match name {
        "EMPTY" => Some(String::new()),
        "SECRET" => Some("sk-never-shown".to_owned()),
        _ => None,
    }
}

/// Every line that loading `text` reports: problems, or warnings if there are none.
fn report(text: &str) -> String {
    match load(text, "t.yaml", &env) {
        Ok(loaded) => Problems(loaded.warnings).to_string(),
        Err(problems) => problems.to_string(),
    }
}

/// A configuration that serves something, before the lines of the case.
const SERVES: &str = "\
upstreams: { app: { endpoints: [http://127.0.0.1:1] } }
routes: [{ upstream: app }]
";

fn report_more(lines: &str) -> String {
    report(&format!("{SERVES}{lines}"))
}

#[test]
fn nothing_is_said_about_a_good_file() {
    assert_eq!(report(SERVES), "");
}

#[test]
fn an_empty_file_serves_nothing() {
    for text in ["", "# nothing\n", "---\n", "null"] {
        assert_eq!(
            report(text),
            "t.yaml: routes: nothing to serve: add providers for LLM traffic, or upstreams and routes to them"
        );
    }
}

#[test]
fn text_that_is_not_yaml_is_located() {
    insta::assert_snapshot!(report("listeners:\n  - bind: [1\nroutes: {}\n"), @"t.yaml:3:7: this is not YAML: illegal placement of ':' indicator");
    insta::assert_snapshot!(report("a: \"b\nc: d"), @"t.yaml:2:1: this is not YAML: invalid indentation in multiline quoted scalar");
    insta::assert_snapshot!(report("limits:\n\trequests: 1"), @"t.yaml:2:2: this is not YAML: tabs disallowed within this context (block indentation)");
    insta::assert_snapshot!(report("limits: *nowhere"), @"t.yaml:1:9: this is not YAML: while parsing node, found unknown anchor");
}

#[test]
fn what_is_no_mapping_is_no_configuration() {
    insta::assert_snapshot!(report("hello"), @"t.yaml:1:1: needs a mapping of keys and values, not a single value");
    insta::assert_snapshot!(report("- a\n- b"), @"t.yaml:1:1: needs a mapping of keys and values, not a list");
    insta::assert_snapshot!(report("a: 1\n---\nb: 2"), @"t.yaml:2:1: a second document starts here: a configuration is one document");
}

#[test]
fn unknown_keys_come_with_what_was_meant() {
    insta::assert_snapshot!(report_more("lisetners: []\nlimits:\n  conections: 1\n  quue: {}\nlog: { colour: red }\nwhat: 1"), @r#"
    t.yaml:3:1: lisetners: unknown key; did you mean "listeners"?
    t.yaml:5:3: limits.conections: unknown key; did you mean "connections"?
    t.yaml:6:3: limits.quue: unknown key; did you mean "queue"?
    t.yaml:7:8: log.colour: unknown key; known here: format, level
    t.yaml:8:1: what: unknown key; known here: admin, allow_anonymous, callers, limits, listeners, log, models, providers, resolver, retry, routes, shards, timeouts, upstreams
    "#);
}

#[test]
fn a_key_that_stands_twice_is_reported() {
    insta::assert_snapshot!(report_more("limits: { requests: 1, requests: 2 }\nlog: {}\nlog: {}\n[1]: 2"), @r#"
    t.yaml:3:24: the key "requests" stands here a second time
    t.yaml:5:1: the key "log" stands here a second time
    t.yaml:6:1: a key must be a single word
    "#);
}

#[test]
fn values_of_another_kind_are_reported() {
    insta::assert_snapshot!(report_more("\
listeners: 1
limits:
  connections: many
  requests: 1.5
  queue: 3
  memory: 2 gigs
  head: [1]
timeouts: { connect: 5, request: 2 minutes, stream: }
allow_anonymous: yes
callers: { name: a }
shards: -1
admin: { bind: localhost:9091, token: {} }
log: { level: dbg, format: xml }
"), @r#"
    t.yaml:3:12: listeners: needs a list, not a single value
    t.yaml:5:16: limits.connections: "many" is not a whole number
    t.yaml:6:13: limits.requests: "1.5" is not a whole number
    t.yaml:7:10: limits.queue: needs a mapping of keys and values, not a single value
    t.yaml:8:11: limits.memory: "2 gigs" is not a size: write a whole number of bytes or one with a unit, such as 64KiB, 10MB or 2GiB
    t.yaml:9:9: limits.head: needs a size such as 64KiB, not a list
    t.yaml:10:22: timeouts.connect: "5" has no unit: write 5s for seconds or 5ms for milliseconds
    t.yaml:10:34: timeouts.request: "2 minutes" is not a duration: write a whole number and a unit (ms, s, m or h), such as 250ms, 2s or 15m
    t.yaml:10:45: timeouts.stream: has no value; needs a duration such as 2s
    t.yaml:11:18: allow_anonymous: "yes" is neither true nor false
    t.yaml:12:10: callers: needs a list, not a mapping
    t.yaml:13:9: shards: "-1" is not a whole number
    t.yaml:14:16: admin.bind: "localhost:9091" is not an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080
    t.yaml:14:39: admin.token: needs a text, not a mapping
    t.yaml:15:15: log.level: "dbg" is none of error, warn, info, debug, trace
    t.yaml:15:28: log.format: "xml" is none of text, json
    "#);
}

#[test]
fn numbers_out_of_range_are_reported() {
    insta::assert_snapshot!(report_more("\
shards: 0
limits: { connections: 0, requests: 4294967296, queue: { size: 2000000, wait: 0s }, memory: 1MiB, head: 1KiB, body: 1TiB, stream_buffer: 0 }
timeouts: { head: 0s, stream: 25h, heartbeat: 0s }
retry: { attempts: 11, delay: 10s, on: [500, 503, 503, x], budget_percent: 101, cooldown: { failures: 0, period: 0 } }
"), @r#"
    t.yaml:3:9: shards: 0 is outside 1 to 1024
    t.yaml:4:24: limits.connections: 0 is outside 1 to 10000000
    t.yaml:4:37: limits.requests: "4294967296" is more than 4294967295
    t.yaml:4:64: limits.queue.size: 2000000 is outside 0 to 1000000
    t.yaml:4:79: limits.queue.wait: must be more than zero
    t.yaml:4:93: limits.memory: 1MiB is outside 64MiB to 16TiB
    t.yaml:4:105: limits.head: 1KiB is outside 4KiB to 64KiB
    t.yaml:4:117: limits.body: 1TiB is outside 1KiB to 16GiB
    t.yaml:4:138: limits.stream_buffer: 0 is outside 1KiB to 16MiB
    t.yaml:5:19: timeouts.head: must be more than zero
    t.yaml:5:31: timeouts.stream: must be at most 24h
    t.yaml:6:8: retry.delay_max: must not be less than retry.delay
    t.yaml:6:20: retry.attempts: 11 is outside 1 to 10
    t.yaml:6:41: retry.on[0]: 500 is outside 502 to 504
    t.yaml:6:51: retry.on[2]: the same status as retry.on[1]
    t.yaml:6:56: retry.on[3]: "x" is not a whole number
    t.yaml:6:76: retry.budget_percent: 101 is outside 0 to 100
    t.yaml:6:103: retry.cooldown.failures: 0 is outside 1 to 1000
    t.yaml:6:114: retry.cooldown.period: must be more than zero
    "#);
}

#[test]
fn missing_keys_are_reported() {
    insta::assert_snapshot!(report_more("\
listeners: [{}]
admin: {}
callers: [{}]
models: [{}]
"), @r#"
    t.yaml:3:13: listeners[0].bind: is missing
    t.yaml:4:8: admin.token: is missing
    t.yaml:5:11: callers[0].name: is missing
    t.yaml:5:11: callers[0].key: is missing
    t.yaml:6:10: models[0].name: is missing
    t.yaml:6:10: models[0].to: is missing
    "#);
}

#[test]
fn addresses_that_exclude_each_other_are_reported() {
    insta::assert_snapshot!(report_more("\
listeners:
  - { bind: 127.0.0.1:8080 }
  - { bind: 0.0.0.0:8080 }
  - { bind: 127.0.0.1:0 }
  - { bind: 127.0.0.1:0 }
  - { bind: \"[::1]:8080\" }
admin: { bind: 127.0.0.1:8080, token: t }
"), @r#"
    t.yaml:5:13: listeners[1].bind: 0.0.0.0:8080 is already taken by listeners[0].bind
    t.yaml:9:16: admin.bind: 127.0.0.1:8080 is already taken by listeners[0].bind
    "#);
    insta::assert_snapshot!(report_more("listeners: []"), @"t.yaml:3:12: listeners: needs at least one listener");
}

#[test]
fn keys_of_a_listener_that_do_not_go_together_are_reported() {
    insta::assert_snapshot!(report_more("\
listeners:
  - bind: 127.0.0.1:1
    client_ca: ca.pem
    tls_min: 1.3
  - bind: 127.0.0.1:2
    tls: [{ cert: a.pem }, { cert: \"\", key: b.key }, { cert: c.pem, key: c.key, ca: d.pem }]
    client_auth: optional
  - bind: 127.0.0.1:3
    tls_min: \"1.1\"
    proxy_protocol: true
    trusted_proxies: [10.0.0.0/8, 10.0.0.1/8, 300.0.0.1, \"::/129\"]
  - { bind: 127.0.0.1:4, tls: a.pem, client_auth: optionl }
"), @r#"
    t.yaml:5:16: listeners[0].client_ca: needs `tls` with a certificate
    t.yaml:6:14: listeners[0].tls_min: needs `tls` with a certificate
    t.yaml:8:11: listeners[1].tls[0].key: is missing
    t.yaml:8:36: listeners[1].tls[1].cert: is empty
    t.yaml:8:81: listeners[1].tls[2].ca: unknown key; known here: cert, key
    t.yaml:9:18: listeners[1].client_auth: needs `client_ca`: there is nobody whose certificates could be believed
    t.yaml:11:14: listeners[2].tls_min: "1.1" is none of 1.2, 1.3; did you mean "1.2"?
    t.yaml:13:35: listeners[2].trusted_proxies[1]: the bits after the first 8 are not zero; the range begins at 10.0.0.0
    t.yaml:13:47: listeners[2].trusted_proxies[2]: this is neither an IP address nor a range such as 10.0.0.0/8 or fd00::/8
    t.yaml:13:58: listeners[2].trusted_proxies[3]: after the slash stands how many bits count: 0 to 128
    t.yaml:14:31: listeners[3].tls: needs a list, not a single value
    t.yaml:14:51: listeners[3].client_auth: "optionl" is none of required, optional; did you mean "optional"?
    "#);
}

#[test]
fn an_admin_listener_on_a_network_needs_a_long_token() {
    insta::assert_snapshot!(report_more("admin: { bind: 0.0.0.0:9091, token: fifteen-letters }"), @"t.yaml:3:37: admin.token: must have 16 characters or more, because admin.bind 0.0.0.0:9091 is not loopback");
    assert_eq!(report_more("admin: { bind: 0.0.0.0:9091, token: sixteen-letters- }"), "");
    insta::assert_snapshot!(report_more("admin: { token: \"two words\" }"), @"t.yaml:3:17: admin.token: must be visible ASCII characters without spaces");
    insta::assert_snapshot!(report_more("admin: { token: \"\" }"), @"t.yaml:3:17: admin.token: is empty");
}

#[test]
fn references_that_cannot_be_read_are_located() {
    insta::assert_snapshot!(report_more("\
admin: { token: \"${NOWHERE}\" }
callers:
  - { name: a, key: \"${EMPTY}\" }
  - { name: \"${x y}\", key: \"${SECRET\" }
limits: { requests: \"${SECRET}\", memory: \"${SECRET}\" }
"), @r#"
    t.yaml:3:17: admin.token: the environment variable NOWHERE is not set: set it, or write ${NOWHERE:-default}
    t.yaml:5:21: callers[0].key: the environment variable EMPTY is empty
    t.yaml:6:13: callers[1].name: "${x y}" is not a reference: write ${NAME} or ${NAME:-default}, or $${ for the two characters themselves
    t.yaml:6:28: callers[1].key: "${" without its "}": write ${NAME}, or $${ for the two characters themselves
    t.yaml:7:21: limits.requests: needs a whole number; "${SECRET}" holds none
    t.yaml:7:42: limits.memory: needs a size such as 64KiB; "${SECRET}" holds none
    "#);
}

#[test]
fn bad_callers_are_reported() {
    insta::assert_snapshot!(report_more("\
callers:
  - { name: a, key: sk-a-00001 }
  - { name: a, key: sk-b-00001 }
  - { name: b, key: sk-a-00001 }
  - { name: \"\", key: \"with space\" }
  - { name: c, key: sk-c-00001, priority: hihg }
"), @r#"
    t.yaml:5:13: callers[1].name: the same name as callers[0].name
    t.yaml:6:21: callers[2].key: the same key as callers[0].key
    t.yaml:7:13: callers[3].name: must be 1 to 256 bytes without control characters
    t.yaml:7:22: callers[3].key: must be visible ASCII characters without spaces
    t.yaml:8:43: callers[4].priority: "hihg" is none of low, normal, high; did you mean "high"?
    "#);
    insta::assert_snapshot!(report_more("callers: [{ name: a, key: short }]"), @"t.yaml:3:27: callers[0].key: has fewer than 8 characters: it can be found by trying");
}

#[test]
fn llm_routes_without_callers_are_refused_unless_asked_for() {
    insta::assert_snapshot!(report("providers: { ollama: {} }"), @"t.yaml: callers: LLM routes need callers with keys: add one, or write allow_anonymous: true to serve anyone");
    assert_eq!(report("providers: { ollama: {} }\nallow_anonymous: true"), "");
    insta::assert_snapshot!(
        report("providers: { ollama: {} }\nallow_anonymous: true\ncallers: [{ name: a, key: sk-a-00001 }]"),
        @"t.yaml:2:18: allow_anonymous: LLM routes serve anyone although there are callers with keys"
    );
}

#[test]
fn bad_providers_are_reported() {
    insta::assert_snapshot!(report("\
callers: [{ name: a, key: sk-a-00001 }]
providers:
  opnai: { api_key: k }
  openai: {}
  mine: { base_url: http://127.0.0.1:1 }
  other: { vendor: gorq, api_key: k }
  \"bad name\": { dialect: openai, base_url: http://h }
  a: { dialect: opanai, base_url: http://h }
  b: { dialect: openai, base_url: ftp://h/x }
  c: { dialect: openai, base_url: http://user:secret@h/x }
  d: { dialect: openai, base_url: http://h, api_key: \"a b\", weight: 1000001, connections_max: 0 }
  e: { dialect: openai, base_url: http://h, egress: socks4://1.2.3.4:5 }
  f: { dialect: openai, base_url: http://h, egress: http://user:secret@h }
  g: { dialect: openai, base_url: http://h, headers: { Content-Length: 1, \"a b\": c, x: \" y\", A: 1, a: 2 } }
  h: { dialect: openai, base_url: http://h, timeouts: { connect: 0s, stream: 5 } }
  i: { dialect: openai, base_url: /v1 }
  j: { dialect: openai, base_url: \"http://h:0\" }
  k: 3
"), @r#"
    t.yaml:3:10: providers.opnai: "opnai" is no known vendor: a provider of your own needs base_url and dialect; did you mean "openai"?
    t.yaml:4:11: providers.openai.api_key: is missing: write "${OPENAI_API_KEY}", or none to send no key
    t.yaml:5:9: providers.mine.dialect: is missing: write openai or anthropic
    t.yaml:6:20: providers.other.vendor: no vendor is named "gorq"; did you mean "groq"?
    t.yaml:7:15: providers.bad name: a name has 1 to 64 letters, digits, ".", "_" or "-"
    t.yaml:8:17: providers.a.dialect: "opanai" is none of openai, anthropic; did you mean "openai"?
    t.yaml:9:35: providers.b.base_url: an address begins with http:// or https://
    t.yaml:10:35: providers.c.base_url: an address holds no user or password: keys belong into api_key
    t.yaml:11:54: providers.d.api_key: must be visible ASCII characters without spaces
    t.yaml:11:69: providers.d.weight: 1000001 is outside 0 to 1000000
    t.yaml:11:95: providers.d.connections_max: must be 1 or more
    t.yaml:12:53: providers.e.egress: an egress proxy begins with http:// or socks5://
    t.yaml:13:53: providers.f.egress: an egress proxy needs its port, such as socks5://127.0.0.1:1080
    t.yaml:14:72: providers.g.headers.Content-Length: this header field belongs to the connection and is set by the gateway
    t.yaml:14:82: providers.g.headers.a b: this is not the name of a header field
    t.yaml:14:88: providers.g.headers.x: a header field's value has no control characters and no spaces around it
    t.yaml:14:103: providers.g.headers.a: the same header field as providers.g.headers.A
    t.yaml:15:66: providers.h.timeouts.connect: must be more than zero
    t.yaml:15:78: providers.h.timeouts.stream: "5" has no unit: write 5s for seconds or 5ms for milliseconds
    t.yaml:16:35: providers.i.base_url: this is not a URL: it does not begin with a scheme such as http://
    t.yaml:17:35: providers.j.base_url: port 0 cannot be connected to
    t.yaml:18:6: providers.k: needs a mapping of keys and values, not a single value
    "#);
}

#[test]
fn odd_providers_are_warned_of() {
    insta::assert_snapshot!(report("\
callers: [{ name: a, key: sk-a-00001 }]
providers:
  ollama: {}
  vllm: {}
  far: { dialect: openai, base_url: http://far.example/v1, api_key: k }
models: [{ name: m, to: [ollama, far] }]
"), @r#"
    t.yaml:4:9: providers.vllm: no model leads to it
    t.yaml:5:37: providers.far.base_url: the key goes to far.example without encryption
    "#);
}

#[test]
fn bad_models_are_reported() {
    insta::assert_snapshot!(report("\
callers: [{ name: a, key: sk-a-00001 }]
providers: { ollama: {}, vllm: { weight: 0 } }
models:
  - { name: a, to: [olama] }
  - { name: a, to: [ollama, { provider: ollma }] }
  - { name: b*c, to: [] }
  - { name: \"\", to: [ollama, ollama], balance: random }
  - { name: d, to: [vllm, { provider: ollama, weight: 0 }] }
  - { name: e, to: [{ provider: ollama, model: \"\", weight: 1000001 }] }
  - { name: f, to: ollama }
"), @r#"
    t.yaml:4:21: models[0].to[0]: no provider is named "olama"; did you mean "ollama"?
    t.yaml:5:13: models[1].name: the same model name as models[0].name
    t.yaml:5:41: models[1].to[1].provider: no provider is named "ollma"; did you mean "ollama"?
    t.yaml:6:13: models[2].name: a "*" may stand at the end only
    t.yaml:6:22: models[2].to: needs at least one provider
    t.yaml:7:13: models[3].name: must be 1 to 256 bytes without control characters
    t.yaml:7:30: models[3].to[1]: the same provider and model as models[3].to[0]
    t.yaml:7:48: models[3].balance: "random" is none of weighted, priority, round_robin
    t.yaml:8:20: models[4].to: every provider here has weight 0: none could ever be chosen
    t.yaml:9:48: models[5].to[0].model: must be 1 to 256 bytes without control characters
    t.yaml:9:60: models[5].to[0].weight: 1000001 is outside 0 to 1000000
    t.yaml:10:20: models[6].to: needs a list, not a single value
    "#);
}

#[test]
fn bad_upstreams_are_reported() {
    insta::assert_snapshot!(report("\
upstreams:
  a: { endpoints: [] }
  b: { endpoints: [http://h:1, http://H:1/, http://h:1/path, h:1, { url: http://x, weight: 1000001, connections_max: 0 }] }
  c: { endpoints: [{ url: http://h, weight: 0 }], balance: weighted_round_robin }
  d: { endpoints: [http://h], balance: { http: least_conections, ws: random } }
  e: { endpoints: [http://h], health: { path: up, interval: 1s, timeout: 2s, failures: 0 } }
  f: { balance: random }
  \"g h\": { endpoints: [http://h] }
routes: [{ path: /a, upstream: a }, { path: /b, upstream: b }, { path: /c, upstream: c }, { path: /d, upstream: d }, { path: /e, upstream: e }, { path: /f, upstream: f }]
"), @r#"
    t.yaml:2:19: upstreams.a.endpoints: needs at least one endpoint
    t.yaml:3:32: upstreams.b.endpoints[1]: the same endpoint as upstreams.b.endpoints[0]
    t.yaml:3:45: upstreams.b.endpoints[2]: an endpoint has no path: the request's own path is sent
    t.yaml:3:62: upstreams.b.endpoints[3]: an address begins with http:// or https://
    t.yaml:3:92: upstreams.b.endpoints[4].weight: 1000001 is outside 0 to 1000000
    t.yaml:3:118: upstreams.b.endpoints[4].connections_max: must be 1 or more
    t.yaml:4:19: upstreams.c.endpoints: every endpoint has weight 0: none could ever be chosen
    t.yaml:5:48: upstreams.d.balance.http: "least_conections" is none of round_robin, weighted_round_robin, random, least_connections, p2c, peak_ewma, ip_hash, consistent_hash, maglev, performance; did you mean "least_connections"?
    t.yaml:5:66: upstreams.d.balance.ws: unknown key; known here: http, sse, websocket
    t.yaml:6:47: upstreams.e.health.path: must begin with "/" and hold no spaces
    t.yaml:6:74: upstreams.e.health.timeout: must not be more than the interval
    t.yaml:6:88: upstreams.e.health.failures: 0 is outside 1 to 1000
    t.yaml:7:6: upstreams.f.endpoints: is missing
    t.yaml:8:10: upstreams.g h: a name has 1 to 64 letters, digits, ".", "_" or "-"
    "#);
    insta::assert_snapshot!(
        report(&SERVES.replace("app: {", "idle: { endpoints: [http://127.0.0.1:2] }, app: {")),
        @"t.yaml:1:20: upstreams.idle: no route leads to it"
    );
}

#[test]
fn upstreams_whose_connections_cannot_be_opened_so_are_reported() {
    insta::assert_snapshot!(report("\
upstreams:
  a: { endpoints: [\"unix:app.sock\", \"unix:/a\", \"unix:/a\"], protocol: auto }
  b: { endpoints: [https://h], ca_file: a.pem, tls: { ca: b.pem, cert: c.pem, server_name: \"a b\" } }
  c: { endpoints: [http://h], tls: { key: k.pem }, protocol: http2, proxy_protocol: v1 }
  d: { endpoints: [http://h], protocol: h2, proxy_protocol: v3 }
routes: [{ path: /a, upstream: a }, { path: /b, upstream: b }, { path: /c, upstream: c }, { path: /d, upstream: d }]
"), @r#"
    t.yaml:2:20: upstreams.a.endpoints[0]: a Unix socket is written unix:/path/to.sock, or unix:@name for an abstract one
    t.yaml:2:48: upstreams.a.endpoints[2]: the same endpoint as upstreams.a.endpoints[1]
    t.yaml:3:41: upstreams.b.ca_file: is the same as tls.ca: write one of them
    t.yaml:3:72: upstreams.b.tls.cert: needs its key: add tls.key
    t.yaml:3:92: upstreams.b.tls.server_name: is a host name or an IP address
    t.yaml:4:43: upstreams.c.tls.key: needs its certificate: add tls.cert
    t.yaml:4:85: upstreams.c.proxy_protocol: goes with protocol http1 only: a connection of HTTP/2 carries many callers
    t.yaml:5:41: upstreams.d.protocol: "h2" is none of http1, http2, auto
    t.yaml:5:61: upstreams.d.proxy_protocol: "v3" is none of v1, v2; did you mean "v1"?
    "#);
}

#[test]
fn bad_routes_are_reported() {
    insta::assert_snapshot!(report("\
upstreams: { app: { endpoints: [http://127.0.0.1:1] } }
routes:
  - { upstream: app }
  - { path: /, upstream: ap }
  - { path: x, upstream: app }
  - { path: \"/a b\", upstream: app }
  - { path: /a/../b, upstream: app }
  - { path: /c }
  - { path: /v1/, upstream: app, llm: true }
  - { path: /openai/, llm: true }
  - { host: \"app.*.example.com\", upstream: app }
  - { host: \"example.com:80\", upstream: app }
  - { host: \"http://example.com\", upstream: app }
  - { host: bücher.example, upstream: app }
  - { host: Example.com, upstream: app }
  - { host: example.COM, upstream: app }
  - { host: \"[::1]\", upstream: app }
"), @r#"
    t.yaml:4:5: routes[1]: the same host and path as routes[0]
    t.yaml:4:26: routes[1].upstream: no upstream is named "ap"; did you mean "app"?
    t.yaml:5:13: routes[2].path: must begin with "/"
    t.yaml:6:13: routes[3].path: must be a plain path: visible ASCII without ?, #, /./ and /../
    t.yaml:7:13: routes[4].path: must be a plain path: visible ASCII without ?, #, /./ and /../
    t.yaml:8:5: routes[5]: leads nowhere: write llm: true or name an upstream, a split, a redirect or a reply
    t.yaml:9:5: routes[6]: leads to both: keep llm: true or the upstream
    t.yaml:10:13: routes[7].path: must be the beginning of a path under /v1/, where the LLM API lives
    t.yaml:10:28: routes[7].llm: there are no providers that it could lead to
    t.yaml:11:13: routes[8].host: must be one host name or *. and a domain: leave it out to match any host
    t.yaml:12:13: routes[9].host: must be a host name without a port
    t.yaml:13:13: routes[10].host: must be a host name alone, without scheme and path
    t.yaml:14:13: routes[11].host: must be ASCII: write an international name in its xn-- form
    t.yaml:16:5: routes[13]: the same host and path as routes[12]
    t.yaml: callers: LLM routes need callers with keys: add one, or write allow_anonymous: true to serve anyone
    "#);
}

#[test]
fn bad_parts_of_routes_are_reported() {
    insta::assert_snapshot!(report("\
upstreams: { app: { endpoints: [http://127.0.0.1:1] }, new: { endpoints: [http://127.0.0.1:2] } }
routes:
  - { path: /a, path_exact: /b, upstream: app }
  - { path_pattern: \"^/u/(\", upstream: app }
  - { path: /m, methods: [get, \"A B\", TRACE], headers: { \"A B\": x, X: \" x\" }, upstream: app }
  - { path: /s, split: [{ upstream: app, weight: 0 }, { upstream: nwe, weight: 0 }, { upstream: app, weight: 0 }] }
  - { path: /d, upstream: app, redirect: { to: /x }, reply: {} }
  - { path: /r, redirect: { to: \"ftp://{hots}\", status: 200 }, mirror: { upstream: new } }
  - { path: /r/b, redirect: { to: \"https://{hots}/\" } }
  - { path: /f, reply: { status: 204, body: x, headers: { Content-Length: \"1\", X: \"a\\nb\" } }, rewrite: { prefix: / } }
  - { path: /w, upstream: app, rewrite: { prefix: x } }
  - { path: /w/, upstream: app, rewrite: { pattern: \"^/(a\", to: /$1 } }
  - { path: /w/b, upstream: app, rewrite: { pattern: \"^/(a)\", to: /$2 } }
  - { path: /w/c, upstream: app, rewrite: { to: / } }
  - path: /h
    upstream: app
    request_headers: { set: { Host: a b, Upgrade: x, X-A: x }, add: { Host: h, X-Forwarded-For: x }, remove: [X-A, te] }
    reply_headers: { set: { Host: x, x-b: 1, X-B: 2 } }
  - { path: /t, upstream: app, mirror: { upstream: nobody, percent: 0 }, timeouts: { request: 0s }, limits: { body: 17GiB, head: 1KiB } }
"), @r#"
    t.yaml:3:5: routes[0]: keep one of path, path_exact and path_pattern
    t.yaml:4:21: routes[1].path_pattern: is no pattern: unclosed group
    t.yaml:5:27: routes[2].methods[0]: methods are in upper case; did you mean "GET"?
    t.yaml:5:32: routes[2].methods[1]: "A B" is no method that is served
    t.yaml:5:39: routes[2].methods[2]: "TRACE" is no method that is served
    t.yaml:5:65: routes[2].headers.A B: this is not the name of a header field
    t.yaml:5:71: routes[2].headers.X: a header field's value has no control characters and no spaces around it
    t.yaml:6:24: routes[3].split: every share has weight 0: none could ever be chosen
    t.yaml:6:67: routes[3].split[1].upstream: no upstream is named "nwe"; did you mean "new"?
    t.yaml:6:85: routes[3].split[2]: the same upstream as routes[3].split[0]
    t.yaml:7:5: routes[4]: leads to several: keep one of the upstream, the redirect, the reply
    t.yaml:8:33: routes[5].redirect.to: must begin with http://, https://, {scheme}://, {path} or "/"
    t.yaml:8:57: routes[5].redirect.status: must be 301, 302, 303, 307 or 308
    t.yaml:8:72: routes[5].mirror: has no meaning here: nothing is sent to an endpoint
    t.yaml:9:35: routes[6].redirect.to: {hots} is none of {scheme}, {host}, {path} and {query}
    t.yaml:10:45: routes[7].reply.body: a reply with this status has no body
    t.yaml:10:75: routes[7].reply.headers.Content-Length: this header field belongs to the gateway and cannot be changed
    t.yaml:10:83: routes[7].reply.headers.X: a header field's value has no control characters and no spaces around it
    t.yaml:10:104: routes[7].rewrite: has no meaning here: nothing is sent to an endpoint
    t.yaml:11:51: routes[8].rewrite.prefix: must be a plain path that begins with "/"
    t.yaml:12:53: routes[9].rewrite.pattern: unclosed group
    t.yaml:13:67: routes[10].rewrite.to: $2 is no group of the pattern; a dollar sign of its own is written $$
    t.yaml:14:43: routes[11].rewrite: needs a prefix, or a pattern and to
    t.yaml:17:37: routes[12].request_headers.set.Host: must be one host
    t.yaml:17:51: routes[12].request_headers.set.Upgrade: this header field belongs to the gateway and cannot be changed
    t.yaml:17:77: routes[12].request_headers.add.Host: this header field belongs to the gateway and cannot be changed
    t.yaml:17:97: routes[12].request_headers.add.X-Forwarded-For: this header field belongs to the gateway and cannot be changed
    t.yaml:17:111: routes[12].request_headers.remove[0]: this header field is set, which removes it anyway
    t.yaml:17:116: routes[12].request_headers.remove[1]: this header field belongs to the gateway and cannot be changed
    t.yaml:18:35: routes[12].reply_headers.set.Host: this header field belongs to the gateway and cannot be changed
    t.yaml:18:51: routes[12].reply_headers.set.X-B: the same header field as routes[12].reply_headers.set.x-b
    t.yaml:19:52: routes[13].mirror.upstream: no upstream is named "nobody"
    t.yaml:19:69: routes[13].mirror.percent: 0 is outside 1 to 100
    t.yaml:19:95: routes[13].timeouts.request: must be more than zero
    t.yaml:19:117: routes[13].limits.body: 17GiB is outside 1KiB to 16GiB
    t.yaml:19:124: routes[13].limits.head: unknown key; known here: body
    "#);
}

#[test]
fn routes_that_cannot_be_reached_are_reported() {
    insta::assert_snapshot!(report("\
upstreams: { app: { endpoints: [http://127.0.0.1:1] } }
routes:
  - { path: /, upstream: app }
  - { path: /, methods: [GET], upstream: app }
  - { path: /, methods: [HEAD], upstream: app }
  - { path: /api/v1/, upstream: app }
  - { path_pattern: \"^/api/\", upstream: app }
  - { path_exact: /api/v1/x, upstream: app }
  - { host: a.example, path: /api/v1/, upstream: app }
"), @r"
    t.yaml:5:5: routes[2]: is never reached: routes[1] takes all that it would
    t.yaml:6:5: routes[3]: is never reached: routes[4] takes all that it would
    ");
    insta::assert_snapshot!(report("\
upstreams: { app: { endpoints: [http://127.0.0.1:1] } }
routes:
  - { path_exact: /, methods: [GET], upstream: app }
  - { path_exact: /, methods: [GET], upstream: app }
"), @"t.yaml:4:5: routes[1]: asks for the same as routes[0]");
}

#[test]
fn a_file_that_is_too_big_is_refused() {
    let text = format!("{SERVES}{}", "#".repeat(1 << 20));
    insta::assert_snapshot!(report(&text), @"t.yaml: the file has 1048660 bytes; at most 1048576 are read");
}

#[test]
fn alias_bombs_are_refused() {
    let first = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    let bomb = (1..20).fold(first, |bomb, level| {
        let before = format!("*a{}", level - 1);
        format!("{bomb}a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", "))
    });
    assert!(
        report(&bomb).ends_with("too many values, copies made by aliases included"),
        "{}",
        report(&bomb)
    );
    let long = "x".repeat(1 << 19);
    let copies = "*a, ".repeat(100_000);
    let text = format!("a: &a {long}\nb: [{copies}]");
    assert!(report(&text).ends_with("too many values, copies made by aliases included"));
    insta::assert_snapshot!(report("a: &a [*a]"), @"t.yaml:1:8: this alias stands inside the value that it repeats");
}

#[test]
fn deep_nesting_is_refused() {
    for text in [
        format!("a: {}{}", "[".repeat(200), "]".repeat(200)),
        format!("a: {}", "{ a: ".repeat(100_000)),
        (0..100).fold("a0: &a0 [x]\n".to_owned(), |text, level| {
            format!("{text}a{}: &a{} [*a{level}]\n", level + 1, level + 1)
        }),
    ] {
        assert!(report(&text).ends_with("nested more than 32 levels deep"), "{}", report(&text));
    }
}

#[test]
fn many_problems_are_cut_to_a_hundred_lines() {
    let keys =
        (0..1000).fold(String::new(), |keys, key| format!("{keys}unknown_key_number_{key}: 1\n"));
    let report = report_more(&keys);
    assert_eq!(report.lines().count(), 101);
    assert!(report.ends_with("t.yaml: 900 more problems are not shown"), "{report}");
}

#[test]
fn operators_texts_are_cut_and_kept_on_one_line() {
    let report = report_more(&format!("? \"{}\\n\\e[31m\"\n: 1", "k".repeat(200)));
    assert_eq!(report.lines().count(), 1);
    assert!(report.len() < 400, "{report}");
    assert!(!report.contains('\u{1b}'));
}

#[test]
fn balancing_that_cannot_work_is_reported() {
    insta::assert_snapshot!(report("\
upstreams:
  app:
    endpoints:
      - { url: http://127.0.0.1:1, zone: \"a b\", priority: -1, draining: perhaps }
      - { url: http://127.0.0.1:2, weight: 0 }
    balance: { http: maglew, sse: p2c }
    hash: { by: header, bound: 0.5 }
    queue: { size: 2000000, wait: 0s }
    slow_start: 25h
    zone: \"\"
routes: [{ upstream: app }]
"), @r#"
    t.yaml:4:42: upstreams.app.endpoints[0].zone: a name has 1 to 64 letters, digits, ".", "_" or "-"
    t.yaml:4:59: upstreams.app.endpoints[0].priority: "-1" is not a whole number
    t.yaml:4:73: upstreams.app.endpoints[0].draining: "perhaps" is neither true nor false
    t.yaml:6:22: upstreams.app.balance.http: "maglew" is none of round_robin, weighted_round_robin, random, least_connections, p2c, peak_ewma, ip_hash, consistent_hash, maglev, performance; did you mean "maglev"?
    t.yaml:7:17: upstreams.app.hash.by: "header" is none of client, path, key, header:NAME, cookie:NAME
    t.yaml:7:32: upstreams.app.hash.bound: 0.50 is outside 1.00 to 10.00
    t.yaml:8:20: upstreams.app.queue.size: 2000000 is outside 0 to 1000000
    t.yaml:8:35: upstreams.app.queue.wait: must be more than zero
    t.yaml:9:17: upstreams.app.slow_start: must be at most 24h
    t.yaml:10:11: upstreams.app.zone: a name has 1 to 64 letters, digits, ".", "_" or "-"
    "#);
    insta::assert_snapshot!(report("\
upstreams: { app: { endpoints: [{ url: http://127.0.0.1:1, weight: 0 }] } }
routes: [{ upstream: app }]
"), @"t.yaml:1:32: upstreams.app.endpoints: every endpoint has weight 0: none could ever be chosen");
}

#[test]
fn balancing_without_effect_is_a_warning() {
    insta::assert_snapshot!(report("\
upstreams:
  app:
    endpoints: [{ url: http://127.0.0.1:1, zone: b, draining: true }]
    hash: { by: path }
    queue: { size: 10 }
    zone: a
routes: [{ upstream: app }]
"), @r#"
    t.yaml:3:16: upstreams.app.endpoints: every endpoint is draining: none takes anything new
    t.yaml:4:11: upstreams.app.hash: nothing is hashed: the balance is none of those that hash
    t.yaml:5:12: upstreams.app.queue: nobody ever waits: an endpoint without connections_max is never full
    t.yaml:6:11: upstreams.app.zone: no endpoint stands in this zone
    "#);
}

#[test]
fn what_stands_before_a_route_is_looked_at() {
    let text = report(
        "upstreams: { app: { endpoints: [http://127.0.0.1:1] } }\n\
         listeners: [{ bind: 127.0.0.1:1, real_ip_header: X-Real-IP }]\n\
         routes:\n\
         - { upstream: app, access: { allow: [10.0.0.0/8, nowhere] } }\n\
         - { path: /a, upstream: app, rate_limit: { requests: 0, per: 1s, by: ip } }\n\
         - { path: /b, upstream: app, rate_limit: { requests: 1000, per: 1ms, burst: 0 } }\n\
         - { path: /c, upstream: app, rate_limit: { requests: 1 } }\n\
         - { path: /d, upstream: app, compress: [gzip, deflate, gzip] }\n\
         - { path: /e, reply: { body: a }, compress: [br] }\n",
    );
    for expected in [
        "listeners[0].real_ip_header: needs `trusted_proxies`",
        "routes[0].access.allow[1]: this is neither",
        "routes[1].rate_limit.requests: 0 is outside 1 to 1000000",
        "routes[1].rate_limit.by: ",
        "routes[2].rate_limit.requests: is more than 100000 a second",
        "routes[2].rate_limit.burst: 0 is outside 1 to 1000000",
        "routes[3].rate_limit.per: is missing",
        "routes[4].compress[1]: \"deflate\" is none of zstd, br, gzip",
        "routes[5].compress: has no meaning here",
    ] {
        assert!(text.contains(expected), "{expected}\nin\n{text}");
    }
}

#[test]
fn bad_tcp_listeners_are_reported() {
    insta::assert_snapshot!(report("\
listeners:
  - { bind: 127.0.0.1:1, protocol: tcp }
  - { bind: 127.0.0.1:2, protocol: tcp, upstream: dbb }
  - { bind: 127.0.0.1:3, upstream: db, sni: { a.example: db } }
  - bind: 127.0.0.1:4
    protocol: tcp
    sni: { 127.0.0.1: db, \"[::1]\": db, \"a b.example\": db, \"a.*.example\": db, a.example: bd, A.example: db, \"*.example\": db, b.example: db, B.example: db }
  - { bind: 127.0.0.1:5, protocol: tcp, tls: [{ cert: a.pem, key: a.key }], sni: { a.example: db } }
upstreams:
  db: { endpoints: [tcp://127.0.0.1:5432] }
"), @r#"
    t.yaml:2:5: listeners[0]: leads nowhere: name an upstream, or upstreams by sni
    t.yaml:3:51: listeners[1].upstream: no upstream is named "dbb"; did you mean "db"?
    t.yaml:4:36: listeners[2].upstream: is for protocol: tcp; requests are led by routes
    t.yaml:4:45: listeners[2].sni: is for protocol: tcp; requests are led by routes
    t.yaml:7:23: listeners[3].sni.127.0.0.1: must be a name: callers send no server name for an address
    t.yaml:7:36: listeners[3].sni.[::1]: must be a name: callers send no server name for an address
    t.yaml:7:55: listeners[3].sni.a b.example: must be a host name or an IP address
    t.yaml:7:74: listeners[3].sni.a.*.example: must be one host name or *. and a domain: leave it out to match any host
    t.yaml:7:89: listeners[3].sni.a.example: no upstream is named "bd"; did you mean "db"?
    t.yaml:7:151: listeners[3].sni.B.example: the same server name as listeners[3].sni.b.example
    t.yaml:8:82: listeners[4].sni: is for TLS that is passed on: leave out tls, or sni
    "#);
}

#[test]
fn endpoints_that_no_request_can_be_sent_to_are_reported() {
    insta::assert_snapshot!(report("\
listeners: [{ bind: 127.0.0.1:1 }, { bind: 127.0.0.1:2, protocol: tcp, upstream: bad }]
upstreams:
  app: { endpoints: [http://127.0.0.1:1] }
  db: { endpoints: [http://127.0.0.1:2, tls://127.0.0.1:3] }
  bad: { endpoints: [tcp://127.0.0.1, tcp://127.0.0.1:4/x, tls://u:p@127.0.0.1:5, tcp://127.0.0.1:6] }
routes:
  - { path: /, upstream: db }
  - { path: /s, split: [{ upstream: app }, { upstream: db }] }
  - { path: /m, upstream: app, mirror: { upstream: db } }
"), @r"
    t.yaml:5:22: upstreams.bad.endpoints[0]: a tcp:// or tls:// address needs its port, such as tcp://127.0.0.1:5432
    t.yaml:5:39: upstreams.bad.endpoints[1]: an endpoint has no path: the request's own path is sent
    t.yaml:5:60: upstreams.bad.endpoints[2]: an address holds no user or password: keys belong into api_key
    t.yaml:7:26: routes[0].upstream: has an endpoint with tcp:// or tls://, which only listeners with protocol: tcp can use
    t.yaml:8:56: routes[1].split[1].upstream: has an endpoint with tcp:// or tls://, which only listeners with protocol: tcp can use
    t.yaml:9:52: routes[2].mirror.upstream: has an endpoint with tcp:// or tls://, which only listeners with protocol: tcp can use
    ");
}

#[test]
fn a_tcp_listener_needs_no_route() {
    let listener = |to: &str| {
        report(&format!(
            "listeners: [{{ bind: 127.0.0.1:1, protocol: tcp, {to} }}]\n\
             upstreams: {{ db: {{ endpoints: [tls://127.0.0.1:5432] }} }}\n"
        ))
    };
    assert_eq!(listener("upstream: db"), "");
    assert_eq!(listener("sni: { \"*.example\": db }"), "");
}
