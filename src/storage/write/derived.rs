//! The tables as other engines see them: logs in Delta format, derived from a snapshot's commit.

use std::error::Error;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use object_store::ObjectStore;
use roaring::RoaringBitmap;

use crate::environment::Environment;
use crate::model::thread::SemanticThread;
use crate::storage::catalog::commit::FileEntry;
use crate::storage::catalog::delta::derive::{DeltaTable, DerivedLogs, SiblingRows};
use crate::storage::catalog::delta::{DeltaType, TableColumn};
use crate::storage::error::StoreError;
use crate::storage::format::columns::column::FlatRow;
use crate::storage::format::columns::field::{Field, FieldKind};
use crate::storage::format::columns::messages::MessageRow;
use crate::storage::format::data_file::rows_of;
use crate::storage::format::hex::StoreId;
use crate::storage::format::table::{MESSAGES, MESSAGES_TIME_COLUMN, Table};
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Kind, PerTable, for_each_table};
use crate::storage::read::snapshot::Snapshot;

/// The store's writer has them; they may lag behind the commits, and their failure hurts nobody here.
pub(crate) struct DerivedTables {
    environment: Environment,
    published: Arc<ArcSwap<Snapshot>>,
    tables: Vec<DeltaTable>,
    logs: DerivedLogs,
}

impl DerivedTables {
    pub(crate) fn new(environment: &Environment, store: StoreId, published: Arc<ArcSwap<Snapshot>>) -> DerivedTables {
        let siblings = Arc::new(Published { objects: environment.objects.clone(), published: published.clone() });
        let logs = DerivedLogs::new(environment.clone(), store, siblings);
        DerivedTables { environment: environment.clone(), published, tables: tables(), logs }
    }

    /// Brings them to the commit of the newest snapshot, whose number it gives.
    pub(crate) async fn derive(&mut self) -> Result<u64, StoreError> {
        let manifest = self.published.load().manifest.clone();
        let derived = self.logs.derive(&manifest, &self.tables, self.environment.now()).await;
        derived.map_err(|error| StoreError::caused("the logs for other engines are behind", error))?;
        Ok(manifest.number.0)
    }
}

fn tables() -> Vec<DeltaTable> {
    let conversations = Table::Conversations.name().to_owned();
    let mut tables = vec![
        DeltaTable {
            name: MESSAGES.to_owned(),
            plain_columns: plain_columns::<MessageRow>(),
            time_column: Some(MESSAGES_TIME_COLUMN.to_owned()),
            owner: Some(conversations.clone()),
        },
        DeltaTable {
            name: Table::SemanticThreads.name().to_owned(),
            plain_columns: plain_columns::<SemanticThread>(),
            time_column: Some(Table::SemanticThreads.time_column().to_owned()),
            owner: Some(conversations),
        },
    ];
    for_each_table!(kind in PerTable::<Kind>::default() => tables.push(table(kind)));
    tables
}

fn table<R: TableRow>(_: Kind<R>) -> DeltaTable {
    DeltaTable {
        name: R::TABLE.name().to_owned(),
        plain_columns: plain_columns::<R>(),
        time_column: Some(R::TABLE.time_column().to_owned()),
        owner: None,
    }
}

fn plain_columns<R: FlatRow>() -> Vec<TableColumn> {
    R::COLUMNS.iter().map(|column| &column.field).filter(|field| field.stored).map(table_column).collect()
}

fn table_column(field: &Field) -> TableColumn {
    let data_type = match field.kind {
        FieldKind::Text | FieldKind::Json => DeltaType::String,
        FieldKind::Time => DeltaType::Timestamp,
        FieldKind::Integer => DeltaType::Long,
        FieldKind::Boolean => DeltaType::Boolean,
        FieldKind::TextList => DeltaType::StringList,
        FieldKind::Binary => DeltaType::Binary,
    };
    TableColumn::new(field.column(), data_type)
}

/// Where the rows of conversations lie in the files of messages and threads, by the files that are open.
struct Published {
    objects: Arc<dyn ObjectStore>,
    published: Arc<ArcSwap<Snapshot>>,
}

#[async_trait]
impl SiblingRows for Published {
    async fn rows(
        &self,
        table: &str,
        file: &FileEntry,
        deleted: &RoaringBitmap,
    ) -> Result<RoaringBitmap, Box<dyn Error + Send + Sync>> {
        let snapshot = self.published.load_full();
        let mut files = snapshot.tables.conversations.files.iter();
        let entry = files.find(|entry| entry.file.id == file.id);
        let entry = entry.ok_or_else(|| format!("the conversations of {} are not open", file.path))?;
        if table == MESSAGES {
            let offsets = entry.file.index.message_offsets(self.objects.as_ref()).await?;
            return Ok(rows_of(&offsets, deleted));
        }
        let threads = entry.file.threads.as_ref().map(|threads| threads.rows_of(deleted));
        Ok(threads.unwrap_or_default())
    }
}
