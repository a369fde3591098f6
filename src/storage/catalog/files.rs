//! Which files a table has, and which of their rows are gone.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::storage::format::data_file::DataFile;

#[derive(Clone)]
pub(crate) struct FileSnapshot {
    pub(crate) file: Arc<DataFile>,
    /// Row numbers that are replaced or deleted.
    pub(crate) deleted: Arc<RoaringBitmap>,
}
