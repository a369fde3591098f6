//! The row index of rows that are being written.

use std::borrow::Borrow;

use super::parts::Parts;
use super::row_index::builder::IndexBuilder;
use super::row_index::error::IndexError;
use super::sidecar::file::BuiltIndex;
use super::table_row::TableRow;
use crate::model::ids::{Key, lookup_hash};

/// The index of rows in their file's order.
pub(crate) fn build_index<R: TableRow>(parts: Parts<R>) -> Result<BuiltIndex, IndexError> {
    let mut builder = IndexBuilder::new();
    for part in parts {
        part.iter().for_each(|row| push(&mut builder, row.as_ref()));
    }
    builder.finish()
}

pub(super) fn push<R: TableRow>(builder: &mut IndexBuilder, row: &R) {
    let Key { organization_id, project_id, id } = row.key();
    let id = lookup_hash(&organization_id, id.borrow());
    let external_id = row.external_id().map(|text| lookup_hash(&organization_id, text));
    builder.push(id, external_id, row.siblings());
    for reference in row.references() {
        builder.push_reference(reference.hash(&organization_id, &project_id));
    }
}
