//! The parts of a JSON value, by which an export shows it (contract A4).

use crate::model::json::raw;

/// Visits an object's members, and of a list those of its objects and its other elements, by position. Each comes with
/// its name and its JSON text.
pub(crate) fn each_part<'a>(text: &'a str, mut visit: impl FnMut(&str, &'a str)) {
    for (key, value) in raw::members(text) {
        visit(&key, value);
    }
    for (position, element) in raw::array_elements(text).enumerate() {
        if element.starts_with('{') {
            for (key, value) in raw::members(element) {
                visit(&format!("{position}.{key}"), value);
            }
        } else {
            visit(&position.to_string(), element);
        }
    }
}
