//! `having`: a filter over what groups show, with three truth values (contract A5).

use std::cmp::Ordering;

use chrono_tz::Tz;

use super::json::Value;
use super::number;
use super::query::Cell;
use super::request::{Column, Named, query_time};
use super::views::{Kind, View};

#[derive(Clone, Debug)]
pub enum Having {
    And(Vec<Having>),
    Or(Vec<Having>),
    Not(Box<Having>),
    Condition { column: Box<Column>, operator: String, value: Value },
}

/// What literals a column takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    Number,
    Text,
    Flag,
    Time,
    Other,
}

pub fn shows(view: &View, column: &Column) -> Shows {
    let field = |name: &str, path: bool| match view.kind_of(name) {
        Ok(Kind::Text) => Shows::Text,
        Ok(Kind::Json | Kind::JsonList) if path => Shows::Text,
        Ok(Kind::Time) => Shows::Time,
        Ok(Kind::Count) => Shows::Number,
        Ok(Kind::Flag) => Shows::Flag,
        _ => Shows::Other,
    };
    match column {
        Column::Field(place) => field(&place.field, !place.path.is_empty()),
        Column::Bucket { .. } => Shows::Time,
        Column::Aggregate { kind, of: Some(place), .. } if kind == "first" || kind == "last" => {
            field(&place.field, !place.path.is_empty())
        }
        Column::Made(made) if made.bin.is_some() => Shows::Number,
        Column::Made(made) if made.unnest.is_some() => Shows::Text,
        Column::Made(made) => field(&made.place.field, !made.place.path.is_empty()),
        Column::Part { .. } | Column::Aggregate { .. } | Column::Formula(_) => Shows::Number,
    }
}

pub fn parse(view: &View, value: &Value, columns: &[Named], zone: Tz) -> Result<Having, String> {
    let Value::Object(pairs) = value else { return Err("having is no object".to_string()) };
    let [(key, value)] = pairs.as_slice() else { return Err("exactly one key".to_string()) };
    let parts = |value: &Value| -> Result<Vec<Having>, String> {
        value.as_array().ok_or("a list is needed")?.iter().map(|part| parse(view, part, columns, zone)).collect()
    };
    match key.as_str() {
        "and" => Ok(Having::And(parts(value)?)),
        "or" => Ok(Having::Or(parts(value)?)),
        "not" => Ok(Having::Not(Box::new(parse(view, value, columns, zone)?))),
        "condition" => condition(view, value, columns, zone),
        other => Err(format!("having key {other}")),
    }
}

fn condition(view: &View, value: &Value, columns: &[Named], zone: Tz) -> Result<Having, String> {
    let text = |key: &str| value.given(key).and_then(Value::as_str).ok_or(format!("{key} is missing"));
    let (name, operator) = (text("field")?, text("operator")?);
    let column = columns.iter().find(|named| named.shown && named.name == name).ok_or(format!("no column {name}"))?;
    let shows = shows(view, &column.column);
    let literal = |value: &Value| match (shows, value) {
        (_, Value::Null) => Ok(Value::Null),
        (Shows::Number, Value::Number(_)) | (Shows::Text, Value::String(_)) | (Shows::Flag, Value::Bool(_)) => {
            Ok(value.clone())
        }
        (Shows::Time, value) => query_time(value, zone).map(Value::Number).ok_or("no time".to_string()),
        _ => Err(format!("{} for {shows:?}", value.to_text())),
    };
    let given = value.get("value");
    let value = match operator {
        "isNull" | "isNotNull" => Value::Null,
        _ if shows == Shows::Other => return Err("a list or JSON".to_string()),
        "eq" | "neq" => literal(given.ok_or("no value")?)?,
        "gt" | "gte" | "lt" | "lte" => match literal(given.ok_or("no value")?)? {
            Value::Null | Value::Bool(_) => return Err("no order".to_string()),
            value => value,
        },
        "in" | "notIn" => {
            let list = given.and_then(Value::as_array).ok_or("no list")?;
            Value::Array(list.iter().map(literal).collect::<Result<_, _>>()?)
        }
        other => return Err(format!("operator {other}")),
    };
    Ok(Having::Condition { column: Box::new(column.column.clone()), operator: operator.to_string(), value })
}

impl Having {
    /// None: unknown.
    pub fn truth(&self, of: &impl Fn(&Column) -> Cell) -> Option<bool> {
        match self {
            Having::And(parts) => {
                let truths: Vec<Option<bool>> = parts.iter().map(|part| part.truth(of)).collect();
                if truths.contains(&Some(false)) { Some(false) } else { (!truths.contains(&None)).then_some(true) }
            }
            Having::Or(parts) => {
                let truths: Vec<Option<bool>> = parts.iter().map(|part| part.truth(of)).collect();
                if truths.contains(&Some(true)) { Some(true) } else { (!truths.contains(&None)).then_some(false) }
            }
            Having::Not(inner) => inner.truth(of).map(|truth| !truth),
            Having::Condition { column, operator, value } => compare(&of(column), operator, value),
        }
    }
}

fn compare(cell: &Cell, operator: &str, literal: &Value) -> Option<bool> {
    let absent = matches!(cell, Cell::Null | Cell::Double(None));
    let list = || literal.as_array().expect("a checked list");
    match (operator, literal) {
        ("isNull", _) | ("eq", Value::Null) => return Some(absent),
        ("isNotNull", _) | ("neq", Value::Null) => return Some(!absent),
        ("in", _) if list().contains(&Value::Null) && absent => return Some(true),
        _ if absent => return None,
        _ => {}
    }
    let equals = |literal: &Value| *literal != Value::Null && order(cell, literal).is_eq();
    Some(match operator {
        "eq" => equals(literal),
        "neq" => !equals(literal),
        "in" => list().iter().any(equals),
        "notIn" => !list().iter().any(equals),
        "gt" => order(cell, literal).is_gt(),
        "gte" => order(cell, literal).is_ge(),
        "lt" => order(cell, literal).is_lt(),
        "lte" => order(cell, literal).is_le(),
        other => panic!("no operator {other}"),
    })
}

fn order(cell: &Cell, literal: &Value) -> Ordering {
    match (cell, literal) {
        (Cell::Count(count), Value::Number(token)) => {
            (*count as f64).partial_cmp(&token.parse::<f64>().expect("a number")).expect("no NaN")
        }
        (Cell::Double(Some(double)) | Cell::Near(double), Value::Number(token)) => {
            double.partial_cmp(&token.parse::<f64>().expect("a number")).expect("no NaN")
        }
        (Cell::Time(at), Value::Number(token)) => number::compare(&at.to_string(), token),
        (Cell::Text(text), Value::String(other)) => text.chars().cmp(other.chars()),
        (Cell::Flag(flag), Value::Bool(other)) => flag.cmp(other),
        _ => panic!("{cell:?} and {}", literal.to_text()),
    }
}
