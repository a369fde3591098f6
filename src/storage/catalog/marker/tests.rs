use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::*;
use crate::environment::Ids;
use crate::storage::objects::durable::DurableLocalStore;
use crate::storage::objects::faulty::{Fault, FlakyStore};

const WRITING: Purpose = Purpose::Writing { new_store: StoreId(7) };

async fn opened(store: &dyn ObjectStore, purpose: Purpose) -> Result<Marker, MarkerError> {
    open(store, "/srv/store", purpose).await
}

async fn put_marker(store: &InMemory, format: u32, minimum_reader: u32) {
    let marker = Marker { format, minimum_reader, ..Marker::new(StoreId(1)) }.sealed();
    store.put(&Path::from(OBJECT), serde_json::to_vec(&marker).unwrap().into()).await.unwrap();
}

#[tokio::test]
async fn an_empty_store_gets_a_marker_when_it_is_written() {
    let store = InMemory::new();
    let error = opened(&store, Purpose::Reading).await.unwrap_err();
    assert!(matches!(error, MarkerError::Empty { .. }) && error.to_string().contains("/srv/store is empty"), "{error}");
    let made = opened(&store, WRITING).await.unwrap();
    assert_eq!((made.format, made.minimum_reader, made.store), (FORMAT, FORMAT, StoreId(7)));
    for purpose in [Purpose::Reading, Purpose::Writing { new_store: StoreId(8) }] {
        assert_eq!(opened(&store, purpose).await.unwrap(), made);
    }
}

#[tokio::test]
async fn a_local_folder_may_have_a_lock_and_empty_folders() {
    let folder = tempfile::tempdir().unwrap();
    let store = DurableLocalStore::open(folder.path(), Ids::system()).unwrap();
    std::fs::write(folder.path().join("LOCK"), "").unwrap();
    std::fs::create_dir(folder.path().join("lost+found")).unwrap();
    opened(&store, WRITING).await.unwrap();
}

#[tokio::test]
async fn a_folder_of_other_things_is_refused_by_name() {
    let store = InMemory::new();
    for name in ["conversations/_delta_log/0.json", "conversations/x", "wal/1", "notes.txt", "a", "b", "c"] {
        store.put(&Path::from(name), "x".into()).await.unwrap();
    }
    for purpose in [Purpose::Reading, WRITING] {
        let error = opened(&store, purpose).await.unwrap_err().to_string();
        assert!(error.contains("/srv/store is not a store"), "{error}");
        assert!(error.contains("a, b, c, conversations/, notes.txt, and 1 more"), "{error}");
    }
    let left: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(left.len(), 7);
}

#[tokio::test]
async fn other_versions() {
    let store = InMemory::new();
    put_marker(&store, 9, 8).await;
    let error = opened(&store, WRITING).await.unwrap_err();
    assert!(matches!(error, MarkerError::Newer { .. }));
    assert!(error.to_string().contains("reads store format 8; this one reads formats 1 to 1"), "{error}");
    put_marker(&store, 9, 1).await;
    let error = opened(&store, WRITING).await.unwrap_err();
    assert!(matches!(error, MarkerError::ReadOnly { version: 9, .. }), "{error}");
    assert_eq!(opened(&store, Purpose::Reading).await.unwrap().format, 9);
    put_marker(&store, 0, 0).await;
    let error = opened(&store, Purpose::Reading).await.unwrap_err();
    assert!(matches!(error, MarkerError::Older { version: 0, .. }), "{error}");
}

#[tokio::test]
async fn every_flip_is_seen() {
    let store = InMemory::new();
    let made = opened(&store, WRITING).await.unwrap();
    let path = Path::from(OBJECT);
    let whole = store.get(&path).await.unwrap().bytes().await.unwrap();
    for index in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.to_vec();
            flipped[index] ^= 1 << bit;
            store.put(&path, flipped.into()).await.unwrap();
            match opened(&store, WRITING).await {
                Ok(same) => assert_eq!(same, made, "byte {index}, bit {bit}"),
                Err(error) => {
                    assert!(error.to_string().contains("FORMAT is damaged"), "byte {index}, bit {bit}: {error}")
                }
            }
        }
        store.put(&path, whole.slice(..index).into()).await.unwrap();
        let error = opened(&store, WRITING).await.unwrap_err().to_string();
        assert!(error.contains("the store /srv/store: FORMAT is damaged"), "{index} bytes: {error}");
    }
}

#[tokio::test]
async fn a_lost_answer_and_a_race() {
    let memory = std::sync::Arc::new(InMemory::new());
    let flaky = FlakyStore::new(memory.clone(), &[Fault::NotWritten, Fault::AnswerLost]);
    let error = opened(&flaky, WRITING).await.unwrap_err().to_string();
    assert!(error.contains("FORMAT cannot be written"), "{error}");
    opened(&flaky, WRITING).await.unwrap_err();
    assert_eq!(opened(&flaky, Purpose::Writing { new_store: StoreId(9) }).await.unwrap().store, StoreId(7));
}
