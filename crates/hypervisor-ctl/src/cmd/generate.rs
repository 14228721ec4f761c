//! Completion and man pages.

use crate::Context;
use crate::cli::Cli;
use crate::exit::Failure;
use clap::CommandFactory;
use clap_complete::Shell;
use hv_core::{Error, ErrorKind};
use std::path::Path;

/// Prints the completion of a shell.
pub(crate) fn completion(context: &mut Context, shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hypervisor-ctl", &mut text);
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if shell == Shell::Bash {
        // clap_complete 4.6 takes the hyphen of our name for the border of a subcommand in one of two places, so that bash
        // would complete the first word only.
        text = text.replace("hypervisor__subcmd__ctl", "hypervisor__ctl");
    }
    context.io.out.write_all(text.as_bytes())?;
    Ok(context.io.out.flush()?)
}

/// Writes one page a command.
pub(crate) fn man(context: &mut Context, dir: &Path) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| {
        Error::new(ErrorKind::Internal, format!("cannot write man pages into {}: {error}", dir.display()))
    };
    std::fs::create_dir_all(dir).map_err(wrong)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), dir).map_err(wrong)?;
    context.note(format!("man pages are in {}", dir.display()));
    Ok(())
}
