//! Whether listeners make sense.

use std::net::SocketAddr;

use super::Check;
use crate::model::{ClientAuth, Config, Listener, RealIpHeader, TlsVersion};
use crate::reader::below;

pub(super) fn addresses(check: &mut Check, config: &Config) {
    if config.listeners.is_empty() {
        check.problem("listeners", "needs at least one listener");
    }
    let mut bound: Vec<(String, SocketAddr)> = Vec::new();
    let listeners = config
        .listeners
        .iter()
        .enumerate()
        .map(|(index, listener)| (format!("listeners[{index}].bind"), listener.bind));
    let admin = config.admin.iter().map(|admin| ("admin.bind".to_owned(), admin.bind));
    for (path, bind) in listeners.chain(admin) {
        if check.is_reported(&path) {
            continue;
        }
        match bound.iter().find(|(_, other)| overlap(*other, bind)) {
            Some((other, _)) => {
                let message = format!("{bind} is already taken by {other}");
                check.problem(&path, message);
            }
            None => bound.push((path, bind)),
        }
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        tls(check, &format!("listeners[{index}]"), listener);
        trust(check, &format!("listeners[{index}]"), listener);
    }
}

/// Certificates of a listener at most: each is looked through when the configuration is compiled.
const CERTIFICATES_MAX: usize = 1_000;

/// Address ranges of a listener at most: each is compared with every connection.
const RANGES_MAX: usize = 256;

/// Whether the keys of TLS go together. What the files hold is looked at when they are read.
fn tls(check: &mut Check, path: &str, listener: &Listener) {
    if listener.tls.len() > CERTIFICATES_MAX {
        let message = format!("{} certificates; at most {CERTIFICATES_MAX}", listener.tls.len());
        check.problem(&below(path, "tls"), message);
    }
    for (index, certificate) in listener.tls.iter().enumerate() {
        for (key, file) in [("cert", &certificate.cert), ("key", &certificate.key)] {
            if file.as_os_str().is_empty() {
                check.problem(&format!("{path}.tls[{index}].{key}"), "is empty");
            }
        }
    }
    if listener.tls.is_empty() {
        let client_ca = listener.client_ca.is_some();
        for (key, written) in
            [("client_ca", client_ca), ("tls_min", listener.tls_min != TlsVersion::default())]
        {
            if written {
                check.problem(&below(path, key), "needs `tls` with a certificate");
            }
        }
    }
    if listener.client_ca.is_none() && listener.client_auth != ClientAuth::default() {
        let message = "needs `client_ca`: there is nobody whose certificates could be believed";
        check.problem(&below(path, "client_auth"), message);
    }
}

/// Who is believed when it says where a client is.
fn trust(check: &mut Check, path: &str, listener: &Listener) {
    let ranges = listener.trusted_proxies.len();
    if ranges > RANGES_MAX {
        let message = format!("{ranges} ranges; at most {RANGES_MAX}");
        check.problem(&below(path, "trusted_proxies"), message);
    }
    if ranges == 0 && listener.real_ip_header != RealIpHeader::default() {
        let message = "needs `trusted_proxies`: from anybody else the field is not believed";
        check.problem(&below(path, "real_ip_header"), message);
    }
    if listener.proxy_protocol && ranges == 0 {
        check.warning(
            &below(path, "proxy_protocol"),
            "whoever connects is believed; name the proxies in `trusted_proxies`",
        );
    }
}

/// Two addresses that cannot both be bound: equal ones, and one of which covers the other. Port 0
/// is always a new port.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port()
        && a.port() != 0
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || covers)
}
