//! Taking over a machine that an earlier manager started.

use crate::{
    left::Left,
    process::{ENDS, Exit, Process},
    record::Record,
    socket,
    vm::{self, Supervision, Vm},
};
use qmp::aside::{PATIENCE, ask};
use std::{future::Future, io, path::Path, pin::Pin, sync::Arc, time::Duration};
use uuid::Uuid;

/// What became of a recorded machine.
pub enum Adoption {
    /// It runs and answers. The future supervises it and must be polled.
    Adopted(Vm, Pin<Box<dyn Future<Output = Exit> + Send>>),
    /// It is gone, for this reason; its guest does not run.
    Gone(String),
    /// It runs and does not answer.
    Unresponsive(Box<Unresponsive>),
}

impl std::fmt::Debug for Adoption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Adopted(vm, _) => f.debug_tuple("Adopted").field(vm).finish(),
            Self::Gone(why) => f.debug_tuple("Gone").field(why).finish(),
            Self::Unresponsive(held) => f.debug_tuple("Unresponsive").field(held).finish(),
        }
    }
}

/// A machine that is held and does not answer: it can be waited for, killed, or tried again.
#[derive(Debug)]
pub struct Unresponsive {
    process: Arc<Process>,
    left: Arc<Left>,
    record: Record,
    supervision: Supervision,
    reason: String,
}

/// Takes over the machine `uuid` of `run_dir`, whether it was recorded, as it should be, or not: a record that cannot be read tells as little as
/// none, and one of a process that is gone may be of an earlier start.
///
/// # Errors
/// As [`adopt`].
pub async fn adopt_in(
    uuid: Uuid,
    run_dir: &Path,
    deadline: Duration,
    supervision: Supervision,
) -> io::Result<Adoption> {
    let place = run_dir.to_owned();
    let written = match ask(run_dir, PATIENCE, move |_| Record::load(&place)).await? {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
        written => written?,
    };
    let mut why = "no process of it was recorded, and none is there".to_owned();
    if let Some(record) = written {
        match adopt(record, deadline, supervision).await? {
            Adoption::Gone(reason) => why = reason,
            found => return Ok(found),
        }
    }
    let run_dir = run_dir.to_owned();
    // All processes of the host are looked at, some of which may make one wait.
    match ask("/proc".as_ref(), PATIENCE, move |_| Record::find(uuid, &run_dir)).await?? {
        Some(record) => adopt(record, deadline, supervision).await,
        None => Ok(Adoption::Gone(why)),
    }
}

/// Takes over the machine of `record`: proves that the recorded process is that machine, connects, reads its state.
///
/// # Errors
/// Missing rights and other faults of the host, after which nothing is known about the machine; [`io::ErrorKind::TimedOut`] where the host does
/// not answer for its process or its files ([`PATIENCE`]); `deadline` is for QEMU's greeting.
pub async fn adopt(record: Record, deadline: Duration, supervision: Supervision) -> io::Result<Adoption> {
    let run_dir = record.qmp_socket.clone();
    let (held, record) = ask(&run_dir, PATIENCE, move |_| (record.hold(), record)).await?;
    match held? {
        Err(why) => {
            // It may have ended while nobody looked after it.
            Left::of(&record).removed().await;
            Ok(Adoption::Gone(why))
        }
        Ok(process) => {
            let (process, left) = (Arc::new(process), Arc::new(Left::of(&record)));
            let held = Unresponsive { process, left, record, supervision, reason: String::new() };
            Ok(held.retry(deadline).await)
        }
    }
}

impl Unresponsive {
    /// Why it counts as unresponsive.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn held(&self) -> (Arc<Process>, Arc<Left>) {
        (self.process.clone(), self.left.clone())
    }

    /// Tries again to connect, at most `deadline` long.
    pub async fn retry(mut self, deadline: Duration) -> Adoption {
        let greeted = async {
            let path = &self.record.qmp_socket;
            let stream = socket::connect(path)
                .await
                .map_err(|error| format!("cannot connect to {}: {error}", path.display()))?;
            vm::greet(stream).await.map_err(|error| error.to_string())
        };
        // Cancel safety: a half-made connection is dropped and QEMU drops its end.
        let outcome = tokio::select! {
            greeted = tokio::time::timeout(deadline, greeted) => greeted,
            exit = self.process.exited() => {
                self.left.removed().await;
                return Adoption::Gone(format!("the process has ended ({exit})"));
            }
        };
        self.reason = match outcome {
            Ok(Ok(connection)) => {
                let Self { process, record, supervision, .. } = self;
                // Of a script that has become QEMU since it was recorded.
                let recorded = record.clone();
                let greeted = ask(&recorded.qmp_socket, PATIENCE, move |_| record.greeted()).await;
                let record = greeted.ok().and_then(Result::ok).unwrap_or(recorded);
                let tpm = match record.swtpm {
                    None => vm::Tpm::None,
                    Some(swtpm) => swtpm.hold().map_or(vm::Tpm::Ended(Exit::Gone), vm::Tpm::Runs),
                };
                let (vm, supervisor) = vm::supervised(connection, process, tpm, record, supervision);
                return Adoption::Adopted(vm, Box::pin(supervisor));
            }
            Ok(Err(reason)) => reason,
            Err(_) => {
                let stopped = matches!(self.process.state(), Some('T' | 't'));
                let state = if stopped { "; the process is stopped" } else { "" };
                format!("no greeting within {deadline:?}{state}")
            }
        };
        Adoption::Unresponsive(Box::new(self))
    }

    /// Ends the process at once and waits for its end, as [`Vm::kill`] does.
    ///
    /// # Errors
    /// As of [`Vm::kill`].
    pub async fn kill(&self) -> io::Result<Exit> {
        let exit = self.process.killed(ENDS).await?;
        self.left.removed().await;
        Ok(exit)
    }

    /// Waits for the end of the process.
    pub async fn exited(&self) -> Exit {
        self.process.exited().await
    }
}
