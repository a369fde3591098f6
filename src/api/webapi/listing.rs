//! `GET /webapi/v2/conversations`: filters, order, cursor and search.
//!
//! What the columns tell is a query; it goes on after the last row shown by that row's place in the order, so that what
//! is logged meanwhile moves nothing. What they do not tell (the text of messages, whether a conversation is running) is
//! checked on the conversations themselves, in the same order, a bounded part of them in memory at a time. Such a page
//! may end early with a cursor, once it has taken [`SCAN_TIME`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use tokio::time::timeout;
use xxhash_rust::xxh3::xxh3_128;

use super::cursor::{self, Place};
use super::{actor, filters, shape};
use crate::api::Services;
use crate::api::conversations::stream_list;
use crate::api::gate::{Call, json};
use crate::api::parameters::Parameters;
use crate::api::problem::Problem;
use crate::model::annotation::{Actor, user_id_text};
use crate::model::conversation::Conversation;
use crate::model::ids::EpochMillis;
use crate::model::rating::Ratings;
use crate::model::time;
use crate::query::dsl::{Comparison, Filter};
use crate::query::engine::Scope;
use crate::storage::snapshot::{RowAddress, Snapshot};
use crate::storage::store::StoreError;

const MAX_PAGE: usize = 50;
/// Addresses that a scan asks of the query engine at once.
const SCAN_ROWS: usize = 20_000;
/// Conversations of a scan in memory: as many as have about so many bytes, at most [`MAX_READ_ROWS`].
const READ_BYTES: usize = 8 << 20;
const FIRST_READ_ROWS: usize = 16;
const MAX_READ_ROWS: usize = 512;
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

    fn place(self, conversation: &Conversation) -> Place {
        let time = match self.time {
            OrderTime::Created => conversation.created_at,
            OrderTime::Modified => conversation.updated_at,
            OrderTime::LastChat => conversation.last_message_time(),
        };
        Place { time, id: conversation.id.as_str().to_owned(), project: conversation.project_id.as_str().to_owned() }
    }
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
    /// Folded.
    term: Option<String>,
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
            check: Check { term: term.map(fold), running: boolean(parameters, "backgroundRunning")? },
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
            (&self.check.term, self.check.running),
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
pub async fn list(services: &Services, call: &mut Call) -> Result<Response, Problem> {
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
    let variables = request.variables;
    let write = move |conversation: &Conversation, ratings: &Ratings, out: &mut Vec<u8>| {
        shape::write_conversation(conversation, ratings, &variables, out);
    };
    let snapshot = Arc::clone(&rows.snapshot);
    stream_list(services, snapshot, &page.rows, format!("],\"cursor\":{cursor}}}"), Some(Arc::new(write))).await
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
    async fn after(&self, place: Option<&Place>, limit: usize) -> Result<Vec<RowAddress>, Problem> {
        let mut parts = self.filter.clone();
        if let Some(Place { time, id, project }) = place {
            parts.push(filters::after(self.order.field(), self.order.descending, (*time, id, project))?);
        }
        let (snapshot, scope) = (Arc::clone(&self.snapshot), self.scope.clone());
        let found = self.services.engine.rows(snapshot, scope, Filter::And(parts), self.order.columns(), limit);
        Ok(found.await?)
    }

    async fn page(&self, after: Option<Place>, size: usize) -> Result<Page, Problem> {
        let mut rows = self.after(after.as_ref(), size + 1).await?;
        let more = rows.len() > size;
        rows.truncate(size);
        let next = match rows.last().filter(|_| more) {
            Some(last) => {
                let last = self.snapshot.read_rows(std::slice::from_ref(last)).await?;
                last.first().map(|conversation| self.order.place(conversation))
            }
            None => None,
        };
        Ok(Page { rows, next })
    }

    async fn scan(&self, mut after: Option<Place>, size: usize, check: &Check) -> Result<Page, Problem> {
        let _permit = match timeout(SCAN_WAIT, self.services.conversation_api.scans.acquire()).await {
            Ok(Ok(permit)) => permit,
            _ => return Err(Problem::unavailable("too many searches are running", 1)),
        };
        let started = Instant::now();
        let mut page = Page { rows: Vec::new(), next: None };
        let mut read_rows = FIRST_READ_ROWS;
        loop {
            let candidates = self.after(after.as_ref(), SCAN_ROWS).await?;
            let mut left = candidates.as_slice();
            while !left.is_empty() {
                let (part, rest) = left.split_at(read_rows.min(left.len()));
                left = rest;
                let (bytes, checked) = self.check(part, check).await?;
                read_rows = (READ_BYTES / (bytes / part.len().max(1)).max(1)).clamp(1, MAX_READ_ROWS);
                for (address, (passes, place)) in part.iter().zip(checked) {
                    if passes && page.rows.len() == size {
                        page.next = after;
                        return Ok(page);
                    }
                    if passes {
                        page.rows.push(*address);
                    }
                    after = Some(place);
                }
                if started.elapsed() > SCAN_TIME {
                    page.next = after;
                    return Ok(page);
                }
            }
            if candidates.len() < SCAN_ROWS {
                return Ok(page);
            }
        }
    }
}

impl Rows<'_> {
    /// Whether each of these passes, and its place; and how many bytes they have.
    async fn check(&self, part: &[RowAddress], check: &Check) -> Result<(usize, Vec<(bool, Place)>), Problem> {
        let (snapshot, part) = (Arc::clone(&self.snapshot), part.to_vec());
        let (check, order) = (check.clone(), self.order);
        let work = async move {
            let conversations = match check.running {
                Some(_) => snapshot.read_whole(&part).await?,
                None => snapshot.read_rows(&part).await?,
            };
            let bytes = conversations.iter().map(|conversation| conversation.text_bytes()).sum();
            let one = |conversation: &Arc<Conversation>| (check.passes(conversation), order.place(conversation));
            Ok::<_, StoreError>((bytes, conversations.iter().map(one).collect()))
        };
        Ok(self.services.engine.decode(work).await??)
    }
}

impl Check {
    fn is_needed(&self) -> bool {
        self.term.is_some() || self.running.is_some()
    }

    fn passes(&self, conversation: &Conversation) -> bool {
        self.running.is_none_or(|running| conversation.is_running() == running)
            && self.term.as_deref().is_none_or(|term| matches(conversation, term))
    }
}

/// Whether title, a user name or id, or a message has the folded term.
fn matches(conversation: &Conversation, term: &str) -> bool {
    let has = |text: &str| fold(text).contains(term);
    has(&shape::title(conversation))
        || conversation.user_properties.as_ref().is_some_and(|properties| {
            let names = ["id", "firstName", "lastName"].map(|name| shape::user_name(properties, name));
            names.iter().any(|name| has(name)) || user_id_text(properties).is_some_and(|id| has(&id))
        })
        || conversation.messages.iter().any(|message| has(&shape::message_text(message)))
}

/// Case away, character by character: to upper case and then to lower, so that `ß`, `ſ` and `ς` meet `SS`, `S` and `Σ`.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
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

    #[test]
    fn case_does_not_count() {
        for (text, term) in [
            ("Hello", "hELLO"),
            ("STRASSE", "straße"),
            ("straße", "STRASSE"),
            ("ΟΔΟΣ", "οδος"),
            ("οδος", "ΟΔΟΣ"),
            ("ÉCOLE", "école"),
            ("İstanbul", "i̇STANBUL"),
            ("ДОМ", "дом"),
            ("日本語", "本"),
            ("😀a", "😀A"),
            ("ǅ", "ǆ"),
        ] {
            assert!(fold(text).contains(&fold(term)), "{text} {term}");
        }
        assert!(!fold("abc").contains(&fold("abd")));
    }
}
