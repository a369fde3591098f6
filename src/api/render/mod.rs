//! Rows as bytes: [`json`] and [`csv`] from the same [`cells`]; [`body`]: how they leave while they are made.

pub(crate) mod body;
pub(crate) mod cells;
pub(crate) mod csv;
pub(crate) mod encoder;
pub(crate) mod json;
mod text;
