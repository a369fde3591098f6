//! `keys create`, `list`, `revoke`, `rotate`: on the store directly, without its write lock.

use std::io::Write;
use std::time::Duration;

use clap::Subcommand;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::error::CliError;
use crate::auth::key::{Key, KeyKind};
use crate::auth::key_store::{CreatedKey, KeyStore, Listed, NewKey, Revoked};
use crate::auth::last_used::LastUsed;
use crate::config::{CreateKeyArguments, KeyArguments, ListKeysArguments, RotateKeyArguments, StoreArguments};
use crate::environment::Environment;
use crate::model::ids::EpochMillis;
use crate::model::time;
use crate::storage::objects::frame::Unsound;
use crate::storage::objects::open::open_environment;
use crate::storage::write::recovery::{open_marker, read_marker};

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and print it; it is shown only this once
    Create(CreateKeyArguments),
    /// List all keys, without their secrets
    List(ListKeysArguments),
    /// End a key now
    Revoke(KeyArguments),
    /// Make and print a successor; the old key expires after the overlap
    Rotate(RotateKeyArguments),
}

pub(crate) async fn run(command: KeysCommand) -> Result<(), CliError> {
    match command {
        KeysCommand::Create(arguments) => {
            let needs_more = arguments.project.is_none() || arguments.integration.is_none();
            if arguments.kind != KeyKind::Org && needs_more {
                let kind = arguments.kind.name();
                return Err(CliError::Argument(format!("a key of kind {kind} needs --project and --integration")));
            }
            let environment = open_store(&arguments.store).await?;
            let CreateKeyArguments { kind, organization, project, integration, .. } = arguments;
            let end = |lifetime: Duration| {
                let millis = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
                EpochMillis(environment.now().0.saturating_add(millis).min(time::LAST))
            };
            let new = NewKey {
                scopes: arguments.scopes,
                name: arguments.name,
                expires_at: arguments.expires.map(end),
                rate: arguments.rate,
                external_ids: arguments.external_ids,
                ..NewKey::new(kind, organization, project, integration)
            };
            show(KeyStore::new(environment).create(new).await?)
        }
        KeysCommand::List(ListKeysArguments { store, json }) => {
            // Writes nothing, so that it works on a full or read-only disk.
            let (environment, _) = open_environment(&store.store)?;
            read_marker(&environment, &store.store).await?;
            let now = environment.now();
            let keys = KeyStore::new(environment);
            let (listed, used) = (keys.list().await?, keys.last_used().await?);
            for (_, unsound) in &listed.unsound {
                eprintln!("the key object {unsound}");
            }
            if json { print(&as_json(&listed, &used, now)) } else { print(&table(&listed, &used, now)) }
        }
        KeysCommand::Revoke(arguments) => {
            match open(&arguments.store).await?.revoke(&arguments.id).await? {
                Revoked::Key => eprintln!("key {} is revoked", arguments.id),
                Revoked::DamagedObject => {
                    eprintln!("key {} is revoked; its object was damaged and is deleted", arguments.id);
                }
            }
            Ok(())
        }
        KeysCommand::Rotate(arguments) => {
            let store = open(&arguments.key.store).await?;
            show(store.rotate(&arguments.key.id, arguments.overlap).await?)
        }
    }
}

async fn open(arguments: &StoreArguments) -> Result<KeyStore, CliError> {
    Ok(KeyStore::new(open_store(arguments).await?))
}

/// Keys may come before anything else: where there is nothing yet, it becomes a store.
async fn open_store(StoreArguments { store }: &StoreArguments) -> Result<Environment, CliError> {
    let (environment, _) = open_environment(store)?;
    open_marker(&environment, store).await?;
    Ok(environment)
}

/// The key alone on stdout, for scripts; what it is on stderr.
fn show(created: CreatedKey) -> Result<(), CliError> {
    eprintln!("key {} of kind {}; it is not shown again", created.key.id, created.key.kind.name());
    print(&created.text)
}

fn print(text: &str) -> Result<(), CliError> {
    writeln!(std::io::stdout().lock(), "{text}")
        .map_err(|error| CliError::Io { what: "writing to stdout".to_owned(), error })
}

/// An array of them, as stored but for what opens them.
fn as_json(listed: &Listed, used: &LastUsed, now: EpochMillis) -> String {
    let time = |at: Option<EpochMillis>| at.map(time::render);
    let keys = listed.keys.iter().map(|key| {
        json!({
            "id": key.id,
            "kind": key.kind.name(),
            "name": key.name,
            "organizationId": key.organization_id.as_str(),
            "projectId": key.project_id.as_ref().map(|id| id.as_str()),
            "integrationId": key.integration_id.as_ref().map(|id| id.as_str()),
            "scopes": key.scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>(),
            "externalIds": key.external_ids,
            "rate": key.requests_per_second(),
            "createdAt": time::render(key.created_at),
            "expiresAt": time(key.expires_at),
            "revokedAt": time(key.revoked_at),
            "lastUsedAt": time(used.get(&key.id)),
            "state": state(key, now),
        })
    });
    let unsound = listed.unsound.iter().map(|(id, unsound)| json!({"id": id, "state": state_of(unsound)}));
    Value::Array(keys.chain(unsound).collect()).to_string()
}

fn state(key: &Key, now: EpochMillis) -> &'static str {
    match (key.revoked_at, key.is_usable(now)) {
        (Some(_), _) => "revoked",
        (None, true) => "active",
        (None, false) => "expired",
    }
}

fn state_of(unsound: &Unsound) -> &'static str {
    if unsound.is_damaged() { "damaged" } else { "of another format" }
}

fn table(listed: &Listed, used: &LastUsed, now: EpochMillis) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "ID",
        "KIND",
        "ORGANIZATION",
        "PROJECT",
        "INTEGRATION",
        "SCOPES",
        "CREATED",
        "EXPIRES",
        "STATE",
        "NAME",
    ]);
    for key in &listed.keys {
        let state = match key.revoked_at {
            Some(at) => format!("revoked {}", time::render(at)),
            None => state(key, now).to_owned(),
        };
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.name()).collect();
        table.add_row([
            key.id.clone(),
            key.kind.name().to_owned(),
            key.organization_id.to_string(),
            key.project_id.as_ref().map_or("-".to_owned(), |id| id.to_string()),
            key.integration_id.as_ref().map_or("-".to_owned(), |id| id.to_string()),
            if scopes.is_empty() { "-".to_owned() } else { scopes.join(",") },
            time::render(key.created_at),
            used.get(&key.id).map_or("-".to_owned(), time::render),
            key.expires_at.map_or("-".to_owned(), time::render),
            state,
            key.name.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    for (id, unsound) in &listed.unsound {
        table.add_row([id, "-", "-", "-", "-", "-", "-", "-", "-", state_of(unsound), "-"]);
    }
    table.to_string()
}
