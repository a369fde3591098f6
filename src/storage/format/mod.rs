//! How rows lie in files: columns ([`schema`], [`table_row`], [`layout`], [`registry`]), rows into arrays ([`flatten`]),
//! Parquet out ([`writer`]) and in ([`reader`]), their [`statistics`], and what finds a row by key ([`row_index`]) or by
//! text ([`text_index`]).

pub mod flatten;
pub mod layout;
pub mod reader;
pub mod registry;
pub mod row_index;
pub mod schema;
pub mod statistics;
pub mod table_row;
pub mod text_index;
pub mod writer;
