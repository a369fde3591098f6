//! What a log adds up to ("Action Reconciliation" of the Delta protocol).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use object_store::path::Path;

use super::actions::{APP_ID, Action, Add, DERIVED_FEATURE, FEATURES, MetaData, Protocol, Remove, Txn};
use super::error::TableLogError;
use super::schema::{TableColumn, parse_schema};

use crate::model::ids::{EpochMillis, WalPosition};

/// As the table's configuration says; after it, Delta's VACUUM may not know of a removed file any more.
const TOMBSTONE_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// A table at one version. Cheap to clone but for the tombstones.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TableState {
    pub(crate) version: u64,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) meta_data: Option<Arc<MetaData>>,
    /// Live files by path.
    pub(crate) files: BTreeMap<String, Arc<Add>>,
    pub(crate) transactions: BTreeMap<String, Txn>,
    /// By path and deletion vector.
    pub(crate) tombstones: BTreeMap<(String, Option<String>), Remove>,
}

type FileKey<'a> = (&'a str, Option<String>);

fn add_key(add: &Add) -> FileKey<'_> {
    (&add.path, add.deletion_vector.as_ref().map(|vector| vector.unique_id()))
}

fn remove_key(remove: &Remove) -> FileKey<'_> {
    (&remove.path, remove.deletion_vector.as_ref().map(|vector| vector.unique_id()))
}

impl TableState {
    /// The table holds every operation of the write-ahead log up to and with this one.
    pub(crate) fn wal_position(&self) -> WalPosition {
        WalPosition(self.number_of(APP_ID))
    }

    pub(crate) fn number_of(&self, application: &str) -> u64 {
        let version = self.transactions.get(application).map_or(0, |txn| txn.version);
        u64::try_from(version).unwrap_or(0)
    }

    pub(crate) fn columns(&self) -> Result<Vec<TableColumn>, String> {
        match &self.meta_data {
            Some(meta_data) => parse_schema(&meta_data.schema_string),
            None => Err("the table has no schema".to_owned()),
        }
    }

    /// Within a commit the order of actions has no meaning: a file that is removed and added has a new vector.
    pub(crate) fn apply(&mut self, version: u64, actions: Vec<Action>) {
        self.version = version;
        let (removes, others): (Vec<Action>, Vec<Action>) =
            actions.into_iter().partition(|action| matches!(action, Action::Remove(_)));
        for action in removes.into_iter().chain(others) {
            match action {
                Action::Remove(remove) => {
                    if self.files.get(&remove.path).is_some_and(|add| add_key(add) == remove_key(&remove)) {
                        self.files.remove(&remove.path);
                    }
                    let (path, vector) = remove_key(&remove);
                    self.tombstones.insert((path.to_owned(), vector), remove);
                }
                Action::Add(add) => {
                    let (path, vector) = add_key(&add);
                    self.tombstones.remove(&(path.to_owned(), vector));
                    self.files.insert(add.path.clone(), Arc::new(add));
                }
                Action::MetaData(meta_data) => self.meta_data = Some(Arc::new(meta_data)),
                Action::Protocol(protocol) => self.protocol = Some(protocol),
                Action::Txn(txn) => {
                    self.transactions.insert(txn.app_id.clone(), txn);
                }
                Action::CommitInfo(_) => {}
            }
        }
    }

    /// Whether a commit of `actions` leaves a table that is right: every removed file is live, and no file has two live
    /// vectors, columns keep their types, and the position of the write-ahead log does not go back.
    pub(crate) fn check(&self, actions: &[Action]) -> Result<(), String> {
        let mut removed = BTreeSet::new();
        let mut added = BTreeSet::new();
        for action in actions {
            match action {
                Action::Remove(remove) => {
                    if self.files.get(&remove.path).is_none_or(|add| add_key(add) != remove_key(remove)) {
                        return Err(format!("it removes {}, which is not live", remove.path));
                    }
                    removed.insert(remove.path.as_str());
                }
                Action::Add(add) => {
                    if !added.insert(add.path.as_str()) {
                        return Err(format!("it adds {} twice", add.path));
                    }
                }
                Action::Txn(txn) if txn.app_id == APP_ID && txn.version < self.wal_position().0 as i64 => {
                    let position = self.wal_position().0;
                    return Err(format!("it goes back from log position {position} to {}", txn.version));
                }
                Action::MetaData(meta_data) if self.meta_data.is_some() => {
                    let columns = parse_schema(&meta_data.schema_string)?;
                    let lost = self
                        .columns()?
                        .into_iter()
                        .find(|old| !columns.iter().any(|new| new.name == old.name && new.data_type == old.data_type));
                    if let Some(lost) = lost {
                        return Err(format!("it loses the column {:?} or its type", lost.name));
                    }
                }
                Action::MetaData(_) | Action::Protocol(_) | Action::Txn(_) | Action::CommitInfo(_) => {}
            }
        }
        match added.iter().find(|path| self.files.contains_key(**path) && !removed.contains(**path)) {
            Some(path) => Err(format!("it adds {path}, which is live, without removing it")),
            None => Ok(()),
        }
    }

    pub(crate) fn check_readable(&self, table: &Path) -> Result<(), TableLogError> {
        let unsupported = |what: String| TableLogError::Unsupported { table: table.clone(), what };
        let corrupt = |reason: &str| TableLogError::Corrupt { table: table.clone(), reason: reason.to_owned() };
        let protocol = self.protocol.as_ref().ok_or_else(|| corrupt("it has no protocol"))?;
        if self.meta_data.is_none() {
            return Err(corrupt("it has no schema"));
        }
        if protocol.min_reader_version > 3 || protocol.min_writer_version > 7 {
            let Protocol { min_reader_version: reader, min_writer_version: writer, .. } = protocol;
            return Err(unsupported(format!("reader version {reader} and writer version {writer}")));
        }
        let features = [&protocol.reader_features, &protocol.writer_features].into_iter().flatten().flatten();
        let is_known = |feature: &str| FEATURES.contains(&feature) || feature == DERIVED_FEATURE;
        match features.into_iter().find(|feature| !is_known(feature)) {
            Some(feature) => Err(unsupported(format!("the feature {feature:?}"))),
            None => Ok(()),
        }
    }

    pub(crate) fn forget_old_tombstones(&mut self, now: EpochMillis) {
        let oldest = now.0.saturating_sub(TOMBSTONE_MILLIS);
        self.tombstones.retain(|_, remove| remove.deletion_timestamp.is_some_and(|removed| removed >= oldest));
    }
}
