//! Threads (contract A4): `POST /query/semantic-threads`, its export, and `PATCH /semantic-threads/{id}`.

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::percent_encode;

fn conversation(id: &str, messages: &[(&str, &str, &str)]) -> String {
    let messages: Vec<Value> = messages
        .iter()
        .enumerate()
        .map(|(number, (id, role, text))| {
            json!({"id": id, "role": role, "content": text, "createdAt": format!("2024-08-26T09:0{number}:00Z")})
        })
        .collect();
    json!({"id": id, "type": "openai", "createdAt": "2024-08-26", "updatedAt": "2024-08-27",
        "properties": {"plan": "pro"}, "messages": messages})
    .to_string()
}

const TWO: [(&str, &str, &str); 5] = [
    ("s", "system", "be kind"),
    ("q1", "user", "How do I rotate the key of my application without any downtime for the users?"),
    ("a1", "assistant", "In the settings."),
    ("q2", "user", "100% sure?"),
    ("a2", "assistant", "Yes."),
];

fn rows(site: &Site, key: &str, request: &str) -> Vec<Value> {
    let data = site.query_view("semantic-threads", key, request);
    data["result"].as_array().expect("rows").clone()
}

/// The threads of the project, in the order of their times.
fn all(site: &Site, key: &str) -> Vec<Value> {
    rows(site, key, r#"{"orderBy":[{"field":"firstMessageTime","direction":"asc"}]}"#)
}

#[test]
fn threads_are_derived_and_follow_their_conversation() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, &conversation("c", &TWO));
    for _ in 0..2 {
        let threads = all(&site, &key);
        let expected = json!({
            "id": threads[0]["id"], "messageIds": ["q1", "a1"], "messagesCount": 2, "organizationId": "acme",
            "question": TWO[1].2, "questionLength": TWO[1].2.chars().count(), "answer": "In the settings.",
            "isOnTopic": null, "isClear": null, "isDocumented": null, "isFeatureSupported": null,
            "isAnswerConfident": null, "gapSummary": null, "subject": null, "category": null, "languages": ["en"],
            "firstPartyEntities": null, "thirdPartyEntities": null, "emotion": null, "sentiment": null,
            "questionType": null, "projectId": threads[0]["projectId"], "integrationId": threads[0]["integrationId"],
            "properties": {"plan": "pro"}, "userProperties": null, "firstMessageTime": "2024-08-26T09:01:00.000Z",
            "lastMessageTime": "2024-08-26T09:02:00.000Z", "lastUpdated": "2024-08-27T00:00:00.000Z",
            "hasPositiveFeedback": false, "hasNegativeFeedback": false, "conversationIds": ["c"],
            "areAIAnnotationsVerified": null, "isInitialQuestionAnswer": true,
        });
        assert_eq!(threads[0], expected);
        assert_eq!((threads.len(), &threads[1]["isInitialQuestionAnswer"]), (2, &json!(false)));
        site.restart();
    }
    // A re-log replaces the threads, in files and in memory.
    for count in [1, 2, 0] {
        site.log(&key, &conversation("c", &TWO[..1 + 2 * count]));
        assert_eq!(all(&site, &key).len(), count);
        site.log(&key, &conversation("c", &TWO[..1 + 2 * count]));
        assert_eq!(all(&site, &key).len(), count);
        site.restart();
        assert_eq!(all(&site, &key).len(), count);
    }
    site.log(&key, &conversation("c", &TWO));
    site.restart();
    site.ok("DELETE", "/conversations/c", &key, None);
    assert_eq!(all(&site, &key), Vec::<Value>::new());
    site.restart();
    assert_eq!(all(&site, &key), Vec::<Value>::new());
}

#[test]
fn feedback_on_their_messages_shows() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, &conversation("c", &TWO));
    let marks = |site: &Site| -> Vec<(Value, Value)> {
        let threads = all(site, &key);
        threads.iter().map(|one| (one["hasPositiveFeedback"].clone(), one["hasNegativeFeedback"].clone())).collect()
    };
    let (yes, no) = (json!(true), json!(false));
    site.ok("POST", "/feedback", &key, Some(r#"{"id":"p","type":"positive","messageId":"a1"}"#));
    site.ok("POST", "/feedback", &key, Some(r#"{"id":"n","type":"negative","messageId":"q2"}"#));
    for _ in 0..2 {
        assert_eq!(marks(&site), [(yes.clone(), no.clone()), (no.clone(), yes.clone())]);
        let filter = |field: &str| {
            format!(
                r#"{{"select":[{{"type":"aggregation","aggregation":"count"}}],"groupBy":[{{"field":"hasPositiveFeedback"}}],
                "where":{{"condition":{{"field":"{field}","operator":"eq","value":true}}}}}}"#
            )
        };
        let negative = rows(&site, &key, &filter("hasNegativeFeedback"));
        assert_eq!(negative, [json!({"count": 1, "hasPositiveFeedback": false})]);
        let ordered = r#"{"select":[{"type":"field","field":"question"}],"orderBy":[{"field":"hasPositiveFeedback","direction":"asc"}]}"#;
        assert_eq!(rows(&site, &key, ordered)[0]["question"], "100% sure?");
        site.restart();
    }
    site.ok("DELETE", "/feedback/p", &key, None);
    assert_eq!(marks(&site), [(no.clone(), no.clone()), (no, yes)]);
}

#[test]
fn words_are_searched_in_question_and_answer() {
    let site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, &conversation("c", &TWO));
    for (query, found) in [
        ("null", 2),
        (r#"" ""#, 2),
        (r#""SETTINGS rotate""#, 1),
        (r#""settings yes""#, 0),
        (r#""100%""#, 1),
        (r#""1%0""#, 0),
        (r#""s_re""#, 0),
        (r#""?""#, 2),
    ] {
        assert_eq!(rows(&site, &key, &format!(r#"{{"query":{query}}}"#)).len(), found, "{query}");
    }
    site.refused(422, "POST", "/query/semantic-threads", &key, Some(r#"{"query":1}"#));
    // Together, however many.
    for words in ["x".repeat(3_000), vec!["x".repeat(30); 100].join(" ")] {
        assert!(rows(&site, &key, &json!({ "query": words }).to_string()).is_empty());
        let more = json!({"query": words.replacen('x', "xé", 1)}).to_string();
        let refused = site.refused(422, "POST", "/query/semantic-threads", &key, Some(&more));
        assert!(refused.contains("3001 characters"), "{refused}");
    }
    site.refused(422, "POST", "/query/semantic-threads", &key, Some(&json!({"query": "x ".repeat(101)}).to_string()));
    site.refused(422, "POST", "/query/events", &key, Some(r#"{"query":"x"}"#));
    let csv = site.send("POST", "/query/semantic-threads/export", &key, Some(r#"{"query":"settings"}"#)).text();
    assert!(csv.contains("properties.plan") && csv.contains("In the settings."), "{csv}");
    assert_eq!(csv.matches("\r\n").count(), 2, "{csv}");
    let keys = r#"{"field":"properties","views":["semantic_threads_view"]}"#;
    assert_eq!(site.ok("POST", "/query/property-keys", &key, Some(keys)).json(), json!({"results": ["plan"]}));
}

/// In memory, in files, and once there is an index.
#[test]
fn a_search_folds_what_people_take_for_the_same() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let text = "Die Straße, une ﬁle, DE\u{301}JA\u{300} ёлка İst ががㄱ 한국 ｶﾞ";
    let document = json!({"id": "c", "type": "openai", "messages": [{"role": "user", "content": text}]});
    site.log(&key, &document.to_string());
    let found = |site: &Site, word: &str| {
        let threads = rows(site, &key, &json!({ "query": word }).to_string()).len();
        let path = format!("/webapi/v2/conversations?searchTerm={}", percent_encode(word));
        let listed = site.ok("GET", &path, &key, None).json()["conversations"].as_array().map_or(0, Vec::len);
        assert_eq!(threads, listed, "{word}");
        threads
    };
    for round in 0..3 {
        for word in
            ["strasse", "STRASSE", "file", "deja", "déjà", "елка", "ist", "がか\u{3099}", "국", "ガ", "e\u{301}"]
        {
            assert_eq!(found(&site, word), 1, "{word} in round {round}");
        }
        for word in ["か", "하", "ıst", "カ", "strase"] {
            assert_eq!(found(&site, word), 0, "{word} in round {round}");
        }
        site.restart();
    }
}

#[test]
fn annotations_are_set_kept_and_cleared() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, &conversation("c", &TWO));
    let id = all(&site, &key)[0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/semantic-threads/{id}");
    let patch = |site: &Site, body: &str| site.ok("PATCH", &path, &key, Some(body)).json();
    let set = patch(&site, r#"{"isOnTopic":true,"subject":"keys","firstPartyEntities":["a","b"]}"#);
    let shown = |row: &Value| json!([row["isOnTopic"], row["subject"], row["firstPartyEntities"], row["isClear"]]);
    assert_eq!(shown(&set), json!([true, "keys", ["a", "b"], null]));
    for _ in 0..2 {
        assert_eq!(all(&site, &key)[0], set);
        site.restart();
    }
    let cleared = patch(&site, r#"{"isOnTopic":null,"isClear":false}"#);
    assert_eq!(shown(&cleared), json!([null, "keys", ["a", "b"], false]));
    for _ in 0..2 {
        site.log(&key, &conversation("c", &TWO[..3]));
        let threads = all(&site, &key);
        assert_eq!((threads.len(), shown(&threads[0])), (1, shown(&cleared)));
        site.restart();
        assert_eq!(all(&site, &key), threads);
    }
    let mut other = TWO;
    other[1].2 = "Something else?";
    site.log(&key, &conversation("c", &other));
    assert_eq!(shown(&all(&site, &key)[0]), json!([null, null, null, null]));
    assert_eq!(all(&site, &key)[0]["id"], id.as_str());

    for body in [r#"{"question":"x"}"#, r#"{"isClear":"yes"}"#, "[]"] {
        site.refused(422, "PATCH", &path, &key, Some(body));
    }
    site.refused(404, "PATCH", "/semantic-threads/none", &key, Some("{}"));
    let organization = site.key("org", "acme", None, &[]);
    assert_eq!(site.ok("PATCH", &path, &organization, Some(r#"{"emotion":"calm"}"#)).json()["emotion"], "calm");
    let other = site.key("api", "acme", Some("elsewhere"), &[]);
    site.refused(404, "PATCH", &path, &other, Some("{}"));
    assert_eq!(all(&site, &other), Vec::<Value>::new());
    let elsewhere = site.key("org", "umbrella", None, &[]);
    site.refused(404, "PATCH", &path, &elsewhere, Some("{}"));
    assert_eq!(all(&site, &elsewhere), Vec::<Value>::new());
    let web = site.key("web", "acme", Some("elsewhere"), &["query"]);
    site.refused(403, "PATCH", &path, &web, Some("{}"));
}

#[test]
fn annotations_are_limited_and_no_change_is_none() {
    let site = Site::start(&[]);
    let key = site.api_key();
    let turns: Vec<Value> = (0..80)
        .flat_map(|n| {
            [
                json!({"role": "user", "content": format!("Question {n}?")}),
                json!({"role": "assistant", "content": "Yes."}),
            ]
        })
        .collect();
    site.log(&key, &json!({"id": "c", "type": "openai", "messages": turns}).to_string());
    let threads = all(&site, &key);
    assert_eq!(threads.len(), 80);
    let path = |thread: &Value| format!("/semantic-threads/{}", thread["id"].as_str().expect("an id"));
    let first = path(&threads[0]);
    let unset = site.ok("PATCH", &first, &key, Some(r#"{"subject":null}"#)).json();
    assert_eq!(unset, threads[0]);
    let set = site.ok("PATCH", &first, &key, Some(r#"{"subject":"keys"}"#)).json();
    for same in ["{}", r#"{"subject":"keys"}"#, r#"{"category":null}"#] {
        assert_eq!(site.ok("PATCH", &first, &key, Some(same)).json(), set, "{same}");
    }
    let text = |length: usize| json!({"gapSummary": "a".repeat(length)}).to_string();
    let refused = site.refused(422, "PATCH", &first, &key, Some(&text(16 << 10)));
    assert!(refused.contains("16384"), "{refused}");
    // What all threads of a conversation have together is limited too.
    let statuses: Vec<u16> =
        threads.iter().map(|thread| site.send("PATCH", &path(thread), &key, Some(&text(16_000))).status).collect();
    let taken = statuses.iter().take_while(|status| **status == 200).count();
    assert!((60..70).contains(&taken), "{statuses:?}");
    assert!(statuses.iter().skip(taken).all(|status| *status == 422), "{statuses:?}");
    let shown = all(&site, &key).iter().filter(|thread| !thread["gapSummary"].is_null()).count();
    assert_eq!(shown, taken);
}

/// Each thread shows the properties of its conversation.
#[test]
fn threads_times_properties_is_limited() {
    let site = Site::start(&[]);
    let key = site.api_key();
    let document = |questions: usize| {
        let turns: Vec<Value> = (0..questions).flat_map(|_| [json!({"role": "user"}), json!({"role": "a"})]).collect();
        let long = "x".repeat(1 << 20);
        json!({"id": "c", "type": "support_ticket", "properties": {"long": long}, "messages": turns}).to_string()
    };
    site.log(&key, &document(30));
    assert_eq!(all(&site, &key).len(), 30);
    let refused = site.refused(422, "POST", "/conversations", &key, Some(&document(40)));
    assert!(refused.contains("messages: 40 questions"), "{refused}");
}

/// A file of threads none of which is deleted stays as it is: readers of the table take an entry that is removed and
/// added in one commit for removed.
#[test]
fn a_deleted_conversation_without_threads_changes_no_file_of_threads() {
    if crate::support::is_remote() {
        return;
    }
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, &conversation("c", &TWO));
    site.log(&key, r#"{"id":"silent","type":"openai","messages":[{"role":"assistant","content":"Hello."}]}"#);
    site.restart();
    site.ok("DELETE", "/conversations/silent", &key, None);
    site.restart();
    let log = site.store().join("semantic_threads/_delta_log");
    let commits = std::fs::read_dir(log).expect("the log").map(|entry| entry.expect("an entry").path());
    let text: String = commits
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| std::fs::read_to_string(path).expect("a commit"))
        .collect();
    assert_eq!((text.matches("\"add\":").count(), text.matches("\"remove\":").count()), (1, 0), "{text}");
    assert_eq!(all(&site, &key).len(), 2);
}
