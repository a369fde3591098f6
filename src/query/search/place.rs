//! The order of a list, and how far a walk through it has come.

use serde::{Deserialize, Serialize};

use crate::model::ids::{EpochMillis, WalPosition};
use crate::query::dsl::{Comparison, Condition, FieldRef, Filter, Literal};
use crate::query::error::QueryError;
use crate::query::execute::found::FoundRows;
use crate::query::view;

const CREATED_AT: &str = "createdAt";

/// By a time if one is named, then id, in one direction, then project, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListOrder {
    /// A time column of conversations.
    pub(crate) time: Option<&'static str>,
    pub(crate) descending: bool,
}

/// A row by what a list is ordered by, so that what is logged meanwhile moves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Of an order by a time.
    pub(crate) time: Option<EpochMillis>,
    pub(crate) id: String,
    pub(crate) project: String,
}

/// How far a walk has come. The list is gone through once in its order; then once more through the conversations that may
/// have moved since the walk began, for one of them may now lie behind the place that the walk had reached: in an order
/// by `createdAt` those that a re-log gave another one, in other orders all that were changed.
///
/// In an order by `createdAt` the first time leaves out what has moved since. So a conversation that keeps its `createdAt`
/// is shown exactly once, one that gets another before the walk is at it too, and one that gets another later is shown
/// once more at the end, as it is then: never missed, and never more than twice. Only keeping what each page has shown
/// could tell the last two apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Of the snapshot that the first page showed.
    pub(crate) began: WalPosition,
    /// Whether it is the second time.
    pub(crate) again: bool,
    /// The last row looked at; `None`: all are left.
    pub(crate) place: Option<Place>,
}

impl ListOrder {
    /// The order of the second time: no change of a conversation moves it there. Ids that are made are in the order of
    /// their making, so new ones come where the walk has been.
    pub(crate) const AGAIN: ListOrder = ListOrder { time: None, descending: true };

    /// What the first time leaves out because it comes the second time; `None`: nothing.
    pub(crate) fn left_for_later(self, began: WalPosition) -> Result<Option<Filter>, QueryError> {
        Ok(match self.time {
            Some(CREATED_AT) => Some(unmoved_since(began)?),
            // Changes move conversations ahead in it, so that a walk would never end.
            Some(_) if !self.descending => Some(stored_by(began)?),
            _ => None,
        })
    }

    /// What comes the second time.
    pub(crate) fn again(self, began: WalPosition) -> Result<Filter, QueryError> {
        let changed = changed_since(began)?;
        Ok(if self.time == Some(CREATED_AT) { Filter::And(vec![moved_since(began)?, changed]) } else { changed })
    }

    pub(crate) fn columns(self) -> Vec<(&'static str, bool)> {
        let time = self.time.map(|time| (time, self.descending));
        time.into_iter().chain([("id", self.descending), ("projectId", false)]).collect()
    }

    /// The place of a row that was found in this order.
    pub(crate) fn place(self, found: &FoundRows, row: usize) -> Result<Place, QueryError> {
        let times = usize::from(self.time.is_some());
        let text = |column: usize| found.text(row, times + column).map(str::to_owned);
        let time = self.time.and_then(|_| found.time(row, 0));
        match (text(0), text(1)) {
            (Some(id), Some(project)) if time.is_some() == self.time.is_some() => Ok(Place { time, id, project }),
            _ => Err(QueryError::Internal("a row has no place in its list".into())),
        }
    }

    /// The rows that come after a place.
    pub(crate) fn after(self, place: &Place) -> Result<Filter, QueryError> {
        let (beyond, up_to) =
            if self.descending { (Comparison::Lt, Comparison::Lte) } else { (Comparison::Gt, Comparison::Gte) };
        let (id, project) = (column("id")?, column("projectId")?);
        let (place_id, place_project) = (Literal::Text(place.id.clone()), Literal::Text(place.project.clone()));
        let later = Filter::Or(vec![
            Filter::compare(id.clone(), beyond, place_id.clone()),
            Filter::And(vec![Filter::equal(id, place_id), Filter::compare(project, Comparison::Gt, place_project)]),
        ]);
        let (Some(time), Some(EpochMillis(at))) = (self.time, place.time) else { return Ok(later) };
        let (time, at) = (column(time)?, Literal::Time(at.to_string()));
        Ok(Filter::And(vec![
            // Says nothing new, but prunes files.
            Filter::compare(time.clone(), up_to, at.clone()),
            Filter::Or(vec![
                Filter::compare(time.clone(), beyond, at.clone()),
                Filter::And(vec![Filter::equal(time, at), later]),
            ]),
        ]))
    }
}

/// The conversations that no re-log has given another `createdAt` since a position of the log.
fn unmoved_since(WalPosition(position): WalPosition) -> Result<Filter, QueryError> {
    let moved = column("movedWalPosition")?;
    let by_then = Filter::compare(moved.clone(), Comparison::Lte, Literal::Number(position.to_string()));
    Ok(Filter::Or(vec![Filter::Condition(Condition::IsNull(moved)), by_then]))
}

/// Those that one has.
fn moved_since(WalPosition(position): WalPosition) -> Result<Filter, QueryError> {
    Ok(Filter::compare(column("movedWalPosition")?, Comparison::Gt, Literal::Number(position.to_string())))
}

/// The conversations whose version was stored by a position of the log.
fn stored_by(WalPosition(position): WalPosition) -> Result<Filter, QueryError> {
    Ok(Filter::compare(column("walPosition")?, Comparison::Lte, Literal::Number(position.to_string())))
}

/// The conversations that were there at a position of the log and were changed since.
fn changed_since(WalPosition(position): WalPosition) -> Result<Filter, QueryError> {
    let position = Literal::Number(position.to_string());
    Ok(Filter::And(vec![
        Filter::compare(column("walPosition")?, Comparison::Gt, position.clone()),
        Filter::compare(column("firstWalPosition")?, Comparison::Lte, position),
    ]))
}

fn column(name: &str) -> Result<FieldRef, QueryError> {
    FieldRef::of(&view::CONVERSATIONS, name)
}
