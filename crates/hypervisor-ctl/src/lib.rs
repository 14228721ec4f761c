//! The command line, `hypervisor-ctl`: what a person or a script sees of the API.
//!
//! ```text
//!   cli        one clap definition: parsing, help, completion and man pages come from it
//!   cmd/       one module a resource: flags -> request -> answer -> output
//!   connect    flag > environment > context file > default: which server, which token
//!   wait       an operation, until it ended
//!   output/    tables for people, JSON and YAML for programs
//!   exit       one exit code for each thing a caller can do about an error
//! ```
//!
//! [`run`] takes arguments, streams and environment as values, so that tests call what `main` calls. It decides nothing that
//! the server decides: a wrong field is refused there, and shown here with the flag's own words.

mod cli;
mod cmd;
mod connect;
mod contexts;
mod exit;
mod output;
mod parse;
mod terminal;
mod wait;

pub use exit::Exit;

use clap::{CommandFactory, FromArgMatches};
use cli::{Cli, Globals};
use exit::Failure;
use hv_core::meta::DEFAULT_PROJECT;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};

/// What a process has: streams and environment, as values.
pub struct Io {
    /// Results.
    pub out: Box<dyn Write + Send>,
    /// Progress, notes and errors.
    pub err: Box<dyn Write + Send>,
    /// What a console sends to its guest; taken by the first console.
    pub input: Option<Box<dyn Read + Send>>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Whether a person reads the results.
    pub out_is_terminal: bool,
    /// Whether a person reads the progress.
    pub err_is_terminal: bool,
    /// Whether a person types the input.
    pub input_is_terminal: bool,
}

impl Io {
    /// What this process has.
    pub fn of_process() -> Self {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            input: Some(Box::new(io::stdin())),
            environment: std::env::vars_os().filter_map(text).collect(),
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
            input_is_terminal: io::stdin().is_terminal(),
        }
    }

    /// A variable of the environment; empty counts as unset.
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a stream that is or is not a terminal gets colour (<https://no-color.org>).
    fn colour(&self, is_terminal: bool) -> bool {
        is_terminal && self.variable("NO_COLOR").is_none() && self.variable("TERM") != Some("dumb")
    }
}

/// What every command works with.
struct Context {
    io: Io,
    globals: Globals,
    /// Operations that are being waited for: named when the wait is interrupted.
    pending: Vec<String>,
}

impl Context {
    /// A line of result.
    fn say(&mut self, line: impl AsRef<str>) -> Result<(), Failure> {
        writeln!(self.io.out, "{}", line.as_ref())?;
        Ok(self.io.out.flush()?)
    }

    /// The project that is asked for, in the words of calls that list: empty for all of them.
    fn project(&self, all: bool) -> String {
        match self.globals.project.as_str() {
            _ if all => String::new(),
            "" => DEFAULT_PROJECT.to_owned(),
            project => project.to_owned(),
        }
    }

    /// A line beside the result. That nobody may read it is no failure.
    fn note(&mut self, line: impl AsRef<str>) {
        let _ = writeln!(self.io.err, "{}", line.as_ref());
    }
}

/// Runs one command line, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>, mut io: Io) -> Exit {
    let matches = match Cli::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return explain(&error, &mut io),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return explain(&error, &mut io),
    };
    let mut context = Context { io, globals: cli.globals, pending: Vec::new() };
    let ended = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let ended = runtime.block_on(until_interrupted(&mut context, cli.command));
            // A thread may still be blocked in a read; nothing is left to wait for.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => Exit::Ok,
        Err(failure) => failure.report(&mut context),
    }
}

async fn until_interrupted(context: &mut Context, command: cli::Command) -> Result<(), Failure> {
    tokio::select! {
        // Both are dropped by the return: a terminal in raw mode is restored by its guard.
        ended = cmd::dispatch(context, command) => ended,
        interrupted = terminal::interrupted() => Err(interrupted.map_or_else(Failure::from, |()| Failure::Interrupted)),
    }
}

/// Help, version, or what is wrong with the arguments.
fn explain(error: &clap::Error, io: &mut Io) -> Exit {
    let (stream, is_terminal) = if error.use_stderr() {
        (&mut io.err, io.err_is_terminal)
    } else {
        (&mut io.out, io.out_is_terminal)
    };
    let no_colour = io.environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());
    let text = error.render();
    let text = if is_terminal && !no_colour { text.ansi().to_string() } else { text.to_string() };
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    if error.use_stderr() { Exit::Usage } else { Exit::Ok }
}
