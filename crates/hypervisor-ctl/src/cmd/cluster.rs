//! `cluster` and `version`.

use crate::Context;
use crate::connect::{Connection, unary};
use crate::exit::Failure;
use crate::output::{Details, Format, human, view};
use clap::{Subcommand, ValueHint};
use hv_api::v1;
use hv_core::{Error, ErrorKind};
use hv_runtime::files::Draft;
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tonic::Request;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Name, versions and totals
    Info,
    /// Save everything that the server knows to a new file
    ///
    /// Server, agents and guests go on. The file holds what `hypervisor-server store restore` takes: instances with their cloud-init
    /// data, nodes and operations; no images, no disks, no token. It is whole, or not there.
    Snapshot {
        /// The file to make, mode 0600
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

pub(crate) async fn run(context: &mut Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Info => {
            let info = info(context).await?;
            context.show_one(&view::cluster_info(&info), &info.name, || details(&info))
        }
        Command::Snapshot { file } => snapshot(context, &file).await,
    }
}

async fn snapshot(context: &mut Context, file: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::AlreadyExists => "there is a file already; name another one".to_owned(),
            _ => error.to_string(),
        };
        Error::new(ErrorKind::FailedPrecondition, format!("cannot write {}: {why}", file.display()))
    };
    let mut client = Connection::open(context).await?.cluster();
    let mut draft = Draft::new(file).map_err(failed)?;
    let (mut bytes, mut revision, mut whole) = (0, 0, false);
    let mut parts = client.take_snapshot(Request::new(v1::TakeSnapshotRequest {})).await?.into_inner();
    while let Some(part) = parts.message().await? {
        draft.write_all(&part.data).map_err(failed)?;
        bytes += part.data.len() as u64;
        revision = part.revision;
        whole = part.last;
    }
    if !whole {
        let error =
            Error::new(ErrorKind::Unavailable, "the server ended before the snapshot did; nothing was saved");
        return Err(error.with_hint("try again").into());
    }
    draft.keep().map_err(failed)?;
    let value = json!({ "file": file, "bytes": bytes, "revision": revision });
    context.show_line(
        &value,
        &file.display().to_string(),
        format!("revision {revision} is in {}, {}", file.display(), human::size(bytes)),
    )
}

async fn info(context: &Context) -> Result<v1::ClusterInfo, Failure> {
    let mut client = Connection::open(context).await?.cluster();
    Ok(client.get_cluster_info(unary(v1::GetClusterInfoRequest {})).await?.into_inner())
}

fn details(info: &v1::ClusterInfo) -> Details {
    let capacity = info.capacity.unwrap_or_default();
    let allocated = info.allocated.unwrap_or_default();
    let mut details = Details::default();
    details
        .add("Name", &info.name)
        .add("Id", &info.cluster_id)
        .add("Version", &info.version)
        .add("Nodes", format!("{} ready of {}", info.nodes_ready, info.nodes_total))
        .add("Instances", format!("{} running of {}", info.instances_running, info.instances_total))
        .add("CPUs", format!("{} allocated of {}", allocated.cpus, capacity.cpus))
        .add("Memory", amounts(allocated.memory_bytes, capacity.memory_bytes))
        .add("Disk", amounts(allocated.disk_bytes, capacity.disk_bytes))
        .add("Revision", info.revision.to_string())
        .add("Incarnation", &info.incarnation);
    if !info.store_problem.is_empty() {
        details.add("Problem", &info.store_problem);
    }
    details
}

fn amounts(allocated: u64, capacity: u64) -> String {
    format!("{} allocated of {}", human::size(allocated), human::size(capacity))
}

/// This program's version, and the server's where one answers: that none does is no failure here.
pub(crate) async fn version(context: &mut Context) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    let server = info(context).await;
    let (version, problem) = match &server {
        Ok(info) => (Some(info.version.as_str()), None),
        Err(Failure::Error(error)) => (None, Some(error.message.as_str())),
        Err(_) => (None, None),
    };
    match context.globals.output {
        Format::Json | Format::Yaml => {
            context.show_value(&json!({ "ctl": own, "server": version, "problem": problem }))
        }
        Format::Table | Format::Wide | Format::Name => {
            context.say(format!("hypervisor-ctl {own}"))?;
            match (version, problem) {
                (Some(version), _) => context.say(format!("server         {version}")),
                (None, problem) => {
                    context.note(format!("server         not known: {}", problem.unwrap_or("no answer")));
                    Ok(())
                }
            }
        }
    }
}
