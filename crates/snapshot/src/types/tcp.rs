//! Where a TCP listener passes its connections on to.

use std::collections::HashMap;
use std::sync::Arc;

use super::Group;
use crate::live::TcpSeries;

/// The destinations of a TCP listener.
#[derive(Debug)]
pub struct TcpTarget {
    /// Upstreams by server name. Empty: the ClientHello is not looked at.
    pub names: ServerNames,
    /// Who takes what no name matches; None: such a connection is closed.
    pub upstream: Option<Arc<Group>>,
    /// Counters.
    pub series: Arc<TcpSeries>,
}

/// Upstreams by the server name of a ClientHello (RFC 6066 section 3).
#[derive(Debug)]
pub struct ServerNames<T = Arc<Group>> {
    exact: HashMap<String, T>,
    /// By what follows `*`, the dot included.
    below: HashMap<String, T>,
}

impl<T> Default for ServerNames<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new() }
    }
}

impl<T> ServerNames<T> {
    /// Adds a name in lower case, or `*.` and a domain for every name below it.
    pub fn insert(&mut self, name: &str, group: T) {
        match name.strip_prefix('*') {
            Some(domain) => self.below.insert(domain.to_owned(), group),
            None => self.exact.insert(name.to_owned(), group),
        };
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    /// The upstream of a server name in lower case: the name itself first, then the longest domain
    /// above it.
    pub fn find(&self, name: &str) -> Option<&T> {
        if let Some(group) = self.exact.get(name) {
            return Some(group);
        }
        let mut dots = name.char_indices().filter(|(at, c)| *c == '.' && *at > 0);
        dots.find_map(|(at, _)| self.below.get(name.get(at..)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_wins() {
        let mut names = ServerNames::default();
        for name in ["a.example.com", "*.example.com", "*.b.example.com"] {
            names.insert(name, name);
        }
        for (asked, found) in [
            ("a.example.com", Some("a.example.com")),
            ("c.example.com", Some("*.example.com")),
            ("x.a.example.com", Some("*.example.com")),
            ("x.b.example.com", Some("*.b.example.com")),
            ("b.example.com", Some("*.example.com")),
            ("example.com", None),
            (".example.com", None),
            ("badexample.com", None),
            ("", None),
        ] {
            assert_eq!(names.find(asked).copied(), found, "{asked}");
        }
    }
}
