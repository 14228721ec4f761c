//! `instance delete`.

use super::several::{Chosen, act};
use crate::Context;
use crate::cmd::operation;
use crate::connect::mutate;
use crate::exit::Failure;
use crate::output::Format;
use clap::Args;
use hv_api::v1;

/// Stop instances if need be, and remove them with their disks
///
/// Images are left alone. One that is not there ends with 3, and the others are deleted all the same.
///
/// Examples:
///   hypervisor-ctl instance delete web db
///   hypervisor-ctl instance delete -l tier=test --force
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Delete {
    /// Do not ask a running guest to power down
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    chosen: Chosen,
}

pub(crate) async fn run(context: &mut Context, asked: Delete) -> Result<(), Failure> {
    let force = asked.force;
    let mut acted = act(context, asked.chosen, |connection, instance, project, idempotency_key| {
        let request =
            v1::DeleteInstanceRequest { instance, project, force, idempotency_key, ..Default::default() };
        async move {
            let answer = mutate(request, |request| {
                let mut client = connection.compute();
                async move { client.delete_instance(request).await }
            });
            Ok(answer.await?.operation)
        }
    })
    .await?;
    let ended = std::mem::take(&mut acted.ended);
    match context.globals.output {
        _ if !acted.waited => {}
        Format::Json | Format::Yaml => {
            let operations: Vec<_> = ended.into_iter().filter_map(|(_, operation)| operation).collect();
            operation::show_begun(context, &operations, acted.is_list)?;
        }
        Format::Name => ended.iter().try_for_each(|(target, _)| context.say(&target.name))?,
        Format::Table | Format::Wide => {
            ended.iter().try_for_each(|(target, _)| context.say(format!("{} is gone", target.name)))?;
            if acted.is_list && ended.is_empty() {
                context.note("none");
            }
        }
    }
    acted.end()
}
