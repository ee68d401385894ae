//! Who may use the admin listener: those with its token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tidegate_snapshot::Shared;

use super::{Admin, refusal};

/// Where the token comes from.
pub(super) enum Token {
    /// The configuration in force has it; it changes with reloads. One that has none opens nothing.
    Configured,
    /// The configuration had none at the start: this one, until one has.
    Given(String),
}

impl Token {
    /// `given` counts only where the configuration in force has no admin section.
    pub(super) fn new(shared: &Shared, given: String) -> Self {
        match shared.snapshot.load().config.admin {
            Some(_) => Self::Configured,
            None => Self::Given(given),
        }
    }

    /// Does the Authorization field of a request hold the token of this moment?
    fn opens(&self, shared: &Shared, fields: &HeaderMap) -> bool {
        let Some(offered) = bearer(fields) else { return false };
        let snapshot = shared.snapshot.load();
        match (&snapshot.config.admin, self) {
            (Some(admin), _) => equal(offered, admin.token.expose().as_bytes()),
            (None, Self::Given(token)) => equal(offered, token.as_bytes()),
            (None, Self::Configured) => false,
        }
    }
}

/// Lets a request pass that has the token; answers 401 to all others, whatever they ask for.
pub(super) async fn authorize(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response {
    if admin.token.opens(&admin.shared, request.headers()) {
        return next.run(request).await;
    }
    let mut response = refusal(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "Send the admin token as \"Authorization: Bearer TOKEN\".",
    );
    let challenge = HeaderValue::from_static("Bearer realm=\"tidegate admin\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// The credential of the only Authorization field (RFC 6750 section 2.1; the scheme's case does not
/// matter, RFC 9110 section 11.1).
fn bearer(fields: &HeaderMap) -> Option<&[u8]> {
    let mut values = fields.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Compares digests, so that neither content nor length shows in the time it takes. Nothing equals
/// an empty token.
fn equal(offered: &[u8], token: &[u8]) -> bool {
    let same = Sha256::digest(offered).as_slice().ct_eq(Sha256::digest(token).as_slice());
    !token.is_empty() && bool::from(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: &[&str]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for value in values {
            fields.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        fields
    }

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_the_scheme() {
        for text in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(bearer(&fields(&[text])), Some(&b"abc"[..]), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_token() {
        for texts in [&[][..], &["Basic abc"], &["Bearer"], &["abc"], &["Bearer a", "Bearer a"]] {
            assert_eq!(bearer(&fields(texts)), None, "{texts:?}");
        }
    }

    #[test]
    fn only_the_whole_token_is_equal_and_an_empty_one_never_is() {
        assert!(equal(b"secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secret2", b"Secret"] {
            assert!(!equal(wrong, b"secret"));
        }
        assert!(!equal(b"", b""));
    }
}
