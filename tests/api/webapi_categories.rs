//! Categories, and the bulk update that sets them (contract Part B, rows 2 and 12).

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Server, run};
use crate::webapi::{ROOT, category, no_content, set};

const CATEGORIES: &str = "/webapi/v2/conversation_categories";

fn log(site: &Site, key: &str, id: &str, user: &str, integration: &str) {
    let document = json!({"id": id, "type": "openai", "integrationId": integration, "userProperties": {"userId": user},
        "messages": [{"role": "user", "content": id}]});
    site.log(key, &document.to_string());
}

fn categories_of(site: &Site, key: &str, id: &str) -> Value {
    site.get(&format!("{ROOT}/{id}"), key)["categories"].clone()
}

#[test]
fn a_category_is_made_set_and_taken_off() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    assert_eq!(site.get(CATEGORIES, &key), json!({"categories": []}));
    let (sales, other) = (category(&site, &key, "Sales"), category(&site, &key, "Other"));
    for n in 0..5 {
        log(&site, &key, &format!("c{n}"), "u", "i");
        set(&site, &key, &format!("c{n}"), &json!({"categoryIds": [sales, other]}).to_string());
        if n == 2 {
            site.restart();
        }
    }
    let listed = |site: &Site, id: &str| {
        site.get(&format!("{ROOT}?categoryId={id}"), &key)["conversations"].as_array().map(Vec::len)
    };
    assert_eq!((listed(&site, &sales), listed(&site, "unknown")), (Some(5), Some(0)));
    no_content(&site.send("DELETE", &format!("{CATEGORIES}/{sales}"), &key, None));
    site.refused(404, "DELETE", &format!("{CATEGORIES}/{sales}"), &key, None);
    for _ in 0..2 {
        assert_eq!(site.get(CATEGORIES, &key), json!({"categories": [{"categoryId": other, "name": "Other"}]}));
        for n in 0..5 {
            assert_eq!(categories_of(&site, &key, &format!("c{n}")), json!(["Other"]));
        }
        assert_eq!((listed(&site, &sales), listed(&site, &other)), (Some(0), Some(5)));
        site.restart();
    }
    // A new one of the same name is on nothing.
    let again = category(&site, &key, "Sales");
    assert_eq!(listed(&site, &again), Some(0));
    let body = json!({"categoryIds": [sales]}).to_string();
    site.refused(422, "PUT", &format!("{ROOT}/c1"), &key, Some(&body));
}

#[test]
fn lists_of_categories_are_bounded() {
    let site = Site::start(&[]);
    let key = site.api_key();
    for body in ["{}", r#"{"name":""}"#, r#"{"name":" "}"#, r#"{"name":1}"#, r#"{"name":null}"#, "[]"] {
        site.refused(422, "POST", CATEGORIES, &key, Some(body));
    }
    site.refused(400, "POST", CATEGORIES, &key, Some("{"));
    site.refused(422, "POST", CATEGORIES, &key, Some(&json!({"name": "é".repeat(51)}).to_string()));
    category(&site, &key, &"é".repeat(50));
    site.refused(422, "POST", CATEGORIES, &key, Some(&json!({"name": "é".repeat(50)}).to_string()));
    for n in 1..100 {
        category(&site, &key, &format!("n{n}"));
    }
    site.refused(422, "POST", CATEGORIES, &key, Some(r#"{"name":"one too many"}"#));
    let listed = site.get(CATEGORIES, &key);
    let names: Vec<&Value> = listed["categories"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert_eq!((names.len(), names[99]), (100, &json!("n99")));
    // Another project has its own.
    let shop = site.key("api", "acme", Some("shop"), &[]);
    assert_eq!(site.get(CATEGORIES, &shop), json!({"categories": []}));
    let org = site.key("org", "acme", None, &[]);
    site.refused(400, "GET", CATEGORIES, &org, None);
    assert_eq!(
        site.get(&format!("{CATEGORIES}?projectId=docs"), &org)["categories"].as_array().map(Vec::len),
        Some(100)
    );
    site.refused(404, "GET", &format!("{CATEGORIES}?projectId=shop"), &key, None);
}

#[test]
fn a_bulk_update_changes_what_all_its_filters_match() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let sales = category(&site, &key, "Sales");
    for n in 0..20 {
        log(&site, &key, &format!("c{n}"), ["u", "v"][n % 2], ["i", "j", "k"][n % 3]);
        if n == 10 {
            site.restart();
        }
    }
    let update = |site: &Site, body: Value| {
        no_content(&site.send("POST", &format!("{ROOT}/bulk_update"), &key, Some(&body.to_string())));
    };
    update(
        &site,
        json!({"userIds": ["u"], "llmAppIds": ["i", "j"], "conversationInfo":
        {"state": "s1", "assignee": "a", "title": "t", "categoryIds": [sales]}}),
    );
    for _ in 0..2 {
        for n in 0..20 {
            let shown = site.get(&format!("{ROOT}/c{n}"), &key);
            let hit = n % 2 == 0 && n % 3 != 2;
            let expected =
                if hit { json!(["s1", "a", "t", ["Sales"]]) } else { json!(["no", null, format!("c{n}"), []]) };
            assert_eq!(
                json!([shown["state"], shown["assignee"], shown["title"], shown["categories"]]),
                expected,
                "{n}"
            );
        }
        site.restart();
    }
    // By category and id; absent fields stay, null clears, an unknown filter value matches nothing.
    update(
        &site,
        json!({"categoryIds": [sales], "conversationIds": ["c0", "c1"], "conversationInfo": {"title": null}}),
    );
    update(&site, json!({"conversationIds": ["c6"], "conversationInfo": {"title": "", "assignee": ""}}));
    let cleared = site.get(&format!("{ROOT}/c6"), &key);
    assert_eq!(json!([cleared["state"], cleared["assignee"], cleared["title"]]), json!(["s1", null, "c6"]));
    update(&site, json!({"categoryIds": ["unknown"], "conversationInfo": {"state": "wrong"}}));
    update(&site, json!({"userIds": ["nobody"], "llmAppIds": [], "conversationInfo": {"state": "wrong"}}));
    let shown = site.get(&format!("{ROOT}/c0"), &key);
    assert_eq!(json!([shown["state"], shown["assignee"], shown["title"]]), json!(["s1", "a", "c0"]));
    assert_eq!(site.get(&format!("{ROOT}/c4"), &key)["title"], "t");
    for (body, place) in [
        (json!({"conversationInfo": {"state": "s"}}), "userIds"),
        (json!({"userIds": [], "conversationInfo": {"state": "s"}}), "userIds"),
        (json!({"userIds": ["u"]}), "conversationInfo"),
        (json!({"userIds": "u", "conversationInfo": {}}), "userIds"),
        (json!({"userIds": ["u"], "conversationInfo": {"categoryIds": ["x"]}}), "conversationInfo.categoryIds[0]"),
    ] {
        let detail = site.refused(422, "POST", &format!("{ROOT}/bulk_update"), &key, Some(&body.to_string()));
        assert!(detail.contains(place), "{detail}");
    }
    assert_eq!(site.get(&format!("{ROOT}/c4"), &key)["state"], "s1");
}

#[test]
fn a_category_goes_off_more_conversations_than_one_change_has() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    assert!(site.server.terminate().success());
    // Two files; more than is read or changed at once.
    for part in 0..2 {
        let line = |n: usize| {
            let document = json!({"id": format!("c{n}"), "type": "openai", "userProperties": {"userId": "u"},
                "projectId": "docs", "messages": [{"role": "user", "content": "hi"}]});
            format!("{document}\n")
        };
        let file = site.store().join("lines.ndjson");
        let lines: String = (part * 2_300..(part + 1) * 2_300).map(line).collect();
        std::fs::write(&file, lines).expect("written");
        let (store, file) = (site.store().display().to_string(), file.display().to_string());
        run(&["import", "--store", &store, "--organization", "acme", &file]);
    }
    site.server = Server::start_on(site.store(), &[]);
    let (sales, other) = (category(&site, &key, "Sales"), category(&site, &key, "Other"));
    let update = |site: &Site, info: Value| {
        let body = json!({"userIds": ["u"], "conversationInfo": info}).to_string();
        no_content(&site.send("POST", &format!("{ROOT}/bulk_update"), &key, Some(&body)));
    };
    let counted = |site: &Site, name: &str| {
        let request = json!({"select": [{"type": "aggregation", "aggregation": "count"}], "where": {"condition":
            {"field": "categories", "operator": "arrayContains", "value": name}}});
        site.rows(&key, &request.to_string())[0]["count"].clone()
    };
    update(&site, json!({"categoryIds": [sales, other], "assignee": "a"}));
    // Of the tail and of files.
    site.restart();
    for n in 0..20 {
        log(&site, &key, &format!("c{}", n * 200), "u", "i");
    }
    assert_eq!((counted(&site, "Sales"), counted(&site, "Other")), (json!(4_600), json!(4_600)));
    no_content(&site.send("DELETE", &format!("{CATEGORIES}/{sales}"), &key, None));
    for _ in 0..2 {
        assert_eq!((counted(&site, "Sales"), counted(&site, "Other")), (json!(0), json!(4_600)));
        let shown = site.get(&format!("{ROOT}/c4599"), &key);
        assert_eq!(json!([shown["categories"], shown["assignee"]]), json!([["Other"], "a"]));
        site.restart();
    }
}
