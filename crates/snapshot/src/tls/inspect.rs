//! What is wrong or odd with the certificate files that a configuration names.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tidegate_config::{Certificate, Config};

use super::identity::{self, Identity};

/// A certificate that ends within this time is worth a warning.
const SOON: Duration = Duration::from_hours(14 * 24);

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It will be wrong soon.
    Soon,
    /// It can be shown, but peers will not accept it.
    Doubtful,
    /// It cannot be used.
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

/// Looks at every file with certificates, keys or authorities. `now`: for what has ended.
pub fn inspect(config: &Config, now: SystemTime) -> Vec<Finding> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = since.as_secs().cast_signed();
    let mut findings = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        for (number, files) in listener.tls.iter().enumerate() {
            let place = format!("listeners[{index}].tls[{number}]");
            if let Some(identity) = identity(&mut findings, &place, files, now) {
                names_a_host(&mut findings, &place, &identity, &files.cert);
            }
        }
        let place = format!("listeners[{index}].client_ca");
        authorities(&mut findings, place, listener.client_ca.as_deref());
    }
    for (name, upstream) in &config.upstreams {
        let place = format!("upstreams.{name}");
        authorities(&mut findings, format!("{place}.ca_file"), upstream.ca_file.as_deref());
        let Some(tls) = &upstream.tls else { continue };
        let place = format!("{place}.tls");
        authorities(&mut findings, format!("{place}.ca"), tls.ca.as_deref());
        if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
            let files = Certificate { cert: cert.clone(), key: key.clone() };
            identity(&mut findings, &place, &files, now);
        }
    }
    for (name, provider) in &config.providers {
        let place = format!("providers.{name}.ca_file");
        authorities(&mut findings, place, provider.ca_file.as_deref());
    }
    findings
}

/// Reads a certificate and its key, and looks at when the certificate is valid.
fn identity(
    findings: &mut Vec<Finding>,
    place: &str,
    files: &Certificate,
    now: i64,
) -> Option<Identity> {
    let mut add = |field, severity, message| {
        findings.push(Finding { path: format!("{place}.{field}"), message, severity });
    };
    match Identity::read(files) {
        Err(error) => {
            add(error.field, Severity::Broken, error.message);
            None
        }
        Ok(identity) => {
            for (severity, message) in untimely(&identity, &files.cert, now) {
                add("cert", severity, message);
            }
            Some(identity)
        }
    }
}

fn authorities(findings: &mut Vec<Finding>, path: String, file: Option<&Path>) {
    if let Some(Err(message)) = file.map(identity::authorities) {
        findings.push(Finding { path, message, severity: Severity::Broken });
    }
}

fn names_a_host(findings: &mut Vec<Finding>, place: &str, identity: &Identity, file: &Path) {
    if identity.hosts.is_empty() && identity.addresses.is_empty() {
        let message = format!(
            "{} names no host: it has no subjectAltName, and clients look at nothing else",
            file.display()
        );
        let path = format!("{place}.cert");
        findings.push(Finding { path, message, severity: Severity::Doubtful });
    }
}

fn untimely(identity: &Identity, file: &Path, now: i64) -> Vec<(Severity, String)> {
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
    found
}
