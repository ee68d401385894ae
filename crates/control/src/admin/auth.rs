//! Who may use the admin listener: those who hold a token, each within its role.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tidegate_config::Role;
use tidegate_snapshot::Shared;

use super::{Admin, refusal};

/// Wrong tokens in a window that are answered at once. Beyond it each answer waits, so that nobody
/// can try tokens faster than connections are let in. Right tokens never wait.
const WRONG_MAX: u64 = 100;

/// The window.
const WINDOW: Duration = Duration::from_secs(10);

/// How long an answer then waits.
const PENALTY: Duration = Duration::from_secs(1);

/// The name of those who come with `admin.token`.
const FIRST: &str = "admin";

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    /// The token's name.
    pub(super) name: String,
    /// What it may do.
    pub(super) role: Role,
}

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

    /// Whose token of this moment is it that the Authorization field of a request holds?
    fn holder(&self, shared: &Shared, fields: &HeaderMap) -> Option<Who> {
        let offered = bearer(fields)?;
        let first = |token: &str| {
            equal(offered, token).then(|| Who { name: FIRST.to_owned(), role: Role::Admin })
        };
        let snapshot = shared.snapshot.load();
        match (&snapshot.config.admin, self) {
            (Some(admin), _) => {
                let mut holder = admin.token.as_ref().and_then(|token| first(token.expose()));
                // All are compared, whichever is right.
                for more in &admin.tokens {
                    if equal(offered, more.token.expose()) {
                        holder = Some(Who { name: more.name.clone(), role: more.role });
                    }
                }
                holder
            }
            (None, Self::Given(token)) => first(token),
            (None, Self::Configured) => None,
        }
    }
}

/// Counts wrong tokens.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    window: AtomicU64,
    count: AtomicU64,
}

impl Wrong {
    /// Notes one at `now_ms`; true when there were too many.
    fn is_one_too_many(&self, now_ms: u64) -> bool {
        let window = now_ms / WINDOW.as_millis() as u64;
        // Two at the turn of a window may both begin it: one more or less does not matter.
        if self.window.swap(window, Relaxed) != window {
            self.count.store(0, Relaxed);
        }
        self.count.fetch_add(1, Relaxed) >= WRONG_MAX
    }
}

/// Lets a request pass that has a token, and notes whose; answers 401 to all others, whatever they
/// ask for.
pub(super) async fn authorize(
    State(admin): State<Arc<Admin>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(who) = admin.token.holder(&admin.shared, request.headers()) {
        request.extensions_mut().insert(who);
        return next.run(request).await;
    }
    if admin.wrong.is_one_too_many(admin.shared.live.now_ms()) {
        tokio::time::sleep(PENALTY).await;
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
fn equal(offered: &[u8], token: &str) -> bool {
    let token = token.as_bytes();
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
        assert!(equal(b"secret", "secret"));
        for wrong in [&b""[..], b"secre", b"secret2", b"Secret"] {
            assert!(!equal(wrong, "secret"));
        }
        assert!(!equal(b"", ""));
    }

    #[test]
    fn too_many_wrong_tokens_wait_until_the_next_window() {
        let wrong = Wrong::default();
        let waited = |now_ms| (0..=WRONG_MAX).filter(|_| wrong.is_one_too_many(now_ms)).count();
        assert_eq!(waited(50_000), 1);
        assert_eq!(waited(60_000), 1);
        assert!(wrong.is_one_too_many(69_999));
        assert!(!wrong.is_one_too_many(70_000));
    }
}
