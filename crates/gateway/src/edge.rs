//! Who calls, by what trusted proxies say; whether it may come in, and whether now.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tidegate_config::{LimitBy, RealIpHeader};
use tidegate_policy::cidr;
use tidegate_policy::real_ip::{self, Form};
use tidegate_snapshot::{Limit, Listener, Reason, Route};
use tidegate_wire::http1::head::FieldId;

use crate::client::Client;
use crate::error::{Cause, ProxyError};
use crate::request::{Request, RequestId};

/// Where a caller is, by the word of a trusted proxy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// The caller's address.
    pub(crate) address: IpAddr,
    /// The field that told it.
    pub(crate) field: FieldId,
    /// Its name.
    pub(crate) name: &'static str,
}

/// The listener of a connection, if who has connected is believed there. It stays so for as long as
/// the connection lives, whatever a reload says.
pub(crate) fn trust(listener: &Arc<Listener>, peer: SocketAddr) -> Option<Arc<Listener>> {
    let ranges = &listener.trusted_proxies;
    (!ranges.is_empty() && cidr::contains(ranges, peer.ip())).then(|| Arc::clone(listener))
}

/// Finds out where the caller is.
pub(crate) fn origin(client: &Client, request: &Request) -> Option<Origin> {
    let listener = client.trust.as_ref()?;
    let (field, form) = match listener.real_ip_header {
        RealIpHeader::XForwardedFor => (FieldId::XForwardedFor, Form::List),
        RealIpHeader::Forwarded => (FieldId::Forwarded, Form::Forwarded),
        RealIpHeader::XRealIp => (FieldId::XRealIp, Form::Single),
        RealIpHeader::CfConnectingIp => (FieldId::CfConnectingIp, Form::Single),
        RealIpHeader::TrueClientIp => (FieldId::TrueClientIp, Form::Single),
    };
    let bytes = request.bytes();
    let lines = request.head().fields.iter().rev().filter(|line| line.id == field);
    let values = lines.map(|line| line.value.of(bytes));
    let address = real_ip::caller(client.peer.ip(), &listener.trusted_proxies, form, values);
    Some(Origin { address, field, name: listener.real_ip_header.as_str() })
}

/// What a trusted proxy calls the exchange. Two names contradict each other: then neither counts.
pub(crate) fn told_id(client: &Client, request: &Request) -> Option<RequestId> {
    client.trust.as_ref()?;
    let mut lines = request.head().fields.iter().filter(|line| line.id == FieldId::XRequestId);
    match (lines.next(), lines.next()) {
        (Some(line), None) => RequestId::told(line.value.of(request.bytes())),
        _ => None,
    }
}

/// The address of the caller.
pub(crate) fn address(client: &Client, request: &Request) -> IpAddr {
    request.origin.map_or_else(|| client.peer.ip(), |origin| origin.address)
}

/// Did the caller come by TLS, to us or to the trusted proxy before us?
pub(crate) fn is_secure(client: &Client, request: &Request) -> bool {
    let told = request.origin.and_then(|_| request.field(FieldId::XForwardedProto));
    told.map_or(client.secure, |scheme| scheme.eq_ignore_ascii_case(b"https"))
}

/// May this request come in, by what its route says of addresses and rates?
pub(crate) fn enter(route: &Route, client: &Client, request: &Request) -> Result<(), ProxyError> {
    let Some(edge) = &route.edge else { return Ok(()) };
    let address = address(client, request);
    if edge.access.as_ref().is_some_and(|access| !access.admits(address)) {
        return Err(ProxyError::text(
            Reason::AccessDenied,
            "This address may not come in here (routes.access).",
        ));
    }
    match &edge.limit {
        None => Ok(()),
        Some(limit) => take(limit, request, address),
    }
}

/// Takes one request out of what the limit allows.
fn take(limit: &Limit, request: &Request, address: IpAddr) -> Result<(), ProxyError> {
    let taken = match &limit.by {
        LimitBy::Route => limit.table.take(&limit.rate, &0_u8),
        LimitBy::Client => by_client(limit, address),
        LimitBy::Header(name) => {
            let found =
                request.fields().find(|(found, ..)| found.eq_ignore_ascii_case(name.as_bytes()));
            match found {
                Some((_, value, _)) => limit.table.take(&limit.rate, &(1_u8, value)),
                None => by_client(limit, address),
            }
        }
    };
    taken.map_err(|wait_ms| {
        let cause = Cause::Limited { burst: limit.burst, wait_s: wait_ms.div_ceil(1000).max(1) };
        ProxyError { cause, ..ProxyError::new(Reason::RateLimited) }
    })
}

/// A client that has IPv6 has 64 bits of addresses at least, so that those count as one.
fn by_client(limit: &Limit, address: IpAddr) -> Result<(), u64> {
    let bits = match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    };
    limit.table.take(&limit.rate, &(2_u8, address.to_canonical().is_ipv4(), bits))
}
