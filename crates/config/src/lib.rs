//! What operators write: the model, the check that reports every problem at once, the imports.

mod address;
mod budget;
mod check;
mod duration;
mod edit;
mod env;
mod env_file;
mod env_providers;
mod expand;
mod families;
mod load;
mod mask;
mod model;
mod preset;
mod problem;
mod quickstart;
mod read;
mod reader;
mod resolve;
mod schema;
mod secret;
mod size;
pub mod speedmimi;
mod suggest;
mod tree;
mod yaml;

pub use address::{AddressError, Egress, EgressKind, EndpointAddress, HttpUrl};
pub use budget::Budget;
pub use duration::{DurationError, format_duration, parse_duration};
pub use edit::{Difference, EditError, differences, edited};
pub use env::import_env;
pub use env_file::{EnvVariable, parse_env_file};
pub use expand::Environment;
pub use load::{CONFIG_BYTES_MAX, Loaded, load, load_bytes};
pub use mask::masked_json;
pub use model::{Access, Compression, LimitBy, RateLimit, RealIpHeader};
pub use model::{
    Admin, AdminToken, Algorithm, Balance, Bound, Breaker, Caller, Certificate, ClientAuth, Config,
    Cooldown, Endpoint, Hash, HashBy, HeaderEdits, Health, Hedge, Limits, Listener, Log, LogFormat,
    LogLevel, Mirror, Model, ModelBalance, Outlier, Priority, Protocol, Provider, ProviderTimeouts,
    Queue, Redirect, Resolver, Retry, Rewrite, Role, Route, RouteLimits, RouteTimeouts, Share,
    StaticReply, Target, Timeouts, TlsVersion, Upstream,
};
pub use model::{ProxyHeader, UpstreamProtocol, UpstreamTls};
pub use preset::{Preset, UnknownPreset};
pub use problem::{Problem, Problems};
pub use quickstart::quickstart_config;
pub use resolve::{NO_KEY, ResolveError, ResolvedProvider};
pub use schema::schema;
pub use secret::{MASK, Secret};
pub use size::{ByteSize, SizeError};
pub use yaml::to_yaml;
