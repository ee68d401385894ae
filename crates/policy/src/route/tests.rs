//! The order of routes, against trying every route in the order that the documentation gives.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::path::PathError;

/// `host path`: `=/x` is exact, `~^/x` a pattern; then methods and `Name=value` fields.
fn key(text: &str) -> RouteKey {
    let mut words = text.split(' ');
    let host = words.next().filter(|host| *host != "-");
    let path = words.next().unwrap_or("/");
    let mut key = RouteKey {
        host: HostMatch::of(host),
        path: match path.split_at(1) {
            ("=", path) => PathMatch::Exact(path.to_owned()),
            ("~", pattern) => PathMatch::Pattern(Pattern::new(pattern).unwrap()),
            _ => PathMatch::Prefix(path.to_owned()),
        },
        methods: Vec::new(),
        fields: Vec::new(),
    };
    for word in words {
        match word.split_once('=') {
            None => key.methods.push(word.to_owned()),
            Some((name, value)) => key.fields.push(FieldCondition {
                name: name.to_owned(),
                value: (value != "*").then(|| value.to_owned()),
            }),
        }
    }
    key
}

fn table(keys: &[&str]) -> RouteTable {
    RouteTable::build(keys.iter().map(|text| key(text)).collect())
}

fn ask<'r>(host: &'r str, path: &'r str) -> Asked<'r> {
    Asked { host: host.as_bytes(), path: path.as_bytes(), method: b"GET" }
}

fn find(table: &RouteTable, host: &str, path: &str) -> Option<usize> {
    table.find(&ask(host, path), &|_| false)
}

fn with<'f>(fields: &'f [(&'f str, &'f str)]) -> impl Fn(&FieldCondition) -> bool + 'f {
    |asked| {
        fields.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case(&asked.name)
                && asked.value.as_deref().is_none_or(|wanted| wanted == *value)
        })
    }
}

#[test]
fn longest_path_wins_whatever_the_order() {
    let routes = table(&["- /", "- /v1/", "- /v1/files"]);
    assert_eq!(find(&routes, "x", "/v1/files/1"), Some(2));
    assert_eq!(find(&routes, "x", "/v1/chat"), Some(1));
    assert_eq!(find(&routes, "x", "/v1"), Some(0));
    assert_eq!(find(&routes, "", "/"), Some(0));
}

#[test]
fn a_prefix_is_plain() {
    let routes = table(&["- /api"]);
    for path in ["/api", "/api/x", "/apix"] {
        assert_eq!(find(&routes, "", path), Some(0), "{path}");
    }
    assert_eq!(find(&routes, "", "/ap"), None);
    assert_eq!(find(&routes, "", "/API"), None);
}

#[test]
fn exact_goes_before_patterns_and_patterns_before_prefixes() {
    let routes = table(&["- /a/b/", "- ~^/a/[a-z]+", "- =/a/b/c", "- /a/b/c/d", "- ~c$"]);
    for (path, expected) in [
        ("/a/b/c", Some(2)),
        ("/a/b/c/d", Some(1)),
        ("/a/1/c", Some(4)),
        ("/a/1", None),
        ("/a/b/", Some(1)),
        ("/c", Some(4)),
    ] {
        assert_eq!(find(&routes, "h", path), expected, "{path}");
    }
}

#[test]
fn a_name_goes_before_the_longest_domain_and_that_before_every_host() {
    let routes = table(&[
        "- /api/v2/",
        "*.example.com /",
        "*.b.example.com /",
        "a.b.example.com /api/",
        "*.com /only/",
    ]);
    for (host, path, expected) in [
        ("a.b.example.com", "/api/v2/x", Some(3)),
        ("a.b.example.com", "/x", Some(2)),
        ("A.B.EXAMPLE.COM:8443", "/x", Some(2)),
        ("c.b.example.com.", "/x", Some(2)),
        ("b.example.com", "/x", Some(1)),
        ("x.y.example.com", "/x", Some(1)),
        ("example.com", "/only/", Some(4)),
        ("example.com", "/x", None),
        ("evilexample.com", "/api/v2/", Some(0)),
        (".example.com", "/x", None),
        ("", "/api/v2/", Some(0)),
    ] {
        assert_eq!(find(&routes, host, path), expected, "{host}{path}");
    }
}

#[test]
fn hosts_compare_without_case_port_and_final_dot() {
    let routes = table(&["App.Example.com:443 /", "[::1] /"]);
    for host in
        ["app.example.com", "APP.EXAMPLE.COM:8080", "app.example.com.", "app.example.com.:80"]
    {
        assert_eq!(find(&routes, host, "/"), Some(0), "{host}");
    }
    assert_eq!(find(&routes, "[::1]:8080", "/"), Some(1));
    for host in ["[::2]", "example.com", "app.example.com.evil", "xapp.example.com", "", ":"] {
        assert_eq!(find(&routes, host, "/"), None, "{host}");
    }
}

#[test]
fn more_conditions_go_before_fewer_and_those_that_fail_are_passed_over() {
    let routes = table(&["- /", "- / GET", "- / GET X-Canary=1", "- / X-Any=*", "- /deep POST"]);
    let at = |fields: &[(&str, &str)], method: &str, path: &str| {
        let asked = Asked { method: method.as_bytes(), ..ask("h", path) };
        routes.find(&asked, &with(fields))
    };
    assert_eq!(at(&[("x-canary", "1")], "GET", "/"), Some(2));
    assert_eq!(at(&[("x-canary", "2")], "GET", "/"), Some(1));
    assert_eq!(at(&[], "HEAD", "/"), Some(1));
    assert_eq!(at(&[("x-any", "")], "POST", "/"), Some(3));
    assert_eq!(at(&[], "POST", "/"), Some(0));
    assert_eq!(at(&[], "POST", "/deep/er"), Some(4));
    assert_eq!(at(&[], "PUT", "/deep/er"), Some(0));
}

#[test]
fn methods_that_would_have_been_taken_are_told() {
    let routes = table(&["- /a GET POST", "- /a/b DELETE POST", "- /f PUT X=1", "h /a PATCH"]);
    let allowed = |host: &str, path: &str, fields: &[(&str, &str)]| {
        let asked = Asked { method: b"OPTIONS", ..ask(host, path) };
        assert_eq!(routes.find(&asked, &with(fields)), None);
        routes.allowed(&asked, &with(fields)).join(", ")
    };
    assert_eq!(allowed("x", "/a", &[]), "GET, HEAD, POST");
    assert_eq!(allowed("x", "/a/b", &[]), "GET, HEAD, POST, DELETE");
    assert_eq!(allowed("h", "/a", &[]), "GET, HEAD, POST, PATCH");
    assert_eq!(allowed("x", "/f", &[]), "");
    assert_eq!(allowed("x", "/f", &[("x", "1")]), "PUT");
    assert_eq!(allowed("x", "/none", &[]), "");
}

#[test]
fn routes_that_cannot_be_reached_are_found_with_what_hides_them() {
    for (keys, expected) in [
        (vec!["- /", "- /api/", "a /", "*.a /"], vec![]),
        (vec!["- /", "- /"], vec![(1, 0, true)]),
        (vec!["a /", "A:80 /"], vec![(1, 0, true)]),
        (vec!["- / GET", "- /"], vec![]),
        (vec!["- / GET", "- / HEAD"], vec![(1, 0, false)]),
        (vec!["- / GET POST", "- / POST"], vec![(1, 0, false)]),
        (vec!["- / GET", "- / POST GET"], vec![]),
        (vec!["- / X=*", "- / X=1"], vec![(1, 0, false)]),
        (vec!["- / X=1", "- / X=*"], vec![]),
        (vec!["- / x=1", "- / X=1 GET"], vec![]),
        (vec!["- /api/", "- ~^/"], vec![(0, 1, false)]),
        (vec!["- /api/", "- ~^/ GET"], vec![]),
        (vec!["- ~.*", "- ~x$", "- =/"], vec![(1, 0, false)]),
        (
            vec!["- ~^/a/", "- ~^/a/b", "- /a/c", "- /b", "- ~a.b"],
            vec![(1, 0, false), (2, 0, false)],
        ),
        (vec!["- ~^/a$", "- /a", "- ~a", "- ~a"], vec![(3, 2, true)]),
    ] {
        let keys: Vec<_> = keys.iter().map(|text| key(text)).collect();
        let found: Vec<_> =
            hidden(&keys).into_iter().map(|found| (found.route, found.by, found.same)).collect();
        assert_eq!(found, expected, "{keys:?}");
    }
}

#[test]
fn patterns_are_bounded_and_their_mistakes_told() {
    assert_eq!(Pattern::new(&"a".repeat(3000)), Err(PatternError::TooLong));
    assert_eq!(Pattern::new("((a{1000}){1000}){1000}"), Err(PatternError::TooLarge));
    let Err(PatternError::Syntax(told)) = Pattern::new("^/a(b") else { panic!("no pattern") };
    assert_eq!(told, "unclosed group");
    assert!(Pattern::new(r"^/u/\d+$").unwrap().matches(b"/u/12"));
    assert!(Pattern::new(".").unwrap().matches(b"\xff"));
}

#[test]
fn paths_are_rewritten_and_what_turns_into_something_else_is_refused() {
    let prefix = |matched: &str, by: &str| Rewrite::Prefix {
        matched: matched.len(),
        by: by.as_bytes().to_vec(),
    };
    let pattern = |pattern, to| Rewrite::pattern(pattern, to).unwrap();
    for (rewrite, path, expected) in [
        (prefix("/old/", "/new/"), "/old/x/y", Ok(Some("/new/x/y"))),
        (prefix("/old", "/"), "/old", Ok(Some("/"))),
        (prefix("/old/", "/"), "/old/%2Fx", Ok(Some("/%2Fx"))),
        // Harmless apart, `..` together.
        (prefix("/a", "/b/"), "/a../secret", Err(RewriteError::Ambiguous)),
        (prefix("/a", "/b"), "/a../secret", Ok(Some("/b../secret"))),
        (prefix("/a/", "/b/.%2"), "/a/e/x", Err(RewriteError::Ambiguous)),
        (prefix("/a", "/b%"), "/ax", Err(RewriteError::Path(PathError::BadEscape))),
        (pattern("^/a/(.*)$", "/b/$1"), "/a/x/y", Ok(Some("/b/x/y"))),
        (pattern("^/a/(.*)$", "/b/$1"), "/c", Ok(None)),
        (pattern("^/(?<who>[^/]+)/(\\d+)", "/$2x/$who$$"), "/me/12/z", Ok(Some("/12x/me$/z"))),
        (pattern("/v[0-9]+/", "/"), "/api/v2/x", Ok(Some("/api/x"))),
        (pattern("^/", ""), "/x", Err(RewriteError::Path(PathError::NotAbsolute))),
        (pattern("x", "?"), "/x", Err(RewriteError::Path(PathError::BadByte))),
    ] {
        let expected = expected.map(|path: Option<&str>| path.map(|path| path.as_bytes().to_vec()));
        assert_eq!(rewrite.apply(path.as_bytes()), expected, "{rewrite:?} {path}");
    }
    let grows = pattern("(.*)", &"$1".repeat(1000));
    assert_eq!(grows.apply(&[b"/".as_slice(), &[b'x'; 1000]].concat()), Err(RewriteError::TooLong));
    for to in ["$2", "$x", "$", "a$ b", "$99999999999999999999"] {
        assert!(matches!(Rewrite::pattern("(a)", to), Err(TemplateError::Group(_))), "{to}");
    }
}

#[test]
fn locations_have_the_parts_of_the_request() {
    let asking = |path, query| Asking { scheme: b"http", host: b"a.example", path, query };
    let with_query = asking(b"/x/y".as_slice(), Some(b"q=1".as_slice()));
    let without = asking(b"/x/y".as_slice(), None);
    let slashes = asking(b"//evil.example/".as_slice(), None);
    for (to, asking, expected) in [
        ("https://{host}{path}", with_query, "https://a.example/x/y?q=1"),
        ("https://{host}{path}", without, "https://a.example/x/y"),
        ("https://{host}{path}?", with_query, "https://a.example/x/y"),
        ("https://b/?old&{query}", with_query, "https://b/?old&q=1"),
        ("{scheme}://www.{host}/", without, "http://www.a.example/"),
        ("{path}/", with_query, "/x/y/?q=1"),
        ("{path}", slashes, "/evil.example/"),
        ("/{path}", slashes, "/evil.example/"),
        ("/new{path}", slashes, "/new//evil.example/"),
    ] {
        let location = Location::parse(to).unwrap().of(&asking);
        assert_eq!(String::from_utf8(location).unwrap(), expected, "{to}");
    }
    for to in ["", "ftp://x", "https://a b", "https://{hots}/", "https://{host", "x", "/\u{e9}"] {
        assert!(Location::parse(to).is_err(), "{to}");
    }
}

fn any_key() -> impl Strategy<Value = RouteKey> {
    let host = prop::sample::select(vec!["-", "a", "b.a", "*.a", "*.b.a"]);
    let path = prop_oneof![
        3 => "/[xy/]{0,4}",
        1 => "=/[xy/]{0,3}",
        1 => prop::sample::select(vec!["~x", "~^/x", "~y$", "~^/"]).prop_map(str::to_owned),
    ];
    let conditions = prop::sample::subsequence(vec!["GET", "POST", "F=1", "G=*"], 0..3);
    (host, path, conditions)
        .prop_map(|(host, path, rest)| key(&[&[host, &path], rest.as_slice()].concat().join(" ")))
}

proptest! {
    #[test]
    fn the_first_in_order_whose_conditions_hold_is_found(
        keys in prop::collection::vec(any_key(), 0..14),
        host in prop::sample::select(vec!["", "a", "b.a", "C.B.A:80", "x.a."]),
        path in "/[xy/]{0,6}",
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "PUT"]),
        fields in prop::sample::subsequence(vec![("f", "1"), ("f", "2"), ("g", "")], 0..3),
    ) {
        let table = RouteTable::build(keys.clone());
        let asked = Asked { method: method.as_bytes(), ..ask(host, &path) };
        let has = with(&fields);
        let found = table.find(&asked, &has);
        let trace = table.trace(&asked, &has);
        let taken: Vec<_> = trace.iter().filter(|(_, v)| *v == Verdict::Taken).map(|(i, _)| *i).collect();
        prop_assert_eq!(found.into_iter().collect::<Vec<_>>(), taken);
        prop_assert_eq!(trace.len(), keys.len());
        // What is said to be hidden is never taken.
        if let Some(found) = found {
            prop_assert!(hidden(&keys).iter().all(|hidden| hidden.route != found));
        }
    }

    #[test]
    fn any_bytes_are_looked_up_without_panic(
        host in prop::collection::vec(any::<u8>(), 0..12), path in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let routes = table(&["a /", "[::1] /b", "- /c", "*.x ~.", "- =/d"]);
        let asked = Asked { host: &host, path: &path, method: b"GET" };
        let _ = routes.find(&asked, &|_| true);
        let _ = routes.allowed(&asked, &|_| true);
    }

    #[test]
    fn a_rewritten_path_is_as_it_would_be_matched(path in "(/[a.%2eF]{0,4}){1,4}", by in "(/[b.%2]{0,3}){1,2}", matched in 0_usize..6) {
        if let Ok(normal) = crate::path::normalise(path.as_bytes())
            && let Ok(Some(out)) = (Rewrite::Prefix { matched, by: by.into_bytes() }).apply(&normal)
        {
            prop_assert_eq!(crate::path::normalise(&out).unwrap().into_owned(), out);
        }
    }
}
