//! `POST /query/property-keys` and `POST /query/property-values` (contract A4), from memory and from files.

use serde_json::{Value, json};

use crate::site::{ORGANIZATION, Site, problem};

const KEYS: &str = "/query/property-keys";
const VALUES: &str = "/query/property-values";

fn results(site: &Site, path: &str, key: &str, body: &str) -> Value {
    let answer = site.ok("POST", path, key, Some(body)).json();
    assert_eq!(answer.as_object().map(serde_json::Map::len), Some(1), "{answer}");
    answer["results"].clone()
}

fn log(site: &Site, key: &str, id: &str, members: &str) {
    site.log(key, &format!(r#"{{"id":"{id}",{members}"type":"openai","messages":[{{"role":"user","content":"q"}}]}}"#));
}

#[test]
fn keys_and_values() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let other = site.key("api", ORGANIZATION, Some("other"), &[]);
    let org = site.key("org", ORGANIZATION, None, &[]);
    log(
        &site,
        &key,
        "a",
        r#""properties":{"plan":"pro","n":1e1,"o":{"b":2,"a":1},"z":null},"userProperties":{"userId":"u"},"#,
    );
    log(&site, &key, "b", r#""properties":{"plan":"free","n":"10","é":true,"a b":[],"":1},"#);
    log(&site, &key, "c", r#""properties":{"plan":null,"n":2.50,"Z":1,"k\n\"":1},"#);
    log(&site, &key, "deleted", r#""properties":{"deleted":1,"plan":"deleted"},"#);
    log(&site, &other, "x", r#""properties":{"secret":1,"plan":"other"},"#);
    site.ok("DELETE", "/conversations/deleted", &key, None);
    let of_a = r#""where":{"condition":{"field":"id","operator":"eq","value":"a"}}"#;
    for event in [
        r#"{"type":"t","entityType":"search","searchQuery":"q","properties":{"plan":"of event","button":1}}"#,
        r#"{"type":"t","entityType":"conversation","conversationId":"a","userProperties":{"anonymous":true}}"#,
    ] {
        site.ok("POST", "/events", &key, Some(event));
    }
    let searches = r#""where":{"condition":{"field":"searchQuery","operator":"isNotNull"}}"#;
    let of_view = r#""views":["conversations_view"]"#;
    for round in 0..2 {
        for (path, body, expected) in [
            (
                KEYS,
                format!(r#""field":"properties",{of_view}"#),
                json!(["", "Z", "a b", "k\n\"", "n", "o", "plan", "z", "é"]),
            ),
            (KEYS, format!(r#""field":"userProperties",{of_view},"where":null"#), json!(["userId"])),
            (KEYS, r#""field":"userProperties","views":null"#.to_string(), json!(["anonymous", "userId"])),
            (KEYS, r#""field":"properties","views":["events_view"]"#.to_string(), json!(["button", "plan"])),
            (KEYS, format!(r#""field":"properties",{searches}"#), json!(["button", "plan"])),
            (KEYS, format!(r#""field":"properties",{of_view},{of_a}"#), json!(["n", "o", "plan", "z"])),
            (
                KEYS,
                format!(r#""field":"properties","views":["conversations_view","events_view"],{searches}"#),
                json!(["button", "plan"]),
            ),
            (KEYS, r#""field":"properties","views":[],"where":{"or":[]}"#.to_string(), json!([])),
            (KEYS, r#""field":"properties","where":{"or":[]}"#.to_string(), json!([])),
            (VALUES, r#""field":"properties","key":"plan""#.to_string(), json!(["free", "of event", "pro"])),
            (VALUES, r#""field":"properties","key":"plan","limit":2"#.to_string(), json!(["free", "of event"])),
            (VALUES, format!(r#""field":"properties","key":"plan",{searches}"#), json!(["of event"])),
            (VALUES, format!(r#""field":"properties","key":"plan",{of_view}"#), json!(["free", "pro"])),
            (VALUES, r#""field":"properties","key":"n""#.to_string(), json!(["10", "2.50"])),
            (VALUES, r#""field":"properties","key":"o""#.to_string(), json!([r#"{"a": 1, "b": 2}"#])),
            (VALUES, r#""field":"properties","key":"z""#.to_string(), json!([])),
            (VALUES, r#""field":"properties","key":"""#.to_string(), json!(["1"])),
            (VALUES, r#""field":"properties","key":"é""#.to_string(), json!(["true"])),
            (VALUES, r#""field":"properties","key":"o.a""#.to_string(), json!([])),
            (VALUES, r#""field":"properties","key":"nothing""#.to_string(), json!([])),
            (VALUES, format!(r#""field":"properties","key":"plan",{of_view},{of_a}"#), json!(["pro"])),
            (VALUES, r#""field":"userProperties","key":"userId""#.to_string(), json!(["u"])),
        ] {
            let body = format!("{{{body}}}");
            assert_eq!(results(&site, path, &key, &body), expected, "round {round}: {path} {body}");
        }
        assert_eq!(results(&site, KEYS, &other, r#"{"field":"properties"}"#), json!(["plan", "secret"]));
        assert_eq!(
            results(&site, VALUES, &org, r#"{"field":"properties","key":"plan"}"#),
            json!(["free", "of event", "other", "pro"])
        );
        let of_view =
            |view: &str| results(&site, KEYS, &key, &format!(r#"{{"field":"properties","views":["{view}"]}}"#));
        assert_eq!(of_view("feedback_view"), json!([]));
        // Those of the conversations with a question.
        assert_eq!(of_view("semantic_threads_view"), of_view("conversations_view"));
        site.restart();
    }
}

#[test]
fn the_first_of_many_values() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    for index in 0..300 {
        log(&site, &key, &format!("c{index}"), &format!(r#""properties":{{"v":"v{:03}"}},"#, (index * 7) % 150));
    }
    let expected = |limit: usize| (0..limit).map(|index| format!("v{index:03}")).collect::<Vec<_>>();
    for _ in 0..2 {
        assert_eq!(results(&site, VALUES, &key, r#"{"field":"properties","key":"v"}"#), json!(expected(100)));
        for (limit, found) in [(1, 1), (149, 149), (150, 150), (1000, 150)] {
            let body = format!(r#"{{"field":"properties","key":"v","limit":{limit}}}"#);
            assert_eq!(results(&site, VALUES, &key, &body), json!(expected(found)));
        }
        site.restart();
    }
}

#[test]
fn what_is_refused() {
    let site = Site::start(&[]);
    let key = site.api_key();
    for path in [KEYS, VALUES] {
        problem(&site.send("POST", path, &key, None), 400, path);
        problem(&site.send("POST", path, &key, Some("")), 400, path);
        problem(&site.send("POST", path, &key, Some("{")), 400, path);
        for (body, place) in [
            ("[]", "object"),
            ("null", "object"),
            (r#"{"key":"a"}"#, "field"),
            (r#"{"field":"tags","key":"a"}"#, "field"),
            (r#"{"field":5,"key":"a"}"#, "field"),
            (r#"{"field":"properties","key":"a","views":["nothing_view"]}"#, "views[0]"),
            (r#"{"field":"properties","key":"a","views":"events_view"}"#, "views"),
            (r#"{"field":"properties","key":"a","where":{}}"#, "where"),
            (r#"{"field":"properties","key":"a","where":{"condition":{"field":"nope","operator":"isNull"}}}"#, "where"),
            (r#"{"field":"properties","key":"a","where":{"condition":{"field":"id","operator":"is"}}}"#, "where"),
            (r#"{"field":"properties","key":"a","filter":{}}"#, "filter"),
            // Known, but in no view that was chosen.
            (
                r#"{"field":"properties","key":"a","views":["conversations_view","feedback_view"],"where":{"condition":{"field":"searchQuery","operator":"isNull"}}}"#,
                "where",
            ),
        ] {
            let body =
                if path == KEYS { body.replace(r#","key":"a""#, "").replace(r#""key":"a""#, "") } else { body.into() };
            let detail = problem(&site.send("POST", path, &key, Some(&body)), 422, path);
            assert!(detail.contains(place), "{path} {body}: {detail}");
        }
    }
    for (body, place) in [
        (r#"{"field":"properties"}"#, "key"),
        (r#"{"field":"properties","key":["a"]}"#, "key"),
        (r#"{"field":"properties","key":"a","limit":0}"#, "limit"),
        (r#"{"field":"properties","key":"a","limit":1001}"#, "limit"),
        (r#"{"field":"properties","key":"a","limit":"1"}"#, "limit"),
    ] {
        let detail = problem(&site.send("POST", VALUES, &key, Some(body)), 422, VALUES);
        assert!(detail.contains(place), "{body}: {detail}");
    }
}
