//! What tests, benchmarks and newcomers use: a deterministic LLM provider, an origin, a fault proxy, a load generator.
//!
//! | module | role |
//! |---|---|
//! | [`provider`] | answers as OpenAI, Anthropic and Gemini would; the model's name says how it behaves |
//! | [`origin`] | a plain HTTP/1.1 web service: small, big, echo, SSE, slow, until-close |
//! | [`fault`] | a TCP proxy that breaks connections on command |
//! | [`load`], [`report`] | a load generator and its results as JSON and HTML |
//! | [`server`] | listening, accepting, running on an own thread: what the servers above share |
//!
//! All of it is one task per connection on a current-thread runtime, without sharing between threads but counters.

mod connection;
pub mod fault;
mod fingerprint;
mod json;
pub mod load;
mod multipart;
pub mod origin;
pub mod provider;
mod reply;
pub mod report;
pub mod server;
mod websocket;
