//! The tables by name.

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
}
