//! Named places at which a debug build can be told to abort (`CONVOLAKE_FAIL_AT`), so that a test meets every state
//! that a crash can leave. Nothing in a release build.

/// Aborts the process when the environment names this place.
pub(crate) fn reached(_name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var("CONVOLAKE_FAIL_AT").is_ok_and(|place| place == _name) {
        eprintln!("aborting at {_name}, as CONVOLAKE_FAIL_AT asks");
        std::process::abort();
    }
}
