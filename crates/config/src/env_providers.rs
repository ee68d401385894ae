//! The environment's part that names upstreams: DeepInfra and its mirrors, other vendors' keys,
//! egress proxies.
//!
//! Decisions that the variables leave open:
//!
//! * `DEEPINFRA_MIRRORS` replaces the vendor's own URL. The vendor's URL in the list is "official",
//!   any other a "worker" for `ENDPOINT_STRATEGY`. Endpoints of the same rank share the load and
//!   stand in for each other.
//! * Without `DEEPINFRA_API_KEY` no key is sent, as before. With it, it goes to every endpoint of
//!   the list.
//! * Any other vendor's key variable adds that vendor for the models that are its own; all others
//!   stay with DeepInfra. If nothing in the file speaks of DeepInfra, the vendors with keys serve
//!   everything.
//! * An egress proxy carries all upstream traffic. `HTTPS_PROXY` is preferred for https,
//!   `HTTP_PROXY` for http; one serves for both. `WARP_ENABLED` is the WARP client's own SOCKS5
//!   port where no proxy is named.

use indexmap::IndexMap;
use tidegate_dialect::{Dialect, vendor};

use crate::address::{Egress, HttpUrl};
use crate::env::Import;
use crate::families::family_models;
use crate::model::{Config, Model, ModelBalance, Provider, Target};
use crate::preset::WARP_PROXY;
use crate::quickstart::vendor_providers;
use crate::resolve::NO_KEY;
use crate::secret::Secret;

const DEEPINFRA: &str = "deepinfra";
const KEY: &str = "DEEPINFRA_API_KEY";
const MIRRORS: &str = "DEEPINFRA_MIRRORS";
const STRATEGY: &str = "ENDPOINT_STRATEGY";

/// What a mirror's URL ends with and a base URL does not.
const CHAT_COMPLETIONS: &str = "/chat/completions";

/// `ENDPOINT_STRATEGY`: priority of the official URL and of the workers.
const STRATEGIES: [(&str, (u32, u32)); 3] =
    [OFFICIAL_FIRST, ("balanced", (0, 0)), ("workers_first", (1, 0))];

/// Unless told otherwise.
const OFFICIAL_FIRST: (&str, (u32, u32)) = ("official_first", (0, 1));

/// Writes providers and models into `config`.
pub(crate) fn write(import: &mut Import, config: &mut Config) {
    let mut others = vendor_providers(&|name| import.secret(name));
    others.shift_remove(DEEPINFRA);
    let names = STRATEGIES.map(|(name, _)| name);
    let strategy = import.one_of(STRATEGY, &names).and_then(|index| STRATEGIES.get(index));
    let (_, (official, worker)) = strategy.unwrap_or(&OFFICIAL_FIRST);
    let mentioned = [KEY, MIRRORS, STRATEGY].iter().any(|name| import.value(name).is_some());
    let mut providers = if mentioned || others.is_empty() {
        deepinfra(import, *official, *worker)
    } else {
        IndexMap::new()
    };
    let families: Vec<&str> = others.keys().map(String::as_str).collect();
    let mut models = family_models(&families);
    let any: Vec<Target> = if providers.is_empty() { others.keys() } else { providers.keys() }
        .map(Target::provider)
        .collect();
    models.push(Model { name: "*".to_owned(), to: any, balance: ModelBalance::default() });
    providers.extend(others);
    egress(import, &mut providers);
    config.providers = providers;
    config.models = models;
}

fn deepinfra(import: &mut Import, official: u32, worker: u32) -> IndexMap<String, Provider> {
    let key = import.secret(KEY).unwrap_or_else(|| Secret::new(NO_KEY));
    let table_url: Option<HttpUrl> =
        vendor(DEEPINFRA).and_then(|vendor| vendor.base_url.parse().ok());
    let mirrors = import.list(MIRRORS);
    let mut providers: IndexMap<String, Provider> = IndexMap::new();
    let mut seen: Vec<HttpUrl> = Vec::new();
    let mut workers = 0;
    for mirror in &mirrors {
        let base = mirror.trim_end_matches('/');
        let base = base.strip_suffix(CHAT_COMPLETIONS).unwrap_or(base);
        let url = match base.parse::<HttpUrl>() {
            Ok(url) => url,
            Err(error) => {
                import.problem(MIRRORS, error.to_string(), None);
                import.explains("providers");
                import.explains("models[0].to");
                continue;
            }
        };
        if seen.contains(&url) {
            import.warning(MIRRORS, "holds a URL a second time: it counts once");
            continue;
        }
        let is_official = table_url.as_ref().is_some_and(|known| known.host == url.host);
        let first_official = is_official && !providers.contains_key(DEEPINFRA);
        let name = if first_official {
            DEEPINFRA.to_owned()
        } else {
            workers += 1;
            format!("mirror-{workers}")
        };
        import.comes_from(format!("providers.{name}"), MIRRORS);
        let provider = Provider {
            dialect: (!first_official).then_some(Dialect::OpenAi),
            base_url: (!first_official || table_url.as_ref() != Some(&url))
                .then(|| base.to_owned()),
            api_key: Some(key.clone()),
            priority: if is_official { official } else { worker },
            ..Provider::default()
        };
        providers.insert(name, provider);
        seen.push(url);
    }
    if workers > 0 && key.expose() != NO_KEY {
        import.warning(KEY, "is sent to every URL of DEEPINFRA_MIRRORS");
    }
    if mirrors.is_empty() {
        import.comes_from(format!("providers.{DEEPINFRA}"), KEY);
        let provider = Provider { api_key: Some(key), ..Provider::default() };
        providers.insert(DEEPINFRA.to_owned(), provider);
    }
    providers
}

fn egress(import: &mut Import, providers: &mut IndexMap<String, Provider>) {
    let http = proxy(import, "HTTP_PROXY");
    let https = proxy(import, "HTTPS_PROXY");
    let warp = import.boolean("WARP_ENABLED").then(|| WARP_PROXY.to_owned());
    for (name, provider) in providers {
        let tls = provider.resolve(name).is_ok_and(|resolved| resolved.base_url.tls);
        let (first, second) = if tls { (&https, &http) } else { (&http, &https) };
        provider.egress = first.as_ref().or(second.as_ref()).or(warp.as_ref()).cloned();
    }
}

/// A proxy's URL in the form that the configuration takes. Names are always resolved by the proxy,
/// so `socks5h` is `socks5`; an address without a scheme is an HTTP proxy's, as for curl.
fn proxy(import: &mut Import, name: &str) -> Option<String> {
    let value = import.value(name)?;
    let url = match value.split_once("://") {
        Some(("socks5h" | "socks", rest)) => format!("socks5://{rest}"),
        Some(_) => value.to_owned(),
        None => format!("http://{value}"),
    };
    let url = url.trim_end_matches('/').to_owned();
    match url.parse::<Egress>() {
        Ok(_) => Some(url),
        Err(error) => {
            import.problem(name, error.to_string(), None);
            None
        }
    }
}
