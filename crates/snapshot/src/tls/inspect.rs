//! What is wrong or odd with the certificate files that a configuration names.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tidegate_config::Config;

use super::identity::{self, Identity};

/// A certificate that ends within this time is worth a warning.
const SOON: Duration = Duration::from_hours(14 * 24);

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It will be wrong soon.
    Soon,
    /// It can be served, but clients will not accept it.
    Doubtful,
    /// It cannot be served.
    Broken,
}

/// Something that is wrong or odd with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The field that names the file, such as `listeners[0].tls[1].key`.
    pub path: String,
    /// One sentence without a full stop.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

/// The files that hold certificates, keys and authorities of listeners.
pub fn files(config: &Config) -> Vec<&Path> {
    let listeners = config.listeners.iter().flat_map(|listener| {
        let pairs = listener.tls.iter().flat_map(|files| [&*files.cert, &*files.key]);
        pairs.chain(listener.client_ca.as_deref())
    });
    listeners.collect()
}

/// Looks at every certificate file of the listeners. `now`: for what has ended.
pub fn inspect(config: &Config, now: SystemTime) -> Vec<Finding> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = since.as_secs().cast_signed();
    let mut findings = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        for (number, files) in listener.tls.iter().enumerate() {
            let place = format!("listeners[{index}].tls[{number}]");
            let mut add = |field, severity, message| {
                findings.push(Finding { path: format!("{place}.{field}"), message, severity });
            };
            match Identity::read(files) {
                Err(error) => add(error.field, Severity::Broken, error.message),
                Ok(identity) => {
                    let odd = oddities(&identity, &files.cert, now);
                    for (severity, message) in odd {
                        add("cert", severity, message);
                    }
                }
            }
        }
        if let Some(path) = &listener.client_ca
            && let Err(message) = identity::certificates(path)
        {
            let path = format!("listeners[{index}].client_ca");
            findings.push(Finding { path, message, severity: Severity::Broken });
        }
    }
    findings
}

fn oddities(identity: &Identity, file: &Path, now: i64) -> Vec<(Severity, String)> {
    const DAY: i64 = 24 * 3600;
    let file = file.display();
    let left = identity.not_after - now;
    let mut found = Vec::new();
    if left < 0 {
        found.push((Severity::Doubtful, format!("{file} has expired {} days ago", -left / DAY)));
    } else if left < SOON.as_secs().cast_signed() {
        found.push((Severity::Soon, format!("{file} expires in {} days", left / DAY)));
    }
    if identity.not_before > now {
        let days = (identity.not_before - now) / DAY;
        found.push((Severity::Doubtful, format!("{file} is not valid yet, for {days} more days")));
    }
    if identity.hosts.is_empty() && identity.addresses.is_empty() {
        let message = format!(
            "{file} names no host: it has no subjectAltName, and clients look at nothing else"
        );
        found.push((Severity::Doubtful, message));
    }
    found
}
