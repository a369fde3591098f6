//! The object store below: opened by URL ([`open`]), a local folder made durable ([`durable`] on a [`disk`]) or a bucket
//! ([`remote`], which a [`probe`] looks at first); its requests counted ([`counted`]), its files cached on the disk ([`disk_cache`]); places where a test stops the
//! process ([`fail_point`]), and a store that breaks in tests. Small objects lie in checksummed [`frame`]s.

#[cfg(test)]
pub(crate) mod adverse;
#[cfg(test)]
pub(crate) mod conformance;
pub(crate) mod counted;
pub(crate) mod disk;
pub(crate) mod disk_cache;
pub(crate) mod durable;
pub(crate) mod fail_point;
#[cfg(test)]
pub(crate) mod faulty;
pub(crate) mod frame;
pub(crate) mod open;
pub(crate) mod probe;
pub(crate) mod remote;
