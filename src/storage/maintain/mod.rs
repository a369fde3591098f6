//! What runs beside requests, with what they leave of the machine.

pub(crate) mod absence;
pub(crate) mod collector;
pub(crate) mod compaction;
pub(crate) mod eraser;
pub(crate) mod idle;
pub(crate) mod log_deriver;
pub(crate) mod project_sizes;
pub(crate) mod takeover_watch;
pub(crate) mod text_indexer;
