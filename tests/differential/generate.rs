//! Random documents that are valid (contract A2) and unpleasant: small pools of awkward values, so that conditions hit.

use crate::oracle::documents::Stored;
use crate::oracle::json::{Value, integer, object, string, write_string};
use crate::random::Random;

/// Numbers whose spelling, size or sign is easily lost.
pub const NUMBERS: [&str; 30] = [
    "5",
    "5.0",
    "5.00",
    "-0",
    "-0.0",
    "0",
    "0.1",
    "0.2",
    "1.10",
    "1.1",
    "1e5",
    "100000",
    "1E+2",
    "9007199254740993",
    "9007199254740992",
    "9007199254740993.0",
    "9007199254740992.5",
    "-9007199254740993",
    "1e-7",
    "123456789.123456789",
    "-3",
    "2.5",
    "1e22",
    "1e308",
    "5e-324",
    "-1.5e1",
    "0e5",
    "18446744073709551616",
    "0.30000000000000004",
    "1e-400",
];

/// Strings: numerals and what only looks like one, cases, combining and astral characters, characters to escape.
pub const TEXTS: [&str; 40] = [
    "5",
    " 5",
    "5 ",
    "1e3",
    "0x1",
    "5.",
    ".5",
    "+7",
    "-2.5e1",
    "1e999",
    "1E-003",
    "NaN",
    "Infinity",
    "٣",
    "1_000",
    "",
    " ",
    "pro",
    "Pro",
    "PRO",
    "free",
    "null",
    "true",
    "é",
    "e\u{301}",
    "ß",
    "ẞ",
    "İ",
    "ı",
    "😀",
    "\u{ffff}",
    "\u{e000}x",
    "a\"b",
    "a\\b",
    "line\nbreak",
    "\u{1}\u{1f}\u{7f}",
    "%_'",
    "{\"a\": 1}",
    "2024-08-26",
    "\u{feff}x",
];

/// Zones with whole-hour clock changes at full hours (and two without): the oracle's hour buckets need that.
pub const ZONES: [&str; 10] = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Pacific/Auckland",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Africa/Cairo",
    "Pacific/Apia",
    "Asia/Tokyo",
];

/// Moments at the edges of buckets, of days with clock changes, before 1970, with fractions and offsets.
pub const MOMENTS: [&str; 40] = [
    "2024-01-01T00:00:00.000Z",
    "2023-12-31T23:59:59.999Z",
    "2024-02-29T12:00:00Z",
    "2024-08-26",
    "2024-08-25T23:59:59.9999Z",
    "2024-08-26T00:00:00Z",
    "2024-08-28T10:59:59.999+02:00",
    "2024-08-28T11:00:00+02:00",
    "2024-08-31T22:00:00Z",
    "2024-09-01T03:59:59.999Z",
    "2024-09-01T04:00:00Z",
    "2024-03-10T06:59:59Z",
    "2024-03-10T07:00:00Z",
    "2024-03-10T04:59:59Z",
    "2024-11-03T05:30:00Z",
    "2024-11-03T06:30:00Z",
    "2024-11-03T03:59:59Z",
    "2024-11-04T05:00:00Z",
    "2024-03-31T00:59:59Z",
    "2024-03-31T01:00:00Z",
    "2024-10-27T00:30:00Z",
    "2024-10-27T01:30:00Z",
    "2024-04-06T14:30:00Z",
    "2024-04-06T13:30:00Z",
    "2018-11-04T02:59:59.999Z",
    "2018-11-04T03:00:00Z",
    "2018-02-17T23:59:59-02:00",
    "2018-02-18T01:30:00Z",
    "2018-02-18T02:30:00Z",
    "2011-12-30T09:59:59.999Z",
    "2011-12-30T10:00:00Z",
    "2011-12-31T12:00:00Z",
    "2024-04-25T21:59:59Z",
    "2024-04-25T22:00:00Z",
    "2024-10-31T20:30:00Z",
    "2024-10-31T21:30:00Z",
    "1969-12-31T23:59:59.999Z",
    "1970-01-01T00:00:00Z",
    "1999-12-31T18:14:59.999Z",
    "2036-07-01T00:00:00.5-11:00",
];

pub const TAGS: [&str; 7] = ["x", "y", "billing", "", "Ünï 😀", "a,b", "\"q\""];
const ROLES: [&str; 5] = ["user", "User", "agent", "assistant", "user "];
const KINDS: [&str; 3] = ["openai", "support_ticket", "support_copilot"];

/// A key that is longer than a column path may be.
pub fn long_key() -> String {
    "long".repeat(80)
}

fn number(random: &mut Random) -> Value {
    Value::Number(random.pick(&NUMBERS).to_string())
}

fn text(random: &mut Random) -> Value {
    string(random.pick(&TEXTS))
}

fn scalar(random: &mut Random) -> Value {
    match random.below(10) {
        0..=3 => number(random),
        4..=7 => text(random),
        8 => Value::Bool(random.percent(50)),
        _ => Value::Null,
    }
}

/// Any value, at most `depth` levels deep.
pub fn anything(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 8 } else { 12 }) {
        8 | 9 => Value::Array((0..random.below(4)).map(|_| anything(random, depth - 1)).collect()),
        10 | 11 => {
            let mut pairs = Vec::new();
            for key in ["a", "A", "b", "bb", "é", "0", ""] {
                if random.percent(25) {
                    pairs.push((key.to_string(), anything(random, depth - 1)));
                }
            }
            Value::Object(pairs)
        }
        _ => scalar(random),
    }
}

fn small_object(random: &mut Random) -> Value {
    let mut pairs = Vec::new();
    for key in ["k", "l", "m"] {
        if random.percent(60) {
            pairs.push((
                key.to_string(),
                if random.percent(60) { integer(random.below(3) as i64) } else { scalar(random) },
            ));
        }
    }
    Value::Object(pairs)
}

/// The value under one of the usual keys of `properties`.
fn property(random: &mut Random, key: &str) -> Value {
    match key {
        // Only strings, only numbers, only booleans: what becomes one clean column.
        "plan" => string(random.pick(&["free", "pro", "Pro", "PRO", "enterprise", "", "é", "e\u{301}"])),
        "n" => integer(random.below(12) as i64 - 2),
        "ratio" => {
            Value::Number(random.pick(&["0.1", "0.2", "0.30", "0.3", "1e-1", "7.25", "-0.0", "1e16"]).to_string())
        }
        "active" => Value::Bool(random.percent(50)),
        // Every kind at one path.
        "score" | "a.b" | "A" | "a" | "" | "%" => anything(random, 1),
        "numerals" => match random.below(3) {
            0 => number(random),
            _ => string(random.pick(&["5", " 5", "1e3", "0x1", "5.", ".5", "+7", "-2.5e1", "1e999", "12", "1_000"])),
        },
        "list" => Value::Array((0..random.below(4)).map(|_| scalar(random)).collect()),
        "objects" => Value::Array((0..random.below(3)).map(|_| small_object(random)).collect()),
        "nested" => {
            let inner = match random.below(8) {
                0 => scalar(random),
                1 => Value::Object(Vec::new()),
                _ => {
                    let mut pairs = vec![("c".to_string(), scalar(random))];
                    if random.percent(50) {
                        pairs.push(("d".to_string(), string(random.pick(&["x", "y", "Z"]))));
                    }
                    if random.percent(30) {
                        pairs.push((
                            "list".to_string(),
                            Value::Array((0..random.below(3)).map(|_| anything(random, 1)).collect()),
                        ));
                    }
                    Value::Object(pairs)
                }
            };
            match random.below(8) {
                0 => anything(random, 1),
                _ => object(vec![("b", inner), ("n", integer(random.below(5) as i64))]),
            }
        }
        "small" => small_object(random),
        "deep" => {
            let mut value = scalar(random);
            for level in 0..random.below(28) {
                value = if level % 3 == 2 { Value::Array(vec![value]) } else { object(vec![("d", value)]) };
            }
            value
        }
        _ => anything(random, 2),
    }
}

const KEYS: [&str; 22] = [
    "plan",
    "n",
    "ratio",
    "active",
    "score",
    "numerals",
    "list",
    "objects",
    "nested",
    "small",
    "deep",
    "a.b",
    "A",
    "a",
    "",
    "%",
    "0",
    "sp ace",
    "q\"k\\",
    "né",
    "ne\u{301}",
    "😀\n",
];

pub fn properties(random: &mut Random) -> Value {
    match random.below(20) {
        0 => return Value::Null,
        1 => return Value::Object(Vec::new()),
        _ => {}
    }
    let mut pairs: Vec<(String, Value)> = Vec::new();
    for key in KEYS {
        let chance = match key {
            "plan" | "n" | "score" | "nested" | "ratio" => 75,
            "active" | "numerals" | "list" | "small" | "objects" => 50,
            _ => 25,
        };
        if random.percent(chance) {
            pairs.push((key.to_string(), property(random, key)));
        }
    }
    if random.percent(20) {
        pairs.push((long_key(), scalar(random)));
    }
    for _ in 0..random.below(3) {
        let key = format!("random{}", random.below(2_000));
        if !pairs.iter().any(|(other, _)| *other == key) {
            pairs.push((key, scalar(random)));
        }
    }
    random.shuffle(&mut pairs);
    Value::Object(pairs)
}

/// The keys with a fixed type keep it; all others are free.
pub fn user_properties(random: &mut Random) -> Value {
    if random.percent(15) {
        return Value::Null;
    }
    let mut pairs: Vec<(String, Value)> = Vec::new();
    for key in ["id", "userId", "identificationType", "userType", "score", "country", "nested", "random"] {
        if !random.percent(50) {
            continue;
        }
        let value = match key {
            "id" | "userId" => match random.below(8) {
                0 => Value::Null,
                1 | 2 => integer(random.below(4) as i64),
                _ => string(random.pick(&["1", "2", "u-1", "u-2", "é"])),
            },
            "identificationType" | "userType" => match random.below(4) {
                0 => Value::Null,
                _ => string(random.pick(&["COOKIE", "member", "5"])),
            },
            "country" => string(random.pick(&["DE", "de", "US", "日本"])),
            _ => property(random, key),
        };
        pairs.push((key.to_string(), value));
    }
    Value::Object(pairs)
}

pub fn moment(random: &mut Random) -> Value {
    if random.percent(60) {
        return string(random.pick(&MOMENTS));
    }
    let (month, day, hour) = (1 + random.below(12), 1 + random.below(28), random.below(24));
    string(&format!("2024-{month:02}-{day:02}T{hour:02}:30:00.{:03}Z", random.below(1_000)))
}

fn content(random: &mut Random, kind: &str) -> Value {
    match random.below(10) {
        0 if kind != "openai" => Value::Null,
        1 if kind == "openai" => Value::Array(vec![
            object(vec![("type", string("text")), ("text", string(random.pick(&TEXTS)))]),
            object(vec![
                ("type", string("image_url")),
                ("image_url", object(vec![("url", string("https://example.org/i.png"))])),
            ]),
        ]),
        _ => string(random.pick(&TEXTS)),
    }
}

fn message(random: &mut Random, kind: &str, unique: &mut usize) -> Value {
    *unique += 1;
    let role = if kind == "openai" { *random.pick(&["user", "assistant", "system"]) } else { *random.pick(&ROLES) };
    let mut pairs = vec![("role", string(role)), ("content", content(random, kind))];
    if random.percent(40) {
        pairs.push(("id", string(&format!("message-{unique}"))));
    }
    if random.percent(40) {
        pairs.push(("externalId", string(&format!("external message {unique}"))));
    }
    if random.percent(50) {
        pairs.push(("createdAt", moment(random)));
    } else if random.percent(30) {
        pairs.push(("createdAt", Value::Null));
    }
    if random.percent(10) {
        pairs.push(("properties", anything_object(random)));
    }
    random.shuffle(&mut pairs);
    object(pairs)
}

fn anything_object(random: &mut Random) -> Value {
    object(vec![("any", anything(random, 2))])
}

/// The parts that a document has whatever it replaces.
fn frame(random: &mut Random, kind: &str) -> Vec<(&'static str, Value)> {
    let mut pairs =
        vec![("type", string(kind)), ("properties", properties(random)), ("userProperties", user_properties(random))];
    if random.percent(70) {
        pairs.push(("createdAt", moment(random)));
    }
    if random.percent(50) {
        let edges =
            ["0001-01-08T00:00:00Z", "9999-12-31T23:59:59.999Z", "2024-08-26T00:00:00.001Z", "2024-08-26T00:00:00Z"];
        pairs.push(("updatedAt", string(random.pick(&edges))));
    }
    if random.percent(50) {
        let count = random.below(4);
        pairs.push(("tags", Value::Array((0..count).map(|_| string(random.pick(&TAGS))).collect())));
    }
    if random.percent(30) {
        pairs.push(("visibility", string(random.pick(&["private", "public"]))));
    }
    if random.percent(20) {
        pairs.push(("integrationId", string(random.pick(&["widget", "cli", "5"]))));
    }
    if random.percent(20) {
        pairs.push(("externalUrl", string(random.pick(&["https://example.org/1", "", "x"]))));
    }
    if random.percent(20) {
        pairs.push(("supportTicketConversationId", string(random.pick(&["t-1", "t-2"]))));
    }
    if random.percent(20) {
        pairs.push(("anUnknownField", anything(random, 1)));
    }
    pairs
}

/// A new conversation; `number` makes its ids unique. The same number gives the same id in every project.
pub fn document(random: &mut Random, number: usize) -> Value {
    let kind = *random.pick(&KINDS);
    let mut pairs = frame(random, kind);
    if random.percent(60) {
        let id = match number % 5 {
            0 => format!("conversation/{number} %é"),
            1 => format!("C-{number}"),
            _ => format!("c-{number}"),
        };
        pairs.push(("id", string(&id)));
    } else if random.percent(30) {
        pairs.push(("id", Value::Null));
    }
    if random.percent(50) {
        pairs.push(("externalId", string(&format!("external-{number}"))));
    }
    let mut unique = number * 100;
    let count = 1 + random.below(4);
    pairs.push(("messages", Value::Array((0..count).map(|_| message(random, kind, &mut unique)).collect())));
    random.shuffle(&mut pairs);
    object(pairs)
}

/// A document that replaces `stored`, named by its id or its external id, with some of its messages again.
pub fn replacement(random: &mut Random, stored: &Stored, number: usize) -> Value {
    let kind = if random.percent(80) { stored.kind.as_str() } else { "support_ticket" };
    let kind = KINDS.into_iter().find(|known| *known == kind).unwrap_or("support_ticket");
    let mut pairs = frame(random, kind);
    match &stored.external_id {
        Some(external_id) if random.percent(50) => pairs.push(("externalId", string(external_id))),
        Some(external_id) if random.percent(50) => {
            pairs.push(("externalId", string(external_id)));
            pairs.push(("id", string(&stored.id)));
        }
        _ => pairs.push(("id", string(&stored.id))),
    }
    let mut messages = Vec::new();
    let mut unique = number * 100;
    for old in &stored.messages {
        if random.percent(15) {
            continue;
        }
        let same = crate::oracle::json::parse(&old.content).unwrap_or(Value::Null);
        let fits = match kind {
            "openai" => same != Value::Null && ["user", "assistant", "system"].contains(&old.role.as_str()),
            _ => matches!(same, Value::Null | Value::String(_)),
        };
        if !fits {
            messages.push(message(random, kind, &mut unique));
            continue;
        }
        let mut parts = vec![
            ("role", string(&old.role)),
            ("content", if random.percent(80) { same } else { content(random, kind) }),
        ];
        match (random.below(3), &old.external_id) {
            (0, _) => parts.push(("id", string(&old.id))),
            (1, Some(external_id)) => parts.push(("externalId", string(external_id))),
            _ => {}
        }
        if random.percent(20) {
            parts.push(("createdAt", moment(random)));
        }
        messages.push(object(parts));
    }
    if messages.is_empty() || random.percent(40) {
        messages.push(message(random, kind, &mut unique));
    }
    pairs.push(("messages", Value::Array(messages)));
    object(pairs)
}

/// `document` with another value under `key`.
pub fn with(mut document: Value, key: &str, value: Value) -> Value {
    if let Value::Object(pairs) = &mut document {
        pairs.retain(|(name, _)| name != key);
        pairs.push((key.to_string(), value));
    }
    document
}

/// A document with about 800 of 1,300 keys, each common enough to become a column: more than columns are allowed.
pub fn wide_document(random: &mut Random, number: usize) -> Value {
    let mut pairs = Vec::new();
    for key in 0..1_300 {
        if random.percent(60) {
            let value = match key % 4 {
                0 => integer(random.below(5) as i64),
                1 => string(random.pick(&["x", "y", "z"])),
                2 => Value::Bool(random.percent(50)),
                _ => anything(random, 1),
            };
            pairs.push((format!("wide{key}"), value));
        }
    }
    object(vec![
        ("id", string(&format!("wide-{number}"))),
        ("type", string("support_ticket")),
        ("createdAt", moment(random)),
        ("properties", Value::Object(pairs)),
        ("messages", Value::Array(vec![object(vec![("role", string("user")), ("content", string("hello"))])])),
    ])
}

/// The document's JSON text with free white space, escapes that need not be, and now and then a key twice.
pub fn spell(document: &Value, random: &mut Random) -> String {
    let mut text = String::new();
    spell_into(document, random, &mut text);
    text
}

fn spell_into(value: &Value, random: &mut Random, into: &mut String) {
    let space = |random: &mut Random, into: &mut String| {
        if random.percent(5) {
            into.push_str(*random.pick(&[" ", "\n", "\t ", "\r\n"]));
        }
    };
    space(random, into);
    match value {
        Value::String(text) => spell_string(text, random, into),
        Value::Array(elements) => {
            into.push('[');
            for (place, element) in elements.iter().enumerate() {
                if place > 0 {
                    into.push(',');
                }
                spell_into(element, random, into);
            }
            into.push(']');
        }
        Value::Object(pairs) => {
            into.push('{');
            for (place, (key, value)) in pairs.iter().enumerate() {
                if place > 0 {
                    into.push(',');
                }
                // Side by side, so that the key's place does not depend on which of the two keeps it.
                if random.percent(1) && matches!(value, Value::Number(_) | Value::Null) {
                    spell_string(key, random, into);
                    into.push_str(":\"replaced\",");
                }
                space(random, into);
                spell_string(key, random, into);
                into.push(':');
                spell_into(value, random, into);
            }
            into.push('}');
        }
        plain => into.push_str(&plain.to_text()),
    }
    space(random, into);
}

fn spell_string(text: &str, random: &mut Random, into: &mut String) {
    if !random.percent(10) {
        return write_string(text, into);
    }
    into.push('"');
    for unit in text.encode_utf16() {
        into.push_str(&format!("\\u{unit:04X}"));
    }
    into.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::json;

    #[test]
    fn spelling_keeps_the_document() {
        let mut random = Random::new(7);
        for number in 0..200 {
            let document = document(&mut random, number);
            let text = spell(&document, &mut random);
            assert_eq!(json::parse(&text).as_ref(), Ok(&document), "{text}");
        }
    }
}
