//! How the two JSON fields of one file (or tail segment) lie in columns.
//!
//! Objects are walked. A string, number or boolean leaf goes to the column of its (path, kind) if the file has one;
//! everything else (JSON null, whole arrays, empty objects, leaves without a column) goes to the remainder, one JSON
//! object of the same nesting. The raw text of both fields is kept beside them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum JsonField {
    Properties,
    UserProperties,
    /// A list, of feedback; never spread over columns.
    Reasons,
    /// As `Reasons`.
    Sources,
}

impl JsonField {
    /// Those that are spread over property columns.
    pub(crate) const ALL: [JsonField; 2] = [JsonField::Properties, JsonField::UserProperties];

    /// The contract's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            JsonField::Properties => "properties",
            JsonField::UserProperties => "userProperties",
            JsonField::Reasons => "reasons",
            JsonField::Sources => "sources",
        }
    }

    /// The column of its text.
    pub(crate) const fn raw_column(self) -> &'static str {
        match self {
            JsonField::Properties => "properties",
            JsonField::UserProperties => "user_properties",
            JsonField::Reasons => "reasons",
            JsonField::Sources => "sources",
        }
    }

    /// The column of what has no column of its own; null where nothing is left. Of a list it is the raw column.
    pub(crate) const fn remainder_column(self) -> &'static str {
        match self {
            JsonField::Properties => "properties_remainder",
            JsonField::UserProperties => "user_properties_remainder",
            JsonField::Reasons | JsonField::Sources => self.raw_column(),
        }
    }
}

/// A leaf's JSON type. A number has two columns: `Number` (Float64, every number; -0 as 0) and `NumberText` (the exact
/// `jsonb` text, only where the double's shortest decimal, as `format!("{}")` prints it, is not that text).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ColumnKind {
    String,
    Number,
    NumberText,
    Boolean,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PropertyColumn {
    pub(crate) field: JsonField,
    /// Object keys from the field down to the leaf; never empty.
    pub(crate) path: Vec<String>,
    pub(crate) kind: ColumnKind,
    /// The Parquet column's name. Only an address: the path and kind above are the authority, it is never parsed.
    pub(crate) name: String,
}

impl PropertyColumn {
    /// The text column that a batch in memory has beside a number column. No file has a name with a colon, so that it
    /// differs from every other.
    pub(crate) fn text_column(&self) -> PropertyColumn {
        PropertyColumn { kind: ColumnKind::NumberText, name: format!("{}:text", self.name), ..self.clone() }
    }
}

/// Which entries a file's remainder of one field holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum RemainderPaths {
    /// The paths of all its leaves (JSON null, arrays, empty objects, leaves without a column), keys as they are.
    Known(BTreeSet<Vec<String>>),
    /// Too many to list: it may hold anything.
    Any,
}

impl Default for RemainderPaths {
    fn default() -> Self {
        RemainderPaths::Known(BTreeSet::new())
    }
}

/// Of the format in which a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FormatVersion(pub(crate) u32);

impl FormatVersion {
    pub(crate) const FIRST: Self = Self(1);
    /// Conversations tell where a re-log gave them another `createdAt`.
    pub(crate) const MOVED: Self = Self(2);
    /// And whether they are running.
    pub(crate) const RUNNING: Self = Self(3);
    /// Rows tell who sent them and who chose their id.
    pub(crate) const ORIGIN: Self = Self(4);
    /// What is written.
    pub(crate) const CURRENT: Self = Self::ORIGIN;
    /// What is read.
    pub(crate) const READS: RangeInclusive<Self> = Self::FIRST..=Self::CURRENT;

    /// An error says of what version a file is, and which ones are read.
    pub(crate) fn check(self) -> Result<(), String> {
        let (first, last) = (Self::READS.start().0, Self::READS.end().0);
        let reads = format!("this version reads formats {first} to {last}; start a version that reads it");
        if Self::READS.contains(&self) { Ok(()) } else { Err(format!("format {}, {reads}", self.0)) }
    }
}

impl Default for FormatVersion {
    fn default() -> Self {
        Self::CURRENT
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Layout {
    pub(crate) version: FormatVersion,
    /// Sorted. `Number` columns stand here also where `NumberText` is absent.
    pub(crate) columns: Vec<PropertyColumn>,
    pub(crate) properties_remainder: RemainderPaths,
    pub(crate) user_properties_remainder: RemainderPaths,
    /// The longest raw text of one JSON field, in bytes: bounds a batch's memory.
    pub(crate) max_json_bytes: u64,
}

impl Layout {
    pub(crate) fn remainder(&self, field: JsonField) -> &RemainderPaths {
        match field {
            JsonField::Properties => &self.properties_remainder,
            JsonField::UserProperties => &self.user_properties_remainder,
            JsonField::Reasons | JsonField::Sources => &RemainderPaths::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_outside_the_range_are_named_with_it() {
        for version in [FormatVersion::FIRST, FormatVersion::MOVED, FormatVersion::CURRENT] {
            version.check().unwrap();
        }
        for other in [0, FormatVersion::CURRENT.0 + 1] {
            let (reason, last) = (FormatVersion(other).check().unwrap_err(), FormatVersion::CURRENT.0);
            assert!(reason.contains(&format!("format {other}, this version reads formats 1 to {last}")), "{reason}");
        }
    }
}
