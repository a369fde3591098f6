//! What an operator does to a store without a server: `status`, `compact`, `gc`.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};

use super::descriptors;
use super::error::CliError;
use crate::config::{CompactArguments, GcArguments, StatusArguments};
use crate::storage::maintain::eraser::Shares;
use crate::storage::objects::open::open_environment;
use crate::storage::store::status::{self, ErasureStatus, StoreStatus};
use crate::storage::store::{Store, StoreOptions};
use crate::storage::write::recovery::read_marker;

/// Of a store that takes no changes while it is open.
const OPTIONS: StoreOptions =
    StoreOptions { tail_bytes: 512 << 20, flush_rows: 50_000, flush_interval: Duration::from_secs(30) };

/// Merges until nothing is due.
pub(crate) async fn compact(arguments: &CompactArguments) -> Result<(), CliError> {
    let store = open(&arguments.store.store).await?;
    let shares = Shares { within: arguments.erase_within };
    let begun = Instant::now();
    let mut merges = 0;
    let result = loop {
        match store.compact_once(shares).await {
            Ok(true) => merges += 1,
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    store.shutdown().await?;
    result?;
    let files = store.snapshot().manifest.tables.values().map(|table| table.files.len()).sum::<usize>();
    let seconds = begun.elapsed().as_secs_f64();
    print(&format!("{merges} merges and rewrites in {seconds:.1} s; {files} data files are left"))
}

pub(crate) async fn collect(arguments: &GcArguments) -> Result<(), CliError> {
    let store = open(&arguments.store.store).await?;
    let (grace, shares) = (Duration::from_secs(arguments.gc_grace_seconds), Shares { within: arguments.erase_within });
    let result = store.collect_once(grace, shares, arguments.yes).await;
    store.shutdown().await?;
    let collected = result?;
    print(&format!("{} objects of {} bytes are deleted", collected.objects, collected.bytes))
}

pub(crate) async fn status(arguments: &StatusArguments) -> Result<(), CliError> {
    let location = &arguments.store.store;
    let (environment, _) = open_environment(location)?;
    let status = status::of_store(&environment, location).await?;
    if arguments.json {
        let json = serde_json::to_string(&status);
        return print(&json.map_err(|error| CliError::Argument(format!("the status cannot be written: {error}")))?);
    }
    print(&render(&status))
}

async fn open(location: &str) -> Result<Arc<Store>, CliError> {
    descriptors::raise_limit();
    let (environment, local_root) = open_environment(location)?;
    // A mistyped name must not become a store.
    read_marker(&environment, location).await?;
    Ok(Store::open(environment, local_root, &OPTIONS).await?)
}

fn print(text: &str) -> Result<(), CliError> {
    writeln!(std::io::stdout().lock(), "{text}")
        .map_err(|error| CliError::Io { what: "writing to stdout".to_owned(), error })
}

fn render(status: &StoreStatus) -> String {
    let at = status.commit_time.as_ref().map(|time| format!(" of {time}")).unwrap_or_default();
    let mut text = format!("commit {}{at}\n\n", status.commit);
    let mut tables = table(["TABLE", "FILES", "BY MERGES", "ROWS", "DELETED", "BYTES"]);
    for (name, table) in &status.tables {
        let levels: BTreeMap<u32, u64> = table.levels.iter().map(|(level, of)| (*level, of.files)).collect();
        let levels: Vec<String> = levels.iter().map(|(level, files)| format!("{level}:{files}")).collect();
        tables.add_row([
            (*name).to_owned(),
            table.files.to_string(),
            if levels.is_empty() { "-".to_owned() } else { levels.join(" ") },
            table.rows.to_string(),
            table.deleted_rows.map_or("-".to_owned(), |rows| rows.to_string()),
            table.bytes.to_string(),
        ]);
    }
    let mut objects = table(["OBJECTS", "COUNT", "BYTES"]);
    for (name, of_kind) in &status.objects {
        objects.add_row([(*name).to_owned(), of_kind.objects.to_string(), of_kind.bytes.to_string()]);
    }
    for (table, numbers) in [(&mut tables, 3..6), (&mut objects, 1..3)] {
        for column in numbers {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    text.push_str(&format!("{tables}\n\n{objects}\n\n"));
    text.push_str(&format!("in the log alone: {} rows", status.tail.rows));
    let ErasureStatus { waiting, done, files, oldest, .. } = &status.erasures;
    let since = oldest.as_ref().map(|time| format!(", the oldest of {time}")).unwrap_or_default();
    text.push_str(&format!(
        "\nerasures: {waiting} wait, {done} are done; {files} files hold deleted rows that must go{since}"
    ));
    for (id, import) in &status.imports {
        let state = if import.finished { "finished" } else { "not finished" };
        text.push_str(&format!("\nimport {id}: {} lines, {state}", import.lines));
    }
    text
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(header);
    table
}
