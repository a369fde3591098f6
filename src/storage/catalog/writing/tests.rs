use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use roaring::RoaringBitmap;

use super::*;
use crate::model::document;
use crate::model::ids::{EpochMillis, OrganizationId, ProjectId, WalPosition};
use crate::model::origin::{Reach, Sender};
use crate::model::resolve::{Identity, resolve};
use crate::storage::catalog::change::{MovedRows, RemovedFile, TableChange};
use crate::storage::catalog::commit::{Epoch, FileId};
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::catalog::line::{CommitLine, Evidence, Writer};
use crate::storage::catalog::opening::open_files;
use crate::storage::error::ErrorKind;
use crate::storage::format::table::MESSAGES;
use crate::storage::objects::faulty::{Fault, FlakyStore};
use crate::storage::tail::Counters;
use crate::storage::write::files::{self, FileNumbers, NewRows};

async fn open(environment: &Environment, epoch: u64) -> Catalog {
    let line = CommitLine::open(environment.objects.clone(), &Evidence::default()).await.unwrap();
    let writer = Writer { id: format!("w{epoch}"), epoch: Epoch(epoch), patience: Duration::ZERO };
    Catalog::new(environment, CommitWriter::begin(line, writer, EpochMillis(1)).await.unwrap())
}

/// A change of the conversations alone.
fn change(position: u64, of_conversations: TableChange) -> CatalogChange {
    let tables = PerTable { conversations: of_conversations, ..PerTable::default() };
    CatalogChange { position: WalPosition(position), tables, ..CatalogChange::default() }
}

async fn written(environment: &Environment, catalog: &Catalog, ids: &[&str]) -> TableChange {
    let identity = Identity {
        organization_id: OrganizationId::new("o"),
        project_id: ProjectId::new("p"),
        integration_id: None,
        sender: Sender::import(),
        reach: Reach::Everything,
    };
    let row = |id: &&str| {
        let text = serde_json::json!({"id": id, "type": "openai", "properties": {"of": id},
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]});
        let document = document::parse(text.to_string().as_bytes()).unwrap();
        Arc::new(resolve(&document, &identity, None, environment.now(), || environment.ids.of_document()))
    };
    let mut counters = Counters::new();
    let none = |counters: &mut Counters| FileNumbers::next(counters);
    let rows = PerTable {
        conversations: NewRows { rows: ids.iter().map(row).collect(), numbers: none(&mut counters) },
        events: NewRows { rows: Vec::new(), numbers: none(&mut counters) },
        feedback: NewRows { rows: Vec::new(), numbers: none(&mut counters) },
    };
    files::write(environment, rows, catalog.columns()).await.unwrap().conversations.change(Vec::new(), Vec::new())
}

fn deleting(change: &TableChange, rows: &[u32]) -> TableChange {
    let file = change.added[0].file.clone();
    let deletions = vec![FileSnapshot { file, deleted: Arc::new(RoaringBitmap::from_iter(rows)) }];
    TableChange { deletions, ..TableChange::default() }
}

/// Files of each table, and the rows that they have; of conversations deleted ones are left out.
fn live(catalog: &Catalog) -> [(usize, u64); 3] {
    ["conversations", MESSAGES, "semantic_threads"].map(|name| {
        let files = catalog.manifest().tables.get(name).map(|table| table.files.values().cloned().collect::<Vec<_>>());
        let files = files.unwrap_or_default();
        (files.len(), files.iter().map(|file| u64::from(file.entry.rows) - file.deleted.len()).sum())
    })
}

#[tokio::test]
async fn a_change_adds_removes_and_deletes_in_all_tables_at_once() {
    let store = Environment::of_test(Arc::new(InMemory::new()));
    let mut catalog = open(&store, 1).await;
    let first = change(1, written(&store, &catalog, &["a", "b"]).await);
    catalog.commit(&first).await.unwrap();
    assert_eq!(live(&catalog), [(1, 2), (1, 4), (1, 2)]);

    // Another takes the place of the first, as a rewrite does: rows a and b are its rows 1 and 0.
    let mut second = change(2, written(&store, &catalog, &["b", "c", "d"]).await);
    let to = second.tables.conversations.added[0].file.id;
    let moved = Arc::new(MovedRows { to, rows: vec![None, Some(2)] });
    second.tables.conversations.removed = vec![RemovedFile { id: first.tables.conversations.added[0].file.id, moved }];
    catalog.commit(&second).await.unwrap();
    assert_eq!(live(&catalog), [(1, 3), (1, 6), (1, 3)]);

    // A change that was prepared before knows the first file only.
    catalog.commit(&change(3, deleting(&first.tables.conversations, &[0, 1]))).await.unwrap();
    assert_eq!(live(&catalog)[0], (1, 2));
    catalog.commit(&change(4, deleting(&second.tables.conversations, &[1, 2]))).await.unwrap();
    assert_eq!(live(&catalog)[0], (1, 1));
    let last = catalog.manifest().number;
    catalog.commit(&change(5, deleting(&second.tables.conversations, &[1, 2]))).await.unwrap();
    assert!(
        catalog.manifest().tables.get("conversations") == open(&store, 2).await.manifest().tables.get("conversations")
    );

    let opened = open(&store, 3).await;
    assert_eq!((opened.manifest().wal_position, live(&opened)), (WalPosition(5), live(&catalog)));
    assert!(opened.manifest().number > last);
    let mut number = 100;
    let files = open_files(&store, opened.manifest(), || {
        number += 1;
        number
    });
    let [file] = files.await.unwrap().conversations.try_into().ok().unwrap();
    assert_eq!((file.file.id, file.deleted.iter().collect::<Vec<_>>()), (to, vec![1, 2]));
    assert!(file.file.threads.is_some());
}

#[tokio::test]
async fn what_is_no_file_of_a_table_is_not_removed() {
    let store = Environment::of_test(Arc::new(InMemory::new()));
    let mut catalog = open(&store, 1).await;
    let id = FileId(store.ids.in_order());
    let removed = vec![RemovedFile { id, moved: Arc::new(MovedRows { to: id, rows: Vec::new() }) }];
    let error = catalog.commit(&change(1, TableChange { removed, ..TableChange::default() })).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug, "{error}");
    // The next change is not held up.
    let right = change(1, written(&store, &catalog, &["a"]).await);
    catalog.commit(&right).await.unwrap();
    assert_eq!(live(&catalog), [(1, 1), (1, 2), (1, 1)]);
}

#[tokio::test]
async fn a_commit_in_doubt_is_made_once() {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for (epoch, fault) in [(1, Fault::AnswerLost), (2, Fault::NotWritten)] {
        let flaky = Arc::new(FlakyStore::new(memory.clone(), &[]));
        let store = Environment::of_test(flaky.clone());
        let mut catalog = open(&store, epoch).await;
        let before = live(&catalog)[0];
        let one = change(epoch, written(&store, &catalog, &["a", "b"]).await);
        flaky.fail(Some(("commits/", fault)));
        let error = catalog.commit(&one).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        flaky.fail(None);
        catalog.commit(&one).await.unwrap();
        assert_eq!(live(&catalog)[0], (before.0 + 1, before.1 + 2));
    }
}
