//! Where what was erased lies in files (contract A7). A file keeps dead rows, earlier versions of what was logged again
//! among them, so whoever moves deletions from the log into a commit looks for all of them and names the files: from
//! then on it is the commits that know what has to be written again.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use imbl::OrdMap;
use object_store::ObjectStore;
use roaring::RoaringBitmap;

use crate::storage::catalog::change::ErasedRows;
use crate::storage::catalog::commit::Erased;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::error::StoreError;

/// Look-ups under way at once.
const LOOKUPS_AT_ONCE: usize = 256;

/// By file; a file without any is left out.
pub(crate) async fn rows_in(
    store: &Arc<dyn ObjectStore>,
    files: &[FileSnapshot],
    erased: &OrdMap<u128, Erased>,
) -> Result<Vec<ErasedRows>, StoreError> {
    let mut found = Vec::new();
    for file in files {
        let look_up = async |(hash, when): (&u128, &Erased)| Ok((file.versions(store, *hash).await?, *when));
        let versions = stream::iter(erased).map(look_up).buffered(LOOKUPS_AT_ONCE);
        let (mut rows, mut span) = (RoaringBitmap::new(), None);
        let mut versions = std::pin::pin!(versions);
        while let Some((versions, when)) = TryStreamExt::try_next(&mut versions).await? {
            if !versions.is_empty() {
                rows.extend(versions);
                span = Some(when.merged(span));
            }
        }
        found.extend(span.map(|when| ErasedRows { file: file.file.id, rows, when }));
    }
    Ok(found)
}
