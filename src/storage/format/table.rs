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
