//! Looks for files to merge, and has them merged, one choice after another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::policy::{Candidate, Choice, Policy};
use crate::environment::Environment;
use crate::model::conversation::Conversation;
use crate::model::ids::EpochMillis;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::catalog::manifest::{Manifest, StoredFile, Table as StoredTable};
use crate::storage::error::StoreError;
use crate::storage::format::table::{MESSAGES, Table};
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Family, Kind, PerTable, per_table};
use crate::storage::maintain::collector::Retired;
use crate::storage::maintain::idle;
use crate::storage::read::snapshot::{Snapshot, TableSnapshot};
use crate::storage::write::committer::{Command, Compaction, NewFileContext};
use crate::storage::write::compaction::{self, Compacted, Inputs};
use crate::storage::write::work::{Merging, Work};

/// From one look to the next, where there was nothing to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a failure.
const RETRY_AFTER: Duration = Duration::from_secs(60);

pub(crate) struct Compactor {
    pub(crate) environment: Environment,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    /// Which files of a table are merged.
    pub(crate) policy: Policy,
    /// To the committer.
    pub(crate) commands: mpsc::WeakSender<Command>,
    pub(crate) retired: Arc<Retired>,
    /// How long a file may hold what was erased.
    pub(crate) rewrite_after: Duration,
    pub(crate) work: Arc<Work>,
    pub(crate) stop: CancellationToken,
}

/// What is to be merged in a table.
struct Chosen<R = Conversation>(std::marker::PhantomData<R>);

impl Family for Chosen {
    type Of<R: TableRow> = Option<Inputs>;
}

impl Compactor {
    /// Runs to the stop, on threads that give way to everything else.
    pub(crate) fn start(self) -> std::io::Result<()> {
        let run = move || {
            let runtime = idle::runtime("compactor");
            match runtime {
                Ok(runtime) => runtime.block_on(self.run()),
                Err(error) => tracing::error!(%error, "files are not compacted"),
            }
        };
        std::thread::Builder::new().name("compactor".into()).spawn(run).map(|_| ())
    }

    async fn run(self) {
        loop {
            let wait = match self.compact_once().await {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "a compaction failed; the files stay as they are");
                    RETRY_AFTER
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The most useful thing; false if nothing is due.
    pub(crate) async fn compact_once(&self) -> Result<bool, StoreError> {
        let snapshot = self.published.load_full();
        let due_before = self.environment.now().minus(self.rewrite_after);
        let mut due = false;
        let chosen: PerTable<Chosen> = per_table!(
            kind in PerTable::<Kind>::default(), table in snapshot.tables.as_ref() => {
                // One table at a time.
                let inputs = if due { None } else { choose(&snapshot.manifest, kind, table, (self.policy, due_before)) };
                due |= inputs.is_some();
                inputs
            }
        );
        if !due {
            return Ok(false);
        }
        let begun = Instant::now();
        let mut figures = Figures::default();
        let NewFileContext { numbers, columns: registries } = self.ask(Command::NewFile).await?;
        let tables: PerTable<Option<Compacted>> = per_table!(
            kind in PerTable::<Kind>::default(), inputs in chosen, columns in registries => match inputs {
                Some(inputs) => {
                    figures.add(kind.name(), &inputs);
                    let merging = figures.merging(&inputs, self.environment.now());
                    let _told = self.work.begins(Arc::clone(&merging));
                    let written = compaction::write(&self.environment, inputs, (numbers, columns), &merging);
                    let compacted = written.await?;
                    figures.bytes += compacted.bytes();
                    Some(compacted)
                }
                None => None,
            }
        );
        drop(snapshot);
        let replaced = self.ask(|reply| Command::Compact(Box::new(Compaction { tables, reply }))).await??;
        replaced.iter().for_each(|file| self.retired.add(&file.file));
        self.work.compacted(replaced.len(), figures.bytes);
        let seconds = begun.elapsed().as_secs_f64();
        tracing::info!(files = replaced.len(), rows = figures.rows, level = figures.level, seconds, "files are merged");
        Ok(true)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, StoreError> {
        let ended = || StoreError::Unavailable("the store takes no more changes".to_owned());
        let (reply, answer) = oneshot::channel();
        let sender = self.commands.upgrade().ok_or_else(ended)?;
        sender.send(command(reply)).await.map_err(|_| ended())?;
        drop(sender);
        answer.await.map_err(|_| ended())
    }
}

#[derive(Default)]
struct Figures {
    table: &'static str,
    rows: u64,
    level: u32,
    /// Written.
    bytes: u64,
}

impl Figures {
    fn merging(&self, inputs: &Inputs, since: EpochMillis) -> Arc<Merging> {
        Merging::new(self.table, inputs.files.len(), self.level, self.rows, since)
    }

    fn add(&mut self, table: &'static str, inputs: &Inputs) {
        self.table = table;
        self.rows += inputs.files.iter().map(|file| u64::from(file.file.rows) - file.deleted.len()).sum::<u64>();
        self.level = inputs.level;
    }
}

/// With the rows that are deleted as of the manifest: what only the log deletes so far is not for ever.
fn choose<R: TableRow>(
    manifest: &Manifest,
    kind: Kind<R>,
    table: &TableSnapshot<R>,
    (policy, due_before): (Policy, EpochMillis),
) -> Option<Inputs> {
    let stored = manifest.tables.get(kind.name())?;
    let siblings: Vec<&StoredTable> = [MESSAGES, Table::SemanticThreads.name()]
        .into_iter()
        .filter(|_| R::TABLE == Table::Conversations)
        .filter_map(|name| manifest.tables.get(name))
        .collect();
    let candidate = |file: &Arc<StoredFile>| {
        let entry = &file.entry;
        let of_siblings = siblings.iter().filter_map(|table| table.files.get(&entry.id)).map(|file| file.entry.size);
        Candidate {
            id: entry.id,
            level: entry.level,
            rows: u64::from(entry.rows),
            deleted: file.deleted.len(),
            bytes: entry.size + of_siblings.sum::<u64>(),
            from: entry.times.map_or(EpochMillis(0), |times| times.from),
            erasure_due: file.erased.map(|erased| erased.oldest.at).filter(|since| *since <= due_before),
        }
    };
    let candidates: Vec<Candidate> = stored.files.values().map(candidate).collect();
    let Choice { files, level } = policy(&candidates)?;
    let input = |id| {
        let file = table.files.iter().find(|entry| entry.file.id == id)?;
        Some(FileSnapshot { file: Arc::clone(&file.file), deleted: Arc::clone(&stored.files.get(&id)?.deleted) })
    };
    // One of them may not be in the snapshot yet.
    let erased = files.iter().map(|id| stored.files.get(id).and_then(|file| file.erased)).collect();
    let files: Vec<FileSnapshot> = files.into_iter().map(input).collect::<Option<_>>()?;
    Some(Inputs { files, level, erased })
}
