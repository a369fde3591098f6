//! The tables by name.

/// The rows of its files hang on those of conversations; queries do not read it by itself.
pub(crate) const MESSAGES: &str = "messages";
pub(crate) const MESSAGES_TIME_COLUMN: &str = "created_at";

/// What queries read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    Conversations,
    Events,
    Feedback,
    /// Theirs lie beside the files of their conversations, and are derived from the rows of the tail.
    SemanticThreads,
}

impl Table {
    /// Also the name of its folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Conversations => "conversations",
            Table::Events => "events",
            Table::Feedback => "feedback",
            Table::SemanticThreads => "semantic_threads",
        }
    }
    /// The column whose bounds say from when to when a file's rows are.
    pub(crate) fn time_column(self) -> &'static str {
        match self {
            Table::Conversations | Table::SemanticThreads => "first_message_time",
            Table::Events | Table::Feedback => "created_at",
        }
    }
}
