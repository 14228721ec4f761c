//! `operation`: what was asked for, and how far it is.

use crate::Context;
use crate::cmd::Waiting;
use crate::cmd::instance::fetch;
use crate::connect::{Connection, unary};
use crate::exit::Failure;
use crate::output::{Details, Rows, Text, Tone, human, view};
use crate::wait::wait;
use clap::{Subcommand, ValueEnum};
use hv_api::v1;
use hv_core::{Error, ErrorKind, Timestamp};
use hv_runtime::clock;
use std::time::Duration;
use tonic::Code;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Operations, newest first
    List {
        /// Only those on this instance or node: its name or uid. By uid also where it is gone
        #[arg(long, value_name = "OBJECT")]
        target: Option<String>,
        /// Only those in this phase
        #[arg(long, value_enum)]
        phase: Option<Phase>,
        /// At most this many
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        limit: u32,
    },
    /// One operation with its steps
    Get {
        /// Its uid
        operation: String,
    },
    /// Wait until an operation has ended; it fails as the operation failed
    Wait {
        /// Its uid
        operation: String,
        /// Wait no longer than this: 90s, 5m
        #[arg(long, value_name = "DURATION", value_parser = crate::parse::duration)]
        timeout: Option<Duration>,
    },
    /// Ask an operation to stop; what is done stays done
    Cancel {
        /// Its uid
        operation: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<Phase> for v1::OperationPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Pending => Self::Pending,
            Phase::Running => Self::Running,
            Phase::Succeeded => Self::Succeeded,
            Phase::Failed => Self::Failed,
            Phase::Cancelled => Self::Cancelled,
        }
    }
}

pub(crate) async fn run(context: &mut Context, command: Command) -> Result<(), Failure> {
    let connection = Connection::open(context).await?;
    let mut client = connection.operations();
    let operation = match command {
        Command::List { target, phase, limit } => {
            let target_uid = match target {
                Some(target) => uid(context, &connection, target).await?,
                None => String::new(),
            };
            let request = v1::ListOperationsRequest {
                target_uid,
                phase: phase.map_or(v1::OperationPhase::Unspecified, v1::OperationPhase::from).into(),
                page: Some(v1::PageRequest { size: limit, token: String::new() }),
                project: context.globals.project.clone(),
            };
            let operations = client.list_operations(unary(request)).await?.into_inner().operations;
            return context.show_rows(rows(&operations, clock::wall()));
        }
        Command::Get { operation } => {
            client.get_operation(unary(v1::GetOperationRequest { operation })).await?.into_inner()
        }
        Command::Wait { operation, timeout } => {
            let request = v1::GetOperationRequest { operation };
            let operation = client.get_operation(unary(request)).await?.into_inner();
            wait(context, &connection, operation, timeout).await?
        }
        Command::Cancel { operation } => {
            client.cancel_operation(unary(v1::CancelOperationRequest { operation })).await?.into_inner()
        }
    };
    show(context, &operation)
}

/// The uid of an instance or a node; what looks like a uid is one, whether or not there is such an object any more.
async fn uid(context: &Context, connection: &Connection, target: String) -> Result<String, Failure> {
    if target.parse::<hv_core::InstanceId>().is_ok() {
        return Ok(target);
    }
    match fetch(context, connection, &target).await {
        Ok(instance) => return Ok(instance.metadata.unwrap_or_default().uid),
        Err(Failure::Error(error)) if error.kind == ErrorKind::NotFound => {}
        Err(failure) => return Err(failure),
    }
    let node = connection.cluster().get_node(unary(v1::GetNodeRequest { node: target.clone() })).await;
    match node {
        Ok(node) => Ok(node.into_inner().metadata.unwrap_or_default().uid),
        Err(status) if status.code() == Code::NotFound => {
            let message = format!("there is neither an instance nor a node `{target}`");
            Err(Error::new(ErrorKind::NotFound, message)
                .with_hint("one that is gone has only its uid")
                .into())
        }
        Err(status) => Err(status.into()),
    }
}

/// One operation.
pub(crate) fn show(context: &mut Context, operation: &v1::Operation) -> Result<(), Failure> {
    context.show_one(&view::operation(operation), &operation.uid, || details(operation))
}

/// What became of a command's operation.
pub(crate) enum Settled {
    /// It has ended; none where there was nothing to do.
    Ended(Option<Box<v1::Operation>>),
    /// Nobody waits: it was shown.
    Shown,
}

/// Waits for a command's operation, or shows it where nobody waits.
pub(crate) async fn settle(
    context: &mut Context,
    connection: &Connection,
    begun: Option<v1::Operation>,
    waiting: &Waiting,
) -> Result<Settled, Failure> {
    match begun {
        Some(begun) if waiting.no_wait => show(context, &begun).map(|()| Settled::Shown),
        Some(begun) => {
            let ended = wait(context, connection, begun, waiting.timeout).await?;
            Ok(Settled::Ended(Some(Box::new(ended))))
        }
        None => Ok(Settled::Ended(None)),
    }
}

/// Operations of a command: as a list, or the one in full.
pub(crate) fn show_begun(
    context: &mut Context,
    operations: &[v1::Operation],
    is_list: bool,
) -> Result<(), Failure> {
    match operations {
        operations if is_list => context.show_rows(rows(operations, clock::wall())),
        operations => operations.iter().try_for_each(|operation| show(context, operation)),
    }
}

pub(crate) fn rows(operations: &[v1::Operation], now: Timestamp) -> Rows {
    Rows {
        headers: &["UID", "KIND", "TARGET", "PHASE", "AGE", "MESSAGE", "PRINCIPAL", "TOOK"],
        wide: 2,
        rows: operations
            .iter()
            .map(|operation| {
                let took = match operation.ended_at_ms {
                    0 => "-".to_owned(),
                    ended => human::age(operation.created_at_ms, Timestamp(ended)),
                };
                vec![
                    operation.uid.as_str().into(),
                    operation.kind.as_str().into(),
                    operation.target_name.as_str().into(),
                    phase(operation.phase),
                    human::age(operation.created_at_ms, now).into(),
                    operation.message.as_str().into(),
                    operation.principal.as_str().into(),
                    took.into(),
                ]
            })
            .collect(),
        names: operations.iter().map(|operation| operation.uid.clone()).collect(),
        values: operations.iter().map(view::operation).collect(),
    }
}

fn phase(phase: i32) -> Text {
    let tone = match v1::OperationPhase::try_from(phase) {
        Ok(v1::OperationPhase::Succeeded) => Tone::Good,
        Ok(v1::OperationPhase::Failed) => Tone::Bad,
        Ok(v1::OperationPhase::Pending | v1::OperationPhase::Running) => Tone::Busy,
        _ => Tone::Plain,
    };
    Text(view::operation_phase(phase), tone)
}

fn details(operation: &v1::Operation) -> Details {
    let error = operation.error.clone().unwrap_or_default();
    let mut details = Details::default();
    details
        .add("Uid", &operation.uid)
        .add("Kind", &operation.kind)
        .add("Target", format!("{} {}", operation.target_kind, operation.target_name))
        .add(
            "Phase",
            format!("{} ({} %)", view::operation_phase(operation.phase), operation.progress_percent),
        )
        .add("Message", &operation.message)
        .add("Reason", error.reason)
        .add("Field", error.field)
        .add("Hint", error.hint)
        .add("Asked by", &operation.principal)
        .add("Created", human::time(operation.created_at_ms))
        .add("Ended", human::time(operation.ended_at_ms))
        .list(
            "Steps",
            operation.steps.iter().map(|step| format!("{}  {}", human::time(step.at_ms), step.message)),
        );
    details
}
