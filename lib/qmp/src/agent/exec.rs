//! Programs in the guest, run to their end.

use super::{
    Agent, AgentError,
    commands::{CaptureOutput, Command as _, Exec, ExecOutcome, ExecStatus},
    decoded,
    driver::{Input, Outcome},
};
use crate::wire::Object as _;
use base64::{DecodeError, Engine as _, engine::general_purpose::STANDARD};
use serde_json::Map;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Mutex, oneshot};

/// A program to run, with the rights of the agent, which is root in most guests. No shell is between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    path: String,
    arguments: Vec<String>,
    environment: Vec<String>,
    input: Option<Vec<u8>>,
}

impl Program {
    /// A program without arguments, with an empty environment of its own only if [`Program::env`] adds to it.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A variable of the environment. With the first one the agent's own environment is left out.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}"));
        self
    }

    /// What it reads from its standard input; absent: nothing.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    fn command(&self) -> Exec {
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        Exec {
            path: self.path.clone(),
            arg: some(&self.arguments),
            env: some(&self.environment),
            input_data: self.input.as_ref().map(|bytes| STANDARD.encode(bytes)),
            capture_output: Some(CaptureOutput::Flag(true)),
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Status(i64),
    /// By this signal; on Windows by this exception.
    Signal(i64),
    /// The agent did not say.
    Unknown,
}

/// A program that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How.
    pub end: End,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Whether there was more output than the agent keeps (16 MiB each).
    pub truncated: bool,
}

/// A program that was started. Dropping this leaves it running; the agent keeps its output until it is asked for, which a poll that was
/// dropped before may just be doing. It is known to the agent by its number: after a reboot of the guest that may be another program's.
#[derive(Debug)]
pub struct Started {
    agent: Agent,
    pid: i64,
    /// Locked by whoever waits for the agent, so that one question at a time is under way.
    known: Mutex<Known>,
}

/// What has been asked of a program and what is known.
#[derive(Debug, Default)]
struct Known {
    /// Where the answer to the question under way arrives, also when it was a poll that was dropped that has asked.
    asked: Option<oneshot::Receiver<Outcome>>,
    end: Option<Finished>,
}

/// Why a program's end is not known.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExecError {
    /// It was not started, or the agent could not be asked.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// Its output is not what the agent says that it is.
    #[error("the output of the program did not arrive whole")]
    Output(#[source] DecodeError),
}

impl Started {
    /// Its number in the guest.
    #[must_use]
    pub fn pid(&self) -> i64 {
        self.pid
    }

    /// Whether it has ended, and how. The agent forgets it with the answer that says so, which is kept here: futures may be dropped and
    /// several may wait at once, and each that comes to its end is told. Only when that answer comes later than the patience lasts, or the
    /// connection ends, the end is lost.
    ///
    /// # Errors
    /// [`ExecError`].
    pub async fn poll(&self) -> Result<Option<Finished>, ExecError> {
        let mut known = self.known.lock().await;
        let left = known.asked.is_some();
        match self.learn(&mut known).await {
            // So it was when a poll that was dropped had asked.
            Ok(None) | Err(ExecError::Agent(_)) if left => self.learn(&mut known).await,
            learned => learned,
        }
    }

    async fn learn(&self, known: &mut Known) -> Result<Option<Finished>, ExecError> {
        if known.end.is_none() {
            let asked = match &mut known.asked {
                Some(asked) => asked,
                none => none.insert(self.ask()?),
            };
            // Cancel safety: the answer stays there until it is taken.
            let answer = asked.await;
            known.asked = None;
            let outcome = decoded::<ExecStatus>(self.agent.answered(ExecStatus::FACTS, answer)?)?;
            if outcome.exited {
                known.end = Some(finished(outcome)?);
            }
        }
        Ok(known.end.clone())
    }

    /// A question that nobody gives up.
    fn ask(&self) -> Result<oneshot::Receiver<Outcome>, AgentError> {
        let (id, facts) = (self.agent.shared.new_id(), ExecStatus::FACTS);
        let mut arguments = Map::new();
        ExecStatus { pid: self.pid }.put(&mut arguments);
        self.agent.post(facts, |reply| Input::Call { id, facts, arguments, file: None, reply })
    }

    /// Waits for its end, however long that takes, also for ten minutes over a freeze of this connection: the agent is asked again and again, ever more rarely,
    /// since it sends no events. It may be dropped, as by a timeout, and waited for again, as after an error of an agent that was not there.
    ///
    /// # Errors
    /// [`ExecError`].
    pub async fn finished(&self) -> Result<Finished, ExecError> {
        let (mut pause, mut frozen) = (FIRST_PAUSE, Duration::ZERO);
        loop {
            match self.poll().await {
                Ok(Some(finished)) => return Ok(finished),
                Ok(None) => frozen = Duration::ZERO,
                // A freeze has its limit, but may not be thawed by then.
                Err(ExecError::Agent(AgentError::Frozen { .. })) if frozen < OVER_A_FREEZE => frozen += pause,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}

/// Most programs end within a few of these.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

const LAST_PAUSE: Duration = Duration::from_millis(500);

/// Far longer than any freeze is meant to last.
const OVER_A_FREEZE: Duration = Duration::from_secs(600);

fn finished(outcome: ExecOutcome) -> Result<Finished, ExecError> {
    let bytes = |data: Option<String>| STANDARD.decode(data.unwrap_or_default()).map_err(ExecError::Output);
    let end = match (outcome.exitcode, outcome.signal) {
        (_, Some(signal)) => End::Signal(signal),
        (Some(status), None) => End::Status(status),
        (None, None) => End::Unknown,
    };
    Ok(Finished {
        end,
        stdout: bytes(outcome.out_data)?,
        stderr: bytes(outcome.err_data)?,
        truncated: outcome.out_truncated == Some(true) || outcome.err_truncated == Some(true),
    })
}

impl Agent {
    /// Starts a program.
    ///
    /// # Errors
    /// [`AgentError`]; refused when there is no such program.
    pub async fn start(&self, program: &Program) -> Result<Started, AgentError> {
        let started = self.call(&program.command()).await?;
        Ok(Started { agent: self.clone(), pid: started.pid, known: Mutex::default() })
    }

    /// Runs a program to its end. After an error it may run still: [`Agent::start`] leaves it in reach.
    ///
    /// # Errors
    /// [`ExecError`].
    pub async fn exec(&self, program: &Program) -> Result<Finished, ExecError> {
        self.start(program).await?.finished().await
    }
}
