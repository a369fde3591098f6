//! The names of output columns (contract A3, select) and which field an aggregation accepts.

use crate::query::dsl::{AggregateFunction, Aggregation, FieldRef, KeyExpr, TimeUnit};
use crate::query::view::FieldKind;

pub(crate) const FUNCTIONS: [(&str, AggregateFunction); 6] = [
    ("sum", AggregateFunction::Sum),
    ("count", AggregateFunction::Count),
    ("countDistinct", AggregateFunction::CountDistinct),
    ("avg", AggregateFunction::Avg),
    ("min", AggregateFunction::Min),
    ("max", AggregateFunction::Max),
];

pub(crate) const TIME_UNITS: [(&str, TimeUnit); 4] =
    [("hour", TimeUnit::Hour), ("day", TimeUnit::Day), ("week", TimeUnit::Week), ("month", TimeUnit::Month)];

impl AggregateFunction {
    pub(crate) fn name(self) -> &'static str {
        match self {
            AggregateFunction::Sum => "sum",
            AggregateFunction::Count => "count",
            AggregateFunction::CountDistinct => "countDistinct",
            AggregateFunction::Avg => "avg",
            AggregateFunction::Min => "min",
            AggregateFunction::Max => "max",
        }
    }

    /// Whether it works on numbers, and so leaves its column out of a row that has none.
    pub(crate) fn is_numeric(self) -> bool {
        !matches!(self, AggregateFunction::Count | AggregateFunction::CountDistinct)
    }
}

impl TimeUnit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            TimeUnit::Hour => "hour",
            TimeUnit::Day => "day",
            TimeUnit::Week => "week",
            TimeUnit::Month => "month",
        }
    }
}

impl FieldRef {
    /// `<field>` or `<field>.<path joined with dots>`.
    pub(crate) fn column_name(&self) -> String {
        let mut name = self.field.name.to_owned();
        for element in &self.path {
            name.push('.');
            name.push_str(element);
        }
        name
    }
}

impl KeyExpr {
    pub(crate) fn column_name(&self) -> String {
        match self {
            KeyExpr::Field(reference) => reference.column_name(),
            KeyExpr::Bucket { field, unit } => format!("{}_{}", field.name, unit.name()),
        }
    }
}

impl Aggregation {
    pub(crate) fn column_name(&self) -> String {
        match &self.argument {
            Some(argument) => format!("{}_{}", self.function.name(), argument.column_name()),
            None => self.function.name().to_owned(),
        }
    }
}

/// Pairs a function with its argument, or says why it does not take that one.
pub(crate) fn aggregation(function: AggregateFunction, argument: Option<FieldRef>) -> Result<Aggregation, String> {
    let name = function.name();
    let Some(argument) = argument else {
        return match function {
            AggregateFunction::Count => Ok(Aggregation { function, argument: None }),
            _ => Err(format!("missing; `{name}` needs a field, only `count` goes without")),
        };
    };
    let field = argument.field.name;
    match argument.field.kind {
        FieldKind::Time | FieldKind::Integer => {}
        FieldKind::Json if !argument.path.is_empty() => {}
        _ if !function.is_numeric() => {}
        FieldKind::Json => return Err(format!("`{name}` of the JSON field `{field}` needs a `path` to numbers")),
        FieldKind::Text | FieldKind::Boolean | FieldKind::TextList | FieldKind::Binary => {
            return Err(format!(
                "`{name}` does not take `{field}`: it needs a number or time field, or a JSON field with a `path`"
            ));
        }
    }
    Ok(Aggregation { function, argument: Some(argument) })
}
