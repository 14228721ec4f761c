//! `hv-qmp`: the shell's process.

use clap::Parser;
use hv_qmp::{
    line,
    shell::{self, Outcome, Reader},
};
use qmp::{
    Client, Options,
    deadline::Deadlines,
    open::{self, Address},
    with_causes,
};
use std::{
    convert::Infallible,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

/// Talks to QEMU's monitor. Without a command, lines are read from standard input; at a terminal they are completed.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 refused or not answered, 2 no request, 3 no connection."
)]
struct Arguments {
    /// The monitor: a path, unix:PATH or tcp:HOST:PORT.
    address: Address,
    /// A command and its arguments, as name=value.
    #[arg(trailing_var_arg = true)]
    command: Vec<String>,
    /// Print events, one a line, until the connection ends.
    #[arg(long, conflicts_with = "command")]
    events: bool,
    /// Seconds to wait for the greeting and for each answer; by default as long as suits the command.
    #[arg(long, value_parser = seconds)]
    timeout: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no runtime: {error}")),
    };
    match runtime.block_on(connected(&arguments)) {
        Ok(outcome) => outcome.code().into(),
        // Whoever reads our output has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(text: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {text}");
    Outcome::Lost.code().into()
}

/// The greeting of a monitor that serves somebody else comes when that one leaves.
const GREETING: Duration = Duration::from_secs(10);

/// A monitor that serves nobody greets sooner.
const USUAL: Duration = Duration::from_secs(1);

/// Why there may be no greeting, and what to do.
const NO_GREETING: &str = "no greeting yet. A monitor serves one connection at a time, usually that of the machine's manager: `ss -xp` names \
    the processes at both ends. Wait until it leaves, or use another monitor of the machine (-qmp). A QEMU that is stopped or hangs greets nobody";

async fn connected(arguments: &Arguments) -> io::Result<Outcome> {
    let timeout = arguments.timeout;
    let deadlines = timeout.map_or_else(Deadlines::default, |after| Deadlines::all(Some(after)));
    let context = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", arguments.address));
    let options = Options { deadlines, ..Options::default() };
    let (client, driver) = open::connect(&arguments.address, options).await.map_err(context)?;
    let work = async {
        let ready = client.ready();
        let told = async {
            tokio::time::sleep(USUAL).await;
            // Whoever does not read it waits all the same.
            let _ = writeln!(io::stderr(), "{}: {NO_GREETING}", arguments.address);
            std::future::pending::<Infallible>().await
        };
        // Cancel safety: neither loses anything when dropped.
        let greeted = async {
            tokio::select! {
                ready = ready => ready,
                never = told => match never {},
            }
        };
        match tokio::time::timeout(timeout.unwrap_or(GREETING), greeted).await {
            Ok(Ok(_)) => {}
            Ok(Err(reason)) => return Err(context(io::Error::other(with_causes(&*reason)))),
            Err(_) => {
                let text = "no greeting: it serves another user, is stopped or hangs";
                return Err(context(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
        }
        serve(&client, arguments).await
    };
    // Cancel safety: the work goes on where it was; it ends by itself when the connection has.
    let mut work = std::pin::pin!(work);
    tokio::select! {
        outcome = &mut work => return outcome,
        _ = driver => {}
    }
    work.await
}

async fn serve(client: &Client, arguments: &Arguments) -> io::Result<Outcome> {
    let mut out = io::stdout();
    if arguments.events {
        return shell::events(client, &mut out).await;
    }
    let schema = client.schema().await.map_err(|error| io::Error::other(with_causes(&error)))?;
    if let [first, rest @ ..] = arguments.command.as_slice() {
        if first == "help" {
            out.write_all(shell::help(&schema, &rest.join(" ")).as_bytes())?;
            return Ok(Outcome::Done);
        }
        let reader = if out.is_terminal() { Reader::Person } else { Reader::Program };
        let request = match rest {
            // In JSON, it is one word.
            [] if first.starts_with('{') => line::request(first, &schema),
            _ => line::of_words(arguments.command.clone(), &schema),
        };
        return match request {
            Ok(Some(request)) => shell::run(client, request, reader, &mut out).await,
            Ok(None) => Ok(Outcome::Done),
            Err(error) => {
                writeln!(io::stderr(), "error: {error}")?;
                Ok(Outcome::Misused)
            }
        };
    }
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return shell::terminal(client, schema, &mut out).await;
    }
    shell::script(client, &schema, io::stdin().lines(), &mut out).await
}
