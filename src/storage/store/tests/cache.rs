//! What is known of files beside their columns is in memory as long as there is room for it, and never longer.

use roaring::RoaringBitmap;

use super::*;
use crate::model::search_text::SearchTerm;
use crate::requests::Request;
use crate::storage::objects::counted::CountedStore;

const FILES: usize = 6;
const ROWS: usize = 20;
/// Less than the openings of two files take.
const LITTLE: usize = 600;

fn id(file: usize, row: usize) -> String {
    format!("row{file}x{row:02}")
}

async fn make(disk: &Arc<dyn ObjectStore>) {
    let process = Process::start(disk, ROWS).await;
    let store = &process.store;
    store.index_texts().unwrap();
    for file in 0..FILES {
        for row in 0..ROWS {
            log(store, &id(file, row), (file + row) as u64).await.unwrap();
        }
        until("the flush has ended", async || store.snapshot().tables.conversations.files.len() == file + 1).await;
    }
    until("the texts are indexed", async || names(disk, "text_index").await.len() == FILES).await;
    process.end();
}

async fn know_texts(store: &Store) {
    store.index_texts().unwrap();
    let known =
        async || store.snapshot().tables.conversations.files.iter().all(|entry| entry.file.text_index.is_there());
    until("the text indexes are known", known).await;
}

/// Each row by its id, and by its id as a text.
async fn answers(store: &Store) -> Vec<(String, Vec<u64>, Vec<u64>)> {
    let mut answers = Vec::new();
    for (file, row) in (0..ROWS).flat_map(|row| (0..FILES).map(move |file| (file, row))) {
        let id = id(file, row);
        let found = store.find(&identity().organization_id, None, Lookup::Id(&id)).await.unwrap();
        let (snapshot, term) = (store.snapshot(), SearchTerm::new(&id));
        let filter = snapshot.candidates(&term).await;
        let mut addresses = Vec::new();
        for entry in snapshot.tables.conversations.files.iter() {
            let rows: RoaringBitmap = (0..entry.file.rows).collect();
            let rows = rows - &*filter.left_out(entry);
            // Nearly all rows of files with an index are no candidates.
            assert!(rows.len() < 4 || !entry.file.text_index.is_there(), "{} candidates for {id}", rows.len());
            addresses.extend(rows.iter().map(|row| RowAddress { source: entry.file.number, row }));
        }
        let have = snapshot.have_text(&addresses, &term).await.unwrap();
        let having = addresses.into_iter().zip(have).filter(|(_, has)| *has).map(|(row, _)| row);
        let having = store.read_rows(&snapshot, &having.collect::<Vec<_>>()).await.unwrap();
        let versions = |found: &[Arc<Conversation>]| found.iter().map(|one| version_of(one)).collect();
        answers.push((id, versions(&found), versions(&having)));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn openings_of_indexes_stay_within_the_bound_and_are_read_again() {
    let disk = disk();
    make(&disk).await;
    let mut gets = Vec::new();
    for capacity in [1 << 28, LITTLE, 0] {
        let counted = CountedStore::new(disk.clone());
        let requests = counted.requests();
        let environment = Environment::of_test(Arc::new(counted)).with_cache_bytes(capacity);
        let cache = Arc::clone(&environment.cache);
        let store = Store::open_on(environment, &options(100)).await.unwrap();
        store.index_texts().unwrap();
        let indexed =
            async || store.snapshot().tables.conversations.files.iter().all(|entry| entry.file.text_index.is_there());
        until("the text indexes are known", indexed).await;
        let before = requests.of(Request::Get);
        for (id, found, having) in answers(&store).await {
            let version = id.strip_prefix("row").unwrap().split('x').map(|part| part.parse::<u64>().unwrap()).sum();
            assert_eq!((found, having), (vec![version], vec![version]), "{id} with {capacity} bytes");
            assert!(cache.bytes() <= capacity, "{} of {capacity} bytes are held", cache.bytes());
        }
        gets.push(requests.of(Request::Get) - before);
    }
    assert!(gets[0] < gets[1] && gets[1] <= gets[2], "reads with much, little and no room: {gets:?}");
}

/// What there was no room for and is not there any more, or not sound, is made again like what is so at a start.
#[tokio::test(flavor = "multi_thread")]
async fn openings_that_are_gone_when_they_are_read_again_are_made_again() {
    let disk = disk();
    make(&disk).await;
    let environment = Environment::of_test(disk.clone()).with_cache_bytes(0);
    let store = Store::open_on(environment, &options(100)).await.unwrap();
    know_texts(&store).await;
    let whole = answers(&store).await;
    let sound = |folder| {
        let disk = disk.clone();
        async move {
            let mut objects = BTreeMap::new();
            for name in names(&disk, folder).await {
                objects.insert(name.clone(), disk.get(&Path::from(name)).await.unwrap().bytes().await.unwrap());
            }
            objects
        }
    };
    let (sidecars, texts) = (sound("sidecars").await, sound("text_index").await);
    for (number, (name, bytes)) in sidecars.iter().chain(&texts).enumerate() {
        let path = Path::from(name.as_str());
        if number % 2 == 0 {
            disk.delete(&path).await.unwrap();
        } else {
            let flipped = bytes.iter().map(|byte| byte ^ 0x20).collect::<Vec<_>>();
            disk.put(&path, flipped.into()).await.unwrap();
        }
    }
    assert_eq!(answers(&store).await, whole);
    assert_eq!(sound("sidecars").await, sidecars, "byte for byte");
    let again = async || sound("text_index").await == texts;
    until("the text indexes are made again", again).await;
    assert_eq!(answers(&store).await, whole);
}
