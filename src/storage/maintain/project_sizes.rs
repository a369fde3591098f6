//! About how many bytes each project has in the store: of each file, of its siblings too, the part that its living rows
//! are of all its rows; and the same of what waits in memory.
//!
//! Which rows of a file are whose is read once, of two columns, and never changes. It is kept as a bitmap for each project:
//! the rows of most are neighbours.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use roaring::RoaringBitmap;
use tokio::sync::Mutex;

use crate::model::ids::{OrganizationId, ProjectId};
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::error::StoreError;
use crate::storage::format::columns::column::Set;
use crate::storage::format::file_id::FileId;
use crate::storage::format::reader::{Read, read_columns};
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::for_each_table;
use crate::storage::projects::ProjectKey;
use crate::storage::read::snapshot::{Snapshot, TableSnapshot};

/// Rows that are looked at together.
const PART_ROWS: u32 = 65_536;

const OWNER: [(&str, Set<ProjectKey>); 2] = [
    ("organizationId", Set::Text(|owner, id| owner.organization_id = OrganizationId::new(id))),
    ("projectId", Set::Text(|owner, id| owner.project_id = ProjectId::new(id))),
];

/// The rows of a file by their project.
type Owners = BTreeMap<ProjectKey, RoaringBitmap>;

#[derive(Default)]
pub(crate) struct ProjectSizes {
    /// Of the files that the last look met.
    files: Mutex<HashMap<FileId, Arc<Owners>>>,
}

pub(crate) type Sizes = BTreeMap<ProjectKey, u64>;

impl ProjectSizes {
    pub(crate) async fn of(&self, snapshot: &Snapshot) -> Result<Sizes, StoreError> {
        let mut files = self.files.lock().await;
        let mut met = HashMap::new();
        let mut sizes = Sizes::new();
        for_each_table!(table in snapshot.tables.as_ref() => {
            for entry in table.files.iter() {
                let owners = match files.get(&entry.file.id) {
                    Some(owners) => Arc::clone(owners),
                    None => Arc::new(read_owners(snapshot, table, entry).await?),
                };
                for (owner, rows) in owners.iter() {
                    let living = rows.len().saturating_sub(rows.intersection_len(&entry.deleted));
                    *sizes.entry(owner.clone()).or_default() += share(entry.file.bytes(), living, entry.file.rows.into());
                }
                met.insert(entry.file.id, owners);
            }
            let mut rows: BTreeMap<ProjectKey, u64> = BTreeMap::new();
            for entry in table.segments.iter() {
                let living = entry.segment.rows.iter().enumerate().filter(|(row, _)| !entry.deleted.contains(*row as u32));
                for (_, row) in living {
                    let key = row.key();
                    let owner = ProjectKey { organization_id: key.organization_id, project_id: key.project_id };
                    *rows.entry(owner).or_default() += 1;
                }
            }
            let all: u64 = rows.values().sum();
            for (owner, of_project) in rows {
                *sizes.entry(owner).or_default() += share(table.tail.bytes() as u64, of_project, all);
            }
        });
        *files = met;
        Ok(sizes)
    }
}

async fn read_owners<R: TableRow>(
    snapshot: &Snapshot,
    _: &TableSnapshot<R>,
    entry: &FileSnapshot,
) -> Result<Owners, StoreError> {
    let columns = OWNER.iter().filter_map(|(name, set)| {
        let column = R::COLUMNS.iter().find(|column| column.field.name == *name)?;
        Some(Read { field: &column.field, set })
    });
    let columns: Vec<_> = columns.collect();
    let blank = || ProjectKey { organization_id: OrganizationId::new(""), project_id: ProjectId::new("") };
    let mut all = Owners::new();
    for start in (0..entry.file.rows).step_by(PART_ROWS as usize) {
        let rows = start..entry.file.rows.min(start.saturating_add(PART_ROWS));
        let read = read_columns(&snapshot.store, &entry.file.parquet, vec![rows.clone()], &columns, blank).await;
        let owners = read.map_err(|error| StoreError::caused("stored rows could not be read", error))?;
        for (row, owner) in rows.zip(owners) {
            all.entry(owner).or_default().insert(row);
        }
    }
    all.values_mut().for_each(|rows| {
        rows.optimize();
    });
    Ok(all)
}

fn share(bytes: u64, part: u64, all: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(part) / u128::from(all.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}
