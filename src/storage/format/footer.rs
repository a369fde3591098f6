//! What a data file's footer tells beside what Parquet's own parts do: the layout of its columns, so that the sidecar
//! can be made again from the file.

use parquet::file::metadata::{KeyValue, ParquetMetaData};

use super::layout::Layout;

const LAYOUT: &str = "convolake.layout";

pub(crate) fn layout_entry(layout: &Layout) -> Result<KeyValue, serde_json::Error> {
    Ok(KeyValue::new(LAYOUT.to_owned(), serde_json::to_string(layout)?))
}

pub(crate) fn layout(footer: &ParquetMetaData) -> Result<Layout, String> {
    let entries = footer.file_metadata().key_value_metadata();
    let entry = entries.into_iter().flatten().find(|entry| entry.key == LAYOUT);
    let text = entry.and_then(|entry| entry.value.as_deref()).ok_or("its footer tells no layout")?;
    serde_json::from_str(text).map_err(|error| format!("the layout in its footer: {error}"))
}
