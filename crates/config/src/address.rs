//! URLs of the configuration taken apart: where to connect to, and through which proxy.

use std::net::IpAddr;
use std::str::FromStr;

use url::Url;

use crate::secret::Secret;

/// An `http://` or `https://` address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpUrl {
    /// `https`.
    pub tls: bool,
    /// Host name in lower case (punycode), or an IP address; an IPv6 one without brackets.
    pub host: String,
    /// The port written or the scheme's own.
    pub port: u16,
    /// The path without a slash at its end: empty, or `/` and more.
    pub path: String,
}

/// Why a text is not the address that is needed; the text says what to write. It never repeats the
/// address, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No URL at all.
    #[error("this is not a URL: {0}")]
    NotAUrl(String),
    /// Not http or https.
    #[error("an address begins with http:// or https://")]
    NotHttp,
    /// `user:password@` in an address.
    #[error("an address holds no user or password: keys belong into api_key")]
    UserInfo,
    /// `?` or `#` in an address.
    #[error("an address ends before any \"?\" or \"#\"")]
    QueryOrFragment,
    /// No host.
    #[error("the host is missing")]
    NoHost,
    /// `tcp://` or `tls://` without a port.
    #[error("a tcp:// or tls:// address needs its port, such as tcp://127.0.0.1:5432")]
    NoPort,
    /// Port 0.
    #[error("port 0 cannot be connected to")]
    PortZero,
    /// Not a kind of proxy that we can go through.
    #[error("an egress proxy begins with http:// or socks5://")]
    NotAProxy,
    /// A proxy without a port.
    #[error("an egress proxy needs its port, such as socks5://127.0.0.1:1080")]
    NoProxyPort,
    /// Not the path of a socket.
    #[error("a Unix socket is written unix:/path/to.sock, or unix:@name for an abstract one")]
    UnixPath,
    /// More than an address of the operating system holds.
    #[error("the path of a Unix socket has at most 107 bytes")]
    UnixPathTooLong,
    /// A path after a proxy.
    #[error("an egress proxy has no path")]
    ProxyPath,
    /// RFC 1929 and the 255 bytes of its fields.
    #[error("user and password of a proxy are at most 255 bytes each, without control characters")]
    ProxyCredentials,
}

impl FromStr for HttpUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = parse(text)?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(AddressError::NotHttp),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::QueryOrFragment);
        }
        Ok(Self {
            tls,
            host: host(&url)?,
            port: usable_port(url.port().unwrap_or(if tls { 443 } else { 80 }))?,
            path: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl HttpUrl {
    /// The host is this machine, as far as the text tells.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// Where an endpoint of an upstream is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointAddress {
    /// `http://host:port` or `https://host:port`, with or without a path.
    Http(HttpUrl),
    /// `tcp://host:port` or `tls://host:port`: only TCP listeners can use it. Here as the address
    /// of the same host and port with `http` or `https`.
    Raw(HttpUrl),
    /// `unix:/path/to.sock`, or `unix:@name` for a name in Linux' abstract namespace (unix(7)).
    /// Here without the `unix:`.
    Unix(String),
}

/// Bytes of a Unix socket's path: `sun_path` has 108, the last of them a zero (unix(7)).
const UNIX_PATH_MAX: usize = 107;

impl FromStr for EndpointAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        for (scheme, same) in [("tcp", "http"), ("tls", "https")] {
            if let Some(rest) = text.strip_prefix(scheme).filter(|rest| rest.starts_with("://")) {
                let url = format!("{same}{rest}").parse()?;
                // These schemes have no port of their own that the parser could leave out.
                parse(text)?.port().ok_or(AddressError::NoPort)?;
                return Ok(Self::Raw(url));
            }
        }
        let Some(path) = text.strip_prefix("unix:") else {
            return text.parse().map(Self::Http);
        };
        let named = path.starts_with('/') || (path.starts_with('@') && path.len() > 1);
        if !named || path.contains(char::is_control) {
            return Err(AddressError::UnixPath);
        }
        if path.len() > UNIX_PATH_MAX {
            return Err(AddressError::UnixPathTooLong);
        }
        Ok(Self::Unix(path.to_owned()))
    }
}

/// A proxy on the way to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// How it is spoken to.
    pub kind: EgressKind,
    /// Host name or IP address; an IPv6 one without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, percent-decoded. Absent: it asks for none.
    pub credentials: Option<(String, Secret)>,
}

/// How an egress proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EgressKind {
    /// HTTP/1.1 CONNECT (RFC 9110, 9.3.6).
    HttpConnect,
    /// SOCKS5 (RFC 1928) with names resolved by the proxy.
    Socks5,
}

impl FromStr for Egress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = parse(text)?;
        let (kind, own_port) = match url.scheme() {
            "http" => (EgressKind::HttpConnect, Some(80)),
            "socks5" => (EgressKind::Socks5, None),
            _ => return Err(AddressError::NotAProxy),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::ProxyPath);
        }
        let host = host(&url)?;
        // The parser forgets a port that is the scheme's own, so look whether one was written.
        let written = authority(text).is_some_and(|authority| {
            authority.rsplit_once(':').is_some_and(|(_, port)| {
                !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
            })
        });
        let port = url.port().or(own_port.filter(|_| written));
        let port = usable_port(port.ok_or(AddressError::NoProxyPort)?)?;
        let user = decode(url.username())?;
        let credentials = match url.password() {
            Some(password) => Some((user, Secret::new(decode(password)?))),
            None if user.is_empty() => None,
            None => Some((user, Secret::new(""))),
        };
        Ok(Self { kind, host, port, credentials })
    }
}

fn parse(text: &str) -> Result<Url, AddressError> {
    // The parser drops tabs and line ends and trims; a configuration should say what it means.
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(AddressError::NotAUrl("it contains a space".to_owned()));
    }
    Url::parse(text).map_err(|error| match error {
        url::ParseError::EmptyHost => AddressError::NoHost,
        url::ParseError::RelativeUrlWithoutBase => {
            AddressError::NotAUrl("it does not begin with a scheme such as http://".to_owned())
        }
        other => AddressError::NotAUrl(other.to_string()),
    })
}

fn authority(text: &str) -> Option<&str> {
    text.split_once("://")?.1.split(['/', '?', '#']).next()
}

fn host(url: &Url) -> Result<String, AddressError> {
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(AddressError::NoHost)?;
    Ok(host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase())
}

fn usable_port(port: u16) -> Result<u16, AddressError> {
    if port == 0 {
        return Err(AddressError::PortZero);
    }
    Ok(port)
}

/// Percent-decodes a user or password.
fn decode(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        let used = if escaped.is_some() { 2 } else { 0 };
        rest = after.get(used..).unwrap_or(&[]);
    }
    let decoded = String::from_utf8(bytes).map_err(|_| AddressError::ProxyCredentials)?;
    if decoded.len() > 255 || decoded.contains(char::is_control) {
        return Err(AddressError::ProxyCredentials);
    }
    Ok(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, tls, host, port, path) in [
            ("http://h", false, "h", 80, ""),
            ("https://H.example/", true, "h.example", 443, ""),
            ("http://127.0.0.1:9000/v1/", false, "127.0.0.1", 9000, "/v1"),
            ("https://[::1]:8443/a/b", true, "::1", 8443, "/a/b"),
            ("http://bücher.example", false, "xn--bcher-kva.example", 80, ""),
        ] {
            let url: HttpUrl = text.parse().unwrap();
            let expected = HttpUrl { tls, host: host.to_owned(), port, path: path.to_owned() };
            assert_eq!(url, expected, "{text}");
        }
    }

    #[test]
    fn the_paths_of_unix_sockets_are_taken_as_they_are() {
        for (text, expected) in [
            ("unix:/run/app.sock", Ok("/run/app.sock")),
            ("unix:@app", Ok("@app")),
            ("unix:", Err(AddressError::UnixPath)),
            ("unix:@", Err(AddressError::UnixPath)),
            ("unix:app.sock", Err(AddressError::UnixPath)),
            ("unix:/a\nb", Err(AddressError::UnixPath)),
        ] {
            let expected = expected.map(|path| EndpointAddress::Unix(path.to_owned()));
            assert_eq!(text.parse(), expected, "{text}");
        }
        let fits = format!("unix:/{}", "a".repeat(UNIX_PATH_MAX - 1));
        assert!(fits.parse::<EndpointAddress>().is_ok());
        let long = format!("{fits}a");
        assert_eq!(long.parse::<EndpointAddress>(), Err(AddressError::UnixPathTooLong));
    }

    #[test]
    fn other_addresses_are_refused_without_being_repeated() {
        for (text, error) in [
            ("ftp://h", AddressError::NotHttp),
            ("http://user:secret@h", AddressError::UserInfo),
            ("http://h/?secret", AddressError::QueryOrFragment),
            ("http://h#secret", AddressError::QueryOrFragment),
            ("http://", AddressError::NoHost),
            ("http://h:0", AddressError::PortZero),
        ] {
            assert_eq!(text.parse::<HttpUrl>().unwrap_err(), error, "{text}");
        }
        for text in ["", "h", "http://h x", " http://h", "http://h\n", "http://secret:99999"] {
            let error = text.parse::<HttpUrl>().unwrap_err();
            assert!(matches!(error, AddressError::NotAUrl(_)), "{text}: {error}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn proxies_are_taken_apart() {
        let proxy: Egress = "http://us%20er:p%40ss%25@proxy.example:80".parse().unwrap();
        assert_eq!(proxy.kind, EgressKind::HttpConnect);
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 80));
        let (user, password) = proxy.credentials.unwrap();
        assert_eq!((user.as_str(), password.expose()), ("us er", "p@ss%"));
        let proxy: Egress = "socks5://[::1]:1080".parse().unwrap();
        assert_eq!(proxy.kind, EgressKind::Socks5);
        assert_eq!((proxy.host.as_str(), proxy.port), ("::1", 1080));
        assert_eq!(proxy.credentials, None);
    }

    #[test]
    fn other_proxies_are_refused() {
        let long = format!("socks5://{}:x@h:1", "u".repeat(256));
        for (text, error) in [
            ("https://h:1", AddressError::NotAProxy),
            ("socks4://h:1", AddressError::NotAProxy),
            ("http://h", AddressError::NoProxyPort),
            ("http://u:80@h", AddressError::NoProxyPort),
            ("socks5://h", AddressError::NoProxyPort),
            ("socks5://h:0", AddressError::PortZero),
            ("http://h:1/path", AddressError::ProxyPath),
            ("http://h:1/?q", AddressError::ProxyPath),
            ("http://u%00:x@h:1", AddressError::ProxyCredentials),
            ("http://u%ff:x@h:1", AddressError::ProxyCredentials),
            (&long, AddressError::ProxyCredentials),
        ] {
            assert_eq!(text.parse::<Egress>().unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn endpoints_may_be_plain_tcp_or_tls() {
        for (text, tls, port) in [
            ("tcp://DB.example:5432", false, 5432),
            ("tls://db.example:443", true, 443),
            ("tcp://db.example:80", false, 80),
        ] {
            let url = HttpUrl { tls, host: "db.example".to_owned(), port, path: String::new() };
            assert_eq!(text.parse(), Ok(EndpointAddress::Raw(url)), "{text}");
        }
        for (text, error) in [
            ("tcp://db", AddressError::NoPort),
            ("tcp://db:0", AddressError::PortZero),
            ("udp://db:1", AddressError::NotHttp),
        ] {
            assert_eq!(text.parse::<EndpointAddress>(), Err(error), "{text}");
        }
    }

    #[test]
    fn loopback_is_recognised() {
        for host in ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.com", "10.0.0.1", "localhost.example", "::2"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(http|https|socks5)?(://)?.{0,30}") {
            let _ = text.parse::<HttpUrl>();
            let _ = text.parse::<Egress>();
        }
    }
}
