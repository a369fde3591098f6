//! Sidecars that are made again from their files.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_is_made_again_and_kept_in_memory_where_it_cannot_be_written() {
    let disk = disk();
    let process = Process::start(&disk, 2).await;
    log(&process.store, "a", 1).await.unwrap();
    log(&process.store, "b", 2).await.unwrap();
    until("the flush has ended", async || names(&disk, "commits").await.len() > 1).await;
    let seen = scan(&process.store).await;
    process.end();
    let path = Path::from(names(&disk, "sidecars").await.remove(0));
    let bytes = disk.get(&path).await.unwrap().bytes().await.unwrap();
    let start = async |fault| {
        let objects = FlakyStore::new(disk.clone(), &[]);
        objects.fail(fault);
        let environment = Environment::of_test(Arc::new(objects)).with_cache_bytes(0);
        Store::open_on(environment, &options(100)).await.unwrap()
    };
    let find =
        async |store: &Store| store.find(&identity().organization_id, None, Lookup::Id("a")).await.unwrap().len();
    for length in [0, 47, bytes.len() / 2, bytes.len() - 1] {
        disk.put(&path, bytes.slice(..length).into()).await.unwrap();
        let store = start(Some(("sidecars/", Fault::NotWritten))).await;
        assert_eq!((scan(&store).await, find(&store).await), (seen.clone(), 1), "cut to {length} bytes");
        assert_eq!(disk.head(&path).await.unwrap().size, length as u64);
        let store = start(None).await;
        assert_eq!((scan(&store).await, find(&store).await), (seen.clone(), 1), "cut to {length} bytes");
        assert_eq!(disk.get(&path).await.unwrap().bytes().await.unwrap(), bytes, "byte for byte");
    }
    // While it is open, with and without a place to write to.
    for fault in [Some(("sidecars/", Fault::NotWritten)), None] {
        disk.put(&path, bytes.clone().into()).await.unwrap();
        let store = start(fault).await;
        let mut flipped = bytes.to_vec();
        flipped[bytes.len() - 90..].iter_mut().for_each(|byte| *byte ^= 0x40);
        disk.put(&path, flipped.into()).await.unwrap();
        assert_eq!((scan(&store).await, find(&store).await), (seen.clone(), 1));
        assert_eq!(find(&store).await, 1, "once more");
    }
    assert_eq!(disk.get(&path).await.unwrap().bytes().await.unwrap(), bytes, "byte for byte");
}
