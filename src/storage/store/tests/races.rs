//! Two writers of one store at the same time: what either acknowledges is there once, and one of them ends.
//!
//! On SeaweedFS where `CONVOLAKE_WEED` names it, else in memory. `CONVOLAKE_RACES` says how many.

use object_store::prefix::PrefixStore;

use super::*;
use crate::storage::objects::conformance;

const DOCUMENTS: u64 = 6;

/// Logs until it is refused; gives what was acknowledged.
async fn log_all(store: &Store, name: &str) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0..DOCUMENTS {
        let id = format!("{name}{number}");
        match log(store, &id, number).await {
            Ok(_) => acknowledged.push(id),
            Err(error) => {
                let kinds = [ErrorKind::Fenced, ErrorKind::Retry, ErrorKind::Restart];
                assert!(kinds.contains(&error.kind()), "{name}: {error}");
                break;
            }
        }
    }
    acknowledged
}

/// One is there already, or both begin at once.
async fn race(disk: Arc<dyn ObjectStore>, number: u64) {
    let flush_rows = 2 + number as usize % 5;
    let begin = || Process::try_start(&disk, flush_rows, None);
    let (first, second, acknowledged) = if number % 2 == 0 {
        let first = begin().await.unwrap();
        let taking_over = async {
            tokio::time::sleep(Duration::from_millis(number % 7)).await;
            let second = begin().await.unwrap();
            let acknowledged = log_all(&second.store, "b").await;
            (second, acknowledged)
        };
        let (mut acknowledged, (second, of_second)) = tokio::join!(log_all(&first.store, "a"), taking_over);
        assert_eq!(of_second.len() as u64, DOCUMENTS, "race {number}: the newer one is not stopped");
        assert!(log(&first.store, "after", 0).await.is_err(), "race {number}: the older one acknowledges");
        acknowledged.extend(of_second);
        (Some(first), Some(second), acknowledged)
    } else {
        let (first, second) = tokio::join!(begin(), begin());
        let mut both = Vec::new();
        for one in [first, second] {
            match one {
                Ok(process) => both.push(Some(process)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Fenced, "race {number}: {error}");
                    both.push(None);
                }
            }
        }
        let (first, second) = (both.remove(0), both.remove(0));
        let log_with = async |process: &Option<Process>, name| match process {
            Some(process) => log_all(&process.store, name).await,
            None => Vec::new(),
        };
        let (mut acknowledged, of_second) = tokio::join!(log_with(&first, "a"), log_with(&second, "b"));
        let whole = [acknowledged.len() as u64, of_second.len() as u64].contains(&DOCUMENTS);
        assert!(whole, "race {number}: one of them writes on");
        acknowledged.extend(of_second);
        (first, second, acknowledged)
    };
    [first, second].into_iter().flatten().for_each(Process::end);
    let found = scan(&Process::start(&disk, 100).await.store).await;
    for id in &acknowledged {
        assert!(found.contains_key(id), "race {number}: {id} of {acknowledged:?} is lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_writers_one_ends_and_nothing_is_lost() {
    let races = std::env::var("CONVOLAKE_RACES").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let shared = conformance::seaweedfs();
    for number in 0..races {
        let disk = match &shared {
            Some(store) => Arc::new(PrefixStore::new(Arc::clone(store), format!("races/{number}"))),
            None => disk(),
        };
        race(disk, number).await;
    }
}
