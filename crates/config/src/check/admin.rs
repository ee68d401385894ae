//! Whether the admin listener's tokens make sense.

use std::net::SocketAddr;

use super::{Check, is_visible_ascii, unique_names};
use crate::model::Config;
use crate::secret::Secret;

/// A token that may be tried from a network must not be guessable.
const NETWORK_TOKEN_MIN: usize = 16;

/// Tokens beside the first: each is compared at every request.
const TOKENS_MAX: usize = 64;

pub(super) fn tokens(check: &mut Check, config: &Config) {
    let Some(admin) = &config.admin else { return };
    let tokens = "admin.tokens";
    if admin.token.is_none()
        && admin.tokens.is_empty()
        && !check.is_reported("admin.token")
        && !check.is_reported(tokens)
    {
        check.problem("admin.token", "is missing");
    }
    if admin.tokens.len() > TOKENS_MAX {
        check.problem(tokens, format!("has more than {TOKENS_MAX} tokens"));
        return;
    }
    if let Some(secret) = &admin.token {
        token(check, "admin.token", secret, admin.bind);
    }
    for (index, more) in admin.tokens.iter().enumerate() {
        token(check, &format!("{tokens}[{index}].token"), &more.token, admin.bind);
    }
    let names = admin
        .tokens
        .iter()
        .enumerate()
        .map(|(index, more)| (format!("{tokens}[{index}].name"), more.name.as_str()));
    unique_names(check, names);
    let secrets = admin.token.iter().map(|secret| ("admin.token".to_owned(), secret.expose()));
    let more = admin
        .tokens
        .iter()
        .enumerate()
        .map(|(index, more)| (format!("{tokens}[{index}].token"), more.token.expose()));
    check.unique(secrets.chain(more), "token");
}

fn token(check: &mut Check, path: &str, secret: &Secret, bind: SocketAddr) {
    let text = secret.expose();
    if text.is_empty() {
        check.problem(path, "is empty");
    } else if !is_visible_ascii(text) {
        check.problem(path, "must be visible ASCII characters without spaces");
    } else if !bind.ip().is_loopback() && text.len() < NETWORK_TOKEN_MIN {
        let message = format!(
            "must have {NETWORK_TOKEN_MIN} characters or more, because admin.bind {bind} is not loopback"
        );
        check.problem(path, message);
    }
}
