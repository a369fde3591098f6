//! The object store below: a local folder made durable ([`durable`]), places where a test stops the process
//! ([`fail_point`]), and a store that breaks in tests.

pub(crate) mod durable;
pub(crate) mod fail_point;
#[cfg(test)]
pub(crate) mod faulty;
