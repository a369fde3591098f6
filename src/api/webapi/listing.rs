//! `GET /webapi/v2/conversations`: filters, order, cursor and search.
//!
//! What the columns tell is a query; it goes on after the last row shown by that row's place in the order, so that what
//! is logged meanwhile moves nothing. What they do not tell (the text of messages, whether a conversation is running) is
//! checked row by row in the same order, of a text only where the text index knows candidates. Such a page may end
//! early with a cursor, once it has taken [`SCAN_TIME`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use futures::future::try_join_all;
use tokio::time::timeout;
use xxhash_rust::xxh3::xxh3_128;

use super::cursor::{self, Place};
use super::{actor, filters, shape};
use crate::api::http::call::{Call, json};
use crate::api::http::parameters::Parameters;
use crate::api::http::problem::Problem;
use crate::api::pages::{Written, stream_list};
use crate::api::services::Services;
use crate::model::actor::Actor;
use crate::model::conversation::Conversation;
use crate::model::ids::EpochMillis;
use crate::model::rating::Ratings;
use crate::model::scope::Scope;
use crate::model::search_text::SearchTerm;
use crate::model::time;
use crate::query::dsl::{Comparison, Filter};
use crate::query::engine::FoundRows;
use crate::storage::read::snapshot::{RowAddress, Snapshot};
use crate::storage::read::text_search::ReadSize;
use crate::storage::store::StoreError;

const MAX_PAGE: usize = 50;
/// Addresses that a scan asks of the query engine at once: first so many, then ever more, for what passes is rare.
const FIRST_SCAN_ROWS: usize = 128;
const SCAN_GROWTH: usize = 8;
const MAX_SCAN_ROWS: usize = 20_000;
/// Of these, checked between two looks at the clock.
const CHECKED_ROWS: usize = 1_024;
const MAX_CHECKED_AT_ONCE: usize = 4;
const SCAN_TIME: Duration = Duration::from_secs(20);
const SCAN_WAIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrderTime {
    Created,
    Modified,
    LastChat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ListOrder {
    time: OrderTime,
    descending: bool,
}

const ORDERS: [(&str, ListOrder); 6] = [
    ("CREATED_AT_ASC", ListOrder { time: OrderTime::Created, descending: false }),
    ("CREATED_AT_DESC", ListOrder { time: OrderTime::Created, descending: true }),
    ("MODIFIED_AT_ASC", ListOrder { time: OrderTime::Modified, descending: false }),
    ("MODIFIED_AT_DESC", ListOrder { time: OrderTime::Modified, descending: true }),
    ("LAST_CHAT_TIME_ASC", ListOrder { time: OrderTime::LastChat, descending: false }),
    ("LAST_CHAT_TIME_DESC", ListOrder { time: OrderTime::LastChat, descending: true }),
];
const DEFAULT_ORDER: &str = "LAST_CHAT_TIME_DESC";

impl ListOrder {
    fn field(self) -> &'static str {
        match self.time {
            OrderTime::Created => "createdAt",
            OrderTime::Modified => "updatedAt",
            OrderTime::LastChat => "lastMessageTime",
        }
    }

    fn columns(self) -> Vec<(&'static str, bool)> {
        vec![(self.field(), self.descending), ("id", self.descending), ("projectId", false)]
    }
}

/// The place of a row that was found in the order of [`ListOrder::columns`].
fn place(found: &FoundRows, row: usize) -> Result<Place, Problem> {
    let text = |column| found.text(row, column).map(str::to_owned);
    let place = (found.time(row, 0), text(1), text(2));
    let (Some(time), Some(id), Some(project)) = place else { return Err(Problem::internal()) };
    Ok(Place { time, id, project })
}

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
}

/// What only the conversations themselves tell.
#[derive(Clone, Debug, Default)]
struct Check {
    term: Option<SearchTerm>,
    running: Option<bool>,
}

const TIMES: [(&str, &str, Comparison); 4] = [
    ("startedAt", "lastMessageTime", Comparison::Gte),
    ("endAt", "lastMessageTime", Comparison::Lte),
    ("firstChatStartedAt", "firstMessageTime", Comparison::Gte),
    ("firstChatEndAt", "firstMessageTime", Comparison::Lte),
];

impl ListRequest {
    fn read(parameters: &Parameters) -> Result<Self, Problem> {
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
        let page_size = parameters.number("pageSize", MAX_PAGE, MAX_PAGE)?;
        if page_size == 0 {
            return Err(Problem::bad_request(format!(
                "pageSize: 0 given, a whole number from 1 to {MAX_PAGE} is needed"
            )));
        }
        let term = parameters.text("searchTerm").filter(|term| !term.trim().is_empty());
        Ok(Self {
            user_ids: parameters.list("userIds"),
            llm_app_ids: parameters.list("llmAppId"),
            category_ids: parameters.list("categoryId"),
            times,
            active_only: boolean(parameters, "activeOnly")?.unwrap_or(false),
            check: Check { term: term.map(SearchTerm::new), running: boolean(parameters, "backgroundRunning")? },
            variables: shape::variable_names(parameters)?,
            page_size,
            order,
        })
    }

    /// Names the list that a cursor belongs to.
    fn fingerprint(&self, scope: &Scope, actor: &Actor) -> Result<String, Problem> {
        let times: Vec<(&str, bool, i64)> =
            self.times.iter().map(|(field, comparison, at)| (*field, *comparison == Comparison::Gte, at.0)).collect();
        let identity = (
            scope.organization_id.as_str(),
            scope.project_id.as_ref().map(|id| id.as_str()),
            &actor.own_user_id,
            &actor.user_email,
        );
        let asked = (
            &self.user_ids,
            &self.llm_app_ids,
            &self.category_ids,
            times,
            self.active_only,
            (self.check.term.as_ref().map(SearchTerm::folded), self.check.running),
            (self.order.field(), self.order.descending),
        );
        let text = serde_json::to_vec(&(identity, asked)).map_err(|_| Problem::internal())?;
        Ok(format!("{:032x}", xxh3_128(&text)))
    }

    async fn filter(&self, services: &Services, call: &Call, actor: &Actor) -> Result<Vec<Filter>, Problem> {
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
    let (list, now) = (request.fingerprint(&scope, &actor)?, time::now());
    let secret = &services.conversation_api.secret;
    let after = match call.parameters.text("cursor").filter(|cursor| !cursor.is_empty()) {
        Some(cursor) => Some(cursor::read(secret, cursor, &list, now)?),
        None => None,
    };
    let filter = request.filter(services, call, &actor).await?;
    let rows = Rows { services, snapshot: services.store.snapshot(), scope, filter, order: request.order };
    let page = if request.check.is_needed() {
        rows.scan(after, request.page_size, &request.check).await?
    } else {
        rows.page(after, request.page_size).await?
    };
    let cursor = match page.next {
        Some(place) => format!("\"{}\"", cursor::write(secret, place, &list, now)?),
        None => "null".to_owned(),
    };
    let (snapshot, tail) = (Arc::clone(&rows.snapshot), format!("],\"cursor\":{cursor}}}"));
    stream_list(services, snapshot, &page.rows, tail, Arc::new(WithVariables(request.variables))).await
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

struct Page {
    rows: Vec<RowAddress>,
    /// The place of the last row looked at, unless there is none after it.
    next: Option<Place>,
}

/// The rows of a list in one snapshot.
struct Rows<'a> {
    services: &'a Services,
    snapshot: Arc<Snapshot>,
    scope: Scope,
    filter: Vec<Filter>,
    order: ListOrder,
}

impl Rows<'_> {
    async fn after(&self, place: Option<&Place>, limit: usize) -> Result<FoundRows, Problem> {
        let mut parts = self.filter.clone();
        if let Some(Place { time, id, project }) = place {
            parts.push(filters::after(self.order.field(), self.order.descending, (*time, id, project))?);
        }
        let (snapshot, scope) = (Arc::clone(&self.snapshot), self.scope.clone());
        let found = self.services.engine.rows(snapshot, scope, Filter::And(parts), self.order.columns(), limit);
        Ok(found.await?)
    }

    async fn page(&self, after: Option<Place>, size: usize) -> Result<Page, Problem> {
        let found = self.after(after.as_ref(), size + 1).await?;
        let next = if found.addresses.len() > size { Some(place(&found, size - 1)?) } else { None };
        let mut rows = found.addresses;
        rows.truncate(size);
        Ok(Page { rows, next })
    }

    async fn scan(&self, mut after: Option<Place>, size: usize, check: &Check) -> Result<Page, Problem> {
        let _permit = match timeout(SCAN_WAIT, self.services.conversation_api.scans.acquire()).await {
            Ok(Ok(permit)) => permit,
            _ => return Err(Problem::unavailable("too many searches are running", 1)),
        };
        let started = Instant::now();
        let candidates = self.candidates(check).await?;
        let mut page = Page { rows: Vec::new(), next: None };
        let mut limit = FIRST_SCAN_ROWS;
        loop {
            let found = candidates.after(after.as_ref(), limit).await?;
            let (mut looked_at, count) = (0, found.addresses.len());
            for part in found.addresses.chunks(CHECKED_ROWS) {
                for (row, passes) in part.iter().zip(candidates.check(part, check).await?) {
                    if passes && page.rows.len() == size {
                        page.next = if looked_at == 0 { after } else { Some(place(&found, looked_at - 1)?) };
                        return Ok(page);
                    }
                    if passes {
                        page.rows.push(*row);
                    }
                    looked_at += 1;
                }
                if started.elapsed() > SCAN_TIME {
                    page.next = Some(place(&found, looked_at - 1)?);
                    return Ok(page);
                }
            }
            if count < limit {
                return Ok(page);
            }
            after = Some(place(&found, count - 1)?);
            limit = (limit * SCAN_GROWTH).min(MAX_SCAN_ROWS);
        }
    }

    /// The same list of the rows that may pass.
    async fn candidates(&self, check: &Check) -> Result<Rows<'_>, Problem> {
        let snapshot = match &check.term {
            None => Arc::clone(&self.snapshot),
            Some(term) => {
                let (snapshot, term) = (Arc::clone(&self.snapshot), term.clone());
                let work = async move { snapshot.candidates(&term).await };
                Arc::new(self.services.engine.decode(work).await?)
            }
        };
        Ok(Rows { services: self.services, snapshot, scope: self.scope.clone(), filter: self.filter.clone(), ..*self })
    }

    /// Whether each of these passes.
    async fn check(&self, rows: &[RowAddress], check: &Check) -> Result<Vec<bool>, Problem> {
        // Each part may have some conversations in memory.
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_CHECKED_AT_ONCE));
        let parts = rows.chunks(rows.len().div_ceil(cores).max(1)).map(|part| {
            let (snapshot, part, check) = (Arc::clone(&self.snapshot), part.to_vec(), check.clone());
            self.services.engine.decode(async move { check.pass(&snapshot, &part).await })
        });
        let mut passed = Vec::with_capacity(rows.len());
        for part in try_join_all(parts).await? {
            passed.extend(part?);
        }
        Ok(passed)
    }
}

impl Check {
    fn is_needed(&self) -> bool {
        self.term.is_some() || self.running.is_some()
    }

    async fn pass(&self, snapshot: &Snapshot, rows: &[RowAddress]) -> Result<Vec<bool>, StoreError> {
        let mut passed = match &self.term {
            Some(term) => snapshot.have_text(rows, term).await?,
            None => vec![true; rows.len()],
        };
        let Some(running) = self.running else { return Ok(passed) };
        let mut left: Vec<(&RowAddress, &mut bool)> = rows.iter().zip(&mut passed).filter(|(_, has)| **has).collect();
        let (mut left, mut size) = (left.as_mut_slice(), ReadSize::default());
        while !left.is_empty() {
            let (part, rest) = left.split_at_mut(size.rows().min(left.len()));
            let addresses: Vec<RowAddress> = part.iter().map(|(row, _)| **row).collect();
            let conversations = snapshot.read_whole(&addresses).await?;
            size.learn(conversations.iter().map(Arc::as_ref));
            for ((_, passes), conversation) in part.iter_mut().zip(conversations) {
                **passes = conversation.is_running() == running;
            }
            left = rest;
        }
        Ok(passed)
    }
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
        let read = ListRequest::read(&Parameters::parse(Some("userIds=a,b&userIds[]=c&endAt=7.9"))).ok().unwrap();
        assert_eq!(read.user_ids, ["a", "b", "c"]);
        assert_eq!(read.times, [("lastMessageTime", Comparison::Lte, EpochMillis(7))]);
    }
}
