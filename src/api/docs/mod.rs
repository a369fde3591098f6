//! The API's description as one page. It is made from [`openapi::document`] and asks for nothing else, so that it works
//! offline; without its script everything but search and theme still does.

mod html;
mod schema;

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::html::{elements, escape, inline, markdown, members, put, text};
use super::openapi;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Only the page's own style and script run, and nothing is loaded.
pub(crate) fn policy() -> String {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

struct Entry<'a> {
    id: &'a str,
    method: &'a str,
    path: &'a str,
    operation: &'a Value,
}

/// The page of a description.
pub(crate) fn page(document: &Value) -> String {
    let mut entries = Vec::new();
    for (path, item) in members(document, "paths") {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                entries.push(Entry { id: text(operation, "operationId"), method, path, operation });
            }
        }
    }
    entries.sort_by_key(|entry| openapi::position(&entry.method.to_uppercase(), entry.path));
    let of_tag = |tag: &str| -> Vec<&Entry<'_>> {
        let has_tag = |entry: &&Entry<'_>| elements(entry.operation, "tags").any(|one| one == tag);
        entries.iter().filter(has_tag).collect()
    };
    let info = document.get("info").unwrap_or(&Value::Null);
    let (title, version) = (text(info, "title"), text(info, "version"));
    let (mut menu, mut sections) = (String::new(), String::new());
    for tag in elements(document, "tags") {
        let name = text(tag, "name");
        put!(menu, "<section><h2>{}</h2><ul>", escape(name));
        put!(sections, "<section class=\"tag\"><h2>{}</h2>{}", escape(name), markdown(text(tag, "description")));
        for entry in of_tag(name) {
            put!(
                menu,
                "<li data-search=\"{}\"><a href=\"#{}\">{}<span>{}</span></a></li>",
                search_text(entry),
                entry.id,
                badge(entry.method),
                breakable(entry.path)
            );
            operation(document, entry, &mut sections);
        }
        menu.push_str("</ul></section>");
        sections.push_str("</section>");
    }
    let mut schemas = String::new();
    let components = document.get("components").unwrap_or(&Value::Null);
    for (name, shape) in members(components, "schemas") {
        put!(
            schemas,
            "<article class=\"schema\" id=\"schema-{name}\"><h3><a href=\"#schema-{name}\">{name}</a></h3>{}</article>",
            schema::body(shape)
        );
    }
    let keys = components.pointer("/securitySchemes/bearer/description").and_then(Value::as_str).unwrap_or_default();
    format!(
        r##"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<title>{title} API reference</title><style>{STYLE}</style></head><body>
<header><a class="name" href="#top">{title}</a><span class="version">{version}</span>
<input id="search" type="search" placeholder="Search routes ( / )" aria-label="Search routes" autocomplete="off" spellcheck="false">
<a class="plain" href="/openapi.json">openapi.json</a><button id="theme" type="button" aria-label="Switch between dark and light">Theme</button></header>
<nav aria-label="Routes">{menu}<section><h2>More</h2><ul><li><a href="#schemas"><span>Schemas</span></a></li></ul></section></nav>
<main id="top"><section class="intro"><h1>{title} API</h1><p class="lead">{}</p>{}<h3>Keys</h3>{}</section>
{sections}<p id="nothing" hidden>No route has these words.</p>
<section class="tag" id="schemas"><h2>Schemas</h2>{schemas}</section></main>
<script>{SCRIPT}</script></body></html>"##,
        inline(text(info, "summary")),
        markdown(text(info, "description")),
        markdown(keys),
    )
}

fn search_text(entry: &Entry<'_>) -> String {
    let words =
        format!("{} {} {} {}", entry.method, entry.path, entry.id, text(entry.operation, "summary")).to_lowercase();
    escape(&words)
}

fn badge(method: &str) -> String {
    let label = if method == "delete" { "DEL" } else { method };
    format!("<b class=\"method {method}\">{}</b>", label.to_uppercase())
}

/// A path that may break after its slashes.
fn breakable(path: &str) -> String {
    escape(path).replace('/', "/<wbr>")
}

fn operation(document: &Value, entry: &Entry<'_>, html: &mut String) {
    let Entry { id, method, path, operation } = *entry;
    put!(html, "<article class=\"route\" id=\"{id}\" data-search=\"{}\"><div class=\"text\">", search_text(entry));
    put!(
        html,
        "<h3>{}</h3><p class=\"path\">{}<a href=\"#{id}\"><code>{}</code></a></p>",
        escape(text(operation, "summary")),
        badge(method),
        breakable(path)
    );
    let keys: Vec<&str> = elements(operation, "x-keys").filter_map(Value::as_str).collect();
    let keys = if keys.is_empty() { "no key needed".to_owned() } else { format!("keys: {}", keys.join(", ")) };
    put!(html, "<p class=\"keys\">{}</p>{}", escape(&keys), markdown(text(operation, "description")));
    parameters(document, operation, html);
    let request = operation.pointer("/requestBody/content/application~1json");
    if let Some(content) = request {
        let shape = content.get("schema").unwrap_or(&Value::Null);
        put!(html, "<h4>Body <span class=\"type\">{}</span></h4>", schema::type_of(shape));
        html.push_str(&schema::body(schema::resolve(document, shape)));
    }
    html.push_str("<h4>Answers</h4><dl class=\"answers\">");
    for (status, response) in members(operation, "responses") {
        let resolved = schema::resolve(document, response);
        let shape = resolved.pointer("/content/application~1json/schema");
        let shape = shape.map_or_else(String::new, |shape| format!(" {}", schema::type_of(shape)));
        let class = if status == "200" { "good" } else { "bad" };
        let when = inline(text(resolved, "description"));
        put!(html, "<dt class=\"{class}\">{status}</dt><dd>{when}<span class=\"type\">{shape}</span></dd>");
    }
    html.push_str("</dl></div><div class=\"examples\">");
    let (body, answer) = openapi::examples(&method.to_uppercase(), path);
    code("Request", &curl(entry, body), html);
    if let Some(answer) = answer {
        code("Answer", &answer.replace('\r', ""), html);
    }
    html.push_str("</div></article>");
}

fn parameters(document: &Value, operation: &Value, html: &mut String) {
    let mut rows = String::new();
    for parameter in elements(operation, "parameters") {
        let parameter = schema::resolve(document, parameter);
        let needed = if parameter.get("required") == Some(&Value::Bool(true)) { "<em>required</em>" } else { "" };
        let shape = parameter.get("schema").unwrap_or(&Value::Null);
        put!(
            rows,
            "<div class=\"field\"><code>{}</code> <span class=\"type\">{} · {}{}</span> {needed}<p>{}</p></div>",
            escape(text(parameter, "name")),
            escape(text(parameter, "in")),
            schema::type_of(shape),
            schema::limits(shape),
            inline(text(parameter, "description"))
        );
    }
    if !rows.is_empty() {
        put!(html, "<h4>Parameters</h4><div class=\"fields\">{rows}</div>");
    }
}

fn code(title: &str, text: &str, html: &mut String) {
    put!(
        html,
        "<figure><figcaption>{title}<button type=\"button\" class=\"copy\">Copy</button></figcaption><pre>{}</pre></figure>",
        escape(text)
    );
}

fn curl(entry: &Entry<'_>, body: Option<&str>) -> String {
    let method = if entry.method == "get" { String::new() } else { format!(" -X {}", entry.method.to_uppercase()) };
    // Braces mean something to curl.
    let mut command = format!("curl{method} \"$HOST{}\"", entry.path.replace(['{', '}'], ""));
    let is_public = entry.operation.get("security").and_then(Value::as_array).is_some_and(Vec::is_empty);
    if !is_public {
        command.push_str(" \\\n  -H \"Authorization: Bearer $KEY\"");
    }
    if let Some(body) = body {
        let body = body.replace('\'', r"'\''");
        put!(command, " \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'");
    }
    command
}
