//! `instance update`.

use super::create::{Firmware, Relocation, Restart, cloud_init, millis, networks, node_path};
use super::{fetch, finish};
use crate::Context;
use crate::cmd::Waiting;
use crate::connect::{Connection, mutate};
use crate::exit::Failure;
use crate::output::view;
use crate::parse;
use clap::{Args, ValueEnum, ValueHint};
use hv_api::v1;
use hv_api::v1::network_interface_spec::Attachment;
use hv_core::{Error, ErrorKind};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Change an instance; says what waits for a restart
///
/// What is not named stays as it is. Nothing is changed when somebody else changed the specification meanwhile.
///
/// Examples:
///   hypervisor-ctl instance update web --memory 2G --cpus 4
///   hypervisor-ctl instance update web --label tier=front --label old-
///   hypervisor-ctl instance update web --kernel /boot/vmlinuz --initrd /boot/initrd.img --cmdline 'console=ttyS0'
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
    #[command(flatten)]
    boot: Boot,
    /// A cloud-init user-data file, read here
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    cloud_init: Option<PathBuf>,
    /// Set (KEY=VALUE) or remove (KEY-) a label; may be given several times
    #[arg(long, value_name = "LABEL", value_parser = parse::label_change)]
    label: Vec<(String, Option<String>)>,
    /// Set (KEY=VALUE) or remove (KEY-) an annotation; may be given several times
    #[arg(long, value_name = "ANNOTATION", value_parser = parse::label_change)]
    annotation: Vec<(String, Option<String>)>,
    /// What it is to be, together with the other changes
    #[arg(long, value_enum, value_name = "STATE")]
    run_state: Option<RunState>,
    /// What happens when the guest ends by itself
    #[arg(long, value_enum, value_name = "POLICY")]
    restart: Option<Restart>,
    /// Whether it may leave its node, when that is drained or abandoned
    #[arg(long, value_enum, value_name = "POLICY")]
    relocation: Option<Relocation>,
    /// How long the guest may take to power down
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    stop_timeout: Option<Duration>,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Args)]
struct Boot {
    /// Firmware
    #[arg(long, value_enum, value_name = "FIRMWARE")]
    firmware: Option<Firmware>,
    /// A kernel of the node to boot directly; an empty path boots from the disks again
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    kernel: Option<OsString>,
    /// Its initial RAM disk; an empty path for none
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    initrd: Option<OsString>,
    /// Its command line
    #[arg(long, value_name = "TEXT")]
    cmdline: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RunState {
    Running,
    Paused,
    Stopped,
}

impl From<RunState> for v1::RunState {
    fn from(state: RunState) -> Self {
        match state {
            RunState::Running => Self::Running,
            RunState::Paused => Self::Paused,
            RunState::Stopped => Self::Stopped,
        }
    }
}

pub(crate) async fn run(context: &mut Context, asked: Update) -> Result<(), Failure> {
    let connection = Connection::open(context).await?;
    let present = fetch(context, &connection, &asked.instance).await?;
    let waiting = asked.waiting.clone();
    let request = v1::UpdateInstanceRequest {
        project: context.globals.project.clone(),
        ..change(context, asked, present)?
    };
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

/// The changes, and the mask that names them. What is made of a present value needs that.
fn change(
    context: &mut Context,
    asked: Update,
    present: v1::Instance,
) -> Result<v1::UpdateInstanceRequest, Failure> {
    let metadata = present.metadata.unwrap_or_default();
    let present = present.spec.unwrap_or_default();
    let mut spec = v1::InstanceSpec {
        network_interfaces: present.network_interfaces,
        boot: present.boot,
        ..Default::default()
    };
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
    if boot(context, asked.boot, spec.boot.get_or_insert_default())? {
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
    if let Some(relocation) = asked.relocation {
        spec.relocation = v1::Relocation::from(relocation).into();
        changes("spec.relocation");
    }
    if let Some(timeout) = asked.stop_timeout {
        spec.stop_timeout_ms = millis(timeout);
        changes("spec.stop_timeout_ms");
    }
    if let Some(state) = asked.run_state {
        spec.run_state = v1::RunState::from(state).into();
        changes("spec.run_state");
    }
    let labels = parse::changed_pairs("labels", asked.label, &mut paths);
    let annotations = parse::changed_pairs("annotations", asked.annotation, &mut paths);
    if paths.is_empty() {
        let error = Error::new(ErrorKind::Invalid, "nothing to change: no flag says what");
        return Err(error.with_hint("hypervisor-ctl instance update --help").into());
    }
    Ok(v1::UpdateInstanceRequest {
        instance: metadata.uid,
        spec: Some(spec),
        labels,
        annotations,
        update_mask: Some(prost_types::FieldMask { paths }),
        idempotency_key: asked.waiting.key(""),
        precondition: Some(v1::Precondition { generation: metadata.generation }),
        ..Default::default()
    })
}

/// What it boots. Says whether anything was asked for.
fn boot(context: &mut Context, asked: Boot, boot: &mut v1::BootSpec) -> Result<bool, Failure> {
    let Boot { firmware, kernel, initrd, cmdline } = asked;
    let any = firmware.is_some() || kernel.is_some() || initrd.is_some() || cmdline.is_some();
    let path_of = |path: OsString| Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty());
    if let Some(firmware) = firmware {
        boot.firmware = v1::Firmware::from(firmware).into();
    }
    if let Some(path) = kernel {
        boot.kernel = node_path(context, "--kernel", path_of(path))?;
        if boot.kernel.is_empty() {
            // They are of no use without it.
            boot.initrd.clear();
            boot.cmdline.clear();
        }
    }
    if let Some(path) = initrd {
        boot.initrd = node_path(context, "--initrd", path_of(path))?;
    }
    if let Some(cmdline) = cmdline {
        boot.cmdline = cmdline;
    }
    Ok(any)
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
