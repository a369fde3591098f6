//! What a commit tells of a data file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::model::ids::EpochMillis;
pub(crate) use crate::storage::format::file_id::FileId;
use crate::storage::format::hex::Checksum;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FileEntry {
    pub(crate) id: FileId,
    /// From the store's root. It lies in the table's folder, and its name holds the id, so that no two files of a
    /// table are one object.
    pub(crate) path: String,
    pub(crate) size: u64,
    /// Of the whole object.
    pub(crate) checksum: Checksum,
    /// In the file, deleted ones too.
    pub(crate) rows: u32,
    /// How many merges its rows have behind them.
    pub(crate) level: u32,
    /// Of the table's default time field; none where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<Times>,
}

/// Both ends are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Times {
    pub(crate) from: EpochMillis,
    pub(crate) to: EpochMillis,
}

/// Rows of a file that a commit deletes. It names only those that are new, so that it costs what it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeletionEdit {
    pub(crate) rows: RowSet,
    /// Deleted rows of the file once the commit is there: tells that none is missing.
    pub(crate) total: u64,
}

/// Row numbers: roaring's portable form in base 64.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct RowSet(pub(crate) RoaringBitmap);

impl RowSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<RowSet> for String {
    fn from(RowSet(rows): RowSet) -> Self {
        let mut bytes = Vec::with_capacity(rows.serialized_size());
        // Writing to memory does not fail.
        let _ = rows.serialize_into(&mut bytes);
        STANDARD_NO_PAD.encode(bytes)
    }
}

impl TryFrom<String> for RowSet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|error| format!("a set of rows: {error}"))?;
        let mut rest = bytes.as_slice();
        match RoaringBitmap::deserialize_from(&mut rest) {
            Ok(rows) if rest.is_empty() => Ok(RowSet(rows)),
            Ok(_) => Err(format!("a set of rows ends {} bytes early", rest.len())),
            Err(error) => Err(format!("a set of rows: {error}")),
        }
    }
}
