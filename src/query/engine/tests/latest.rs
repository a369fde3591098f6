//! What comes first in an order is found without reading the files that have nothing of it.

use super::*;
use crate::requests::{Request, Requests};
use crate::storage::objects::counted::CountedStore;

const FILES: usize = 20;
const ROWS: usize = 400;
/// Opening a file takes one, and each row group that is read another.
const REQUESTS_A_FILE: u64 = 2;

/// The n-th row of the n-th file: the times of files do not overlap, but for one old row in each.
fn row(file: usize, number: usize) -> Arc<Conversation> {
    let place = file * ROWS + number;
    let mut row = conversation(place, None, None);
    let minutes = if number == 0 { -(place as i64) } else { place as i64 };
    row.created_at = EpochMillis(1_724_630_400_000 + minutes * 60_000);
    row.external_id = Some(format!("x{}", 1_000_000 - place));
    Arc::new(row)
}

/// In the order in which they come into being, which is that of their names.
async fn snapshot(deleted: &RoaringBitmap) -> (Arc<Snapshot>, Rows, Arc<Requests>) {
    let (mut builder, mut live) = (Builder::new(), Rows::new());
    for file in 0..FILES {
        let rows: Rows = (0..ROWS).map(|number| row(file, number)).collect();
        builder.file(&rows, &Layout::default(), deleted.clone(), false).await;
        live.extend(rows.into_iter().enumerate().filter(|(n, _)| !deleted.contains(*n as u32)).map(|(_, row)| row));
    }
    let counted = CountedStore::new(Arc::clone(&builder.snapshot.store));
    let requests = counted.requests();
    builder.snapshot.store = Arc::new(counted);
    (Arc::new(builder.snapshot), live, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_row_groups_that_have_nothing_of_it_are_not_read() {
    for deleted in [RoaringBitmap::new(), RoaringBitmap::from([7, 300, 399])] {
        for (field, direction) in
            [("firstMessageTime", "desc"), ("firstMessageTime", "asc"), ("externalId", "asc"), ("externalId", "desc")]
        {
            let (snapshot, mut rows, requests) = snapshot(&deleted).await;
            rows.sort_by_key(|row| (row.created_at.0, row.external_id.clone()));
            match field {
                "firstMessageTime" => rows.sort_by_key(|row| row.created_at.0),
                _ => rows.sort_by_key(|row| row.external_id.clone()),
            }
            if direction == "desc" {
                rows.reverse();
            }
            let page = json!({"limit": 50, "orderBy": [{"field": field, "direction": direction}],
                "select": [{"type": "field", "field": "id"}]});
            let answer = ask(&snapshot, &page).await;
            let found = answer["data"]["result"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap());
            assert!(found.eq(rows.iter().take(50).map(|row| row.id.as_str())), "{field} {direction}: {answer}");
            // The oldest rows of all are spread over all files.
            let all = (field, direction) == ("firstMessageTime", "asc");
            let read = requests.of(Request::Get);
            // The two partitions have each begun with a file, and maybe a next one, before either has found all.
            let most = REQUESTS_A_FILE * if all { FILES as u64 } else { 4 };
            assert!(read <= most, "{field} {direction}: {read} requests");
        }
    }
}
