//! Listeners.

use std::sync::Arc;

use tidegate_config::Config;

use crate::types::Listener;

pub(super) fn listeners(config: &Config) -> Vec<Arc<Listener>> {
    config.listeners.iter().map(|listener| Arc::new(Listener { bind: listener.bind })).collect()
}
