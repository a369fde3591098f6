//! Fields of a query as the columns that its plan scans.

use std::collections::HashSet;

use datafusion::logical_expr::Expr;

use crate::query::dsl::FieldRef;
use crate::query::expr::column;
use crate::query::scan::column::{Form, ScanColumn};
use crate::query::view::FieldKind;
use crate::storage::format::layout::JsonField;

/// The stored JSON field of the contract's name.
pub(crate) fn json_field(name: &str) -> Option<JsonField> {
    let all = [JsonField::Properties, JsonField::UserProperties, JsonField::Reasons, JsonField::Sources];
    all.into_iter().find(|field| field.name() == name)
}

/// The scan columns that a plan names, in the order of their first use.
#[derive(Default)]
pub(crate) struct Columns {
    list: Vec<ScanColumn>,
    known: HashSet<ScanColumn>,
}

impl Columns {
    pub(crate) fn add(&mut self, wanted: ScanColumn) -> Expr {
        let name = wanted.name();
        if !self.known.contains(&wanted) {
            self.known.insert(wanted.clone());
            self.list.push(wanted);
        }
        column(&name)
    }

    pub(crate) fn path(&mut self, field: JsonField, path: &[String], form: Form) -> Expr {
        self.add(ScanColumn::Path { field, path: path.to_vec(), form })
    }

    /// The value of a field: as it is grouped, and, but for a whole JSON field, as it is shown and ordered.
    pub(crate) fn field(&mut self, reference: &FieldRef) -> Expr {
        match (reference.field.kind, json_field(reference.field.name)) {
            (FieldKind::Json, Some(json)) if reference.path.is_empty() => self.add(ScanColumn::Whole(json)),
            (FieldKind::Json, Some(json)) => self.path(json, &reference.path, Form::Text),
            _ => self.add(ScanColumn::Plain(reference.field.name)),
        }
    }

    /// Whether a column is JSON text.
    pub(crate) fn read_json(&self) -> bool {
        let is_json = |column: &ScanColumn| {
            matches!(column, ScanColumn::Whole(_) | ScanColumn::Path { form: Form::Json | Form::Array, .. })
        };
        self.list.iter().any(is_json)
    }

    pub(crate) fn into_vec(self) -> Vec<ScanColumn> {
        self.list
    }
}

pub(crate) fn is_whole_json(reference: &FieldRef) -> bool {
    reference.field.kind == FieldKind::Json && reference.path.is_empty()
}
