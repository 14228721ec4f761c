//! `node`: the hosts that run instances.

use crate::Context;
use crate::cmd::Waiting;
use crate::cmd::operation::{Settled, settle};
use crate::connect::{Connection, mutate, unary};
use crate::exit::Failure;
use crate::output::{Details, Format, Rows, Text, Tone, human, view};
use crate::parse::{self, changed_pairs};
use clap::{Args, Subcommand, ValueEnum};
use hv_api::v1;
use hv_core::{Error, ErrorKind, Timestamp};
use hv_runtime::clock;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The nodes
    #[command(visible_alias = "ls")]
    List(List),
    /// One node: capacity, drivers and their accelerator, conditions
    Get {
        /// Name or uid
        node: String,
    },
    /// Record a node before its agent joins, so that instances can name it
    Register(Register),
    /// Change what a node is: its labels, its role, where it stands
    Update(Update),
    /// Place nothing new on a node; what is there stays
    Cordon(Change),
    /// Place instances on a node again
    Uncordon(Change),
    /// Place nothing new on a node, and let what may leave it leave
    ///
    /// Instances with relocation `recreate` are stopped, and made anew with fresh disks on another node, as long as one takes them.
    /// All others stay, running, with their disks: the command says which, and ends with 5. `node uncordon` ends it; what has
    /// begun to leave does not come back.
    Drain(Change),
    /// Forget a node whose agent is stopped
    ///
    /// A node with instances is forgotten only with --abandon-instances, and only while it is unknown: deletions under way
    /// complete, and the other instances fail, because their disks are on that host; `instance start` makes one anew, with
    /// fresh disks, on another node. Make sure that the host is off: nobody else stops its guests. If it comes back all the
    /// same, its agent ends them as soon as it reaches the server, keeps their disks, and joins as a new node.
    Deregister(Deregister),
}

#[derive(Args)]
pub(crate) struct Deregister {
    /// Name or uid
    node: String,
    /// Give up the instances on it: its host is off for good
    #[arg(long)]
    abandon_instances: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Record a node before its agent joins, so that instances can name it
///
/// The agent that calls itself so takes the record over. Nodes need no registration: an agent that joins makes its own.
#[derive(Args)]
pub(crate) struct Register {
    /// Its name: what its agent calls itself, by default the host's name
    name: String,
    /// Labels to select by; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::pair)]
    label: Vec<(String, String)>,
    /// Whether it may serve the control plane
    #[arg(long, value_enum, default_value = "worker")]
    role: Role,
    /// Where it stands
    #[arg(long, default_value = "", hide_default_value = true)]
    region: String,
    /// The part of the region
    #[arg(long, default_value = "", hide_default_value = true)]
    zone: String,
    #[command(flatten)]
    waiting: Waiting,
}

/// Change what a node is: its labels, its role, where it stands
///
/// What is not named stays as it is. An agent's configuration gives a new node's values, and is not asked again.
///
/// Examples:
///   hypervisor-ctl node update n1 --label disk=ssd --label old-
///   hypervisor-ctl node update n1 --region eu --zone ''
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Update {
    /// Name or uid
    node: String,
    /// Set (KEY=VALUE) or remove (KEY-) a label; may be given several times
    #[arg(long, value_name = "LABEL", value_parser = parse::label_change)]
    label: Vec<(String, Option<String>)>,
    /// Set (KEY=VALUE) or remove (KEY-) an annotation; may be given several times
    #[arg(long, value_name = "ANNOTATION", value_parser = parse::label_change)]
    annotation: Vec<(String, Option<String>)>,
    /// Whether it may serve the control plane
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Where it stands; an empty text for nowhere
    #[arg(long)]
    region: Option<String>,
    /// The part of the region; an empty text for none
    #[arg(long)]
    zone: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Master,
    Worker,
}

impl From<Role> for v1::NodeRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Master => Self::Master,
            Role::Worker => Self::Worker,
        }
    }
}

#[derive(Args)]
pub(crate) struct List {
    /// Only nodes with these labels: key=value,key!=value,key,!key
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// Only nodes in this phase
    #[arg(long, value_enum)]
    phase: Option<Phase>,
    /// Only nodes of this region
    #[arg(long, default_value = "", hide_default_value = true)]
    region: String,
    /// Only nodes of this zone
    #[arg(long, default_value = "", hide_default_value = true)]
    zone: String,
}

#[derive(Args)]
pub(crate) struct Change {
    /// Name or uid
    node: String,
    /// Why, for others who look
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Phase {
    Registered,
    Ready,
    NotReady,
    Unknown,
}

impl From<Phase> for v1::NodePhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Registered => Self::Registered,
            Phase::Ready => Self::Ready,
            Phase::NotReady => Self::NotReady,
            Phase::Unknown => Self::Unknown,
        }
    }
}

pub(crate) async fn run(context: &mut Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List(list) => {
            let nodes = all(context, list).await?;
            context.show_rows(rows(&nodes, clock::wall()))
        }
        Command::Get { node } => {
            let connection = Connection::open(context).await?;
            let node = fetch(&connection, &node).await?;
            show(context, &node)
        }
        Command::Register(asked) => register(context, asked).await,
        Command::Update(asked) => update(context, asked).await,
        Command::Cordon(asked) => change(context, asked, v1::Schedulability::Cordoned).await,
        Command::Uncordon(asked) => change(context, asked, v1::Schedulability::Schedulable).await,
        Command::Drain(asked) => change(context, asked, v1::Schedulability::Draining).await,
        Command::Deregister(asked) => deregister(context, asked).await,
    }
}

async fn all(context: &Context, list: List) -> Result<Vec<v1::Node>, Failure> {
    let mut client = Connection::open(context).await?.cluster();
    let mut request = v1::ListNodesRequest {
        phase: list.phase.map_or(v1::NodePhase::Unspecified, v1::NodePhase::from).into(),
        region: list.region,
        zone: list.zone,
        label_selector: list.selector,
        ..Default::default()
    };
    let mut nodes = Vec::new();
    loop {
        let answer = client.list_nodes(unary(request.clone())).await?.into_inner();
        nodes.extend(answer.nodes);
        match answer.page {
            Some(page) if !page.next_token.is_empty() => {
                request.page = Some(v1::PageRequest { size: 0, token: page.next_token });
            }
            _ => return Ok(nodes),
        }
    }
}

async fn fetch(connection: &Connection, node: &str) -> Result<v1::Node, Failure> {
    let request = v1::GetNodeRequest { node: node.to_owned() };
    Ok(connection.cluster().get_node(unary(request)).await?.into_inner())
}

async fn register(context: &mut Context, asked: Register) -> Result<(), Failure> {
    let connection = Connection::open(context).await?;
    let request = v1::RegisterNodeRequest {
        name: asked.name.clone(),
        labels: asked.label.into_iter().collect(),
        spec: Some(v1::NodeSpec {
            role: v1::NodeRole::from(asked.role).into(),
            region: asked.region,
            zone: asked.zone,
            ..Default::default()
        }),
        idempotency_key: asked.waiting.key(""),
        ..Default::default()
    };
    let answer = mutate(request, |request| {
        let mut client = connection.cluster();
        async move { client.register_node(request).await }
    })
    .await?;
    let settled = settle(context, &connection, answer.operation, &asked.waiting).await?;
    let Settled::Ended(_) = settled else { return Ok(()) };
    let node = fetch(&connection, &asked.name).await?;
    context.show_rows(rows(&[node], clock::wall()))
}

async fn update(context: &mut Context, asked: Update) -> Result<(), Failure> {
    let connection = Connection::open(context).await?;
    let mut spec = v1::NodeSpec::default();
    let mut paths = Vec::new();
    let mut changes = |path: &str| paths.push(path.to_owned());
    if let Some(role) = asked.role {
        spec.role = v1::NodeRole::from(role).into();
        changes("spec.role");
    }
    if let Some(region) = asked.region {
        spec.region = region;
        changes("spec.region");
    }
    if let Some(zone) = asked.zone {
        spec.zone = zone;
        changes("spec.zone");
    }
    let labels = changed_pairs("labels", asked.label, &mut paths);
    let annotations = changed_pairs("annotations", asked.annotation, &mut paths);
    if paths.is_empty() {
        let error = Error::new(ErrorKind::Invalid, "nothing to change: no flag says what");
        return Err(error.with_hint("hypervisor-ctl node update --help").into());
    }
    let request = v1::UpdateNodeRequest {
        node: asked.node,
        spec: Some(spec),
        labels,
        annotations,
        update_mask: Some(prost_types::FieldMask { paths }),
        idempotency_key: asked.waiting.key(""),
        ..Default::default()
    };
    let node = send(context, &connection, request, &asked.waiting).await?;
    match node {
        Some((node, _)) => context.show_rows(rows(&[node], clock::wall())),
        None => Ok(()),
    }
}

/// Sends a change and waits for it: the node as it then is, and what its operation says. `None` when nobody waits.
async fn send(
    context: &mut Context,
    connection: &Connection,
    request: v1::UpdateNodeRequest,
    waiting: &Waiting,
) -> Result<Option<(v1::Node, String)>, Failure> {
    let node = request.node.clone();
    let answer = mutate(request, |request| {
        let mut client = connection.cluster();
        async move { client.update_node(request).await }
    })
    .await?;
    let settled = settle(context, connection, answer.operation, waiting).await?;
    let Settled::Ended(ended) = settled else { return Ok(None) };
    Ok(Some((fetch(connection, &node).await?, ended.map(|ended| ended.message).unwrap_or_default())))
}

async fn change(context: &mut Context, asked: Change, wanted: v1::Schedulability) -> Result<(), Failure> {
    let connection = Connection::open(context).await?;
    let request = v1::UpdateNodeRequest {
        node: asked.node.clone(),
        spec: Some(v1::NodeSpec {
            schedulability: wanted.into(),
            reason: asked.reason,
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["spec.schedulability".to_owned(), "spec.reason".to_owned()],
        }),
        idempotency_key: asked.waiting.key(""),
        ..Default::default()
    };
    let Some((node, message)) = send(context, &connection, request, &asked.waiting).await? else {
        return Ok(());
    };
    let left = node.status.as_ref().map_or(0, |status| status.instances);
    let name = name(&node).to_owned();
    context.show_rows(rows(&[node], clock::wall()))?;
    if wanted != v1::Schedulability::Draining || left == 0 {
        return Ok(());
    }
    // Whoever would switch the host off next has to know.
    let (noun, verb) = if left == 1 { ("instance", "stays") } else { ("instances", "stay") };
    let why = if message.is_empty() { String::new() } else { format!(": {message}") };
    let error =
        Error::new(ErrorKind::FailedPrecondition, format!("{left} {noun} {verb} on node `{name}`{why}"));
    Err(error.with_hint(format!("hypervisor-ctl instance list -A --node {name}")).into())
}

async fn deregister(context: &mut Context, asked: Deregister) -> Result<(), Failure> {
    let connection = Connection::open(context).await?;
    let request = v1::DeregisterNodeRequest {
        node: asked.node.clone(),
        abandon_instances: asked.abandon_instances,
        idempotency_key: asked.waiting.key(""),
        precondition: None,
    };
    let answer = mutate(request, |request| {
        let mut client = connection.cluster();
        async move { client.deregister_node(request).await }
    })
    .await?;
    let settled = settle(context, &connection, answer.operation, &asked.waiting).await?;
    let Settled::Ended(Some(ended)) = settled else { return Ok(()) };
    match context.globals.output {
        Format::Json | Format::Yaml => context.show_value(&view::operation(&ended)),
        Format::Table | Format::Wide => context.say(format!("{}: {}", ended.target_name, ended.message)),
        Format::Name => context.say(&ended.target_name),
    }
}

fn name(node: &v1::Node) -> &str {
    node.metadata.as_ref().map_or("", |metadata| &metadata.name)
}

pub(crate) fn rows(nodes: &[v1::Node], now: Timestamp) -> Rows {
    let cells = |node: &v1::Node| {
        let metadata = node.metadata.clone().unwrap_or_default();
        let (spec, status) = (node.spec.clone().unwrap_or_default(), node.status.clone().unwrap_or_default());
        let (has, taken) = (status.allocatable.unwrap_or_default(), status.allocated.unwrap_or_default());
        let drivers: Vec<_> = status.drivers.iter().map(driver_word).collect();
        vec![
            metadata.name.into(),
            phase(&spec, &status),
            view::node_role(spec.role).into(),
            format!("{}/{}", taken.cpus, has.cpus).into(),
            format!("{} / {}", human::size(taken.memory_bytes), human::size(has.memory_bytes)).into(),
            status.instances.to_string().into(),
            drivers.join(",").into(),
            human::age(metadata.created_at_ms, now).into(),
            metadata.uid.into(),
            human::or_dash(&spec.region).into(),
            human::or_dash(&spec.zone).into(),
            human::or_dash(&status.agent_version).into(),
            human::or_dash(&human::pairs(&metadata.labels)).into(),
        ]
    };
    Rows {
        headers: &[
            "NAME",
            "STATUS",
            "ROLE",
            "CPUS",
            "MEMORY",
            "INSTANCES",
            "DRIVERS",
            "AGE",
            "UID",
            "REGION",
            "ZONE",
            "AGENT",
            "LABELS",
        ],
        wide: 5,
        rows: nodes.iter().map(cells).collect(),
        names: nodes.iter().map(|node| name(node).to_owned()).collect(),
        values: nodes.iter().map(view::node).collect(),
    }
}

fn phase(spec: &v1::NodeSpec, status: &v1::NodeStatus) -> Text {
    let mut word = view::node_phase(status.phase);
    let mut tone = match status.phase() {
        v1::NodePhase::Ready => Tone::Good,
        v1::NodePhase::Registered => Tone::Busy,
        _ => Tone::Bad,
    };
    if !matches!(spec.schedulability(), v1::Schedulability::Schedulable | v1::Schedulability::Unspecified) {
        word = format!("{word},{}", view::schedulability(spec.schedulability));
        tone = if tone == Tone::Good { Tone::Busy } else { tone };
    }
    Text(word, tone)
}

/// `qemu(kvm)`, with a mark when it cannot run instances.
fn driver_word(driver: &v1::DriverStatus) -> String {
    let accelerator =
        driver.attributes.get("accelerator").map(|name| format!("({name})")).unwrap_or_default();
    format!("{}{accelerator}{}", driver.name, if driver.healthy { "" } else { "!" })
}

fn show(context: &mut Context, node: &v1::Node) -> Result<(), Failure> {
    let now = clock::wall();
    context.show_one(&view::node(node), name(node), || details(node, now))
}

pub(crate) fn details(node: &v1::Node, now: Timestamp) -> Details {
    let metadata = node.metadata.clone().unwrap_or_default();
    let (spec, status) = (node.spec.clone().unwrap_or_default(), node.status.clone().unwrap_or_default());
    let (capacity, has) = (status.capacity.unwrap_or_default(), status.allocatable.unwrap_or_default());
    let taken = status.allocated.unwrap_or_default();
    let amounts = |taken: u64, has: u64, capacity: u64| {
        format!("{} allocated of {} ({} in all)", human::size(taken), human::size(has), human::size(capacity))
    };
    let mut details = Details::default();
    details
        .add("Name", &metadata.name)
        .add("Uid", &metadata.uid)
        .add("Status", phase(&spec, &status).0)
        .add("Reason", &spec.reason)
        .add("Role", view::node_role(spec.role))
        .add("Region", &spec.region)
        .add("Zone", &spec.zone)
        .add("Labels", human::pairs(&metadata.labels))
        .add("Hostname", &status.hostname)
        .add("Addresses", status.addresses.join(", "))
        .add("CPUs", format!("{} allocated of {} ({} in all)", taken.cpus, has.cpus, capacity.cpus))
        .add("Memory", amounts(taken.memory_bytes, has.memory_bytes, capacity.memory_bytes))
        .add("Disk", amounts(taken.disk_bytes, has.disk_bytes, capacity.disk_bytes))
        .add("Instances", status.instances.to_string())
        .add("Agent", &status.agent_version)
        .add("Kernel", &status.kernel_version)
        .add("Last seen", format!("{} ago", human::age(status.last_seen_at_ms, now)))
        .add("Created", human::time(metadata.created_at_ms));
    for driver in &status.drivers {
        let health = if driver.healthy { "healthy" } else { "not healthy" };
        details.add(
            &format!("Driver {}", driver.name),
            [health, &driver.version, &driver.message].join(" ").trim(),
        );
        for (key, value) in &driver.attributes {
            details.add(&format!("  {key}"), value);
        }
    }
    details.list("Conditions", conditions(&status.conditions));
    details
}

/// Conditions, one line each.
pub(crate) fn conditions(conditions: &[v1::Condition]) -> impl Iterator<Item = String> + '_ {
    conditions.iter().map(|condition| {
        let text =
            format!("{}={} {} {}", condition.r#type, condition.status, condition.reason, condition.message);
        text.trim_end().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cordoned_node_and_its_sick_driver_are_seen_at_once() {
        let driver = |name: &str, healthy| v1::DriverStatus {
            name: name.into(),
            healthy,
            attributes: [("accelerator".to_owned(), "tcg".to_owned())].into(),
            ..Default::default()
        };
        let node = v1::Node {
            metadata: Some(v1::Metadata { name: "n1".into(), created_at_ms: 1000, ..Default::default() }),
            spec: Some(v1::NodeSpec {
                schedulability: v1::Schedulability::Cordoned.into(),
                ..Default::default()
            }),
            status: Some(v1::NodeStatus {
                phase: v1::NodePhase::Ready.into(),
                drivers: vec![driver("qemu", true), driver("firecracker", false)],
                allocatable: Some(v1::Resources { cpus: 8, memory_bytes: 16 << 30, ..Default::default() }),
                allocated: Some(v1::Resources { cpus: 2, memory_bytes: 1 << 30, ..Default::default() }),
                instances: 1,
                ..Default::default()
            }),
        };
        let rows = rows(&[node], Timestamp(181_000));
        let cells: Vec<&str> = rows.rows[0].iter().take(8).map(|cell| cell.0.as_str()).collect();
        let expected =
            ["n1", "ready,cordoned", "", "2/8", "1 GiB / 16 GiB", "1", "qemu(tcg),firecracker(tcg)!", "3m"];
        assert_eq!(cells, expected);
        assert_eq!(rows.rows[0].len(), rows.headers.len());
    }
}
