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

/// What the write path relies on, of every store.
async fn conforms(store: &dyn ObjectStore) {
    let path = Path::from("wal/00000000000000000001");
    let create = || PutOptions::from(PutMode::Create);
    assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
    store.put_opts(&path, "one".into(), create()).await.unwrap();
    let again = store.put_opts(&path, "two".into(), create()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "one");
    store.put(&path, "three and more".into()).await.unwrap();
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "three and more");
    assert_eq!(store.get_range(&path, 6..9).await.unwrap(), "and");
    assert_eq!(store.get_ranges(&path, &[0..5, 10..14]).await.unwrap(), ["three", "more"]);
    assert_eq!(store.head(&path).await.unwrap().size, 14);

    let large = Path::from("deep/er/file.parquet");
    let mut upload = store.put_multipart(&large).await.unwrap();
    let parts = [upload.put_part("aaa".into()), upload.put_part("bb".into()), upload.put_part("c".into())];
    assert!(matches!(store.head(&large).await, Err(Error::NotFound { .. })));
    for part in parts.into_iter().rev() {
        part.await.unwrap();
    }
    upload.complete().await.unwrap();
    assert_eq!(store.get(&large).await.unwrap().bytes().await.unwrap(), "aaabbc");

    let mut aborted = store.put_multipart(&Path::from("deep/aborted")).await.unwrap();
    aborted.put_part("x".into()).await.unwrap();
    aborted.abort().await.unwrap();

    let copied = Path::from("other/copy");
    store.copy_if_not_exists(&large, &copied).await.unwrap();
    assert!(matches!(store.copy_if_not_exists(&large, &copied).await, Err(Error::AlreadyExists { .. })));
    store.copy(&path, &copied).await.unwrap();
    store.rename(&copied, &Path::from("other/moved")).await.unwrap();
    assert_eq!(store.get(&Path::from("other/moved")).await.unwrap().bytes().await.unwrap(), "three and more");
    // The copy is no alias of the object it was made from.
    store.put(&path, "four".into()).await.unwrap();
    assert_eq!(store.get(&Path::from("other/moved")).await.unwrap().bytes().await.unwrap(), "three and more");

    let all = ["deep/er/file.parquet", "other/moved", "wal/00000000000000000001"];
    assert_eq!(names(store, None).await, all);
    assert_eq!(names(store, Some("wal")).await, all[2..]);
    let top = store.list_with_delimiter(None).await.unwrap();
    assert_eq!(top.common_prefixes, [Path::from("deep"), Path::from("other"), Path::from("wal")]);
    let later = store.list_with_offset(Some(&Path::from("wal")), &path).try_collect::<Vec<_>>().await.unwrap();
    assert!(later.is_empty());
    store.delete(&path).await.unwrap();
    assert_eq!(names(store, Some("wal")).await, Vec::<String>::new());
}

#[tokio::test]
async fn both_stores_conform() {
    let folder = tempfile::tempdir().unwrap();
    conforms(&DurableLocalStore::open(folder.path().join("a/b"), Ids::system()).unwrap()).await;
    conforms(&InMemory::new()).await;
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
