//! The commit line: reading it ([`CommitLine`]), going on with it ([`CommitWriter`]), and what of it is old
//! ([`old_objects`]).
//!
//! A line that is damaged or has a gap stops whoever reads it; it is never taken for a shorter one. That it has its end
//! is known from three sides: numbers after the first free one are tried too, a checkpoint is never newer than the line,
//! and the write-ahead log names commits ([`Evidence`]).

mod old;
mod reader;
mod writer;

pub(crate) use self::old::old_objects;
pub(crate) use self::reader::{CommitLine, Evidence, read_commit};
#[cfg(test)]
pub(crate) use self::writer::AppendError;
pub(crate) use self::writer::{CommitWriter, Writer};

#[cfg(test)]
mod tests;
