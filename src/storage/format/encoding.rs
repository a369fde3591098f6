//! How columns are encoded in Parquet: what their entries say of their values.

use std::io::Write;

use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;

use super::arrow_types::ROW_COLUMN;
use super::columns::column::FlatRow;
use super::columns::field::{Field, FieldKind, Values};
use super::error::FileError;
use super::layout::{ColumnKind, Layout};

const MAX_ROW_GROUP_ROWS: usize = 65_536;
/// Encoded.
const MAX_ROW_GROUP_BYTES: usize = 128 << 20;
/// A point read decodes one page per column.
const MAX_PAGE_ROWS: usize = 2_048;
const MAX_PAGE_BYTES: usize = 256 << 10;
/// Of raw JSON and message contents.
const MAX_TEXT_PAGE_BYTES: usize = 64 << 10;
/// Of ids, and of what is known by them: each re-log reads some of their rows.
const MAX_ID_PAGE_BYTES: usize = 8 << 10;
/// Rows after which a page's size is looked at.
const WRITE_BATCH_ROWS: usize = 256;
/// A point read needs the whole dictionary of a column.
const MAX_DICTIONARY_BYTES: usize = 64 << 10;
/// A string's bytes in statistics; maxima are rounded up when cut.
const MAX_STATISTICS_BYTES: usize = 64;

/// Without the Arrow schema in the footer: with it PyArrow reads strings as `string_view`, which most of its functions
/// (26.0) refuse. The Parquet types say the rest; readers here ask for the types of [`super::arrow_types`].
pub(crate) fn arrow_writer<R: FlatRow, W: Write + Send>(
    sink: W,
    schema: &SchemaRef,
    columns: &Layout,
) -> Result<ArrowWriter<W>, FileError> {
    let properties = writer_properties::<R>(columns);
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    Ok(ArrowWriter::try_new_with_options(sink, schema.clone(), options)?)
}

fn writer_properties<R: FlatRow>(columns: &Layout) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(concat!("convolake ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(MAX_ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(MAX_ROW_GROUP_BYTES))
        .set_data_page_row_count_limit(MAX_PAGE_ROWS)
        .set_write_batch_size(WRITE_BATCH_ROWS)
        .set_data_page_size_limit(MAX_PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(MAX_STATISTICS_BYTES))
        .set_column_index_truncate_length(Some(MAX_STATISTICS_BYTES))
        .set_column_dictionary_enabled(path(ROW_COLUMN), false);
    for column in R::COLUMNS.iter().filter(|column| column.field.stored) {
        builder = plain_column(builder, &column.field);
    }
    for column in &columns.columns {
        builder = match column.kind {
            ColumnKind::String | ColumnKind::NumberText => plain_text(builder, &column.name),
            ColumnKind::Number | ColumnKind::Boolean => builder,
        };
    }
    builder.build()
}

fn plain_column(mut builder: WriterPropertiesBuilder, field: &Field) -> WriterPropertiesBuilder {
    let name = field.column();
    let is_text = matches!(field.kind, FieldKind::Text | FieldKind::Json | FieldKind::Binary);
    if field.values != Values::Repeated {
        let is_id = field.kind == FieldKind::Binary || (field.values != Values::Long && field.kind == FieldKind::Text);
        let page_bytes = if is_id { MAX_ID_PAGE_BYTES } else { MAX_TEXT_PAGE_BYTES };
        builder = builder
            .set_column_dictionary_enabled(value_path(field), false)
            .set_column_data_page_size_limit(value_path(field), page_bytes);
    } else if is_text {
        builder = builder.set_column_dictionary_page_size_limit(path(&name), MAX_DICTIONARY_BYTES);
    }
    if field.values == Values::Prefixed {
        builder = builder.set_column_encoding(path(&name), Encoding::DELTA_BYTE_ARRAY);
    } else if is_text {
        builder = plain_text(builder, &name);
    } else if field.kind == FieldKind::Time {
        builder = builder.set_column_dictionary_enabled(path(&name), false);
    }
    if field.sorted {
        builder = builder.set_column_statistics_enabled(path(&name), EnabledStatistics::Page);
    }
    builder
}

/// Version 2's default, DELTA_BYTE_ARRAY, cannot be read as views into the page.
fn plain_text(builder: WriterPropertiesBuilder, name: &str) -> WriterPropertiesBuilder {
    builder.set_column_encoding(path(name), Encoding::PLAIN)
}

/// Of the column that has the values.
fn value_path(field: &Field) -> ColumnPath {
    let inner: &[&str] = match field.kind {
        FieldKind::TextList => &["list", "element"],
        _ => &[],
    };
    let inner = inner.iter().map(|part| (*part).to_owned());
    ColumnPath::new(std::iter::once(field.column()).chain(inner).collect())
}

/// Of a column at the root: its name is one part, dots and all.
fn path(name: &str) -> ColumnPath {
    ColumnPath::new(vec![name.to_owned()])
}
