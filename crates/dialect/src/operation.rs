//! What a caller asks for: method and path of an LLM API, and how its body has to be treated.

use crate::Dialect;

/// How a request body has to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A JSON object with a `model`: buffered and scanned before it is routed.
    Json,
    /// `multipart/form-data` with a `model` field: buffered and scanned before it is routed.
    Multipart,
    /// No model to route by: streamed through to the default provider.
    Opaque,
    /// `GET /v1/models`: the list is ours to answer.
    List,
    /// `GET /v1/models/{id}`.
    ModelById,
}

/// One operation of the APIs we know. A request that we only pass on is [`Operation::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the path it is named after, in the table below")]
pub enum Operation {
    ChatCompletions,
    Completions,
    Embeddings,
    Responses,
    Models,
    Model,
    AudioSpeech,
    AudioTranscriptions,
    AudioTranslations,
    ImageGenerations,
    ImageEdits,
    ImageVariations,
    Moderations,
    Rerank,
    Messages,
    CountTokens,
    Other,
}

impl Operation {
    /// The name used in metric labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Models => "models",
            Self::Model => "model",
            Self::AudioSpeech => "audio_speech",
            Self::AudioTranscriptions => "audio_transcriptions",
            Self::AudioTranslations => "audio_translations",
            Self::ImageGenerations => "image_generations",
            Self::ImageEdits => "image_edits",
            Self::ImageVariations => "image_variations",
            Self::Moderations => "moderations",
            Self::Rerank => "rerank",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Other => "other",
        }
    }
}

/// A classified request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// What the caller speaks, and wants to be answered in.
    pub dialect: Dialect,
    /// What is asked for.
    pub operation: Operation,
    /// How the body is treated.
    pub shape: Shape,
    /// Whether a `stream` field in the body can ask for a reply in SSE.
    pub may_stream: bool,
}

struct Row {
    /// Path below `/v1/`, called with POST.
    path: &'static [u8],
    call: Call,
}

const fn row(
    path: &'static str,
    dialect: Dialect,
    operation: Operation,
    shape: Shape,
    may_stream: bool,
) -> Row {
    Row { path: path.as_bytes(), call: Call { dialect, operation, shape, may_stream } }
}

/// Every call that carries a model, the busiest first. Source: the API references of OpenAI and
/// Anthropic; `rerank` is the path that compatible vendors agree on.
#[rustfmt::skip]
static CALLS: &[Row] = &[
    row("chat/completions", Dialect::OpenAi, Operation::ChatCompletions, Shape::Json, true),
    row("messages", Dialect::Anthropic, Operation::Messages, Shape::Json, true),
    row("responses", Dialect::OpenAi, Operation::Responses, Shape::Json, true),
    row("embeddings", Dialect::OpenAi, Operation::Embeddings, Shape::Json, false),
    row("completions", Dialect::OpenAi, Operation::Completions, Shape::Json, true),
    row("messages/count_tokens", Dialect::Anthropic, Operation::CountTokens, Shape::Json, false),
    row("moderations", Dialect::OpenAi, Operation::Moderations, Shape::Json, false),
    row("rerank", Dialect::OpenAi, Operation::Rerank, Shape::Json, false),
    row("images/generations", Dialect::OpenAi, Operation::ImageGenerations, Shape::Json, true),
    row("images/edits", Dialect::OpenAi, Operation::ImageEdits, Shape::Multipart, true),
    row("images/variations", Dialect::OpenAi, Operation::ImageVariations, Shape::Multipart, false),
    row("audio/speech", Dialect::OpenAi, Operation::AudioSpeech, Shape::Json, true),
    row("audio/transcriptions", Dialect::OpenAi, Operation::AudioTranscriptions, Shape::Multipart, true),
    row("audio/translations", Dialect::OpenAi, Operation::AudioTranslations, Shape::Multipart, false),
    // They count or compact what a Responses call would take, for the model they name.
    row("responses/input_tokens", Dialect::OpenAi, Operation::Other, Shape::Json, false),
    row("responses/compact", Dialect::OpenAi, Operation::Other, Shape::Json, false),
];

/// Says what a request asks for; `None` for a path outside `/v1/`. A query string, if there is one,
/// is not looked at.
///
/// `/v1/messages` and what lies below it is Anthropic's; `/v1/models` is Anthropic's when the
/// request carries an `anthropic-version` header; everything else is OpenAI's.
pub fn classify(method: &[u8], path: &[u8], has_anthropic_version: bool) -> Option<Call> {
    let path = match memchr::memchr(b'?', path) {
        Some(at) => path.get(..at)?,
        None => path,
    };
    let below = path.strip_prefix(b"/v1/")?;
    if method == b"POST"
        && let Some(row) = CALLS.iter().find(|row| row.path == below)
    {
        return Some(row.call);
    }
    let models = if has_anthropic_version { Dialect::Anthropic } else { Dialect::OpenAi };
    let (dialect, operation, shape) = match below.strip_prefix(b"models") {
        Some(b"") if method == b"GET" => (models, Operation::Models, Shape::List),
        Some([b'/', _, ..]) if method == b"GET" => (models, Operation::Model, Shape::ModelById),
        Some(b"" | [b'/', ..]) => (models, Operation::Other, Shape::Opaque),
        _ if below == b"messages" || below.starts_with(b"messages/") => {
            (Dialect::Anthropic, Operation::Other, Shape::Opaque)
        }
        _ => (Dialect::OpenAi, Operation::Other, Shape::Opaque),
    };
    Some(Call { dialect, operation, shape, may_stream: false })
}
