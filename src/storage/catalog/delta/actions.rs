//! The actions of a commit, as the Delta protocol spells them ("Actions").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::deletion_vector::DeletionVectorDescriptor;
use super::schema::{TableColumn, schema_string};
use crate::model::ids::EpochMillis;
#[cfg(test)]
use crate::model::ids::WalPosition;

/// Delta's name of this application in `txn` actions.
pub(crate) const APP_ID: &str = "convolake";

pub(crate) type Tags = BTreeMap<String, Option<String>>;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Action {
    Protocol(Protocol),
    MetaData(MetaData),
    Txn(Txn),
    Add(Add),
    Remove(Remove),
    /// Written first in every commit by the log itself; ignored when read.
    CommitInfo(Value),
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line = ActionLine::deserialize(deserializer)?;
        line.into_action().ok_or_else(|| serde::de::Error::custom("an action of no known kind"))
    }
}

/// One line of a commit, or one row of a checkpoint. Kinds that do not matter here (`cdc`, `domainMetadata`) leave it
/// empty.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ActionLine {
    pub(crate) protocol: Option<Protocol>,
    pub(crate) meta_data: Option<MetaData>,
    pub(crate) txn: Option<Txn>,
    pub(crate) add: Option<Add>,
    pub(crate) remove: Option<Remove>,
}

impl ActionLine {
    pub(crate) fn into_action(self) -> Option<Action> {
        let Self { protocol, meta_data, txn, add, remove } = self;
        add.map(Action::Add)
            .or_else(|| remove.map(Action::Remove))
            .or_else(|| txn.map(Action::Txn))
            .or_else(|| meta_data.map(Action::MetaData))
            .or_else(|| protocol.map(Action::Protocol))
    }
}

pub(crate) fn parse_lines(body: &[u8]) -> Result<Vec<Action>, String> {
    let lines = body.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let parse = |(number, line)| match serde_json::from_slice::<ActionLine>(line) {
        Ok(line) => line.into_action().map(Ok),
        Err(error) => Some(Err(format!("line {}: {error}", number + 1))),
    };
    lines.filter_map(parse).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    pub(crate) min_reader_version: i32,
    pub(crate) min_writer_version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) writer_features: Option<Vec<String>>,
}

pub(crate) const FEATURES: [&str; 1] = ["deletionVectors"];
/// Says that a log is derived from something else: an engine that does not know it must not write, and may read.
pub(crate) const DERIVED_FEATURE: &str = "convolakeDerived";

impl Protocol {
    pub(crate) fn own() -> Self {
        let features = Some(FEATURES.map(str::to_owned).to_vec());
        let writer_features = features.clone();
        Self { min_reader_version: 3, min_writer_version: 7, reader_features: features, writer_features }
    }

    /// Of a log that no other engine may write to.
    pub(crate) fn derived() -> Self {
        let mut protocol = Self::own();
        protocol.writer_features.get_or_insert_default().push(DERIVED_FEATURE.to_owned());
        protocol
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetaData {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) format: Format,
    pub(crate) schema_string: String,
    pub(crate) partition_columns: Vec<String>,
    #[serde(default)]
    pub(crate) configuration: BTreeMap<String, Option<String>>,
    /// Epoch milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_time: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Format {
    pub(crate) provider: String,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, Option<String>>,
}

impl MetaData {
    pub(crate) fn new(id: Uuid, name: &str, columns: &[TableColumn], now: EpochMillis) -> Self {
        let configuration = [
            ("delta.enableDeletionVectors", "true"),
            // How long a checkpoint remembers removed files: see `TableState::forget_old_tombstones`.
            ("delta.deletedFileRetentionDuration", "interval 1 days"),
        ];
        Self {
            id: id.to_string(),
            name: Some(name.to_owned()),
            format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
            schema_string: schema_string(columns),
            partition_columns: Vec::new(),
            configuration: configuration.map(|(key, value)| (key.to_owned(), Some(value.to_owned()))).into(),
            created_time: Some(now.0),
        }
    }

    #[cfg(test)]
    /// The same table with other columns: what a commit that adds columns carries beside its files.
    pub(crate) fn with_columns(&self, columns: &[TableColumn]) -> Self {
        Self { schema_string: schema_string(columns), ..self.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Txn {
    pub(crate) app_id: String,
    pub(crate) version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_updated: Option<i64>,
}

impl Txn {
    #[cfg(test)]
    /// The table holds every operation up to and with `position`.
    pub(crate) fn new(position: WalPosition, now: EpochMillis) -> Self {
        Self {
            app_id: APP_ID.to_owned(),
            version: i64::try_from(position.0).unwrap_or(i64::MAX),
            last_updated: Some(now.0),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    /// Relative to the table's folder.
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) partition_values: BTreeMap<String, Option<String>>,
    pub(crate) size: i64,
    /// Epoch milliseconds.
    pub(crate) modification_time: i64,
    /// False where rows were only rearranged (compaction).
    pub(crate) data_change: bool,
    /// [`FileStatistics`] as a JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stats: Option<String>,
    /// What only this server needs of a file, such as its layout and its sibling files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<Tags>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deletion_vector: Option<DeletionVectorDescriptor>,
}

impl Add {
    /// Of a new file without deleted rows.
    pub(crate) fn new(path: String, size: u64, statistics: &FileStatistics, tags: Tags, now: EpochMillis) -> Self {
        Self {
            path,
            partition_values: BTreeMap::new(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            modification_time: now.0,
            data_change: true,
            stats: Some(statistics.to_json()),
            tags: Some(tags),
            deletion_vector: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn tag(&self, name: &str) -> Option<&str> {
        self.tags.as_ref()?.get(name)?.as_deref()
    }

    /// None where there are none, or none that can be read.
    pub(crate) fn statistics(&self) -> Option<FileStatistics> {
        serde_json::from_str(self.stats.as_deref()?).ok()
    }

    pub(crate) fn to_remove(&self, now: EpochMillis) -> Remove {
        Remove {
            path: self.path.clone(),
            deletion_timestamp: Some(now.0),
            data_change: self.data_change,
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition_values.clone()),
            size: Some(self.size),
            deletion_vector: self.deletion_vector.clone(),
        }
    }

    /// The two actions that give this file another deletion vector. Its statistics stay physical and become loose.
    pub(crate) fn replace_deletions(&self, vector: Option<DeletionVectorDescriptor>, now: EpochMillis) -> [Action; 2] {
        let mut statistics = self.statistics();
        if let Some(statistics) = &mut statistics {
            statistics.tight_bounds = vector.is_none();
        }
        let add = Add {
            data_change: true,
            stats: statistics.map(|statistics| statistics.to_json()).or_else(|| self.stats.clone()),
            deletion_vector: vector,
            ..self.clone()
        };
        [Action::Remove(Remove { data_change: true, ..self.to_remove(now) }), Action::Add(add)]
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    pub(crate) path: String,
    /// Epoch milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deletion_timestamp: Option<i64>,
    pub(crate) data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extended_file_metadata: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) partition_values: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deletion_vector: Option<DeletionVectorDescriptor>,
}

/// Delta's "Per-file Statistics". Values by column name: numbers, booleans, strings, times as ISO texts with
/// milliseconds and `Z`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FileStatistics {
    /// Rows in the file, deleted ones too.
    pub(crate) num_records: u64,
    pub(crate) min_values: Map<String, Value>,
    pub(crate) max_values: Map<String, Value>,
    pub(crate) null_count: BTreeMap<String, u64>,
    /// False where rows are deleted: the values are then bounds, not necessarily there.
    pub(crate) tight_bounds: bool,
}

impl FileStatistics {
    pub(crate) fn to_json(&self) -> String {
        // Maps with string keys always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}
