//! The categories of a project (contract Part B): its whole list in one checksummed object, and in a copy of that.
//!
//! Nothing else in the store names a list, so one that is gone would look like none. Therefore the copy is written first,
//! and a change is acknowledged when both are: whichever is left has every acknowledged change, and the next change
//! writes both.
//!
//! Not in the operation log, because a list is short (100 names), changes rarely and is read by id alone; conversations
//! carry the names, so no query needs it. The writer's lock on the store makes this process the only one that writes.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedRwLockReadGuard, RwLock};

use super::error::StoreError;
use super::objects::frame::{self, Kind, Unsound};
use crate::environment::Environment;
use crate::model::ids::{OrganizationId, ProjectId};

pub(crate) const MAX_CATEGORIES: usize = 100;
const FOLDER: &str = "categories";
const KIND: Kind = Kind { name: "categories", format: 1, reads: 1..=1 };
/// Projects share locks, so that there is no map of them that grows.
const LOCKS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Category {
    pub(crate) category_id: String,
    pub(crate) name: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CategoryError {
    #[error("the project has {MAX_CATEGORIES} categories, more are not allowed")]
    TooMany,
    #[error("the project has a category of this name")]
    NameTaken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whose categories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CategoryOwner {
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: ProjectId,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    organization_id: OrganizationId,
    project_id: ProjectId,
    categories: Vec<Category>,
    /// Being taken off their conversations; no longer in the list. What a crash leaves here, the next removal of the
    /// same id or the next change of the list goes on with.
    #[serde(default)]
    removing: Vec<Category>,
}

impl Stored {
    fn is_of(&self, owner: &CategoryOwner) -> bool {
        self.organization_id == owner.organization_id && self.project_id == owner.project_id
    }
}

/// What lies at a path.
type Found = Result<Option<Stored>, Unsound>;

#[derive(Clone, Default)]
struct Locks {
    /// Read: between looking up names and their being on a conversation. Write: while a category leaves the list.
    assigning: Arc<RwLock<()>>,
    /// One change of a list at a time, the whole of a removal included.
    changing: Arc<Mutex<()>>,
}

pub(crate) struct Categories {
    environment: Environment,
    locks: Vec<Locks>,
}

/// While this lives, no category leaves the list.
pub(crate) struct Assignable {
    pub(crate) categories: Vec<Category>,
    _guard: OwnedRwLockReadGuard<()>,
}

/// The right to change a project's list.
pub(crate) struct Changing {
    owner: CategoryOwner,
    _guard: OwnedMutexGuard<()>,
}

impl Categories {
    pub(crate) fn new(environment: Environment) -> Categories {
        Categories { environment, locks: (0..LOCKS).map(|_| Locks::default()).collect() }
    }

    /// In the order of their making.
    pub(crate) async fn list(&self, owner: &CategoryOwner) -> Result<Vec<Category>, StoreError> {
        Ok(self.load(owner).await?.categories)
    }

    pub(crate) async fn assignable(&self, owner: &CategoryOwner) -> Result<Assignable, StoreError> {
        let guard = self.locks_of(owner).assigning.read_owned().await;
        Ok(Assignable { categories: self.list(owner).await?, _guard: guard })
    }

    pub(crate) async fn changing(&self, owner: &CategoryOwner) -> Changing {
        let guard = self.locks_of(owner).changing.lock_owned().await;
        Changing { owner: owner.clone(), _guard: guard }
    }

    pub(crate) async fn create(&self, changing: &Changing, name: &str) -> Result<Category, CategoryError> {
        let mut stored = self.load(&changing.owner).await?;
        if stored.categories.iter().any(|category| category.name == name) {
            return Err(CategoryError::NameTaken);
        }
        if stored.categories.len() >= MAX_CATEGORIES {
            return Err(CategoryError::TooMany);
        }
        let category = Category { category_id: self.environment.ids.of_document(), name: name.to_owned() };
        stored.categories.push(category.clone());
        self.save(&stored).await?;
        Ok(category)
    }

    /// Takes a category out of the list; `None` if there is none of this id. From here on no conversation gets it.
    pub(crate) async fn begin_removal(&self, changing: &Changing, id: &str) -> Result<Option<Category>, StoreError> {
        let _no_assignment = self.locks_of(&changing.owner).assigning.write_owned().await;
        let mut stored = self.load(&changing.owner).await?;
        if let Some(position) = stored.categories.iter().position(|category| category.category_id == id) {
            let category = stored.categories.remove(position);
            stored.removing.push(category.clone());
            self.save(&stored).await?;
            return Ok(Some(category));
        }
        Ok(stored.removing.into_iter().find(|category| category.category_id == id))
    }

    /// What earlier removals left behind.
    pub(crate) async fn unfinished(&self, changing: &Changing) -> Result<Vec<Category>, StoreError> {
        Ok(self.load(&changing.owner).await?.removing)
    }

    /// No conversation has it any more.
    pub(crate) async fn end_removal(&self, changing: &Changing, id: &str) -> Result<(), StoreError> {
        let mut stored = self.load(&changing.owner).await?;
        stored.removing.retain(|category| category.category_id != id);
        self.save(&stored).await
    }

    fn locks_of(&self, owner: &CategoryOwner) -> Locks {
        let number = name_hash(owner).first().map_or(0, |byte| usize::from(*byte)) % LOCKS;
        self.locks.get(number).cloned().unwrap_or_default()
    }

    async fn load(&self, owner: &CategoryOwner) -> Result<Stored, StoreError> {
        let [path, copy] = paths_of(owner);
        let lacking = match self.read(owner, &path).await? {
            Ok(Some(stored)) => return Ok(stored),
            Ok(None) => None,
            Err(unsound) => Some(unsound),
        };
        match (lacking, self.read(owner, &copy).await?) {
            (Some(unsound), Ok(Some(stored))) => {
                tracing::error!(error = %unsound, "its copy {copy} is read, and the next change writes both");
                Ok(stored)
            }
            // Read again: the first change may have come meanwhile.
            (None, Ok(Some(stored))) => match self.read(owner, &path).await? {
                Ok(Some(stored)) => Ok(stored),
                _ => {
                    tracing::error!("{path} is missing; its copy {copy} is read, and the next change writes both");
                    Ok(stored)
                }
            },
            (Some(unsound), _) | (None, Err(unsound)) => {
                Err(StoreError::caused("a list of categories, put a sound copy back", unsound))
            }
            (None, Ok(None)) => Ok(Stored {
                organization_id: owner.organization_id.clone(),
                project_id: owner.project_id.clone(),
                categories: Vec::new(),
                removing: Vec::new(),
            }),
        }
    }

    async fn read(&self, owner: &CategoryOwner, path: &Path) -> Result<Found, StoreError> {
        let failed = |error| StoreError::caused(format!("{path} could not be read"), error);
        let bytes = match self.environment.objects.get(path).await {
            Ok(found) => found.bytes().await.map_err(failed)?,
            Err(object_store::Error::NotFound { .. }) => return Ok(Ok(None)),
            Err(error) => return Err(failed(error)),
        };
        Ok(match frame::decode::<Stored>(&KIND, &bytes) {
            Ok((stored, _)) if stored.is_of(owner) => Ok(Some(stored)),
            Ok(_) => Err(Unsound::damaged(path, "it is another project's")),
            Err(error) => Err(Unsound { object: path.clone(), error }),
        })
    }

    async fn save(&self, stored: &Stored) -> Result<(), StoreError> {
        let owner =
            CategoryOwner { organization_id: stored.organization_id.clone(), project_id: stored.project_id.clone() };
        let encoded = frame::encode(&KIND, stored);
        let (body, _) = encoded.map_err(|reason| StoreError::Bug(format!("a list of categories: {reason}")))?;
        let body = PutPayload::from(body);
        let [path, copy] = paths_of(&owner);
        for path in [copy, path] {
            let put = self.environment.objects.put(&path, body.clone()).await;
            put.map_err(|error| StoreError::caused(format!("{path} could not be written"), error))?;
        }
        Ok(())
    }
}

/// Names may be longer than a file's name and hold any character, so objects are named by hash.
fn name_hash(owner: &CategoryOwner) -> [u8; 32] {
    let organization = owner.organization_id.as_str();
    let length = (organization.len() as u64).to_le_bytes();
    Sha256::new()
        .chain_update(length)
        .chain_update(organization)
        .chain_update(owner.project_id.as_str())
        .finalize()
        .into()
}

/// Of the list, and of its copy.
fn paths_of(owner: &CategoryOwner) -> [Path; 2] {
    let name = const_hex::encode(name_hash(owner));
    [Path::from_iter([FOLDER, &name]), Path::from_iter([FOLDER, &format!("{name}.copy")])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::error::ErrorKind;
    use object_store::memory::InMemory;

    fn owner(project: &str) -> CategoryOwner {
        CategoryOwner { organization_id: OrganizationId::new("o"), project_id: ProjectId::new(project) }
    }

    #[tokio::test]
    async fn a_list_is_its_projects_and_stays() {
        let environment = Environment::of_test(Arc::new(InMemory::new()));
        let categories = Categories::new(environment.clone());
        let changing = categories.changing(&owner("p")).await;
        let sales = categories.create(&changing, "Sales").await.unwrap();
        assert!(matches!(categories.create(&changing, "Sales").await, Err(CategoryError::NameTaken)));
        for number in 1..MAX_CATEGORIES {
            categories.create(&changing, &format!("n{number}")).await.unwrap();
        }
        assert!(matches!(categories.create(&changing, "more").await, Err(CategoryError::TooMany)));
        drop(changing);
        let again = Categories::new(environment);
        assert_eq!(again.list(&owner("p")).await.unwrap().first(), Some(&sales));
        assert!(again.list(&owner("q")).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_removal_can_be_gone_on_with() {
        let environment = Environment::of_test(Arc::new(InMemory::new()));
        let categories = Categories::new(environment.clone());
        let changing = categories.changing(&owner("p")).await;
        let sales = categories.create(&changing, "Sales").await.unwrap();
        assert_eq!(categories.begin_removal(&changing, "unknown").await.unwrap(), None);
        assert_eq!(categories.begin_removal(&changing, &sales.category_id).await.unwrap(), Some(sales.clone()));
        assert!(categories.assignable(&owner("p")).await.unwrap().categories.is_empty());
        let again = Categories::new(environment);
        let changing = again.changing(&owner("p")).await;
        assert_eq!(again.unfinished(&changing).await.unwrap(), vec![sales.clone()]);
        assert_eq!(again.begin_removal(&changing, &sales.category_id).await.unwrap(), Some(sales.clone()));
        again.end_removal(&changing, &sales.category_id).await.unwrap();
        assert!(again.unfinished(&changing).await.unwrap().is_empty());
        assert_eq!(again.begin_removal(&changing, &sales.category_id).await.unwrap(), None);
    }

    /// One of the two in every way of being damaged, or gone: the list is the same. Both: an error that names one.
    #[tokio::test]
    async fn a_damaged_or_missing_list_is_read_from_its_copy() {
        let environment = Environment::of_test(Arc::new(InMemory::new()));
        let (categories, objects) = (Categories::new(environment.clone()), environment.objects.clone());
        let changing = categories.changing(&owner("p")).await;
        let sales = categories.create(&changing, "Sales").await.unwrap();
        let paths = paths_of(&owner("p"));
        let sound = objects.get(&paths[0]).await.unwrap().bytes().await.unwrap();
        assert_eq!(objects.get(&paths[1]).await.unwrap().bytes().await.unwrap(), sound);
        for path in &paths {
            for bit in 0..sound.len() * 8 {
                let mut flipped = sound.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                objects.put(path, flipped.into()).await.unwrap();
                assert_eq!(categories.list(&owner("p")).await.unwrap(), vec![sales.clone()], "{path}, bit {bit}");
            }
            objects.delete(path).await.unwrap();
            assert_eq!(categories.list(&owner("p")).await.unwrap(), vec![sales.clone()], "{path} is gone");
            // The next change writes both.
            let more = categories.create(&changing, "more").await.unwrap();
            categories.begin_removal(&changing, &more.category_id).await.unwrap();
            categories.end_removal(&changing, &more.category_id).await.unwrap();
            assert_eq!(objects.get(path).await.unwrap().bytes().await.unwrap(), sound);
        }
        for (damaged, other) in [(&paths[0], &paths[1]), (&paths[1], &paths[0])] {
            objects.put(damaged, sound.slice(..sound.len() - 1).into()).await.unwrap();
            objects.delete(other).await.unwrap();
            let error = categories.list(&owner("p")).await.unwrap_err();
            assert_eq!((error.kind(), error.object()), (ErrorKind::Damaged, Some(damaged)), "{error}");
            objects.put(other, sound.clone().into()).await.unwrap();
        }
        drop(changing);
        // Another project's list is none of this one's.
        categories.create(&categories.changing(&owner("q")).await, "theirs").await.unwrap();
        for (own, theirs) in paths.iter().zip(paths_of(&owner("q"))) {
            objects.copy(&theirs, own).await.unwrap();
        }
        assert_eq!(categories.list(&owner("p")).await.unwrap_err().object(), Some(&paths[0]));
    }

    /// A change that fails half-way is not to be seen, and can be made again.
    #[tokio::test]
    async fn a_change_is_made_when_both_are_written() {
        let objects = Arc::new(InMemory::new());
        let categories = Categories::new(Environment::of_test(objects.clone()));
        let changing = categories.changing(&owner("p")).await;
        let sales = categories.create(&changing, "Sales").await.unwrap();
        let [path, _] = paths_of(&owner("p"));
        let before = objects.get(&path).await.unwrap().bytes().await.unwrap();
        categories.create(&changing, "more").await.unwrap();
        // As after a crash between the two.
        objects.put(&path, before.into()).await.unwrap();
        assert_eq!(categories.list(&owner("p")).await.unwrap(), vec![sales.clone()]);
        let more = categories.create(&changing, "more").await.unwrap();
        objects.delete(&path).await.unwrap();
        assert_eq!(categories.list(&owner("p")).await.unwrap(), vec![sales, more]);
    }
}
