//! Whether a log is one that this writes.

use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use crate::environment::Environment;
use crate::storage::catalog::delta::actions::ActionLine;
use crate::storage::catalog::delta::log_files::LogFiles;
use crate::storage::catalog::delta::{READS_AT_ONCE, TableLog, TableLogError};

/// The log; or the version at which to start over where there is none, or none that can be gone on with.
pub(super) async fn open(environment: &Environment, root: &Path) -> Result<Result<TableLog, u64>, TableLogError> {
    let files = LogFiles { store: environment.objects.as_ref(), table: root };
    let reason = match TableLog::open(environment.clone(), root.clone()).await {
        Ok(Some(log)) => match foreign_line(&files, &log).await? {
            None => return Ok(Ok(log)),
            Some(reason) => reason,
        },
        Ok(None) => return Ok(Err(0)),
        Err(error @ TableLogError::Store { .. }) => return Err(error),
        Err(error) => error.to_string(),
    };
    tracing::warn!(table = %root, reason, "the table log is replaced");
    let last = files.list_after(None).await?.last_version();
    Ok(Err(last.map_or(0, |last| last + 1)))
}

/// A line of a commit after the checkpoint that this would have written in other words: other engines may be stricter
/// than the parser here, so a changed name of a field is found by writing what was read.
async fn foreign_line(files: &LogFiles<'_>, log: &TableLog) -> Result<Option<String>, TableLogError> {
    let first = log.checkpoint.map_or(0, |checkpoint| checkpoint + 1);
    let read = async |version| {
        let body = files.read(&files.commit(version)).await.map_err(|error| files.failed(error))?;
        Ok((version, body))
    };
    let mut commits = stream::iter(first..=log.state.version).map(read).buffered(READS_AT_ONCE);
    while let Some((version, body)) = commits.try_next().await? {
        for (number, line) in body.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let action = serde_json::from_slice::<ActionLine>(line).ok().map(ActionLine::into_action);
            let own = match &action {
                // Of a kind that says nothing of the table.
                Some(None) => true,
                Some(Some(action)) => serde_json::to_vec(action).is_ok_and(|own| own == line),
                None => false,
            };
            if !own {
                return Ok(Some(format!("line {} of version {version} is somebody else's", number + 1)));
            }
        }
    }
    Ok(None)
}
