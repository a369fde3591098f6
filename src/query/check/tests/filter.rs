//! `where`: conditions in their checked form, and what is rejected.

use super::*;
use crate::query::dsl::{Comparison, Condition, Filter, Literal};

fn path_of(reference: &FieldRef) -> String {
    reference.column_name()
}

/// A condition in one line, for the tables below.
fn shown(condition: &Condition) -> String {
    let literal = |literal: &Literal| match literal {
        Literal::Text(text) => format!("text {text}"),
        Literal::Number(token) => format!("number {token}"),
        Literal::Boolean(value) => format!("boolean {value}"),
        Literal::Time(millis) => format!("time {millis}"),
        Literal::Json(json) => format!("json {json}"),
    };
    match condition {
        Condition::IsNull(target) => format!("{} is null", path_of(target)),
        Condition::IsNotNull(target) => format!("{} is not null", path_of(target)),
        Condition::In { target, values, or_null, negated } => format!(
            "{} {} [{}]{}",
            path_of(target),
            if *negated { "not in" } else { "in" },
            values.iter().map(literal).collect::<Vec<_>>().join("; "),
            if *or_null { " or null" } else { "" }
        ),
        Condition::ContainsWords { targets, words } => {
            format!("{} contains {}", targets.iter().map(path_of).collect::<Vec<_>>().join("|"), words.join(" and "))
        }
        Condition::SameText { target, text } => format!("{} same {text}", path_of(target)),
        Condition::Compare { target, comparison, value } => {
            let sign = match comparison {
                Comparison::Gt => ">",
                Comparison::Gte => ">=",
                Comparison::Lt => "<",
                Comparison::Lte => "<=",
            };
            format!("{} {sign} {}", path_of(target), literal(value))
        }
        Condition::ArrayContains { target, values } => {
            let values = values.iter().map(Json::to_string).collect::<Vec<_>>().join("; ");
            format!("{} has values [{values}]", path_of(target))
        }
        Condition::JsonContains { target, value } => format!("{} @> {value}", path_of(target)),
        Condition::JsonContainedBy { target, value } => format!("{} <@ {value}", path_of(target)),
        Condition::JsonHasKeys { target, keys, all } => {
            format!("{} has {} of {}", path_of(target), if *all { "all" } else { "any" }, keys.join("; "))
        }
        Condition::JsonArrayContainsObject { target, object } => {
            format!("{} has element @> {object}", path_of(target))
        }
    }
}

fn tree(filter: &Filter) -> String {
    let join = |parts: &[Filter], word: &str| format!("({})", parts.iter().map(tree).collect::<Vec<_>>().join(word));
    match filter {
        Filter::And(parts) => join(parts, " and "),
        Filter::Or(parts) => join(parts, " or "),
        Filter::Condition(condition) => shown(condition),
    }
}

#[test]
fn conditions() {
    for (condition, expected) in [
        // Plain fields.
        (r#"{"field":"id","operator":"eq","value":"a"}"#, "id in [text a]"),
        (r#"{"field":"type","operator":"neq","value":"no_such_type"}"#, "type not in [text no_such_type]"),
        (r#"{"field":"id","operator":"gt","value":"m"}"#, "id > text m"),
        (r#"{"field":"userMessageCount","operator":"eq","value":1.0}"#, "userMessageCount in [number 1.0]"),
        (r#"{"field":"messageCount","operator":"lte","value":1e1}"#, "messageCount <= number 1e1"),
        (r#"{"field":"isEnd","operator":"eq","value":true}"#, "isEnd in [boolean true]"),
        (r#"{"field":"isEnd","operator":"in","value":[true,null]}"#, "isEnd in [boolean true] or null"),
        // Times.
        (r#"{"field":"createdAt","operator":"gte","value":"2024-08-26T00:00:00Z"}"#, "createdAt >= time 1724630400000"),
        (
            r#"{"field":"createdAt","operator":"lt","value":"2024-08-26T02:00:00+02:00"}"#,
            "createdAt < time 1724630400000",
        ),
        (r#"{"field":"createdAt","operator":"gt","value":"2024-08-26T00:00:00"}"#, "createdAt > time 1724630400000"),
        (r#"{"field":"createdAt","operator":"eq","value":"2024-08-26"}"#, "createdAt in [time 1724630400000]"),
        (r#"{"field":"createdAt","operator":"neq","value":1724630400000}"#, "createdAt not in [time 1724630400000]"),
        (
            r#"{"field":"firstMessageTime","operator":"in","value":["2024-08-26",1.5e3,null]}"#,
            "firstMessageTime in [time 1724630400000; time 1.5e3] or null",
        ),
        // Nulls.
        (r#"{"field":"title","operator":"eq","value":null}"#, "title is null"),
        (r#"{"field":"title","operator":"neq","value":null}"#, "title is not null"),
        (r#"{"field":"properties","operator":"eq","value":{"path":["a"],"value":null}}"#, "properties.a is null"),
        (r#"{"field":"properties","operator":"neq","value":null}"#, "properties is not null"),
        (r#"{"field":"title","operator":"in","value":[]}"#, "title in []"),
        (r#"{"field":"title","operator":"in","value":[null]}"#, "title in [] or null"),
        (r#"{"field":"title","operator":"notIn","value":["a",null]}"#, "title not in [text a]"),
        (r#"{"field":"title","operator":"notIn","value":[]}"#, "title not in []"),
        (r#"{"field":"title","operator":"isNull"}"#, "title is null"),
        (r#"{"field":"title","operator":"isNotNull","value":null}"#, "title is not null"),
        (r#"{"field":"userMessageCount","operator":"isNull","value":"ignored"}"#, "userMessageCount is null"),
        (r#"{"field":"title","operator":"isNull","value":{"path":[]}}"#, "title is null"),
        (r#"{"field":"properties","operator":"isNull","value":{"path":["a"]}}"#, "properties.a is null"),
        (
            r#"{"field":"properties","operator":"isNotNull","value":{"path":["a","0"],"value":5}}"#,
            "properties.a.0 is not null",
        ),
        (r#"{"field":"properties","operator":"isNull","value":{"other":1}}"#, "properties is null"),
        // Values at a path keep their JSON type.
        (r#"{"field":"properties","operator":"eq","value":{"path":["a"],"value":5}}"#, "properties.a in [json 5]"),
        (
            r#"{"field":"properties","operator":"eq","value":{"value":"5","path":["a"]}}"#,
            r#"properties.a in [json "5"]"#,
        ),
        (
            r#"{"field":"properties","operator":"neq","value":{"path":["a"],"value":{"b":[1]}}}"#,
            r#"properties.a not in [json {"b":[1]}]"#,
        ),
        (
            r#"{"field":"properties","operator":"in","value":{"path":["a"],"value":[1,"x",true,null,[2]]}}"#,
            r#"properties.a in [json 1; json "x"; json true; json [2]] or null"#,
        ),
        (r#"{"field":"properties","operator":"gt","value":{"path":["a"],"value":1.50}}"#, "properties.a > number 1.50"),
        (r#"{"field":"properties","operator":"lt","value":{"path":["a"],"value":"x"}}"#, "properties.a < text x"),
        // Whole JSON fields; objects that are no path form.
        (r#"{"field":"properties","operator":"eq","value":{"a":1}}"#, r#"properties in [json {"a":1}]"#),
        (
            r#"{"field":"properties","operator":"eq","value":{"path":"a","value":1}}"#,
            r#"properties in [json {"path":"a","value":1}]"#,
        ),
        (
            r#"{"field":"properties","operator":"eq","value":{"path":["a",1]}}"#,
            r#"properties in [json {"path":["a",1]}]"#,
        ),
        (
            r#"{"field":"properties","operator":"eq","value":{"path":["a"],"value":1,"c":2}}"#,
            r#"properties in [json {"path":["a"],"value":1,"c":2}]"#,
        ),
        (
            r#"{"field":"properties","operator":"eq","value":{"path":[],"value":{"path":["a"]}}}"#,
            r#"properties in [json {"path":["a"]}]"#,
        ),
        (
            r#"{"field":"properties","operator":"notIn","value":[{"a":1},null,{"path":["a"]}]}"#,
            r#"properties not in [json {"a":1}; json {"path":["a"]}]"#,
        ),
        // Lists.
        (r#"{"field":"tags","operator":"eq","value":["a","b"]}"#, r#"tags in [json ["a","b"]]"#),
        (r#"{"field":"tags","operator":"in","value":[["a"],null]}"#, r#"tags in [json ["a"]] or null"#),
        (r#"{"field":"tags","operator":"arrayContains","value":"a"}"#, r#"tags has values ["a"]"#),
        (
            r#"{"field":"categories","operator":"arrayContains","value":["a","b"]}"#,
            r#"categories has values ["a"; "b"]"#,
        ),
        (r#"{"field":"tags","operator":"arrayContains","value":[]}"#, "tags has values []"),
        (
            r#"{"field":"properties","operator":"arrayContains","value":{"path":["a"],"value":{"b":1}}}"#,
            r#"properties.a has values [{"b":1}]"#,
        ),
        (
            r#"{"field":"properties","operator":"arrayContains","value":{"path":["a"],"value":[1,null,"x"]}}"#,
            r#"properties.a has values [1; null; "x"]"#,
        ),
        // JSON operators.
        (r#"{"field":"properties","operator":"jsonContains","value":{"a":1}}"#, r#"properties @> {"a":1}"#),
        (
            r#"{"field":"properties","operator":"jsonContains","value":{"path":["a"],"value":[1]}}"#,
            "properties.a @> [1]",
        ),
        (
            r#"{"field":"properties","operator":"jsonContains","value":{"path":["a"],"value":{"path":["b"]}}}"#,
            r#"properties.a @> {"path":["b"]}"#,
        ),
        (r#"{"field":"userProperties","operator":"jsonContainedBy","value":{}}"#, "userProperties <@ {}"),
        (
            r#"{"field":"properties","operator":"jsonContainedBy","value":{"path":["a"],"value":5}}"#,
            "properties.a <@ 5",
        ),
        (r#"{"field":"properties","operator":"jsonHasKey","value":"a"}"#, "properties has all of a"),
        (
            r#"{"field":"properties","operator":"jsonHasKey","value":{"path":["a"],"value":"b"}}"#,
            "properties.a has all of b",
        ),
        (r#"{"field":"properties","operator":"jsonHasAnyKey","value":["a","b"]}"#, "properties has any of a; b"),
        (
            r#"{"field":"properties","operator":"jsonHasAllKeys","value":{"path":["a"],"value":[]}}"#,
            "properties.a has all of ",
        ),
        (
            r#"{"field":"properties","operator":"jsonArrayContainsObject","value":{"path":["a"],"value":{"b":1}}}"#,
            r#"properties.a has element @> {"b":1}"#,
        ),
        (
            r#"{"field":"properties","operator":"jsonArrayContainsObject","value":{"b":1}}"#,
            r#"properties has element @> {"b":1}"#,
        ),
    ] {
        let query = checked(&where_condition(condition));
        assert_eq!(query.filter.as_ref().map(tree).as_deref(), Some(expected), "{condition}");
    }
}

#[test]
fn rejected_conditions() {
    const VALUE: &str = "where.condition.value";
    const OPERATOR: &str = "where.condition.operator";
    for (condition, path, part) in [
        ("[]", "where.condition", "array given, an object is needed"),
        (r#"{"operator":"eq","value":1}"#, "where.condition.field", "missing"),
        (r#"{"field":"ids","operator":"eq","value":1}"#, "where.condition.field", "did you mean `id`?"),
        (r#"{"field":"id.x","operator":"eq","value":1}"#, "where.condition.field", "unknown field"),
        (r#"{"field":"id","value":1}"#, OPERATOR, "missing"),
        (r#"{"field":"id","operator":"equals","value":1}"#, OPERATOR, "unknown operator `equals`"),
        (r#"{"field":"id","operator":"notin","value":[]}"#, OPERATOR, "did you mean `notIn`?"),
        (r#"{"field":"id","operator":"eq","values":"a"}"#, "where.condition.values", "did you mean `value`?"),
        (r#"{"field":"id","operator":"eq"}"#, VALUE, "`eq` needs a value"),
        (r#"{"field":"id","operator":"in"}"#, VALUE, "missing"),
        (r#"{"field":"properties","operator":"eq","value":{"path":["a"]}}"#, "where.condition.value.value", "missing"),
        (
            r#"{"field":"properties","operator":"jsonHasKey","value":{"path":["a"]}}"#,
            "where.condition.value.value",
            "missing",
        ),
        (
            r#"{"field":"id","operator":"eq","value":{"path":["a"],"value":1}}"#,
            "where.condition.value.path",
            "takes no path",
        ),
        (
            r#"{"field":"createdAt","operator":"isNull","value":{"path":["a"]}}"#,
            "where.condition.value.path",
            "takes no path",
        ),
        // Kinds of values.
        (r#"{"field":"id","operator":"eq","value":5}"#, VALUE, "number given, a string is needed"),
        (r#"{"field":"id","operator":"eq","value":["a"]}"#, VALUE, "array given, a string is needed"),
        (r#"{"field":"id","operator":"neq","value":true}"#, VALUE, "boolean given"),
        (r#"{"field":"id","operator":"in","value":["a",5]}"#, "where.condition.value[1]", "number given"),
        (r#"{"field":"id","operator":"in","value":"a"}"#, VALUE, "string given, a list is needed"),
        (r#"{"field":"id","operator":"in","value":null}"#, VALUE, "null given, a list is needed"),
        (r#"{"field":"id","operator":"notIn","value":{}}"#, VALUE, "object given, a list is needed"),
        (r#"{"field":"userMessageCount","operator":"gt","value":"5"}"#, VALUE, "string given, a number is needed"),
        (r#"{"field":"userMessageCount","operator":"eq","value":"5"}"#, VALUE, "a number is needed"),
        (r#"{"field":"isEnd","operator":"eq","value":"true"}"#, VALUE, "a boolean is needed"),
        (r#"{"field":"isEnd","operator":"eq","value":1}"#, VALUE, "a boolean is needed"),
        (r#"{"field":"createdAt","operator":"gt","value":"yesterday"}"#, VALUE, "`yesterday` is no ISO 8601"),
        (r#"{"field":"createdAt","operator":"gt","value":true}"#, VALUE, "boolean given, an ISO 8601 time"),
        (r#"{"field":"createdAt","operator":"in","value":[1,"x"]}"#, "where.condition.value[1]", "no ISO 8601"),
        (r#"{"field":"tags","operator":"eq","value":"a"}"#, VALUE, "a list of strings"),
        (r#"{"field":"tags","operator":"eq","value":["a",1]}"#, "where.condition.value[1]", "a string is needed"),
        (r#"{"field":"tags","operator":"in","value":["a"]}"#, "where.condition.value[0]", "a list of strings"),
        // gt, gte, lt, lte.
        (r#"{"field":"id","operator":"gt","value":null}"#, VALUE, "null given"),
        (r#"{"field":"id","operator":"gte","value":["a"]}"#, VALUE, "array given"),
        (r#"{"field":"messageCount","operator":"lt","value":{}}"#, VALUE, "object given"),
        (r#"{"field":"isEnd","operator":"gt","value":true}"#, OPERATOR, "boolean field"),
        (r#"{"field":"tags","operator":"lte","value":["a"]}"#, OPERATOR, "list field"),
        (r#"{"field":"properties","operator":"gt","value":{"a":1}}"#, OPERATOR, "whole JSON field"),
        (r#"{"field":"properties","operator":"gt","value":5}"#, OPERATOR, "whole JSON field"),
        (
            r#"{"field":"properties","operator":"gt","value":{"path":["a"],"value":true}}"#,
            "where.condition.value.value",
            "boolean given, a number or a string is needed",
        ),
        (
            r#"{"field":"properties","operator":"lt","value":{"path":["a"],"value":null}}"#,
            "where.condition.value.value",
            "null given",
        ),
        (
            r#"{"field":"properties","operator":"lt","value":{"path":["a"],"value":[1]}}"#,
            "where.condition.value.value",
            "array given",
        ),
        // Whole JSON fields.
        (r#"{"field":"properties","operator":"eq","value":"a"}"#, VALUE, "an object"),
        (r#"{"field":"properties","operator":"neq","value":[1]}"#, VALUE, "an object"),
        (r#"{"field":"properties","operator":"in","value":[{"a":1},5]}"#, "where.condition.value[1]", "an object"),
        (r#"{"field":"properties","operator":"jsonContains","value":5}"#, VALUE, "an object"),
        (r#"{"field":"properties","operator":"jsonContains","value":null}"#, VALUE, "null given"),
        (r#"{"field":"properties","operator":"jsonContainedBy","value":[]}"#, VALUE, "an object"),
        (r#"{"field":"properties","operator":"arrayContains","value":5}"#, OPERATOR, "whole JSON field"),
        (
            r#"{"field":"properties","operator":"arrayContains","value":{"path":[],"value":5}}"#,
            OPERATOR,
            "whole JSON field",
        ),
        // Operators of other types.
        (r#"{"field":"id","operator":"arrayContains","value":"a"}"#, OPERATOR, "is neither"),
        (r#"{"field":"createdAt","operator":"arrayContains","value":1}"#, OPERATOR, "is neither"),
        (r#"{"field":"tags","operator":"arrayContains","value":5}"#, VALUE, "number given"),
        (r#"{"field":"tags","operator":"arrayContains","value":["a",null]}"#, VALUE, "null given"),
        (r#"{"field":"id","operator":"jsonContains","value":{}}"#, OPERATOR, "`jsonContains` needs a JSON field"),
        (r#"{"field":"tags","operator":"jsonContainedBy","value":["a"]}"#, OPERATOR, "needs a JSON field"),
        (r#"{"field":"tags","operator":"jsonHasKey","value":"a"}"#, OPERATOR, "needs a JSON field"),
        (r#"{"field":"isEnd","operator":"jsonHasAnyKey","value":["a"]}"#, OPERATOR, "needs a JSON field"),
        (r#"{"field":"type","operator":"jsonHasAllKeys","value":["a"]}"#, OPERATOR, "needs a JSON field"),
        (r#"{"field":"tags","operator":"jsonArrayContainsObject","value":{}}"#, OPERATOR, "needs a JSON field"),
        (r#"{"field":"properties","operator":"jsonHasKey","value":["a"]}"#, VALUE, "a string is needed"),
        (r#"{"field":"properties","operator":"jsonHasKey","value":null}"#, VALUE, "null given"),
        (r#"{"field":"properties","operator":"jsonHasAnyKey","value":"a"}"#, VALUE, "a list is needed"),
        (r#"{"field":"properties","operator":"jsonHasAllKeys","value":["a",1]}"#, "where.condition.value[1]", "number"),
        (r#"{"field":"properties","operator":"jsonArrayContainsObject","value":[{}]}"#, VALUE, "an object is needed"),
        (
            r#"{"field":"properties","operator":"jsonArrayContainsObject","value":{"path":["a"],"value":1}}"#,
            "where.condition.value.value",
            "an object is needed",
        ),
    ] {
        all_rejected(&[(&where_condition(condition), path, part)]);
    }
}

#[test]
fn filter_objects() {
    let good = r#"{"condition":{"field":"id","operator":"eq","value":"a"}}"#;
    let bad = r#"{"condition":{"field":"id","operator":"like","value":"a"}}"#;
    let rejected = [
        (r#"{"where":{}}"#.to_owned(), "where", "none given"),
        (r#"{"where":{"and":null}}"#.to_owned(), "where", "none given"),
        (r#"{"where":[]}"#.to_owned(), "where", "an object is needed"),
        (r#"{"where":"id"}"#.to_owned(), "where", "an object is needed"),
        (r#"{"where":{"and":[],"or":[]}}"#.to_owned(), "where", "only one of"),
        (r#"{"where":{"not":{}}}"#.to_owned(), "where.not", "unknown key"),
        (r#"{"where":{"And":[]}}"#.to_owned(), "where.And", "did you mean `and`?"),
        (r#"{"where":{"field":"id","operator":"eq","value":"a"}}"#.to_owned(), "where.field", "unknown key"),
        (r#"{"where":{"and":{}}}"#.to_owned(), "where.and", "object given, a list is needed"),
        (r#"{"where":{"or":[{}]}}"#.to_owned(), "where.or[0]", "none given"),
        (r#"{"where":{"or":[null]}}"#.to_owned(), "where.or[0]", "null given"),
        (
            format!(r#"{{"where":{{"and":[{good},{bad}]}}}}"#),
            "where.and[1].condition.operator",
            "unknown operator `like`",
        ),
        // A constant beside it does not hide an error.
        (format!(r#"{{"where":{{"and":[{{"or":[]}},{bad}]}}}}"#), "where.and[1].condition.operator", "like"),
    ];
    for (body, path, part) in rejected {
        all_rejected(&[(&body, path, part)]);
    }
    let condition = |id: &str| format!(r#"{{"condition":{{"field":"id","operator":"eq","value":"{id}"}}}}"#);
    let (a, b, c) = (condition("a"), condition("b"), condition("c"));
    for (filter, expected) in [
        (r#"{"and":[]}"#.to_owned(), None),
        (r#"{"or":[]}"#.to_owned(), Some("()")),
        (r#"{"or":[{"and":[]},{"or":[]}]}"#.to_owned(), None),
        (r#"{"and":[{"and":[]},{"or":[]}]}"#.to_owned(), Some("()")),
        (format!(r#"{{"and":[{a}],"or":null}}"#), Some("id in [text a]")),
        (
            format!(r#"{{"and":[{a},{{"and":[]}},{{"and":[{b},{c}]}}]}}"#),
            Some("(id in [text a] and id in [text b] and id in [text c])"),
        ),
        (
            format!(r#"{{"or":[{a},{{"and":[{b},{c}]}}]}}"#),
            Some("(id in [text a] or (id in [text b] and id in [text c]))"),
        ),
        (
            format!(r#"{{"and":[{a},{{"or":[{b},{{"or":[{c}]}}]}}]}}"#),
            Some("(id in [text a] and id in [text b; text c])"),
        ),
    ] {
        let query = checked(&format!(r#"{{"where":{filter}}}"#));
        assert_eq!(query.filter.as_ref().map(tree).as_deref(), expected, "{filter}");
    }
    // The empty disjunction is false, not true.
    assert!(matches!(checked(r#"{"where":{"or":[]}}"#).filter, Some(Filter::Or(parts)) if parts.is_empty()));
}

#[test]
fn filter_depth() {
    let nested = |levels: usize, value: &str| {
        format!(
            r#"{{"where":{}{{"condition":{{"field":"properties","operator":"eq","value":{{"path":["a"],"value":{value}}}}}}}{}}}"#,
            r#"{"and":["#.repeat(levels - 1),
            "]}".repeat(levels - 1)
        )
    };
    checked(&nested(1, "1"));
    checked(&nested(64, "1"));
    checked(&nested(64, &format!("{}{}", "[".repeat(60), "]".repeat(60))));
    let (path, message) = rejected(&nested(65, "1"));
    assert!(path.starts_with("where.and[0].and[0]") && message.contains("over 64 levels"), "{path}: {message}");
    rejected(&nested(1_000, "1"));
    rejected(&nested(1_000_000, "1"));
    rejected(&format!(r#"{{"where":{}"#, r#"{"and":["#.repeat(1_000_000)));
}
