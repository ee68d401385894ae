//! The path to ask a provider for.

use crate::Dialect;

/// Appends to `out` the path on the provider for a caller's `path` (a query string may follow it).
///
/// `base_path` is the path part of the provider's base URL, with or without a trailing slash.
/// OpenAI: it takes the place of the caller's `/v1`, because vendors put their own version there
/// (`/v1/openai`, `/api/paas/v4`). Anthropic: the caller's path is appended whole, and a `/v1` that
/// ends the base is not repeated.
pub fn upstream_path(dialect: Dialect, base_path: &str, path: &[u8], out: &mut Vec<u8>) {
    let base = base_path.trim_end_matches('/');
    let (base, rest) = match dialect {
        Dialect::OpenAi => (base, without_version(path)),
        Dialect::Anthropic => (base.strip_suffix("/v1").unwrap_or(base), path),
    };
    out.reserve(base.len() + rest.len());
    out.extend_from_slice(base.as_bytes());
    out.extend_from_slice(rest);
}

/// `/v1/x` → `/x`; a path that does not start with the segment `v1` stays whole.
fn without_version(path: &[u8]) -> &[u8] {
    match path.strip_prefix(b"/v1") {
        Some(rest) if rest.starts_with(b"/") => rest,
        _ => path,
    }
}
