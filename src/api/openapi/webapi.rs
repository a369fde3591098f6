//! `/webapi/v2` (contract part B).

use serde_json::{Map, Value};

use super::operation::Operation;

pub static OPERATIONS: &[Operation] = &[];

pub fn schemas() -> Map<String, Value> {
    Map::new()
}
