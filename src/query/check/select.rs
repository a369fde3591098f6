//! `select` and `groupBy`: which columns the rows have, and whether rows are groups.

use super::context::Context;
use super::fields::{PATH_ELEMENTS, field, field_ref};
use super::filter;
use super::formula::{self, Parsed};
use super::keys::{AskedTop, MadeOf, made_of};
use super::names::{FUNCTION_NAMES, FunctionName, TIME_NAMES, TimeName, aggregation, split_aggregation};
use super::reader::{At, Object, boolean, integer, list, quoted, string, word};
use crate::model::json::decimal;
use crate::model::json::value::Json;
use crate::query::dsl::{
    AggregateFunction, Aggregation, ColumnExpr, DerivedKey, FieldRef, Formula, JsonMode, KeyExpr, OutputColumn, Share,
    TimeStep, TimeUnit, Top,
};
use crate::query::error::QueryError;
use crate::query::view::{FieldKind, View};

const SELECTIONS: usize = 100;
const GROUP_KEYS: usize = 32;
/// Of a name that `as` gives.
const NAME_CHARACTERS: usize = 128;

/// The part of a [`crate::query::dsl::Query`] that `select` and `groupBy` decide.
pub(crate) struct Columns {
    pub(crate) groups: Vec<KeyExpr>,
    pub(crate) aggregations: Vec<Aggregation>,
    pub(crate) formulas: Vec<Formula>,
    pub(crate) grouped: bool,
    pub(crate) columns: Vec<OutputColumn>,
    /// Aggregations and formulas that are not shown; the order can name them.
    pub(crate) hidden: Vec<(String, ColumnExpr)>,
    /// The names that `as` gives to group keys that are not shown.
    pub(crate) hidden_keys: Vec<(String, usize)>,
    /// The time selection that is filled, as an index into `groups`, what its `fill` says, and where.
    pub(crate) filled: Option<(usize, Json, String)>,
    /// A field is selected in both modes, which an export cannot show and a query does not care about.
    pub(crate) mode_conflict: Option<QueryError>,
}

#[derive(Clone, Copy)]
enum SelectionType {
    Aggregation,
    Time,
    Field,
    Formula,
}

const SELECTION_TYPES: [(&str, SelectionType); 4] = [
    ("aggregation", SelectionType::Aggregation),
    ("time", SelectionType::Time),
    ("field", SelectionType::Field),
    ("formula", SelectionType::Formula),
];

enum Selected {
    Aggregation(Aggregation),
    Time(KeyExpr, Option<Json>),
    Field(FieldRef, JsonMode),
    Formula(Parsed),
}

/// An element of `select`.
struct Selection {
    selected: Selected,
    /// What `as` says, else the default name.
    name: String,
    included: bool,
}

/// A `groupBy` element.
struct GroupKey {
    key: KeyExpr,
    name: Option<String>,
    included: bool,
    /// What `top` says; it can name what `select` shows.
    top: Option<AskedTop>,
}

pub(crate) fn columns(
    view: &'static View,
    select: Option<&Json>,
    group_by: Option<&Json>,
    root: &At<'_>,
    context: &Context,
) -> Result<Columns, QueryError> {
    let select_at = root.key("select");
    let group_by_at = root.key("groupBy");
    let reader = Reader { view, context };
    let selections = match select {
        Some(given) => elements(given, &select_at, SELECTIONS, |json, at| reader.selection(json, at))?,
        None => Vec::new(),
    };
    let group_keys = match group_by {
        Some(given) => elements(given, &group_by_at, GROUP_KEYS, |json, at| reader.group_key(json, at))?,
        None => Vec::new(),
    };
    let is_row = |one: &Selection| matches!(one.selected, Selected::Field(..));
    let mut result = Columns {
        groups: Vec::new(),
        aggregations: Vec::new(),
        formulas: Vec::new(),
        grouped: !group_keys.is_empty() || !selections.iter().all(is_row),
        columns: Vec::new(),
        hidden: Vec::new(),
        hidden_keys: Vec::new(),
        filled: None,
        mode_conflict: None,
    };
    let time_keys = selections.iter().filter_map(|one| match &one.selected {
        Selected::Time(key, _) => Some(key),
        _ => None,
    });
    for key in time_keys {
        position_or_push(&mut result.groups, key);
    }
    let positions = result.place(&group_keys);
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
    let operands = Operands::of(&selections, &mut result.aggregations);
    for (index, one) in selections.into_iter().enumerate() {
        let at = select_at.index(index);
        let (expr, mode) = match one.selected {
            Selected::Aggregation(aggregation) => {
                (ColumnExpr::Aggregation(position_or_push(&mut result.aggregations, &aggregation)), None)
            }
            Selected::Time(key, fill) => {
                let position = position_or_push(&mut result.groups, &key);
                if let Some(fill) = fill {
                    let place = at.key("fill");
                    if result.filled.is_some() {
                        return Err(place.error("a second `fill`; at most one is allowed"));
                    }
                    result.filled = Some((position, fill, place.to_string()));
                }
                (ColumnExpr::Group(position), None)
            }
            Selected::Field(reference, mode) => (field_column(&result, reference, &at)?, Some(mode)),
            Selected::Formula(parsed) => {
                let formula = parsed.resolve(&at.key("formula"), &operands)?;
                (ColumnExpr::Formula(position_or_push(&mut result.formulas, &formula)), None)
            }
        };
        result.add(one.name, expr, mode, one.included, &at)?;
    }
    result.add_group_keys(group_keys, &positions, view, &group_by_at)?;
    Ok(result)
}

/// The numeric aggregations that formulas can name.
struct Operands(Vec<(String, Option<usize>)>);

impl Operands {
    fn of(selections: &[Selection], aggregations: &mut Vec<Aggregation>) -> Operands {
        let named = selections.iter().filter_map(|one| match &one.selected {
            Selected::Aggregation(aggregation) => {
                let position = position_or_push(aggregations, aggregation);
                Some((one.name.clone(), aggregation.function.is_number().then_some(position)))
            }
            _ => None,
        });
        Operands(named.collect())
    }
}

impl formula::Names for Operands {
    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().find(|(one, _)| one == name).and_then(|(_, position)| *position)
    }

    fn all(&self) -> Vec<&str> {
        self.0.iter().filter(|(_, position)| position.is_some()).map(|(name, _)| name.as_str()).collect()
    }
}

impl Columns {
    /// The same column asked twice appears once.
    fn add(
        &mut self,
        name: String,
        expr: ColumnExpr,
        mode: Option<JsonMode>,
        included: bool,
        at: &At<'_>,
    ) -> Result<(), QueryError> {
        if self.hidden.iter().any(|(hidden, other)| *hidden == name && *other != expr) {
            return Err(second_column(&name, at));
        }
        match self.columns.iter().find(|column| column.name == name) {
            Some(same) if same.expr == expr => {
                if mode.is_some_and(|mode| mode != same.json_mode) && self.mode_conflict.is_none() {
                    let name = quoted(&name);
                    self.mode_conflict = Some(at.key("mode").error(format!("{name} is selected in another mode too")));
                }
            }
            Some(_) => return Err(second_column(&name, at)),
            None if included => self.columns.push(OutputColumn { name, expr, json_mode: mode.unwrap_or_default() }),
            None => self.hidden.push((name, expr)),
        }
        Ok(())
    }

    /// Where the keys of `groupBy` stand among all; equal ones are one.
    fn place(&mut self, group_keys: &[GroupKey]) -> Vec<usize> {
        let mut placed: Vec<(&GroupKey, usize)> = Vec::new();
        for one in group_keys {
            let same = placed.iter().find(|(other, _)| other.key == one.key && other.top == one.top);
            let position = match same {
                Some((_, position)) => *position,
                None => {
                    self.groups.push(one.key.clone());
                    self.groups.len() - 1
                }
            };
            placed.push((one, position));
        }
        placed.into_iter().map(|(_, position)| position).collect()
    }

    /// Shows those that no field selection shows already.
    fn add_group_keys(
        &mut self,
        group_keys: Vec<GroupKey>,
        positions: &[usize],
        view: &'static View,
        group_by_at: &At<'_>,
    ) -> Result<(), QueryError> {
        let selected: Vec<ColumnExpr> = self.columns.iter().map(|column| column.expr.clone()).collect();
        for (index, (one, &position)) in group_keys.into_iter().zip(positions).enumerate() {
            let at = group_by_at.index(index);
            if let Some(top) = one.top {
                let top = self.top(view, top, &at.key("top"))?;
                if let Some(KeyExpr::Derived(derived)) = self.groups.get_mut(position) {
                    derived.top = Some(top);
                }
            }
            let expr = ColumnExpr::Group(position);
            if !one.included {
                self.hidden_keys.extend(one.name.map(|name| (name, position)));
            } else if !selected.contains(&expr) {
                let name = one.name.unwrap_or_else(|| one.key.column_name());
                self.add(name, expr, None, true, &at)?;
            }
        }
        Ok(())
    }

    /// What `top` ranks by is a selected aggregation or formula, or an aggregation that the order could name.
    fn top(&mut self, view: &'static View, asked: AskedTop, at: &At<'_>) -> Result<Top, QueryError> {
        let name = asked.by.as_deref().unwrap_or("count");
        let shown = self.columns.iter().map(|column| (&column.name, &column.expr));
        let named = shown.chain(self.hidden.iter().map(|(name, expr)| (name, expr)));
        let mut named = named.filter(|(_, expr)| matches!(expr, ColumnExpr::Aggregation(_) | ColumnExpr::Formula(_)));
        let found = named.find(|(other, _)| *other == name).map(|(_, expr)| expr.clone());
        let by = match found.filter(|_| asked.by.is_some()) {
            Some(expr) => expr,
            None => match split_aggregation(view, name) {
                Some(aggregation) => ColumnExpr::Aggregation(position_or_push(&mut self.aggregations, &aggregation)),
                None => {
                    let message = format!(
                        "{} is no aggregation or formula of `select`, and none such as `count` or `sum_<field>`",
                        quoted(name)
                    );
                    return Err(at.key("by").error(message));
                }
            },
        };
        if let ColumnExpr::Aggregation(index) = &by
            && !self.aggregations.get(*index).is_some_and(|one| one.function.is_number())
        {
            return Err(at.key("by").error(format!("{} is no number", quoted(name))));
        }
        Ok(Top { limit: asked.limit, by, other: asked.other })
    }
}

fn second_column(name: &str, at: &At<'_>) -> QueryError {
    let name = quoted(name);
    at.error(format!("a second column named {name}; give one of them another name by `as`"))
}

/// In a grouped query a selected field must be a group key.
fn field_column(columns: &Columns, reference: FieldRef, at: &At<'_>) -> Result<ColumnExpr, QueryError> {
    if !columns.grouped {
        return Ok(ColumnExpr::Field(reference));
    }
    match columns.groups.iter().position(|group| group.field() == Some(&reference)) {
        Some(position) => Ok(ColumnExpr::Group(position)),
        None => Err(at.key("field").error(format!(
            "{} is selected beside aggregations, time selections or `groupBy`, but is no group key; \
             add it to `groupBy` or leave it out",
            quoted(&reference.column_name())
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

/// Reads elements of `select` and `groupBy`.
struct Reader<'a> {
    view: &'static View,
    context: &'a Context,
}

impl Reader<'_> {
    fn selection(&self, json: &Json, at: &At<'_>) -> Result<Selection, QueryError> {
        // The keys that are allowed depend on `type`, which must be right first.
        let any = [
            "type",
            "aggregation",
            "field",
            "path",
            "timeUnit",
            "mode",
            "as",
            "p",
            "filter",
            "includeInSelect",
            "step",
            "fill",
            "formula",
        ];
        let kind = Object::read(json, at, &any)?.required("type", "`aggregation`, `time`, `field` or `formula`")?;
        match word(kind, &at.key("type"), "selection type", &SELECTION_TYPES)? {
            SelectionType::Aggregation => self.aggregation(json, at),
            SelectionType::Time => self.time(json, at),
            SelectionType::Field => self.field(json, at),
            SelectionType::Formula => self.formula(json, at),
        }
    }

    fn aggregation(&self, json: &Json, at: &At<'_>) -> Result<Selection, QueryError> {
        let known = ["type", "aggregation", "field", "path", "as", "p", "filter", "includeInSelect"];
        let object = Object::read(json, at, &known)?;
        let function = self.function(&object, at)?;
        let argument = match object.get("field") {
            Some(_) => Some(field_ref(self.view, &object, at)?),
            None => {
                if let Some(given) = object.get("path")
                    && !list(given, &at.key("path"), PATH_ELEMENTS)?.is_empty()
                {
                    return Err(at.key("path").error("a path without `field`"));
                }
                None
            }
        };
        let mut aggregation = aggregation(function, argument).map_err(|message| at.key("field").error(message))?;
        if let Some(given) = object.get("filter") {
            self.context.uses("filter");
            aggregation.filter = filter::filter(self.view, given, &at.key("filter"), self.context)?;
        }
        let name = self.name(&object, at)?.unwrap_or_else(|| aggregation.column_name());
        Ok(Selection { selected: Selected::Aggregation(aggregation), name, included: self.included(&object, at)? })
    }

    fn function(&self, object: &Object<'_>, at: &At<'_>) -> Result<AggregateFunction, QueryError> {
        let given = object.required("aggregation", "an aggregation")?;
        let function = word(given, &at.key("aggregation"), "aggregation", &FUNCTION_NAMES)?;
        let share_at = at.key("p");
        match (function, object.get("p")) {
            (FunctionName::Published(_) | FunctionName::Extension(_), Some(_)) => {
                Err(share_at.error("only `percentile` takes a `p`"))
            }
            (FunctionName::Published(function), None) => Ok(function),
            (FunctionName::Extension(function), None) => {
                self.context.uses(function.name());
                Ok(function)
            }
            (FunctionName::Percentile, given) => {
                self.context.uses("percentile");
                let given = given.ok_or_else(|| share_at.error("missing; a number from 0 to 1 is needed"))?;
                let Json::Number(token) = given else {
                    return Err(share_at.wrong_kind(given, "a number from 0 to 1"));
                };
                let share = decimal::double(token).and_then(Share::new);
                let share = share.ok_or_else(|| {
                    share_at.error(format!("{} given, a number from 0 to 1 is needed", super::reader::clipped(token)))
                })?;
                Ok(AggregateFunction::Percentile(share))
            }
        }
    }

    fn time(&self, json: &Json, at: &At<'_>) -> Result<Selection, QueryError> {
        let object = Object::read(json, at, &["type", "timeUnit", "field", "as", "step", "fill"])?;
        let unit = object.required("timeUnit", "a time unit")?;
        let name = word(unit, &at.key("timeUnit"), "time unit", &TIME_NAMES)?;
        if name.is_extension() {
            self.context.uses("timeUnit");
        }
        let field_at = at.key("field");
        let field = match object.get("field") {
            Some(given) => field(self.view, given, &field_at)?,
            None => self.view.field(self.view.default_time_field).ok_or_else(|| {
                QueryError::Internal(format!("view `{}` lacks its default time field", self.view.name))
            })?,
        };
        if field.kind != FieldKind::Time {
            let times = self.view.fields.iter().filter(|field| field.kind == FieldKind::Time);
            let times = times.map(|field| format!("`{}`", field.name)).collect::<Vec<_>>().join(", ");
            return Err(field_at.error(format!("`{}` is no time field; allowed: {times}", field.name)));
        }
        let step_at = at.key("step");
        let key = match (name, object.get("step")) {
            (TimeName::Unit(unit), step) => {
                let count = match step {
                    Some(given) => self.step(unit, given, &step_at)?,
                    None => 1,
                };
                KeyExpr::Bucket { field, step: TimeStep { unit, count } }
            }
            (TimeName::Part(part), None) => KeyExpr::Part { field, part },
            (TimeName::Part(_), Some(_)) => return Err(step_at.error("only `minute` and `hour` take a `step`")),
        };
        let name = self.name(&object, at)?.unwrap_or_else(|| key.column_name());
        let fill = object.get("fill").inspect(|_| self.context.uses("fill"));
        let fill = fill.filter(|given| !matches!(given, Json::Bool(false))).cloned();
        Ok(Selection { selected: Selected::Time(key, fill), name, included: true })
    }

    fn step(&self, unit: TimeUnit, json: &Json, at: &At<'_>) -> Result<u8, QueryError> {
        self.context.uses("step");
        let whole: u8 = match unit {
            TimeUnit::Minute => 60,
            TimeUnit::Hour => 24,
            _ => return Err(at.error("only `minute` and `hour` take a `step`")),
        };
        let divisors = (1..=whole).filter(|count| whole % count == 0);
        let given = integer(json, at, 1, whole.into())?;
        divisors.clone().find(|count| usize::from(*count) == given).ok_or_else(|| {
            let allowed = divisors.map(|count| count.to_string()).collect::<Vec<_>>().join(", ");
            at.error(format!("{given} given, a divisor of {whole} is needed: {allowed}"))
        })
    }

    fn field(&self, json: &Json, at: &At<'_>) -> Result<Selection, QueryError> {
        let object = Object::read(json, at, &["type", "field", "path", "mode", "as"])?;
        let reference = field_ref(self.view, &object, at)?;
        let modes = [("unpack", JsonMode::Unpack), ("json", JsonMode::Json)];
        let mode = match object.get("mode") {
            Some(mode) => word(mode, &at.key("mode"), "mode", &modes)?,
            None => JsonMode::default(),
        };
        if mode == JsonMode::Json && !reference.path.is_empty() {
            return Err(at.key("path").error("a path is not allowed with mode `json`"));
        }
        let name = self.name(&object, at)?.unwrap_or_else(|| reference.column_name());
        Ok(Selection { selected: Selected::Field(reference, mode), name, included: true })
    }

    fn formula(&self, json: &Json, at: &At<'_>) -> Result<Selection, QueryError> {
        self.context.uses("formula");
        let object = Object::read(json, at, &["type", "formula", "as", "includeInSelect"])?;
        let text = string(object.required("formula", "a formula such as `solved / total`")?, &at.key("formula"))?;
        let parsed = formula::parse(text, &at.key("formula"))?;
        let name = self.name(&object, at)?.unwrap_or_else(|| text.trim().to_owned());
        Ok(Selection { selected: Selected::Formula(parsed), name, included: self.included(&object, at)? })
    }

    fn group_key(&self, json: &Json, at: &At<'_>) -> Result<GroupKey, QueryError> {
        let object = Object::read(json, at, &["field", "path", "includeInSelect", "as", "unnest", "bin", "top"])?;
        let of = field_ref(self.view, &object, at)?;
        let included = match object.get("includeInSelect") {
            Some(given) => boolean(given, &at.key("includeInSelect"))?,
            None => true,
        };
        let name = self.name(&object, at)?;
        let (key, top) = match made_of(&object, &of, at, self.context)? {
            MadeOf { unnest: None, bin: None, top: None } => (KeyExpr::Field(of), None),
            MadeOf { unnest, bin, top } => (KeyExpr::Derived(Box::new(DerivedKey { of, unnest, bin, top: None })), top),
        };
        Ok(GroupKey { key, name, included, top })
    }

    /// `includeInSelect` of an aggregation or a formula.
    fn included(&self, object: &Object<'_>, at: &At<'_>) -> Result<bool, QueryError> {
        match object.get("includeInSelect") {
            Some(given) => {
                self.context.uses("includeInSelect");
                boolean(given, &at.key("includeInSelect"))
            }
            None => Ok(true),
        }
    }

    /// `as`.
    fn name(&self, object: &Object<'_>, at: &At<'_>) -> Result<Option<String>, QueryError> {
        let Some(given) = object.get("as") else { return Ok(None) };
        self.context.uses("as");
        let at = at.key("as");
        let name = string(given, &at)?;
        let characters = name.chars().count();
        if !(1..=NAME_CHARACTERS).contains(&characters) {
            let message = format!("{characters} characters given, 1 to {NAME_CHARACTERS} are allowed");
            return Err(at.error(message));
        }
        if name.chars().any(char::is_control) {
            return Err(at.error("control characters are not allowed in a name"));
        }
        Ok(Some(name.to_owned()))
    }
}
