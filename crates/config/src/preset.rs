//! Named sets of limits: the menu of the service that Tidegate replaces.

use std::str::FromStr;
use std::time::Duration;

use crate::model::Config;
use crate::size::ByteSize;
use crate::suggest::nearest;

/// Where a WARP client listens as a SOCKS5 proxy unless told otherwise.
pub(crate) const WARP_PROXY: &str = "socks5://127.0.0.1:40000";

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// 500 requests in flight, 1 GiB.
    Standard,
    /// 1000 requests in flight, 2 GiB.
    Base,
    /// As base, with providers reached through a WARP proxy unless they have an egress of their
    /// own.
    Warp,
    /// 2000 requests in flight, 4 GiB.
    MultiEndpoint,
    /// 3000 requests in flight, 6 GiB.
    Full,
    /// 3000 requests in flight, 4 GiB.
    Medium,
    /// 8000 requests in flight, 8 GiB.
    High,
}

/// A name that is no preset; the text lists those that are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no preset is named \"{name}\": choose one of {}{}", names(), did_you_mean(.suggestion.as_deref()))]
pub struct UnknownPreset {
    /// The name given.
    pub name: String,
    /// What was perhaps meant.
    pub suggestion: Option<String>,
}

fn names() -> String {
    Preset::ALL.map(Preset::as_str).join(", ")
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; did you mean \"{name}\"?"))
}

impl Preset {
    /// Every preset in the order of its size.
    pub const ALL: [Self; 7] = [
        Self::Standard,
        Self::Base,
        Self::Warp,
        Self::MultiEndpoint,
        Self::Full,
        Self::Medium,
        Self::High,
    ];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Base => "base",
            Self::Warp => "warp",
            Self::MultiEndpoint => "multi-endpoint",
            Self::Full => "full",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// Requests in flight, stream buffer in KiB, memory in GiB, request and stream timeout in
    /// seconds.
    fn row(self) -> (u32, u64, u64, u64, u64) {
        match self {
            Self::Standard => (500, 16, 1, 120, 300),
            Self::Base | Self::Warp => (1000, 16, 2, 120, 300),
            Self::MultiEndpoint => (2000, 32, 4, 90, 240),
            Self::Full => (3000, 64, 6, 60, 180),
            Self::Medium => (3000, 32, 4, 90, 240),
            Self::High => (8000, 64, 8, 60, 180),
        }
    }

    /// Writes the preset's numbers over those of `config`.
    pub fn apply(self, config: &mut Config) {
        let (requests, stream_buffer, memory, request, stream) = self.row();
        config.limits.requests = requests;
        config.limits.connections = connections_for(requests, config.limits.connections);
        config.limits.stream_buffer = ByteSize::kib(stream_buffer);
        config.limits.memory = ByteSize::gib(memory);
        config.timeouts.request = Duration::from_secs(request);
        config.timeouts.stream = Duration::from_secs(stream);
        if self == Self::Warp {
            for provider in config.providers.values_mut() {
                provider.egress.get_or_insert_with(|| WARP_PROXY.to_owned());
            }
        }
    }
}

/// Room for as many idle and waiting connections as there are requests in flight.
pub(crate) fn connections_for(requests: u32, connections: u32) -> u32 {
    connections.max(requests.saturating_mul(2))
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|preset| preset.as_str() == name).ok_or_else(|| UnknownPreset {
            name: name.to_owned(),
            suggestion: nearest(name, Self::ALL.map(Self::as_str)),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Provider;

    #[test]
    fn presets_hold_the_numbers_of_the_old_menu() {
        for (name, requests, buffer, memory, request, stream) in [
            ("standard", 500, 16_384, 1, 120, 300),
            ("base", 1000, 16_384, 2, 120, 300),
            ("warp", 1000, 16_384, 2, 120, 300),
            ("multi-endpoint", 2000, 32_768, 4, 90, 240),
            ("full", 3000, 65_536, 6, 60, 180),
            ("medium", 3000, 32_768, 4, 90, 240),
            ("high", 8000, 65_536, 8, 60, 180),
        ] {
            let mut config = Config::default();
            name.parse::<Preset>().unwrap().apply(&mut config);
            assert_eq!(config.limits.requests, requests, "{name}");
            assert_eq!(config.limits.stream_buffer.as_u64(), buffer, "{name}");
            assert_eq!(config.limits.memory, ByteSize::gib(memory), "{name}");
            assert_eq!(config.timeouts.request.as_secs(), request, "{name}");
            assert_eq!(config.timeouts.stream.as_secs(), stream, "{name}");
            assert!(config.limits.connections >= config.limits.requests);
        }
    }

    #[test]
    fn only_warp_sets_an_egress_and_never_replaces_one() {
        let provider = |egress: Option<&str>| Provider {
            egress: egress.map(str::to_owned),
            ..Provider::default()
        };
        let egresses = |preset: Preset| {
            let mut config = Config::default();
            config.providers.insert("a".to_owned(), provider(None));
            config.providers.insert("b".to_owned(), provider(Some("http://proxy:3128")));
            preset.apply(&mut config);
            config.providers.into_values().map(|provider| provider.egress).collect::<Vec<_>>()
        };
        assert_eq!(egresses(Preset::Base), [None, Some("http://proxy:3128".to_owned())]);
        assert_eq!(
            egresses(Preset::Warp),
            [Some("socks5://127.0.0.1:40000".to_owned()), Some("http://proxy:3128".to_owned())]
        );
    }

    #[test]
    fn an_unknown_preset_lists_those_that_exist() {
        assert_eq!(
            "bse".parse::<Preset>().unwrap_err().to_string(),
            "no preset is named \"bse\": choose one of standard, base, warp, multi-endpoint, full, medium, high; did you mean \"base\"?"
        );
    }
}
