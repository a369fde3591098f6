//! `GET /webapi/v2/conversations`: filters, order, cursor and search. [`crate::query::search`] finds what matches.

use std::sync::Arc;

use axum::response::Response;
use xxhash_rust::xxh3::xxh3_128;

use super::{actor, cursor, filters, shape};
use crate::api::http::call::{Call, json};
use crate::api::http::parameters::Parameters;
use crate::api::http::problem::Problem;
use crate::api::pages::{Written, stream_list};
use crate::api::services::Services;
use crate::auth::scopes::Caller;
use crate::model::actor::Actor;
use crate::model::conversation::Conversation;
use crate::model::ids::EpochMillis;
use crate::model::rating::Ratings;
use crate::model::scope::Scope;
use crate::model::search_text::SearchTerm;
use crate::query::dsl::{Comparison, Filter};
use crate::query::search::check::Check;
use crate::query::search::list::ConversationList;
use crate::query::search::place::ListOrder;

const MAX_PAGE: usize = 50;

const ORDERS: [(&str, ListOrder); 6] = [
    ("CREATED_AT_ASC", ListOrder { time: Some("createdAt"), descending: false }),
    ("CREATED_AT_DESC", ListOrder { time: Some("createdAt"), descending: true }),
    ("MODIFIED_AT_ASC", ListOrder { time: Some("modifiedAt"), descending: false }),
    ("MODIFIED_AT_DESC", ListOrder { time: Some("modifiedAt"), descending: true }),
    ("LAST_CHAT_TIME_ASC", ListOrder { time: Some("lastChatTime"), descending: false }),
    ("LAST_CHAT_TIME_DESC", ListOrder { time: Some("lastChatTime"), descending: true }),
];
const DEFAULT_ORDER: &str = "LAST_CHAT_TIME_DESC";

/// The parameters of a list. `null` as the text of one means that it is not given, for the vendor's may be null.
const PARAMETERS: [&str; 14] = [
    "userIds",
    "llmAppId",
    "categoryId",
    "startedAt",
    "endAt",
    "firstChatStartedAt",
    "firstChatEndAt",
    "searchTerm",
    "cursor",
    "variables",
    "pageSize",
    "activeOnly",
    "backgroundRunning",
    "order",
];
/// An empty one of these is not given either; an empty other one is a mistake.
const MAY_BE_EMPTY: [&str; 3] = ["searchTerm", "userIds", "cursor"];

/// The parameters of a list, checked.
struct ListRequest {
    user_ids: Vec<String>,
    llm_app_ids: Vec<String>,
    category_ids: Vec<String>,
    /// Field, comparison and bound.
    times: Vec<(&'static str, Comparison, EpochMillis)>,
    active_only: bool,
    check: Check,
    variables: Vec<String>,
    page_size: usize,
    order: ListOrder,
    cursor: Option<String>,
}

const TIMES: [(&str, &str, Comparison); 4] = [
    ("startedAt", "lastChatTime", Comparison::Gte),
    ("endAt", "lastChatTime", Comparison::Lte),
    ("firstChatStartedAt", "firstChatTime", Comparison::Gte),
    ("firstChatEndAt", "firstChatTime", Comparison::Lte),
];

impl ListRequest {
    fn read(parameters: &Parameters) -> Result<Self, Problem> {
        let parameters = &parameters.given(&PARAMETERS, &MAY_BE_EMPTY)?;
        let mut times = Vec::new();
        for (name, field, comparison) in TIMES {
            if let Some(text) = parameters.text(name) {
                times.push((field, comparison, bound(name, text)?));
            }
        }
        let name = parameters.text("order").unwrap_or(DEFAULT_ORDER);
        let order = ORDERS.iter().find(|(known, _)| *known == name).map(|(_, order)| *order).ok_or_else(|| {
            let allowed: Vec<&str> = ORDERS.iter().map(|(name, _)| *name).collect();
            Problem::bad_request(format!("order: `{}` given, allowed: {}", shown(name), allowed.join(", ")))
        })?;
        let page_size = parameters.number("pageSize", MAX_PAGE, 1..=MAX_PAGE)?;
        let term = parameters.text("searchTerm").filter(|term| !term.trim().is_empty());
        Ok(Self {
            user_ids: given("userIds", parameters.list_of_any("userIds"), parameters)?,
            llm_app_ids: given("llmAppId", parameters.list("llmAppId"), parameters)?,
            category_ids: given("categoryId", parameters.list("categoryId"), parameters)?,
            times,
            active_only: boolean(parameters, "activeOnly")?.unwrap_or(false),
            check: Check { term: term.map(SearchTerm::new), running: boolean(parameters, "backgroundRunning")? },
            variables: shape::variable_names(parameters)?,
            page_size,
            order,
            cursor: parameters.text("cursor").map(str::to_owned),
        })
    }

    /// Names the list that a cursor belongs to. That of an organization's key serves this key alone.
    fn fingerprint(&self, caller: &Caller, scope: &Scope, actor: &Actor) -> Result<String, Problem> {
        let times: Vec<(&str, bool, i64)> =
            self.times.iter().map(|(field, comparison, at)| (*field, *comparison == Comparison::Gte, at.0)).collect();
        let identity = (
            scope.organization_id.as_str(),
            scope.project_id.as_ref().map(|id| id.as_str()),
            caller.reaches_all_projects().then(|| caller.key_id()),
            &actor.own_user_id,
            actor.user_email.as_ref().map(|email| email.to_lowercase()),
        );
        let asked = (
            &self.user_ids,
            &self.llm_app_ids,
            &self.category_ids,
            times,
            self.active_only,
            (self.check.term.as_ref().map(SearchTerm::folded), self.check.running),
            (self.order.time, self.order.descending),
        );
        let text = serde_json::to_vec(&(identity, asked)).map_err(|_| Problem::internal())?;
        Ok(format!("{:032x}", xxh3_128(&text)))
    }

    async fn filters(&self, services: &Services, call: &Call, actor: &Actor) -> Result<Vec<Filter>, Problem> {
        let mut parts = filters::visible_to(actor)?;
        if !self.user_ids.is_empty() {
            parts.push(filters::user_in(&self.user_ids)?);
        }
        if !self.llm_app_ids.is_empty() {
            parts.push(filters::integration_in(&self.llm_app_ids)?);
        }
        if !self.category_ids.is_empty() {
            let owner = actor::category_owner(call)?;
            let known = services.conversation_api.categories.list(&owner).await?;
            let named = known.into_iter().filter(|one| self.category_ids.contains(&one.category_id));
            parts.push(filters::category_in(&named.map(|category| category.name).collect::<Vec<_>>())?);
        }
        for (field, comparison, at) in &self.times {
            parts.push(filters::time(field, *comparison, *at)?);
        }
        if let Some(running) = self.check.running {
            parts.push(filters::may_be_running(running)?);
        }
        if self.active_only || self.check.running == Some(true) {
            parts.push(filters::is_not_ended()?);
        }
        Ok(parts)
    }
}

/// `GET /webapi/v2/conversations`
pub(crate) async fn list(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let request = ListRequest::read(&call.parameters)?;
    let actor = actor::actor(call.headers())?;
    let Some(scope) = actor::scope(call)? else { return Ok(json(r#"{"conversations":[],"cursor":null}"#)) };
    let (list, now) = (request.fingerprint(call.caller()?, &scope, &actor)?, services.store.environment().now());
    let secret = &services.conversation_api.secret;
    let progress = match &request.cursor {
        Some(cursor) => Some(cursor::read(secret, cursor, &list, now)?),
        None => None,
    };
    let filters = request.filters(services, call, &actor).await?;
    let snapshot = services.store.snapshot();
    let (check, order) = (request.check, request.order);
    let wanted = ConversationList { snapshot: Arc::clone(&snapshot), scope, filters, check, order };
    let searches = &services.conversation_api.searches;
    let page = searches.page(&services.engine, &wanted, progress, request.page_size).await?;
    let cursor = match page.next {
        Some(progress) => format!("\"{}\"", cursor::write(secret, progress, &list, now)?),
        None => "null".to_owned(),
    };
    let tail = format!("],\"cursor\":{cursor}}}");
    stream_list(services, call, snapshot, &page.rows, tail, Arc::new(WithVariables(request.variables))).await
}

/// With the variables of these names.
struct WithVariables(Vec<String>);

impl Written for WithVariables {
    fn rated<'a>(&self, conversation: &'a Conversation) -> Vec<&'a str> {
        shape::recent_ids(conversation)
    }

    fn write(&self, conversation: &Conversation, ratings: &Ratings, out: &mut Vec<u8>) {
        shape::write_conversation(conversation, ratings, &self.0, out);
    }
}

/// The values of a list that narrows. Commas alone are no value: left out, they would show what nobody asked for.
fn given(name: &str, values: Vec<String>, parameters: &Parameters) -> Result<Vec<String>, Problem> {
    if values.is_empty() && parameters.has(name) {
        return Err(Problem::bad_request(format!("{name}: only commas given, a value is needed")));
    }
    Ok(values)
}

fn boolean(parameters: &Parameters, name: &str) -> Result<Option<bool>, Problem> {
    match parameters.text(name) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(Problem::bad_request(format!("{name}: `{}` given, true or false is needed", shown(other)))),
    }
}

/// Epoch milliseconds; a fraction is cut.
fn bound(name: &str, text: &str) -> Result<EpochMillis, Problem> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number =
        whole.parse::<i64>().ok().filter(|_| digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(fraction));
    number
        .map(EpochMillis)
        .ok_or_else(|| Problem::bad_request(format!("{name}: `{}` given, epoch milliseconds are needed", shown(text))))
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_checked() {
        for (query, allowed) in [
            ("", true),
            ("unknown=1", true),
            ("pageSize=1&order=CREATED_AT_ASC&activeOnly=true&backgroundRunning=false", true),
            ("startedAt=1724666400000.75&endAt=-1", true),
            ("pageSize=0", false),
            ("pageSize=51", false),
            ("order=created_at_asc", false),
            ("order=", false),
            ("searchTerm=&userIds=&userIds[]=&cursor=", true),
            ("startedAt=null&endAt=null&firstChatStartedAt=null&firstChatEndAt=null&activeOnly=null&order=null", true),
            ("pageSize=null&backgroundRunning=null&llmAppId=null&categoryId=null&variables=null&userIds[]=null", true),
            ("llmAppId=", false),
            ("categoryId=", false),
            ("userIds=,", false),
            ("userIds=&userIds=,,", false),
            ("userIds[]=,", true),
            ("userIds=,a&llmAppId=b,&categoryId=,,c", true),
            ("llmAppId[]=,", false),
            ("categoryId=,,", false),
            ("variables[]=", false),
            ("activeOnly=1", false),
            ("backgroundRunning=", false),
            ("startedAt=", false),
            ("startedAt=1e3", false),
            ("endAt=1.", false),
            ("endAt=+1", false),
            ("firstChatEndAt=2024-01-01", false),
            ("firstChatStartedAt=99999999999999999999", false),
        ] {
            let read = ListRequest::read(&Parameters::parse(Some(query)));
            assert_eq!(read.is_ok(), allowed, "{query}");
            assert!(read.err().is_none_or(|problem| problem.status().as_u16() == 400));
        }
        let read = ListRequest::read(&Parameters::parse(Some(
            "userIds=a,b&userIds[]=c,d&endAt=7.9&cursor=null&llmAppId=null",
        )))
        .ok()
        .unwrap();
        assert_eq!(read.user_ids, ["a", "b", "c,d"]);
        assert!(read.cursor.is_none() && read.llm_app_ids.is_empty());
        assert_eq!(read.times, [("lastChatTime", Comparison::Lte, EpochMillis(7))]);
    }
}
