//! What is set of projects (contract A1, `PUT /projects/{id}`): an object each, in the checksummed frames of all small
//! objects.
//!
//! Setting one writes its object and knows it at once; what a command sets beside a running server is seen at its next
//! look. Nothing else in the store names these objects, so one that is gone counts as no limit; one that is damaged is
//! told again and again, and keeps what was last known of it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::{ErrorKind, StoreError};
use super::objects::frame::{self, Kind, Unsound};
use crate::environment::Environment;
use crate::model::ids::{OrganizationId, ProjectId};
use crate::model::project_limits::ProjectLimits;

const KIND: Kind = Kind { name: "project", format: 1, reads: 1..=1 };
const FOLDER: &str = "projects";
/// From one look at all of them to the next, which is a list of their folder.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A name belongs to its organization.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProjectKey {
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: ProjectId,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    project: ProjectKey,
    #[serde(flatten)]
    limits: ProjectLimits,
}

pub(crate) type Known = BTreeMap<ProjectKey, ProjectLimits>;

pub(crate) struct Projects {
    environment: Environment,
    known: ArcSwap<Known>,
    /// Projects that take no documents.
    full: ArcSwap<HashSet<ProjectKey>>,
    /// When they were last looked at; held while an object is read or written, so that none of the two undoes the other.
    looked: Mutex<Option<Instant>>,
}

impl Projects {
    pub(crate) fn new(environment: Environment) -> Projects {
        Projects { environment, known: ArcSwap::default(), full: ArcSwap::default(), looked: Mutex::default() }
    }

    /// All of which something is set; looked at anew where the last look is old.
    pub(crate) async fn known(&self) -> Result<Arc<Known>, StoreError> {
        let mut looked = self.looked.lock().await;
        if looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.look().await?;
            *looked = Some(Instant::now());
        }
        Ok(self.known.load_full())
    }

    /// No limits where nothing is set.
    pub(crate) async fn get(&self, project: &ProjectKey) -> Result<ProjectLimits, StoreError> {
        let found = self.read(&path(project)).await?;
        Ok(found.map(|stored| stored.limits).unwrap_or_default())
    }

    /// Durable once it returns; replaces what was set before.
    pub(crate) async fn set(&self, project: ProjectKey, limits: ProjectLimits) -> Result<(), StoreError> {
        let _look = self.looked.lock().await;
        let path = path(&project);
        let encoded = frame::encode(&KIND, &Stored { project: project.clone(), limits });
        let (body, _) = encoded.map_err(|reason| StoreError::Bug(format!("a project's limits: {reason}")))?;
        let put = self.environment.objects.put(&path, PutPayload::from(body)).await;
        put.map_err(|error| StoreError::caused(format!("{path} could not be written"), error))?;
        let mut known = Known::clone(&self.known.load());
        known.insert(project, limits);
        self.known.store(Arc::new(known));
        Ok(())
    }

    /// Whether its share of the store is used up.
    pub(crate) fn is_full(&self, organization_id: &OrganizationId, project_id: &ProjectId) -> bool {
        let full = self.full.load();
        // Few stores have such a project.
        !full.is_empty()
            && full.contains(&ProjectKey { organization_id: organization_id.clone(), project_id: project_id.clone() })
    }

    /// From here on these take no documents.
    pub(crate) fn refuse(&self, full: HashSet<ProjectKey>) {
        let before = self.full.swap(Arc::new(full));
        for project in self.full.load().difference(&before) {
            let ProjectKey { organization_id, project_id } = project;
            tracing::warn!(%organization_id, %project_id, "the project has reached its maxBytes; it takes no documents");
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let folder = Path::from(FOLDER);
        let listed = self.environment.objects.list(Some(&folder)).map_ok(|object| object.location);
        let listed: Vec<Path> = listed
            .try_collect()
            .await
            .map_err(|error| StoreError::caused(format!("{folder} could not be listed"), error))?;
        let mut known = Known::new();
        let before = self.known.load_full();
        for at in listed {
            match self.read(&at).await {
                Ok(Some(Stored { project, limits })) => {
                    known.insert(project, limits);
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    tracing::error!(%error, "what is set of a project is not known");
                    let same = before.iter().find(|(project, _)| path(project) == at);
                    known.extend(same.map(|(project, limits)| (project.clone(), *limits)));
                }
                Err(error) => return Err(error),
            }
        }
        self.known.store(Arc::new(known));
        Ok(())
    }

    async fn read(&self, at: &Path) -> Result<Option<Stored>, StoreError> {
        let failed = |error| StoreError::caused(format!("{at} could not be read"), error);
        let bytes = match self.environment.objects.get(at).await {
            Ok(found) => found.bytes().await.map_err(failed)?,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let sound = match frame::decode::<Stored>(&KIND, &bytes) {
            Ok((stored, _)) if path(&stored.project) == *at => Ok(Some(stored)),
            Ok(_) => Err(Unsound::damaged(at, "it is another project's")),
            Err(error) => Err(Unsound { object: at.clone(), error }),
        };
        sound.map_err(|unsound| StoreError::caused("a project's limits, set them again", unsound))
    }
}

/// Names may be longer than a file's and hold any character.
fn path(project: &ProjectKey) -> Path {
    let organization = project.organization_id.as_str();
    let hash = Sha256::new()
        .chain_update((organization.len() as u64).to_le_bytes())
        .chain_update(organization)
        .chain_update(project.project_id.as_str())
        .finalize();
    Path::from_iter([FOLDER, &const_hex::encode(hash)])
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_limits_of_each_project_are_known() {
        let environment = Environment::of_test(Arc::new(InMemory::new()));
        let (projects, beside) = (Projects::new(environment.clone()), Projects::new(environment.clone()));
        let key = |organization: &str| ProjectKey {
            organization_id: OrganizationId::new(organization),
            project_id: ProjectId::new("../p"),
        };
        let limits = |max_bytes| ProjectLimits { max_bytes, ..ProjectLimits::default() };
        assert!(projects.known().await.unwrap().is_empty());
        assert_eq!(projects.get(&key("a")).await.unwrap(), ProjectLimits::default());
        for (organization, of_project) in [("a", limits(Some(60))), ("b", limits(Some(5))), ("a", limits(None))] {
            beside.set(key(organization), of_project).await.unwrap();
        }
        assert_eq!(projects.get(&key("b")).await.unwrap(), limits(Some(5)));
        assert!(projects.known().await.unwrap().is_empty(), "the next look is not due");
        let wanted = BTreeMap::from([(key("a"), limits(None)), (key("b"), limits(Some(5)))]);
        assert_eq!(*beside.known().await.unwrap(), wanted);
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(*projects.known().await.unwrap(), wanted);
        // What is damaged keeps what was known, and does not hide the others'.
        let damaged = path(&key("b"));
        environment.objects.put(&damaged, PutPayload::from_static(b"x")).await.unwrap();
        beside.set(key("c"), limits(Some(1))).await.unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        let mut wanted = wanted;
        wanted.insert(key("c"), limits(Some(1)));
        assert_eq!(*projects.known().await.unwrap(), wanted);
        assert!(projects.get(&key("b")).await.unwrap_err().to_string().contains(damaged.as_ref()));
        // It is set again as if it were not there.
        projects.set(key("b"), limits(Some(6))).await.unwrap();
        assert_eq!(beside.get(&key("b")).await.unwrap(), limits(Some(6)));
    }

    #[test]
    fn only_the_project_that_is_full_is_refused() {
        let projects = Projects::new(Environment::of_test(Arc::new(InMemory::new())));
        let (organization_id, project_id) = (OrganizationId::new("o"), ProjectId::new("p"));
        assert!(!projects.is_full(&organization_id, &project_id));
        projects.refuse(HashSet::from([ProjectKey {
            organization_id: organization_id.clone(),
            project_id: project_id.clone(),
        }]));
        assert!(projects.is_full(&organization_id, &project_id));
        assert!(!projects.is_full(&organization_id, &ProjectId::new("q")));
        assert!(!projects.is_full(&OrganizationId::new("q"), &project_id));
        projects.refuse(HashSet::new());
        assert!(!projects.is_full(&organization_id, &project_id));
    }
}
