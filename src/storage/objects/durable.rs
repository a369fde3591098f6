//! A local folder as an object store whose writes survive a crash: `object_store` 0.13 never fsyncs local writes. Reads
//! are [`LocalFileSystem`]'s, writes go through [`Disk`].

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, future};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use super::disk::{Disk, OpenFolderError, Placing, Staged, blocking, failure, in_staging};
use crate::environment::Ids;

pub(crate) struct DurableLocalStore {
    disk: Arc<Disk>,
    reads: LocalFileSystem,
}

impl DurableLocalStore {
    /// See [`Disk::open`].
    pub(crate) fn open(folder: impl AsRef<FilePath>, ids: Ids) -> Result<Self, OpenFolderError> {
        let disk = Disk::open(folder.as_ref(), ids)?;
        let reads = LocalFileSystem::new_with_prefix(disk.root())
            .map_err(|source| OpenFolderError { path: disk.root().to_owned(), source: io::Error::other(source) })?;
        Ok(Self { disk: Arc::new(disk), reads })
    }

    pub(crate) fn root(&self) -> &FilePath {
        self.disk.root()
    }

    fn file_path(&self, location: &Path) -> Result<PathBuf> {
        if in_staging(location) {
            return Err(failure(self.disk.root(), io::Error::other("the staging folder holds no objects")));
        }
        self.reads.path_to_filesystem(location)
    }

    /// Fsyncs the folder of an object that [`LocalFileSystem`] put in place.
    async fn sync_parent_of(&self, target: PathBuf) -> Result<()> {
        let disk = Arc::clone(&self.disk);
        blocking(move || disk.sync_entry(&target)).await
    }
}

impl fmt::Debug for DurableLocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableLocalStore").field("root", &self.disk.root()).finish_non_exhaustive()
    }
}

impl fmt::Display for DurableLocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableLocalStore({})", self.disk.root().display())
    }
}

fn not_implemented<T>(operation: &str) -> Result<T> {
    Err(Error::NotImplemented { operation: operation.to_owned(), implementer: "DurableLocalStore".to_owned() })
}

#[async_trait]
impl ObjectStore for DurableLocalStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let placing = match options.mode {
            PutMode::Create => Placing::Create,
            PutMode::Overwrite => Placing::Overwrite,
            PutMode::Update(_) => return not_implemented("`put_opts` with mode `PutMode::Update`"),
        };
        if !options.attributes.is_empty() {
            return not_implemented("`put_opts` with attributes");
        }
        let target = self.file_path(location)?;
        let disk = Arc::clone(&self.disk);
        blocking(move || {
            let mut staged = disk.stage()?;
            staged.write(&payload, &target)?;
            disk.place(&staged, &target, placing)
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    /// Completing fails with `AlreadyExists` where an object of that name exists; it is never overwritten.
    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            return not_implemented("`put_multipart_opts` with attributes");
        }
        let target = self.file_path(location)?;
        let disk = Arc::clone(&self.disk);
        let staged = blocking({
            let disk = Arc::clone(&disk);
            move || disk.stage()
        })
        .await?;
        Ok(Box::new(DurableUpload { disk, target, staged: Some(Arc::new(staged)), length: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.reads.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.reads.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.reads.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        without_staging(self.reads.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        without_staging(self.reads.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut result = self.reads.list_with_delimiter(prefix).await?;
        result.common_prefixes.retain(|path| !in_staging(path));
        result.objects.retain(|object| !in_staging(&object.location));
        Ok(result)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (source, target) = (self.file_path(from)?, self.file_path(to)?);
        if matches!(options.mode, CopyMode::Create) {
            let disk = Arc::clone(&self.disk);
            return blocking(move || {
                disk.check_whole()?;
                disk.pay_owed()?;
                fs::metadata(&source).map_err(|error| failure(&source, error))?;
                disk.make_parents(&target)?;
                fs::hard_link(&source, &target).map_err(|error| failure(&target, error))?;
                disk.sync_entry(&target)
            })
            .await;
        }
        self.disk.make_room_for(&target).await?;
        self.reads.copy_opts(from, to, options).await?;
        self.sync_parent_of(target).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (source, target) = (self.file_path(from)?, self.file_path(to)?);
        self.disk.make_room_for(&target).await?;
        self.reads.rename_opts(from, to, options).await?;
        self.sync_parent_of(target).await?;
        self.sync_parent_of(source).await
    }
}

fn without_staging(objects: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    let visible = |object: &Result<ObjectMeta>| object.as_ref().map_or(true, |object| !in_staging(&object.location));
    objects.filter(move |object| future::ready(visible(object))).boxed()
}

struct DurableUpload {
    disk: Arc<Disk>,
    target: PathBuf,
    /// None once completed or aborted.
    staged: Option<Arc<Staged>>,
    length: u64,
}

impl fmt::Debug for DurableUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableUpload").field("target", &self.target).finish_non_exhaustive()
    }
}

impl DurableUpload {
    fn ended(&self) -> Error {
        failure(&self.target, io::Error::other("the upload is already completed or aborted"))
    }
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(staged) = self.staged.clone() else { return future::ready(Err(self.ended())).boxed() };
        let offset = self.length;
        self.length += data.content_length() as u64;
        blocking(move || staged.write_at(&data, offset)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = self.staged.take().ok_or_else(|| self.ended())?;
        let (disk, target) = (Arc::clone(&self.disk), self.target.clone());
        blocking(move || disk.place(&staged, &target, Placing::Create)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        self.staged.take().map(drop).ok_or_else(|| self.ended())
    }
}

#[cfg(test)]
mod tests;
