//! Stored rows back out of Parquet files. The typed property columns are not read: the raw JSON is exact.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::RowSelectionPolicy;
use serde_json::value::RawValue;

use super::columns::column::{FlatRow, Set};
use super::columns::field::Field;
use super::columns::messages::MessageRow;
use super::error::FileError;
use super::layout::FormatVersion;
use super::parquet_file::ParquetFile;
use super::points::{PointRead, Points};
use crate::model::conversation::Conversation;
use crate::model::ids::EpochMillis;

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 8_192;

/// The conversations at `rows` of `file`, each with the rows of its messages, in the order given.
pub(crate) async fn read_conversations(
    store: &Arc<dyn ObjectStore>,
    file: &Arc<ParquetFile>,
    messages: &Arc<ParquetFile>,
    rows: &[(u32, Range<u32>)],
) -> Result<Vec<Conversation>, FileError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let own = rows.iter().map(|(row, _)| *row..row.saturating_add(1)).collect();
    let of_messages = rows.iter().map(|(_, range)| range.clone()).collect();
    let own = read_back::<Conversation>(store, file, own);
    let of_messages = read_back::<MessageRow>(store, messages, of_messages);
    let (mut conversations, of_messages) = futures::try_join!(own, of_messages)?;
    let mut of_messages = of_messages.into_iter();
    for (conversation, (_, range)) in conversations.iter_mut().zip(rows) {
        for stored in of_messages.by_ref().take(range.len()) {
            // An index beside the file named its row.
            if stored.conversation_id != conversation.id.as_str() || stored.position < 0 {
                let (own, other) = (&stored.conversation_id, &conversation.id);
                let reason = format!("a message of {own} stands where one of {other} should");
                return Err(FileError::Damaged { path: messages.path.clone(), reason });
            }
            conversation.messages.push(stored.message);
        }
    }
    Ok(conversations)
}

/// A column to read, and what its values do to a row.
pub(crate) struct Read<'a, B> {
    pub(crate) field: &'a Field,
    pub(crate) set: &'a Set<B>,
}

/// What is read back of the rows in `wanted`, in its order.
pub(crate) async fn read_back<R: FlatRow>(
    store: &Arc<dyn ObjectStore>,
    file: &Arc<ParquetFile>,
    wanted: Vec<Range<u32>>,
) -> Result<Vec<R::Back>, FileError> {
    let columns = R::COLUMNS.iter().filter(|column| !column.set.is_nothing());
    let columns: Vec<_> = columns.map(|column| Read { field: &column.field, set: &column.set }).collect();
    read_columns(store, file, wanted, &columns, R::blank).await
}

/// The rows in `wanted`, in its order, made of some columns.
pub(crate) async fn read_columns<B>(
    store: &Arc<dyn ObjectStore>,
    file: &Arc<ParquetFile>,
    wanted: Vec<Range<u32>>,
    columns: &[Read<'_, B>],
    blank: impl Fn() -> B,
) -> Result<Vec<B>, FileError> {
    let names: Vec<String> = columns.iter().map(|column| column.field.column()).collect();
    let policy = RowSelectionPolicy::Selectors;
    let how = PointRead { columns: &names, batch_rows: BATCH_ROWS, budget: None, policy };
    let read = Points::read(store, file, wanted.clone(), &how).await?;
    let read = read.ok_or_else(|| FileError::Aborted { path: file.path.clone() })?;
    let mut places = Vec::new();
    for range in wanted.into_iter().filter(|range| !range.is_empty()) {
        // What was asked as one range was read as one.
        let start = read.index(range.start)?;
        places.extend(start..start + range.len());
    }
    let mut rows: Vec<B> = places.iter().map(|_| blank()).collect();
    for column in columns {
        set_column(column, &read, &places, &mut rows)?;
    }
    Ok(rows)
}

/// Sets a column of each row from its place in what was read.
fn set_column<B>(column: &Read<'_, B>, read: &Points, places: &[usize], rows: &mut [B]) -> Result<(), FileError> {
    let name = column.field.name;
    let Some(array) = read.batch.column_by_name(&column.field.column()) else {
        let may_lack = column.field.since > FormatVersion::FIRST;
        return if may_lack { Ok(()) } else { Err(read.damaged(format!("no column {name}"))) };
    };
    let wrong_type = || read.damaged(format!("column {name} is of another type"));
    let values = Stored { array, places, required: column.field.required, name, read };
    match column.set {
        Set::Nothing => Ok(()),
        Set::Text(set) => {
            let texts = array.as_string_opt::<i32>().ok_or_else(wrong_type)?;
            values.each(rows, |row, place| {
                set(row, texts.value(place));
                Ok(())
            })
        }
        Set::Checked(set) => {
            let texts = array.as_string_opt::<i32>().ok_or_else(wrong_type)?;
            values.each(rows, |row, place| match set(row, texts.value(place)) {
                true => Ok(()),
                false => Err(read.damaged(format!("unknown {name} {}", texts.value(place)))),
            })
        }
        Set::Json(set) => {
            let texts = array.as_string_opt::<i32>().ok_or_else(wrong_type)?;
            values.each(rows, |row, place| {
                let json = RawValue::from_string(texts.value(place).to_owned());
                set(row, json.map_err(|error| read.damaged(format!("raw JSON: {error}")))?);
                Ok(())
            })
        }
        Set::Time(set) => {
            let times = array.as_primitive_opt::<TimestampMillisecondType>().ok_or_else(wrong_type)?;
            values.each(rows, |row, place| {
                set(row, EpochMillis(times.value(place)));
                Ok(())
            })
        }
        Set::Integer(set) => {
            let integers = array.as_primitive_opt::<Int64Type>().ok_or_else(wrong_type)?;
            values.each(rows, |row, place| {
                set(row, integers.value(place));
                Ok(())
            })
        }
        Set::Bytes(set) => {
            let bytes = array.as_binary_opt::<i32>().ok_or_else(wrong_type)?;
            values.each(rows, |row, place| match set(row, bytes.value(place)) {
                true => Ok(()),
                false => Err(read.damaged(format!("column {name} holds what nothing makes"))),
            })
        }
        Set::TextList(set) => {
            let lists = array.as_list_opt::<i32>().ok_or_else(wrong_type)?;
            values.each(rows, |row, place| {
                let elements = lists.value(place);
                let elements = elements.as_string_opt::<i32>().ok_or_else(wrong_type)?;
                set(row, elements.iter().flatten().map(str::to_owned).collect());
                Ok(())
            })
        }
    }
}

/// The values of one column at the places of the rows.
struct Stored<'a> {
    array: &'a ArrayRef,
    places: &'a [usize],
    required: bool,
    name: &'a str,
    read: &'a Points,
}

impl Stored<'_> {
    /// Calls `set` for each row that has a value.
    fn each<B>(
        &self,
        rows: &mut [B],
        mut set: impl FnMut(&mut B, usize) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        for (row, place) in rows.iter_mut().zip(self.places) {
            if !self.array.is_null(*place) {
                set(row, *place)?;
            } else if self.required {
                return Err(self.read.damaged(format!("null in column {}, which has none", self.name)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{ParquetReadOptions, SessionContext};
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;

    use super::*;
    use crate::cache::Cache;
    use crate::model::ids::{OrganizationId, ProjectId};
    use crate::storage::format::flatten::test_support::random_conversation;
    use crate::storage::format::footer;
    use crate::storage::format::parquet_file::Blocks;
    use crate::storage::format::registry::{ColumnRegistry, PathCounts};
    use crate::storage::format::schema::rows_schema;
    use crate::storage::format::writer::{SiblingPaths, WrittenFile, WrittenRows, sibling_parts, write_siblings};

    struct Pair {
        store: Arc<dyn ObjectStore>,
        main: WrittenRows,
        messages: WrittenFile,
        blocks: [Vec<u64>; 2],
        /// The rows of each conversation's messages.
        ranges: Vec<Range<u32>>,
    }

    async fn written(conversations: &[Arc<Conversation>]) -> Pair {
        let registry = ColumnRegistry::default();
        let mut counts = PathCounts::new(&registry);
        // As if all were one project's: the rows are in no order.
        let project = (OrganizationId::new("o"), ProjectId::new("p"));
        conversations.iter().for_each(|row| counts.add(&project, row.as_ref()).unwrap());
        let columns = registry.choose(counts.finish()).layout;
        assert!(!columns.columns.is_empty());
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let all = Arc::new(conversations.to_vec());
        let paths = SiblingPaths { conversations: "c".into(), messages: "m".into(), threads: "t".into() };
        let written = write_siblings(&store, paths, sibling_parts(&all), columns).await.unwrap();
        let blocks = [written.conversations.blocks, written.messages.blocks];
        let (main, messages) = (written.conversations.content, written.messages.content.file);
        let mut rows = 0;
        let ranges = conversations.iter().map(|conversation| {
            rows += conversation.messages.len() as u32;
            rows - conversation.messages.len() as u32..rows
        });
        Pair { store, main, messages, blocks, ranges: ranges.collect() }
    }

    impl Pair {
        /// With `fresh`, the footers are read from the store.
        fn files(&self, fresh: bool) -> [Arc<ParquetFile>; 2] {
            let cache = Cache::new(1 << 20);
            let file = |path: &str, written: &WrittenFile, blocks: &Vec<u64>| {
                let file = ParquetFile::new(path.into(), written.size, Blocks::Known(blocks.clone()), &cache);
                if !fresh {
                    file.keep_footer(blocks.clone(), written.metadata.clone()).unwrap();
                }
                Arc::new(file)
            };
            [file("c", &self.main.file, &self.blocks[0]), file("m", &self.messages, &self.blocks[1])]
        }
    }

    fn text(conversation: &Conversation) -> String {
        serde_json::to_string(conversation).unwrap()
    }

    #[tokio::test]
    async fn conversations_come_back_as_they_were() {
        let mut rng = StdRng::seed_from_u64(7);
        let stored: Vec<_> = (0..9_000).map(|n| Arc::new(random_conversation(n, &mut rng))).collect();
        let pair = written(&stored).await;
        assert!(pair.main.file.metadata.offset_index().is_some());
        assert_eq!(footer::layout(&pair.main.file.metadata).unwrap(), pair.main.layout);
        assert_eq!(pair.store.head(&"c".into()).await.unwrap().size, pair.main.file.size);
        assert_eq!(pair.store.head(&"m".into()).await.unwrap().size, pair.messages.size);
        for fresh in [false, true] {
            let [file, messages] = pair.files(fresh);
            let mut wanted: Vec<u32> = (0..9_000).collect();
            wanted.shuffle(&mut rng);
            wanted.truncate(500);
            wanted.extend([0, 8_999, wanted[0]]);
            let rows: Vec<_> = wanted.iter().map(|&row| (row, pair.ranges[row as usize].clone())).collect();
            let read = read_conversations(&pair.store, &file, &messages, &rows).await.unwrap();
            assert_eq!(read.len(), wanted.len());
            for (read, row) in read.iter().zip(wanted) {
                assert_eq!(text(read), text(&stored[row as usize]));
            }
        }
        let [file, messages] = pair.files(false);
        let wrong = [(3, pair.ranges[4].clone())];
        assert!(read_conversations(&pair.store, &file, &messages, &wrong).await.is_err());
        let beyond = [(9_000, 0..1)];
        assert!(read_conversations(&pair.store, &file, &messages, &beyond).await.is_err());
    }

    #[tokio::test]
    async fn rows_are_found_in_every_row_group() {
        let mut rng = StdRng::seed_from_u64(8);
        let few: Vec<_> = (0..50).map(|n| Arc::new(random_conversation(n, &mut rng))).collect();
        let stored: Vec<_> = (0..70_000).map(|n| few[n % 50].clone()).collect();
        let pair = written(&stored).await;
        assert_eq!(pair.main.file.metadata.num_row_groups(), 2);
        let [file, messages] = pair.files(false);
        for wanted in [vec![65_535, 65_536], vec![69_999], vec![1], vec![65_536], (65_530..65_540).collect()] {
            let rows: Vec<_> = wanted.iter().map(|&row| (row, pair.ranges[row as usize].clone())).collect();
            let read = read_conversations(&pair.store, &file, &messages, &rows).await.unwrap();
            for (read, row) in read.iter().zip(wanted) {
                assert_eq!(text(read), text(&stored[row as usize]));
            }
        }
        // DataFusion, told the table's schema, reads exactly its types.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.parquet");
        std::fs::write(&path, pair.store.get(&"c".into()).await.unwrap().bytes().await.unwrap()).unwrap();
        let schema = rows_schema::<Conversation>(&pair.main.layout);
        let options = ParquetReadOptions::default().schema(&schema);
        let frame = SessionContext::new().read_parquet(path.to_str().unwrap(), options).await.unwrap();
        let batches = frame.limit(65_000, Some(1_000)).unwrap().collect().await.unwrap();
        assert!(batches.iter().all(|batch| batch.schema().fields().iter().eq(schema.fields().iter())));
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1_000);
        // What the footer says of the whole file.
        let statistics = &pair.main.file.statistics;
        let created = few.iter().map(|c| c.created_at.0);
        let time = |millis| datafusion::scalar::ScalarValue::TimestampMillisecond(millis, Some("UTC".into()));
        assert_eq!(statistics["created_at"].min, Some(time(created.clone().min())));
        assert_eq!(statistics["created_at"].max, Some(time(created.max())));
        assert_eq!(statistics["id"].null_count, Some(0));
        assert!(statistics.contains_key("properties_plan") && !statistics.contains_key("properties"));
    }
}
