//! `instance delete`.

use crate::Context;
use crate::cmd::{Waiting, operation};
use crate::connect::{Connection, mutate};
use crate::exit::Failure;
use crate::output::{Format, view};
use crate::wait::wait;
use clap::Args;
use hv_api::v1;

/// Stop instances if need be, and remove them with their disks
///
/// Images are left alone. Deleting again is no error.
#[derive(Args)]
pub(crate) struct Delete {
    /// Names or uids
    #[arg(required = true, value_name = "INSTANCE")]
    instances: Vec<String>,
    /// Do not ask a running guest to power down
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    waiting: Waiting,
}

pub(crate) async fn run(context: &mut Context, asked: Delete) -> Result<(), Failure> {
    let connection = Connection::open(context).await?;
    let mut begun = Vec::new();
    for instance in &asked.instances {
        let request = v1::DeleteInstanceRequest {
            instance: instance.clone(),
            project: context.globals.project.clone(),
            force: asked.force,
            idempotency_key: asked.waiting.key(if asked.instances.len() == 1 { "" } else { instance }),
            precondition: None,
        };
        let answer = mutate(request, |request| {
            let mut client = connection.compute();
            async move { client.delete_instance(request).await }
        })
        .await?;
        begun.push((instance, answer.operation));
    }
    for (instance, begun) in begun {
        let Some(begun) = begun else {
            context.say(format!("{instance} is gone"))?;
            continue;
        };
        if asked.waiting.no_wait {
            operation::show(context, &begun)?;
            continue;
        }
        let ended = wait(context, &connection, begun, asked.waiting.timeout).await?;
        match context.globals.output {
            Format::Json | Format::Yaml => context.show_value(&view::operation(&ended))?,
            Format::Table | Format::Wide => context.say(format!("{instance} is gone"))?,
            Format::Name => context.say(instance)?,
        }
    }
    Ok(())
}
