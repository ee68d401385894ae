//! The table of known LLM vendors (one row each) and the table of dialect pairs we can relay.

use crate::Dialect;

/// How a provider wants its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer <key>`.
    Bearer,
    /// `x-api-key: <key>` (Anthropic).
    XApiKey,
}

/// One LLM vendor: what an operator need not look up. Every value can be overridden in the
/// configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vendor {
    /// The name used in the configuration, lower case.
    pub name: &'static str,
    /// What the vendor speaks.
    pub dialect: Dialect,
    /// Where its API lives, without a trailing slash. For the OpenAI dialect this includes the
    /// version segment that replaces the caller's `/v1`.
    pub base_url: &'static str,
    /// The environment variable that holds its key by convention; empty for servers on this
    /// machine, which need none.
    pub key_variable: &'static str,
    /// Where the key goes.
    pub auth: Auth,
}

impl Vendor {
    /// A server on the operator's own machine: plain HTTP, no key.
    pub fn is_local(&self) -> bool {
        self.key_variable.is_empty()
    }
}

/// Known vendors: the two reference APIs, then hosted vendors and local servers by name. Values are
/// those of the vendors' own API references. Some run a site per region; whose key is for another
/// one sets `base_url`.
pub static VENDORS: &[Vendor] = &[
    hosted("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    Vendor {
        name: "anthropic",
        dialect: Dialect::Anthropic,
        base_url: "https://api.anthropic.com",
        key_variable: "ANTHROPIC_API_KEY",
        auth: Auth::XApiKey,
    },
    hosted("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    hosted("dashscope", "https://dashscope.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    hosted("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    hosted("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY"),
    hosted("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    hosted("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    hosted("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    hosted("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    hosted("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
    hosted("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    hosted("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
    hosted("siliconflow", "https://api.siliconflow.com/v1", "SILICONFLOW_API_KEY"),
    hosted("together", "https://api.together.ai/v1", "TOGETHER_API_KEY"),
    hosted("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
    hosted("zai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
    hosted("zhipu", "https://open.bigmodel.cn/api/paas/v4", "ZHIPUAI_API_KEY"),
    local("lmstudio", "http://127.0.0.1:1234/v1"),
    local("ollama", "http://127.0.0.1:11434/v1"),
    local("sglang", "http://127.0.0.1:30000/v1"),
    local("vllm", "http://127.0.0.1:8000/v1"),
];

const fn hosted(name: &'static str, base_url: &'static str, key_variable: &'static str) -> Vendor {
    Vendor { name, dialect: Dialect::OpenAi, base_url, key_variable, auth: Auth::Bearer }
}

const fn local(name: &'static str, base_url: &'static str) -> Vendor {
    hosted(name, base_url, "")
}

/// The row with this exact name.
pub fn vendor(name: &str) -> Option<&'static Vendor> {
    VENDORS.iter().find(|row| row.name == name)
}

/// The dialect pairs that can be relayed, caller's first. A pair that is not here is refused when
/// the configuration is checked.
pub static TRANSLATIONS: &[(Dialect, Dialect)] =
    &[(Dialect::OpenAi, Dialect::OpenAi), (Dialect::Anthropic, Dialect::Anthropic)];

/// Whether a caller that speaks `from` can be served by a provider that speaks `to`.
pub fn can_relay(from: Dialect, to: Dialect) -> bool {
    TRANSLATIONS.contains(&(from, to))
}
