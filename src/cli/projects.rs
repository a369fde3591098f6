//! `projects set`, `list`: on the store directly, without its write lock; a running server sees it within a minute.

use std::io::Write;

use clap::Subcommand;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use super::error::CliError;
use crate::config::{ListProjectsArguments, SetProjectArguments};
use crate::environment::Environment;
use crate::model::project_limits::ProjectLimits;
use crate::storage::objects::open::open_environment;
use crate::storage::projects::{Known, ProjectKey, Projects};
use crate::storage::write::recovery::read_marker;

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectsCommand {
    /// Set how long a project's data is kept, and how much it may be
    Set(SetProjectArguments),
    /// List the projects of which something is set
    List(ListProjectsArguments),
}

pub(crate) async fn run(command: ProjectsCommand) -> Result<(), CliError> {
    match command {
        ProjectsCommand::Set(SetProjectArguments { store, organization, project, max_age, max_bytes }) => {
            let projects = open(&store.store).await?;
            let project = ProjectKey { organization_id: organization, project_id: project };
            let before = projects.get(&project).await?;
            let limits = ProjectLimits {
                max_age: max_age.map_or(before.max_age, |given| given.0),
                max_bytes: max_bytes.map_or(before.max_bytes, |given| given.0),
            };
            projects.set(project.clone(), limits).await?;
            print(&table(&Known::from([(project, limits)])))
        }
        ProjectsCommand::List(ListProjectsArguments { store, json }) => {
            let known = open(&store.store).await?.known().await?;
            print(&if json { as_json(&known) } else { table(&known) })
        }
    }
}

async fn open(store: &str) -> Result<Projects, CliError> {
    let (environment, _): (Environment, _) = open_environment(store)?;
    // A mistyped name must not become a store.
    read_marker(&environment, store).await?;
    Ok(Projects::new(environment))
}

fn as_json(known: &Known) -> String {
    let projects = known.iter().map(|(ProjectKey { organization_id, project_id }, limits)| {
        let max_age = limits.max_age.map(|age| age.render());
        let (organization, project) = (organization_id.as_str(), project_id.as_str());
        json!({"organization": organization, "project": project, "maxAge": max_age, "maxBytes": limits.max_bytes})
    });
    projects.collect::<serde_json::Value>().to_string()
}

fn table(known: &Known) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["ORGANIZATION", "PROJECT", "MAX AGE", "MAX BYTES"]);
    for (ProjectKey { organization_id, project_id }, limits) in known {
        let none = || "-".to_owned();
        table.add_row([
            organization_id.to_string(),
            project_id.to_string(),
            limits.max_age.map_or_else(none, |age| age.render()),
            limits.max_bytes.map_or_else(none, |bytes| bytes.to_string()),
        ]);
    }
    for column in 2..4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

fn print(text: &str) -> Result<(), CliError> {
    writeln!(std::io::stdout().lock(), "{text}")
        .map_err(|error| CliError::Io { what: "writing to stdout".to_owned(), error })
}
