//! Classic checkpoints: one Parquet file with a row per action of the reconciled state.
//!
//! Rows go through `arrow`'s JSON reader and writer, so the schema below and the serde types of the actions are all
//! that says how an action lies in columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Serialize;

use super::actions::{Action, ActionLine, parse_lines};
use super::state::TableState;

/// Rows carry their file's layout, which may be 100 KB.
const BATCH_ROWS: usize = 512;

/// `_last_checkpoint`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hint {
    version: u64,
    size: u64,
    size_in_bytes: u64,
    num_of_add_files: u64,
}

fn column(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn strings(names: &[&str]) -> Vec<Field> {
    names.iter().map(|name| column(name, DataType::Utf8)).collect()
}

fn string_map() -> DataType {
    let entry = [Field::new("key", DataType::Utf8, false), column("value", DataType::Utf8)];
    let entries = Field::new("key_value", DataType::Struct(Fields::from_iter(entries_of(entry))), false);
    DataType::Map(Arc::new(entries), false)
}

fn entries_of(fields: [Field; 2]) -> impl Iterator<Item = FieldRef> {
    fields.into_iter().map(Arc::new)
}

fn string_list() -> DataType {
    DataType::List(Arc::new(column("element", DataType::Utf8)))
}

fn group(fields: impl IntoIterator<Item = Field>) -> DataType {
    DataType::Struct(fields.into_iter().map(Arc::new).collect())
}

fn schema() -> Arc<Schema> {
    let long = |name| column(name, DataType::Int64);
    let integer = |name| column(name, DataType::Int32);
    let flag = |name| column(name, DataType::Boolean);
    let deletion_vector = || {
        let mut fields = strings(&["storageType", "pathOrInlineDv"]);
        fields.extend([integer("offset"), integer("sizeInBytes"), long("cardinality")]);
        column("deletionVector", group(fields))
    };
    let format = group([column("provider", DataType::Utf8), column("options", string_map())]);
    let mut meta_data = strings(&["id", "name", "description"]);
    meta_data.extend([
        column("format", format),
        column("schemaString", DataType::Utf8),
        column("partitionColumns", string_list()),
        column("configuration", string_map()),
        long("createdTime"),
    ]);
    let protocol = [
        integer("minReaderVersion"),
        integer("minWriterVersion"),
        column("readerFeatures", string_list()),
        column("writerFeatures", string_list()),
    ];
    let add = [
        column("path", DataType::Utf8),
        column("partitionValues", string_map()),
        long("size"),
        long("modificationTime"),
        flag("dataChange"),
        column("stats", DataType::Utf8),
        column("tags", string_map()),
        deletion_vector(),
    ];
    let remove = [
        column("path", DataType::Utf8),
        long("deletionTimestamp"),
        flag("dataChange"),
        flag("extendedFileMetadata"),
        column("partitionValues", string_map()),
        long("size"),
        deletion_vector(),
    ];
    Arc::new(Schema::new(vec![
        column("txn", group([column("appId", DataType::Utf8), long("version"), long("lastUpdated")])),
        column("add", group(add)),
        column("remove", group(remove)),
        column("metaData", group(meta_data)),
        column("protocol", group(protocol)),
    ]))
}

/// `dataChange` is false throughout: a checkpoint repeats what commits have changed.
fn lines(state: &TableState) -> impl Iterator<Item = ActionLine> {
    let protocol =
        state.protocol.iter().map(|protocol| ActionLine { protocol: Some(protocol.clone()), ..ActionLine::default() });
    let meta_data = state
        .meta_data
        .iter()
        .map(|meta_data| ActionLine { meta_data: Some(meta_data.as_ref().clone()), ..ActionLine::default() });
    let txns = state.transactions.values().map(|txn| ActionLine { txn: Some(txn.clone()), ..ActionLine::default() });
    let adds = state.files.values().map(|add| {
        let mut add = add.as_ref().clone();
        add.data_change = false;
        ActionLine { add: Some(add), ..ActionLine::default() }
    });
    let removes = state.tombstones.values().map(|remove| {
        let mut remove = remove.clone();
        remove.data_change = false;
        ActionLine { remove: Some(remove), ..ActionLine::default() }
    });
    protocol.chain(meta_data).chain(txns).chain(adds).chain(removes)
}

/// The checkpoint's Parquet file and the hint that names it.
pub(crate) fn encode(state: &TableState) -> Result<(Vec<u8>, Hint), String> {
    encode_rows(state).map_err(|error| format!("checkpoint {}: {error}", state.version))
}

fn encode_rows(state: &TableState) -> Result<(Vec<u8>, Hint), Box<dyn std::error::Error>> {
    let schema = schema();
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
    let mut decoder = ReaderBuilder::new(schema).with_batch_size(BATCH_ROWS).build_decoder()?;
    let mut size = 0;
    let mut lines = lines(state).peekable();
    while lines.peek().is_some() {
        let batch: Vec<ActionLine> = lines.by_ref().take(BATCH_ROWS).collect();
        size += batch.len() as u64;
        decoder.serialize(&batch)?;
        if let Some(batch) = decoder.flush()? {
            writer.write(&batch)?;
        }
    }
    let object = writer.into_inner()?;
    let size_in_bytes = object.len() as u64;
    let num_of_add_files = state.files.len() as u64;
    Ok((object, Hint { version: state.version, size, size_in_bytes, num_of_add_files }))
}

pub(crate) fn decode(object: Bytes) -> Result<Vec<Action>, String> {
    let text = decode_rows(object).map_err(|error| error.to_string())?;
    parse_lines(&text)
}

fn decode_rows(object: Bytes) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut text = LineDelimitedWriter::new(Vec::new());
    for batch in ParquetRecordBatchReaderBuilder::try_new(object)?.build()? {
        text.write(&batch?)?;
    }
    text.finish()?;
    Ok(text.into_inner())
}
