//! What of the line is old.

use object_store::ObjectStore;
use object_store::path::Path;

use super::reader::read_commit;
use crate::storage::catalog::checkpoint;
use crate::storage::catalog::commit::{self, CommitNumber};
use crate::storage::catalog::error::{CatalogError, read_object};

/// Commits and checkpoints that no start needs as long as one of the newest `keep` checkpoints is sound: those before
/// the oldest of them. Its own commit stays. Only what can be read counts, so nothing is old that a damaged checkpoint
/// would need.
pub(crate) async fn old_objects(objects: &dyn ObjectStore, keep: usize) -> Result<Vec<Path>, CatalogError> {
    let checkpoints = checkpoint::list(objects).await?;
    let mut sound = 0;
    let mut oldest = None;
    for number in checkpoints.iter().rev().copied() {
        if is_sound(objects, number).await? {
            sound += 1;
            if sound == keep.max(1) {
                oldest = Some(number);
                break;
            }
        }
    }
    let Some(oldest) = oldest else { return Ok(Vec::new()) };
    let commits = checkpoint::list_numbers(objects, commit::FOLDER).await?;
    let commits = commits.into_iter().take_while(|number| *number < oldest).map(CommitNumber::path);
    let checkpoints = checkpoints.into_iter().take_while(|number| *number < oldest).map(checkpoint::path);
    Ok(commits.chain(checkpoints).collect())
}

async fn is_sound(objects: &dyn ObjectStore, number: CommitNumber) -> Result<bool, CatalogError> {
    let Some(object) = read_object(objects, &checkpoint::path(number)).await? else { return Ok(false) };
    let manifest = match checkpoint::decode(number, &object) {
        Ok(manifest) => manifest,
        Err(CatalogError::Damaged { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let commit = match read_commit(objects, number).await {
        Ok(commit) => commit,
        Err(CatalogError::Damaged { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(commit.is_some_and(|(_, checksum)| checksum == manifest.checksum))
}
