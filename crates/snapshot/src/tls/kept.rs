//! What TLS keeps across reloads: keys of session tickets, and certificates that were good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::server::ProducesTickets;
use tidegate_config::{Certificate, ClientAuth};

use super::identity::{Identity, IdentityError};

/// Ticket keys and certificates kept at most, so that reloads cannot grow them without bound; those
/// in use do not count.
const UNUSED_MAX: usize = 64;

/// Who may resume whose session: those that were let in by the same rule. A session that began
/// without a client certificate must not go on where one is required.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum TicketScope {
    /// Listeners that ask for no client certificate.
    Anyone,
    /// Listeners that ask for one of these authorities: SHA-256 of the file.
    Clients(ClientAuth, [u8; 32]),
}

/// Outlives snapshots. Taken when a snapshot is compiled, never on the request path.
#[derive(Debug, Default)]
pub struct TlsKept {
    tickets: Mutex<HashMap<TicketScope, Arc<dyn ProducesTickets>>>,
    identities: Mutex<HashMap<Certificate, Arc<Identity>>>,
}

impl TlsKept {
    /// The ticket keys of this scope, made on first use. They rotate every 6 hours and live for 12.
    pub(super) fn tickets(
        &self,
        scope: TicketScope,
    ) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        let mut tickets = lock(&self.tickets);
        if let Some(known) = tickets.get(&scope) {
            return Ok(Arc::clone(known));
        }
        if tickets.len() >= UNUSED_MAX {
            tickets.retain(|_, keys| Arc::strong_count(keys) > 1);
        }
        let made = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        tickets.insert(scope, Arc::clone(&made));
        Ok(made)
    }

    /// The certificate in these files. When they cannot be used now, what they held before comes
    /// with the reason.
    pub(super) fn identity(
        &self,
        files: &Certificate,
    ) -> Result<(Arc<Identity>, Option<IdentityError>), IdentityError> {
        let read = Identity::read(files);
        let mut identities = lock(&self.identities);
        match read {
            Ok(identity) => {
                if identities.len() >= UNUSED_MAX {
                    identities.retain(|_, identity| Arc::strong_count(identity) > 1);
                }
                let identity = Arc::new(identity);
                identities.insert(files.clone(), Arc::clone(&identity));
                Ok((identity, None))
            }
            Err(error) => match identities.get(files) {
                Some(before) => Ok((Arc::clone(before), Some(error))),
                None => Err(error),
            },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
