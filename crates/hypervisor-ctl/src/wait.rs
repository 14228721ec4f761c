//! Waiting for operations, with their steps as progress.

use crate::Context;
use crate::connect::{Connection, within};
use crate::exit::Failure;
use hv_api::convert::error_from;
use hv_api::v1;
use hv_core::{Error, ErrorKind};
use hv_runtime::clock;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use std::time::Duration;
use tonic::Code;

/// How long one call waits: steps are shown at least this often, and a server that comes back is noticed.
const SLICE: Duration = Duration::from_millis(500);
/// What a call may take beyond its slice.
const GRACE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(100);

/// Waits until the operation has ended; its failure is an error. While the server is away, so is the answer: the wait goes on.
pub(crate) async fn wait(
    context: &mut Context,
    connection: &Connection,
    operation: v1::Operation,
    timeout: Option<Duration>,
) -> Result<v1::Operation, Failure> {
    if !context.pending.contains(&operation.uid) {
        context.pending.push(operation.uid.clone());
    }
    let ended = watch(context, connection, operation, timeout).await?;
    context.pending.retain(|uid| *uid != ended.uid);
    match v1::OperationPhase::try_from(ended.phase) {
        Ok(v1::OperationPhase::Failed) => {
            Err(error_from(&ended.error.clone().unwrap_or_default(), &ended.message).into())
        }
        Ok(v1::OperationPhase::Cancelled) => {
            let message = if ended.message.is_empty() { "cancelled" } else { &ended.message };
            Err(Error::new(ErrorKind::Conflict, format!("{} {}: {message}", ended.kind, ended.target_name))
                .into())
        }
        _ => Ok(ended),
    }
}

async fn watch(
    context: &mut Context,
    connection: &Connection,
    mut operation: v1::Operation,
    timeout: Option<Duration>,
) -> Result<v1::Operation, Failure> {
    let began = clock::since_boot();
    let mut progress = Progress::new(context.io.err_is_terminal);
    let mut client = connection.operations();
    loop {
        progress.show(context, &operation);
        if is_final(&operation) {
            return Ok(operation);
        }
        let slice = match timeout {
            Some(timeout) => {
                let left = timeout.saturating_sub(clock::since_boot().saturating_sub(began));
                if left.is_zero() {
                    return Err(too_late(&operation).into());
                }
                left.min(SLICE)
            }
            None => SLICE,
        };
        // At least a millisecond: 0 would mean no end.
        let timeout_ms = u64::try_from(slice.as_millis()).unwrap_or(u64::MAX).max(1);
        let request = v1::WaitOperationRequest { operation: operation.uid.clone(), timeout_ms };
        match client.wait_operation(within(request, slice + GRACE)).await {
            Ok(answer) => operation = answer.into_inner(),
            Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(slice).await,
            Err(status) => return Err(status.into()),
        }
    }
}

/// Whether nothing will change any more.
pub(crate) fn is_final(operation: &v1::Operation) -> bool {
    use v1::OperationPhase::{Cancelled, Failed, Succeeded};
    matches!(v1::OperationPhase::try_from(operation.phase), Ok(Succeeded | Failed | Cancelled))
}

fn too_late(operation: &v1::Operation) -> Error {
    let message =
        format!("{} {} has not ended in time: {}", operation.kind, operation.target_name, operation.message);
    Error::new(ErrorKind::Timeout, message)
        .with_hint(format!("it goes on: hypervisor-ctl operation wait {}", operation.uid))
}

/// A spinner with the present step on a terminal; a line for each step elsewhere.
enum Progress {
    Spinner(Option<ProgressBar>),
    Lines { last: Option<v1::OperationStep> },
}

impl Progress {
    fn new(is_terminal: bool) -> Self {
        if is_terminal { Self::Spinner(None) } else { Self::Lines { last: None } }
    }

    fn show(&mut self, context: &mut Context, operation: &v1::Operation) {
        match self {
            Self::Spinner(bar) => {
                if is_final(operation) {
                    *bar = None;
                    return;
                }
                let bar = bar.get_or_insert_with(spinner);
                bar.set_message(format!(
                    "{}: {} ({} %)",
                    operation.target_name, operation.message, operation.progress_percent
                ));
            }
            Self::Lines { last } => {
                // The oldest steps are dropped: go on behind the last one shown, wherever it is now.
                let shown = last
                    .as_ref()
                    .and_then(|last| operation.steps.iter().position(|step| step == last))
                    .map_or(0, |index| index + 1);
                for step in &operation.steps[shown..] {
                    context.note(format!("{}: {}", operation.target_name, step.message));
                }
                *last = operation.steps.last().cloned();
            }
        }
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear);
    bar.set_style(
        ProgressStyle::with_template("{spinner} {msg} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    bar.enable_steady_tick(TICK);
    bar
}
