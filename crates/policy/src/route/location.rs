//! Where a redirect leads: a template with parts of the request.

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pieces: Vec<Piece>,
    /// The query is put behind it.
    append_query: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Scheme,
    Host,
    Path,
    Query,
}

/// The parts of a request that a location can have.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'r> {
    /// `http` or `https`.
    pub scheme: &'r [u8],
    /// The host asked for, without its port; may be empty.
    pub host: &'r [u8],
    /// The path as it would be forwarded.
    pub path: &'r [u8],
    /// The query without its question mark.
    pub query: Option<&'r [u8]>,
}

/// Why a text is no location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Braces around something else.
    #[error("{0} is none of {{scheme}}, {{host}}, {{path}} and {{query}}")]
    Unknown(String),
    /// A byte that a URL cannot hold as it is.
    #[error("must be visible ASCII without blanks")]
    BadByte,
    /// Neither a URL nor a path.
    #[error("must begin with http://, https://, {{scheme}}://, {{path}} or \"/\"")]
    Beginning,
}

impl Location {
    /// Reads `{scheme}`, `{host}`, `{path}` and `{query}` (without its question mark) out of a text.
    /// A text with neither `?` nor `{query}` keeps the request's query; one that ends in `?` drops
    /// it.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(LocationError::BadByte);
        }
        let beginnings = ["http://", "https://", "{scheme}://", "{path}", "/"];
        if !beginnings.iter().any(|beginning| text.starts_with(beginning)) {
            return Err(LocationError::Beginning);
        }
        let append_query = !text.contains('?') && !text.contains("{query}");
        let mut pieces = Vec::new();
        let mut rest = text.strip_suffix('?').unwrap_or(text);
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            let open = || LocationError::Unknown(format!("{{{after}"));
            let (name, after) = after.split_once('}').ok_or_else(open)?;
            pieces.push(match name {
                "scheme" => Piece::Scheme,
                "host" => Piece::Host,
                "path" => Piece::Path,
                "query" => Piece::Query,
                _ => return Err(LocationError::Unknown(format!("{{{name}}}"))),
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Self { pieces, append_query })
    }

    /// Whether it needs a host, which an HTTP/1.0 request may lack.
    pub fn needs_host(&self) -> bool {
        self.pieces.contains(&Piece::Host)
    }

    /// The location for a request.
    pub fn of(&self, asking: &Asking<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + asking.path.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Scheme => out.extend_from_slice(asking.scheme),
                Piece::Host => out.extend_from_slice(asking.host),
                Piece::Path => {
                    // At the beginning, or behind a "/", two slashes would name another host.
                    let at_root = out.iter().all(|byte| *byte == b'/');
                    let slashes = asking.path.iter().take_while(|byte| **byte == b'/').count();
                    let skipped = if at_root { slashes.saturating_sub(1) + out.len() } else { 0 };
                    out.extend_from_slice(asking.path.get(skipped..).unwrap_or_default());
                }
                Piece::Query => out.extend_from_slice(asking.query.unwrap_or_default()),
            }
        }
        if let (true, Some(query)) = (self.append_query, asking.query) {
            out.push(b'?');
            out.extend_from_slice(query);
        }
        out
    }
}
