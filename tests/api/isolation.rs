//! A key never reads, counts or changes what is not its project's (contract A1), on every route, for every kind of key,
//! with the same ids on both sides.

use serde_json::{Value, json};

use crate::site::{ORGANIZATION, Site};

const OTHER: &str = "umbrella";

fn document(id: &str, project: Option<&str>, owner: &str) -> String {
    let project = project.map_or(String::new(), |project| format!(r#""projectId":"{project}","#));
    format!(
        r#"{{"id":"{id}","externalId":"ext-{id}","type":"openai","createdAt":"2024-01-01","updatedAt":"2024-01-01",{project}
        "tags":["{owner}"],"properties":{{"owner":"{owner}","n":1,"{owner}_only":0}},
        "messages":[{{"id":"m","role":"user","content":"{owner}"}}]}}"#
    )
}

/// Logs an event and a feedback of an id.
fn log_records(site: &Site, key: &str, id: &str, project: Option<&str>, owner: &str) {
    for (path, body) in records(id, project, owner) {
        site.ok("POST", path, key, Some(&body));
    }
}

fn records(id: &str, project: Option<&str>, owner: &str) -> [(&'static str, String); 2] {
    let project = project.map_or(Value::Null, Value::from);
    let event = json!({"id": id, "type": owner, "entityType": "search", "searchQuery": owner, "projectId": project,
        "createdAt": "2024-01-01", "properties": {"owner": owner}, "userProperties": {"userId": owner}});
    let feedback = json!({"id": id, "type": "positive", "messageId": "m", "projectId": project, "details": owner,
        "createdAt": "2024-01-01", "updatedAt": "2024-01-01", "properties": {"owner": owner}});
    [("/events", event.to_string()), ("/feedback", feedback.to_string())]
}

struct Owner {
    name: &'static str,
    organization: &'static str,
    project: &'static str,
    api: String,
}

/// Requests that must not show anything of another owner, whatever they ask for.
fn nosy_queries(other: &Owner) -> Vec<String> {
    let is_other = format!(r#"{{"condition":{{"field":"projectId","operator":"eq","value":"{}"}}}}"#, other.project);
    let of_other =
        format!(r#"{{"condition":{{"field":"organizationId","operator":"eq","value":"{}"}}}}"#, other.organization);
    let owner = format!(
        r#"{{"condition":{{"field":"properties","operator":"eq","value":{{"path":["owner"],"value":"{}"}}}}}}"#,
        other.name
    );
    let id = |id: &str| format!(r#"{{"condition":{{"field":"id","operator":"eq","value":"{id}"}}}}"#);
    let anything = r#"{"condition":{"field":"id","operator":"isNotNull"}}"#;
    vec![
        owner.clone(),
        format!(r#"{{"and":[{is_other},{owner}]}}"#),
        format!(r#"{{"and":[{of_other},{is_other},{owner}]}}"#),
        format!(r#"{{"and":[{{"or":[{is_other},{anything},{{"and":[]}}]}},{owner}]}}"#),
        format!(r#"{{"and":[{},{owner}]}}"#, id("same")),
        id(&format!("only-{}", other.name)),
        format!(r#"{{"or":[{},{owner}]}}"#, id(&format!("only-{}", other.name))),
        format!(r#"{{"condition":{{"field":"tags","operator":"arrayContains","value":"{}"}}}}"#, other.name),
        format!(
            r#"{{"condition":{{"field":"properties","operator":"jsonContains","value":{{"owner":"{}"}}}}}}"#,
            other.name
        ),
    ]
}

/// What its owner sees of everything: compared before and after.
fn view(site: &Site, owner: &Owner) -> Vec<String> {
    let only = format!("/conversations/only-{}", owner.name);
    let external = format!("/conversations/external/ext-only-{}", owner.name);
    let mut seen: Vec<String> =
        ["/conversations", "/conversations/same", "/conversations/external/ext-same", only.as_str(), external.as_str()]
            .iter()
            .map(|path| site.ok("GET", path, &owner.api, None).text())
            .collect();
    for view in ["conversations", "events", "feedback", "semantic-threads"] {
        seen.push(site.ok("POST", &format!("/query/{view}"), &owner.api, Some("{}")).text());
    }
    let feedback = format!("/feedback/only-{}", owner.name);
    for path in ["/feedback", "/feedback/same", &feedback, "/query/top-search-queries", "/query/weekly-search-users"] {
        seen.push(site.ok("GET", path, &owner.api, None).text());
    }
    for path in ["", "/same", "/same/chats", "/same/chats/m"] {
        seen.push(site.ok("GET", &format!("/webapi/v2/conversations{path}"), &owner.api, None).text());
    }
    seen
}

#[test]
fn nothing_crosses_a_project_or_an_organization() {
    let mut site = Site::start(&[]);
    let owner = |name, organization, project| Owner {
        name,
        organization,
        project,
        api: site.key("api", organization, Some(project), &[]),
    };
    // Two projects of one organization, and a project of the same name in another one.
    let owners =
        [owner("first", ORGANIZATION, "docs"), owner("second", ORGANIZATION, "shop"), owner("third", OTHER, "docs")];
    for owner in &owners {
        for id in ["same".to_string(), format!("only-{}", owner.name)] {
            site.log(&owner.api, &document(&id, None, owner.name));
            log_records(&site, &owner.api, &id, None, owner.name);
        }
    }
    // Every key, and the owners that it reaches.
    let mut keys: Vec<(String, String, Vec<usize>)> = Vec::new();
    for (number, owner) in owners.iter().enumerate() {
        keys.push((format!("api of {}", owner.name), owner.api.clone(), vec![number]));
        for scopes in [&[][..], &["query"]] {
            let key = site.key("web", owner.organization, Some(owner.project), scopes);
            keys.push((format!("web {scopes:?} of {}", owner.name), key, vec![number]));
        }
    }
    keys.push((format!("org {ORGANIZATION}"), site.key("org", ORGANIZATION, None, &[]), vec![0, 1]));
    keys.push((format!("org {OTHER}"), site.key("org", OTHER, None, &[]), vec![2]));

    for _ in 0..2 {
        let before: Vec<Vec<String>> = owners.iter().map(|owner| view(&site, owner)).collect();
        for (name, key, reached) in &keys {
            for (number, other) in owners.iter().enumerate().filter(|(number, _)| !reached.contains(number)) {
                let context = format!("{name} at {}", owners[number].name);
                look(&site, key, other, &context);
                if !name.starts_with("org") {
                    change(&site, key, other, &owners[reached[0]], &context);
                }
            }
            count(&site, name, key, &reached.iter().map(|number| &owners[*number]).collect::<Vec<_>>());
        }
        let after: Vec<Vec<String>> = owners.iter().map(|owner| view(&site, owner)).collect();
        assert_eq!(before, after);
        site.restart();
    }
}

/// Reads and deletions by id, externalId and query.
fn look(site: &Site, key: &str, other: &Owner, context: &str) {
    let only = format!("only-{}", other.name);
    for parameters in [String::new(), format!("?projectId={}", other.project), "?projectId=".into()] {
        let chat = format!("/webapi/v2/conversations/{only}/chats/m");
        for (method, path) in [
            ("GET", format!("{chat}{parameters}")),
            ("POST", format!("{chat}/feedback{parameters}")),
            ("GET", format!("/conversations/{only}{parameters}")),
            ("DELETE", format!("/conversations/{only}{parameters}")),
            ("GET", format!("/conversations/external/ext-{only}{parameters}")),
            ("GET", format!("/feedback/{only}{parameters}")),
            ("DELETE", format!("/feedback/{only}{parameters}")),
        ] {
            let answer = site.send(method, &path, key, (method == "POST").then_some(r#"{"rating":false}"#));
            // A web key gets 403 from a whole route, never from one conversation.
            let readers = path.contains("/external/") || path.starts_with("/feedback") || path.starts_with("/webapi");
            let expected = if context.starts_with("web") && readers { 403 } else { 404 };
            assert_eq!(answer.status, expected, "{context}: {method} {path}: {}", answer.text());
            assert!(
                !answer.text().contains(other.project) || path.contains(other.project),
                "{context}: {}",
                answer.text()
            );
        }
    }
    // The same id exists on both sides: with the other's project named it is not found, and not the own one either.
    let path = format!("/conversations/same?projectId={}", other.project);
    let answer = site.send("GET", &path, key, None);
    if answer.status == 200 {
        assert_ne!(answer.json()["properties"]["owner"], other.name, "{context}");
        assert_eq!(other.project, "docs", "{context}: only a project of the same name may answer");
    } else {
        crate::site::problem(&answer, 404, &path);
    }
    for (path, body) in [
        ("/query/conversations/export", "{}"),
        ("/query/events/export", "{}"),
        ("/query/feedback/export", "{}"),
        ("/query/semantic-threads/export", "{}"),
        ("/query/property-values", r#"{"field":"properties","key":"owner","limit":1000}"#),
        ("/query/property-keys", r#"{"field":"properties"}"#),
    ] {
        let answer = site.send("POST", path, key, Some(body));
        assert_eq!(answer.status, if context.starts_with("web") { 403 } else { 200 }, "{context}: {path}");
        let text = answer.text();
        for of_other in [format!(",{},", other.name), format!("\"{}\"", other.name), format!("{}_only", other.name)] {
            assert!(!text.contains(&of_other), "{context}: {path}: {text}");
        }
    }
    for filter in nosy_queries(other).iter().filter(|filter| !filter.contains("tags")) {
        for view in ["events", "feedback", "semantic-threads"] {
            let (path, request) = (format!("/query/{view}"), format!(r#"{{"where":{filter}}}"#));
            let answer = site.send("POST", &path, key, Some(&request));
            if context.starts_with("web") {
                assert_eq!(answer.status, 403, "{context}");
                continue;
            }
            assert_eq!(answer.status, 200, "{context}: {request}: {}", answer.text());
            assert_eq!(answer.json()["data"]["total"], 0, "{context}: {request}: {}", answer.text());
        }
    }
    for filter in nosy_queries(other) {
        for request in [
            format!(r#"{{"where":{filter}}}"#),
            format!(r#"{{"where":{filter},"groupBy":[{{"field":"projectId"}}]}}"#),
            format!(r#"{{"where":{filter},"select":[{{"type":"field","field":"properties","path":["owner"]}}]}}"#),
        ] {
            let answer = site.send("POST", "/query/conversations", key, Some(&request));
            if context.starts_with("web []") {
                assert_eq!(answer.status, 403, "{context}");
                continue;
            }
            assert_eq!(answer.status, 200, "{context}: {request}: {}", answer.text());
            assert_eq!(answer.json()["data"]["total"], 0, "{context}: {request}: {}", answer.text());
            if context.starts_with("web") {
                continue;
            }
            let csv = site.send("POST", "/query/conversations/export", key, Some(&request));
            assert_eq!(csv.status, 200, "{context}: {request}: {}", csv.text());
            assert_eq!(csv.text().matches("\r\n").count(), 1, "{context}: {request}: {}", csv.text());
        }
    }
}

/// Documents that would change the other's conversations.
fn change(site: &Site, key: &str, other: &Owner, own: &Owner, context: &str) {
    let only = format!("only-{}", other.name);
    if other.project != own.project {
        for id in ["same", only.as_str(), "brand-new"] {
            let body = document(id, Some(other.project), "intruder");
            site.refused(403, "POST", "/conversations", key, Some(&body));
            for (path, body) in records(id, Some(other.project), "intruder") {
                site.refused(403, "POST", path, key, Some(&body));
            }
        }
    }
    // Under the other's id it is a conversation of one's own.
    let stored = site.log(key, &document(&only, None, own.name));
    assert_eq!(
        (&stored["projectId"], &stored["properties"]["owner"]),
        (&json!(own.project), &json!(own.name)),
        "{context}"
    );
    // The same ids as the other's; they go with one's own conversation.
    let event = json!({"id": only, "type": "x", "entityType": "conversation", "conversationId": only});
    site.ok("POST", "/events", key, Some(&event.to_string()));
    let path = format!("/conversations/{only}");
    assert_eq!(site.get(&path, &other.api)["properties"]["owner"], other.name, "{context}");
    site.ok("DELETE", &path, key, None);
    assert_eq!(site.get(&path, &other.api)["properties"]["owner"], other.name, "{context}");
    site.refused(404, "GET", &path, key, None);
}

/// Lists, totals and aggregates are of what the key reaches.
fn count(site: &Site, name: &str, key: &str, reached: &[&Owner]) {
    let expected = reached.len() * 2;
    let owners: Vec<&str> = reached.iter().map(|owner| owner.name).collect();
    if !name.starts_with("web") {
        let list = site.get("/conversations?limit=100", key);
        assert_eq!(list["total"], expected, "{name}");
        let all: &Vec<Value> = list["conversations"].as_array().expect("a list");
        assert_eq!(all.len(), expected, "{name}");
        for conversation in all {
            assert!(owners.iter().any(|owner| conversation["properties"]["owner"] == *owner), "{name}: {conversation}");
        }
    }
    if !name.starts_with("web") {
        let feedback = site.get("/feedback?limit=100", key);
        assert_eq!(feedback["positiveFeedbackCount"], expected, "{name}");
        for one in feedback["positiveFeedback"].as_array().expect("a list") {
            assert_eq!(one["details"], one["conversation"]["properties"]["owner"], "{name}");
            assert!(owners.iter().any(|owner| one["details"] == *owner), "{name}: {one}");
        }
        for view in ["events", "feedback", "semantic-threads"] {
            let rows = site.query_view(view, key, r#"{"groupBy":[{"field":"properties","path":["owner"]}]}"#);
            let found = rows["result"].as_array().expect("rows").iter().map(|row| row["properties.owner"].as_str());
            assert_eq!(found.flatten().collect::<Vec<_>>(), owners, "{name}: {view}");
            assert_eq!(site.query_view(view, key, "{}")["total"], expected, "{name}: {view}");
        }
        assert_eq!(site.get("/query/top-search-queries", key)["data"]["total"], reached.len(), "{name}");
        assert_eq!(
            site.get("/query/weekly-search-users", key)["data"]["result"][0]["unique_users"],
            reached.len().to_string()
        );
    }
    if name.starts_with("web []") {
        return;
    }
    let request = r#"{"select":[{"type":"aggregation","aggregation":"count"},{"type":"aggregation","aggregation":"sum","field":"properties","path":["n"]},{"type":"aggregation","aggregation":"countDistinct","field":"properties","path":["owner"]}]}"#;
    let row = site.rows(key, request)[0].clone();
    assert_eq!(
        (&row["count"], &row["countDistinct_properties.owner"]),
        (&json!(expected), &json!(reached.len())),
        "{name}"
    );
    assert_eq!(row["sum_properties.n"].as_f64(), Some(expected as f64), "{name}");
    let rows = site.rows(key, r#"{"groupBy":[{"field":"properties","path":["owner"]}]}"#);
    let found: Vec<&str> =
        rows.as_array().expect("rows").iter().filter_map(|row| row["properties.owner"].as_str()).collect();
    assert_eq!(found, owners, "{name}");
}
