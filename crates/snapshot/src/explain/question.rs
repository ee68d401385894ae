//! The request that an explanation is asked for.

use std::net::IpAddr;

use serde::Serialize;
use tidegate_policy::route::FieldCondition;

use crate::types::Traffic;

/// A request, as far as its way depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Question {
    /// The method's name.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host and port as in the Host field; may be empty.
    pub authority: String,
    /// The path as written, without the query.
    pub path: String,
    /// The query without its question mark.
    pub query: Option<String>,
    /// Where the request comes from.
    pub from: Option<IpAddr>,
    /// Its fields.
    pub fields: Vec<(String, String)>,
}

/// Why a text is no question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Neither a URL nor a path.
    #[error("{0:?} is no URL: write one such as https://app.example.com/api/x, or a path")]
    Url(String),
    /// Not a field.
    #[error("{0:?} is no field: write \"Name: value\"")]
    Field(String),
    /// Not a method.
    #[error("{0:?} is no method: write one such as GET")]
    Method(String),
}

impl Question {
    /// A question about `http(s)://host/path?query`, or about a path alone. `fields` are written as
    /// `Name: value`; a Host among them takes the place of the URL's.
    pub fn parse(
        method: &str,
        url: &str,
        from: Option<IpAddr>,
        fields: &[String],
    ) -> Result<Self, QuestionError> {
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(QuestionError::Method(method.to_owned()));
        }
        let wrong = || QuestionError::Url(url.to_owned());
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
            None if url.starts_with('/') => ("http", url),
            _ => return Err(wrong()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let target = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(target);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        if authority.contains('@') || (url.contains("://") && authority.is_empty()) {
            return Err(wrong());
        }
        let mut question = Self {
            method: method.to_ascii_uppercase(),
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            query,
            from,
            fields: Vec::with_capacity(fields.len()),
        };
        for field in fields {
            let (name, value) =
                field.split_once(':').ok_or_else(|| QuestionError::Field(field.clone()))?;
            let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
            if name.eq_ignore_ascii_case("host") {
                question.authority.clone_from(&value);
            }
            question.fields.push((name, value));
        }
        Ok(question)
    }

    pub(super) fn has(&self, asked: &FieldCondition) -> bool {
        self.fields.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case(&asked.name)
                && asked.value.as_ref().is_none_or(|wanted| wanted == value)
        })
    }

    /// The kind of traffic, for the balance.
    pub(super) fn traffic(&self) -> Traffic {
        let upgrade = self.field("upgrade");
        if upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
            Traffic::WebSocket
        } else if self.field("accept").is_some_and(|accept| accept.starts_with("text/event-stream"))
        {
            Traffic::Sse
        } else {
            Traffic::Http
        }
    }

    /// The first field of this name.
    pub(super) fn field(&self, asked: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields.find_map(|(name, value)| name.eq_ignore_ascii_case(asked).then_some(value.as_str()))
    }

    /// The key that the caller offers.
    pub(super) fn key(&self) -> Option<&str> {
        let bearer = self.field("authorization").and_then(|value| {
            let (scheme, key) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case("bearer ").then_some(key.trim())
        });
        bearer.or_else(|| self.field("x-api-key"))
    }

    /// The first cookie of this name.
    pub(super) fn cookie(&self, asked: &str) -> Option<&str> {
        let mut pairs = self.field("cookie")?.split(';');
        pairs.find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            (name.trim() == asked).then_some(value)
        })
    }
}
