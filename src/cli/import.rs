//! `convolake import`: history from NDJSON files straight into the store's files, without the write-ahead log.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::descriptors;
use super::error::{CliError, ImportError};
use crate::config::ImportArguments;
use crate::model::document::{self, Document};
use crate::model::ids::{IntegrationId, OrganizationId, ProjectId};
use crate::model::origin::{Reach, Sender};
use crate::model::resolve::Identity;
use crate::storage::objects::open::open_environment;
use crate::storage::write::bulk::{BulkLoader, Counts, Loaded};
use crate::storage::write::progress::{ImportPart, Place};

/// A longer line is rejected, and skipped without being kept in memory.
const MAX_LINE_BYTES: usize = 16 << 20;
/// Lines are parsed in chunks of this size,
const CHUNK_LINES: usize = 4_096;
const CHUNK_BYTES: usize = 16 << 20;
const PARSED_AHEAD: usize = 6;
const BATCH_BYTES: usize = 160 << 20;
/// Rejected lines that are told one by one; the rest is only counted.
const REJECTED_SHOWN: u64 = 1_000;

pub(crate) async fn run(arguments: ImportArguments) -> Result<(), CliError> {
    descriptors::raise_limit();
    let (environment, local_root) = open_environment(&arguments.store.store)?;
    let id = environment.ids.in_order().to_string();
    let mut loader = BulkLoader::open(environment, local_root).await?;
    let runtime = tokio::runtime::Handle::current();
    let imported = tokio::task::spawn_blocking(move || {
        let defaults = ImportDefaults {
            organization_id: arguments.organization,
            project_id: arguments.project,
            integration_id: arguments.integration,
        };
        let run = ImportRun { id, files: arguments.files, defaults, batch_rows: arguments.batch_rows };
        let imported = import_files(&runtime, &mut loader, &run);
        // What was loaded stays, whatever ended the import.
        let finished = runtime.block_on(loader.finish());
        let report = imported?;
        finished?;
        Ok::<_, ImportError>(report)
    });
    let report = imported.await.map_err(|_| ImportError::Thread)??;
    println!("{report}");
    Ok(())
}

/// Where the documents of an import belong unless they say so themselves.
#[derive(Clone, Debug)]
pub(crate) struct ImportDefaults {
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: Option<ProjectId>,
    pub(crate) integration_id: Option<IntegrationId>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ImportReport {
    pub(crate) read: u64,
    pub(crate) counts: Counts,
    pub(crate) rejected: u64,
    pub(crate) elapsed: Duration,
}

impl std::fmt::Display for ImportReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        write!(
            f,
            "read {}, new {}, replaced {}, unchanged {}, rejected {}; {:.1} s, {:.0} rows/s",
            self.read,
            self.counts.new,
            self.counts.replaced,
            self.counts.unchanged,
            self.rejected,
            seconds,
            self.read as f64 / seconds.max(1e-9)
        )
    }
}

/// A line and where it stands.
struct Line {
    place: Place,
    text: Result<Vec<u8>, String>,
}

struct Parsed {
    place: Place,
    bytes: usize,
    document: Result<(Identity, Document), String>,
}

/// What is imported.
pub(crate) struct ImportRun {
    /// By which commits tell how far it is.
    pub(crate) id: String,
    /// `-` is standard input.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) defaults: ImportDefaults,
    /// Documents that are written as one file.
    pub(crate) batch_rows: usize,
}

/// Reads the files and loads them; rejected lines are reported on stderr and left out.
pub(crate) fn import_files(
    runtime: &tokio::runtime::Handle,
    loader: &mut BulkLoader,
    run: &ImportRun,
) -> Result<ImportReport, ImportError> {
    let (files, defaults) = (&run.files, &run.defaults);
    let started = Instant::now();
    let progress = Progress::new();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut report = ImportReport::default();
    let result = std::thread::scope(|scope| {
        let (line_sender, line_receiver) = mpsc::sync_channel::<Vec<Line>>(1);
        // While a batch is written, most of the next one is parsed.
        let (parsed_sender, parsed_receiver) = mpsc::sync_channel::<Vec<Parsed>>(PARSED_AHEAD);
        let reader = scope.spawn(move || read_all(files, &line_sender));
        scope.spawn(move || {
            while let Ok(chunk) = line_receiver.recv() {
                let Some(parsed) = parse_chunk(chunk, defaults, threads) else { return };
                if parsed_sender.send(parsed).is_err() {
                    return;
                }
            }
        });
        let loaded = load_all(runtime, loader, &parsed_receiver, run, &progress, &mut report);
        drop(parsed_receiver);
        let read = reader.join().map_err(|_| ImportError::Thread)?;
        loaded?;
        Ok(runtime.block_on(loader.end_import(&run.id, read?))?)
    });
    progress.finish();
    report.elapsed = started.elapsed();
    result.map(|()| report)
}

fn load_all(
    runtime: &tokio::runtime::Handle,
    loader: &mut BulkLoader,
    parsed: &mpsc::Receiver<Vec<Parsed>>,
    run: &ImportRun,
    progress: &Progress,
    report: &mut ImportReport,
) -> Result<(), ImportError> {
    let files = &run.files;
    let mut batch: Vec<(Identity, Document)> = Vec::new();
    let mut places: Vec<Place> = Vec::new();
    let mut end = Place::default();
    let mut bytes = 0;
    loop {
        let chunk = parsed.recv().ok();
        let ended = chunk.is_none();
        for line in chunk.into_iter().flatten() {
            report.read += 1;
            end = line.place;
            match line.document {
                Ok(document) => {
                    batch.push(document);
                    places.push(line.place);
                    bytes += line.bytes;
                }
                Err(reason) => reject(files, line.place, &reason, progress, report),
            }
        }
        if batch.len() >= run.batch_rows || bytes >= BATCH_BYTES || (ended && !batch.is_empty()) {
            let part = ImportPart { import: run.id.to_owned(), places: std::mem::take(&mut places), end };
            let loading = loader.load(std::mem::take(&mut batch), Some(&part));
            let Loaded { counts, rejected } = runtime.block_on(loading)?;
            report.counts += counts;
            for (index, reason) in rejected {
                if let Some(place) = part.places.get(index) {
                    reject(files, *place, &reason, progress, report);
                }
            }
            bytes = 0;
        }
        progress.show(report);
        if ended {
            return Ok(());
        }
    }
}

fn reject(files: &[PathBuf], place: Place, reason: &str, progress: &Progress, report: &mut ImportReport) {
    let Place { input, input_lines: line, .. } = place;
    report.rejected += 1;
    let name = files.get(input as usize).map_or_else(String::new, |path| path.display().to_string());
    if report.rejected <= REJECTED_SHOWN {
        progress.line(&format!("rejected {name}:{line}: {reason}"));
    } else if report.rejected == REJECTED_SHOWN + 1 {
        progress.line("more rejected lines are only counted");
    }
}

fn parse_chunk(chunk: Vec<Line>, defaults: &ImportDefaults, threads: usize) -> Option<Vec<Parsed>> {
    let share = chunk.len().div_ceil(threads).max(1);
    let mut lines = chunk.into_iter().peekable();
    let mut shares: Vec<Vec<Line>> = Vec::new();
    while lines.peek().is_some() {
        shares.push(lines.by_ref().take(share).collect());
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(|| share.into_iter().map(|line| parse_line(line, defaults)).collect::<Vec<_>>()))
            .collect();
        let mut parsed = Vec::new();
        for worker in workers {
            parsed.extend(worker.join().ok()?);
        }
        Some(parsed)
    })
}

fn parse_line(line: Line, defaults: &ImportDefaults) -> Parsed {
    let Line { place, text } = line;
    let bytes = text.as_ref().map_or(0, Vec::len);
    let document = text.and_then(|text| {
        let document = document::parse(&text).map_err(|error| error.to_string())?;
        let project_id = document.project_id.as_deref().map(ProjectId::new).or_else(|| defaults.project_id.clone());
        let Some(project_id) = project_id else {
            return Err("projectId: the document names none, and no --project was given".to_owned());
        };
        let integration_id =
            document.integration_id.as_deref().map(IntegrationId::new).or_else(|| defaults.integration_id.clone());
        let (organization_id, sender) = (defaults.organization_id.clone(), Sender::import());
        let reach = Reach::Everything;
        Ok((Identity { organization_id, project_id, integration_id, sender, reach }, document))
    });
    Parsed { place, bytes, document }
}

/// Gives how far that is.
fn read_all(files: &[PathBuf], chunks: &mpsc::SyncSender<Vec<Line>>) -> Result<Place, ImportError> {
    let mut place = Place::default();
    for (input, path) in (0..).zip(files) {
        place = Place { input, input_lines: 0, ..place };
        let failed = |source| ImportError::Read { path: path.display().to_string(), source };
        let mut input = open(path).map_err(failed)?;
        let mut chunk = Vec::new();
        let mut bytes = 0;
        loop {
            let text = read_line(&mut input).map_err(failed)?;
            let ended = text.is_none();
            if let Some(text) = text {
                place = Place { lines: place.lines + 1, input_lines: place.input_lines + 1, ..place };
                let blank = text.as_ref().is_ok_and(|text| text.trim_ascii().is_empty());
                if !blank {
                    bytes += text.as_ref().map_or(0, Vec::len);
                    chunk.push(Line { place, text });
                }
            }
            if chunk.len() >= CHUNK_LINES || bytes >= CHUNK_BYTES || (ended && !chunk.is_empty()) {
                bytes = 0;
                if chunks.send(std::mem::take(&mut chunk)).is_err() {
                    return Ok(place);
                }
            }
            if ended {
                break;
            }
        }
    }
    Ok(place)
}

/// By the name's ending: `.zst`, `.gz`, else plain; `-` is standard input.
fn open(path: &Path) -> std::io::Result<Box<dyn BufRead + Send>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::with_capacity(1 << 20, std::io::stdin())));
    }
    let file = File::open(path)?;
    Ok(match path.extension().and_then(|ending| ending.to_str()) {
        Some("zst") => Box::new(BufReader::with_capacity(1 << 20, zstd::Decoder::new(file)?)),
        Some("gz") => Box::new(BufReader::with_capacity(1 << 20, flate2::read::MultiGzDecoder::new(file))),
        _ => Box::new(BufReader::with_capacity(1 << 20, file)),
    })
}

/// The next line without its end; `None` at the end of the input. A line that is too long is read to its end, not kept.
fn read_line(input: &mut Box<dyn BufRead + Send>) -> std::io::Result<Option<Result<Vec<u8>, String>>> {
    let mut line = Vec::new();
    let read = input.by_ref().take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(Ok(line)));
    }
    if line.len() <= MAX_LINE_BYTES {
        return Ok(Some(Ok(line)));
    }
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        let (used, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), false),
        };
        input.consume(used);
        if ended {
            break;
        }
    }
    Ok(Some(Err(format!("the line is longer than {MAX_LINE_BYTES} bytes"))))
}

/// A bar on a terminal, a plain line now and then elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    last: std::cell::Cell<Instant>,
}

impl Progress {
    fn new() -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Progress { bar, last: std::cell::Cell::new(Instant::now()) }
    }

    fn show(&self, report: &ImportReport) {
        let message = format!("{} read, {} rejected", report.read, report.rejected);
        match &self.bar {
            Some(bar) => bar.set_message(message),
            None if self.last.get().elapsed() >= Duration::from_secs(5) => {
                self.last.set(Instant::now());
                eprintln!("{message}");
            }
            None => {}
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
