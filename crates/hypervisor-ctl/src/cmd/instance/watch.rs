//! `instance watch`: changes of instances, as they happen.

use super::list::phase;
use super::name;
use crate::Context;
use crate::cmd::follow::follow;
use crate::exit::Failure;
use crate::output::{human, view};
use clap::Args;
use hv_api::v1;
use tonic::Request;

/// Changes of instances, as they happen
///
/// Begins with the present state, and goes on by itself when the server was away. Examples:
///   hypervisor-ctl instance watch
///   hypervisor-ctl instance watch web --after 1200 -o json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Watch {
    /// Only this instance: name or uid
    #[arg(default_value = "", hide_default_value = true)]
    instance: String,
    /// Begin after this revision instead of with the present state
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// Only instances with these labels: key=value,key!=value,key,!key
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// Instances of all projects
    #[arg(short = 'A', long, conflicts_with = "project")]
    all_projects: bool,
}

pub(crate) async fn run(context: &mut Context, asked: Watch) -> Result<(), Failure> {
    let project = context.project(asked.all_projects);
    follow(
        context,
        asked.after,
        |connection, after_revision| {
            let request = v1::WatchInstancesRequest {
                after_revision,
                project: project.clone(),
                label_selector: asked.selector.clone(),
                instance: asked.instance.clone(),
                incarnation: String::new(),
            };
            async move { connection.compute().watch_instances(Request::new(request)).await }
        },
        |context, change: v1::InstanceChange| {
            if let Some(instance) =
                change.instance.as_ref().filter(|_| change.kind() != v1::ChangeKind::Progress)
            {
                let status = instance.status.clone().unwrap_or_default();
                let line = format!(
                    "{:>8}  {:<9} {:<20} {:<10} {:<16} {}",
                    change.revision,
                    view::change_kind(change.kind),
                    name(instance),
                    phase(&status).0,
                    human::or_dash(&status.node_name),
                    status.message
                );
                context.show_line(
                    &view::instance_change(&change),
                    name(instance),
                    line.trim_end().to_owned(),
                )?;
            }
            Ok(change.revision)
        },
    )
    .await
}
