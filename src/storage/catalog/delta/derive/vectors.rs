//! Deletion vectors of a derived commit: small ones in the commit, the others together in one file, so that a commit
//! makes one or two objects whatever it deletes.

use std::collections::BTreeMap;

use object_store::{ObjectStoreExt, PutPayload};
use uuid::Uuid;

use super::news::Deleted;
use super::table::DeriveError;
use crate::model::ids::EpochMillis;
use crate::storage::catalog::delta::TableLog;
use crate::storage::catalog::delta::actions::{Action, Add};
use crate::storage::catalog::delta::deletion_vector::{
    DeletionVectorDescriptor, DeletionVectorError, FILE_VERSION, INLINE_BYTES, serialize, z85_encode,
};
use crate::storage::format::hex::Checksum;

/// Of all vectors that stand in one commit; the rest goes to the file.
const INLINE_BYTES_OF_COMMIT: usize = 64 << 10;

/// Writes the vectors of these files and names them in the actions: in the file's `add` where there is one, else in a
/// pair that takes the place of the log's.
pub(super) async fn add_to(
    actions: &mut Vec<Action>,
    log: &TableLog,
    deleted: &Deleted,
    now: EpochMillis,
) -> Result<(), DeriveError> {
    let mut vectors = write(log, deleted).await?;
    for add in actions.iter_mut().filter_map(as_add) {
        if let Some(vector) = vectors.remove(&add.path) {
            *add = with_vector(add, vector);
        }
    }
    for (path, vector) in vectors {
        // The same vector again: its file was damaged and is whole now.
        let told = log.state.files.get(&path).filter(|add| add.deletion_vector != vector);
        actions.extend(told.into_iter().flat_map(|add| add.replace_deletions(vector.clone(), now)));
    }
    Ok(())
}

fn as_add(action: &mut Action) -> Option<&mut Add> {
    match action {
        Action::Add(add) => Some(add),
        _ => None,
    }
}

fn with_vector(add: &Add, vector: Option<DeletionVectorDescriptor>) -> Add {
    let mut statistics = add.statistics();
    if let Some(statistics) = &mut statistics {
        statistics.tight_bounds = vector.is_none();
    }
    Add { stats: statistics.map(|statistics| statistics.to_json()), deletion_vector: vector, ..add.clone() }
}

async fn write(
    log: &TableLog,
    deleted: &Deleted,
) -> Result<BTreeMap<String, Option<DeletionVectorDescriptor>>, DeriveError> {
    let mut vectors = BTreeMap::new();
    let mut inline = 0;
    let mut object = vec![FILE_VERSION];
    let mut in_file = Vec::new();
    for (path, rows) in deleted {
        if rows.is_empty() {
            vectors.insert(path.clone(), None);
            continue;
        }
        let payload = serialize(rows)?;
        let size_in_bytes = length(payload.len())?;
        let mut descriptor = DeletionVectorDescriptor {
            storage_type: "i".to_owned(),
            path_or_inline_dv: String::new(),
            offset: None,
            size_in_bytes,
            cardinality: i64::try_from(rows.len()).unwrap_or(i64::MAX),
        };
        if payload.len() <= INLINE_BYTES && inline + payload.len() <= INLINE_BYTES_OF_COMMIT {
            inline += payload.len();
            descriptor.path_or_inline_dv = z85_encode(&payload);
            vectors.insert(path.clone(), Some(descriptor));
            continue;
        }
        descriptor.storage_type = "u".to_owned();
        descriptor.offset = Some(length(object.len())?);
        object.extend_from_slice(&size_in_bytes.to_be_bytes());
        object.extend_from_slice(&payload);
        object.extend_from_slice(&crc32fast::hash(&payload).to_be_bytes());
        in_file.push((path.clone(), descriptor));
    }
    let Some((_, first)) = in_file.first() else { return Ok(vectors) };
    // Named by what is in it, so that a second try makes no second file.
    let name = z85_encode(Uuid::from_u128(Checksum::of(&object).0).as_bytes());
    let named = |vector: &DeletionVectorDescriptor| DeletionVectorDescriptor {
        path_or_inline_dv: name.clone(),
        ..vector.clone()
    };
    if let Some(file) = named(first).file(&log.root)? {
        let put = log.environment.objects.put(&file, PutPayload::from(object)).await;
        put.map_err(|source| DeletionVectorError::Store { name: file.to_string(), source })?;
    }
    vectors.extend(in_file.iter().map(|(path, vector)| (path.clone(), Some(named(vector)))));
    Ok(vectors)
}

fn length(bytes: usize) -> Result<i32, DeletionVectorError> {
    i32::try_from(bytes).map_err(|_| DeletionVectorError::Size { bytes })
}
