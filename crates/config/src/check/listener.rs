//! Whether listeners and the admin listener make sense.

use std::net::SocketAddr;

use super::{Check, is_visible_ascii};
use crate::model::Config;

/// A token that may be tried from a network must not be guessable.
const NETWORK_TOKEN_MIN: usize = 16;

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
    if let Some(admin) = &config.admin {
        let length = admin.token.expose().len();
        if length == 0 {
            check.problem("admin.token", "is empty");
        } else if !is_visible_ascii(admin.token.expose()) {
            check.problem("admin.token", "must be visible ASCII characters without spaces");
        } else if !admin.bind.ip().is_loopback() && length < NETWORK_TOKEN_MIN {
            let message = format!(
                "must have {NETWORK_TOKEN_MIN} characters or more, because admin.bind {} is not loopback",
                admin.bind
            );
            check.problem("admin.token", message);
        }
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
