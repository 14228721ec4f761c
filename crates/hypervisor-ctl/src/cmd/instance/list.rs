//! `instance list` and `instance get`.

use super::several::Target;
use super::{fetch, name};
use crate::Context;
use crate::cmd::node::conditions;
use crate::connect::{Connection, unary};
use crate::exit::Failure;
use crate::output::{Details, Rows, Text, Tone, human, view};
use clap::{Args, ValueEnum};
use hv_api::v1;
use hv_api::v1::network_interface_spec::Attachment;
use hv_core::Timestamp;
use hv_runtime::clock;

/// The instances
///
/// Examples:
///   hypervisor-ctl instance list --phase running
///   hypervisor-ctl instance list -l tier=web -o name
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct List {
    /// Only instances with these labels: key=value,key!=value,key,!key
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// Only instances on this node
    #[arg(long, default_value = "", hide_default_value = true)]
    node: String,
    /// Only instances in this phase
    #[arg(long, value_enum)]
    phase: Option<Phase>,
    /// Only instances of this type
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
    /// Instances of all projects
    #[arg(short = 'A', long, conflicts_with = "project")]
    all_projects: bool,
}

/// One instance
#[derive(Args)]
pub(crate) struct Get {
    /// Name or uid
    instance: String,
}

/// What runs the instance.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    Vm,
    Container,
    Microvm,
}

impl From<Kind> for v1::InstanceType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Vm => Self::Vm,
            Kind::Container => Self::Container,
            Kind::Microvm => Self::Microvm,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Phase {
    Pending,
    Scheduled,
    Preparing,
    Starting,
    Running,
    Paused,
    Stopping,
    Stopped,
    Migrating,
    Failed,
    Unknown,
    Deleting,
}

impl From<Phase> for v1::InstancePhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Pending => Self::Pending,
            Phase::Scheduled => Self::Scheduled,
            Phase::Preparing => Self::Preparing,
            Phase::Starting => Self::Starting,
            Phase::Running => Self::Running,
            Phase::Paused => Self::Paused,
            Phase::Stopping => Self::Stopping,
            Phase::Stopped => Self::Stopped,
            Phase::Migrating => Self::Migrating,
            Phase::Failed => Self::Failed,
            Phase::Unknown => Self::Unknown,
            Phase::Deleting => Self::Deleting,
        }
    }
}

pub(crate) async fn list(context: &mut Context, asked: List) -> Result<(), Failure> {
    let connection = Connection::open(context).await?;
    let request = v1::ListInstancesRequest {
        project: context.project(asked.all_projects),
        node: asked.node,
        r#type: asked.kind.map_or(v1::InstanceType::Unspecified, v1::InstanceType::from).into(),
        phase: asked.phase.map_or(v1::InstancePhase::Unspecified, v1::InstancePhase::from).into(),
        label_selector: asked.selector,
        page: None,
    };
    let instances = pages(&connection, request).await?;
    show_rows(context, &instances)
}

/// The project's instances with these labels.
pub(super) async fn of_selector(
    context: &Context,
    connection: &Connection,
    selector: &str,
) -> Result<Vec<Target>, Failure> {
    let label_selector = selector.to_owned();
    targets(context, connection, v1::ListInstancesRequest { label_selector, ..Default::default() }).await
}

/// The project's instances that run.
pub(super) async fn running(context: &Context, connection: &Connection) -> Result<Vec<Target>, Failure> {
    let phase = v1::InstancePhase::Running.into();
    targets(context, connection, v1::ListInstancesRequest { phase, ..Default::default() }).await
}

async fn targets(
    context: &Context,
    connection: &Connection,
    selection: v1::ListInstancesRequest,
) -> Result<Vec<Target>, Failure> {
    let request = v1::ListInstancesRequest { project: context.project(false), ..selection };
    let instances = pages(connection, request).await?;
    let target = |instance: v1::Instance| {
        let metadata = instance.metadata.unwrap_or_default();
        Target { reference: metadata.uid, name: metadata.name }
    };
    Ok(instances.into_iter().map(target).collect())
}

async fn pages(
    connection: &Connection,
    mut request: v1::ListInstancesRequest,
) -> Result<Vec<v1::Instance>, Failure> {
    let mut client = connection.compute();
    let mut instances = Vec::new();
    loop {
        let answer = client.list_instances(unary(request.clone())).await?.into_inner();
        instances.extend(answer.instances);
        match answer.page {
            Some(page) if !page.next_token.is_empty() => {
                request.page = Some(v1::PageRequest { size: 0, token: page.next_token });
            }
            _ => return Ok(instances),
        }
    }
}

pub(crate) async fn get(context: &mut Context, asked: Get) -> Result<(), Failure> {
    let connection = Connection::open(context).await?;
    let instance = fetch(context, &connection, &asked.instance).await?;
    let now = clock::wall();
    context.show_one(&view::instance(&instance), name(&instance), || details(&instance, now))
}

/// One instance as a row, for commands that changed it; its message in JSON is the object, not a list.
pub(super) fn show_row(context: &mut Context, instance: &v1::Instance) -> Result<(), Failure> {
    use crate::output::Format;
    match context.globals.output {
        Format::Json | Format::Yaml => context.show_value(&view::instance(instance)),
        Format::Table | Format::Wide | Format::Name => show_rows(context, std::slice::from_ref(instance)),
    }
}

/// Instances as rows.
pub(super) fn show_rows(context: &mut Context, instances: &[v1::Instance]) -> Result<(), Failure> {
    context.show_rows(rows(instances, clock::wall()))
}

pub(crate) fn rows(instances: &[v1::Instance], now: Timestamp) -> Rows {
    let cells = |instance: &v1::Instance| {
        let metadata = instance.metadata.clone().unwrap_or_default();
        let (spec, status) =
            (instance.spec.clone().unwrap_or_default(), instance.status.clone().unwrap_or_default());
        vec![
            metadata.name.into(),
            phase(&status),
            human::or_dash(&status.node_name).into(),
            spec.cpus.to_string().into(),
            human::size(spec.memory_bytes).into(),
            human::or_dash(&ports(&spec, &status)).into(),
            human::age(metadata.created_at_ms, now).into(),
            metadata.project.into(),
            view::instance_type(spec.r#type).into(),
            metadata.uid.into(),
            human::or_dash(&status.addresses.join(",")).into(),
            human::or_dash(spec.image.rsplit('/').next().unwrap_or_default()).into(),
            human::or_dash(&human::pairs(&metadata.labels)).into(),
            human::or_dash(&status.message).into(),
        ]
    };
    Rows {
        headers: &[
            "NAME",
            "PHASE",
            "NODE",
            "CPUS",
            "MEMORY",
            "PORTS",
            "AGE",
            "PROJECT",
            "TYPE",
            "UID",
            "ADDRESSES",
            "IMAGE",
            "LABELS",
            "MESSAGE",
        ],
        // The project where instances of several are shown.
        wide: if several_projects(instances) { 6 } else { 7 },
        rows: instances.iter().map(cells).collect(),
        names: instances.iter().map(|instance| name(instance).to_owned()).collect(),
        values: instances.iter().map(view::instance).collect(),
    }
}

fn several_projects(instances: &[v1::Instance]) -> bool {
    let project =
        |instance: &v1::Instance| instance.metadata.as_ref().map(|metadata| metadata.project.clone());
    instances.windows(2).any(|pair| project(&pair[0]) != project(&pair[1]))
}

/// The phase; marked when the guest does not answer.
pub(super) fn phase(status: &v1::InstanceStatus) -> Text {
    use v1::InstancePhase as P;
    let deaf = status.conditions.iter().any(|c| c.r#type == "Responsive" && c.status == "False");
    let tone = match status.phase() {
        _ if deaf => Tone::Bad,
        P::Running => Tone::Good,
        P::Failed | P::Unknown => Tone::Bad,
        P::Stopped | P::Paused | P::Unspecified => Tone::Plain,
        P::Pending | P::Scheduled | P::Preparing | P::Starting | P::Stopping | P::Migrating | P::Deleting => {
            Tone::Busy
        }
    };
    let word = view::instance_phase(status.phase);
    Text(if deaf { format!("{word},deaf") } else { word }, tone)
}

/// Published ports: as observed, or as wanted while nothing runs.
fn ports(spec: &v1::InstanceSpec, status: &v1::InstanceStatus) -> String {
    let wanted = spec.network_interfaces.iter().filter_map(|interface| match &interface.attachment {
        Some(Attachment::User(user)) => Some(&user.publish),
        _ => None,
    });
    let ports: Vec<_> = if status.published_ports.is_empty() {
        wanted.flatten().map(port).collect()
    } else {
        status.published_ports.iter().map(port).collect()
    };
    ports.join(",")
}

fn port(port: &v1::PublishedPort) -> String {
    let address = match port.host_address.as_str() {
        "" | "127.0.0.1" => String::new(),
        address if address.contains(':') => format!("[{address}]:"),
        address => format!("{address}:"),
    };
    let protocol = if port.protocol == "udp" { "/udp" } else { "" };
    format!("{address}{}:{}{protocol}", port.host_port, port.guest_port)
}

pub(crate) fn details(instance: &v1::Instance, now: Timestamp) -> Details {
    let metadata = instance.metadata.clone().unwrap_or_default();
    let (spec, status) =
        (instance.spec.clone().unwrap_or_default(), instance.status.clone().unwrap_or_default());
    let boot = spec.boot.clone().unwrap_or_default();
    let placement = spec.placement.clone().unwrap_or_default();
    let size = |bytes: u64| if bytes == 0 { String::new() } else { human::size(bytes) };
    let mut details = Details::default();
    details
        .add("Name", &metadata.name)
        .add("Uid", &metadata.uid)
        .add("Project", &metadata.project)
        .add("Type", view::instance_type(spec.r#type))
        .add("Labels", human::pairs(&metadata.labels))
        .add("Phase", phase(&status).0)
        .add("Message", &status.message)
        .add("Wanted", view::run_state(spec.run_state))
        .add("Node", &status.node_name)
        .add(
            "Created",
            format!(
                "{} ({} ago)",
                human::time(metadata.created_at_ms),
                human::age(metadata.created_at_ms, now)
            ),
        );
    if status.started_at_ms != 0 {
        let up = human::age(status.started_at_ms, now);
        details.add(
            "Started",
            format!("{} ({up} ago, start {})", human::time(status.started_at_ms), status.starts),
        );
    }
    details
        .add("CPUs", spec.cpus.to_string())
        .add("Memory", human::size(spec.memory_bytes))
        .add("Image", &spec.image)
        .add("Root disk", size(spec.root_disk_bytes))
        .list(
            "Disks",
            spec.disks.iter().map(|disk| format!("{} {}", disk.name, human::size(disk.size_bytes))),
        )
        .list("Networks", spec.network_interfaces.iter().map(interface))
        .add("Ports", ports(&spec, &status))
        .add("Addresses", status.addresses.join(", "))
        .add("Firmware", view::firmware(boot.firmware))
        .add("Kernel", boot.kernel)
        .add("Initrd", boot.initrd)
        .add("Command line", boot.cmdline)
        .add("Cloud-init", if spec.cloud_init.is_some() { "yes" } else { "" })
        .add("Restart", view::restart_policy(spec.restart_policy))
        .add("Relocation", view::relocation(spec.relocation))
        .add("Required node", placement.required_node)
        .add("Preferred node", placement.preferred_node)
        .add("Region", placement.region)
        .add("Zone", placement.zone)
        .add("Node selector", placement.node_selector);
    for (key, value) in &status.details {
        details.add(&format!("  {key}"), value);
    }
    details.list("Conditions", conditions(&status.conditions));
    if status.observed_generation != metadata.generation {
        details.add(
            "Generation",
            format!("{}, its node has acted on {}", metadata.generation, status.observed_generation),
        );
    }
    details
}

fn interface(interface: &v1::NetworkInterfaceSpec) -> String {
    let attachment = match &interface.attachment {
        Some(Attachment::User(_)) | None => "user".to_owned(),
        Some(Attachment::Tap(tap)) => format!("tap:{tap}"),
        Some(Attachment::Bridge(bridge)) => format!("bridge:{bridge}"),
    };
    format!("{} {attachment} {}", interface.name, interface.mac).trim_end().to_owned()
}
