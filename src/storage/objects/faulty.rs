//! For tests: a store whose puts fail in chosen ways.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

use crate::storage::error::FailedFsync;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The object is written, but the caller sees an error.
    AnswerLost,
    NotWritten,
    /// Waits until the fault is over, then writes.
    Held,
    /// As on a disk of which nobody knows what is on it.
    FailedFsync,
    /// The store cannot do it, now or later.
    Impossible,
    /// The answer is lost, and a client that tries again by itself meets its own object.
    MetAgain,
    /// An object that may only be created is written over.
    CreatedAgain,
}

/// Each put takes the next fault; after the last one all is well but for what [`FlakyStore::fail`] and
/// [`FlakyStore::fail_often`] say.
#[derive(Debug)]
pub(crate) struct FlakyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Mutex<VecDeque<Fault>>,
    /// Of all puts whose path starts so.
    standing: Mutex<Option<(&'static str, Fault)>>,
    often: Mutex<Option<(StdRng, f64)>>,
    /// Reads whose path starts so find no free descriptor.
    unreadable: Mutex<Option<&'static str>>,
    dead: AtomicBool,
    /// Of what [`Fault::Held`] waits for.
    changed: Notify,
    failed_puts: AtomicUsize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reset() -> Error {
    Error::Generic { store: "FlakyStore", source: "connection reset".into() }
}

impl FlakyStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, faults: &[Fault]) -> Self {
        let faults = Mutex::new(faults.iter().copied().collect());
        Self {
            inner,
            faults,
            standing: Mutex::default(),
            often: Mutex::default(),
            unreadable: Mutex::default(),
            dead: AtomicBool::new(false),
            changed: Notify::new(),
            failed_puts: AtomicUsize::new(0),
        }
    }

    /// Until the next call, every put under `prefix` fails so.
    pub(crate) fn fail(&self, standing: Option<(&'static str, Fault)>) {
        *locked(&self.standing) = standing;
        self.changed.notify_waiters();
    }

    /// Until the next call, no object under `prefix` can be opened for reading.
    pub(crate) fn fail_reads(&self, prefix: Option<&'static str>) {
        *locked(&self.unreadable) = prefix;
    }

    /// This share of puts fails, in one way or the other.
    pub(crate) fn fail_often(&self, seed: u64, share: f64) {
        *locked(&self.often) = Some((StdRng::seed_from_u64(seed), share));
    }

    /// From now on nothing is written or deleted, as after a crash of the process that uses it.
    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Puts that have failed so far.
    pub(crate) fn failed_puts(&self) -> usize {
        self.failed_puts.load(Ordering::SeqCst)
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn standing_fault(&self, location: &Path) -> Option<Fault> {
        let standing = *locked(&self.standing);
        standing.filter(|(prefix, _)| location.as_ref().starts_with(prefix)).map(|(_, fault)| fault)
    }

    fn fault(&self, location: &Path) -> Option<Fault> {
        if self.is_dead() {
            return Some(Fault::NotWritten);
        }
        let next = locked(&self.faults).pop_front().or_else(|| self.standing_fault(location));
        next.or_else(|| {
            let mut often = locked(&self.often);
            let (random, share) = often.as_mut()?;
            let fails = random.random_bool(*share);
            let fault = if random.random_bool(0.5) { Fault::AnswerLost } else { Fault::NotWritten };
            fails.then_some(fault)
        })
    }
}

impl fmt::Display for FlakyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlakyStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FlakyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.fault(location) {
            None => return self.inner.put_opts(location, payload, options).await,
            Some(Fault::NotWritten) => {}
            Some(Fault::FailedFsync) => {
                let source = FailedFsync::new("/srv/x".into(), std::io::Error::from_raw_os_error(5));
                return Err(Error::Generic { store: "FlakyStore", source: source.into() });
            }
            Some(Fault::Impossible) => {
                let (operation, implementer) = ("put".to_owned(), "FlakyStore".to_owned());
                return Err(Error::NotImplemented { operation, implementer });
            }
            Some(Fault::MetAgain) => {
                let _ = self.inner.put_opts(location, payload.clone(), options.clone()).await;
                return self.inner.put_opts(location, payload, options).await;
            }
            Some(Fault::CreatedAgain) => return self.inner.put(location, payload).await,
            Some(Fault::AnswerLost) => {
                let _ = self.inner.put_opts(location, payload, options).await;
            }
            Some(Fault::Held) => {
                loop {
                    // Asked for before the look, so that no change falls between.
                    let changed = self.changed.notified();
                    if self.standing_fault(location) != Some(Fault::Held) || self.is_dead() {
                        break;
                    }
                    changed.await;
                }
                if self.is_dead() {
                    return Err(reset());
                }
                return self.inner.put_opts(location, payload, options).await;
            }
        }
        self.failed_puts.fetch_add(1, Ordering::SeqCst);
        Err(reset())
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options).await?;
        let fault = self.fault(location);
        Ok(Box::new(FlakyUpload { inner, location: location.clone(), fault }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if locked(&self.unreadable).is_some_and(|prefix| location.as_ref().starts_with(prefix)) {
            let source = std::io::Error::other("too many open files").into();
            return Err(Error::Generic { store: "FlakyStore", source });
        }
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.is_dead() {
            return futures::stream::once(async { Err(reset()) }).boxed();
        }
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// An upload whose end fails in the chosen way.
#[derive(Debug)]
struct FlakyUpload {
    inner: Box<dyn MultipartUpload>,
    location: Path,
    fault: Option<Fault>,
}

#[async_trait]
impl MultipartUpload for FlakyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.fault {
            None => self.inner.complete().await,
            Some(Fault::MetAgain) => {
                self.inner.complete().await?;
                // As S3 answers: the upload ended with the first try.
                Err(Error::NotFound { path: self.location.to_string(), source: "no such upload".into() })
            }
            Some(Fault::AnswerLost) => {
                self.inner.complete().await?;
                Err(reset())
            }
            Some(_) => Err(reset()),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
