//! The order of a list, and how far a walk through it has come.

use serde::{Deserialize, Serialize};

use crate::model::ids::{EpochMillis, WalPosition};
use crate::query::dsl::{Comparison, FieldRef, Filter, Literal};
use crate::query::error::QueryError;
use crate::query::execute::found::FoundRows;
use crate::query::view;

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

/// How far a walk has come. The list is gone through once in its order; then, unless that is an order of times that
/// stay, once more through the conversations that were changed since the walk began, for one of them may have moved
/// behind the place that the walk had reached.
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

    /// Whether a conversation keeps its place, whatever is logged.
    pub(crate) fn is_lasting(self) -> bool {
        self.time.is_none_or(|time| time == "createdAt")
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

/// The conversations whose version was stored by a position of the log.
pub(crate) fn stored_by(WalPosition(position): WalPosition) -> Result<Filter, QueryError> {
    Ok(Filter::compare(column("walPosition")?, Comparison::Lte, Literal::Number(position.to_string())))
}

/// The conversations that were there at a position of the log and were changed since.
pub(crate) fn changed_since(WalPosition(position): WalPosition) -> Result<Filter, QueryError> {
    let position = Literal::Number(position.to_string());
    Ok(Filter::And(vec![
        Filter::compare(column("walPosition")?, Comparison::Gt, position.clone()),
        Filter::compare(column("firstWalPosition")?, Comparison::Lte, position),
    ]))
}

fn column(name: &str) -> Result<FieldRef, QueryError> {
    FieldRef::of(&view::CONVERSATIONS, name)
}
