//! Logging a conversation again (contract A2): which one it is, what it keeps, which messages keep their ids. Every
//! scenario runs twice: with the previous state in memory, and in files.

use serde_json::Value;

use crate::site::{Site, text};

#[allow(clippy::type_complexity, reason = "a step that restarts the server")]
fn in_memory_and_in_files(scenario: fn(&mut Site, &str, &dyn Fn(&mut Site))) {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    scenario(&mut site, &key, &|_| ());
    let mut site = Site::start(&[]);
    let key = site.api_key();
    scenario(&mut site, &key, &Site::restart);
}

fn openai(members: &str, messages: &str) -> String {
    format!(r#"{{"type":"openai",{members}"messages":[{messages}]}}"#)
}

const MESSAGE: &str = r#"{"role":"user","content":"hi"}"#;

#[test]
fn which_conversation_it_is() {
    in_memory_and_in_files(|site, key, between| {
        let first = site.log(
            key,
            &openai(r#""id":"a","externalId":"e","createdAt":"2024-01-01","tags":["t"],"properties":{"p":1},"integrationId":"own","#, MESSAGE),
        );
        assert_eq!(first["integrationId"], "own");
        between(site);

        // By id; the new document replaces the old one and keeps only createdAt.
        let second = site.log(key, &openai(r#""id":"a","externalId":"e2","#, MESSAGE));
        assert_eq!(second["createdAt"], "2024-01-01T00:00:00.000Z");
        assert_ne!(second["updatedAt"], first["updatedAt"]);
        for name in ["tags", "properties"] {
            assert_eq!(second[name], Value::Null, "{name}");
        }
        assert_eq!(second["integrationId"], crate::site::INTEGRATION);
        site.refused(404, "GET", "/conversations/external/e", key, None);
        assert_eq!(site.get("/conversations/external/e2", key), second);
        between(site);

        // By externalId.
        let third = site.log(key, &openai(r#""externalId":"e2","createdAt":"2023-05-05T05:05:05Z","#, MESSAGE));
        assert_eq!((&third["id"], &third["createdAt"]), (&"a".into(), &"2023-05-05T05:05:05.000Z".into()));
        assert_eq!(site.get("/conversations", key)["total"], 1);
        between(site);

        // Without either it is a new one.
        let (one, two) = (site.log(key, &openai("", MESSAGE)), site.log(key, &openai("", MESSAGE)));
        assert!(text(&one["id"]) < text(&two["id"]), "ids are ordered by time: {} {}", one["id"], two["id"]);
        assert!(text(&one["messages"][0]["id"]) < text(&two["messages"][0]["id"]));
        assert_eq!(site.get("/conversations", key)["total"], 3);
        assert_eq!(site.query(key, "{}")["total"], 3);

        // By id without its externalId: that is dropped too.
        let fourth = site.log(key, &openai(r#""id":"a","#, MESSAGE));
        assert_eq!(fourth["externalId"], Value::Null);
        between(site);
        site.refused(404, "GET", "/conversations/external/e2", key, None);
        let fifth = site.log(key, &openai(r#""externalId":"e2","#, MESSAGE));
        assert_ne!(fifth["id"], "a");
        assert_eq!(site.get("/conversations/a", key), fourth);

        // The type may change with it.
        let sixth = site.log(key, r#"{"id":"a","type":"support_copilot","messages":[{"role":"x"}]}"#);
        assert_eq!(sixth["type"], "support_copilot");
        between(site);
        assert_eq!(site.get("/conversations/a", key), sixth);
        assert_eq!(site.get("/conversations", key)["total"], 4);
    });
}

#[test]
fn conflicts_are_409_and_change_nothing() {
    in_memory_and_in_files(|site, key, between| {
        site.log(key, &openai(r#""id":"a","externalId":"ea","#, MESSAGE));
        site.log(key, &openai(r#""id":"b","externalId":"eb","#, MESSAGE));
        site.log(key, &openai(r#""id":"c","#, MESSAGE));
        between(site);
        let list = site.ok("GET", "/conversations", key, None).text();
        for ids in
            [r#""id":"a","externalId":"eb","#, r#""id":"new","externalId":"ea","#, r#""id":"c","externalId":"eb","#]
        {
            site.refused(409, "POST", "/conversations", key, Some(&openai(ids, MESSAGE)));
        }
        assert_eq!(site.ok("GET", "/conversations", key, None).text(), list);
        between(site);
        assert_eq!(site.ok("GET", "/conversations", key, None).text(), list);
        // A free externalId can be taken, also after its holder left it or was deleted.
        site.log(key, &openai(r#""id":"c","externalId":"ec","#, MESSAGE));
        site.log(key, &openai(r#""id":"a","externalId":"other","#, MESSAGE));
        site.log(key, &openai(r#""id":"new","externalId":"ea","#, MESSAGE));
        site.ok("DELETE", "/conversations/b", key, None);
        between(site);
        site.log(key, &openai(r#""id":"newer","externalId":"eb","#, MESSAGE));
        for (external, id) in [("ea", "new"), ("eb", "newer"), ("ec", "c"), ("other", "a")] {
            assert_eq!(site.get(&format!("/conversations/external/{external}"), key)["id"], id);
        }
    });
}

/// The ids of a conversation's messages.
fn ids(conversation: &Value) -> Vec<String> {
    let messages = conversation["messages"].as_array().expect("messages");
    messages.iter().map(|message| text(&message["id"]).to_string()).collect()
}

#[test]
fn which_messages_keep_their_ids() {
    in_memory_and_in_files(|site, key, between| {
        let user = |content: &str| format!(r#"{{"role":"user","content":"{content}"}}"#);
        let external = |external: &str, content: &str| {
            format!(r#"{{"externalId":"{external}","role":"user","content":"{content}"}}"#)
        };
        let explicit = |id: &str, content: &str| format!(r#"{{"id":"{id}","role":"user","content":"{content}"}}"#);
        let log = |site: &Site, id: &str, messages: &[String]| {
            ids(&site.log(key, &openai(&format!(r#""id":"{id}","#), &messages.join(","))))
        };

        // By position, where role and content are the same.
        let stored = log(site, "position", &[user("one"), user("two"), user("three")]);
        between(site);
        let again = log(site, "position", &[user("one"), user("changed"), user("three"), user("four")]);
        assert_eq!((&again[0], &again[2]), (&stored[0], &stored[2]));
        assert!(!stored.contains(&again[1]) && !stored.contains(&again[3]), "{stored:?} {again:?}");
        let other_role = r#"{"role":"assistant","content":"one"}"#.to_string();
        assert_ne!(log(site, "position", &[other_role])[0], stored[0]);

        // By externalId, wherever it stands and whatever it says.
        let stored = log(site, "external", &[external("x", "one"), external("y", "two"), user("three")]);
        between(site);
        let again =
            log(site, "external", &[user("new"), external("y", "two!"), external("x", "one!"), external("z", "z")]);
        assert_eq!((&again[1], &again[2]), (&stored[1], &stored[0]));
        assert!(!stored.contains(&again[0]) && !stored.contains(&again[3]), "{stored:?} {again:?}");

        // Each stored message is matched once: externalIds before positions.
        let stored = log(site, "once", &[external("x", "hi"), user("hi")]);
        between(site);
        let again = log(site, "once", &[user("hi"), external("x", "hi")]);
        assert_eq!(again[1], stored[0]);
        assert!(!stored.contains(&again[0]), "{stored:?} {again:?}");

        // Explicit ids before both.
        let stored = log(site, "explicit", &[external("x", "hi"), user("hi")]);
        between(site);
        let again = log(site, "explicit", &[external("x", "hi"), explicit(&stored[0], "else")]);
        assert_eq!(again[1], stored[0]);
        assert!(!stored.contains(&again[0]), "{stored:?} {again:?}");
        let again = log(site, "explicit", &[user("a"), user("b")]);
        let swapped = log(site, "explicit", &[explicit(&again[1], "a"), user("b")]);
        assert_eq!(swapped[0], again[1]);
        assert_ne!(swapped[1], again[1]);

        // The same externalId twice: the first takes the stored message.
        let stored = log(site, "twice", &[external("x", "hi")]);
        between(site);
        let again = log(site, "twice", &[external("x", "a"), external("x", "b")]);
        assert_eq!(again[0], stored[0]);
        assert_ne!(again[1], stored[0]);
    });
}

#[test]
fn matched_messages_keep_their_time() {
    in_memory_and_in_files(|site, key, between| {
        site.log(
            key,
            &openai(
                r#""id":"a","createdAt":"2024-01-01","#,
                r#"{"id":"m","role":"user","content":"hi","createdAt":"2024-02-02"},{"role":"user","content":"at","createdAt":"2024-03-03"},{"role":"user","content":"none"}"#,
            ),
        );
        between(site);
        let again = site.log(
            key,
            &openai(
                r#""id":"a","createdAt":"2024-06-06","#,
                r#"{"id":"m","role":"user","content":"changed"},{"role":"user","content":"at"},{"role":"user","content":"none"},{"role":"user","content":"new"}"#,
            ),
        );
        let times: Vec<&str> =
            again["messages"].as_array().expect("messages").iter().map(|message| text(&message["createdAt"])).collect();
        assert_eq!(times[..2], ["2024-02-02T00:00:00.000Z", "2024-03-03T00:00:00.000Z"]);
        assert_eq!(times[3], "2024-06-06T00:00:00.000Z");
        between(site);
        assert_eq!(site.get("/conversations/a", key), again);
        // firstMessageTime is of given times only.
        let row = site.rows(
            key,
            r#"{"select":[{"type":"field","field":"firstMessageTime"},{"type":"field","field":"lastMessageTime"}]}"#,
        )[0]
        .clone();
        assert_eq!(row["firstMessageTime"], "2024-02-02T00:00:00.000Z");
        assert_eq!(row["lastMessageTime"], "2024-03-03T00:00:00.000Z");
    });
}

#[test]
fn every_read_after_the_answer_sees_it() {
    let site = Site::start(&["--flush-rows", "7"]);
    let key = site.api_key();
    for round in 0..40 {
        let content = format!(r#"{{"id":"m","role":"user","content":"{round}"}}"#);
        site.log(&key, &openai(&format!(r#""id":"a","externalId":"e","properties":{{"round":{round}}},"#), &content));
        site.log(&key, &openai(&format!(r#""id":"b{round}","#), MESSAGE));
        assert_eq!(site.get("/conversations/a", &key)["messages"][0]["content"], round.to_string());
        assert_eq!(site.get("/conversations/external/e", &key)["properties"]["round"], round);
        let request = r#"{"select":[{"type":"aggregation","aggregation":"max","field":"properties","path":["round"]},{"type":"aggregation","aggregation":"count"}]}"#;
        let row = site.rows(&key, request)[0].clone();
        assert_eq!(
            (row["max_properties.round"].as_f64(), &row["count"]),
            (Some(f64::from(round)), &(round + 2).into())
        );
        assert_eq!(site.get("/conversations?limit=1", &key)["total"], round + 2);
    }
}
