//! The checked form of a query request: every name resolved, every value of the right type, every default filled in.
//! `check` makes it from the request's JSON; `compile` turns it into a logical plan and can no longer fail on input.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::error::QueryError;
use super::view::{Field, View};
use crate::model::json::value::Json;

/// A request that passed every rule of contract A3.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) view: &'static View,
    /// Group keys in tie-break order: time selections in `select` order, then `groupBy` in order. Duplicates removed.
    pub(crate) groups: Vec<KeyExpr>,
    /// Aggregations, selected ones first, then those that only `orderBy` needs. Duplicates removed.
    pub(crate) aggregations: Vec<Aggregation>,
    /// Whether rows are groups (any aggregation, time selection or `groupBy`) rather than stored rows.
    pub(crate) grouped: bool,
    /// Output columns in order; names are unique.
    pub(crate) columns: Vec<OutputColumn>,
    pub(crate) filter: Option<Filter>,
    /// As asked; the tie-breakers are added by `compile`.
    pub(crate) order: Vec<Order>,
    /// 1 to 100,000, and the response's `pageSize`; unlimited in exports that name none.
    pub(crate) limit: usize,
    pub(crate) offset: usize,
    pub(crate) time_zone: TimeZone,
    pub(crate) week_start: Weekday,
}

/// A field, or the value at a path into a JSON field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FieldRef {
    pub(crate) field: &'static Field,
    /// Empty: the whole field. Non-empty only for [`super::view::FieldKind::Json`].
    pub(crate) path: Vec<String>,
}

impl FieldRef {
    /// A whole column of a view that surely has it, whether requests can name it or not.
    pub(crate) fn of(view: &View, name: &str) -> Result<FieldRef, QueryError> {
        let field = view.column(name);
        let field = field.ok_or_else(|| QueryError::Internal(format!("{} have no field {name}", view.name)))?;
        Ok(FieldRef { field, path: Vec::new() })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TimeUnit {
    Hour,
    Day,
    Week,
    Month,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyExpr {
    Field(FieldRef),
    Bucket { field: &'static Field, unit: TimeUnit },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AggregateFunction {
    Sum,
    Count,
    CountDistinct,
    Avg,
    Min,
    Max,
}

/// `argument` is absent for the row count only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Aggregation {
    pub(crate) function: AggregateFunction,
    pub(crate) argument: Option<FieldRef>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ColumnExpr {
    /// Index into [`Query::groups`].
    Group(usize),
    /// Index into [`Query::aggregations`].
    Aggregation(usize),
    /// Only in queries that are not grouped.
    Field(FieldRef),
}

#[derive(Clone, Debug)]
pub(crate) struct OutputColumn {
    pub(crate) name: String,
    pub(crate) expr: ColumnExpr,
    /// Acts on whole JSON fields in exports only.
    pub(crate) json_mode: JsonMode,
}

/// How an export shows a whole JSON field (contract A4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum JsonMode {
    /// A column for each key.
    #[default]
    Unpack,
    /// One column with the JSON text.
    Json,
}

/// A request whose answer is CSV.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    /// Its limit is `usize::MAX` where none was given.
    pub(crate) query: Query,
    /// Whether cells that a spreadsheet would run as a formula get a leading apostrophe.
    pub(crate) formula_safe: bool,
}

/// Distinct keys of a JSON field, or distinct values at one of them, over several views.
#[derive(Clone, Debug)]
pub(crate) struct PropertyQuery {
    /// Rows to look at, one query per view: only view and filter count.
    pub(crate) rows: Vec<Query>,
    /// The contract's name of the JSON field, which each of the views has.
    pub(crate) field: &'static str,
    /// `None` asks for the keys.
    pub(crate) key: Option<String>,
    /// Of the values; keys are never cut off.
    pub(crate) limit: usize,
}

impl Query {
    /// Every stored row that passes the filter, without columns.
    pub(crate) fn of_rows(view: &'static View, filter: Option<Filter>) -> Query {
        Query {
            view,
            groups: Vec::new(),
            aggregations: Vec::new(),
            grouped: false,
            columns: Vec::new(),
            filter,
            order: Vec::new(),
            limit: usize::MAX,
            offset: 0,
            time_zone: TimeZone::UTC,
            week_start: Weekday::Monday,
        }
    }

    /// A field of contract A5 that is named anywhere.
    pub(crate) fn extension(&self) -> Option<&'static Field> {
        let groups = self.groups.iter().map(|key| match key {
            KeyExpr::Field(reference) => reference.field,
            KeyExpr::Bucket { field, .. } => field,
        });
        let arguments = self.aggregations.iter().filter_map(|one| Some(one.argument.as_ref()?.field));
        let exprs = self.columns.iter().map(|column| &column.expr).chain(self.order.iter().map(|order| &order.expr));
        let shown = exprs.filter_map(|expr| match expr {
            ColumnExpr::Field(reference) => Some(reference.field),
            ColumnExpr::Group(_) | ColumnExpr::Aggregation(_) => None,
        });
        let named = groups.chain(arguments).chain(shown).find(|field| field.extension);
        named.or_else(|| self.filter.as_ref()?.extension())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) expr: ColumnExpr,
    pub(crate) descending: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Filter {
    /// Empty: true.
    And(Vec<Filter>),
    /// Empty: false.
    Or(Vec<Filter>),
    Condition(Condition),
}

impl Filter {
    fn extension(&self) -> Option<&'static Field> {
        match self {
            Filter::And(parts) | Filter::Or(parts) => parts.iter().find_map(Filter::extension),
            Filter::Condition(condition) => {
                condition.targets().iter().map(|target| target.field).find(|field| field.extension)
            }
        }
    }

    pub(crate) fn equal(target: FieldRef, value: Literal) -> Filter {
        Filter::Condition(Condition::In { target, values: vec![value], or_null: false, negated: false })
    }

    pub(crate) fn compare(target: FieldRef, comparison: Comparison, value: Literal) -> Filter {
        Filter::Condition(Condition::Compare { target, comparison, value })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Gt,
    Gte,
    Lt,
    Lte,
}

/// A literal of the type that the target takes: `Text` for text fields, `Number` (a JSON number token) for integer
/// fields, `Boolean`, `Time` (epoch milliseconds) and, for JSON fields and paths and for list fields, `Json`.
#[derive(Clone, Debug)]
pub(crate) enum Literal {
    Text(String),
    Number(String),
    Boolean(bool),
    /// Epoch milliseconds as an exact decimal (a literal may carry a fraction or lie outside the stored range).
    Time(String),
    Json(Json),
}

#[derive(Clone, Debug)]
pub(crate) enum Condition {
    IsNull(FieldRef),
    IsNotNull(FieldRef),
    /// `eq`, `neq`, `in`, `notIn`. An absent value matches only if `or_null` (never set with `negated`).
    In {
        target: FieldRef,
        values: Vec<Literal>,
        or_null: bool,
        negated: bool,
    },
    /// Each word is in one of these text fields, folded ([`crate::model::fold`]). The words are folded already.
    ContainsWords {
        targets: Vec<FieldRef>,
        words: Vec<String>,
    },
    /// The field, or the value at its path, is this text, in any case. No operator of requests.
    SameText {
        target: FieldRef,
        text: String,
    },
    /// `gt`, `gte`, `lt`, `lte`. At a JSON path `value` is `Text` or `Number`, and only values of that JSON type match.
    Compare {
        target: FieldRef,
        comparison: Comparison,
        value: Literal,
    },
    /// `arrayContains`: the list or array has every one of `values` (jsonb equality).
    ArrayContains {
        target: FieldRef,
        values: Vec<Json>,
    },
    /// `@>`
    JsonContains {
        target: FieldRef,
        value: Json,
    },
    /// `<@`
    JsonContainedBy {
        target: FieldRef,
        value: Json,
    },
    /// `?` (one key), `?|` and `?&` (`all`).
    JsonHasKeys {
        target: FieldRef,
        keys: Vec<String>,
        all: bool,
    },
    /// The array has an element that `@>` the object.
    JsonArrayContainsObject {
        target: FieldRef,
        object: Json,
    },
}

impl Condition {
    fn targets(&self) -> &[FieldRef] {
        match self {
            Condition::ContainsWords { targets, .. } => targets,
            Condition::IsNull(target)
            | Condition::IsNotNull(target)
            | Condition::In { target, .. }
            | Condition::SameText { target, .. }
            | Condition::Compare { target, .. }
            | Condition::ArrayContains { target, .. }
            | Condition::JsonContains { target, .. }
            | Condition::JsonContainedBy { target, .. }
            | Condition::JsonHasKeys { target, .. }
            | Condition::JsonArrayContainsObject { target, .. } => std::slice::from_ref(target),
        }
    }
}
