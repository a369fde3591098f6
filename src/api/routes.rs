//! Every route, once: the router is made from this table, and tests walk it.

use axum::http::Method;

use super::analytics::{
    conversations, erasures, events, exports, feedback, projects, properties, queries, search_analytics, threads,
};
use super::http::route::{Handler, Route};
use super::public;
use super::services::Services;
use super::webapi::{categories, changes, daily, listing, ratings, single};
use crate::auth::scopes::Access;

const fn route(method: Method, path: &'static str, access: Access, handler: Handler<Services>) -> Route<Services> {
    Route { method, path, access, handler }
}

pub(crate) static ROUTES: &[Route<Services>] = &[
    route(Method::GET, "/health", Access::Public, |services, call| Box::pin(public::health(services, call))),
    route(Method::GET, "/ready", Access::Public, |services, call| Box::pin(public::ready(services, call))),
    route(Method::GET, "/status", Access::Operators, |services, call| Box::pin(public::status(services, call))),
    route(Method::GET, "/openapi.json", Access::Public, |services, call| Box::pin(public::openapi(services, call))),
    route(Method::GET, "/docs", Access::Public, |services, call| Box::pin(public::docs(services, call))),
    route(Method::POST, "/conversations", Access::Everyone, |services, call| {
        Box::pin(conversations::log(services, call))
    }),
    route(Method::GET, "/conversations", Access::Readers, |services, call| {
        Box::pin(conversations::list(services, call))
    }),
    route(Method::GET, "/conversations/{id}", Access::Everyone, |services, call| {
        Box::pin(conversations::get(services, call))
    }),
    route(Method::DELETE, "/conversations/{id}", Access::Everyone, |services, call| {
        Box::pin(conversations::delete(services, call))
    }),
    route(Method::GET, "/conversations/external/{externalId}", Access::Readers, |services, call| {
        Box::pin(conversations::get_external(services, call))
    }),
    route(Method::POST, "/events", Access::Everyone, |services, call| Box::pin(events::log(services, call))),
    route(Method::DELETE, "/events/{id}", Access::Readers, |services, call| Box::pin(events::delete(services, call))),
    route(Method::POST, "/feedback", Access::Everyone, |services, call| Box::pin(feedback::log(services, call))),
    route(Method::GET, "/feedback", Access::Readers, |services, call| Box::pin(feedback::list(services, call))),
    route(Method::GET, "/feedback/{id}", Access::Readers, |services, call| Box::pin(feedback::get(services, call))),
    route(Method::DELETE, "/feedback/{id}", Access::Readers, |services, call| {
        Box::pin(feedback::delete(services, call))
    }),
    route(Method::POST, "/query/conversations", Access::Queriers, |services, call| {
        Box::pin(queries::conversations(services, call))
    }),
    route(Method::POST, "/query/conversations/export", Access::Readers, |services, call| {
        Box::pin(exports::conversations(services, call))
    }),
    route(Method::POST, "/query/events/export", Access::Readers, |services, call| {
        Box::pin(exports::events(services, call))
    }),
    route(Method::POST, "/query/feedback/export", Access::Readers, |services, call| {
        Box::pin(exports::feedback(services, call))
    }),
    route(Method::POST, "/query/property-keys", Access::Readers, |services, call| {
        Box::pin(properties::keys(services, call))
    }),
    route(Method::POST, "/query/property-values", Access::Readers, |services, call| {
        Box::pin(properties::values(services, call))
    }),
    route(Method::GET, "/query/top-search-queries", Access::Readers, |services, call| {
        Box::pin(search_analytics::top_search_queries(services, call))
    }),
    route(Method::GET, "/query/weekly-search-users", Access::Readers, |services, call| {
        Box::pin(search_analytics::weekly_search_users(services, call))
    }),
    route(Method::POST, "/query/events", Access::Readers, |services, call| Box::pin(queries::events(services, call))),
    route(Method::POST, "/query/feedback", Access::Readers, |services, call| {
        Box::pin(queries::feedback(services, call))
    }),
    route(Method::POST, "/query/semantic-threads", Access::Readers, |services, call| {
        Box::pin(queries::semantic_threads(services, call))
    }),
    route(Method::POST, "/query/semantic-threads/export", Access::Readers, |services, call| {
        Box::pin(exports::semantic_threads(services, call))
    }),
    route(Method::PATCH, "/semantic-threads/{id}", Access::Readers, |services, call| {
        Box::pin(threads::annotate(services, call))
    }),
    route(Method::POST, "/erase", Access::Readers, |services, call| Box::pin(erasures::erase(services, call))),
    route(Method::GET, "/erase/{id}", Access::Readers, |services, call| Box::pin(erasures::get(services, call))),
    route(Method::PUT, "/projects/{id}", Access::Operators, |services, call| Box::pin(projects::set(services, call))),
    route(Method::GET, "/projects/{id}", Access::Operators, |services, call| Box::pin(projects::get(services, call))),
    route(Method::GET, "/webapi/v2/conversations", Access::ConversationApi, |services, call| {
        Box::pin(listing::list(services, call))
    }),
    route(Method::POST, "/webapi/v2/conversations/bulk_update", Access::ConversationApi, |services, call| {
        Box::pin(changes::bulk_update(services, call))
    }),
    route(Method::GET, "/webapi/v2/conversations/daily_count", Access::ConversationApi, |services, call| {
        Box::pin(daily::count(services, call))
    }),
    route(Method::GET, "/webapi/v2/conversations/{id}", Access::ConversationApi, |services, call| {
        Box::pin(single::get(services, call))
    }),
    route(Method::PUT, "/webapi/v2/conversations/{id}", Access::ConversationApi, |services, call| {
        Box::pin(changes::update(services, call))
    }),
    route(Method::PATCH, "/webapi/v2/conversations/{id}", Access::ConversationApi, |services, call| {
        Box::pin(changes::update(services, call))
    }),
    route(Method::DELETE, "/webapi/v2/conversations/{id}", Access::ConversationApi, |services, call| {
        Box::pin(changes::delete(services, call))
    }),
    route(Method::GET, "/webapi/v2/conversations/{id}/chats", Access::ConversationApi, |services, call| {
        Box::pin(single::chats(services, call))
    }),
    route(Method::GET, "/webapi/v2/conversations/{id}/chats/{chatId}", Access::ConversationApi, |services, call| {
        Box::pin(single::chat(services, call))
    }),
    route(
        Method::POST,
        "/webapi/v2/conversations/{id}/chats/{chatId}/feedback",
        Access::ConversationApi,
        |services, call| Box::pin(ratings::rate(services, call)),
    ),
    route(Method::GET, "/webapi/v2/conversations/{id}/running", Access::ConversationApi, |services, call| {
        Box::pin(single::running(services, call))
    }),
    route(Method::POST, "/webapi/v2/conversations/{id}/stop", Access::ConversationApi, |services, call| {
        Box::pin(changes::stop(services, call))
    }),
    route(Method::POST, "/webapi/v2/conversations/{id}/end", Access::ConversationApi, |services, call| {
        Box::pin(changes::end(services, call))
    }),
    route(Method::PUT, "/webapi/v2/conversations/{id}/title", Access::ConversationApi, |services, call| {
        Box::pin(changes::set_title(services, call))
    }),
    route(Method::POST, "/webapi/v2/conversations/{id}/title", Access::ConversationApi, |services, call| {
        Box::pin(changes::set_title(services, call))
    }),
    route(Method::PATCH, "/webapi/v2/conversations/{id}/title", Access::ConversationApi, |services, call| {
        Box::pin(changes::set_title(services, call))
    }),
    route(Method::GET, "/webapi/v2/conversation_categories", Access::ConversationApi, |services, call| {
        Box::pin(categories::list(services, call))
    }),
    route(Method::POST, "/webapi/v2/conversation_categories", Access::ConversationApi, |services, call| {
        Box::pin(categories::create(services, call))
    }),
    route(
        Method::DELETE,
        "/webapi/v2/conversation_categories/{categoryId}",
        Access::ConversationApi,
        |services, call| Box::pin(categories::delete(services, call)),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{docs, openapi};

    #[test]
    fn every_route_is_described() {
        let document = openapi::document(ROUTES);
        let page = docs::page(&document);
        for Route { method, path, .. } in ROUTES {
            let place = format!("/paths/{}/{}", path.replace('/', "~1"), method.as_str().to_lowercase());
            let id = document.pointer(&format!("{place}/operationId"));
            let id = id.unwrap_or_else(|| panic!("add an entry in src/api/openapi/ for {method} {path}"));
            let id = id.as_str().unwrap();
            assert!(page.contains(&format!("id=\"{id}\"")) && page.contains(&format!("href=\"#{id}\"")), "{path}");
        }
        for loaded in ["src=", "@import", "url(", "//cdn", "fetch("] {
            assert!(!page.contains(loaded), "{loaded}");
        }
        // Every link within the page leads somewhere.
        for link in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(page.contains(&format!("id=\"{link}\"")), "#{link}");
        }
    }
}
