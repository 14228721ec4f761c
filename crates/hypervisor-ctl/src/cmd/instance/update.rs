//! `instance update`.

use super::create::{Restart, cloud_init, millis, networks};
use super::{fetch, finish};
use crate::Context;
use crate::cmd::Waiting;
use crate::connect::{Connection, mutate};
use crate::exit::Failure;
use crate::output::view;
use crate::parse;
use clap::{Args, ValueHint};
use hv_api::v1;
use hv_api::v1::network_interface_spec::Attachment;
use hv_core::{Error, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

/// Change an instance; says what waits for a restart
///
/// What is not named stays as it is. Nothing is changed when somebody else changed the instance meanwhile.
///
/// Examples:
///   hypervisor-ctl instance update web --memory 2G --cpus 4
///   hypervisor-ctl instance update web --label tier=front --label old-
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Update {
    /// Name or uid
    instance: String,
    /// Virtual CPUs
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<u32>,
    /// Memory
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    memory: Option<u64>,
    /// Size of the root disk; it only grows
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    disk: Option<u64>,
    /// Networks instead of the present ones: user, tap:INTERFACE or bridge:INTERFACE; may be given several times
    #[arg(long, value_name = "NETWORK", value_parser = parse::network)]
    network: Vec<Attachment>,
    /// Ports to forward instead of the present ones; may be given several times
    #[arg(long, value_name = "PORTS", value_parser = parse::publish)]
    publish: Vec<v1::PublishedPort>,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT")]
    cmdline: Option<String>,
    /// A cloud-init user-data file, read here
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    cloud_init: Option<PathBuf>,
    /// Set (KEY=VALUE) or remove (KEY-) a label; may be given several times
    #[arg(long, value_name = "LABEL", value_parser = parse::label_change)]
    label: Vec<(String, Option<String>)>,
    /// What happens when the guest ends by itself
    #[arg(long, value_enum, value_name = "POLICY")]
    restart: Option<Restart>,
    /// How long the guest may take to power down
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    stop_timeout: Option<Duration>,
    #[command(flatten)]
    waiting: Waiting,
}

pub(crate) async fn run(context: &mut Context, asked: Update) -> Result<(), Failure> {
    let connection = Connection::open(context).await?;
    let present = fetch(context, &connection, &asked.instance).await?;
    let waiting = asked.waiting.clone();
    let request =
        v1::UpdateInstanceRequest { project: context.globals.project.clone(), ..change(asked, present)? };
    let uid = request.instance.clone();
    let answer = mutate(request, |request| {
        let mut client = connection.compute();
        async move { client.update_instance(request).await }
    })
    .await?;
    let restart = answer.effect() == v1::UpdateEffect::NeedsRestart;
    let name = answer.instance.as_ref().map_or("", super::name).to_owned();
    finish(context, &connection, answer.operation, &waiting, &uid).await?;
    if restart {
        let effect = view::update_effect(answer.effect);
        context.note(format!(
            "{effect}: {}: hypervisor-ctl instance restart {name}",
            answer.needs_restart.join(", ")
        ));
    }
    Ok(())
}

/// The present state with the changes, and the mask that names them.
fn change(asked: Update, present: v1::Instance) -> Result<v1::UpdateInstanceRequest, Failure> {
    let metadata = present.metadata.unwrap_or_default();
    let mut spec = present.spec.unwrap_or_default();
    let mut labels = metadata.labels;
    let mut paths = Vec::new();
    let mut changes = |path: &str| paths.push(path.to_owned());
    if let Some(cpus) = asked.cpus {
        spec.cpus = cpus;
        changes("spec.cpus");
    }
    if let Some(memory) = asked.memory {
        spec.memory_bytes = memory;
        changes("spec.memory_bytes");
    }
    if let Some(disk) = asked.disk {
        spec.root_disk_bytes = disk;
        changes("spec.root_disk_bytes");
    }
    if !asked.network.is_empty() {
        spec.network_interfaces = networks(asked.network, asked.publish)?;
        changes("spec.network_interfaces");
    } else if !asked.publish.is_empty() {
        publish(&mut spec, asked.publish)?;
        changes("spec.network_interfaces");
    }
    if let Some(cmdline) = asked.cmdline {
        spec.boot.get_or_insert_default().cmdline = cmdline;
        changes("spec.boot");
    }
    if let Some(path) = asked.cloud_init {
        spec.cloud_init = Some(cloud_init(&path)?);
        changes("spec.cloud_init");
    }
    if let Some(restart) = asked.restart {
        spec.restart_policy = v1::RestartPolicy::from(restart).into();
        changes("spec.restart_policy");
    }
    if let Some(timeout) = asked.stop_timeout {
        spec.stop_timeout_ms = millis(timeout);
        changes("spec.stop_timeout_ms");
    }
    if !asked.label.is_empty() {
        for (key, value) in asked.label {
            match value {
                Some(value) => labels.insert(key, value),
                None => labels.remove(&key),
            };
        }
        changes("labels");
    }
    if paths.is_empty() {
        let error = Error::new(ErrorKind::Invalid, "nothing to change: no flag says what");
        return Err(error.with_hint("hypervisor-ctl instance update --help").into());
    }
    Ok(v1::UpdateInstanceRequest {
        instance: metadata.uid,
        spec: Some(spec),
        labels,
        update_mask: Some(prost_types::FieldMask { paths }),
        idempotency_key: asked.waiting.key(""),
        precondition: Some(v1::Precondition { generation: metadata.generation }),
        ..Default::default()
    })
}

fn publish(spec: &mut v1::InstanceSpec, ports: Vec<v1::PublishedPort>) -> Result<(), Failure> {
    let user = spec.network_interfaces.iter_mut().find_map(|interface| match &mut interface.attachment {
        Some(Attachment::User(user)) => Some(user),
        _ => None,
    });
    let none =
        || Error::new(ErrorKind::Invalid, "--publish forwards ports of a user network, and there is none");
    user.ok_or_else(none)?.publish = ports;
    Ok(())
}
