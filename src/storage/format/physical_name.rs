//! The names of columns in files and in the logs for other engines: snake_case and lower case, of letters, digits and
//! underscores. DuckDB's Delta reader takes a dot for nesting, most tools quote no name, and Delta readers refuse a table
//! where two names differ only by case.
//!
//! Such a name is only an address. What a column holds stands beside it (its field; path and kind in commits and in the
//! metadata of Delta schemas), so names are never parsed.

use std::fmt::Write;

use super::layout::{ColumnKind, JsonField};

/// `firstMessageTime` → `first_message_time`, `areAIAnnotationsVerified` → `are_ai_annotations_verified`.
pub(crate) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    push_snake_case(name, &mut snake);
    snake
}

/// `properties_plan`, `properties_score_number`, `properties_score_number_text`, `properties_x_boolean`. Other paths may
/// have the same name.
pub(crate) fn property_column(field: JsonField, path: &[String], kind: ColumnKind) -> String {
    let mut name = field.raw_column().to_owned();
    for key in path {
        name.push('_');
        match key.as_str() {
            "" => name.push_str("empty"),
            key => push_snake_case(key, &mut name),
        }
    }
    name.push_str(match kind {
        ColumnKind::String => "",
        ColumnKind::Number => "_number",
        ColumnKind::NumberText => "_number_text",
        ColumnKind::Boolean => "_boolean",
    });
    name
}

fn push_snake_case(text: &str, out: &mut String) {
    let mut characters = text.chars().peekable();
    let mut before: Option<char> = None;
    while let Some(character) = characters.next() {
        let starts_word = |before: char| {
            before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || (before.is_ascii_uppercase() && characters.peek().is_some_and(char::is_ascii_lowercase))
        };
        match character {
            'a'..='z' | '0'..='9' | '_' => out.push(character),
            'A'..='Z' => {
                if before.is_some_and(starts_word) {
                    out.push('_');
                }
                out.push(character.to_ascii_lowercase());
            }
            '-' | ' ' => out.push('_'),
            other => {
                // Writing to a string does not fail.
                let _ = write!(out, "_u{:x}_", u32::from(other));
            }
        }
        before = Some(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format::columns::column::FlatRow;
    use crate::storage::format::columns::messages::MessageRow;
    use crate::storage::format::columns::{conversations, events, feedback, threads};

    #[test]
    fn names_are_safe() {
        for (name, snake) in [
            ("id", "id"),
            ("firstMessageTime", "first_message_time"),
            ("areAIAnnotationsVerified", "are_ai_annotations_verified"),
            ("_row", "_row"),
            ("durationMs", "duration_ms"),
        ] {
            assert_eq!(snake_case(name), snake);
        }
        for (keys, kind, name) in [
            (&["plan"][..], ColumnKind::String, "properties_plan"),
            (&["a", "b"], ColumnKind::Number, "properties_a_b_number"),
            (&["pageURL"], ColumnKind::String, "properties_page_url"),
            (&["page-url 2"], ColumnKind::String, "properties_page_url_2"),
            (&["a.b"], ColumnKind::NumberText, "properties_a_u2e_b_number_text"),
            (&["", "é\"😀"], ColumnKind::Boolean, "properties_empty__ue9__u22__u1f600__boolean"),
        ] {
            let path: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(property_column(JsonField::Properties, &path, kind), name);
        }
        assert_eq!(
            property_column(JsonField::UserProperties, &["id".to_owned()], ColumnKind::String),
            "user_properties_id"
        );
    }

    #[test]
    fn plain_columns_of_a_table_have_names_of_their_own() {
        let messages: Vec<_> = MessageRow::COLUMNS.iter().map(|column| &column.field).collect();
        let tables = [&conversations::FIELDS[..], &threads::FIELDS, &events::FIELDS, &feedback::FIELDS, &messages];
        for fields in tables {
            let mut names: Vec<String> = fields.iter().map(|field| field.column()).collect();
            let is_safe =
                |name: &String| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            assert!(names.iter().all(is_safe), "{names:?}");
            names.sort();
            names.dedup();
            assert_eq!(names.len(), fields.len());
        }
    }
}
