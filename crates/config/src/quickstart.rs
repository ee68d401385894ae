//! The configuration of a first start: every vendor whose key is at hand, else the lab provider.

use std::net::SocketAddr;

use indexmap::IndexMap;
use tidegate_dialect::{Dialect, VENDORS};

use crate::expand::Environment;
use crate::families::family_models;
use crate::model::{Caller, Config, Listener, Model, ModelBalance, Priority, Provider, Target};
use crate::resolve::NO_KEY;
use crate::secret::Secret;

/// Makes a configuration that listens on `bind` and serves the caller who holds `key`.
///
/// Each vendor whose key variable `env` has becomes a provider, and serves the models of its own;
/// any other model goes to the vendors in the order of the table. Without a key, the provider `lab`
/// (OpenAI) and `lab-anthropic` lead to a lab provider at `lab_addr`. Without that either there is
/// no provider, and the check says so.
pub fn quickstart_config(
    env: &Environment,
    bind: SocketAddr,
    key: &Secret,
    lab_addr: Option<SocketAddr>,
) -> Config {
    let vendors: Vec<&str> = VENDORS
        .iter()
        .filter(|vendor| {
            !vendor.is_local() && env(vendor.key_variable).is_some_and(|key| !key.is_empty())
        })
        .map(|vendor| vendor.name)
        .collect();
    let providers = match lab_addr {
        Some(address) if vendors.is_empty() => lab_providers(address),
        _ => vendor_providers(&|name| {
            let key = env(name).filter(|key| !key.is_empty())?;
            Some(Secret::referring(key, format!("${{{name}}}")))
        }),
    };
    let mut models = family_models(&vendors);
    if !providers.is_empty() {
        models.push(Model {
            name: "*".to_owned(),
            to: providers.keys().map(Target::provider).collect(),
            balance: ModelBalance::Priority,
        });
    }
    let mut config = Config {
        listeners: vec![Listener::at(bind)],
        callers: vec![Caller {
            name: "quickstart".to_owned(),
            key: key.clone(),
            priority: Priority::default(),
        }],
        providers,
        models,
        ..Config::default()
    };
    config.complete();
    config
}

/// A provider for each vendor whose key variable, as `secret` reads it, holds something.
pub(crate) fn vendor_providers(
    secret: &dyn Fn(&str) -> Option<Secret>,
) -> IndexMap<String, Provider> {
    VENDORS
        .iter()
        .filter(|vendor| !vendor.is_local())
        .filter_map(|vendor| {
            let key = secret(vendor.key_variable)?;
            let provider = Provider { api_key: Some(key), ..Provider::default() };
            Some((vendor.name.to_owned(), provider))
        })
        .collect()
}

fn lab_providers(address: SocketAddr) -> IndexMap<String, Provider> {
    let lab = |dialect, base_url| Provider {
        dialect: Some(dialect),
        base_url: Some(base_url),
        api_key: Some(Secret::new(NO_KEY)),
        ..Provider::default()
    };
    IndexMap::from([
        ("lab".to_owned(), lab(Dialect::OpenAi, format!("http://{address}/v1"))),
        ("lab-anthropic".to_owned(), lab(Dialect::Anthropic, format!("http://{address}"))),
    ])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KEY: &str = "sk-quickstart";

    fn quickstart(variables: &[(&str, &str)], lab: Option<&str>) -> Config {
        let env = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        quickstart_config(
            &env,
            "127.0.0.1:8080".parse().unwrap(),
            &Secret::new(KEY),
            lab.map(|address| address.parse().unwrap()),
        )
    }

    #[test]
    fn without_keys_the_lab_answers_in_both_dialects() {
        let config = quickstart(&[("OPENAI_API_KEY", "")], Some("127.0.0.1:9000"));
        assert_eq!(config.check("quickstart").unwrap(), []);
        let dialects: Vec<_> = config
            .providers
            .iter()
            .map(|(name, provider)| (name.as_str(), provider.resolve(name).unwrap().dialect))
            .collect();
        assert_eq!(dialects, [("lab", Dialect::OpenAi), ("lab-anthropic", Dialect::Anthropic)]);
        assert_eq!(config.models.len(), 1);
        assert!(config.routes[0].llm);
    }

    #[test]
    fn a_key_at_hand_replaces_the_lab() {
        let config = quickstart(
            &[("ANTHROPIC_API_KEY", "sk-ant-1"), ("XAI_API_KEY", "xai-1")],
            Some("127.0.0.1:9000"),
        );
        assert_eq!(config.check("quickstart").unwrap(), []);
        assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["anthropic", "xai"]);
        let models: Vec<_> = config
            .models
            .iter()
            .map(|model| {
                (
                    model.name.as_str(),
                    model.to.iter().map(|to| to.provider.as_str()).collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(
            models,
            [
                ("claude-*", vec!["anthropic"]),
                ("grok-*", vec!["xai"]),
                ("*", vec!["anthropic", "xai"])
            ]
        );
        assert_eq!(config.providers["xai"].api_key.as_ref().unwrap().expose(), "xai-1");
    }

    #[test]
    fn with_nothing_to_ask_the_check_says_so() {
        let problems = quickstart(&[], None).check("quickstart").unwrap_err();
        assert_eq!(
            problems.to_string(),
            "quickstart: routes: nothing to serve: add providers for LLM traffic, or upstreams and routes to them"
        );
    }
}
