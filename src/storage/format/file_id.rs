//! Ids of data files.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Names a data file of a table for as long as the store lives: it is never used again. A later one is higher, so that
/// files stand in the order of their making. Files of tables whose rows
/// hang together (a conversation's messages and threads) have the same id in each table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct FileId(pub(crate) Uuid);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<FileId> for String {
    fn from(id: FileId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for FileId {
    type Error = String;

    /// One spelling for each id: it is part of the file's name.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let id = Uuid::try_parse(&text).ok().map(FileId).filter(|id| id.to_string() == text);
        id.ok_or_else(|| format!("{text:?} is not a file id, a UUID in lower case"))
    }
}
