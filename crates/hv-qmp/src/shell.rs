//! Lines in, JSON out: for scripts and for people.

use crate::{
    complete::complete,
    line::{self, Request},
};
use qmp::{CallError, Client, Event, EventError, Filter, schema::Schema, with_causes};
use rustyline::{
    CompletionType, Config, Context, Editor, ExternalPrinter, Helper, completion::Completer,
    error::ReadlineError, highlight::Highlighter, hint::Hinter, history::MemHistory, validate::Validator,
};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    sync::Arc,
    thread,
    time::Duration,
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

/// For whom an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A program: always JSON.
    Program,
    /// A person: JSON too, but for the text that the monitor for people answers with.
    Person,
}

/// Runs a request and writes its answer.
///
/// # Errors
/// Those of `out`.
pub async fn run(
    client: &Client,
    request: Request,
    reader: Reader,
    out: &mut dyn Write,
) -> io::Result<Outcome> {
    let outcome = if request.oob {
        client.execute_oob(&request.command, request.arguments).await
    } else {
        client.execute(&request.command, request.arguments).await
    };
    match outcome {
        Ok(Value::String(text)) if reader == Reader::Person && request.command == HMP => {
            out.write_all(lines_of(&text).as_bytes())?;
            Ok(Outcome::Done)
        }
        Ok(value) => {
            writeln!(out, "{value:#}")?;
            Ok(Outcome::Done)
        }
        Err(error) => {
            let lost = matches!(error, CallError::Closed { .. });
            writeln!(io::stderr(), "error: {}", with_causes(&error))?;
            Ok(if lost { Outcome::Lost } else { Outcome::Refused })
        }
    }
}

/// What the monitor for people said, as a terminal shows it: it ends its lines by a return and a feed.
fn lines_of(text: &str) -> String {
    text.lines().map(|line| format!("{line}\n")).collect()
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
        let text = text?;
        if is_exit(&text) {
            return Ok(Outcome::Done);
        }
        let outcome = one(client, schema, &text, Reader::Program, out).await?;
        if outcome != Outcome::Done {
            writeln!(io::stderr(), "stopped at line {}", number + 1)?;
            return Ok(outcome);
        }
    }
    Ok(Outcome::Done)
}

fn is_exit(line: &str) -> bool {
    line.trim() == "exit"
}

async fn one(
    client: &Client,
    schema: &Schema,
    text: &str,
    reader: Reader,
    out: &mut dyn Write,
) -> io::Result<Outcome> {
    if let Some(about) = text.trim().strip_prefix("help") {
        out.write_all(help(schema, about.trim()).as_bytes())?;
        return Ok(Outcome::Done);
    }
    match line::request(text, schema) {
        Ok(Some(request)) => run(client, request, reader, out).await,
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

/// Said to a person first: the way out is not the command that has its name elsewhere.
const BANNER: &str = "`help` lists the commands, `help COMMAND` what one takes, the tab key completes. `exit` or Ctrl-D leaves this shell \
    and the machine as it is; `quit` ends the machine.";

/// Said to a person who types it once.
const QUIT: &str = "`quit` ends QEMU and its guest at once, as if the power were cut; `system_powerdown` asks the guest. To leave this shell: \
    `exit`. To end the machine: `quit` once more.";

/// Whether a line would end the machine.
fn ends_machine(text: &str, schema: &Schema) -> bool {
    let Ok(Some(request)) = line::request(text, schema) else { return false };
    let human = || {
        let line = request.arguments.get("command-line").and_then(Value::as_str)?;
        line.split_whitespace().next()
    };
    match request.command.as_str() {
        "quit" => true,
        "human-monitor-command" => matches!(human(), Some("quit" | "q")),
        _ => false,
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
    writeln!(out, "{BANNER}")?;
    let mut is_warned = false;
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
                let Some((line, done)) = line.filter(|(line, _)| !is_exit(line)) else { return Ok(Outcome::Done) };
                let ends = ends_machine(&line, &schema);
                if ends && !is_warned {
                    writeln!(out, "{QUIT}")?;
                } else if one(client, &schema, &line, Reader::Person, out).await? == Outcome::Lost {
                    return Ok(Outcome::Lost);
                }
                is_warned = ends;
                // What has happened by now is told before the next prompt: the editor's printer knows of none that is just being written.
                while let Ok(Ok(event)) = tokio::time::timeout(Duration::ZERO, events.next()).await {
                    writeln!(out, "{}", told(&event))?;
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

/// The command that passes a line to the monitor for people.
const HMP: &str = "human-monitor-command";

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
