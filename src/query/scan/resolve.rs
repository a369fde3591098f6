//! How one file or segment answers a virtual column: from typed columns, from the remainder, or from the raw JSON.
//!
//! A row has at most one value per path, and that value lies in exactly one place; so the order in which the places are
//! asked does not matter, and columns go first because they are cheap.

use std::collections::BTreeSet;
use std::ops::Bound;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, lit, when};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::CastExpr;

use super::column::{Form, ScanColumn};
use crate::query::expr::{any_of, column};
use crate::query::functions;
use crate::storage::format::arrow_types::kind_type;
use crate::storage::format::layout::{ColumnKind, FormatVersion, JsonField, Layout, RemainderPaths};
use crate::storage::format::table::Table;

/// The places of one virtual column in one file. Files whose columns have equal places are scanned together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Places {
    /// A physical column of its own.
    Plain,
    /// In none: the file is older than the column.
    Absent,
    /// A partition value of the file.
    Source,
    Path(PathPlaces),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PathPlaces {
    string: Option<String>,
    number: Option<String>,
    number_text: Option<String>,
    boolean: Option<String>,
    /// Typed columns of longer paths: where one is set, the value is an object.
    below: Vec<(String, ColumnKind)>,
    remainder: bool,
    raw: bool,
}

impl Places {
    /// Whether the column is computed from JSON text.
    pub(crate) fn reads_json(&self) -> bool {
        matches!(self, Places::Path(places) if places.raw || places.remainder)
    }
}

/// Whether a file's remainder can hold something for a path.
struct RemainderUse {
    /// An entry at the path itself, or an array above it whose element it names.
    at: bool,
    /// Or an object around other entries.
    any: bool,
}

/// `-?\d+`: what indexes an array (contract A3).
pub(crate) fn is_array_index(element: &str) -> bool {
    let digits = element.strip_prefix('-').unwrap_or(element);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn remainder_use(paths: &RemainderPaths, path: &[String]) -> RemainderUse {
    let known: &BTreeSet<Vec<String>> = match paths {
        RemainderPaths::Any => return RemainderUse { at: true, any: true },
        RemainderPaths::Known(known) => known,
    };
    let in_array = (1..path.len()).any(|length| match (path.get(..length), path.get(length)) {
        (Some(prefix), Some(next)) => is_array_index(next) && known.contains(prefix),
        _ => false,
    });
    let mut from = known.range::<[String], _>((Bound::Included(path), Bound::Unbounded));
    let first_below = from.next().filter(|entry| entry.starts_with(path));
    let at = in_array || first_below.is_some_and(|entry| entry.len() == path.len());
    RemainderUse { at, any: at || first_below.is_some() }
}

/// `since`: files of an older version lack the column.
pub(crate) fn resolve(layout: &Layout, column: &ScanColumn, since: FormatVersion) -> Places {
    match column {
        _ if layout.version < since => Places::Absent,
        ScanColumn::Plain(_) | ScanColumn::Whole(_) | ScanColumn::Row => Places::Plain,
        ScanColumn::Source => Places::Source,
        ScanColumn::Path { field, path, form } => Places::Path(resolve_path(layout, *field, path, *form)),
    }
}

fn resolve_path(layout: &Layout, field: JsonField, path: &[String], form: Form) -> PathPlaces {
    let mut places = PathPlaces::default();
    let start = layout.columns.partition_point(|c| (c.field, c.path.as_slice()) < (field, path));
    let columns = layout.columns.get(start..).unwrap_or_default();
    for column in columns.iter().take_while(|c| c.field == field && c.path.starts_with(path)) {
        let name = column.name.clone();
        if column.path.len() > path.len() {
            if column.kind != ColumnKind::NumberText {
                places.below.push((name, column.kind));
            }
            continue;
        }
        match column.kind {
            ColumnKind::String => places.string = Some(name),
            ColumnKind::Number => places.number = Some(name),
            ColumnKind::NumberText => places.number_text = Some(name),
            ColumnKind::Boolean => places.boolean = Some(name),
        }
    }
    let remainder = remainder_use(layout.remainder(field), path);
    let typed = places.string.is_some() || places.number.is_some() || places.boolean.is_some();
    let has_below = !places.below.is_empty();
    let none = PathPlaces::default();
    match form {
        Form::Text => {
            PathPlaces { remainder: !has_below && remainder.any, raw: has_below, below: Vec::new(), ..places }
        }
        // The remainder alone knows neither a value in a column nor an object with members in columns.
        Form::Json if typed || has_below => PathPlaces { raw: true, ..none },
        Form::Json | Form::Array => PathPlaces { remainder: remainder.any, ..none },
        Form::Str => PathPlaces { string: places.string, remainder: remainder.at, ..none },
        Form::Number => PathPlaces { number: places.number, remainder: remainder.at, ..none },
        Form::NumberText => PathPlaces { number_text: places.number_text, remainder: remainder.at, ..none },
        Form::Boolean => PathPlaces { boolean: places.boolean, remainder: remainder.at, ..none },
        Form::Numeric => PathPlaces { string: places.string, number: places.number, remainder: remainder.at, ..none },
        Form::Exists | Form::Present => PathPlaces { number_text: None, remainder: remainder.any, ..places },
    }
}

/// The physical columns that the places need.
pub(crate) fn physical_fields(column: &ScanColumn, places: &Places, table: Table) -> Result<Vec<Field>> {
    let nullable = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let places = match (places, column) {
        (Places::Source | Places::Absent, _) => return Ok(Vec::new()),
        (Places::Plain, column) => return Ok(vec![nullable(&column.stored_name(table)?, column.data_type(table)?)]),
        (Places::Path(places), _) => places,
    };
    let mut fields = Vec::new();
    let typed = [
        (&places.string, ColumnKind::String),
        (&places.number, ColumnKind::Number),
        (&places.number_text, ColumnKind::NumberText),
        (&places.boolean, ColumnKind::Boolean),
    ];
    for (name, kind) in typed {
        fields.extend(name.as_ref().map(|name| nullable(name, kind_type(kind))));
    }
    fields.extend(places.below.iter().map(|(name, kind)| nullable(name, kind_type(*kind))));
    if let ScanColumn::Path { field, .. } = column {
        if places.remainder {
            fields.push(nullable(field.remainder_column(), DataType::Utf8View));
        }
        if places.raw {
            fields.push(nullable(field.raw_column(), DataType::Utf8View));
        }
    }
    Ok(fields)
}

/// The expression over the physical columns that gives the virtual column.
pub(crate) fn expression(scan_column: &ScanColumn, places: &Places, table: Table) -> Result<Expr> {
    if *places == Places::Absent {
        return Ok(null(scan_column.data_type(table)?));
    }
    let (Places::Path(places), ScanColumn::Path { field, path, form }) = (places, scan_column) else {
        return Ok(column(&scan_column.stored_name(table)?));
    };
    let remainder = || column(field.remainder_column());
    let raw = || column(field.raw_column());
    let mut steps = Steps::default();
    match form {
        Form::Text => {
            if let Some(name) = &places.string {
                steps.column(name, column(name));
            }
            if let Some(name) = &places.number {
                let text = places.number_text.as_deref().map_or_else(|| null(DataType::Utf8View), column);
                steps.column(name, functions::number_text().call(vec![column(name), text]));
            }
            if let Some(name) = &places.boolean {
                let text = |value: &str| lit(ScalarValue::Utf8View(Some(value.to_owned())));
                steps
                    .column(name, when(column(name), text("true")).when(column(name).is_false(), text("false")).end()?);
            }
            if places.raw {
                steps.last(functions::json_text_at(path).call(vec![raw()]));
            } else if places.remainder {
                steps.last(functions::json_text_at(path).call(vec![remainder()]));
            }
        }
        Form::Json | Form::Array => {
            if places.raw {
                steps.last(functions::json_at(path).call(vec![raw()]));
            } else if places.remainder {
                steps.last(functions::json_at(path).call(vec![remainder()]));
            }
        }
        Form::Str => {
            steps.plain(&places.string);
            if places.remainder {
                steps.last(functions::json_string_at(path).call(vec![remainder()]));
            }
        }
        Form::Number => {
            steps.plain(&places.number);
            if places.remainder {
                steps.last(functions::json_number_at(path).call(vec![remainder()]));
            }
        }
        Form::NumberText => {
            steps.plain(&places.number_text);
            if places.remainder {
                steps.last(functions::json_number_text_at(path).call(vec![remainder()]));
            }
        }
        Form::Boolean => {
            steps.plain(&places.boolean);
            if places.remainder {
                steps.last(functions::json_boolean_at(path).call(vec![remainder()]));
            }
        }
        Form::Numeric => {
            steps.plain(&places.number);
            if let Some(name) = &places.string {
                steps.column(name, functions::numeric_of_text().call(vec![column(name)]));
            }
            if places.remainder {
                // A JSON number's text reads as the same double; no other value but a string reads as a number.
                let text = functions::json_text_at(path).call(vec![remainder()]);
                steps.last(functions::numeric_of_text().call(vec![text]));
            }
        }
        Form::Exists | Form::Present => {
            let typed = [&places.string, &places.number, &places.boolean];
            let below = places.below.iter().map(|(name, _)| name);
            let mut parts: Vec<Expr> =
                typed.into_iter().flatten().chain(below).map(|name| column(name).is_not_null()).collect();
            if places.remainder {
                parts.push(match form {
                    Form::Exists => functions::json_exists_at(path).call(vec![remainder()]).is_true(),
                    _ => functions::json_text_at(path).call(vec![remainder()]).is_not_null(),
                });
            }
            return Ok(any_of(parts));
        }
    }
    steps.into_expr(form.data_type())
}

pub(crate) fn null(data_type: DataType) -> Expr {
    match ScalarValue::try_from(&data_type) {
        Ok(value) => lit(value),
        Err(_) => lit(ScalarValue::Null),
    }
}

/// The function's own type, or a cast to the virtual column's.
pub(crate) fn typed(
    expr: Arc<dyn PhysicalExpr>,
    data_type: &DataType,
    input: &Schema,
) -> Result<Arc<dyn PhysicalExpr>> {
    if expr.data_type(input)? == *data_type {
        return Ok(expr);
    }
    Ok(Arc::new(CastExpr::new(expr, data_type.clone(), None)))
}

/// `CASE WHEN column IS NOT NULL THEN value … ELSE last END`: each value is computed at most once.
#[derive(Default)]
struct Steps {
    cases: Vec<(Expr, Expr)>,
    last: Option<Expr>,
}

impl Steps {
    fn column(&mut self, name: &str, value: Expr) {
        self.cases.push((column(name).is_not_null(), value));
    }

    fn plain(&mut self, name: &Option<String>) {
        if let Some(name) = name {
            self.column(name, column(name));
        }
    }

    fn last(&mut self, value: Expr) {
        self.last = Some(value);
    }

    fn into_expr(mut self, data_type: DataType) -> Result<Expr> {
        if self.last.is_none() {
            // A null column gives a null value.
            self.last = self.cases.pop().map(|(_, value)| value);
        }
        let Some(last) = self.last else { return Ok(null(data_type)) };
        let mut cases = self.cases.into_iter();
        let Some((condition, value)) = cases.next() else { return Ok(last) };
        let mut builder = when(condition, value);
        for (condition, value) in cases {
            builder = builder.when(condition, value);
        }
        builder.otherwise(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn what_a_file_is_too_old_for_is_null() {
        let (column, table) = (ScanColumn::Plain("tags"), Table::Conversations);
        let since = column.since(table).unwrap();
        let places = |version| resolve(&Layout { version, ..Layout::default() }, &column, since);
        let old = places(FormatVersion(since.0 - 1));
        assert_eq!((places(since), &old), (Places::Plain, &Places::Absent));
        assert_eq!(physical_fields(&column, &old, table).unwrap(), []);
        assert_eq!(expression(&column, &old, table).unwrap(), null(column.data_type(table).unwrap()));
    }

    #[test]
    fn remainder_is_consulted_only_where_it_can_hold_the_path() {
        let known = RemainderPaths::Known(["a", "b.c", "b.d.e"].into_iter().map(path).collect());
        for (asked, at, any) in [
            ("a", true, true),
            ("a.0", true, true),
            ("a.-1.x", true, true),
            ("a.x", false, false),
            ("b", false, true),
            ("b.c", true, true),
            ("b.d", false, true),
            ("b.c.0", true, true),
            ("c", false, false),
            ("ab", false, false),
        ] {
            let found = remainder_use(&known, &path(asked));
            assert_eq!((found.at, found.any), (at, any), "{asked}");
        }
        let any = remainder_use(&RemainderPaths::Any, &path("zzz"));
        assert!(any.at && any.any);
    }
}
