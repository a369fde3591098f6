//! What the store holds: the [`files`] of the [`tables`] and how commits [`change`] them, each table with a log in Delta format ([`delta`]).

pub(crate) mod change;
#[cfg(test)]
pub(crate) mod checkpoint;
#[cfg(test)]
pub(crate) mod commit;
pub(crate) mod delta;
#[cfg(test)]
pub(crate) mod error;
pub(crate) mod files;
#[cfg(test)]
mod frame;
#[cfg(test)]
pub(crate) mod hex;
#[cfg(test)]
pub(crate) mod line;
#[cfg(test)]
pub(crate) mod manifest;
#[cfg(test)]
pub(crate) mod marker;
pub(crate) mod tables;
