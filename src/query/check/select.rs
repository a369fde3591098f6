//! `select` and `groupBy`: which columns the rows have, and whether rows are groups.

use super::fields::{PATH_ELEMENTS, field, field_ref};
use super::names::{FUNCTIONS, TIME_UNITS, aggregation};
use super::reader::{At, Object, boolean, list, quoted, word};
use crate::model::json::value::Json;
use crate::query::dsl::{Aggregation, ColumnExpr, FieldRef, JsonMode, KeyExpr, OutputColumn};
use crate::query::error::QueryError;
use crate::query::view::{FieldKind, View};

const SELECTIONS: usize = 100;
const GROUP_KEYS: usize = 32;

/// The part of a [`crate::query::dsl::Query`] that `select` and `groupBy` decide.
pub(crate) struct Columns {
    pub(crate) groups: Vec<KeyExpr>,
    pub(crate) aggregations: Vec<Aggregation>,
    pub(crate) grouped: bool,
    pub(crate) columns: Vec<OutputColumn>,
    /// A field is selected in both modes, which an export cannot show and a query does not care about.
    pub(crate) mode_conflict: Option<QueryError>,
}

#[derive(Clone, Copy)]
enum SelectionType {
    Aggregation,
    Time,
    Field,
}

const SELECTION_TYPES: [(&str, SelectionType); 3] =
    [("aggregation", SelectionType::Aggregation), ("time", SelectionType::Time), ("field", SelectionType::Field)];

enum Selection {
    Aggregation(Aggregation),
    Time(KeyExpr),
    Field(FieldRef, JsonMode),
}

/// A `groupBy` element.
struct GroupKey {
    key: KeyExpr,
    included: bool,
}

pub(crate) fn columns(
    view: &'static View,
    select: Option<&Json>,
    group_by: Option<&Json>,
    root: &At<'_>,
) -> Result<Columns, QueryError> {
    let select_at = root.key("select");
    let group_by_at = root.key("groupBy");
    let selections = match select {
        Some(given) => elements(given, &select_at, SELECTIONS, |json, at| selection(view, json, at))?,
        None => Vec::new(),
    };
    let group_keys = match group_by {
        Some(given) => elements(given, &group_by_at, GROUP_KEYS, |json, at| group_key(view, json, at))?,
        None => Vec::new(),
    };
    let mut result = Columns {
        groups: Vec::new(),
        aggregations: Vec::new(),
        grouped: !group_keys.is_empty() || selections.iter().any(|one| !matches!(one, Selection::Field(..))),
        columns: Vec::new(),
        mode_conflict: None,
    };
    let time_keys = selections.iter().filter_map(|one| match one {
        Selection::Time(key) => Some(key),
        _ => None,
    });
    for key in time_keys.chain(group_keys.iter().map(|one| &one.key)) {
        position_or_push(&mut result.groups, key);
    }
    if result.groups.len() > GROUP_KEYS {
        let message = format!(
            "{} group keys given, at most {GROUP_KEYS} are allowed (time selections are group keys)",
            result.groups.len()
        );
        return Err(group_by_at.error(message));
    }
    if selections.is_empty() && group_keys.is_empty() {
        result.columns = view
            .fields
            .iter()
            .copied()
            .filter(|field| field.is_published())
            .map(|field| FieldRef { field, path: Vec::new() })
            .map(|reference| OutputColumn {
                name: reference.column_name(),
                expr: ColumnExpr::Field(reference),
                json_mode: JsonMode::default(),
            })
            .collect();
        return Ok(result);
    }
    for (index, one) in selections.into_iter().enumerate() {
        let at = select_at.index(index);
        let (name, expr, mode) = match one {
            Selection::Aggregation(aggregation) => {
                let name = aggregation.column_name();
                (name, ColumnExpr::Aggregation(position_or_push(&mut result.aggregations, &aggregation)), None)
            }
            Selection::Time(key) => {
                (key.column_name(), ColumnExpr::Group(position_or_push(&mut result.groups, &key)), None)
            }
            Selection::Field(reference, mode) => {
                let name = reference.column_name();
                (name, field_column(&result, reference, &at)?, Some(mode))
            }
        };
        result.add(name, expr, mode, &at)?;
    }
    for (index, one) in group_keys.into_iter().enumerate().filter(|(_, one)| one.included) {
        let expr = ColumnExpr::Group(position_or_push(&mut result.groups, &one.key));
        result.add(one.key.column_name(), expr, None, &group_by_at.index(index))?;
    }
    Ok(result)
}

impl Columns {
    /// The same column asked twice appears once.
    fn add(&mut self, name: String, expr: ColumnExpr, mode: Option<JsonMode>, at: &At<'_>) -> Result<(), QueryError> {
        match self.columns.iter().find(|column| column.name == name) {
            Some(same) if same.expr == expr => {
                if mode.is_some_and(|mode| mode != same.json_mode) && self.mode_conflict.is_none() {
                    let name = quoted(&name);
                    self.mode_conflict = Some(at.key("mode").error(format!("{name} is selected in another mode too")));
                }
            }
            Some(_) => {
                let name = quoted(&name);
                return Err(at.error(format!("a second column named {name}: paths that differ only by dots")));
            }
            None => self.columns.push(OutputColumn { name, expr, json_mode: mode.unwrap_or_default() }),
        }
        Ok(())
    }
}

/// In a grouped query a selected field must be a group key.
fn field_column(columns: &Columns, reference: FieldRef, at: &At<'_>) -> Result<ColumnExpr, QueryError> {
    if !columns.grouped {
        return Ok(ColumnExpr::Field(reference));
    }
    let key = KeyExpr::Field(reference);
    match columns.groups.iter().position(|group| *group == key) {
        Some(position) => Ok(ColumnExpr::Group(position)),
        None => Err(at.key("field").error(format!(
            "{} is selected beside aggregations, time selections or `groupBy`, but is no group key; \
             add it to `groupBy` or leave it out",
            quoted(&key.column_name())
        ))),
    }
}

pub(crate) fn position_or_push<T: Clone + PartialEq>(list: &mut Vec<T>, item: &T) -> usize {
    list.iter().position(|one| one == item).unwrap_or_else(|| {
        list.push(item.clone());
        list.len() - 1
    })
}

fn elements<T>(
    json: &Json,
    at: &At<'_>,
    most: usize,
    read: impl Fn(&Json, &At<'_>) -> Result<T, QueryError>,
) -> Result<Vec<T>, QueryError> {
    list(json, at, most)?.iter().enumerate().map(|(index, json)| read(json, &at.index(index))).collect()
}

fn selection(view: &'static View, json: &Json, at: &At<'_>) -> Result<Selection, QueryError> {
    // The keys that are allowed depend on `type`, which must be right first.
    let any = ["type", "aggregation", "field", "path", "timeUnit", "mode"];
    let kind = Object::read(json, at, &any)?.required("type", "`aggregation`, `time` or `field`")?;
    match word(kind, &at.key("type"), "selection type", &SELECTION_TYPES)? {
        SelectionType::Aggregation => aggregation_selection(view, json, at),
        SelectionType::Time => time_selection(view, json, at),
        SelectionType::Field => field_selection(view, json, at),
    }
}

fn aggregation_selection(view: &'static View, json: &Json, at: &At<'_>) -> Result<Selection, QueryError> {
    let object = Object::read(json, at, &["type", "aggregation", "field", "path"])?;
    let function = object.required("aggregation", "an aggregation")?;
    let function = word(function, &at.key("aggregation"), "aggregation", &FUNCTIONS)?;
    let argument = match object.get("field") {
        Some(_) => Some(field_ref(view, &object, at)?),
        None => {
            if let Some(given) = object.get("path")
                && !list(given, &at.key("path"), PATH_ELEMENTS)?.is_empty()
            {
                return Err(at.key("path").error("a path without `field`"));
            }
            None
        }
    };
    let aggregation = aggregation(function, argument).map_err(|message| at.key("field").error(message))?;
    Ok(Selection::Aggregation(aggregation))
}

fn time_selection(view: &'static View, json: &Json, at: &At<'_>) -> Result<Selection, QueryError> {
    let object = Object::read(json, at, &["type", "timeUnit", "field"])?;
    let unit = object.required("timeUnit", "a time unit")?;
    let unit = word(unit, &at.key("timeUnit"), "time unit", &TIME_UNITS)?;
    let field_at = at.key("field");
    let field = match object.get("field") {
        Some(given) => field(view, given, &field_at)?,
        None => view
            .field(view.default_time_field)
            .ok_or_else(|| QueryError::Internal(format!("view `{}` lacks its default time field", view.name)))?,
    };
    if field.kind != FieldKind::Time {
        let times = view.fields.iter().filter(|field| field.kind == FieldKind::Time);
        let times = times.map(|field| format!("`{}`", field.name)).collect::<Vec<_>>().join(", ");
        return Err(field_at.error(format!("`{}` is no time field; allowed: {times}", field.name)));
    }
    Ok(Selection::Time(KeyExpr::Bucket { field, unit }))
}

fn field_selection(view: &'static View, json: &Json, at: &At<'_>) -> Result<Selection, QueryError> {
    let object = Object::read(json, at, &["type", "field", "path", "mode"])?;
    let reference = field_ref(view, &object, at)?;
    let modes = [("unpack", JsonMode::Unpack), ("json", JsonMode::Json)];
    let mode = match object.get("mode") {
        Some(mode) => word(mode, &at.key("mode"), "mode", &modes)?,
        None => JsonMode::default(),
    };
    if mode == JsonMode::Json && !reference.path.is_empty() {
        return Err(at.key("path").error("a path is not allowed with mode `json`"));
    }
    Ok(Selection::Field(reference, mode))
}

fn group_key(view: &'static View, json: &Json, at: &At<'_>) -> Result<GroupKey, QueryError> {
    let object = Object::read(json, at, &["field", "path", "includeInSelect"])?;
    let key = KeyExpr::Field(field_ref(view, &object, at)?);
    let included = match object.get("includeInSelect") {
        Some(given) => boolean(given, &at.key("includeInSelect"))?,
        None => true,
    };
    Ok(GroupKey { key, included })
}
