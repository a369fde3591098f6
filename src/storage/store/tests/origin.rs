//! Who sent a row, and who chose its id, stays known wherever the row goes.

use super::compaction::all;
use super::*;
use crate::model::annotation_change::AnnotationChange;
use crate::model::ids::Key;
use crate::model::origin::{IdOrigin, Origin, SenderKind};
use crate::model::{event, feedback};
use crate::storage::format::table_row::TableRow;
use crate::storage::write::bulk::BulkLoader;

fn from(kind: SenderKind) -> Identity {
    let sender = Sender { kind, key: (kind != SenderKind::Import).then(|| format!("key of {}", kind.as_str())) };
    Identity { sender, ..identity() }
}

fn origin(kind: SenderKind, id: IdOrigin) -> Origin {
    Origin { sender: from(kind).sender, id }
}

/// By table and id.
type Origins = BTreeMap<(&'static str, String), Origin>;

/// That all of them are as expected.
async fn check(store: &Store, expected: &Origins, when: &str) {
    async fn of_table<R: TableRow>(ids: &[&String], find: impl AsyncFn(&str) -> Vec<Origin>, found: &mut Origins) {
        for id in ids {
            found.extend(find(id).await.into_iter().map(|one| ((R::TABLE.name(), (*id).clone()), one)));
        }
    }
    let ids = |table: &str| expected.keys().filter(|(of, _)| *of == table).map(|(_, id)| id).collect::<Vec<_>>();
    let Identity { organization_id, project_id, .. } = identity();
    let (organization, project) = (&organization_id, Some(&project_id));
    let snapshot = store.snapshot();
    let (tables, objects) = (&snapshot.tables, &snapshot.store);
    let mut found = Origins::new();
    let conversation = async |id: &str| {
        let found = store.find(organization, project, Lookup::Id(id)).await.unwrap();
        found.iter().map(|one| one.origin.clone()).collect()
    };
    of_table::<Conversation>(&ids("conversations"), conversation, &mut found).await;
    let event = async |id: &str| {
        let found = tables.events.find(objects, organization, project, id).await.unwrap();
        found.iter().map(|one| one.origin.clone()).collect()
    };
    of_table::<Event>(&ids("events"), event, &mut found).await;
    let feedback = async |id: &str| {
        let found = tables.feedback.find(objects, organization, project, id).await.unwrap();
        found.iter().map(|one| one.origin.clone()).collect()
    };
    of_table::<Feedback>(&ids("feedback"), feedback, &mut found).await;
    assert_eq!(found, *expected, "{when}");
}

async fn log_as(store: &Store, kind: SenderKind, id: Option<&str>, version: u64) -> String {
    let logged = store.log_conversation(from(kind), read(id, None, version)).await.unwrap();
    logged.id.as_str().to_owned()
}

async fn event_as(store: &Store, kind: SenderKind, id: Option<&str>, message: &str) -> String {
    let body = serde_json::json!({"id": id, "type": "seen", "entityType": "message", "messageId": message});
    let logged = store.log_event(from(kind), event::parse(body.to_string().as_bytes()).unwrap()).await.unwrap();
    logged.id.as_str().to_owned()
}

async fn feedback_as(store: &Store, kind: SenderKind, id: Option<&str>, message: &str) -> String {
    let body = serde_json::json!({"id": id, "type": "positive", "messageId": message});
    let logged = store.log_feedback(from(kind), feedback::parse(body.to_string().as_bytes()).unwrap()).await.unwrap();
    logged.id.as_str().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_survive_restarts_flushes_re_logs_imports_and_compaction() {
    use IdOrigin::{Client, Server};
    use SenderKind::{Api, Import, Org, Web};

    let disk = disk();
    let process = Process::start(&disk, 1_000).await;
    let store = &process.store;
    let mut expected = Origins::new();
    let made = log_as(store, Web, None, 1).await;
    let chosen = log_as(store, Api, Some("chosen"), 2).await;
    let others = log_as(store, Web, Some("web's own"), 3).await;
    for (id, kind, whose) in [(&made, Web, Server), (&chosen, Api, Client), (&others, Web, Client)] {
        expected.insert(("conversations", id.clone()), origin(kind, whose));
    }
    let Identity { organization_id, project_id, .. } = identity();
    let found = store.find(&organization_id, Some(&project_id), Lookup::Id(&made)).await.unwrap();
    let message = found[0].messages[0].id.as_str().to_owned();
    for (kind, id, whose) in [(Web, None, Server), (Api, Some("event"), Client)] {
        expected.insert(("events", event_as(store, kind, id, &message).await), origin(kind, whose));
    }
    for (kind, id, whose) in [(Org, None, Server), (Web, Some("feedback"), Client)] {
        expected.insert(("feedback", feedback_as(store, kind, id, &message).await), origin(kind, whose));
    }
    check(store, &expected, "in the tail").await;
    process.end();

    let process = Process::start(&disk, 1_000).await;
    check(&process.store, &expected, "after a replay").await;
    process.store.shutdown().await.unwrap();
    process.end();
    let process = Process::start(&disk, 1_000).await;
    let store = &process.store;
    check(store, &expected, "in files").await;

    // A later version is its sender's, its id stays whose it was, also where the version names it.
    log_as(store, Api, Some(&made), 4).await;
    log_as(store, Web, Some(&chosen), 5).await;
    let events: Vec<String> = expected.keys().filter(|(of, _)| *of == "events").map(|(_, id)| id.clone()).collect();
    for id in &events {
        event_as(store, Org, Some(id), &message).await;
    }
    for ((table, id), one) in &mut expected {
        match *table {
            "conversations" if *id == made => one.sender = from(Api).sender,
            "conversations" if *id == chosen => one.sender = from(Web).sender,
            "events" => one.sender = from(Org).sender,
            _ => {}
        }
    }
    check(store, &expected, "re-logged from files").await;
    // The re-log dropped the message, so the server changed the rows that hang on it. That and what Part B sets is no
    // later version.
    let target = Key { organization_id, project_id, id: ConversationId::new(others.as_str()) };
    let change = AnnotationChange { rated: true, ..AnnotationChange::default() };
    assert!(store.annotate(&target, &change, &Actor::default()).await.unwrap().is_some());
    check(store, &expected, "annotated").await;
    store.shutdown().await.unwrap();
    process.end();

    let process = Process::start(&disk, 1_000).await;
    check(&process.store, &expected, "in several files").await;
    while process.store.compactor(all, NO_DEADLINE).compact_once().await.unwrap() {}
    check(&process.store, &expected, "compacted").await;
    process.end();

    // One that changes nothing, one that does, one that is new.
    let mut loader = BulkLoader::open(Environment::of_test(disk.clone()), None).await.unwrap();
    let documents = [(Some(others.as_str()), 3), (Some(made.as_str()), 6), (None, 7)];
    let documents = documents.map(|(id, version)| (from(Import), read(id, None, version)));
    let loaded = loader.load(documents.into(), None).await.unwrap();
    assert_eq!((loaded.counts.unchanged, loaded.counts.replaced, loaded.counts.new), (1, 1, 1));
    loader.finish().await.unwrap();
    expected.insert(("conversations", made), origin(Import, Server));
    let process = Process::start(&disk, 1_000).await;
    let store = &process.store;
    check(store, &expected, "imported").await;
    let known = scan(store).await.into_keys().find(|id| !expected.contains_key(&("conversations", id.clone())));
    expected.insert(("conversations", known.unwrap()), origin(Import, Client));
    check(store, &expected, "imported anew").await;
    while store.compactor(all, NO_DEADLINE).compact_once().await.unwrap() {}
    check(store, &expected, "compacted again").await;

    // An id that is deleted is free: whoever brings it next has brought it.
    store.delete_conversation(&key("chosen")).await.unwrap();
    log_as(store, Org, Some("chosen"), 8).await;
    expected.insert(("conversations", "chosen".to_owned()), origin(Org, Client));
    check(store, &expected, "brought anew").await;
}
