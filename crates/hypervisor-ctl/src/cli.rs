//! The one definition: parsing, help, completion and man pages come from it.

use crate::cmd::{cluster, config, event, instance, node, operation};
use crate::output::Format;
use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use std::path::PathBuf;

/// Controls virtual machines, containers and microVMs of a Hypervisor cluster.
///
/// Objects are named by their name or their uid. Commands that change something wait until it is done, and show its steps;
/// with --no-wait they print the operation that goes on by itself.
///
/// Results go to standard output, progress and errors to standard error.
#[derive(Parser)]
#[command(
    name = "hypervisor-ctl",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = crate::exit::HELP,
    after_long_help = long_help(),
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Globals {
    /// The server: unix:PATH or http://127.0.0.1:PORT [env: HYPERVISOR_SERVER]
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = "Connection")]
    pub(crate) server: Option<String>,
    /// File that holds the token, mode 0600 [env: HYPERVISOR_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Connection")]
    pub(crate) token_file: Option<String>,
    /// A context of the configuration file [env: HYPERVISOR_CONTEXT]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub(crate) context: Option<String>,
    /// The project; the default one when not given. Operations and events are those of all projects then
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        help_heading = "Connection"
    )]
    pub(crate) project: String,
    /// How results are shown
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub(crate) output: Format,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Virtual machines, containers and microVMs
    #[command(subcommand, visible_aliases = ["vm", "container"])]
    Instance(instance::Command),
    /// The hosts that run them
    #[command(subcommand)]
    Node(node::Command),
    /// What was asked for, and how far it is
    #[command(subcommand)]
    Operation(operation::Command),
    /// Everything that changes, as it changes
    Events(event::Events),
    /// The cluster as a whole
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Servers by name, in the user's configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Versions of this program and of the server
    Version,
    /// Completion for a shell
    ///
    /// bash: hypervisor-ctl completion bash > ~/.local/share/bash-completion/completions/hypervisor-ctl
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Writes a man page for every command into a directory
    Man {
        /// The directory; made when it is not there
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

fn long_help() -> String {
    format!(
        "\
Examples:
  hypervisor-ctl instance create web --image debian-12.qcow2 --cpus 2 --memory 1G --publish 2222:22
  hypervisor-ctl instance console web
  hypervisor-ctl instance list -o json
  hypervisor-ctl instance delete web

Connection:
  A flag wins over its environment variable, this over the context in ctl.toml, this over the default: the
  server of `hypervisor dev` of this user if there is one ($XDG_STATE_HOME/hypervisor/dev/server.sock, by
  default below ~/.local/state), else /run/hypervisor/server.sock with the token /var/lib/hypervisor/token.
  `hypervisor-ctl config show` says what is in force and why.

Environment:
  HYPERVISOR_SERVER, HYPERVISOR_TOKEN_FILE, HYPERVISOR_CONTEXT  as the flags
  NO_COLOR  no colour, also on a terminal

Files:
  ~/.config/hypervisor/ctl.toml  contexts; see hypervisor-ctl config

{}",
        crate::exit::HELP
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// A heading of a group of flags holds for whatever is declared behind the group.
    #[test]
    fn only_what_is_about_waiting_stands_under_waiting() {
        fn look(command: &clap::Command) {
            for arg in command.get_arguments().filter(|arg| arg.get_help_heading() == Some("Waiting")) {
                let flag = arg.get_long().unwrap_or_default();
                let waits = ["no-wait", "timeout", "idempotency-key"].contains(&flag);
                assert!(waits, "--{flag} of {}", command.get_name());
            }
            command.get_subcommands().for_each(look);
        }
        look(&Cli::command());
    }
}
