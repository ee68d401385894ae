//! What stands before a route, compiled.

use std::sync::Arc;

use tidegate_config::LimitBy;
use tidegate_policy::access::Access;
use tidegate_policy::compress::Coding;
use tidegate_policy::limits::Rate;

use crate::live::RateTable;

/// Who may come in, how often, and how replies may be compressed.
#[derive(Debug, Default)]
pub struct Edge {
    /// Who may come in; None: everybody.
    pub access: Option<Access>,
    /// How often requests may come; None: as often as they like.
    pub limit: Option<Limit>,
    /// Codings for replies, the most liked first.
    pub codings: Vec<Coding>,
}

/// How often requests may come.
#[derive(Debug)]
pub struct Limit {
    /// The rate.
    pub rate: Rate,
    /// What may come at once after a quiet time: told to who is refused.
    pub burst: u32,
    /// Whose requests are counted together.
    pub by: LimitBy,
    /// What has been used.
    pub table: Arc<RateTable>,
}
