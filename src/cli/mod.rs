//! The commands.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use self::error::CliError;
use crate::config::{CheckArguments, CompactArguments, GcArguments, ImportArguments, ServeArguments, StatusArguments};

mod check;
pub(crate) mod demo;
mod descriptors;
mod error;
pub(crate) mod import;
mod keys;
mod maintenance;
#[cfg(test)]
mod mutations;
mod projects;
pub mod sample;
mod serve;

const SHUTDOWN_TIME: Duration = Duration::from_secs(5);

/// Self-hosted columnar analytics server for AI-support conversations
#[derive(Debug, Parser)]
#[command(name = "convolake", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP API; stops on SIGTERM or Ctrl-C
    Serve(Box<ServeArguments>),
    /// Load history from NDJSON files (plain, .zst, .gz) into a store that no server has open
    Import(ImportArguments),
    /// Fill an empty store with a sample, answer three questions, print a key, and serve
    Demo(Box<ServeArguments>),
    /// Print generated conversations as NDJSON, to try an import with
    Sample(crate::config::SampleArguments),
    /// Read every object of a store to prove that an id or a text is in none; exit status 3 where it is in one
    Check(CheckArguments),
    /// Merge the files of a store that no server has open (of one by URL, a server would lose it); a server does it by itself
    Compact(CompactArguments),
    /// Delete what no commit has named for a while from a store that no server has open; a server does it by itself
    Gc(GcArguments),
    /// Print what a store holds, also while a server runs
    Status(StatusArguments),
    /// Make, list, revoke and rotate API keys, also while a server runs
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Set how long projects' data is kept and how much it may be, also while a server runs
    #[command(subcommand)]
    Projects(projects::ProjectsCommand),
}

impl Cli {
    /// Prints what ends the command.
    pub fn run(self) -> ExitCode {
        match self.run_on_a_runtime() {
            Ok(status) => status,
            Err(error) => {
                eprintln!("convolake: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn run_on_a_runtime(self) -> Result<ExitCode, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::Io { what: "starting the runtime".to_owned(), error })?;
        let result = runtime.block_on(async {
            let done = match self.command {
                Command::Check(arguments) => return check::run(arguments).await,
                Command::Serve(arguments) => serve::run(*arguments).await,
                Command::Import(arguments) => import::run(arguments).await,
                Command::Demo(arguments) => demo::run(*arguments).await,
                Command::Sample(arguments) => sample::run(&arguments),
                Command::Compact(arguments) => maintenance::compact(&arguments).await,
                Command::Gc(arguments) => maintenance::collect(&arguments).await,
                Command::Status(arguments) => maintenance::status(&arguments).await,
                Command::Keys(command) => keys::run(command).await,
                Command::Projects(command) => projects::run(command).await,
            };
            done.map(|()| ExitCode::SUCCESS)
        });
        // Work that goes on for a request that nobody waits for any more.
        runtime.shutdown_timeout(SHUTDOWN_TIME);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_option_is_also_a_variable() {
        fn walk(command: &clap::Command) {
            for argument in command.get_arguments().filter(|argument| !argument.is_positional()) {
                let name = argument.get_id().as_str();
                if !["help", "version"].contains(&name) {
                    let variable = argument.get_env().and_then(|variable| variable.to_str()).unwrap_or_default();
                    assert!(variable.starts_with("CONVOLAKE_"), "{name}");
                }
            }
            command.get_subcommands().for_each(walk);
        }
        let mut command = Cli::command();
        command.build();
        command.debug_assert();
        walk(&Cli::command());
    }
}
