//! What the handlers work on.

use std::sync::Arc;

use bytes::Bytes;

use super::http::route::Route;
use super::webapi::ConversationApi;
use super::{docs, openapi};
use crate::auth::secret::Secret;
use crate::query::engine::QueryEngine;
use crate::storage::store::Store;

pub(crate) struct Services {
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Arc<QueryEngine>,
    pub(crate) conversation_api: Arc<ConversationApi>,
    /// Of the store's own.
    pub(crate) secret: Arc<Secret>,
    pub(crate) reference: Reference,
}

/// What is said about the routes, made once.
pub(crate) struct Reference {
    /// JSON.
    pub(crate) openapi: Bytes,
    /// HTML.
    pub(crate) docs: Bytes,
}

impl Reference {
    pub(crate) fn of<S>(routes: &[Route<S>]) -> Self {
        let document = openapi::document(routes);
        Self { openapi: document.to_string().into(), docs: docs::page(&document).into() }
    }
}
