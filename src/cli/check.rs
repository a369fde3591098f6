//! `check --absent`: proves that a text, such as the id of something erased, is nowhere in the store.

use std::io::Write;
use std::process::ExitCode;

use super::error::CliError;
use crate::config::CheckArguments;
use crate::storage::maintain::absence::{self, Absence};
use crate::storage::objects::open::open_environment;
use crate::storage::write::recovery::read_marker;

/// Where the text is somewhere, so that a script can tell it from a failure.
const FOUND: u8 = 3;

pub(crate) async fn run(CheckArguments { store, absent }: CheckArguments) -> Result<ExitCode, CliError> {
    if absent.is_empty() {
        return Err(CliError::Argument("an empty text is everywhere".to_owned()));
    }
    let (environment, folder) = open_environment(&store.store)?;
    read_marker(&environment, &store.store).await?;
    let absence = absence::look_for(&environment, folder.as_deref(), &absent).await?;
    tell(&absence).map_err(|error| CliError::Io { what: "writing to stdout".to_owned(), error })?;
    let Absence { found, unread, .. } = absence;
    match (found.is_empty(), unread.len()) {
        (false, _) => Ok(ExitCode::from(FOUND)),
        (true, 0) => Ok(ExitCode::SUCCESS),
        (true, count) => Err(CliError::Argument(format!("{count} objects could not be read: that proves nothing"))),
    }
}

fn tell(Absence { objects, bytes, found, unread }: &Absence) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (name, places) in found {
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        writeln!(out, "found in {name}: {}", places.join(", "))?;
    }
    for (name, reason) in unread {
        writeln!(out, "not read: {name}: {reason}")?;
    }
    let outcome = if found.is_empty() && unread.is_empty() { "absent" } else { "not proved absent" };
    writeln!(out, "{outcome}: {objects} objects read, {bytes} bytes")
}
