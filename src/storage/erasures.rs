//! Erasures that were asked for by `POST /erase` (contract A7): an object each, with what was asked as keyed hashes only.
//!
//! What has to be done does not depend on them: deletions are in the log, and the commits know which files are to be
//! written again. A record only tells up to where in the log its deletions reach, so that it can be known when no object
//! holds anything of them. Those that wait for that lie in a folder of their own, so that a start reads few; those that
//! are done are remembered for a while.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::ready;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::error::{ErrorKind, StoreError};
use super::objects::frame::{self, Kind, Unsound};
use crate::environment::Environment;
use crate::model::ids::{EpochMillis, OrganizationId, ProjectId, WalPosition};

const KIND: Kind = Kind { name: "erasure", format: 1, reads: 1..=1 };
const WAITING: &str = "erasures/waiting";
const DONE: &str = "erasures/done";
/// How long it is told that nothing is left of something (contract A7).
pub(crate) const REMEMBERED_FOR: Duration = Duration::from_secs(90 * 86_400);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Erasure {
    pub(crate) id: String,
    pub(crate) organization_id: OrganizationId,
    /// None: in all projects of the organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project_id: Option<ProjectId>,
    /// Keyed hashes of what was asked for: who knows it can tell that it was, nobody else.
    pub(crate) subjects: Vec<String>,
    pub(crate) conversations: u64,
    pub(crate) events: u64,
    pub(crate) feedback: u64,
    /// The log holds all of its deletions up to here.
    pub(crate) position: WalPosition,
    pub(crate) hidden_at: EpochMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) erased_at: Option<EpochMillis>,
}

impl Erasure {
    /// As the API calls it.
    pub(crate) fn state(&self) -> &'static str {
        if self.erased_at.is_some() { "erased" } else { "hidden" }
    }
}

pub(crate) struct Erasures {
    environment: Environment,
    /// Those that are not done yet, once they were read.
    waiting: Mutex<BTreeMap<String, Erasure>>,
    read: OnceCell<()>,
}

impl Erasures {
    pub(crate) fn new(environment: Environment) -> Erasures {
        Erasures { environment, waiting: Mutex::default(), read: OnceCell::new() }
    }

    /// Durable once it returns.
    pub(crate) async fn add(&self, erasure: Erasure) -> Result<(), StoreError> {
        self.put(WAITING, &erasure).await?;
        self.lock().insert(erasure.id.clone(), erasure);
        Ok(())
    }

    pub(crate) async fn find(&self, id: &str) -> Result<Option<Erasure>, StoreError> {
        for folder in [DONE, WAITING, DONE] {
            if let Some(found) = self.get(&path(folder, id)).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    pub(crate) async fn waiting(&self) -> Result<Vec<Erasure>, StoreError> {
        self.read.get_or_try_init(|| self.read_waiting()).await?;
        Ok(self.lock().values().cloned().collect())
    }

    /// Nothing of it is left.
    pub(crate) async fn end(&self, erasure: Erasure) -> Result<(), StoreError> {
        let done = Erasure { erased_at: Some(self.environment.now()), ..erasure };
        self.put(DONE, &done).await?;
        let path = path(WAITING, &done.id);
        match self.environment.objects.delete(&path).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(StoreError::caused(format!("{path} could not be deleted"), error)),
        }
        self.lock().remove(&done.id);
        Ok(())
    }

    /// Forgets those that ended too long ago; gives how many.
    pub(crate) async fn forget(&self) -> Result<usize, StoreError> {
        let before = self.environment.now().minus(REMEMBERED_FOR);
        let folder = Path::from(DONE);
        let listed: Vec<ObjectMeta> = self
            .environment
            .objects
            .list(Some(&folder))
            .try_filter(|object| ready(object.last_modified.timestamp_millis() < before.0))
            .try_collect()
            .await
            .map_err(|error| StoreError::caused(format!("{folder} could not be listed"), error))?;
        for object in &listed {
            match self.environment.objects.delete(&object.location).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => {
                    return Err(StoreError::caused(format!("{} could not be deleted", object.location), error));
                }
            }
        }
        Ok(listed.len())
    }

    async fn read_waiting(&self) -> Result<(), StoreError> {
        let folder = Path::from(WAITING);
        let listed = self.environment.objects.list(Some(&folder)).map_ok(|object| object.location);
        let listed: Vec<Path> = listed
            .try_collect()
            .await
            .map_err(|error| StoreError::caused(format!("{folder} could not be listed"), error))?;
        for path in listed {
            match self.get(&path).await {
                Ok(Some(erasure)) => {
                    self.lock().insert(erasure.id.clone(), erasure);
                }
                Ok(None) => {}
                // The others' ends are told all the same, and what it stands for is erased without it.
                Err(error) if error.kind() == ErrorKind::Damaged => tracing::error!(%error, "its end is never told"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn get(&self, path: &Path) -> Result<Option<Erasure>, StoreError> {
        let failed = |error| StoreError::caused(format!("{path} could not be read"), error);
        let bytes = match self.environment.objects.get(path).await {
            Ok(found) => found.bytes().await.map_err(failed)?,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let decoded = frame::decode::<Erasure>(&KIND, &bytes).map(|(erasure, _)| erasure);
        let sound = match decoded {
            Ok(erasure) if path.filename() == Some(erasure.id.as_str()) => Ok(Some(erasure)),
            Ok(_) => Err(Unsound::damaged(path, "it is another erasure's")),
            Err(error) => Err(Unsound { object: path.clone(), error }),
        };
        sound.map_err(|unsound| StoreError::caused("the record of an erasure, put a sound copy back", unsound))
    }

    async fn put(&self, folder: &str, erasure: &Erasure) -> Result<(), StoreError> {
        let path = path(folder, &erasure.id);
        let encoded = frame::encode(&KIND, erasure);
        let (body, _) = encoded.map_err(|reason| StoreError::Bug(format!("an erasure: {reason}")))?;
        let put = self.environment.objects.put(&path, PutPayload::from(body)).await;
        put.map(|_| ()).map_err(|error| StoreError::caused(format!("{path} could not be written"), error))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Erasure>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an object tells of an erasure that is done.
pub(crate) fn is_done(path: &Path) -> bool {
    path.prefix_matches(&Path::from(DONE))
}

fn path(folder: &str, id: &str) -> Path {
    Path::from(folder).join(id)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_record_is_found_before_and_after_its_end() {
        let environment = Environment::of_test(Arc::new(InMemory::new()));
        let erasure = Erasure {
            id: "one".to_owned(),
            organization_id: OrganizationId::new("o"),
            project_id: Some(ProjectId::new("p")),
            subjects: vec!["00".to_owned()],
            conversations: 2,
            events: 1,
            feedback: 0,
            position: WalPosition(7),
            hidden_at: environment.now(),
            erased_at: None,
        };
        let erasures = Erasures::new(environment.clone());
        assert_eq!(erasures.find("one").await.unwrap(), None);
        erasures.add(erasure.clone()).await.unwrap();
        let again = Erasures::new(environment);
        for erasures in [&erasures, &again] {
            assert_eq!(erasures.waiting().await.unwrap(), std::slice::from_ref(&erasure));
            assert_eq!(erasures.find("one").await.unwrap().unwrap().state(), "hidden");
        }
        assert_eq!(erasures.find("../one").await.unwrap(), None);
        again.end(erasure).await.unwrap();
        assert!(again.waiting().await.unwrap().is_empty());
        assert_eq!(erasures.find("one").await.unwrap().unwrap().state(), "erased");
    }

    #[tokio::test]
    async fn those_that_are_done_are_forgotten_in_time() {
        let (environment, clock) = Environment::seeded(Arc::new(InMemory::new()), 1);
        let erasure = |id: &str| Erasure {
            id: id.to_owned(),
            organization_id: OrganizationId::new("o"),
            project_id: None,
            subjects: Vec::new(),
            conversations: 0,
            events: 0,
            feedback: 0,
            position: WalPosition(1),
            hidden_at: environment.now(),
            erased_at: None,
        };
        let erasures = Erasures::new(environment.clone());
        for id in ["done", "waiting"] {
            erasures.add(erasure(id)).await.unwrap();
        }
        erasures.end(erasure("done")).await.unwrap();
        let ended = environment.objects.head(&path(DONE, "done")).await.unwrap().last_modified.timestamp_millis();
        let remembered = REMEMBERED_FOR.as_millis() as i64;
        clock.set(EpochMillis(ended + remembered));
        assert_eq!(erasures.forget().await.unwrap(), 0);
        assert!(erasures.find("done").await.unwrap().is_some());
        clock.advance(1);
        assert_eq!(erasures.forget().await.unwrap(), 1);
        assert!(erasures.find("done").await.unwrap().is_none());
        assert_eq!(erasures.find("waiting").await.unwrap().unwrap().state(), "hidden");
    }
}
