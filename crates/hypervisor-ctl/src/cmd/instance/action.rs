//! `instance start`, `stop`, `restart`, `pause` and `resume`.

use super::create::millis;
use super::several::{Chosen, act};
use crate::Context;
use crate::connect::mutate;
use crate::exit::Failure;
use crate::parse;
use clap::Args;
use hv_api::v1;
use std::time::Duration;

/// Ask guests to power down, and end them when their time is over
///
/// Examples:
///   hypervisor-ctl instance stop web
///   hypervisor-ctl instance stop web db --grace 10s
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Stop {
    /// Do not ask the guest: as if the power were cut
    #[arg(long)]
    force: bool,
    /// How long the guest may take this time; its own time when not given
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, conflicts_with = "force")]
    grace: Option<Duration>,
    // Last: its heading would hold for what comes after it.
    #[command(flatten)]
    chosen: Chosen,
}

/// Stop instances, then start them with their newest specification
#[derive(Args)]
pub(crate) struct Restart {
    /// Do not ask the guest: as if the power were cut
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    chosen: Chosen,
}

/// Sends one call an instance, and shows the instances as they then are.
macro_rules! each {
    ($context:expr, $chosen:expr, $method:ident, $request:expr) => {{
        let (context, chosen): (&mut Context, Chosen) = ($context, $chosen);
        let acted = act(context, chosen, |connection, instance, project, idempotency_key| {
            let request = $request(instance, project, idempotency_key);
            async move {
                let answer = mutate(request, |request| {
                    let mut client = connection.compute();
                    async move { client.$method(request).await }
                });
                Ok(answer.await?.operation)
            }
        })
        .await?;
        acted.show(context).await
    }};
}

pub(crate) async fn start(context: &mut Context, asked: Chosen) -> Result<(), Failure> {
    each!(context, asked, start_instance, |instance, project, idempotency_key| v1::StartInstanceRequest {
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
    each!(context, asked.chosen, stop_instance, |instance, project, idempotency_key| {
        v1::StopInstanceRequest { instance, project, force, timeout_ms, idempotency_key, precondition: None }
    })
}

pub(crate) async fn restart(context: &mut Context, asked: Restart) -> Result<(), Failure> {
    let force = asked.force;
    each!(context, asked.chosen, restart_instance, |instance, project, idempotency_key| {
        v1::RestartInstanceRequest { instance, project, force, idempotency_key, precondition: None }
    })
}

pub(crate) async fn pause(context: &mut Context, asked: Chosen) -> Result<(), Failure> {
    each!(context, asked, pause_instance, |instance, project, idempotency_key| v1::PauseInstanceRequest {
        instance,
        project,
        idempotency_key,
        precondition: None,
    })
}

pub(crate) async fn resume(context: &mut Context, asked: Chosen) -> Result<(), Failure> {
    each!(context, asked, resume_instance, |instance, project, idempotency_key| v1::ResumeInstanceRequest {
        instance,
        project,
        idempotency_key,
        precondition: None,
    })
}
