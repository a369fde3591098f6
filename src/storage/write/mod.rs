//! Writing. A [`change`] brings along what its sender found of stored rows ([`prefetch`]); the [`committer`] groups
//! changes, decides them ([`resolve`]; [`links`] ties events and feedback to conversations), logs them ([`logged`]) and
//! takes them into the [`state`] that it publishes. [`flush`] brings the tail into [`files`], [`bulk`] loads history past
//! the log, [`log_cleaner`] deletes what the files hold of it, [`derived`] tells other engines, [`recovery`] opens a store and [`replay`](mod@replay)s its log.

pub(crate) mod bulk;
pub(crate) mod change;
pub(crate) mod committer;
pub(crate) mod compaction;
pub(crate) mod derived;
pub(crate) mod erasing;
pub(crate) mod files;
pub(crate) mod flush;
pub(crate) mod links;
pub(crate) mod log_cleaner;
pub(crate) mod logged;
pub(crate) mod prefetch;
pub(crate) mod progress;
pub(crate) mod recovery;
pub(crate) mod replay;
pub(crate) mod resolve;
pub(crate) mod state;
pub(crate) mod texts;
pub(crate) mod work;
