//! The order of a list, and a place in it.

use serde::{Deserialize, Serialize};

use crate::model::ids::EpochMillis;
use crate::query::dsl::{Comparison, FieldRef, Filter, Literal};
use crate::query::error::QueryError;
use crate::query::execute::found::FoundRows;
use crate::query::view;

/// By a time, then id, in one direction, then project, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListOrder {
    /// A time field of conversations.
    pub(crate) time: &'static str,
    pub(crate) descending: bool,
}

/// A row, by what a list is ordered by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) time: EpochMillis,
    pub(crate) id: String,
    pub(crate) project: String,
}

impl ListOrder {
    pub(crate) fn columns(self) -> Vec<(&'static str, bool)> {
        vec![(self.time, self.descending), ("id", self.descending), ("projectId", false)]
    }

    /// The place of a row that was found in this order.
    pub(crate) fn place(self, found: &FoundRows, row: usize) -> Result<Place, QueryError> {
        let text = |column| found.text(row, column).map(str::to_owned);
        match (found.time(row, 0), text(1), text(2)) {
            (Some(time), Some(id), Some(project)) => Ok(Place { time, id, project }),
            _ => Err(QueryError::Internal("a row has no place in its list".into())),
        }
    }

    /// The rows that come after a place.
    pub(crate) fn after(self, place: &Place) -> Result<Filter, QueryError> {
        let (beyond, up_to) =
            if self.descending { (Comparison::Lt, Comparison::Lte) } else { (Comparison::Gt, Comparison::Gte) };
        let field = |name| FieldRef::of(&view::CONVERSATIONS, name);
        let (at, id, project) = (field(self.time)?, field("id")?, field("projectId")?);
        let time = Literal::Time(place.time.0.to_string());
        let (place_id, place_project) = (Literal::Text(place.id.clone()), Literal::Text(place.project.clone()));
        Ok(Filter::And(vec![
            // Says nothing new, but prunes files.
            Filter::compare(at.clone(), up_to, time.clone()),
            Filter::Or(vec![
                Filter::compare(at.clone(), beyond, time.clone()),
                Filter::And(vec![
                    Filter::equal(at, time),
                    Filter::Or(vec![
                        Filter::compare(id.clone(), beyond, place_id.clone()),
                        Filter::And(vec![
                            Filter::equal(id, place_id),
                            Filter::compare(project, Comparison::Gt, place_project),
                        ]),
                    ]),
                ]),
            ]),
        ]))
    }
}
