//! The relay: bytes pass unchanged, keys never cross, every path finds its provider.

mod bytes;
mod keys;
mod paths;
mod waiting;
