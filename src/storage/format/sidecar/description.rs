//! Of which files a sidecar is, where their columns are and within which bounds their values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::storage::format::checked::{CHECKSUM_BYTES, DATA_BLOCK_BYTES};
use crate::storage::format::file_id::FileId;
use crate::storage::format::hex::Checksum;
use crate::storage::format::layout::Layout;
use crate::storage::format::statistics::{ColumnStatistics, DeltaStatistics};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Description {
    /// The table whose rows the index finds.
    pub(crate) table: String,
    pub(crate) id: FileId,
    /// Its file and those beside it, by their tables.
    pub(crate) files: BTreeMap<String, FileDescription>,
    /// The part of the body that is the index's; the checksums of the files' blocks follow, in the files' order.
    pub(crate) index_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FileDescription {
    /// The data file's, as its commit has it.
    pub(crate) checksum: Checksum,
    pub(crate) size: u64,
    pub(crate) layout: Layout,
    pub(crate) statistics: DeltaStatistics,
}

impl FileDescription {
    pub(crate) fn new(
        (checksum, size): (Checksum, u64),
        layout: &Layout,
        statistics: &BTreeMap<String, ColumnStatistics>,
    ) -> Self {
        FileDescription { checksum, size, layout: layout.clone(), statistics: DeltaStatistics::new(statistics) }
    }

    /// Of the checksums of its blocks.
    pub(super) fn blocks_bytes(&self) -> u64 {
        self.size.div_ceil(DATA_BLOCK_BYTES).saturating_mul(CHECKSUM_BYTES)
    }
}
