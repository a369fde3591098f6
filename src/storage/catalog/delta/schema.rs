//! A table's columns in Delta's "Schema Serialization Format".

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

#[cfg(test)]
use crate::storage::format::layout::JsonField;
use crate::storage::format::layout::{ColumnKind, PropertyColumn};

const FIELD_KEY: &str = "convolake.field";
const PATH_KEY: &str = "convolake.path";
const KIND_KEY: &str = "convolake.kind";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeltaType {
    String,
    /// Int32
    Integer,
    /// Int64
    Long,
    /// Float64
    Double,
    Boolean,
    /// UTC; microseconds to Delta, milliseconds in our files
    Timestamp,
    Binary,
    StringList,
}

impl DeltaType {
    fn to_json(self) -> Value {
        let name = match self {
            DeltaType::String => "string",
            DeltaType::Integer => "integer",
            DeltaType::Long => "long",
            DeltaType::Double => "double",
            DeltaType::Boolean => "boolean",
            DeltaType::Timestamp => "timestamp",
            DeltaType::Binary => "binary",
            DeltaType::StringList => {
                return json!({"type": "array", "elementType": "string", "containsNull": true});
            }
        };
        name.into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        let all = [
            DeltaType::String,
            DeltaType::Integer,
            DeltaType::Long,
            DeltaType::Double,
            DeltaType::Boolean,
            DeltaType::Timestamp,
            DeltaType::Binary,
        ];
        if let Some(found) = all.into_iter().find(|candidate| candidate.to_json() == *value) {
            return Some(found);
        }
        let is_list = value.get("type")? == "array" && value.get("elementType")? == "string";
        is_list.then_some(DeltaType::StringList)
    }
}

/// Every column is nullable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TableColumn {
    pub(crate) name: String,
    pub(crate) data_type: DeltaType,
    pub(crate) metadata: Map<String, Value>,
}

impl TableColumn {
    pub(crate) fn new(name: impl Into<String>, data_type: DeltaType) -> Self {
        Self { name: name.into(), data_type, metadata: Map::new() }
    }

    /// The column of a path of a JSON field. Which one stands in the metadata; the name is only its address.
    pub(crate) fn of_property(column: &PropertyColumn) -> Self {
        let data_type = match column.kind {
            ColumnKind::String | ColumnKind::NumberText => DeltaType::String,
            ColumnKind::Number => DeltaType::Double,
            ColumnKind::Boolean => DeltaType::Boolean,
        };
        // A JSON text: a list as metadata is more than some readers take.
        let path = Value::from(column.path.clone()).to_string();
        let metadata = Map::from_iter([
            (FIELD_KEY.to_owned(), json!(column.field)),
            (PATH_KEY.to_owned(), Value::from(path)),
            (KIND_KEY.to_owned(), json!(column.kind)),
        ]);
        Self { name: column.name.clone(), data_type, metadata }
    }

    #[cfg(test)]
    /// None for columns that are not of a property.
    pub(crate) fn property(&self) -> Option<PropertyColumn> {
        let field: JsonField = serde_json::from_value(self.metadata.get(FIELD_KEY)?.clone()).ok()?;
        let path: Vec<String> = serde_json::from_str(self.metadata.get(PATH_KEY)?.as_str()?).ok()?;
        let kind: ColumnKind = serde_json::from_value(self.metadata.get(KIND_KEY)?.clone()).ok()?;
        (!path.is_empty()).then(|| PropertyColumn { field, path, kind, name: self.name.clone() })
    }
}

#[derive(Serialize, Deserialize)]
struct Struct {
    r#type: String,
    fields: Vec<Field>,
}

#[derive(Serialize, Deserialize)]
struct Field {
    name: String,
    r#type: Value,
    nullable: bool,
    #[serde(default)]
    metadata: Map<String, Value>,
}

pub(crate) fn schema_string(columns: &[TableColumn]) -> String {
    let field = |column: &TableColumn| Field {
        name: column.name.clone(),
        r#type: column.data_type.to_json(),
        nullable: true,
        metadata: column.metadata.clone(),
    };
    let schema = Struct { r#type: "struct".to_owned(), fields: columns.iter().map(field).collect() };
    // Maps with string keys always serialise.
    serde_json::to_string(&schema).unwrap_or_default()
}

/// Fails on types that this server never writes.
pub(crate) fn parse_schema(schema_string: &str) -> Result<Vec<TableColumn>, String> {
    let schema: Struct = serde_json::from_str(schema_string).map_err(|error| format!("schema: {error}"))?;
    let column = |Field { name, r#type, metadata, .. }: Field| match DeltaType::from_json(&r#type) {
        Some(data_type) => Ok(TableColumn { name, data_type, metadata }),
        None => Err(format!("schema: column {name:?} has the unknown type {}", r#type)),
    };
    schema.fields.into_iter().map(column).collect()
}
