//! The text index of a merged file, made of the rows while they are written: reading them back costs several times as
//! much, and no search has to read a large file for want of it. After flushes and imports the index is made in the
//! background: it costs more than twice what the file does, and somebody waits for those.
//!
//! A file stands without it, so a failure is said and no more: the index is made in the background then.

use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutPayload};

use crate::environment::Environment;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::parts::Parts;
use crate::storage::format::text_index::file::{self as text_index, TextIndex, TextIndexBuilder, TextIndexError};

/// Appends the search text of a row.
type Append<R> = fn(&R, &mut Vec<u8>);

/// None where it is to be made later.
pub(super) async fn index<R: Send + Sync + 'static>(of: Option<(u32, Parts<R>)>, append: Append<R>) -> Option<Bytes> {
    let (rows, parts) = of?;
    let made = tokio::task::spawn_blocking(move || {
        let mut builder = TextIndexBuilder::new(rows);
        for part in parts {
            // Who feeds the parts waits for all who take them, so they are taken to the end.
            builder = builder.and_then(|builder| push(builder, &part, append));
        }
        builder.and_then(TextIndexBuilder::finish)
    });
    let made = made.await.map_err(|error| error.to_string());
    let made = made.and_then(|made| made.map_err(|error| error.to_string()));
    made.map_err(|error| tracing::warn!(%error, "a text index is made later")).ok()
}

fn push<R>(
    mut builder: TextIndexBuilder,
    rows: &[Arc<R>],
    append: Append<R>,
) -> Result<TextIndexBuilder, TextIndexError> {
    let mut text = Vec::new();
    for row in rows {
        text.clear();
        append(row, &mut text);
        builder.push(&text)?;
    }
    Ok(builder)
}

/// Writes the index of a new file and takes it into use.
pub(super) async fn keep(environment: &Environment, file: &DataFile, object: Bytes) {
    let path = text_index::path(file.id);
    let kept = match environment.objects.put(&path, PutPayload::from(object.clone())).await {
        Ok(_) => TextIndex::from_bytes(path, &object).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match kept {
        Ok(index) => drop(file.text_index.keep(index)),
        Err(error) => tracing::warn!(%error, file = %file.path(), "a text index is made later"),
    }
}
