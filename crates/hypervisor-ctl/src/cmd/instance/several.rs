//! Commands on several instances: all are asked in order, then each is waited for. One that fails does not keep the others
//! from their turn.

use super::list::of_selector;
use crate::Context;
use crate::cmd::{Waiting, operation};
use crate::connect::Connection;
use crate::exit::Failure;
use crate::wait::wait;
use clap::Args;
use hv_api::v1;

/// Instances to act on.
#[derive(Args)]
pub(crate) struct Chosen {
    /// Names or uids
    #[arg(required_unless_present = "selector", value_name = "INSTANCE")]
    instances: Vec<String>,
    /// All instances of the project with these labels instead: key=value,key!=value,key,!key
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "instances")]
    selector: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
}

/// What became of them.
pub(super) struct Acted {
    pub(super) connection: Connection,
    /// Those that came to their end; none when nobody waits.
    pub(super) ended: Vec<(String, Option<v1::Operation>)>,
    /// Whether there was more than one.
    pub(super) several: bool,
    failed: Option<Failure>,
}

impl Acted {
    /// Once what succeeded has been shown: the first failure is that of the command.
    pub(super) fn end(self) -> Result<(), Failure> {
        self.failed.map_or(Ok(()), Err)
    }

    /// Tells of a failure at once where others go on. What ends the whole command is an error.
    fn note(&mut self, context: &mut Context, instance: &str, failure: Failure) -> Result<(), Failure> {
        let failure = match failure {
            Failure::Error(mut error) if self.several => {
                error.message = format!("{instance}: {}", error.message);
                Failure::Told(Failure::Error(error).report(context))
            }
            Failure::Error(_) | Failure::Told(_) => failure,
            Failure::Interrupted | Failure::Closed => return Err(failure),
        };
        self.failed.get_or_insert(failure);
        Ok(())
    }
}

/// Sends the call that `ask` makes of connection, instance, project and idempotency key for each, and waits for all.
pub(super) async fn act<F>(
    context: &mut Context,
    chosen: Chosen,
    ask: impl Fn(Connection, String, String, String) -> F,
) -> Result<Acted, Failure>
where
    F: Future<Output = Result<Option<v1::Operation>, Failure>>,
{
    let Chosen { instances, selector, waiting } = chosen;
    let connection = Connection::open(context).await?;
    let instances = match selector {
        Some(selector) => of_selector(context, &connection, &selector).await?,
        None => instances,
    };
    if instances.is_empty() {
        context.note("none");
    }
    let several = instances.len() > 1;
    let project = context.globals.project.clone();
    let mut acted = Acted { connection: connection.clone(), ended: Vec::new(), several, failed: None };
    let mut begun = Vec::new();
    for instance in instances {
        let key = waiting.key(if several { &instance } else { "" });
        match ask(connection.clone(), instance.clone(), project.clone(), key).await {
            Ok(operation) => begun.push((instance, operation)),
            Err(failure) => acted.note(context, &instance, failure)?,
        }
    }
    if waiting.no_wait {
        let operations: Vec<_> = begun.into_iter().filter_map(|(_, operation)| operation).collect();
        operation::show_all(context, &operations)?;
        return Ok(acted);
    }
    for (instance, operation) in begun {
        let ended = match operation {
            Some(operation) => wait(context, &connection, operation, waiting.timeout).await.map(Some),
            None => Ok(None),
        };
        match ended {
            Ok(operation) => acted.ended.push((instance, operation)),
            Err(failure) => acted.note(context, &instance, failure)?,
        }
    }
    Ok(acted)
}
