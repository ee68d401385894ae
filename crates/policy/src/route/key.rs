//! What a route asks of a request, and which of two routes is tried first.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::{Asked, HasField, Pattern, Verdict};

/// What a route asks of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteKey {
    /// Which hosts.
    pub host: HostMatch,
    /// Which paths.
    pub path: PathMatch,
    /// Which methods, as names; empty: all. GET stands for HEAD too.
    pub methods: Vec<String>,
    /// Which fields the request must have, all of them.
    pub fields: Vec<FieldCondition>,
}

/// Which hosts a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// Every host, also none.
    Any,
    /// This one, in lower case, without a port and a final dot.
    Name(String),
    /// Those below this domain, and not itself: `example.com` for `*.example.com`.
    Below(String),
}

impl HostMatch {
    /// From what a configuration says: `None`, `app.example.com` or `*.example.com`. A port is
    /// ignored.
    pub fn of(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::Any };
        let lower = text.to_ascii_lowercase();
        let name = String::from_utf8_lossy(host_name(lower.as_bytes())).into_owned();
        match name.strip_prefix("*.") {
            Some(domain) => Self::Below(domain.to_owned()),
            None => Self::Name(name),
        }
    }

    fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Name(name) => name.as_bytes().eq_ignore_ascii_case(host),
            Self::Below(domain) => {
                let Some(rest) = host.len().checked_sub(domain.len()) else { return false };
                let (before, end) = host.split_at(rest);
                before.len() > 1
                    && before.ends_with(b".")
                    && end.eq_ignore_ascii_case(domain.as_bytes())
            }
        }
    }
}

/// Which paths a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// Those that begin like this.
    Prefix(String),
    /// This one.
    Exact(String),
    /// Those in which this is found.
    Pattern(Pattern),
}

/// A field that a request must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldCondition {
    /// Its name; case does not matter.
    pub name: String,
    /// The whole value, case matters; `None`: any.
    pub value: Option<String>,
}

impl RouteKey {
    /// Whether it asks for nothing but host and path.
    pub fn is_bare(&self) -> bool {
        self.methods.is_empty() && self.fields.is_empty()
    }

    /// How this route alone fares with a request.
    pub(super) fn verdict(&self, asked: &Asked<'_>, has: HasField<'_>) -> Verdict {
        let path = match &self.path {
            PathMatch::Prefix(path) => asked.path.starts_with(path.as_bytes()),
            PathMatch::Exact(path) => asked.path == path.as_bytes(),
            PathMatch::Pattern(pattern) => pattern.matches(asked.path),
        };
        if !self.host.matches(host_name(asked.host)) {
            Verdict::Host
        } else if !path {
            Verdict::Path
        } else if let Some(missing) = self.fields.iter().find(|condition| !has(condition)) {
            Verdict::Field(missing.clone())
        } else if !has_method(&self.methods, asked.method) {
            Verdict::Method
        } else {
            Verdict::Taken
        }
    }
}

/// Whether a route for these methods takes this one. HEAD is GET without the body (RFC 9110 section
/// 9.3.2), so that a route for GET takes both.
pub(super) fn has_method(methods: &[String], method: &[u8]) -> bool {
    methods.is_empty()
        || methods.iter().any(|name| {
            name.as_bytes() == method || (name.as_bytes() == b"GET" && method == b"HEAD")
        })
}

/// The places in `keys` in the order in which the routes are tried. Routes of one host are
/// neighbours, and so are those of one path.
pub(super) fn order(keys: &[RouteKey]) -> Vec<usize> {
    // A pattern's place is where it was first written.
    let mut patterns: HashMap<(&HostMatch, &str), usize> = HashMap::new();
    for (index, key) in keys.iter().enumerate() {
        if let PathMatch::Pattern(pattern) = &key.path {
            patterns.entry((&key.host, pattern.as_str())).or_insert(index);
        }
    }
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_cached_key(|&index| {
        let key = keys.get(index);
        let host = key.map(|key| match &key.host {
            HostMatch::Name(name) => (0, Reverse(0), name.as_str()),
            HostMatch::Below(domain) => (1, Reverse(domain.len()), domain.as_str()),
            HostMatch::Any => (2, Reverse(0), ""),
        });
        let path = key.map(|key| match &key.path {
            PathMatch::Exact(path) => (0, 0, Reverse(0), path.as_str()),
            PathMatch::Pattern(pattern) => {
                let place = patterns.get(&(&key.host, pattern.as_str())).copied();
                (1, place.unwrap_or(index), Reverse(0), "")
            }
            PathMatch::Prefix(path) => (2, 0, Reverse(path.len()), path.as_str()),
        });
        let conditions =
            key.map_or(0, |key| key.fields.len() + usize::from(!key.methods.is_empty()));
        (host, path, Reverse(conditions), index)
    });
    order
}

/// A host without its port and without the dot that ends a fully qualified name. An IPv6 address
/// keeps its brackets.
pub fn host_name(host: &[u8]) -> &[u8] {
    let end_of_address = host.iter().rposition(|byte| *byte == b']');
    let from = end_of_address.unwrap_or(0);
    let port = host.iter().skip(from).position(|byte| *byte == b':').map(|at| from + at);
    let name = port.and_then(|at| host.get(..at)).unwrap_or(host);
    name.strip_suffix(b".").unwrap_or(name)
}
