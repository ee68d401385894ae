//! JSON as the relay needs it: check a body strictly, read three fields, change one string, touch
//! nothing else.

mod request;
mod scanner;
mod write;

pub use request::{RequestFacts, rename_model, renamed_len, scan_request};
pub use scanner::{DEPTH_MAX, JsonError};
pub use write::push_json_string;

pub(crate) use scanner::{Fault, Scanner, Token};
