//! What is printed loads as the same configuration, and no text makes the loader panic.

#![allow(clippy::unwrap_used)]

use indexmap::IndexMap;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::time::Duration;
use tidegate_config::{
    Algorithm, Balance, Bound, Breaker, ByteSize, Caller, Config, Endpoint, Hash, HashBy, Health,
    Hedge, LogFormat, LogLevel, Model, ModelBalance, Outlier, Preset, Priority, Provider,
    ProviderTimeouts, Queue, Route, Secret, Target, Upstream, UpstreamProtocol, UpstreamTls, load,
    load_bytes, to_yaml,
};
use tidegate_dialect::Dialect;

fn no_env(_: &str) -> Option<String> {
    None
}

/// What prints awkwardly: quotes, references, words with a meaning, numbers, other scripts.
fn awkward() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_./:@-]{1,20}",
        "[ -~]{1,20}",
        "[\u{a0}-\u{ffff}\u{10000}-\u{10ffff}]{1,8}",
        "[${}A:\\-\\\\\"']{1,12}",
        "true|false|null|~|yes|No|1e5|0x10|\\.inf|-|- a|a: b|#x|&a|\\*a|!x|%|@|`|\\{\\}|\\[\\]|,|\\?|\\|",
    ]
    .prop_filter("a name has text and no control characters", |text| {
        !text.trim().is_empty() && !text.contains(char::is_control)
    })
}

fn key() -> impl Strategy<Value = String> {
    "[!-~]{8,40}|\\$\\{[A-Z]{1,8}\\}x|sk-[0-9]{8}"
}

fn milliseconds() -> impl Strategy<Value = Duration> {
    prop_oneof![
        1_u64..86_400_000,
        (1_u64..86_400).prop_map(|s| s * 1000),
        (1_u64..24).prop_map(|h| h * 3_600_000)
    ]
    .prop_map(Duration::from_millis)
}

fn provider() -> impl Strategy<Value = Provider> {
    let timeouts =
        (option::of(milliseconds()), option::of(milliseconds()), option::of(milliseconds()));
    (
        (0_u32..1_000_000, any::<u32>(), option::of(1_u32..), option::of(key())),
        (any::<bool>(), vec(("[a-z]{1,6}-[a-z]{1,6}", "[!-~]{0,12}"), 0..3)),
        option::of("socks5://user:[a-z0-9]{0,8}@proxy:[1-9][0-9]{0,3}"),
        option::of(awkward()),
        option::of(timeouts),
    )
        .prop_map(
            |(
                (weight, priority, connections_max, key),
                (openai, headers),
                egress,
                ca_file,
                timeouts,
            )| {
                Provider {
                    vendor: None,
                    dialect: Some(if openai { Dialect::OpenAi } else { Dialect::Anthropic }),
                    base_url: Some("http://127.0.0.1:9000/v1".to_owned()),
                    api_key: key.map(Secret::new),
                    weight,
                    priority,
                    egress,
                    ca_file: ca_file.map(Into::into),
                    headers: headers
                        .into_iter()
                        .map(|(name, value)| (format!("x-{name}"), value))
                        .collect(),
                    connections_max,
                    timeouts: timeouts.map(|(connect, request, stream)| ProviderTimeouts {
                        connect,
                        request,
                        stream,
                        ..ProviderTimeouts::default()
                    }),
                }
            },
        )
}

fn balancing() -> impl Strategy<Value = (Hash, Option<Queue>, Duration, Option<String>)> {
    let by = prop_oneof![
        Just(HashBy::Client),
        Just(HashBy::Path),
        Just(HashBy::Key),
        "[a-z-]{1,8}".prop_map(HashBy::Header),
        "[!#-'*+.^`|~0-9A-Za-z-]{1,8}".prop_map(HashBy::Cookie),
    ];
    let bound = option::of((100_u32..=1000).prop_map(Bound::from_hundredths));
    let queue = option::of((0_u32..=1_000_000, milliseconds()));
    let slow_start = prop_oneof![Just(Duration::ZERO), milliseconds()];
    (by, bound, queue, slow_start, option::of("[a-zA-Z0-9._-]{1,8}")).prop_map(
        |(by, bound, queue, slow_start, zone)| {
            (Hash { by, bound }, queue.map(|(size, wait)| Queue { size, wait }), slow_start, zone)
        },
    )
}

fn upstream() -> impl Strategy<Value = Upstream> {
    let algorithm = || proptest::sample::select(&Algorithm::ALL[..]);
    (
        (1_u16.., 1_u32..1000, option::of(1_u32..), any::<u32>(), any::<bool>()),
        (algorithm(), algorithm(), algorithm()),
        balancing(),
        option::of((milliseconds(), 1_u32..1000)),
        proptest::sample::select(&UpstreamProtocol::ALL[..]),
        option::of(awkward().prop_map(|name| UpstreamTls {
            cert: Some(name.clone().into()),
            key: Some(name.into()),
            ..UpstreamTls::default()
        })),
    )
        .prop_map(|(endpoint, (http, websocket, sse), balancing, health, protocol, tls)| {
            let (port, weight, connections_max, priority, draining) = endpoint;
            let (hash, queue, slow_start, zone) = balancing;
            Upstream {
                endpoints: vec![
                    Endpoint {
                        weight,
                        connections_max,
                        priority,
                        zone: zone.clone(),
                        draining,
                        ..Endpoint::url(format!("http://127.0.0.1:{port}"))
                    },
                    Endpoint::url("https://app.example"),
                ],
                balance: Balance { http, websocket, sse },
                hash,
                queue,
                slow_start,
                zone,
                health: health.map(|(interval, failures)| Health {
                    path: "/up".to_owned(),
                    interval,
                    timeout: interval,
                    failures,
                    tcp: failures % 2 == 0,
                    successes: failures,
                    status: if failures % 2 == 0 { Vec::new() } else { vec![200, 404] },
                }),
                outlier: Outlier {
                    consecutive_errors: weight,
                    ejection: health.map_or(Duration::from_secs(1), |(interval, _)| interval),
                    ejection_max: Duration::from_hours(24),
                    ..Outlier::default()
                },
                panic_threshold: weight % 101,
                breaker: health.map(|(window, requests)| Breaker {
                    requests,
                    window,
                    ..Breaker::default()
                }),
                ca_file: None,
                protocol,
                tls,
                proxy_protocol: None,
            }
        })
}

fn config() -> impl Strategy<Value = Config> {
    (
        vec((awkward(), key()), 1..4),
        vec(provider(), 1..4),
        vec((awkward(), option::of(awkward()), option::of(1_u32..9)), 0..4),
        vec(upstream(), 0..3),
        (milliseconds(), 0_u64..1 << 40, any::<bool>(), 0_usize..7),
    )
        .prop_map(
            |(callers, providers, models, upstreams, (duration, bytes, flag, preset))| {
                let mut config = Config::default();
                Preset::ALL[preset].apply(&mut config);
                config.limits.queue.wait = duration;
                config.limits.memory = ByteSize::bytes(bytes.max(64 << 20));
                config.timeouts.heartbeat = duration;
                config.shards = flag.then_some(3);
                config.resolver.servers =
                    (0..preset as u16).map(|n| ([127, 0, 0, 1], 53 + n).into()).collect();
                config.log.level = if flag { LogLevel::Trace } else { LogLevel::Info };
                config.log.format = if flag { LogFormat::Json } else { LogFormat::Text };
                config.callers = callers
                    .into_iter()
                    .enumerate()
                    .map(|(index, (name, key))| Caller {
                        name: format!("{name}{index}"),
                        key: Secret::new(format!("{key}{index}")),
                        priority: Priority::ALL[index % 3],
                    })
                    .collect();
                config.providers = providers
                    .into_iter()
                    .enumerate()
                    .map(|(index, provider)| (format!("p{index}"), provider))
                    .collect();
                config.models = models
                    .into_iter()
                    .enumerate()
                    .map(|(index, (name, model, weight))| Model {
                        name: format!("{}{index}*", name.replace('*', "")),
                        to: vec![Target {
                            model,
                            weight: weight.or(Some(1)),
                            ..Target::provider("p0")
                        }],
                        balance: ModelBalance::ALL[index % 3],
                    })
                    .collect();
                config.upstreams = upstreams
                    .into_iter()
                    .enumerate()
                    .map(|(index, upstream)| (format!("u{index}"), upstream))
                    .collect::<IndexMap<_, _>>();
                config.routes = config
                    .upstreams
                    .keys()
                    .map(|name| Route {
                        host: Some(format!("{name}.example")),
                        upstream: Some(name.clone()),
                        hedge: flag.then_some(Hedge { after: duration }),
                        ..Route::default()
                    })
                    .collect();
                config.routes.push(Route {
                    path: "/v1/".to_owned(),
                    llm: true,
                    ..Route::default()
                });
                for provider in config.providers.values_mut().take(1) {
                    provider.weight = provider.weight.max(1);
                }
                config.complete();
                config
            },
        )
}

proptest! {
    #[test]
    fn a_printed_configuration_loads_as_the_same(config in config()) {
        let yaml = to_yaml(&config);
        let loaded = load(&yaml, "printed.yaml", &no_env)
            .map_err(|problems| TestCaseError::fail(format!("{problems}\n{yaml}")))?;
        prop_assert_eq!(&loaded.config, &config, "{}", yaml);
        prop_assert_eq!(to_yaml(&loaded.config), yaml);
    }

    #[test]
    fn no_text_makes_the_loader_panic(text in "(?s).{0,300}") {
        let _ = load(&text, "t.yaml", &no_env);
    }

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = load_bytes(&bytes, "t.yaml", &no_env);
    }

    /// Pieces of a good file in any order come further than arbitrary text.
    #[test]
    fn no_broken_file_makes_the_loader_panic(
        lines in vec(proptest::sample::select(include_str!("full.yaml").lines().collect::<Vec<_>>()), 0..40),
        cut in any::<prop::sample::Index>(), put in "[ -~\n]{0,6}",
    ) {
        let text = lines.join("\n");
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let (before, after) = text.split_at(places[cut.index(places.len())]);
        let _ = load(&format!("{before}{put}{after}"), "t.yaml", &no_env);
    }

    /// Whatever one value of a good file is replaced with, problems are found in that place or none are.
    #[test]
    fn one_value_replaced_is_loaded_or_refused(
        line in any::<prop::sample::Index>(), value in "[a-z0-9]{1,5}|-1|\\[\\]|\\{\\}|\"\"|~|\\$\\{X\\}",
    ) {
        let lines: Vec<&str> = include_str!("full.yaml").lines().collect();
        let chosen = line.index(lines.len());
        let text: String = lines
            .iter()
            .enumerate()
            .map(|(index, line)| match line.split_once(": ") {
                Some((key, _)) if index == chosen => format!("{key}: {value}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        if let Err(problems) = load(&text, "t.yaml", &no_env) {
            prop_assert!(!problems.0.is_empty());
            prop_assert!(problems.0.len() <= 101);
        }
    }
}

#[test]
fn the_full_file_prints_and_loads_as_the_same() {
    let loaded = load(include_str!("full.yaml"), "full.yaml", &no_env).unwrap();
    let env = |name: &str| (name == "TIDEGATE_ADMIN_TOKEN").then(|| "secret".to_owned());
    let again = load(&to_yaml(&loaded.config), "printed.yaml", &env).unwrap();
    assert_eq!(again.config, loaded.config);
}
