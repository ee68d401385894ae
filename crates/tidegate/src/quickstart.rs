//! `tidegate quickstart`: a gateway in one command, with whatever provider there is.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use tidegate_config::{Config, Log, LogLevel, Secret, quickstart_config};
use tidegate_lab::provider::{ProviderHandle, ProviderOptions, spawn_provider};

use crate::cli::QuickstartOptions;
use crate::reload::Origin;
use crate::serve::Server;
use crate::{Failure, files, import, logging};

/// Serves on one address with a key made for the occasion, and says how to use it.
pub(crate) fn run(options: &QuickstartOptions) -> Result<(), Failure> {
    let log = Log { level: LogLevel::Warn, ..Log::default() };
    logging::begin(&log);
    let key = Secret::new(format!("sk-tidegate-{}", random_hex()?));
    let vendors = quickstart_config(&files::environment, options.bind, &key, None);
    let mut lab: Option<ProviderHandle> = None;
    let config = if vendors.providers.is_empty() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let started = spawn_provider(ProviderOptions { bind: any, ..ProviderOptions::default() })
            .context("cannot start the lab provider")?;
        let config = quickstart_config(&files::environment, options.bind, &key, Some(started.addr));
        lab = Some(started);
        config
    } else {
        vendors
    };
    let providers: Vec<String> = config.providers.keys().cloned().collect();
    let origin = Origin::Made(Box::new(Config { log, ..config.clone() }));
    let server = Server::start(config)?;
    server.run(&origin, |server| {
        let address = server.gateway.addresses().first().copied().unwrap_or(options.bind);
        import::print(&greeting(address, key.expose(), &providers, lab.is_some()))
    })
}

fn greeting(address: SocketAddr, key: &str, providers: &[String], lab: bool) -> String {
    let (model, who) = if lab {
        (
            "lab-tokens-40",
            "the built-in lab provider, a test double that needs no account. Set OPENAI_API_KEY,\n  \
             ANTHROPIC_API_KEY, DEEPINFRA_API_KEY, XAI_API_KEY, … and start again to use a real one"
                .to_owned(),
        )
    } else {
        (example_model(providers), format!("{} (found by *_API_KEY)", providers.join(", ")))
    };
    let request = if model.starts_with("claude") {
        format!(
            "curl -N http://{address}/v1/messages \\
    -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' -H 'Content-Type: application/json' \\
    -d '{{\"model\":\"{model}\",\"max_tokens\":100,\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'"
        )
    } else {
        format!(
            "curl -N http://{address}/v1/chat/completions \\
    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
    -d '{{\"model\":\"{model}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'"
        )
    };
    format!(
        "Tidegate is ready.

  URL       http://{address}/v1
  Key       {key}
  Provider  {who}

A first request, streamed:

  {request}

Clients need two settings: the base URL above and the key. Ctrl-C stops."
    )
}

/// A model that one of these providers is known to have: of the first with OpenAI's API, or else
/// of Anthropic.
fn example_model(providers: &[String]) -> &'static str {
    let openai = providers.iter().find(|name| *name != "anthropic");
    match openai.or(providers.first()).map(String::as_str) {
        Some("anthropic") => "claude-haiku-4-5",
        Some("deepinfra" | "together") => "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        Some("xai") => "grok-4",
        Some("deepseek") => "deepseek-chat",
        Some("mistral") => "mistral-small-latest",
        Some("groq") => "llama-3.3-70b-versatile",
        _ => "gpt-4o-mini",
    }
}

/// 128 bits from the operating system.
fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read random bytes for the key")?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_request_speaks_the_api_of_the_provider_that_was_found() {
        let address = SocketAddr::from(([127, 0, 0, 1], 8080));
        let with = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            greeting(address, "sk-1", &names, false)
        };
        assert!(with(&["anthropic"]).contains("/v1/messages"));
        assert!(with(&["anthropic", "xai"]).contains("\"model\":\"grok-4\""));
        assert!(with(&["openai"]).contains("/v1/chat/completions"));
    }
}
