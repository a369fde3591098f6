//! How rows lie in files: columns ([`schema`], [`table_row`], [`layout`], [`registry`]), files ([`data_file`]), rows into arrays ([`flatten`]),
//! Parquet out ([`writer`]) and in ([`reader`]), their [`statistics`], and what finds a row by key ([`row_index`]) or by
//! text ([`text_index`]).

pub(crate) mod arrow_types;
pub(crate) mod columns;
pub(crate) mod data_file;
pub(crate) mod encoding;
pub(crate) mod error;
pub(crate) mod flatten;
pub(crate) mod layout;
pub(crate) mod parquet_file;
pub(crate) mod points;
pub(crate) mod reader;
pub(crate) mod registry;
pub(crate) mod row_index;
pub(crate) mod schema;
pub(crate) mod statistics;
pub(crate) mod table;
pub(crate) mod table_row;
pub(crate) mod tables;
pub(crate) mod text_index;
pub(crate) mod upload;
pub(crate) mod writer;
