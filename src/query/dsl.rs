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
    /// Calculations over the aggregations of a group.
    pub(crate) formulas: Vec<Formula>,
    /// Output columns in order; names are unique.
    pub(crate) columns: Vec<OutputColumn>,
    pub(crate) filter: Option<Filter>,
    /// The buckets that are shown without having a row (contract A5).
    pub(crate) fill: Option<Fill>,
    /// Which groups are left (contract A5).
    pub(crate) having: Option<Having>,
    /// As asked; the tie-breakers are added by `compile`.
    pub(crate) order: Vec<Order>,
    /// 1 to 100,000, and the response's `pageSize`; unlimited in exports that name none.
    pub(crate) limit: usize,
    pub(crate) offset: usize,
    pub(crate) time_zone: TimeZone,
    pub(crate) week_start: Weekday,
    pub(crate) shape: Shape,
    /// The first thing of contract A5 that the request asks for, beside fields.
    pub(crate) extension: Option<&'static str>,
}

/// How an answer tells its rows, and what beside them (contract A5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Every output column is in every row.
    pub(crate) nulls: bool,
    /// The answer lists its columns.
    pub(crate) columns: bool,
    /// The aggregations over all rows that the filter left.
    pub(crate) totals: bool,
}

/// A field, or the value at a path into a JSON field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FieldRef {
    pub(crate) field: &'static Field,
    /// Empty: the whole field. Non-empty only for [`super::view::FieldKind::Json`].
    pub(crate) path: Vec<String>,
}

impl KeyExpr {
    /// The field that it is, or is made of.
    pub(crate) fn field(&self) -> Option<&FieldRef> {
        match self {
            KeyExpr::Field(reference) => Some(reference),
            KeyExpr::Derived(derived) => Some(&derived.of),
            KeyExpr::Bucket { .. } | KeyExpr::Part { .. } => None,
        }
    }
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
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// How long the buckets of a time selection are: so many of a unit (more than one of minutes and hours only).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimeStep {
    pub(crate) unit: TimeUnit,
    pub(crate) count: u8,
}

/// A number that the local clock or calendar shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TimePart {
    HourOfDay,
    /// ISO: Monday is 1, Sunday 7.
    DayOfWeek,
    DayOfMonth,
    MonthOfYear,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KeyExpr {
    Field(FieldRef),
    Bucket { field: &'static Field, step: TimeStep },
    Part { field: &'static Field, part: TimePart },
    Derived(Box<DerivedKey>),
}

/// A group key that is made of a field's value (contract A5), step by step as the members stand here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DerivedKey {
    pub(crate) of: FieldRef,
    /// A row counts in each of its distinct elements; with a path, of the values that they have there.
    pub(crate) unnest: Option<Vec<String>>,
    pub(crate) bin: Option<Bin>,
    pub(crate) top: Option<Top>,
}

/// The lower bounds of equally wide bins, as exact decimals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bin {
    /// Above 0.
    pub(crate) width: String,
    pub(crate) offset: String,
}

/// The values that rank highest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Top {
    pub(crate) limit: usize,
    /// By what they rank, an aggregation or a formula of the query; descending.
    pub(crate) by: ColumnExpr,
    /// What the others are together; `None`: they are left out.
    pub(crate) other: Option<String>,
}

/// Every bucket of a time selection in a range has a row, for each combination of the other keys.
#[derive(Clone, Debug)]
pub(crate) struct Fill {
    /// Index into [`Query::groups`].
    pub(crate) group: usize,
    /// Epoch milliseconds from the first instant to before the last; what is missing is as far as the result reaches.
    pub(crate) from: Option<i64>,
    pub(crate) to: Option<i64>,
    /// Where the request asks for it, for errors.
    pub(crate) place: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AggregateFunction {
    Sum,
    Count,
    CountDistinct,
    Avg,
    Min,
    Max,
    /// `percentile_cont` at this share.
    Percentile(Share),
    Median,
    /// Of a sample.
    Stddev,
    /// The first present value in the order of time.
    First,
    Last,
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Share {
    /// Of the double.
    bits: u64,
}

impl Share {
    pub(crate) const HALF: Share = Share { bits: 0.5_f64.to_bits() };

    /// `None` outside 0 to 1.
    pub(crate) fn new(value: f64) -> Option<Share> {
        // Negative zero is zero.
        (0.0..=1.0).contains(&value).then(|| Share { bits: (value + 0.0).to_bits() })
    }

    pub(crate) fn value(self) -> f64 {
        f64::from_bits(self.bits)
    }
}

/// `argument` is absent for the row count only.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregation {
    pub(crate) function: AggregateFunction,
    pub(crate) argument: Option<FieldRef>,
    /// The rows that it looks at; `None`: all of its group.
    pub(crate) filter: Option<Filter>,
}

/// A calculation on doubles; absent where an operand is, where it divides by 0 and where the result is not finite.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Formula {
    Number(f64),
    /// Index into [`Query::aggregations`].
    Aggregation(usize),
    Negated(Box<Formula>),
    Binary(Box<Formula>, Arithmetic, Box<Formula>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// A filter over the output columns of a grouped query, with three truth values: what compares an absent value is
/// unknown, and only what is true is left.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Having {
    /// Empty: true.
    And(Vec<Having>),
    /// Empty: false.
    Or(Vec<Having>),
    Not(Box<Having>),
    IsNull(ColumnExpr),
    IsNotNull(ColumnExpr),
    /// `eq`, `neq`, `in`, `notIn`. An absent value matches if `or_null`, which is never set with `negated`.
    In {
        column: ColumnExpr,
        values: Vec<ShownValue>,
        or_null: bool,
        negated: bool,
    },
    Compare {
        column: ColumnExpr,
        comparison: Comparison,
        value: ShownValue,
    },
}

/// A literal of the type that a column shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ShownValue {
    Number(f64),
    Text(String),
    Boolean(bool),
    /// Epoch milliseconds as an exact decimal.
    Time(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ColumnExpr {
    /// Index into [`Query::groups`].
    Group(usize),
    /// Index into [`Query::aggregations`].
    Aggregation(usize),
    /// Index into [`Query::formulas`].
    Formula(usize),
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
            formulas: Vec::new(),
            columns: Vec::new(),
            filter,
            fill: None,
            having: None,
            order: Vec::new(),
            limit: usize::MAX,
            offset: 0,
            time_zone: TimeZone::UTC,
            week_start: Weekday::Monday,
            shape: Shape::default(),
            extension: None,
        }
    }

    /// The shown aggregations and formulas over all rows that the filter leaves.
    pub(crate) fn totals(&self) -> Query {
        let shown = |column: &&OutputColumn| matches!(column.expr, ColumnExpr::Aggregation(_) | ColumnExpr::Formula(_));
        Query {
            groups: Vec::new(),
            columns: self.columns.iter().filter(shown).cloned().collect(),
            fill: None,
            having: None,
            order: Vec::new(),
            limit: 1,
            offset: 0,
            ..self.clone()
        }
    }

    /// The first thing of contract A5 that the request names.
    pub(crate) fn extension(&self) -> Option<&'static str> {
        self.extension.or_else(|| self.extension_field().map(|field| field.name))
    }

    fn extension_field(&self) -> Option<&'static Field> {
        let groups = self.groups.iter().map(|key| match key {
            KeyExpr::Field(reference) => reference.field,
            KeyExpr::Derived(derived) => derived.of.field,
            KeyExpr::Bucket { field, .. } | KeyExpr::Part { field, .. } => field,
        });
        let arguments = self.aggregations.iter().filter_map(|one| Some(one.argument.as_ref()?.field));
        let exprs = self.columns.iter().map(|column| &column.expr).chain(self.order.iter().map(|order| &order.expr));
        let shown = exprs.filter_map(|expr| match expr {
            ColumnExpr::Field(reference) => Some(reference.field),
            ColumnExpr::Group(_) | ColumnExpr::Aggregation(_) | ColumnExpr::Formula(_) => None,
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

#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Text(String),
    Number(String),
    Boolean(bool),
    /// Epoch milliseconds as a JSON number (a literal may carry a fraction or lie outside the stored range).
    Time(String),
    Json(Json),
}

#[derive(Clone, Debug, PartialEq)]
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
    pub(crate) fn targets(&self) -> &[FieldRef] {
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
