//! The located tree to the model: listeners.

use std::path::PathBuf;

use tidegate_policy::cidr::Cidr;

use crate::model::{Certificate, ClientAuth, Listener, Protocol, RealIpHeader, TlsVersion};
use crate::reader::{Reader, Value, set};

pub(super) fn listeners(reader: &mut Reader, value: &Value) -> Vec<Listener> {
    let items = reader.list(value);
    items.iter().map(|value| listener(reader, value)).collect()
}

fn listener(reader: &mut Reader, value: &Value) -> Listener {
    let mut listener = Listener::default();
    let Some(mut fields) = reader.fields(value, "Listener") else { return listener };
    if let Some(value) = fields.required(reader, "bind") {
        set(&mut listener.bind, reader.socket_address(&value));
    }
    if let Some(value) = fields.take(reader, "http2") {
        set(&mut listener.http2, reader.boolean(&value));
    }
    if let Some(value) = fields.section(reader, "tls") {
        let items = reader.list(&value);
        listener.tls = items.iter().map(|value| certificate(reader, value)).collect();
    }
    if let Some(value) = fields.take(reader, "client_ca") {
        listener.client_ca = reader.text(&value).map(PathBuf::from);
    }
    if let Some(value) = fields.take(reader, "client_auth") {
        let names = ClientAuth::ALL.map(|mode| (mode.as_str(), mode));
        set(&mut listener.client_auth, reader.one_of(&value, &names));
    }
    if let Some(value) = fields.take(reader, "tls_min") {
        let names = TlsVersion::ALL.map(|version| (version.as_str(), version));
        set(&mut listener.tls_min, reader.one_of(&value, &names));
    }
    if let Some(value) = fields.section(reader, "trusted_proxies") {
        listener.trusted_proxies = ranges(reader, &value);
    }
    if let Some(value) = fields.take(reader, "real_ip_header") {
        let names = RealIpHeader::ALL.map(|header| (header.as_str(), header));
        set(&mut listener.real_ip_header, reader.one_of(&value, &names));
    }
    if let Some(value) = fields.take(reader, "proxy_protocol") {
        set(&mut listener.proxy_protocol, reader.boolean(&value));
    }
    if let Some(value) = fields.take(reader, "protocol") {
        let known = Protocol::ALL.map(|protocol| (protocol.as_str(), protocol));
        set(&mut listener.protocol, reader.one_of(&value, &known));
    }
    if let Some(value) = fields.take(reader, "upstream") {
        listener.upstream = reader.text(&value);
    }
    if let Some(value) = fields.section(reader, "sni") {
        let named = reader.named(&value);
        listener.sni = named
            .iter()
            .filter_map(|(name, value)| Some(((*name).to_owned(), reader.text(value)?)))
            .collect();
    }
    reader.finish(fields);
    listener
}

fn certificate(reader: &mut Reader, value: &Value) -> Certificate {
    let mut certificate = Certificate::default();
    let Some(mut fields) = reader.fields(value, "Certificate") else { return certificate };
    for (key, place) in [("cert", &mut certificate.cert), ("key", &mut certificate.key)] {
        if let Some(value) = fields.required(reader, key) {
            set(place, reader.text(&value).map(PathBuf::from));
        }
    }
    reader.finish(fields);
    certificate
}

/// A list of address ranges.
pub(super) fn ranges(reader: &mut Reader, value: &Value) -> Vec<Cidr> {
    let items = reader.list(value);
    items.iter().filter_map(|value| reader.cidr(value)).collect()
}
