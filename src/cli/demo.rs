//! `convolake demo`: a store with a realistic sample, three questions answered, keys made, and the server running.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use comfy_table::{ContentArrangement, Table, presets};

use super::error::CliError;
use super::{descriptors, sample, serve};
use crate::api::render::cells::Cells;
use crate::auth::key::KeyKind;
use crate::auth::key_store::{KeyStore, NewKey};
use crate::config::ServeArguments;
use crate::model::document;
use crate::model::ids::{IntegrationId, OrganizationId, ProjectId};
use crate::model::json::jsonb;
use crate::model::json::value::Json;
use crate::model::origin::{Reach, Sender};
use crate::model::resolve::Identity;
use crate::model::scope::Scope;
use crate::query::engine::QueryEngine;
use crate::query::error::QueryError;
use crate::query::execute::question::Question;
use crate::query::execute::row_stream::RowStream;
use crate::query::{check, view};
use crate::shares::Taker;
use crate::storage::objects::open::open_environment;
use crate::storage::read::snapshot::Snapshot;
use crate::storage::write::bulk::BulkLoader;

const ORGANIZATION: &str = "default";
const SEED: u64 = 2026;
const DOCUMENTS: u64 = 50_000;
const DOCUMENT_BYTES: usize = 2_500;
const BATCH: u64 = 25_000;

/// The demo's questions: what is asked, and the request that asks it.
const QUESTIONS: [(&str, &str); 3] = [
    (
        "How many conversations has each project, and how many people wrote in them?",
        r#"{
  "select": [
    {"type": "aggregation", "aggregation": "count"},
    {"type": "aggregation", "aggregation": "countDistinct", "field": "userProperties", "path": ["userId"]}
  ],
  "groupBy": [{"field": "projectId"}],
  "orderBy": [{"field": "count", "direction": "desc"}]
}"#,
    ),
    (
        "How did the last months go, per kind of conversation?",
        r#"{
  "select": [
    {"type": "time", "timeUnit": "month"},
    {"type": "aggregation", "aggregation": "count"},
    {"type": "aggregation", "aggregation": "avg", "field": "userMessageCount"}
  ],
  "groupBy": [{"field": "type"}],
  "where": {"condition": {"field": "firstMessageTime", "operator": "gte", "value": "2026-04-01T00:00:00Z"}}
}"#,
    ),
    (
        "In which regions do paying customers wait longest for an answer?",
        r#"{
  "select": [
    {"type": "aggregation", "aggregation": "count"},
    {"type": "aggregation", "aggregation": "avg", "field": "properties", "path": ["latencyMs"]},
    {"type": "aggregation", "aggregation": "max", "field": "properties", "path": ["latencyMs"]}
  ],
  "groupBy": [{"field": "properties", "path": ["region"]}],
  "where": {"condition": {"field": "properties", "operator": "in",
    "value": {"path": ["plan"], "value": ["pro", "enterprise"]}}},
  "orderBy": [{"field": "avg_properties.latencyMs", "direction": "desc"}]
}"#,
    ),
];

pub(crate) async fn run(arguments: ServeArguments) -> Result<(), CliError> {
    serve::log_to_stderr();
    let stop = serve::stop_on_signal()?;
    descriptors::raise_limit();
    let listener = serve::bind(&arguments).await?;
    let (environment, local_root) = open_environment(&arguments.store.store)?;
    {
        let mut loader = BulkLoader::open(environment.clone(), local_root.clone()).await?;
        load_if_empty(&mut loader).await?;
        loader.finish().await?;
    }
    let services = serve::open(environment, local_root, &arguments).await?;
    show_questions(&services.engine, &services.store.snapshot()).await?;
    let keys = KeyStore::new(services.store.environment().clone());
    let new = NewKey::new(KeyKind::Org, OrganizationId::new(ORGANIZATION), None, None);
    let analyst = keys.create(new.clone()).await?;
    let new = NewKey {
        kind: KeyKind::Api,
        project_id: Some(ProjectId::new(sample::PROJECTS[0])),
        integration_id: Some(IntegrationId::new("demo")),
        ..new
    };
    let writer = keys.create(new).await?;
    println!(
        "\nKeys (shown only now): {} reads all projects, {} reads and writes {}.",
        analyst.text,
        writer.text,
        sample::PROJECTS[0]
    );
    let address = listener.local_addr().map_err(|error| CliError::Io { what: "listening".to_owned(), error })?;
    print_curl(&address.to_string(), &analyst.text);
    serve::listen(&arguments, listener, services, stop).await
}

/// Loads the sample into an empty store; a store with conversations is left as it is.
async fn load_if_empty(loader: &mut BulkLoader) -> Result<(), CliError> {
    if !loader.is_empty() {
        println!("The store already has conversations; nothing was loaded.");
        return Ok(());
    }
    let started = Instant::now();
    for first in (0..DOCUMENTS).step_by(BATCH as usize) {
        let documents = (first..(first + BATCH).min(DOCUMENTS)).filter_map(|number| {
            let text = sample::document(SEED, number, DOCUMENTS, DOCUMENT_BYTES);
            let document = document::parse(text.as_bytes()).ok()?;
            let identity = Identity {
                organization_id: OrganizationId::new(ORGANIZATION),
                project_id: ProjectId::new(sample::project(number)),
                integration_id: document.integration_id.as_deref().map(IntegrationId::new),
                sender: Sender::import(),
                reach: Reach::Everything,
            };
            Some((identity, document))
        });
        loader.load(documents.collect(), None).await?;
    }
    println!("Loaded {DOCUMENTS} sample conversations in {:.1} s.", started.elapsed().as_secs_f64());
    Ok(())
}

/// Asks the three questions and prints their answers as tables.
async fn show_questions(engine: &QueryEngine, snapshot: &Arc<Snapshot>) -> Result<(), CliError> {
    for (question, request) in QUESTIONS {
        let query = check::check(&view::CONVERSATIONS, request.as_bytes())?;
        let asker = Taker::of_organization(ORGANIZATION);
        let scope = Scope { organization_id: OrganizationId::new(ORGANIZATION), project_id: None, asker };
        let started = Instant::now();
        let task = engine.ask(snapshot.clone(), scope, Question::Query(query), table).await?;
        let answer = task.await?;
        let elapsed = started.elapsed();
        println!("\n{question}\n{request}\n");
        println!("{answer}");
        println!("({:.1} ms)", elapsed.as_secs_f64() * 1e3);
    }
    Ok(())
}

async fn table(mut rows: RowStream) -> Result<Table, QueryError> {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(rows.columns().iter().map(|column| column.name.as_str()));
    while let Some(batch) = rows.next().await? {
        let columns = rows.columns().iter().zip(batch.columns());
        let columns = columns.map(|(column, array)| Cells::new(column.kind, array.as_ref()));
        let columns = columns.collect::<Result<Vec<_>, QueryError>>()?;
        for row in 0..batch.num_rows() {
            table.add_row(columns.iter().map(|cells| cell(&cells.json(row))));
        }
    }
    Ok(table)
}

fn cell(value: &Json) -> String {
    let text = jsonb::text(value).unwrap_or_else(|| "—".to_owned());
    match (value, text.parse::<f64>()) {
        (Json::Number(_), Ok(number)) if number.fract() != 0.0 => format!("{number:.2}"),
        _ => text.strip_suffix("T00:00:00.000Z").map(str::to_owned).unwrap_or(text),
    }
}

/// A request that can be pasted into a shell.
fn print_curl(address: &str, key: &str) {
    println!(
        "\nTry it:\n\ncurl -s http://{address}/query/conversations -H 'authorization: Bearer {key}' \\\n  \
         -H 'content-type: application/json' \\\n  \
         -d '{{\"select\":[{{\"type\":\"aggregation\",\"aggregation\":\"count\"}}],\"groupBy\":[{{\"field\":\"type\"}}]}}'\n"
    );
    let _ = std::io::stdout().flush();
}
