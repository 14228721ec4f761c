//! The commands: one module a resource.

pub(crate) mod cluster;
pub(crate) mod config;
pub(crate) mod event;
pub(crate) mod follow;
pub(crate) mod generate;
pub(crate) mod instance;
pub(crate) mod node;
pub(crate) mod operation;

use crate::Context;
use crate::cli::Command;
use crate::exit::Failure;

/// Runs a command.
pub(crate) async fn dispatch(context: &mut Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Instance(command) => instance::run(context, command).await,
        Command::Node(command) => node::run(context, command).await,
        Command::Operation(command) => operation::run(context, command).await,
        Command::Events(events) => event::run(context, events).await,
        Command::Cluster(command) => cluster::run(context, command).await,
        Command::Config(command) => config::run(context, command),
        Command::Version => cluster::version(context).await,
        Command::Completion { shell } => generate::completion(context, shell),
        Command::Man { dir } => generate::man(context, &dir),
    }
}

/// How a changing command waits.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Waiting")]
pub(crate) struct Waiting {
    /// Print the operation and do not wait for it
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Wait no longer than this: 90s, 5m. The operation goes on
    #[arg(long, value_name = "DURATION", value_parser = crate::parse::duration)]
    pub(crate) timeout: Option<std::time::Duration>,
    /// Makes a repetition of the same command harmless; made up when not given
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

impl Waiting {
    /// The key of one call. A command on several objects makes several calls.
    pub(crate) fn key(&self, object: &str) -> String {
        match &self.idempotency_key {
            Some(key) if object.is_empty() => key.clone(),
            Some(key) => format!("{key}/{object}"),
            None => hv_runtime::ids::uuid().to_string(),
        }
    }
}
