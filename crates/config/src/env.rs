//! The environment of the OpenAI-compatible concurrency proxy that Tidegate replaces, as a
//! configuration.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidegate_dialect::VENDORS;

use crate::env_file::EnvVariable;
use crate::env_providers;
use crate::model::{Admin, Caller, Config, Listener, Priority, default_admin_bind};
use crate::preset::{Preset, connections_for};
use crate::problem::{Collector, Position, Problem, Problems, quote};
use crate::secret::Secret;
use crate::size::ByteSize;
use crate::suggest::nearest;

/// The port that the service before took unless told otherwise.
const PORT: u16 = 8001;

/// Variables that are understood, besides the vendors' key variables.
const KNOWN: [&str; 25] = [
    "ALERT_CONNECTION_THRESHOLD",
    "ALERT_MEMORY_THRESHOLD",
    "CONNECTION_CHECK_INTERVAL",
    "CONNECTION_QUEUE_SIZE",
    "DEEPINFRA_MIRRORS",
    "DISABLE_CONNECTION_CHECK",
    "ENDPOINT_STRATEGY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LOG_RESPONSE_CONTENT",
    "LOG_USER_MESSAGES",
    "MAX_CONCURRENT_CONNECTIONS",
    "MAX_CONNECTION_TIME",
    "MAX_RETRIES",
    "MEMORY_LIMIT_MB",
    "PERFORMANCE_MODE",
    "PORT",
    "REQUEST_TIMEOUT",
    "RETRY_DELAY",
    "STREAM_BUFFER_SIZE",
    "STREAM_TIMEOUT",
    "TIDEGATE_ADMIN_TOKEN",
    "TIDEGATE_KEY",
    "VALID_API_KEYS",
    "WARP_ENABLED",
];

/// What one `PERFORMANCE_MODE` sets.
struct Mode {
    name: &'static str,
    /// Repeats after the first attempt.
    retries: u32,
    delay: Duration,
    request: Duration,
    stream: Duration,
}

const MODES: [Mode; 3] = [
    Mode {
        name: "fast",
        retries: 1,
        delay: Duration::from_millis(200),
        request: Duration::from_secs(10),
        stream: Duration::from_mins(1),
    },
    BALANCED,
    Mode {
        name: "secure",
        retries: 5,
        delay: Duration::from_secs(2),
        request: Duration::from_mins(1),
        stream: Duration::from_mins(10),
    },
];

const BALANCED: Mode = Mode {
    name: "balanced",
    retries: 3,
    delay: Duration::from_secs(1),
    request: Duration::from_mins(2),
    stream: Duration::from_mins(5),
};

/// `retry.attempts` allows ten, the first included.
const RETRIES_MAX: u32 = 9;

/// What the vendors' key variables end with.
const KEY_SUFFIX: &str = "_API_KEY";

/// A day in milliseconds: longer is a slip of the pen.
const MILLISECONDS_MAX: u64 = 86_400_000;

/// Makes the configuration that `variables` meant to the service before; `file_name` is what
/// problems are reported under. A preset's numbers replace the defaults, and what a variable says
/// replaces the preset's. Gives the configuration, complete and checked, and the warnings:
/// variables that are unknown or have no effect.
///
/// What differs from the names: `MAX_RETRIES` counts repeats, so `retry.attempts` is one more.
/// `MAX_CONNECTION_TIME` caps both timeouts. `DEEPINFRA_API_KEY` and the key variables of the other
/// vendors are new: see `env_providers`. `TIDEGATE_ADMIN_TOKEN` opens the admin listener on
/// loopback.
pub fn import_env(
    variables: &[EnvVariable],
    file_name: &str,
    preset: Option<Preset>,
) -> Result<(Config, Vec<Problem>), Problems> {
    let mut import = Import::new(variables, file_name);
    import.report_unknown();
    let mut config = Config {
        listeners: vec![import.listener()],
        callers: import.callers(),
        admin: import.admin(),
        ..Config::default()
    };
    env_providers::write(&mut import, &mut config);
    import.mode(&mut config, preset);
    import.limits(&mut config);
    import.timeouts(&mut config);
    import.no_effect();
    config.complete();
    import.finish(config)
}

/// The variables while they are read.
pub(crate) struct Import<'v> {
    variables: BTreeMap<&'v str, &'v EnvVariable>,
    collector: Collector,
    /// Where fields of the configuration come from.
    places: BTreeMap<String, Position>,
}

impl<'v> Import<'v> {
    fn new(variables: &'v [EnvVariable], file_name: &str) -> Self {
        Self {
            variables: variables
                .iter()
                .map(|variable| (variable.name.as_str(), variable))
                .collect(),
            collector: Collector::new(file_name),
            places: BTreeMap::new(),
        }
    }

    /// The value of a variable; an empty one counts as not set, as in templates.
    pub(crate) fn value(&self, name: &str) -> Option<&'v str> {
        self.variables
            .get(name)
            .map(|variable| variable.value.trim())
            .filter(|value| !value.is_empty())
    }

    /// The value of a variable that is secret. It is referred to by name, unless spaces around it
    /// had to be cut off.
    pub(crate) fn secret(&self, name: &str) -> Option<Secret> {
        let value = self.value(name)?;
        let raw = self.variables.get(name).map(|variable| variable.value.as_str());
        Some(if raw == Some(value) {
            Secret::referring(value, format!("${{{name}}}"))
        } else {
            Secret::new(value)
        })
    }

    /// The values of a comma separated list.
    pub(crate) fn list(&self, name: &str) -> Vec<&'v str> {
        self.value(name)
            .into_iter()
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .collect()
    }

    fn at(&self, name: &str) -> Position {
        match self.variables.get(name) {
            Some(variable) if variable.line > 0 => Position { line: variable.line, column: 1 },
            _ => Position::default(),
        }
    }

    pub(crate) fn problem(
        &mut self,
        name: &str,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        self.collector.problem(self.at(name), name, &message.into(), suggestion);
    }

    pub(crate) fn warning(&mut self, name: &str, message: impl Into<String>) {
        self.collector.warning(self.at(name), name, &message.into());
    }

    /// What was reported explains any problem of the field `path`.
    pub(crate) fn explains(&mut self, path: &str) {
        self.collector.mark_reported(path);
    }

    /// Problems of the field `path` are the variable's.
    pub(crate) fn comes_from(&mut self, path: impl Into<String>, name: &str) {
        self.places.insert(path.into(), self.at(name));
    }

    fn number(&mut self, name: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(name)?;
        let number = value.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!(
                "{} is not a whole number from {} to {}",
                quote(value),
                range.start(),
                range.end()
            );
            self.problem(name, message, None);
        }
        number
    }

    /// A number that fits `u32` by its range.
    fn small(&mut self, name: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        self.number(name, range).and_then(|number| u32::try_from(number).ok())
    }

    fn milliseconds(&mut self, name: &str, min: u64) -> Option<Duration> {
        self.number(name, min..=MILLISECONDS_MAX).map(Duration::from_millis)
    }

    pub(crate) fn boolean(&mut self, name: &str) -> bool {
        let Some(value) = self.value(name) else {
            return false;
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.problem(name, format!("{} is neither true nor false", quote(value)), None);
                false
            }
        }
    }

    /// The index of the value among `names`.
    pub(crate) fn one_of(&mut self, name: &str, names: &[&str]) -> Option<usize> {
        let value = self.value(name)?;
        let found = names.iter().position(|known| known.eq_ignore_ascii_case(value));
        if found.is_none() {
            self.problem(
                name,
                format!("{} is none of {}", quote(value), names.join(", ")),
                nearest(value, names.iter().copied()),
            );
        }
        found
    }

    fn report_unknown(&mut self) {
        let known: Vec<&str> = KNOWN
            .into_iter()
            .chain(VENDORS.iter().map(|vendor| vendor.key_variable))
            .filter(|name| !name.is_empty())
            .collect();
        let unknown: Vec<&str> =
            self.variables.keys().copied().filter(|name| !known.contains(name)).collect();
        for name in unknown {
            // What all key variables end with would make any two of them look alike.
            let stem = name.strip_suffix(KEY_SUFFIX);
            let suggestion = match stem {
                Some(stem) => {
                    nearest(stem, known.iter().filter_map(|name| name.strip_suffix(KEY_SUFFIX)))
                        .map(|stem| format!("{stem}{KEY_SUFFIX}"))
                }
                None => nearest(name, known.iter().copied()),
            };
            let message = match suggestion {
                Some(suggestion) => {
                    format!("unknown variable, not used; did you mean \"{suggestion}\"?")
                }
                None if stem.is_some() => {
                    "no vendor known here has this key, not used: write a provider in YAML"
                        .to_owned()
                }
                None => "unknown variable, not used".to_owned(),
            };
            self.warning(name, message);
        }
    }

    fn listener(&mut self) -> Listener {
        let port = self.number("PORT", 1..=65_535).and_then(|port| u16::try_from(port).ok());
        self.comes_from("listeners", "PORT");
        Listener::at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port.unwrap_or(PORT))))
    }

    fn admin(&mut self) -> Option<Admin> {
        let name = "TIDEGATE_ADMIN_TOKEN";
        let token = self.secret(name)?;
        self.comes_from("admin", name);
        Some(Admin { bind: default_admin_bind(), token: Some(token), tokens: Vec::new() })
    }

    /// `VALID_API_KEYS` and Tidegate's own `TIDEGATE_KEY`.
    fn callers(&mut self) -> Vec<Caller> {
        let mut callers: Vec<Caller> = Vec::new();
        for name in ["VALID_API_KEYS", "TIDEGATE_KEY"] {
            let keys = self.list(name);
            let whole = self.secret(name);
            for key in keys {
                if callers.iter().any(|caller| caller.key.expose() == key) {
                    self.warning(name, "holds a key a second time: it counts once");
                    continue;
                }
                // Only a key that is the whole value can be referred to.
                let key = match &whole {
                    Some(whole) if whole.expose() == key => whole.clone(),
                    _ => Secret::new(key),
                };
                self.comes_from(format!("callers[{}]", callers.len()), name);
                callers.push(Caller {
                    name: format!("caller-{}", callers.len() + 1),
                    key,
                    priority: Priority::default(),
                });
            }
        }
        if callers.is_empty() {
            self.problem(
                "VALID_API_KEYS",
                "holds no keys: set the keys that clients may use, separated by commas",
                None,
            );
            self.explains("callers");
        }
        callers
    }

    /// `PERFORMANCE_MODE`, the preset and the two variables that override the mode's retries. A
    /// mode that was written wins over a preset, a mode that was not does not.
    fn mode(&mut self, config: &mut Config, preset: Option<Preset>) {
        let names = MODES.map(|mode| mode.name);
        let written = self.one_of("PERFORMANCE_MODE", &names);
        let mode = written.and_then(|index| MODES.get(index)).unwrap_or(&BALANCED);
        config.timeouts.request = mode.request;
        config.timeouts.stream = mode.stream;
        if let Some(preset) = preset {
            preset.apply(config);
        }
        if written.is_some() {
            config.timeouts.request = mode.request;
            config.timeouts.stream = mode.stream;
        }
        let retries = self.small("MAX_RETRIES", 0..=u32::MAX).unwrap_or(mode.retries);
        if retries > RETRIES_MAX {
            self.warning("MAX_RETRIES", format!("is more than {RETRIES_MAX}, which is used"));
        }
        config.retry.attempts = retries.min(RETRIES_MAX) + 1;
        config.retry.delay = self.milliseconds("RETRY_DELAY", 0).unwrap_or(mode.delay);
        config.retry.delay_max = config.retry.delay_max.max(config.retry.delay);
    }

    fn limits(&mut self, config: &mut Config) {
        let limits = &mut config.limits;
        if let Some(requests) = self.small("MAX_CONCURRENT_CONNECTIONS", 1..=1_000_000) {
            limits.requests = requests;
        }
        limits.connections = connections_for(limits.requests, limits.connections);
        if let Some(size) = self.small("CONNECTION_QUEUE_SIZE", 0..=1_000_000) {
            limits.queue.size = size;
        }
        if let Some(bytes) = self.number("STREAM_BUFFER_SIZE", 1024..=16 << 20) {
            limits.stream_buffer = ByteSize::bytes(bytes);
        }
        if let Some(mebibytes) = self.number("MEMORY_LIMIT_MB", 64..=16 << 20) {
            limits.memory = ByteSize::mib(mebibytes);
        }
        self.comes_from("limits.memory", "MEMORY_LIMIT_MB");
    }

    fn timeouts(&mut self, config: &mut Config) {
        let timeouts = &mut config.timeouts;
        if let Some(request) = self.milliseconds("REQUEST_TIMEOUT", 1) {
            timeouts.request = request;
        }
        if let Some(stream) = self.milliseconds("STREAM_TIMEOUT", 1) {
            timeouts.stream = stream;
        }
        let cap = self.milliseconds("MAX_CONNECTION_TIME", 1).unwrap_or(Duration::from_mins(10));
        timeouts.request = timeouts.request.min(cap);
        timeouts.stream = timeouts.stream.min(cap);
    }

    /// Variables that are understood and change nothing.
    fn no_effect(&mut self) {
        for name in ["DISABLE_CONNECTION_CHECK", "CONNECTION_CHECK_INTERVAL"] {
            if self.value(name).is_some() {
                self.warning(name, "has no effect: a client that goes away is noticed at once");
            }
        }
        for name in ["ALERT_MEMORY_THRESHOLD", "ALERT_CONNECTION_THRESHOLD"] {
            if self.number(name, 1..=100).is_some() {
                self.warning(name, "has no effect: alert on the gateway's metrics instead");
            }
        }
        for name in ["LOG_USER_MESSAGES", "LOG_RESPONSE_CONTENT"] {
            if self.boolean(name) {
                self.warning(name, "has no effect: content is never logged");
            }
        }
    }

    fn finish(self, config: Config) -> Result<(Config, Vec<Problem>), Problems> {
        let mut collector = self.collector;
        crate::load::check_into(&config, &self.places, &mut collector);
        let warnings = collector.finish()?;
        Ok((config, warnings))
    }
}
