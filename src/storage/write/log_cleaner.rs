//! Deletes log objects that the files hold, by their numbers: the log is listed once, at the start.
//!
//! What is left behind only costs space until the next try, which begins with the first object that may still be there.

use std::sync::{Mutex, PoisonError};

use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{Error, ObjectStore};

use crate::model::ids::WalPosition;
use crate::storage::log::wal;

#[derive(Default)]
pub(crate) struct LogCleaner {
    /// The first object that may be there; none while nobody has looked.
    first: Mutex<Option<WalPosition>>,
    /// One at a time.
    cleaning: tokio::sync::Mutex<()>,
}

impl LogCleaner {
    /// As the log was found at the start.
    pub(crate) fn begins_at(&self, first: WalPosition) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
    }

    /// Where the log may begin.
    pub(crate) fn first(&self) -> Option<WalPosition> {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to a position that the files hold.
    pub(crate) async fn clean(&self, store: &dyn ObjectStore, position: WalPosition) {
        let _alone = self.cleaning.lock().await;
        let Some(first) = self.first().filter(|first| *first <= position) else { return };
        let paths = (first.0..=position.0).map(|number| Ok::<Path, Error>(wal::wal_path(WalPosition(number))));
        // Stores that can take many in one request get them so.
        let mut deleted = store.delete_stream(stream::iter(paths.collect::<Vec<_>>()).boxed());
        while let Some(one) = deleted.next().await {
            match one {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, position = position.0, "old log objects could not be deleted; tried again");
                    return;
                }
            }
        }
        self.begins_at(WalPosition(position.0 + 1));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;
    use crate::requests::Request;
    use crate::storage::objects::counted::CountedStore;
    use crate::storage::objects::faulty::FlakyStore;

    #[tokio::test]
    async fn numbers_are_deleted_once_and_again_after_a_failure() {
        let disk = Arc::new(InMemory::new());
        let flaky = FlakyStore::new(disk.clone(), &[]);
        let counted = CountedStore::new(disk.clone());
        for number in [3, 4, 5, 7, 8] {
            disk.put(&wal::wal_path(WalPosition(number)), "x".into()).await.unwrap();
        }
        let left = async || wal::list(disk.as_ref()).await.unwrap().into_iter().map(|at| at.0).collect::<Vec<_>>();
        let cleaner = LogCleaner::default();
        cleaner.clean(&counted, WalPosition(7)).await;
        assert_eq!(left().await.len(), 5, "where it begins is not known");
        cleaner.begins_at(WalPosition(3));
        flaky.kill();
        cleaner.clean(&flaky, WalPosition(7)).await;
        assert_eq!((left().await.len(), cleaner.first()), (5, Some(WalPosition(3))));
        cleaner.clean(&counted, WalPosition(4)).await;
        assert_eq!(left().await, [5, 7, 8]);
        cleaner.clean(&counted, WalPosition(7)).await;
        cleaner.clean(&counted, WalPosition(7)).await;
        assert_eq!(left().await, [8]);
        let requests = counted.requests();
        assert_eq!((requests.of(Request::Delete), requests.of(Request::List)), (5, 0));
    }
}
