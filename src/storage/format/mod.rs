//! How rows lie in files.
//!
//! - [`columns`]: one table of columns for each type of row, from which [`schema`], [`encoding`] and [`statistics`] derive;
//!   [`layout`], [`registry`]: which properties have columns of their own; [`physical_name`]:
//!   what columns are called; [`flatten`]: rows into arrays.
//! - [`writer`]: Parquet out, brought to the store by [`upload`](mod@upload). [`parquet_file`]: footers; [`points`]: some
//!   rows of some columns, in single [`pages`]; [`reader`]: rows back in; [`data_file`]: what is known of a file without reading it.
//! - [`checked`]: no stored byte is used unverified; [`sidecar`]: what is known of a group of files beside them.
//! - [`entries`]: what changes have to know of stored rows.
//! - [`row_index`]: what finds a row by key, made by [`indexed`]; [`text_index`]: by text.
//! - [`tables`]: the list of tables; [`table_row`]: what their rows have in common.

pub(crate) mod arrow_types;
pub(crate) mod checked;
pub(crate) mod coalesce;
pub(crate) mod columns;
pub(crate) mod data_file;
pub(crate) mod encoding;
pub(crate) mod entries;
pub(crate) mod error;
pub(crate) mod file_id;
pub(crate) mod flatten;
pub(crate) mod footer;
pub(crate) mod hex;
pub(crate) mod indexed;
pub(crate) mod layout;
pub(crate) mod pages;
pub(crate) mod parquet_file;
pub(crate) mod parts;
pub(crate) mod physical_name;
pub(crate) mod points;
pub(crate) mod reader;
pub(crate) mod rebuild;
pub(crate) mod registry;
pub(crate) mod row_index;
pub(crate) mod schema;
pub(crate) mod sidecar;
pub(crate) mod statistics;
pub(crate) mod stored_key;
pub(crate) mod table;
pub(crate) mod table_row;
pub(crate) mod tables;
pub(crate) mod text_index;
pub(crate) mod upload;
pub(crate) mod writer;
