use object_store::memory::InMemory;

use super::*;
use crate::model::document;
use crate::model::ids::{OrganizationId, ProjectId};
use crate::model::resolve::{Identity, resolve};
use crate::storage::catalog::change::TableChange;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::tail::Counters;
use crate::storage::write::files::{self, FileNumbers, NewRows};

async fn open(environment: &Environment) -> (Tables, PerTable<Same<Vec<FileSnapshot>>>) {
    let mut number = 100;
    let next = || {
        number += 1;
        number
    };
    Tables::open(environment, next).await.unwrap()
}

/// A change of the conversations alone.
fn change(position: u64, of_conversations: TableChange) -> CatalogChange {
    let tables = PerTable { conversations: of_conversations, ..PerTable::default() };
    CatalogChange { position: WalPosition(position), tables }
}

async fn written(environment: &Environment, tables: &Tables, ids: &[&str]) -> TableChange {
    let identity =
        Identity { organization_id: OrganizationId::new("o"), project_id: ProjectId::new("p"), integration_id: None };
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
    files::write(environment, rows, tables.columns()).await.unwrap().conversations.change(Vec::new())
}

/// Files of each log and the rows that they have, deleted ones left out.
fn live(tables: &Tables) -> Vec<(usize, u64)> {
    let rows = |log: &TableLog| {
        let adds = log.state().files.values();
        let live = adds.clone().map(|add| {
            let deleted = add.deletion_vector.as_ref().map_or(0, |vector| vector.cardinality as u64);
            add.statistics().unwrap().num_records - deleted
        });
        (adds.len(), live.sum())
    };
    [&tables.tables.conversations.log, &tables.siblings.messages, &tables.siblings.threads].map(rows).into()
}

#[tokio::test]
async fn a_change_adds_removes_and_deletes_in_all_tables_at_once() {
    let environment = Environment::of_test(Arc::new(InMemory::new()));
    let (mut tables, _) = open(&environment).await;
    let first = change(1, written(&environment, &tables, &["a", "b"]).await);
    tables.commit(&first).await.unwrap();
    assert_eq!(live(&tables), [(1, 2), (1, 4), (1, 2)]);

    // Another takes the place of the first, as a rewrite does.
    let mut second = change(2, written(&environment, &tables, &["b", "c", "d"]).await);
    second.tables.conversations.removed = vec![first.tables.conversations.added[0].file.clone()];
    tables.commit(&second).await.unwrap();
    assert_eq!(live(&tables), [(1, 3), (1, 6), (1, 3)]);

    let file = second.tables.conversations.added[0].file.clone();
    let deleted = Arc::new(RoaringBitmap::from_iter([1]));
    let deletions = vec![FileSnapshot { file, deleted: deleted.clone() }];
    let columns = tables.columns().conversations;
    let third = change(3, TableChange { deletions, columns, ..TableChange::default() });
    tables.commit(&third).await.unwrap();
    assert_eq!(live(&tables), [(1, 2), (1, 4), (1, 2)]);

    let (opened, files) = open(&environment).await;
    assert_eq!(opened.position(), WalPosition(3));
    assert_eq!(live(&opened), live(&tables));
    assert_eq!(files.conversations.iter().map(|entry| &entry.deleted).collect::<Vec<_>>(), [&deleted]);
    assert!(files.conversations[0].file.threads.is_some());
    let removed = first.tables.conversations.added[0].file.path();
    assert!(!opened.referenced().contains(removed));
}

#[tokio::test]
async fn what_is_no_file_of_a_table_is_not_removed() {
    let environment = Environment::of_test(Arc::new(InMemory::new()));
    let (mut tables, _) = open(&environment).await;
    let mut wrong = written(&environment, &tables, &["a"]).await;
    wrong.removed = wrong.added.drain(..).map(|new| new.file).collect();
    let error = tables.commit(&change(1, wrong)).await.unwrap_err();
    assert_eq!(error.kind(), crate::storage::error::ErrorKind::Damaged, "{error}");
    assert_eq!(live(&tables), [(0, 0), (0, 0), (0, 0)]);
    // The next change is not held up.
    let right = change(1, written(&environment, &tables, &["a"]).await);
    tables.commit(&right).await.unwrap();
    assert_eq!(live(&tables), [(1, 1), (1, 2), (1, 1)]);
}
