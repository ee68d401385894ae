//! The model of the admin listener: where it is and who may do what there.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::Serialize;

use crate::secret::Secret;

/// The admin listener. It answers only those who hold a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Admin {
    /// IP address and port. Outside loopback a token must have 16 characters or more.
    #[serde(default = "default_admin_bind")]
    #[schemars(with = "String")]
    pub bind: SocketAddr,
    /// What callers send as `Authorization: Bearer …`; it may do everything. Absent: only `tokens`
    /// open.
    pub token: Option<Secret>,
    /// More tokens, each with what its holder may do.
    #[serde(default)]
    pub tokens: Vec<AdminToken>,
}

/// 127.0.0.1:9091, the admin port of the systems before.
pub(crate) fn default_admin_bind() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 9091))
}

/// One more token of the admin listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AdminToken {
    /// Who holds it: the name in the audit log.
    pub name: String,
    /// What is sent as `Authorization: Bearer …`.
    pub token: Secret,
    /// What its holder may do.
    pub role: Role,
}

/// What the holder of an admin token may do. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look at everything but secrets.
    Read,
    /// Drain endpoints, report their load, read certificates and the configuration file again.
    Operate,
    /// Change the configuration.
    Admin,
}

impl Role {
    /// Every role, the least mighty first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}
