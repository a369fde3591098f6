//! The conversation API, `/webapi/v2` (contract Part B): another face of the same stored conversations.
//!
//! - [`actor`]: in whose name a call is made, and so what it sees; [`filters`]: the same and the parameters of lists as
//!   filters of the query language.
//! - [`listing`]: lists and their [`cursor`]s; [`daily`]: counts by day.
//! - [`single`]: one conversation and its chats, found by [`lookup`]; [`shape`]: how both look.
//! - [`changes`], [`categories`], [`ratings`]: what this API sets; [`body`]: reading it; [`answer`]: what comes back.

use std::sync::Arc;

use crate::auth::secret::Secret;
use crate::environment::Environment;
use crate::query::search::list::Searches;
use crate::storage::categories::Categories;

mod actor;
mod answer;
mod body;
pub(crate) mod categories;
pub(crate) mod changes;
pub(crate) mod cursor;
pub(crate) mod daily;
mod filters;
pub(crate) mod listing;
mod lookup;
pub(crate) mod ratings;
pub(crate) mod shape;
pub(crate) mod single;

/// What only the conversation API needs.
pub(crate) struct ConversationApi {
    secret: Arc<Secret>,
    categories: Categories,
    searches: Searches,
}

impl ConversationApi {
    pub(crate) fn new(environment: Environment, secret: Arc<Secret>) -> Self {
        Self { secret, categories: Categories::new(environment), searches: Searches::default() }
    }
}
