//! Fuzzes ClientHellos: see `checks::client_hello`.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "each target uses one check of it")]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    checks::client_hello(data);
});
