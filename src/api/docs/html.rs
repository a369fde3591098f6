//! HTML text, and reading the description.

use std::fmt::Write;

use serde_json::Value;

/// Writing to a string does not fail.
macro_rules! put {
    ($out:expr, $($argument:tt)*) => {{
        let _ = write!($out, $($argument)*);
    }};
}
pub(crate) use put;

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn members<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    value.get(key).and_then(Value::as_object).into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

pub(crate) fn elements<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Escaped text in which `code` between backquotes is marked.
pub(crate) fn inline(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = escape(part);
        if index % 2 == 1 {
            put!(html, "<code>{part}</code>");
        } else {
            html.push_str(&part);
        }
    }
    html
}

/// Paragraphs and lists.
pub(crate) fn markdown(text: &str) -> String {
    let mut html = String::new();
    for block in text.split("\n\n") {
        if block.trim_start().starts_with("- ") {
            let items: Vec<String> = block
                .lines()
                .filter_map(|line| line.trim_start().strip_prefix("- "))
                .map(|item| format!("<li>{}</li>", inline(item)))
                .collect();
            put!(html, "<ul>{}</ul>", items.concat());
        } else if !block.trim().is_empty() {
            put!(html, "<p>{}</p>", inline(block));
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(inline("a <b> `c & \"d\"`"), "a &lt;b&gt; <code>c &amp; &quot;d&quot;</code>");
        assert_eq!(
            markdown("one\n\n- `a`\n- b\n\ntwo"),
            "<p>one</p><ul><li><code>a</code></li><li>b</li></ul><p>two</p>"
        );
    }
}
