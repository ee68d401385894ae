//! Which connections to endpoints are still wanted: those of endpoints in the configuration, to
//! addresses that their names have now.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_snapshot::{Endpoint, Group, Snapshot};

/// The addresses of one endpoint; None: it has none that could change.
pub(crate) type Addresses = Option<Arc<Vec<SocketAddr>>>;

/// The pools of all endpoints in the configuration. Made anew for each sweep.
#[derive(Debug, Default)]
pub(crate) struct Current(pub(super) HashMap<u32, Addresses>);

impl Current {
    /// What this configuration, and the names as they are now, want.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let models = &snapshot.models;
        let prefixes = models.prefixes.iter().map(|(_, model)| model);
        let models = models.exact.values().chain(prefixes).chain(&models.default);
        let groups = models.flat_map(|model| model.groups.iter().map(|(_, group)| group));
        let mut current = Self::default();
        for group in groups.chain(snapshot.upstreams.values()) {
            current.add(group);
        }
        current
    }

    fn add(&mut self, group: &Group) {
        for member in &group.members {
            let endpoint = &member.endpoint;
            self.0.entry(endpoint.pool).or_insert_with(|| addresses(endpoint));
        }
    }

    /// Where the connections of a pool may lead; None: nowhere, its endpoint is gone.
    pub(crate) fn addresses(&self, pool: u32) -> Option<&Addresses> {
        self.0.get(&pool)
    }
}

/// Where connections of this endpoint lead: to its egress proxy, if it has one.
fn addresses(endpoint: &Endpoint) -> Addresses {
    if endpoint.unix.is_some() {
        return None;
    }
    let name = endpoint.egress.as_ref().map_or(&endpoint.name, |egress| &egress.name);
    let addresses = name.addresses.load_full();
    // A name that has none now says nothing about those it had.
    (!addresses.is_empty()).then_some(addresses)
}

/// Is a connection to this peer among the addresses? One whose peer is not known stays.
pub(crate) fn leads_to(addresses: &Addresses, peer: Option<SocketAddr>) -> bool {
    let (Some(addresses), Some(peer)) = (addresses, peer) else { return true };
    addresses.iter().any(|address| (address.ip(), address.port()) == (peer.ip(), peer.port()))
}
