//! Which route a request takes: by host, then by the longest path prefix.

/// What a route asks of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteKey {
    /// The host it answers for; `None` answers for every host. A port is ignored.
    pub host: Option<String>,
    /// What the path must begin with.
    pub path: String,
}

/// Routes in the order in which they are tried.
///
/// A route for the request's host goes before any route for every host; among equals the longest
/// path wins; among those the one that was given first. A host whose routes do not match the path
/// falls back to those for every host.
///
/// A path is a plain prefix, as in nginx's `location /x`: `/api` matches `/api`, `/api/x` and
/// `/apix`; write `/api/` to match below it only. Host names compare without regard to case, port
/// and a final dot. Found by linear scan: right for the tens of routes of a configuration.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// As [`host_name`] gives it.
    host: Option<Vec<u8>>,
    path: Vec<u8>,
    index: usize,
}

impl RouteTable {
    /// Sorts the routes; [`find`](Self::find) answers with places in `keys`.
    pub fn build(keys: Vec<RouteKey>) -> Self {
        let mut entries: Vec<Entry> = keys
            .into_iter()
            .enumerate()
            .map(|(index, key)| Entry {
                host: key.host.map(|host| host_name(host.as_bytes()).to_vec()),
                path: key.path.into_bytes(),
                index,
            })
            .collect();
        // Stable: equals stay in the order in which they were given.
        entries.sort_by_key(|entry| (entry.host.is_none(), std::cmp::Reverse(entry.path.len())));
        Self { entries }
    }

    /// The index of the route for a request, `host` as in its Host field (may be empty) and `path`
    /// normalised.
    pub fn find(&self, host: &[u8], path: &[u8]) -> Option<usize> {
        let host = host_name(host);
        self.entries.iter().find(|entry| entry.matches(host, path)).map(|entry| entry.index)
    }
}

impl Entry {
    fn matches(&self, host: &[u8], path: &[u8]) -> bool {
        path.starts_with(&self.path)
            && self.host.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(host))
    }
}

/// A host without its port and without the dot that ends a fully qualified name. An IPv6 address
/// keeps its brackets.
fn host_name(host: &[u8]) -> &[u8] {
    let end_of_address = host.iter().rposition(|byte| *byte == b']');
    let from = end_of_address.unwrap_or(0);
    let port = host.iter().skip(from).position(|byte| *byte == b':').map(|at| from + at);
    let name = port.and_then(|at| host.get(..at)).unwrap_or(host);
    name.strip_suffix(b".").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(keys: &[(&str, &str)]) -> RouteTable {
        RouteTable::build(keys.iter().map(|(host, path)| key(host, path)).collect())
    }

    fn key(host: &str, path: &str) -> RouteKey {
        RouteKey { host: (!host.is_empty()).then(|| host.to_owned()), path: path.to_owned() }
    }

    #[test]
    fn longest_path_wins_whatever_the_order() {
        let routes = table(&[("", "/"), ("", "/v1/"), ("", "/v1/files")]);
        assert_eq!(routes.find(b"x", b"/v1/files/1"), Some(2));
        assert_eq!(routes.find(b"x", b"/v1/chat"), Some(1));
        assert_eq!(routes.find(b"x", b"/v1"), Some(0));
        assert_eq!(routes.find(b"", b"/"), Some(0));
    }

    #[test]
    fn path_is_a_plain_prefix() {
        let routes = table(&[("", "/api")]);
        for path in ["/api", "/api/x", "/apix"] {
            assert_eq!(routes.find(b"", path.as_bytes()), Some(0), "{path}");
        }
        assert_eq!(routes.find(b"", b"/ap"), None);
        assert_eq!(routes.find(b"", b"/API"), None);
    }

    #[test]
    fn host_goes_before_a_longer_path() {
        let routes = table(&[("", "/api/v2/"), ("app.example.com", "/api/")]);
        assert_eq!(routes.find(b"app.example.com", b"/api/v2/x"), Some(1));
        assert_eq!(routes.find(b"other.example.com", b"/api/v2/x"), Some(0));
        assert_eq!(routes.find(b"other.example.com", b"/api/x"), None);
    }

    #[test]
    fn host_without_a_matching_path_falls_back() {
        let routes = table(&[("a", "/x/"), ("", "/")]);
        assert_eq!(routes.find(b"a", b"/y"), Some(1));
    }

    #[test]
    fn hosts_compare_without_case_port_and_final_dot() {
        let routes = table(&[("App.Example.com:443", "/"), ("[::1]", "/")]);
        for host in
            ["app.example.com", "APP.EXAMPLE.COM:8080", "app.example.com.", "app.example.com.:80"]
        {
            assert_eq!(routes.find(host.as_bytes(), b"/"), Some(0), "{host}");
        }
        assert_eq!(routes.find(b"[::1]:8080", b"/"), Some(1));
        for host in ["[::2]", "example.com", "app.example.com.evil", "xapp.example.com", "", ":"] {
            assert_eq!(routes.find(host.as_bytes(), b"/"), None, "{host}");
        }
    }

    #[test]
    fn of_two_equal_routes_the_first_wins() {
        assert_eq!(
            table(&[("a", "/"), ("A:1", "/"), ("", "/"), ("", "/")]).find(b"a", b"/"),
            Some(0)
        );
        assert_eq!(table(&[("b", "/"), ("", "/"), ("", "/")]).find(b"a", b"/"), Some(1));
    }

    proptest! {
        #[test]
        fn agrees_with_trying_every_route(
            keys in prop::collection::vec((prop::option::of("[ab]"), "/[xy/]{0,4}"), 0..12),
            host in "[abc]", path in "/[xy/]{0,6}",
        ) {
            let keys: Vec<_> = keys.into_iter().map(|(host, path)| RouteKey { host, path }).collect();
            let mut best: Option<usize> = None;
            for (index, key) in keys.iter().enumerate() {
                let matches = path.starts_with(&key.path) && key.host.as_ref().is_none_or(|name| *name == host);
                let rank = |index: usize| (keys[index].host.is_some(), keys[index].path.len());
                if matches && best.is_none_or(|best| rank(index) > rank(best)) {
                    best = Some(index);
                }
            }
            let table = RouteTable::build(keys);
            prop_assert_eq!(table.find(host.as_bytes(), path.as_bytes()), best);
            prop_assert_eq!(table.find(format!("{}:80", host.to_uppercase()).as_bytes(), path.as_bytes()), best);
        }

        #[test]
        fn any_bytes_are_looked_up_without_panic(host in prop::collection::vec(any::<u8>(), 0..12), path in prop::collection::vec(any::<u8>(), 0..12)) {
            let routes = table(&[("a", "/"), ("[::1]", "/b"), ("", "/c")]);
            let found = routes.find(&host, &path);
            prop_assert!(found.is_none() || path.starts_with(b"/"));
        }
    }
}
