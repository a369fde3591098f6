//! The names of output columns (contract A3, select) and which field an aggregation accepts.

use super::fields::PATH_ELEMENTS;
use crate::query::dsl::{AggregateFunction, Aggregation, FieldRef, KeyExpr, Share, TimePart, TimeUnit};
use crate::query::view::{FieldKind, View};

/// Those of the published API, which `orderBy` computes without their being selected.
pub(crate) const FUNCTIONS: [(&str, AggregateFunction); 6] = [
    ("sum", AggregateFunction::Sum),
    ("count", AggregateFunction::Count),
    ("countDistinct", AggregateFunction::CountDistinct),
    ("avg", AggregateFunction::Avg),
    ("min", AggregateFunction::Min),
    ("max", AggregateFunction::Max),
];

/// What an `aggregation` can name.
#[derive(Clone, Copy)]
pub(crate) enum FunctionName {
    Published(AggregateFunction),
    /// Of contract A5.
    Extension(AggregateFunction),
    /// It takes a `p` (contract A5).
    Percentile,
}

pub(crate) const FUNCTION_NAMES: [(&str, FunctionName); 11] = [
    ("sum", FunctionName::Published(AggregateFunction::Sum)),
    ("count", FunctionName::Published(AggregateFunction::Count)),
    ("countDistinct", FunctionName::Published(AggregateFunction::CountDistinct)),
    ("avg", FunctionName::Published(AggregateFunction::Avg)),
    ("min", FunctionName::Published(AggregateFunction::Min)),
    ("max", FunctionName::Published(AggregateFunction::Max)),
    ("median", FunctionName::Extension(AggregateFunction::Median)),
    ("percentile", FunctionName::Percentile),
    ("stddev", FunctionName::Extension(AggregateFunction::Stddev)),
    ("first", FunctionName::Extension(AggregateFunction::First)),
    ("last", FunctionName::Extension(AggregateFunction::Last)),
];

/// What a `timeUnit` can name.
#[derive(Clone, Copy)]
pub(crate) enum TimeName {
    Unit(TimeUnit),
    Part(TimePart),
}

impl TimeName {
    /// Whether only contract A5 has it.
    pub(crate) fn is_extension(self) -> bool {
        let published = [TimeUnit::Hour, TimeUnit::Day, TimeUnit::Week, TimeUnit::Month];
        !matches!(self, TimeName::Unit(unit) if published.contains(&unit))
    }
}

pub(crate) const TIME_NAMES: [(&str, TimeName); 11] = [
    ("hour", TimeName::Unit(TimeUnit::Hour)),
    ("day", TimeName::Unit(TimeUnit::Day)),
    ("week", TimeName::Unit(TimeUnit::Week)),
    ("month", TimeName::Unit(TimeUnit::Month)),
    ("minute", TimeName::Unit(TimeUnit::Minute)),
    ("quarter", TimeName::Unit(TimeUnit::Quarter)),
    ("year", TimeName::Unit(TimeUnit::Year)),
    ("hourOfDay", TimeName::Part(TimePart::HourOfDay)),
    ("dayOfWeek", TimeName::Part(TimePart::DayOfWeek)),
    ("dayOfMonth", TimeName::Part(TimePart::DayOfMonth)),
    ("monthOfYear", TimeName::Part(TimePart::MonthOfYear)),
];

impl AggregateFunction {
    pub(crate) fn name(self) -> &'static str {
        match self {
            AggregateFunction::Sum => "sum",
            AggregateFunction::Count => "count",
            AggregateFunction::CountDistinct => "countDistinct",
            AggregateFunction::Avg => "avg",
            AggregateFunction::Min => "min",
            AggregateFunction::Max => "max",
            AggregateFunction::Percentile(_) => "percentile",
            AggregateFunction::Median => "median",
            AggregateFunction::Stddev => "stddev",
            AggregateFunction::First => "first",
            AggregateFunction::Last => "last",
        }
    }

    /// Whether it takes numbers only.
    pub(crate) fn takes_numbers(self) -> bool {
        use AggregateFunction::{Avg, Max, Median, Min, Percentile, Stddev, Sum};
        matches!(self, Sum | Avg | Min | Max | Percentile(_) | Median | Stddev)
    }

    /// Whether it gives a number.
    pub(crate) fn is_number(self) -> bool {
        !matches!(self, AggregateFunction::First | AggregateFunction::Last)
    }

    /// Whether it leaves its column out of a row where it has no value.
    pub(crate) fn omits_null(self) -> bool {
        !matches!(self, AggregateFunction::Count | AggregateFunction::CountDistinct)
    }
}

impl Share {
    /// Times 100, in plain decimals.
    fn percent(self) -> String {
        let text = self.value().to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let digits = format!("{whole}{fraction:0<2}");
        let (percent, rest) = digits.split_at(whole.len() + 2);
        let percent = percent.trim_start_matches('0');
        let percent = if percent.is_empty() { "0" } else { percent };
        if rest.is_empty() { percent.to_owned() } else { format!("{percent}.{rest}") }
    }
}

impl TimePart {
    pub(crate) fn name(self) -> &'static str {
        match self {
            TimePart::HourOfDay => "hourOfDay",
            TimePart::DayOfWeek => "dayOfWeek",
            TimePart::DayOfMonth => "dayOfMonth",
            TimePart::MonthOfYear => "monthOfYear",
        }
    }
}

impl TimeUnit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            TimeUnit::Minute => "minute",
            TimeUnit::Hour => "hour",
            TimeUnit::Day => "day",
            TimeUnit::Week => "week",
            TimeUnit::Month => "month",
            TimeUnit::Quarter => "quarter",
            TimeUnit::Year => "year",
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
            KeyExpr::Derived(derived) => derived.of.column_name(),
            KeyExpr::Bucket { field, step } => format!("{}_{}", field.name, step.unit.name()),
            KeyExpr::Part { field, part } => format!("{}_{}", field.name, part.name()),
        }
    }
}

impl Aggregation {
    pub(crate) fn column_name(&self) -> String {
        let function = match self.function {
            AggregateFunction::Percentile(share) => format!("p{}", share.percent()),
            function => function.name().to_owned(),
        };
        match &self.argument {
            Some(argument) => format!("{function}_{}", argument.column_name()),
            None => function,
        }
    }
}

/// Pairs a function with its argument, or says why it does not take that one.
pub(crate) fn aggregation(function: AggregateFunction, argument: Option<FieldRef>) -> Result<Aggregation, String> {
    let name = function.name();
    let Some(argument) = argument else {
        return match function {
            AggregateFunction::Count => Ok(Aggregation { function, argument: None, filter: None }),
            _ => Err(format!("missing; `{name}` needs a field, only `count` goes without")),
        };
    };
    let field = argument.field.name;
    match argument.field.kind {
        FieldKind::Time | FieldKind::Integer => {}
        FieldKind::Json if !argument.path.is_empty() => {}
        _ if !function.takes_numbers() => {}
        FieldKind::Json => return Err(format!("`{name}` of the JSON field `{field}` needs a `path` to numbers")),
        FieldKind::Text | FieldKind::Boolean | FieldKind::TextList | FieldKind::Binary => {
            return Err(format!(
                "`{name}` does not take `{field}`: it needs a number or time field, or a JSON field with a `path`"
            ));
        }
    }
    Ok(Aggregation { function, argument: Some(argument), filter: None })
}

/// `field` or `field.path.elements`.
pub(crate) fn split_field(view: &'static View, name: &str) -> Option<FieldRef> {
    let Some((field, path)) = name.split_once('.') else {
        return view.field(name).map(|field| FieldRef { field, path: Vec::new() });
    };
    let field = view.field(field).filter(|field| field.kind == FieldKind::Json)?;
    let path: Vec<String> = path.split('.').take(PATH_ELEMENTS + 1).map(str::to_owned).collect();
    (path.len() <= PATH_ELEMENTS).then_some(FieldRef { field, path })
}

/// `count` or `<aggregation>_<field>[.path]`, if it can be computed.
pub(crate) fn split_aggregation(view: &'static View, name: &str) -> Option<Aggregation> {
    let (function, argument) = match name.split_once('_') {
        Some((function, argument)) => (function, Some(split_field(view, argument)?)),
        None => (name, None),
    };
    let (_, function) = FUNCTIONS.iter().find(|(word, _)| *word == function)?;
    aggregation(*function, argument).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_named_by_its_percent() {
        let cases = [
            (0.5, "50"),
            (0.95, "95"),
            (0.999, "99.9"),
            (0.0, "0"),
            (1.0, "100"),
            (0.05, "5"),
            (0.005, "0.5"),
            (0.1, "10"),
            (1e-7, "0.00001"),
            (0.12345, "12.345"),
        ];
        for (value, percent) in cases {
            assert_eq!(Share::new(value).expect("a share").percent(), percent);
        }
        assert_eq!(Share::new(-0.0), Share::new(0.0));
        assert!([-0.1, 1.1, f64::NAN].iter().all(|value| Share::new(*value).is_none()));
    }
}
