//! Lines in, JSON out: for scripts and for people.

use crate::{
    complete::complete,
    line::{self, Request},
};
use qmp::{CallError, Client, Event, EventError, Filter, schema::Schema};
use rustyline::{
    CompletionType, Config, Context, Editor, ExternalPrinter, Helper, completion::Completer,
    error::ReadlineError, highlight::Highlighter, hint::Hinter, history::MemHistory, validate::Validator,
};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    sync::Arc,
    thread,
};
use tokio::sync::{mpsc, oneshot};

/// How a run ended, as the exit code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was done: 0.
    Done,
    /// QEMU refused a command, or did not answer it: 1.
    Refused,
    /// A line was no request: 2.
    Misused,
    /// There is no connection, or none any more: 3.
    Lost,
}

impl Outcome {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Misused => 2,
            Self::Lost => 3,
        }
    }
}

/// Runs a request and writes its answer.
///
/// # Errors
/// Those of `out`.
pub async fn run(client: &Client, request: Request, out: &mut dyn Write) -> io::Result<Outcome> {
    let outcome = if request.oob {
        client.execute_oob(&request.command, request.arguments).await
    } else {
        client.execute(&request.command, request.arguments).await
    };
    match outcome {
        Ok(value) => {
            writeln!(out, "{value:#}")?;
            Ok(Outcome::Done)
        }
        Err(error) => {
            let lost = matches!(error, CallError::Closed { .. });
            writeln!(io::stderr(), "error: {}", chain(&error))?;
            Ok(if lost { Outcome::Lost } else { Outcome::Refused })
        }
    }
}

/// Runs the lines of a script, up to the first that fails.
///
/// # Errors
/// Those of the streams.
pub async fn script(
    client: &Client,
    schema: &Schema,
    lines: impl Iterator<Item = io::Result<String>>,
    out: &mut dyn Write,
) -> io::Result<Outcome> {
    for (number, text) in lines.enumerate() {
        let outcome = one(client, schema, &text?, out).await?;
        if outcome != Outcome::Done {
            writeln!(io::stderr(), "stopped at line {}", number + 1)?;
            return Ok(outcome);
        }
    }
    Ok(Outcome::Done)
}

async fn one(client: &Client, schema: &Schema, text: &str, out: &mut dyn Write) -> io::Result<Outcome> {
    if let Some(about) = text.trim().strip_prefix("help") {
        out.write_all(help(schema, about.trim()).as_bytes())?;
        return Ok(Outcome::Done);
    }
    match line::request(text, schema) {
        Ok(Some(request)) => run(client, request, out).await,
        Ok(None) => Ok(Outcome::Done),
        Err(error) => {
            writeln!(io::stderr(), "error: {error}")?;
            Ok(Outcome::Misused)
        }
    }
}

/// Writes events, one a line, until the connection ends.
///
/// # Errors
/// Those of `out`.
pub async fn events(client: &Client, out: &mut dyn Write) -> io::Result<Outcome> {
    let mut events = client.subscribe(Filter::All, 4096);
    loop {
        match events.next().await {
            Ok(event) => writeln!(out, "{}", told(&event))?,
            Err(EventError::Lagged(count)) => writeln!(io::stderr(), "{count} events were lost")?,
            Err(EventError::Closed) => return Ok(Outcome::Lost),
        }
        out.flush()?;
    }
}

/// Talks to a person at a terminal: lines are edited and completed, events appear as they come.
///
/// # Errors
/// Those of the terminal.
pub async fn terminal(client: &Client, schema: Arc<Schema>, out: &mut dyn Write) -> io::Result<Outcome> {
    let (asked, mut lines) = mpsc::unbounded_channel::<(String, oneshot::Sender<()>)>();
    let config = Config::builder().completion_type(CompletionType::List).build();
    let mut editor = Editor::<Completion, MemHistory>::with_history(config, MemHistory::new())
        .map_err(io::Error::other)?;
    editor.set_helper(Some(Completion { schema: schema.clone() }));
    let mut printer = editor.create_external_printer().map_err(io::Error::other)?;
    let mut events = client.subscribe(Filter::All, 4096);
    // It waits for keys, so it has a thread of its own; the process does not wait for it.
    thread::Builder::new().name("keys".to_owned()).spawn(move || {
        loop {
            match editor.readline("qmp> ") {
                Ok(line) => {
                    // What is not remembered can be typed again.
                    let _ = editor.add_history_entry(line.as_str());
                    let (done, answered) = oneshot::channel();
                    if asked.send((line, done)).is_err() || answered.blocking_recv().is_err() {
                        return;
                    }
                }
                Err(ReadlineError::Interrupted) => {}
                Err(_) => return,
            }
        }
    })?;
    loop {
        // Cancel safety: both keep what they have.
        tokio::select! {
            line = lines.recv() => {
                let Some((line, done)) = line else { return Ok(Outcome::Done) };
                if one(client, &schema, &line, out).await? == Outcome::Lost {
                    return Ok(Outcome::Lost);
                }
                out.flush()?;
                // The next prompt comes after the answer.
                let _ = done.send(());
            }
            event = events.next() => match event {
                Ok(event) => printer.print(format!("{}\n", told(&event))).map_err(io::Error::other)?,
                Err(EventError::Lagged(_)) => {}
                Err(EventError::Closed) => return Ok(Outcome::Lost),
            },
        }
    }
}

/// What a command takes and answers; without one, the commands.
#[must_use]
pub fn help(schema: &Schema, about: &str) -> String {
    let Some(command) = schema.command(about) else {
        let mut names: Vec<&str> =
            schema.commands().map(|command| command.name()).filter(|name| name.starts_with(about)).collect();
        names.sort_unstable();
        return names.iter().map(|name| format!("{name}\n")).collect();
    };
    let oob = if command.allow_oob() { " (also out of band)" } else { "" };
    let mut text = format!("{}{oob}\n", command.name());
    for feature in command.features() {
        text += &format!("  {feature}\n");
    }
    for member in command.arguments() {
        let optional = if member.optional { "?" } else { "" };
        let case = member.case.map(|case| format!(" (of {case})")).unwrap_or_default();
        text += &format!("  {}{optional}={}{case}\n", member.name, member.form());
    }
    for member in command.reply() {
        text += &format!("  -> {}: {}\n", member.name, member.form());
    }
    text
}

fn told(event: &Event) -> Value {
    let seconds = event.timestamp.map(|time| time.seconds as f64 + f64::from(time.microseconds) / 1e6);
    json!({"event": event.name, "data": event.data, "time": seconds})
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

struct Completion {
    schema: Arc<Schema>,
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(&self.schema, &line[..position]))
    }
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}

impl Hinter for Completion {
    type Hint = String;
}
