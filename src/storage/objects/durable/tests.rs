use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::*;
use crate::storage::objects::disk::STAGING;

async fn names(store: &dyn ObjectStore, prefix: Option<&str>) -> Vec<String> {
    let prefix = prefix.map(Path::from);
    let mut names: Vec<String> =
        store.list(prefix.as_ref()).map_ok(|object| object.location.to_string()).try_collect().await.unwrap();
    names.sort();
    names
}

/// Copies, which only a local store is asked for.
async fn copies(store: &dyn ObjectStore) {
    let (path, copied, moved) = (Path::from("a"), Path::from("other/copy"), Path::from("other/moved"));
    store.put(&path, "three".into()).await.unwrap();
    store.copy_if_not_exists(&path, &copied).await.unwrap();
    assert!(matches!(store.copy_if_not_exists(&path, &copied).await, Err(Error::AlreadyExists { .. })));
    store.copy(&path, &copied).await.unwrap();
    store.rename(&copied, &moved).await.unwrap();
    // The copy is no alias of the object it was made from.
    store.put(&path, "four".into()).await.unwrap();
    assert_eq!(store.get(&moved).await.unwrap().bytes().await.unwrap(), "three");
    assert_eq!(names(store, None).await, ["a", "other/moved"]);
}

#[tokio::test]
async fn a_copy_is_an_object_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    copies(&DurableLocalStore::open(folder.path().join("a/b"), Ids::system()).unwrap()).await;
    copies(&InMemory::new()).await;
}

#[tokio::test]
async fn of_many_creators_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(DurableLocalStore::open(folder.path(), Ids::system()).unwrap());
    let tasks: Vec<_> = (0..16)
        .map(|writer| {
            let store = Arc::clone(&store);
            let path = Path::from("new/folder/object");
            tokio::spawn(async move {
                store.put_opts(&path, format!("{writer}").into(), PutMode::Create.into()).await.map(|_| writer)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(writer) => winners.push(writer),
            Err(error) => assert!(matches!(error, Error::AlreadyExists { .. }), "{error}"),
        }
    }
    let stored = store.get(&Path::from("new/folder/object")).await.unwrap().bytes().await.unwrap();
    assert_eq!(winners.iter().map(i32::to_string).collect::<Vec<_>>(), [String::from_utf8_lossy(&stored)]);
}

#[tokio::test]
async fn leftovers_go_unless_another_process_is_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let leftover = folder.path().join(STAGING).join("leftover");
    let store = DurableLocalStore::open(folder.path(), Ids::system()).unwrap();
    store.put(&Path::from("x"), "x".into()).await.unwrap();
    fs::write(&leftover, "half").unwrap();
    assert_eq!(names(&store, None).await, ["x"]);
    assert!(store.put(&Path::from(".staging/y"), "y".into()).await.is_err());
    let second = DurableLocalStore::open(folder.path(), Ids::system()).unwrap();
    assert!(leftover.exists());
    drop((store, second));
    DurableLocalStore::open(folder.path(), Ids::system()).unwrap();
    assert!(!leftover.exists());
    assert_eq!(fs::read_dir(folder.path().join(STAGING)).unwrap().count(), 1, "only the lock file");
}

#[tokio::test]
async fn update_is_refused_and_a_removed_folder_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = DurableLocalStore::open(folder.path(), Ids::system()).unwrap();
    let update = PutMode::Update(object_store::UpdateVersion { e_tag: None, version: None });
    let refused = store.put_opts(&Path::from("a"), "a".into(), update.into()).await;
    assert!(matches!(refused, Err(Error::NotImplemented { .. })));
    store.put(&Path::from("f/a"), "a".into()).await.unwrap();
    fs::remove_dir_all(folder.path().join("f")).unwrap();
    store.put(&Path::from("f/b"), "b".into()).await.unwrap();
    assert_eq!(names(&store, None).await, ["f/b"]);
}

#[tokio::test]
async fn files_and_folders_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = DurableLocalStore::open(&root, Ids::system()).unwrap();
    store.put(&Path::from("a/b"), "b".into()).await.unwrap();
    let mut upload = store.put_multipart(&Path::from("a/c/d")).await.unwrap();
    upload.put_part("d".into()).await.unwrap();
    upload.complete().await.unwrap();
    store.copy(&Path::from("a/b"), &Path::from("e/f")).await.unwrap();
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    for (path, expected) in [("", 0o700), (STAGING, 0o700), ("a", 0o700), ("a/c", 0o700), ("e", 0o700)] {
        assert_eq!(mode(path), expected, "{path}: {:o}", mode(path));
    }
    for path in ["a/b", "a/c/d", "e/f", ".staging/lock"] {
        assert_eq!(mode(path), 0o600, "{path}: {:o}", mode(path));
    }
}
