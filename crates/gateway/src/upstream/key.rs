//! What a request is hashed by, for the balances that keep a key at its endpoint.

use std::net::IpAddr;

use tidegate_config::HashBy;
use tidegate_policy::balance::{Algorithm, key_of, mix};
use tidegate_snapshot::{Group, Traffic};
use tidegate_wire::http1::head::FieldId;

use crate::auth::offered_key;
use crate::request::Request;

/// The key of a request; 0 where nothing is hashed. `path` is the one that was matched.
pub(crate) fn key(
    group: &Group,
    traffic: Traffic,
    request: &Request,
    path: &[u8],
    address: IpAddr,
) -> u64 {
    let algorithm = group.law(traffic).algorithm;
    if !algorithm.hashes() {
        return 0;
    }
    let by = if algorithm == Algorithm::IpHash { &HashBy::Client } else { &group.hash_by };
    let value = match by {
        HashBy::Client => None,
        HashBy::Path => Some(path),
        HashBy::Key => offered_key(request),
        HashBy::Header(name) => field(request, name),
        HashBy::Cookie(name) => cookie(request, name),
    };
    value.map_or_else(|| client_key(address), key_of)
}

/// The key of a client's address.
pub(crate) fn client_key(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => mix(u64::from(v4.to_bits())),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            mix((bits >> 64) as u64 ^ mix(bits as u64))
        }
    }
}

fn field<'r>(request: &'r Request, name: &str) -> Option<&'r [u8]> {
    let mut fields = request.fields();
    fields
        .find_map(|(found, value, _)| found.eq_ignore_ascii_case(name.as_bytes()).then_some(value))
}

/// The first cookie of this name (RFC 6265 section 4.2).
fn cookie<'r>(request: &'r Request, name: &str) -> Option<&'r [u8]> {
    request.fields().filter(|(_, _, field)| field.id == FieldId::Cookie).find_map(
        |(_, value, _)| {
            value.split(|byte| *byte == b';').find_map(|pair| {
                let (found, value) =
                    pair.split_at_checked(pair.iter().position(|b| *b == b'=')?)?;
                (found.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default())
            })
        },
    )
}
