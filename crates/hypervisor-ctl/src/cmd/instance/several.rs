//! Commands on several instances: all are asked in order, then each is waited for. One that fails does not keep the others
//! from their turn.

use super::{fetch, list};
use crate::Context;
use crate::cmd::{Waiting, operation};
use crate::connect::Connection;
use crate::exit::Failure;
use crate::wait::wait;
use clap::Args;
use hv_api::v1;
use hv_runtime::clock;

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

/// One of them.
pub(super) struct Target {
    /// What calls name it by: what was typed, or the uid of what a selector found, whose name may be another's by now.
    pub(super) reference: String,
    /// What people call it.
    pub(super) name: String,
}

/// What became of them.
pub(super) struct Acted {
    pub(super) connection: Connection,
    /// Those that came to their end; none when nobody waits.
    pub(super) ended: Vec<(Target, Option<v1::Operation>)>,
    /// Whether results are a list: all but a single one that was typed.
    pub(super) is_list: bool,
    /// Whether anybody waits.
    pub(super) waited: bool,
    failed: Option<Failure>,
}

impl Acted {
    /// Shows the instances as they are now.
    pub(super) async fn show(mut self, context: &mut Context) -> Result<(), Failure> {
        let mut instances = Vec::new();
        for (target, _) in std::mem::take(&mut self.ended) {
            match fetch(context, &self.connection, &target.reference).await {
                Ok(instance) => instances.push(instance),
                Err(failure) => self.note(context, &target.name, failure)?,
            }
        }
        match instances.as_slice() {
            [instance] if !self.is_list => list::show_row(context, instance)?,
            instances if self.is_list && self.waited => list::show_rows(context, instances)?,
            _ => {}
        }
        self.end()
    }

    /// Once what succeeded has been shown: the first failure is that of the command.
    pub(super) fn end(self) -> Result<(), Failure> {
        self.failed.map_or(Ok(()), Err)
    }

    /// Tells of a failure at once where others go on. What ends the whole command is an error.
    fn note(&mut self, context: &mut Context, instance: &str, failure: Failure) -> Result<(), Failure> {
        let failure = match failure {
            Failure::Error(mut error) if self.is_list => {
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

/// Sends the call that `ask` makes of connection, instance, project and idempotency key for each, and waits for all, together no
/// longer than they are given.
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
    let is_list = selector.is_some() || instances.len() != 1;
    let targets = match selector {
        Some(selector) => list::of_selector(context, &connection, &selector).await?,
        None => instances.into_iter().map(|name| Target { reference: name.clone(), name }).collect(),
    };
    let project = context.globals.project.clone();
    let (connected, waited) = (connection.clone(), !waiting.no_wait);
    let mut acted = Acted { connection: connected, ended: Vec::new(), is_list, waited, failed: None };
    let mut begun = Vec::new();
    for target in targets {
        let key = waiting.key(if is_list { &target.reference } else { "" });
        match ask(connection.clone(), target.reference.clone(), project.clone(), key).await {
            Ok(operation) => {
                // Named if the wait for another one is interrupted.
                context.pending.extend(operation.iter().map(|operation| operation.uid.clone()));
                begun.push((target, operation));
            }
            Err(failure) => acted.note(context, &target.name, failure)?,
        }
    }
    if waiting.no_wait {
        context.pending.clear();
        let operations: Vec<_> = begun.into_iter().filter_map(|(_, operation)| operation).collect();
        operation::show_begun(context, &operations, is_list)?;
        return Ok(acted);
    }
    let until = waiting.timeout.map(|timeout| clock::since_boot() + timeout);
    for (target, operation) in begun {
        let left = until.map(|until| until.saturating_sub(clock::since_boot()));
        let ended = match operation {
            Some(operation) => wait(context, &connection, operation, left).await.map(Some),
            None => Ok(None),
        };
        match ended {
            Ok(operation) => acted.ended.push((target, operation)),
            Err(failure) => acted.note(context, &target.name, failure)?,
        }
    }
    Ok(acted)
}
