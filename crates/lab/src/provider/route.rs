//! From method and path to the endpoint that answers.

use tidegate_wire::http1::head::FieldId;

use super::answer::Answer;
use super::call::Call;
use super::failure::{Dialect, refused_key};
use super::stats::Stats;
use super::{
    anthropic_messages, gemini, models, openai_chat, openai_completions, openai_inputs,
    openai_media, openai_responses,
};
use crate::connection::Request;
use crate::fingerprint::fingerprint;

/// Answers a request as its vendor would. With `demanded`, only that key is let in.
pub(super) fn answer(request: Request, demanded: Option<&str>, stats: &Stats) -> Answer {
    let call = Call {
        dialect: dialect(&request),
        id: fingerprint(request.body),
        key: offered_key(&request),
        stats,
        request,
    };
    check_key(&call, demanded).and_then(|()| route(&call)).unwrap_or_else(|failure| failure)
}

fn dialect(request: &Request) -> Dialect {
    let path = request.path();
    if path.starts_with("/v1beta/") {
        Dialect::Gemini
    } else if path.starts_with("/v1/messages")
        || (path.starts_with("/v1/models")
            && request.known_field(FieldId::AnthropicVersion).is_some())
    {
        Dialect::Anthropic
    } else {
        Dialect::OpenAi
    }
}

fn offered_key<'a>(request: &Request<'a>) -> Option<&'a str> {
    let bearer = request.known_field(FieldId::Authorization).map(|value| {
        let (scheme, key) = value.split_once(' ').unwrap_or(("", value));
        if scheme.eq_ignore_ascii_case("bearer") { key.trim() } else { value }
    });
    bearer
        .or_else(|| request.known_field(FieldId::XApiKey))
        .or_else(|| request.known_field(FieldId::XGoogApiKey))
        .or_else(|| request.query("key"))
}

fn check_key(call: &Call, demanded: Option<&str>) -> Result<(), Answer> {
    match (demanded, call.key) {
        (None, _) => Ok(()),
        (Some(demanded), Some(key)) if demanded == key => Ok(()),
        (Some(_), Some(key)) => Err(call.fail(401, &refused_key(key))),
        (Some(_), None) => Err(call.fail(401, "You didn't provide an API key.")),
    }
}

fn route(call: &Call) -> Result<Answer, Answer> {
    let path = call.request.path();
    let read = matches!(call.request.method(), "GET" | "HEAD");
    if !read && call.request.method() != "POST" {
        let method = call.request.method();
        return Err(call.fail(405, &format!("Not allowed to {method} on {path}")));
    }
    match (read, path) {
        (false, "/v1/chat/completions") => openai_chat::answer(call),
        (false, "/v1/messages") => anthropic_messages::answer(call),
        (false, "/v1/messages/count_tokens") => anthropic_messages::count_tokens(call),
        (false, "/v1/responses") => openai_responses::answer(call),
        (false, "/v1/completions") => openai_completions::answer(call),
        (false, "/v1/embeddings") => openai_inputs::embeddings(call),
        (false, "/v1/moderations") => openai_inputs::moderations(call),
        (false, "/v1/images/generations") => openai_media::images(call),
        (false, "/v1/images/edits" | "/v1/images/variations") => openai_media::image_edits(call),
        (false, "/v1/audio/transcriptions" | "/v1/audio/translations") => {
            openai_media::transcriptions(call)
        }
        (false, "/v1/audio/speech") => openai_media::speech(call),
        (false, "/v1/files") => openai_media::upload(call),
        (true, "/v1/models" | "/v1beta/models") => Ok(models::list(call)),
        _ => route_to_model(call, read, path),
    }
}

/// Paths that name a model.
fn route_to_model(call: &Call, read: bool, path: &str) -> Result<Answer, Answer> {
    if let Some(name) = path.strip_prefix("/v1/models/").filter(|_| read) {
        return models::one(call, name);
    }
    let Some(rest) = path.strip_prefix("/v1beta/models/") else {
        return Err(call.unknown_path());
    };
    match rest.split_once(':') {
        Some((name, action)) if !read => gemini::answer(call, name, action),
        None if read => models::one(call, rest),
        _ => Err(call.unknown_path()),
    }
}
