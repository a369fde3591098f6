//! Which threads have feedback (contract A4): looked up in the feedback of the same snapshot while a query is planned,
//! so that logging feedback changes no thread.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, ListArray, StringViewArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use futures::TryStreamExt;
use xxhash_rust::xxh3::Xxh3;

use super::column::ScanColumn;
use crate::storage::format::columns::threads::{HAS_NEGATIVE_FEEDBACK, HAS_POSITIVE_FEEDBACK};

/// What is read of feedback, in this order.
pub(crate) const FEEDBACK_COLUMNS: [ScanColumn; 4] = [
    ScanColumn::Plain("projectId"),
    ScanColumn::Plain("conversationId"),
    ScanColumn::Plain("messageId"),
    ScanColumn::Plain("type"),
];

/// What is read of threads for it, in the order of the function's arguments.
pub(crate) const THREAD_COLUMNS: [ScanColumn; 3] =
    [ScanColumn::Plain("projectId"), ScanColumn::Plain("conversationIds"), ScanColumn::Plain("messageIds")];

/// The type of feedback that a thread's column tells of.
pub(crate) fn marked_type(column: &ScanColumn) -> Option<&'static str> {
    match column {
        ScanColumn::Plain(HAS_POSITIVE_FEEDBACK) => Some("positive"),
        ScanColumn::Plain(HAS_NEGATIVE_FEEDBACK) => Some("negative"),
        _ => None,
    }
}

/// Messages of one organization that have feedback.
pub(crate) struct Marks {
    /// By [`message_hash`]: the types of feedback, a bit each.
    types: HashMap<u128, u8>,
    _reservation: MemoryReservation,
}

/// About what one message takes.
const ENTRY_BYTES: usize = 48;

impl Marks {
    /// Of a stream of [`FEEDBACK_COLUMNS`].
    pub(crate) async fn read(mut feedback: SendableRecordBatchStream, task: &TaskContext) -> Result<Marks> {
        let reservation = MemoryConsumer::new("feedback of threads").register(task.memory_pool());
        let mut types: HashMap<u128, u8> = HashMap::new();
        while let Some(batch) = feedback.try_next().await? {
            let [projects, conversations, messages, kinds] = batch.columns() else { return Err(wrong_type()) };
            let (projects, conversations) = (texts(projects.as_ref())?, texts(conversations.as_ref())?);
            let (messages, kinds) = (texts(messages.as_ref())?, texts(kinds.as_ref())?);
            let before = types.len();
            for row in 0..batch.num_rows() {
                // Without a conversation its message is dropped.
                if conversations.is_valid(row) {
                    let hash = message_hash(projects.value(row), conversations.value(row), messages.value(row));
                    *types.entry(hash).or_default() |= bit(kinds.value(row));
                }
            }
            reservation.try_grow((types.len() - before) * ENTRY_BYTES)?;
        }
        Ok(Marks { types, _reservation: reservation })
    }
}

fn bit(feedback_type: &str) -> u8 {
    match feedback_type {
        "positive" => 1,
        "negative" => 2,
        _ => 0,
    }
}

fn message_hash(project: &str, conversation: &str, message: &str) -> u128 {
    let mut hash = Xxh3::new();
    for part in [project, conversation, message] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.digest128()
}

/// Of [`THREAD_COLUMNS`]: whether a message of the thread has feedback of the type; never null.
pub(crate) fn has_feedback(marks: Arc<Marks>, feedback_type: &'static str) -> ScalarUDF {
    let name = format!("has_feedback[{feedback_type}]");
    ScalarUDF::new_from_impl(HasFeedback {
        name,
        bit: bit(feedback_type),
        marks,
        signature: Signature::any(THREAD_COLUMNS.len(), Volatility::Immutable),
    })
}

struct HasFeedback {
    name: String,
    bit: u8,
    marks: Arc<Marks>,
    signature: Signature,
}

impl std::fmt::Debug for HasFeedback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// Of one plan, so of one set of marks or another.
impl PartialEq for HasFeedback {
    fn eq(&self, other: &Self) -> bool {
        self.bit == other.bit && Arc::ptr_eq(&self.marks, &other.marks)
    }
}

impl Eq for HasFeedback {}

impl Hash for HasFeedback {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bit.hash(state);
        Arc::as_ptr(&self.marks).hash(state);
    }
}

impl ScalarUDFImpl for HasFeedback {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [projects, conversations, messages] = columns.as_slice() else { return Err(wrong_type()) };
        let projects = texts(projects.as_ref())?;
        let (conversations, messages) = (lists(conversations.as_ref())?, lists(messages.as_ref())?);
        let found = (0..projects.len()).map(|row| {
            let of_conversations = conversations.value(row);
            let of_messages = messages.value(row);
            let (of_conversations, of_messages) = (texts(of_conversations.as_ref())?, texts(of_messages.as_ref())?);
            let has = of_conversations.iter().flatten().any(|conversation| {
                of_messages.iter().flatten().any(|message| {
                    let hash = message_hash(projects.value(row), conversation, message);
                    self.marks.types.get(&hash).is_some_and(|types| types & self.bit != 0)
                })
            });
            Ok(Some(has))
        });
        Ok(ColumnarValue::Array(Arc::new(found.collect::<Result<BooleanArray>>()?)))
    }
}

fn texts(array: &dyn Array) -> Result<&StringViewArray> {
    array.as_string_view_opt().ok_or_else(wrong_type)
}

fn lists(array: &dyn Array) -> Result<&ListArray> {
    array.as_list_opt().ok_or_else(wrong_type)
}

fn wrong_type() -> datafusion::error::DataFusionError {
    internal_datafusion_err!("the feedback of threads is read from columns of other types")
}
