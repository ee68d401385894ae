//! What is wrong with an origin on purpose: set by `/lab/trouble`, it holds for every other request until it is set anew.

use std::time::Duration;

use crate::connection::Request;

/// One trouble at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trouble {
    /// None.
    #[default]
    Well,
    /// Every answer has this status.
    Status(u16),
    /// Every answer comes this much later.
    Late(Duration),
    /// Every connection is reset once its request is there.
    Resets,
}

/// What the query of `/lab/trouble` asks for; None where it cannot be read.
pub(super) fn asked(request: &Request) -> Option<Trouble> {
    let number = |name| request.query(name).map(|text| text.parse::<u64>().ok());
    match (request.query("reset"), number("status"), number("ms")) {
        (None, None, None) => Some(Trouble::Well),
        (Some(_), None, None) => Some(Trouble::Resets),
        (None, Some(Some(status @ 200..600)), None) => Some(Trouble::Status(status as u16)),
        (None, None, Some(Some(ms))) => {
            Some(Trouble::Late(Duration::from_millis(ms).min(super::WAIT_MAX)))
        }
        _ => None,
    }
}
