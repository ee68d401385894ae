//! When groups leave members out.

use tidegate_config as config;
use tidegate_policy::health::{CooldownPolicy, OutlierPolicy};

use super::ms;
use crate::types::{Breaker, GroupHealth};

/// The health rules of an upstream.
pub(super) fn group(upstream: &config::Upstream) -> GroupHealth {
    let outlier = &upstream.outlier;
    GroupHealth {
        outlier: OutlierPolicy {
            consecutive_errors: outlier.consecutive_errors,
            error_percent: outlier.error_percent,
            min_requests: outlier.min_requests,
            interval_ms: ms(outlier.interval),
            ejection_ms: ms(outlier.ejection),
            ejection_max_ms: ms(outlier.ejection_max),
            ejected_percent_max: outlier.ejected_percent_max,
        },
        panic_threshold: upstream.panic_threshold,
        breaker: upstream.breaker.as_ref().map(|breaker| Breaker {
            requests: breaker.requests,
            opens: OutlierPolicy {
                consecutive_errors: 0,
                error_percent: breaker.errors_percent,
                min_requests: breaker.min_requests,
                interval_ms: ms(breaker.window),
                ejection_ms: ms(breaker.open),
                ejection_max_ms: ms(breaker.open),
                ejected_percent_max: 100,
            },
        }),
    }
}

/// The health rules of a model's providers: the cooldown.
pub(super) fn model(cooldown: &config::Cooldown) -> GroupHealth {
    let policy = CooldownPolicy { failures: cooldown.failures.max(1), period: cooldown.period };
    GroupHealth { outlier: policy.outlier(), panic_threshold: 0, breaker: None }
}
