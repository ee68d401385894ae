//! Access, rate limits and compression as YAML.

use tidegate_policy::cidr::Cidr;

use super::{Fields, Yaml, add, add_list, add_map, add_optional, literal};
use crate::duration::format_duration;
use crate::model::{LimitBy, Route};

pub(super) fn edge(fields: &mut Fields, route: &Route) {
    if let Some(access) = &route.access {
        let mut inner = Vec::new();
        let texts = |ranges: &[Cidr]| {
            let texts = ranges.iter().map(|range| Yaml::Literal(range.to_string()));
            texts.collect::<Vec<_>>().into_iter()
        };
        add_list(&mut inner, "allow", texts(&access.allow));
        add_list(&mut inner, "deny", texts(&access.deny));
        fields.push(("access".to_owned(), Yaml::Map(inner)));
    }
    if let Some(limit) = &route.rate_limit {
        let mut inner =
            vec![literal("requests", &limit.requests), literal("per", &format_duration(limit.per))];
        add_optional(&mut inner, "burst", limit.burst);
        add(&mut inner, "by", &limit.by, &LimitBy::default(), LimitBy::to_string);
        add_map(fields, "rate_limit", inner);
    }
    let codings = route.compress.iter().map(|coding| Yaml::Literal(coding.as_str().to_owned()));
    add_list(fields, "compress", codings);
}
