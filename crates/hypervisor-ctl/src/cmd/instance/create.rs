//! `instance create`.

use super::list::Kind;
use super::{fetch, finish};
use crate::Context;
use crate::cmd::Waiting;
use crate::connect::{Connection, mutate};
use crate::exit::Failure;
use crate::parse;
use crate::wait::wait;
use clap::{Args, ValueEnum, ValueHint};
use hv_api::v1;
use hv_api::v1::network_interface_spec::Attachment;
use hv_core::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Make an instance, and start it
///
/// The image stays as it is: the root disk is an overlay on it. Image, kernel and initrd are files of the node.
/// Sizes are numbers with K, M, G or T (or KiB, MiB, GiB, TiB), powers of 1024.
/// What no node can ever have is refused. What every node refuses leaves nothing; what fails on its node stays, and
/// `instance start` tries again.
///
/// Examples:
///   hypervisor-ctl instance create web --image debian-12.qcow2 --cpus 2 --memory 1G --disk 10G \
///       --cloud-init user-data.yaml --publish 2222:22
///   hypervisor-ctl instance create db --image debian-12.qcow2 --data-disk data=20G --network bridge:br0 --zone a
///   hypervisor-ctl instance create tiny --kernel vmlinuz --initrd initrd.img --cmdline console=ttyS0 --stopped
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Create {
    /// Its name: 1 to 63 of a-z, 0-9 and '-', starting with a letter
    #[arg(value_name = "NAME", required_unless_present = "named")]
    name: Option<String>,
    /// The same as a flag
    #[arg(long = "name", value_name = "NAME", conflicts_with = "name")]
    named: Option<String>,
    /// What runs it. No node has a driver for containers and microVMs yet
    #[arg(long = "type", value_enum, value_name = "TYPE", default_value = "vm")]
    kind: Kind,
    /// Labels to select by; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    label: Vec<(String, String)>,
    /// Annotations, for whatever tools keep with it; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    annotation: Vec<(String, String)>,
    /// Virtual CPUs
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Hardware")]
    cpus: u32,
    /// Memory
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = parse::size, help_heading = "Hardware")]
    memory: u64,
    /// A qcow2 or raw image to start from
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = "Disks")]
    image: Option<PathBuf>,
    /// Size of the root disk; that of the image when not given
    #[arg(long, value_name = "SIZE", value_parser = parse::size, help_heading = "Disks")]
    disk: Option<u64>,
    /// A further disk; may be given several times
    #[arg(long, value_name = "NAME=SIZE", value_parser = parse::data_disk, help_heading = "Disks")]
    data_disk: Vec<v1::DiskSpec>,
    /// user (the node's own NAT), tap:INTERFACE or bridge:INTERFACE; may be given several times [default: user]
    #[arg(long, value_name = "NETWORK", value_parser = parse::network, help_heading = "Network")]
    network: Vec<Attachment>,
    /// Forward a port of the node to the guest: `[ADDRESS:]HOSTPORT:GUESTPORT[/udp]`, on 127.0.0.1 when no address
    /// is given. Needs a user network; may be given several times
    #[arg(long, value_name = "PORTS", value_parser = parse::publish, help_heading = "Network")]
    publish: Vec<v1::PublishedPort>,
    /// Firmware
    #[arg(long, value_enum, value_name = "FIRMWARE", help_heading = "Boot")]
    firmware: Option<Firmware>,
    /// A kernel to boot directly
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = "Boot")]
    kernel: Option<PathBuf>,
    /// Its initial RAM disk
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, requires = "kernel", help_heading = "Boot")]
    initrd: Option<PathBuf>,
    /// Its command line
    #[arg(long, value_name = "TEXT", requires = "kernel", help_heading = "Boot")]
    cmdline: Option<String>,
    /// A cloud-init user-data file, read here
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Boot")]
    cloud_init: Option<PathBuf>,
    /// What happens when the guest ends by itself
    #[arg(long, value_enum, value_name = "POLICY", default_value = "on-failure", help_heading = "Life")]
    restart: Restart,
    /// How long the guest may take to power down [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, help_heading = "Life")]
    stop_timeout: Option<Duration>,
    /// Whether it may leave its node, when that is drained or abandoned
    #[arg(long, value_enum, value_name = "POLICY", default_value = "never", help_heading = "Life")]
    relocation: Relocation,
    /// Do not start it
    #[arg(long, help_heading = "Life")]
    stopped: bool,
    /// Run on this node, or not at all
    #[arg(
        long,
        value_name = "NODE",
        default_value = "",
        hide_default_value = true,
        help_heading = "Placement"
    )]
    node: String,
    /// Run on this node when it has room
    #[arg(
        long,
        value_name = "NODE",
        default_value = "",
        hide_default_value = true,
        help_heading = "Placement"
    )]
    prefer_node: String,
    /// Run in this zone
    #[arg(long, default_value = "", hide_default_value = true, help_heading = "Placement")]
    zone: String,
    /// Run in this region
    #[arg(long, default_value = "", hide_default_value = true, help_heading = "Placement")]
    region: String,
    /// Run on a node with these labels: key=value,key!=value,key,!key
    #[arg(
        long,
        value_name = "SELECTOR",
        default_value = "",
        hide_default_value = true,
        help_heading = "Placement"
    )]
    node_selector: String,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Firmware {
    Bios,
    Uefi,
}

impl From<Firmware> for v1::Firmware {
    fn from(firmware: Firmware) -> Self {
        match firmware {
            Firmware::Bios => Self::Bios,
            Firmware::Uefi => Self::Uefi,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Restart {
    /// It stays stopped
    Never,
    /// It is started again when it failed, not when it powered itself off
    OnFailure,
    /// It is started again whatever the reason
    Always,
}

impl From<Restart> for v1::RestartPolicy {
    fn from(restart: Restart) -> Self {
        match restart {
            Restart::Never => Self::Never,
            Restart::OnFailure => Self::OnFailure,
            Restart::Always => Self::Always,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Relocation {
    /// It stays where its disks are
    Never,
    /// It is made anew on another node, with fresh disks: what its guest wrote is lost
    Recreate,
}

impl From<Relocation> for v1::Relocation {
    fn from(relocation: Relocation) -> Self {
        match relocation {
            Relocation::Never => Self::Never,
            Relocation::Recreate => Self::Recreate,
        }
    }
}

pub(crate) async fn run(context: &mut Context, asked: Create) -> Result<(), Failure> {
    let waiting = asked.waiting.clone();
    let request = request(context, asked)?;
    let connection = Connection::open(context).await?;
    let answer = mutate(request, |request| {
        let mut client = connection.compute();
        async move { client.create_instance(request).await }
    })
    .await?;
    let uid = answer
        .instance
        .and_then(|instance| instance.metadata)
        .map(|metadata| metadata.uid)
        .unwrap_or_default();
    let made = finish(context, &connection, answer.operation, &waiting, &uid).await;
    if let Err(Failure::Error(_)) = &made {
        leave_nothing(context, &connection, uid).await;
    }
    made
}

/// What no node took has no disks and no guest: its name is free again when this fails. One that a node has stays, for `instance start`; so
/// does one that was placed or changed since it was looked at.
async fn leave_nothing(context: &mut Context, connection: &Connection, uid: String) {
    let left = async {
        let left = fetch(context, connection, &uid).await?;
        let generation = left.metadata.unwrap_or_default().generation;
        let status = left.status.unwrap_or_default();
        if status.phase() != v1::InstancePhase::Failed || !status.node_uid.is_empty() {
            return Ok(false);
        }
        let request = v1::DeleteInstanceRequest {
            instance: uid,
            project: context.globals.project.clone(),
            force: true,
            idempotency_key: hv_runtime::ids::uuid().to_string(),
            precondition: Some(v1::Precondition { generation }),
            only_unplaced: true,
        };
        let answer = mutate(request, |request| {
            let mut client = connection.compute();
            async move { client.delete_instance(request).await }
        });
        match answer.await?.operation {
            Some(begun) => wait(context, connection, begun, None).await.map(|_| true),
            None => Ok(true),
        }
    };
    // Why it could not be made is what is to be told.
    if let Ok(true) = left.await {
        context.note("nothing is left of it");
    }
}

/// The request that the flags ask for. Notes files that are not on this host: the node may have them.
fn request(context: &mut Context, asked: Create) -> Result<v1::CreateInstanceRequest, Failure> {
    let name = asked.name.or(asked.named).unwrap_or_default();
    let mut on_node = |flag: &str, path: Option<PathBuf>| node_path(context, flag, path);
    let image = on_node("--image", asked.image)?;
    let kernel = on_node("--kernel", asked.kernel)?;
    let initrd = on_node("--initrd", asked.initrd)?;
    let spec = v1::InstanceSpec {
        r#type: v1::InstanceType::from(asked.kind).into(),
        cpus: asked.cpus,
        memory_bytes: asked.memory,
        image,
        root_disk_bytes: asked.disk.unwrap_or(0),
        disks: asked.data_disk,
        network_interfaces: networks(asked.network, asked.publish)?,
        boot: Some(v1::BootSpec {
            firmware: asked.firmware.map_or(v1::Firmware::Unspecified, v1::Firmware::from).into(),
            kernel,
            initrd,
            cmdline: asked.cmdline.unwrap_or_default(),
        }),
        cloud_init: asked.cloud_init.as_deref().map(cloud_init).transpose()?,
        run_state: if asked.stopped { v1::RunState::Stopped } else { v1::RunState::Running }.into(),
        restart_policy: v1::RestartPolicy::from(asked.restart).into(),
        stop_timeout_ms: asked.stop_timeout.map_or(0, millis),
        relocation: v1::Relocation::from(asked.relocation).into(),
        placement: Some(v1::PlacementSpec {
            preferred_node: asked.prefer_node,
            required_node: asked.node,
            region: asked.region,
            zone: asked.zone,
            node_selector: asked.node_selector,
        }),
        ..Default::default()
    };
    Ok(v1::CreateInstanceRequest {
        name,
        project: context.globals.project.clone(),
        labels: asked.label.into_iter().collect(),
        annotations: asked.annotation.into_iter().collect(),
        spec: Some(spec),
        idempotency_key: asked.waiting.key(""),
    })
}

/// Interfaces `net0`, `net1`, ...; ports are published by the first one on the user network.
pub(super) fn networks(
    mut attachments: Vec<Attachment>,
    publish: Vec<v1::PublishedPort>,
) -> Result<Vec<v1::NetworkInterfaceSpec>, Failure> {
    if attachments.is_empty() {
        attachments.push(Attachment::User(v1::UserNetwork::default()));
    }
    if !publish.is_empty() {
        let user = attachments.iter_mut().find_map(|attachment| match attachment {
            Attachment::User(user) => Some(user),
            _ => None,
        });
        user.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "--publish forwards ports of a user network, and there is none")
                .with_hint("add --network user, or reach the guest at its own address on the bridge")
        })?
        .publish = publish;
    }
    let interface = |(index, attachment)| v1::NetworkInterfaceSpec {
        name: format!("net{index}"),
        mac: String::new(),
        attachment: Some(attachment),
    };
    Ok(attachments.into_iter().enumerate().map(interface).collect())
}

pub(super) fn node_path(context: &mut Context, flag: &str, path: Option<PathBuf>) -> Result<String, Failure> {
    let Some(path) = path else { return Ok(String::new()) };
    if path.to_string_lossy().contains("://") {
        let message =
            format!("{flag} {}: this is an address, and only files of the node are taken", path.display());
        return Err(Error::new(ErrorKind::Invalid, message).with_hint("download it first").into());
    }
    // Without links and `..`, which the node would refuse to follow.
    let absolute = match std::fs::canonicalize(&path) {
        Ok(absolute) => absolute,
        Err(_) => {
            let absolute = std::path::absolute(&path)?;
            let note =
                format!("note: {flag} {} is not on this host; its node must have it", absolute.display());
            context.note(note);
            absolute
        }
    };
    absolute.into_os_string().into_string().map_err(|path| {
        Error::new(ErrorKind::Invalid, format!("{flag}: {} is not UTF-8", path.display())).into()
    })
}

pub(super) fn cloud_init(path: &Path) -> Result<v1::CloudInitSpec, Failure> {
    let user_data = std::fs::read_to_string(path).map_err(|error| {
        Error::new(ErrorKind::Invalid, format!("--cloud-init {}: {error}", path.display()))
    })?;
    Ok(v1::CloudInitSpec { user_data, ..Default::default() })
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
