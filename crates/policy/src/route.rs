//! Which route a request takes: by host, path, method and fields.

mod hidden;
mod key;
mod location;
mod pattern;
mod rewrite;
#[cfg(test)]
mod tests;

pub use hidden::{Hidden, hidden};
pub use key::{FieldCondition, HostMatch, PathMatch, RouteKey, host_name};
pub use location::{Asking, Location, LocationError};
pub use pattern::{Pattern, PatternError};
pub use rewrite::{Rewrite, RewriteError, TemplateError};

/// What is asked for, as far as routes look at it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    /// As in the Host field, port and all; may be empty.
    pub host: &'r [u8],
    /// Normalised, without the query.
    pub path: &'r [u8],
    /// The method's name.
    pub method: &'r [u8],
}

/// Does the request have a field like this? Only asked where routes have such conditions.
pub type HasField<'f> = &'f dyn Fn(&FieldCondition) -> bool;

/// Routes in the order in which they are tried.
///
/// - A route for the request's host goes before one for `*.its.domain` (the longest domain first),
///   and that before one for every host.
/// - For one host: exact paths, then patterns in the order written, then prefixes, the longest
///   first. Patterns go before prefixes as in nginx: nearly every configuration ends in a route for
///   `/`, and behind it no pattern would ever be reached.
/// - For one path: more conditions (methods, fields) before fewer, then the order written.
///
/// A route whose conditions do not hold is passed over, so that a host's routes that do not match
/// fall back to those for every host.
///
/// A prefix is plain, as in nginx's `location /x`: `/api` matches `/api`, `/api/x` and `/apix`; write
/// `/api/` to match below it only. Host names compare without regard to case, port and a final dot.
/// Hosts and paths are found by binary search: a thousand routes cost ten comparisons each.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    keys: Vec<RouteKey>,
    /// Sorted by [`by_host`].
    names: Vec<(Vec<u8>, Paths)>,
    /// Domains with their leading dot, sorted by [`by_host`].
    domains: Vec<(Vec<u8>, Paths)>,
    any: Paths,
}

/// The routes of one host.
#[derive(Clone, Debug, Default)]
struct Paths {
    /// Sorted by path.
    exact: Vec<(Vec<u8>, Vec<Entry>)>,
    /// In the order written.
    patterns: Vec<(Pattern, Vec<Entry>)>,
    /// Sorted by path.
    prefixes: Vec<Prefix>,
}

#[derive(Clone, Debug)]
struct Prefix {
    path: Vec<u8>,
    /// The next shorter prefix that is the beginning of this one.
    parent: Option<usize>,
    entries: Vec<Entry>,
}

/// A route for one host and path, the most conditions first.
#[derive(Clone, Debug)]
struct Entry {
    index: usize,
    // Boxed and absent where there are none: plain tables stay small.
    conditions: Option<Box<Conditions>>,
}

#[derive(Clone, Debug)]
struct Conditions {
    methods: Vec<String>,
    fields: Vec<FieldCondition>,
}

/// How a route fared when a request was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the request.
    Taken,
    /// It would, but one before it does.
    Behind,
    /// It is for another host.
    Host,
    /// It is for another path.
    Path,
    /// It is for other methods.
    Method,
    /// The request has no such field.
    Field(FieldCondition),
}

impl RouteTable {
    /// Sorts the routes; [`find`](Self::find) answers with places in `keys`.
    pub fn build(keys: Vec<RouteKey>) -> Self {
        let mut table = Self::default();
        for index in key::order(&keys) {
            let Some(key) = keys.get(index) else { continue };
            let paths = match &key.host {
                HostMatch::Any => &mut table.any,
                HostMatch::Name(name) => paths_of(&mut table.names, name.as_bytes()),
                HostMatch::Below(domain) => {
                    paths_of(&mut table.domains, format!(".{domain}").as_bytes())
                }
            };
            let conditions = (!key.is_bare()).then(|| {
                Box::new(Conditions { methods: key.methods.clone(), fields: key.fields.clone() })
            });
            paths.add(&key.path, Entry { index, conditions });
        }
        table.keys = keys;
        let hosts = table.names.iter_mut().chain(&mut table.domains).map(|(_, paths)| paths);
        hosts.chain([&mut table.any]).for_each(Paths::sort);
        table.names.sort_by(|a, b| by_host(&a.0, &b.0));
        table.domains.sort_by(|a, b| by_host(&a.0, &b.0));
        table
    }

    /// The index of the route for a request.
    pub fn find(&self, asked: &Asked<'_>, has: HasField<'_>) -> Option<usize> {
        let host = host_name(asked.host);
        if let Some(found) = lookup(&self.names, host).and_then(|paths| paths.find(asked, has)) {
            return Some(found);
        }
        if !self.domains.is_empty() {
            for (at, _) in host.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'.') {
                let domain = host.get(at..).unwrap_or_default();
                let paths = lookup(&self.domains, domain);
                if let Some(found) = paths.and_then(|paths| paths.find(asked, has)) {
                    return Some(found);
                }
            }
        }
        self.any.find(asked, has)
    }

    /// The methods with which this request would have found a route: each once, in the order of the
    /// routes. Empty: no route has its host and path.
    pub fn allowed(&self, asked: &Asked<'_>, has: HasField<'_>) -> Vec<&str> {
        let mut methods = Vec::new();
        for key in &self.keys {
            if key.verdict(asked, has) != Verdict::Method {
                continue;
            }
            for method in &key.methods {
                let implied = (method == "GET").then_some("HEAD");
                for method in [method.as_str()].into_iter().chain(implied) {
                    if !methods.contains(&method) {
                        methods.push(method);
                    }
                }
            }
        }
        methods
    }

    /// How every route fares with this request, in the order in which they are tried.
    pub fn trace(&self, asked: &Asked<'_>, has: HasField<'_>) -> Vec<(usize, Verdict)> {
        let mut taken = false;
        let verdict = |index: usize| {
            let key = self.keys.get(index)?;
            let verdict = match key.verdict(asked, has) {
                Verdict::Taken if taken => Verdict::Behind,
                verdict => verdict,
            };
            taken |= verdict == Verdict::Taken;
            Some((index, verdict))
        };
        key::order(&self.keys).into_iter().filter_map(verdict).collect()
    }

    /// What the route with this index asks of a request.
    pub fn key(&self, index: usize) -> Option<&RouteKey> {
        self.keys.get(index)
    }
}

/// Shorter names first, then by their bytes in lower case: most comparisons end at the length.
fn by_host(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    let lower = |host: &[u8]| host.iter().map(u8::to_ascii_lowercase).collect::<Vec<_>>();
    a.len().cmp(&b.len()).then_with(|| lower(a).cmp(&lower(b)))
}

fn lookup<'t>(hosts: &'t [(Vec<u8>, Paths)], host: &[u8]) -> Option<&'t Paths> {
    if hosts.is_empty() {
        return None;
    }
    let found = hosts.binary_search_by(|(name, _)| {
        name.len()
            .cmp(&host.len())
            .then_with(|| name.iter().copied().cmp(host.iter().map(u8::to_ascii_lowercase)))
    });
    found.ok().and_then(|at| hosts.get(at)).map(|(_, paths)| paths)
}

fn paths_of<'t>(hosts: &'t mut Vec<(Vec<u8>, Paths)>, host: &[u8]) -> &'t mut Paths {
    // The routes of one host come one after the other: it is the last one, or new.
    if hosts.last().is_none_or(|(name, _)| name != host) {
        hosts.push((host.to_vec(), Paths::default()));
    }
    let last = hosts.len() - 1;
    &mut hosts[last].1
}

impl Paths {
    /// Routes come in the order in which they are tried, so that those of one path are neighbours.
    fn add(&mut self, path: &PathMatch, entry: Entry) {
        match path {
            PathMatch::Exact(path) => match self.exact.last_mut() {
                Some((last, entries)) if last == path.as_bytes() => entries.push(entry),
                _ => self.exact.push((path.clone().into_bytes(), vec![entry])),
            },
            PathMatch::Pattern(pattern) => match self.patterns.last_mut() {
                Some((last, entries)) if last == pattern => entries.push(entry),
                _ => self.patterns.push((pattern.clone(), vec![entry])),
            },
            PathMatch::Prefix(path) => match self.prefixes.last_mut() {
                Some(last) if last.path == path.as_bytes() => last.entries.push(entry),
                _ => {
                    let path = path.clone().into_bytes();
                    self.prefixes.push(Prefix { path, parent: None, entries: vec![entry] });
                }
            },
        }
    }

    fn sort(&mut self) {
        self.exact.sort_by(|a, b| a.0.cmp(&b.0));
        self.prefixes.sort_by(|a, b| a.path.cmp(&b.path));
        // Sorted, the prefixes of a path form a chain that ends right before it.
        let mut chain: Vec<usize> = Vec::new();
        for at in 0..self.prefixes.len() {
            let (before, rest) = self.prefixes.split_at_mut(at);
            let Some(here) = rest.first_mut() else { break };
            while let Some(last) = chain.last().and_then(|last| before.get(*last))
                && !here.path.starts_with(&last.path)
            {
                chain.pop();
            }
            here.parent = chain.last().copied();
            chain.push(at);
        }
    }

    fn find(&self, asked: &Asked<'_>, has: HasField<'_>) -> Option<usize> {
        let path = asked.path;
        let first = |entries: &[Entry]| {
            entries.iter().find(|entry| entry.holds(asked.method, has)).map(|entry| entry.index)
        };
        if !self.exact.is_empty()
            && let Ok(at) = self.exact.binary_search_by(|(exact, _)| exact.as_slice().cmp(path))
            && let Some(found) = self.exact.get(at).and_then(|(_, entries)| first(entries))
        {
            return Some(found);
        }
        for (pattern, entries) in &self.patterns {
            if pattern.matches(path)
                && let Some(found) = first(entries)
            {
                return Some(found);
            }
        }
        // Every prefix of the path is a prefix of the greatest entry that is not behind it.
        let behind = self.prefixes.partition_point(|prefix| prefix.path.as_slice() <= path);
        let mut next = behind.checked_sub(1);
        while let Some(prefix) = next.and_then(|at| self.prefixes.get(at)) {
            if path.starts_with(&prefix.path)
                && let Some(found) = first(&prefix.entries)
            {
                return Some(found);
            }
            next = prefix.parent;
        }
        None
    }
}

impl Entry {
    fn holds(&self, method: &[u8], has: HasField<'_>) -> bool {
        let Some(conditions) = &self.conditions else { return true };
        key::has_method(&conditions.methods, method) && conditions.fields.iter().all(has)
    }
}
