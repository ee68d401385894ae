//! Fuzzes PROXY protocol headers: see `checks::proxy_protocol`.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "each target uses one check of it")]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    checks::proxy_protocol(data);
});
