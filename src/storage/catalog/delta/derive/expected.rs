//! What a table's log should say, from the manifest alone: the same manifest gives the same actions.

use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::table::{COMMIT_APP_ID, DeltaTable, DeriveError, EPOCH_APP_ID};
use crate::model::ids::EpochMillis;
use crate::model::time;
use crate::storage::catalog::commit::FileId;
use crate::storage::catalog::delta::actions::{Action, Add, FileStatistics, MetaData, Protocol, Txn};
use crate::storage::catalog::delta::schema::TableColumn;
use crate::storage::catalog::manifest::{Manifest, StoredFile, Table};
use crate::storage::format::hex::{Checksum, StoreId};

/// Paths of a log are parts of a URL.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub(super) struct Expected<'a> {
    store: StoreId,
    pub(super) manifest: &'a Arc<Manifest>,
    pub(super) table: &'a DeltaTable,
    columns: Vec<TableColumn>,
    /// By their paths in the log.
    pub(super) files: BTreeMap<String, Arc<StoredFile>>,
}

impl<'a> Expected<'a> {
    pub(super) fn new(store: StoreId, manifest: &'a Arc<Manifest>, table: &'a DeltaTable) -> Result<Self, DeriveError> {
        let mut columns = table.plain_columns.clone();
        if let Some(own) = manifest.tables.get(&table.name) {
            columns.extend(own.columns.values().map(|owned| TableColumn::of_property(&owned.column)));
        }
        let stored = manifest.tables.get(&table.name).into_iter().flat_map(|stored| stored.files.values());
        let files = stored.map(|file| Ok((relative_path(table, file)?, Arc::clone(file))));
        let files = files.collect::<Result<_, DeriveError>>()?;
        Ok(Expected { store, manifest, table, columns, files })
    }

    /// The file whose deleted rows decide over this one's.
    pub(super) fn owner_of(&self, id: &FileId) -> Option<&'a Arc<StoredFile>> {
        owner_of(self.manifest, self.table, id)
    }

    pub(super) fn protocol(&self) -> Protocol {
        Protocol::derived()
    }

    /// As the log has it, but for the columns.
    pub(super) fn meta_data(&self, created: Option<i64>) -> MetaData {
        let name = format!("{} {}", self.store, self.table.name);
        // The same after the log is made again: to other engines it is the same table.
        let id = Uuid::from_u128(Checksum::of(name.as_bytes()).0);
        let made = MetaData::new(id, &self.table.name, &self.columns, EpochMillis(0));
        MetaData { created_time: created, ..made }
    }

    /// What the first version says beside the files.
    pub(super) fn table_actions(&self, now: EpochMillis) -> Vec<Action> {
        vec![Action::Protocol(self.protocol()), Action::MetaData(self.meta_data(Some(now.0)))]
    }

    /// Which commit the log stands for, and who says so.
    pub(super) fn transactions(&self, now: EpochMillis) -> [Action; 2] {
        let Manifest { number, epoch, .. } = self.manifest.as_ref();
        [(COMMIT_APP_ID, number.0), (EPOCH_APP_ID, epoch.0)].map(|(app_id, number)| {
            let version = i64::try_from(number).unwrap_or(i64::MAX);
            Action::Txn(Txn { app_id: app_id.to_owned(), version, last_updated: Some(now.0) })
        })
    }

    /// Of a file without deleted rows.
    pub(super) fn add(&self, file: &StoredFile) -> Result<Add, DeriveError> {
        let StoredFile { entry, added, .. } = file;
        let path = relative_path(self.table, file)?;
        let mut statistics = FileStatistics { num_records: u64::from(entry.rows), ..FileStatistics::default() };
        statistics.tight_bounds = true;
        if let (Some(column), Some(times)) = (&self.table.time_column, entry.times) {
            let bound = |time| Map::from_iter([(column.clone(), Value::from(time::render(time)))]);
            (statistics.min_values, statistics.max_values) = (bound(times.from), bound(times.to));
        }
        let mut add = Add::new(path, entry.size, &statistics, BTreeMap::new(), *added);
        add.tags = None;
        Ok(add)
    }

    /// Whether the log says of a file what it should, but for its deleted rows.
    pub(super) fn is_told(&self, file: &StoredFile, add: &Add) -> Result<bool, DeriveError> {
        let mut expected = self.add(file)?;
        if let Some(mut statistics) = expected.statistics() {
            statistics.tight_bounds = add.deletion_vector.is_none();
            expected.stats = Some(statistics.to_json());
        }
        // A checkpoint repeats a file with `dataChange` false.
        expected.data_change = add.data_change;
        expected.deletion_vector = add.deletion_vector.clone();
        Ok(expected == *add)
    }
}

pub(super) fn owner_of<'a>(manifest: &'a Manifest, table: &DeltaTable, id: &FileId) -> Option<&'a Arc<StoredFile>> {
    manifest.tables.get(table.owner()).and_then(|Table { files, .. }| files.get(id))
}

fn relative_path(table: &DeltaTable, file: &StoredFile) -> Result<String, DeriveError> {
    let path = file.entry.path.strip_prefix(table.name.as_str()).and_then(|path| path.strip_prefix('/'));
    let path = path.ok_or_else(|| DeriveError::Bug {
        table: table.name.clone(),
        reason: format!("{} is not in its folder", file.entry.path),
    })?;
    Ok(utf8_percent_encode(path, ESCAPED).to_string())
}
