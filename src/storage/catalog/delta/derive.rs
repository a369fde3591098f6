//! Delta logs made from the commit line, so that other engines read the tables. The server itself never reads one for
//! an answer: a log that is missing, damaged or changed by somebody is made again.
//!
//! A log is brought to a manifest by what differs, so it does not matter how many commits lie between and what came
//! in the way. What is unlike anything that this writes is not mended but replaced: the next version and a checkpoint
//! of it tell the whole table, and no reader looks at what lies before.
//!
//! The logs carry row counts and times, nothing of the rows' values: a log outlives the rows that it tells of.
//! A feature of the writer's own in the protocol makes other engines refuse to compact, delete or append; they read.

mod expected;
mod healthy;
mod news;
mod table;
mod vectors;

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};

use self::expected::Expected;
use self::news::{News, Scope};
use self::table::EPOCH_APP_ID;
pub(crate) use self::table::{DeltaTable, DeriveError, SiblingRows};
use super::actions::Action;
use super::state::TableState;
use super::{CommitError, TableLog, TableLogError};
use crate::environment::Environment;
use crate::model::ids::EpochMillis;
use crate::storage::catalog::manifest::Manifest;
use crate::storage::format::hex::StoreId;

/// A reader that is so far behind starts again.
const LOG_RETENTION_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// Another program may commit as often while one derivation is made; none that keeps to the protocol does.
const TRIES: u32 = 5;

/// The logs of a store in the hands of its writer.
pub(crate) struct DerivedLogs {
    environment: Environment,
    store: StoreId,
    siblings: Arc<dyn SiblingRows>,
    /// By table.
    logs: BTreeMap<String, Derived>,
}

/// None in both before the log is read for the first time, and after anything unclear.
#[derive(Default)]
struct Derived {
    log: Option<TableLog>,
    /// What it stands for.
    manifest: Option<Arc<Manifest>>,
    /// The log is only whole with a checkpoint, which could not be written yet.
    owes_checkpoint: bool,
    /// The newest checkpoint before which nothing is left to delete, or is not to be deleted yet.
    cleaned: Option<u64>,
}

impl DerivedLogs {
    pub(crate) fn new(environment: Environment, store: StoreId, siblings: Arc<dyn SiblingRows>) -> Self {
        DerivedLogs { environment, store, siblings, logs: BTreeMap::new() }
    }

    /// Brings the logs to the manifest. A table without news gets no object. One that fails does not hold the others
    /// up; the next call goes on.
    pub(crate) async fn derive(
        &mut self,
        manifest: &Arc<Manifest>,
        tables: &[DeltaTable],
        now: EpochMillis,
    ) -> Result<(), DeriveError> {
        let mut outcome = Ok(());
        for table in tables {
            let mut derived = self.logs.remove(&table.name).unwrap_or_default();
            match self.derive_table(&mut derived, manifest, table, now).await {
                Ok(()) => {
                    self.logs.insert(table.name.clone(), derived);
                }
                // What is in memory may be wrong: the log is read anew.
                Err(error) => {
                    tracing::warn!(table = table.name, %error, "the log for other engines is behind");
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    #[cfg(test)]
    /// Files of deletion vectors that the newest versions name: all others of the tables are old.
    pub(crate) fn vector_files(&self) -> Result<Vec<Path>, DeriveError> {
        let mut files = Vec::new();
        for log in self.logs.values().filter_map(|derived| derived.log.as_ref()) {
            for vector in log.state.files.values().filter_map(|add| add.deletion_vector.as_ref()) {
                files.extend(vector.file(&log.root)?);
            }
        }
        files.sort();
        files.dedup();
        Ok(files)
    }

    async fn derive_table(
        &self,
        derived: &mut Derived,
        manifest: &Arc<Manifest>,
        table: &DeltaTable,
        now: EpochMillis,
    ) -> Result<(), DeriveError> {
        let expected = Expected::new(self.store, manifest, table)?;
        for _ in 0..TRIES {
            if derived.log.is_none() {
                let root = Path::from(table.name.as_str());
                match healthy::open(&self.environment, &root).await? {
                    Ok(log) => {
                        derived.cleaned = log.checkpoint;
                        derived.log = Some(log);
                    }
                    Err(next_version) => return self.start_over(derived, &expected, next_version, now).await,
                }
            }
            let Some(log) = &mut derived.log else { continue };
            self.check_epoch(log, manifest).await?;
            let scope = match &derived.manifest {
                Some(before) => Scope::Since(before),
                None => Scope::All,
            };
            let next_version = log.version() + 1;
            let found = news::find(log, &expected, scope, self.siblings.as_ref(), now).await?;
            let Some(News { mut actions, deleted }) = found else {
                return self.start_over(derived, &expected, next_version, now).await;
            };
            vectors::add_to(&mut actions, log, &deleted, now).await?;
            if actions.is_empty() {
                derived.manifest = Some(Arc::clone(manifest));
                return self.finish(derived, now).await;
            }
            actions.extend(expected.transactions(now));
            match log.commit(actions, now).await {
                Ok(_) => {
                    derived.manifest = Some(Arc::clone(manifest));
                    return self.finish(derived, now).await;
                }
                Err(CommitError::Taken { table, version }) => {
                    tracing::warn!(%table, version, "another program committed to a table");
                    *derived = Derived::default();
                }
                Err(CommitError::Invalid { reason, .. }) => {
                    tracing::warn!(table = table.name, reason, "the table log is replaced");
                    return self.start_over(derived, &expected, next_version, now).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let reason = format!("{TRIES} commits of other programs came first");
        Err(DeriveError::Bug { table: table.name.clone(), reason })
    }

    /// A log of a higher epoch is a newer writer's, unless the line ends here: then nobody made what it says.
    async fn check_epoch(&self, log: &TableLog, manifest: &Manifest) -> Result<(), DeriveError> {
        let (found, own) = (log.state.number_of(EPOCH_APP_ID), manifest.epoch.0);
        if found <= own {
            return Ok(());
        }
        match self.environment.objects.head(&manifest.number.next().path()).await {
            Err(Error::NotFound { .. }) => Ok(()),
            Ok(_) => Err(DeriveError::Fenced { table: log.root.clone(), found, own }),
            Err(source) => Err(TableLogError::Store { table: log.root.clone(), source }.into()),
        }
    }

    /// Tells the whole table in one version, and in a checkpoint of it.
    async fn start_over(
        &self,
        derived: &mut Derived,
        expected: &Expected<'_>,
        version: u64,
        now: EpochMillis,
    ) -> Result<(), DeriveError> {
        let root = Path::from(expected.table.name.as_str());
        let environment = self.environment.clone();
        let mut log = TableLog { environment, root, state: TableState::default(), checkpoint: None };
        let mut actions = expected.table_actions(now);
        let mut deleted = Vec::new();
        for (path, file) in &expected.files {
            let rows = news::deleted_rows(expected, file, self.siblings.as_ref()).await?;
            actions.push(Action::Add(expected.add(file)?));
            if !rows.is_empty() {
                deleted.push((path.clone(), rows));
            }
        }
        vectors::add_to(&mut actions, &log, &deleted, now).await?;
        actions.extend(expected.transactions(now));
        log.put_commit(version, actions, now).await?;
        let manifest = Some(Arc::clone(expected.manifest));
        *derived = Derived { log: Some(log), manifest, owes_checkpoint: version > 0, cleaned: None };
        self.finish(derived, now).await
    }

    /// What a commit leaves to be done.
    async fn finish(&self, derived: &mut Derived, now: EpochMillis) -> Result<(), DeriveError> {
        let Some(log) = &mut derived.log else { return Ok(()) };
        // No other engine removes files, so nobody asks for them, and a checkpoint with them all would grow and grow.
        log.state.tombstones.clear();
        if derived.owes_checkpoint {
            log.write_checkpoint(now).await?;
            derived.owes_checkpoint = false;
            // A repair, which may be one of a start: it deletes nothing.
            derived.cleaned = log.checkpoint;
        }
        if log.checkpoint != derived.cleaned {
            let deleted = log.delete_old_log(EpochMillis(now.0.saturating_sub(LOG_RETENTION_MILLIS))).await;
            if let Err(error) = deleted {
                tracing::warn!(table = %log.root, %error, "old versions of a table log could not be deleted");
            }
            derived.cleaned = log.checkpoint;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
