//! `instance delete`.

use super::several::{Chosen, act};
use crate::Context;
use crate::connect::mutate;
use crate::exit::Failure;
use crate::output::{Format, view};
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
    #[command(flatten)]
    chosen: Chosen,
    /// Do not ask a running guest to power down
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(context: &mut Context, asked: Delete) -> Result<(), Failure> {
    let force = asked.force;
    let mut acted = act(context, asked.chosen, |connection, instance, project, idempotency_key| {
        let request =
            v1::DeleteInstanceRequest { instance, project, force, idempotency_key, precondition: None };
        async move {
            let answer = mutate(request, |request| {
                let mut client = connection.compute();
                async move { client.delete_instance(request).await }
            });
            Ok(answer.await?.operation)
        }
    })
    .await?;
    for (instance, ended) in std::mem::take(&mut acted.ended) {
        match (context.globals.output, ended) {
            (Format::Json | Format::Yaml, Some(ended)) => context.show_value(&view::operation(&ended))?,
            (Format::Name, _) => context.say(instance)?,
            _ => context.say(format!("{instance} is gone"))?,
        }
    }
    acted.end()
}
