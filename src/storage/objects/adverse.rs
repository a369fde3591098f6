//! For tests: a store that fails, delays, loses answers after applying, tears and reorders, from a seed.
//!
//! What befalls a request follows from the seed, the kind of request, the object and how often it was asked so before,
//! not from what else goes on at the time: so that a seed brings the same again, however threads run.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use xxhash_rust::xxh3::xxh3_64;

/// Of requests that are slow.
const LONGEST_MILLIS: u64 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Put,
    Upload,
    Get,
    List,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Fine,
    /// Nothing happens, and an error is answered.
    Refused,
    /// It happens, and an error is answered.
    AnswerLost,
    /// It happens later than what was asked after it; `posthumous`: also where the process that asked is dead by then.
    Late {
        by: Duration,
        posthumous: bool,
    },
    /// The answer breaks off in the middle.
    Torn,
}

#[derive(Debug)]
struct Shared {
    inner: Arc<dyn ObjectStore>,
    seed: u64,
    /// Of a thousand requests, so many meet something.
    adverse: AtomicU64,
    asked: Mutex<HashMap<(Kind, Path), u64>>,
    dead: AtomicBool,
}

#[derive(Clone, Debug)]
pub(crate) struct AdverseStore(Arc<Shared>);

fn reset() -> Error {
    Error::Generic { store: "AdverseStore", source: "connection reset".into() }
}

impl AdverseStore {
    /// Calm, until told otherwise.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, seed: u64) -> AdverseStore {
        let (adverse, asked, dead) = (AtomicU64::new(0), Mutex::default(), AtomicBool::new(false));
        AdverseStore(Arc::new(Shared { inner, seed, adverse, asked, dead }))
    }

    /// From now on, of a thousand requests so many meet something.
    pub(crate) fn rage(&self, of_thousand: u64) {
        self.0.adverse.store(of_thousand, Ordering::SeqCst);
    }

    /// The process that uses it is dead: nothing it asks for now happens; what is under way may.
    pub(crate) fn kill(&self) {
        self.0.dead.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn fate(&self, kind: Kind, path: &Path) -> Fate {
        if self.is_dead() {
            return Fate::Refused;
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let times = asked.entry((kind, path.clone())).or_default();
        *times += 1;
        let drawn = xxh3_64(format!("{} {kind:?} {path} {times}", self.seed).as_bytes());
        if drawn % 1_000 >= self.adverse.load(Ordering::SeqCst) {
            return Fate::Fine;
        }
        let rest = drawn / 1_000;
        let by = Duration::from_millis(1 + rest / 4 % LONGEST_MILLIS);
        match (kind, rest % 4) {
            (Kind::Get | Kind::List, 0) => Fate::Torn,
            (_, 0) => Fate::AnswerLost,
            (_, 1) => Fate::Refused,
            (_, part) => Fate::Late { by, posthumous: part == 3 },
        }
    }

    /// Waits as long as its fate says. An error where nothing is to happen.
    async fn begin(&self, fate: Fate) -> Result<()> {
        match fate {
            Fate::Refused => Err(reset()),
            Fate::Late { by, posthumous } => {
                tokio::time::sleep(by).await;
                if self.is_dead() && !posthumous { Err(reset()) } else { Ok(()) }
            }
            Fate::Fine | Fate::AnswerLost | Fate::Torn => Ok(()),
        }
    }

    fn end<T>(&self, fate: Fate, answer: Result<T>) -> Result<T> {
        // Nobody is there to hear it.
        if fate == Fate::AnswerLost || self.is_dead() { Err(reset()) } else { answer }
    }
}

impl fmt::Display for AdverseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdverseStore({})", self.0.inner)
    }
}

#[async_trait]
impl ObjectStore for AdverseStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fate = self.0.fate(Kind::Put, location);
        self.0.begin(fate).await?;
        self.0.end(fate, self.0.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fate = self.0.fate(Kind::Upload, location);
        let inner = self.0.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(AdverseUpload { inner, shared: Arc::clone(&self.0), fate }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fate = self.0.fate(Kind::Get, location);
        self.0.begin(fate).await?;
        let result = self.0.end(fate, self.0.inner.get_opts(location, options).await)?;
        if fate != Fate::Torn {
            return Ok(result);
        }
        let GetResult { meta, range, attributes, .. } = &result;
        let (meta, range, attributes) = (meta.clone(), range.clone(), attributes.clone());
        let bytes: Bytes = result.bytes().await?;
        let half = bytes.slice(..bytes.len() / 2);
        let payload = GetResultPayload::Stream(stream::iter([Ok(half), Err(reset())]).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let shared = Arc::clone(&self.0);
        let delete = move |location: Result<Path>| {
            let shared = Arc::clone(&shared);
            async move {
                let location = location?;
                let fate = shared.fate(Kind::Delete, &location);
                shared.begin(fate).await?;
                let deleted = shared.inner.delete(&location).await;
                shared.end(fate, deleted.map(|()| location))
            }
        };
        locations.map(delete).buffer_unordered(4).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let shared = Arc::clone(&self.0);
        let (prefix, fate) = (prefix.cloned(), self.0.fate(Kind::List, prefix.unwrap_or(&Path::default())));
        let listed = async move {
            shared.begin(fate).await?;
            let found: Vec<ObjectMeta> = shared.inner.list(prefix.as_ref()).try_collect().await?;
            let mut found = shared.end(fate, Ok(found))?;
            // In no order that anybody was promised.
            found.sort_by_key(|meta| xxh3_64(format!("{} {}", shared.seed, meta.location).as_bytes()));
            let torn = fate == Fate::Torn;
            found.truncate(if torn { found.len() / 2 } else { found.len() });
            Ok::<_, Error>(stream::iter(found.into_iter().map(Ok).chain(torn.then(|| Err(reset())))))
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let fate = self.0.fate(Kind::List, prefix.unwrap_or(&Path::default()));
        self.0.begin(fate).await?;
        self.0.end(fate, self.0.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.inner.copy_opts(from, to, options).await
    }
}

/// An upload whose end meets what was drawn for it; one that never ends leaves no object.
#[derive(Debug)]
struct AdverseUpload {
    inner: Box<dyn MultipartUpload>,
    shared: Arc<Shared>,
    fate: Fate,
}

#[async_trait]
impl MultipartUpload for AdverseUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.shared.is_dead() {
            return Err(reset());
        }
        self.shared.begin(self.fate).await?;
        let ended = self.inner.complete().await;
        self.shared.end(self.fate, ended)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_seed_brings_the_same_again() {
        let fates = |seed| {
            let store = AdverseStore::new(Arc::new(InMemory::new()), seed);
            store.rage(300);
            let fate = |number: u32| store.0.fate(Kind::Put, &Path::from(format!("p{}", number % 10)));
            (0..200).map(fate).collect::<Vec<_>>()
        };
        assert_eq!(fates(1), fates(1));
        assert_ne!(fates(1), fates(2));
        let all = fates(3);
        for fate in [Fate::Fine, Fate::Refused, Fate::AnswerLost] {
            assert!(all.contains(&fate), "{fate:?}");
        }
        assert!(all.iter().any(|fate| matches!(fate, Fate::Late { .. })));
    }

    #[tokio::test]
    async fn an_error_does_not_say_whether_it_happened() {
        let disk = Arc::new(InMemory::new());
        let store = AdverseStore::new(disk.clone(), 4);
        store.rage(600);
        let (mut there, mut not_there, mut torn) = (0, 0, 0);
        for number in 0..100 {
            let path = Path::from(format!("p{number}"));
            let put = store.put(&path, "twelve bytes".into()).await;
            let found = disk.head(&path).await.is_ok();
            assert!(found || put.is_err(), "what is answered has happened");
            there += u32::from(found && put.is_err());
            not_there += u32::from(!found);
            if let Ok(result) = store.get(&path).await {
                torn += u32::from(result.bytes().await.is_err());
            }
        }
        assert!(there > 5 && not_there > 5 && torn > 2, "{there} {not_there} {torn}");
        store.kill();
        assert!(store.put(&Path::from("late"), "x".into()).await.is_err());
        assert!(disk.head(&Path::from("late")).await.is_err());
    }
}
