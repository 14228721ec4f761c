//! `instance start`, `stop`, `restart`, `pause` and `resume`: all asked first, then each waited for.

use super::create::millis;
use super::finish;
use crate::Context;
use crate::cmd::Waiting;
use crate::connect::{Connection, mutate};
use crate::exit::Failure;
use crate::parse;
use clap::Args;
use hv_api::v1;
use std::time::Duration;

/// Instances to act on.
#[derive(Args)]
pub(crate) struct Action {
    /// Names or uids
    #[arg(required = true, value_name = "INSTANCE")]
    instances: Vec<String>,
    #[command(flatten)]
    waiting: Waiting,
}

/// Ask guests to power down, and end them when their time is over
///
/// Examples:
///   hypervisor-ctl instance stop web
///   hypervisor-ctl instance stop web db --grace 10s
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Stop {
    #[command(flatten)]
    action: Action,
    /// Do not ask the guest: as if the power were cut
    #[arg(long)]
    force: bool,
    /// How long the guest may take this time; its own time when not given
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, conflicts_with = "force")]
    grace: Option<Duration>,
}

/// Stop instances, then start them with their newest specification
#[derive(Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    action: Action,
    /// Do not ask the guest: as if the power were cut
    #[arg(long)]
    force: bool,
}

/// Sends one call an instance, in order, and then waits for all of them.
macro_rules! act {
    ($context:expr, $action:expr, $method:ident, $request:expr) => {{
        let (context, action): (&mut Context, Action) = ($context, $action);
        let connection = Connection::open(context).await?;
        let project = context.globals.project.clone();
        let mut begun = Vec::new();
        for instance in &action.instances {
            let key = if action.instances.len() == 1 { "" } else { instance };
            let request = $request(instance.clone(), project.clone(), action.waiting.key(key));
            let answer = mutate(request, |request| {
                let mut client = connection.compute();
                async move { client.$method(request).await }
            })
            .await?;
            begun.push((instance, answer.operation));
        }
        for (instance, operation) in begun {
            finish(context, &connection, operation, &action.waiting, instance).await?;
        }
        Ok(())
    }};
}

pub(crate) async fn start(context: &mut Context, asked: Action) -> Result<(), Failure> {
    act!(context, asked, start_instance, |instance, project, idempotency_key| v1::StartInstanceRequest {
        instance,
        project,
        idempotency_key,
        precondition: None,
    })
}

pub(crate) async fn stop(context: &mut Context, asked: Stop) -> Result<(), Failure> {
    // 0 means the instance's own time: no time at all is a force.
    let force = asked.force || asked.grace.is_some_and(|grace| grace.is_zero());
    let timeout_ms = asked.grace.map_or(0, millis);
    act!(context, asked.action, stop_instance, |instance, project, idempotency_key| v1::StopInstanceRequest {
        instance,
        project,
        force,
        timeout_ms,
        idempotency_key,
        precondition: None,
    })
}

pub(crate) async fn restart(context: &mut Context, asked: Restart) -> Result<(), Failure> {
    let force = asked.force;
    act!(context, asked.action, restart_instance, |instance, project, idempotency_key| {
        v1::RestartInstanceRequest { instance, project, force, idempotency_key, precondition: None }
    })
}

pub(crate) async fn pause(context: &mut Context, asked: Action) -> Result<(), Failure> {
    act!(context, asked, pause_instance, |instance, project, idempotency_key| v1::PauseInstanceRequest {
        instance,
        project,
        idempotency_key,
        precondition: None,
    })
}

pub(crate) async fn resume(context: &mut Context, asked: Action) -> Result<(), Failure> {
    act!(context, asked, resume_instance, |instance, project, idempotency_key| v1::ResumeInstanceRequest {
        instance,
        project,
        idempotency_key,
        precondition: None,
    })
}
