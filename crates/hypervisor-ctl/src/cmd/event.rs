//! `events`: everything that changes, in one ordered stream.

use crate::Context;
use crate::cmd::follow::follow;
use crate::exit::Failure;
use crate::output::view;
use clap::{Args, ValueEnum};
use hv_api::v1;
use tonic::Request;

/// Everything that changes, as it changes
///
/// Goes on by itself when the server was away. Examples:
///   hypervisor-ctl events --kind instance
///   hypervisor-ctl events --after 1200 -o json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Events {
    /// Begin after this revision; with what comes from now on when not given
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// Only objects of this kind; may be given several times
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Vec<Kind>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Instance,
    Node,
    Operation,
}

pub(crate) async fn run(context: &mut Context, events: Events) -> Result<(), Failure> {
    let kinds: Vec<String> = events
        .kind
        .iter()
        .filter_map(|kind| kind.to_possible_value().map(|value| value.get_name().to_owned()))
        .collect();
    let project = context.globals.project.clone();
    follow(
        context,
        events.after,
        |connection, after_revision| {
            let request = v1::WatchEventsRequest {
                after_revision,
                kinds: kinds.clone(),
                project: project.clone(),
                incarnation: String::new(),
            };
            async move { connection.events().watch_events(Request::new(request)).await }
        },
        |context, event: v1::Event| {
            if event.kind() != v1::ChangeKind::Progress {
                let line = format!(
                    "{:>8}  {:<9} {:<10} {:<20} {}",
                    event.revision,
                    view::change_kind(event.kind),
                    event.object_kind,
                    event.object_name,
                    event.summary
                );
                context.show_line(&view::event(&event), &event.object_name, line.trim_end().to_owned())?;
            }
            Ok(event.revision)
        },
    )
    .await
}
