//! `instance`: virtual machines, containers and microVMs.

mod action;
mod console;
mod create;
mod delete;
mod explain;
mod list;
mod several;
mod stats;
mod update;
mod watch;

use crate::Context;
use crate::cmd::Waiting;
use crate::cmd::operation::{Settled, settle};
use crate::connect::{Connection, unary};
use crate::exit::Failure;
use clap::Subcommand;
use hv_api::v1;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The instances
    #[command(visible_alias = "ls")]
    List(list::List),
    /// One instance: where it runs, its addresses and ports, its conditions
    Get(list::Get),
    /// Make an instance, and start it
    Create(Box<create::Create>),
    /// Change an instance; says what waits for a restart
    Update(Box<update::Update>),
    /// Start instances; one that failed gets a new try
    Start(several::Chosen),
    /// Ask guests to power down, and end them when their time is over
    Stop(action::Stop),
    /// Stop instances, then start them with their newest specification
    Restart(action::Restart),
    /// Halt the virtual CPUs; memory stays
    Pause(several::Chosen),
    /// Let paused instances go on
    Resume(several::Chosen),
    /// Stop instances if need be, and remove them with their disks
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    /// Attach to an instance's serial console
    Console(console::Console),
    /// What instances take of their node now
    Stats(stats::Stats),
    /// Changes of instances, as they happen
    Watch(watch::Watch),
    /// Why an instance is where it is, or is nowhere
    Explain(explain::Explain),
}

pub(crate) async fn run(context: &mut Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List(asked) => list::list(context, asked).await,
        Command::Get(asked) => list::get(context, asked).await,
        Command::Create(asked) => create::run(context, *asked).await,
        Command::Update(asked) => update::run(context, *asked).await,
        Command::Start(asked) => action::start(context, asked).await,
        Command::Stop(asked) => action::stop(context, asked).await,
        Command::Restart(asked) => action::restart(context, asked).await,
        Command::Pause(asked) => action::pause(context, asked).await,
        Command::Resume(asked) => action::resume(context, asked).await,
        Command::Delete(asked) => delete::run(context, asked).await,
        Command::Console(asked) => console::run(context, asked).await,
        Command::Stats(asked) => stats::run(context, asked).await,
        Command::Watch(asked) => watch::run(context, asked).await,
        Command::Explain(asked) => explain::run(context, asked).await,
    }
}

/// The end of a changing command: shows the operation at once, or waits and shows the instance as it then is.
async fn finish(
    context: &mut Context,
    connection: &Connection,
    begun: Option<v1::Operation>,
    waiting: &Waiting,
    instance: &str,
) -> Result<(), Failure> {
    let Settled::Ended(_) = settle(context, connection, begun, waiting).await? else { return Ok(()) };
    let instance = fetch(context, connection, instance).await?;
    list::show_row(context, &instance)
}

/// An instance by name or uid.
pub(crate) async fn fetch(
    context: &Context,
    connection: &Connection,
    instance: &str,
) -> Result<v1::Instance, Failure> {
    let project = context.globals.project.clone();
    let request = v1::GetInstanceRequest { instance: instance.to_owned(), project };
    Ok(connection.compute().get_instance(unary(request)).await?.into_inner())
}

fn name(instance: &v1::Instance) -> &str {
    instance.metadata.as_ref().map_or("", |metadata| &metadata.name)
}
