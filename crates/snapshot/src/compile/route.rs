//! Routes.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_config as config;
use tidegate_config::Config;
use tidegate_policy::route::{RouteKey, RouteTable};

use super::{CompileError, ms};
use crate::live::Live;
use crate::types::{Destination, Group, Route};

pub(super) fn routes(
    config: &Config,
    live: &Live,
    upstreams: &HashMap<String, Arc<Group>>,
) -> Result<(RouteTable, Vec<Arc<Route>>), CompileError> {
    let implicit = [config::Route { path: "/v1/".to_owned(), llm: true, ..Default::default() }];
    let written: &[config::Route] = if config.routes.is_empty() && !config.providers.is_empty() {
        &implicit
    } else {
        &config.routes
    };
    let mut keys = Vec::with_capacity(written.len());
    let mut routes = Vec::with_capacity(written.len());
    for (index, route) in written.iter().enumerate() {
        let to = match &route.upstream {
            None => Destination::Llm,
            Some(name) => {
                Destination::Upstream(Arc::clone(upstreams.get(name).ok_or_else(|| {
                    CompileError::Dangling {
                        place: format!("routes[{index}].upstream"),
                        what: "upstream",
                        name: name.clone(),
                    }
                })?))
            }
        };
        keys.push(RouteKey { host: route.host.clone(), path: route.path.clone() });
        let name = format!("{}{}", route.host.as_deref().unwrap_or_default(), route.path);
        let hedge_ms = route.hedge.as_ref().map(|hedge| ms(hedge.after));
        routes.push(Arc::new(Route { to, hedge_ms, series: live.route(&name) }));
    }
    Ok((RouteTable::build(keys), routes))
}
