//! Where an instance goes: a pure function from a snapshot to a decision that explains itself.

mod ports;

pub use ports::{Hold, Taken, taken};

use hv_core::instance::Instance;
use hv_core::node::{Node, NodePhase, Schedulability};
use hv_core::{Error, NodeId, Resources, Selector};

/// A node as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The node.
    pub node: &'a Node,
    /// What is placed on it, reservations included.
    pub allocated: Resources,
    /// Why it refused this very instance, if it did.
    pub refusal: Option<&'a str>,
    /// Ports of the node that lead to other instances, of those that this one wants, too.
    pub taken: Vec<Taken<'a>>,
}

/// Why an instance cannot be on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// For people.
    pub text: String,
    /// Whether it may go away by itself.
    pub kind: ObstacleKind,
}

/// What kind of obstacle it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObstacleKind {
    /// The node may come to have what is missing.
    Passing,
    /// A port leads to another instance.
    Port,
    /// The node has not got it at all: another node, or another specification, is needed.
    Lasting,
}

/// A passing one.
impl From<String> for Obstacle {
    fn from(text: String) -> Self {
        Self { text, kind: ObstacleKind::Passing }
    }
}

impl From<&str> for Obstacle {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// The verdict on one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Why it cannot be; empty when it can.
    pub obstacles: Vec<Obstacle>,
    /// Higher is better.
    pub score: f64,
    /// What the score is made of.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// Whether the instance may go there.
    pub fn is_feasible(&self) -> bool {
        self.obstacles.is_empty()
    }

    /// Why it cannot be, for people.
    pub fn why_not(&self) -> Vec<String> {
        self.obstacles.iter().map(|obstacle| obstacle.text.clone()).collect()
    }

    fn has(&self, kind: ObstacleKind) -> bool {
        self.obstacles.iter().any(|obstacle| obstacle.kind == kind)
    }
}

/// What an instance without a node can hope for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It has one, or may get one.
    Open,
    /// A node would take it, but for ports that lead to others.
    PortsTaken,
    /// None of those that are there will ever take it as it is.
    Hopeless,
}

/// Where the instance goes, and the verdict on every node.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The node, if any fits.
    pub chosen: Option<NodeId>,
    /// The decision in one sentence.
    pub summary: String,
    /// Whether waiting may help.
    pub outlook: Outlook,
    /// All verdicts, the best first.
    pub verdicts: Vec<Verdict>,
}

/// Chooses a node: of those that are feasible, the preferred one, else the one with most free CPU and memory.
pub fn schedule(instance: &Instance, candidates: &[Candidate<'_>]) -> Result<Decision, Error> {
    let selector = Selector::parse("spec.placement.node_selector", &instance.spec.placement.node_selector)?;
    let mut verdicts: Vec<Verdict> =
        candidates.iter().map(|candidate| judge(instance, &selector, candidate)).collect();
    // Ties go to the older node, so that the same input gives the same answer.
    verdicts.sort_by(|a, b| {
        b.is_feasible().cmp(&a.is_feasible()).then(b.score.total_cmp(&a.score)).then(a.node.cmp(&b.node))
    });
    let best = verdicts.first().filter(|verdict| verdict.is_feasible());
    let chosen = best.map(|verdict| verdict.node);
    let summary = match best {
        Some(best) => {
            let others = verdicts.iter().filter(|verdict| verdict.is_feasible()).count() - 1;
            let others = match others {
                0 => "no other node would do".to_owned(),
                1 => "one other node would do".to_owned(),
                n => format!("{n} other nodes would do"),
            };
            format!("{} was chosen ({}); {others}", best.name, best.reasons.join(", "))
        }
        None if verdicts.is_empty() => "no node has registered; start an agent".to_owned(),
        None => {
            let reasons: Vec<_> = verdicts
                .iter()
                .map(|verdict| format!("{}: {}", verdict.name, verdict.why_not().join(", ")))
                .collect();
            format!("no node fits: {}", reasons.join("; "))
        }
    };
    let outlook = if chosen.is_some() { Outlook::Open } else { outlook(instance, &verdicts) };
    Ok(Decision { chosen, summary, outlook, verdicts })
}

/// Of an instance that no node takes.
fn outlook(instance: &Instance, verdicts: &[Verdict]) -> Outlook {
    let wanted = &instance.spec.placement.required_node;
    let is_asked = |verdict: &&Verdict| wanted.is_empty() || is_named(wanted, &verdict.name, verdict.node);
    let asked: Vec<_> = verdicts.iter().filter(is_asked).collect();
    // One that is yet to register may have anything.
    if !asked.is_empty() && asked.iter().all(|verdict| verdict.has(ObstacleKind::Lasting)) {
        Outlook::Hopeless
    } else if asked
        .iter()
        .any(|verdict| verdict.obstacles.iter().all(|obstacle| obstacle.kind == ObstacleKind::Port))
    {
        Outlook::PortsTaken
    } else {
        Outlook::Open
    }
}

fn is_named(reference: &str, name: &str, node: NodeId) -> bool {
    reference == name || reference == node.to_string()
}

/// Whether an instance may be on a node: the same rules for the choice and for the check at commit.
pub fn obstacles(instance: &Instance, selector: &Selector, candidate: &Candidate<'_>) -> Vec<Obstacle> {
    let Candidate { node, allocated, refusal, taken } = candidate;
    let wanted = &instance.spec.placement;
    let mut obstacles: Vec<Obstacle> = Vec::new();
    let required = &wanted.required_node;
    if !required.is_empty() && !is_named(required, node.metadata.name.as_str(), node.id) {
        obstacles.push(format!("the instance requires node `{required}`").into());
    }
    match node.status.phase {
        NodePhase::Ready => {}
        NodePhase::Registered => obstacles.push("its agent has not connected yet".into()),
        NodePhase::NotReady => {
            let drivers = node.status.report.drivers.iter().filter(|driver| !driver.healthy);
            let why: Vec<_> = drivers.map(|driver| driver.message.as_str()).collect();
            obstacles.push(format!("its agent says that it is not ready: {}", why.join("; ")).into());
        }
        NodePhase::Unknown => obstacles.push("its agent is not heard of".into()),
    }
    match node.spec.schedulability {
        Schedulability::Schedulable => {}
        Schedulability::Cordoned => obstacles.push("cordoned".into()),
        Schedulability::Draining => obstacles.push("draining".into()),
        Schedulability::Maintenance => obstacles.push("in maintenance".into()),
    }
    let report = &node.status.report;
    // What a node has is known when its agent has said so, also where that is away.
    let is_known = node.status.phase != NodePhase::Registered;
    let kind = instance.spec.kind.as_str();
    if is_known && !report.drives(instance.spec.kind) {
        obstacles.push(Obstacle { text: format!("no driver for {kind}"), kind: ObstacleKind::Lasting });
    } else if node.status.phase == NodePhase::Ready && !report.runs(instance.spec.kind) {
        obstacles.push(format!("no healthy driver for {kind}").into());
    }
    for (what, want, has) in
        [("region", &wanted.region, &node.spec.region), ("zone", &wanted.zone, &node.spec.zone)]
    {
        if !want.is_empty() && want != has {
            obstacles.push(format!("{what} is `{has}`, not `{want}`").into());
        }
    }
    if !selector.matches(&node.metadata.labels) {
        obstacles.push(format!("its labels do not match `{}`", wanted.node_selector).into());
    }
    let (total, needs) = (report.allocatable, instance.resources());
    let is_too_large = is_known && !needs.shortages(total).is_empty();
    let kind = if is_too_large { ObstacleKind::Lasting } else { ObstacleKind::Passing };
    let shortages = needs.shortages_of(total - *allocated, total).into_iter();
    obstacles.extend(shortages.map(|text| Obstacle { text, kind }));
    obstacles.extend(taken.iter().map(|Taken { instance, port, hold }| match hold {
        Hold::Kept => {
            Obstacle { text: format!("its port {port} leads to `{instance}`"), kind: ObstacleKind::Port }
        }
        Hold::UntilRestart => Obstacle {
            text: format!("its port {port} still leads to `{instance}`, until that is restarted"),
            kind: ObstacleKind::Port,
        },
        Hold::Ending => {
            format!("its port {port} still leads to `{instance}`, whose guest has yet to end").into()
        }
    }));
    if let Some(refusal) = refusal {
        obstacles.push((*refusal).into());
    }
    obstacles
}

fn judge(instance: &Instance, selector: &Selector, candidate: &Candidate<'_>) -> Verdict {
    let node = candidate.node;
    let obstacles = obstacles(instance, selector, candidate);
    let total = node.status.report.allocatable;
    let free = total - candidate.allocated - instance.resources();
    let cpu = share(free.cpus.into(), total.cpus.into());
    let memory = share(free.memory_bytes, total.memory_bytes);
    let mut score = f64::midpoint(cpu, memory);
    let mut reasons = vec![format!("{:.0} % of CPU and {:.0} % of memory left", cpu * 100.0, memory * 100.0)];
    let preferred = &instance.spec.placement.preferred_node;
    if !preferred.is_empty() && is_named(preferred, node.metadata.name.as_str(), node.id) {
        score += 1.0;
        reasons.push("preferred".into());
    }
    Verdict { node: node.id, name: node.metadata.name.to_string(), obstacles, score, reasons }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_core::instance::{InstanceSpec, InstanceStatus};
    use hv_core::node::{DriverStatus, NodeReport, NodeSpec, NodeStatus};
    use hv_core::{Labels, Metadata, Name, Timestamp};

    fn metadata(name: &str) -> Metadata {
        Metadata {
            name: Name::parse("name", name).expect("a name"),
            project: Name::parse("name", "default").expect("a name"),
            labels: Labels::from([("disk".to_owned(), "ssd".to_owned())]),
            annotations: Labels::new(),
            generation: 1,
            created_at: Timestamp(1),
            deletion_requested_at: None,
            finalizers: vec![],
        }
    }

    fn node(number: u64, name: &str) -> Node {
        let driver =
            DriverStatus { healthy: true, instance_types: vec!["vm".into()], ..DriverStatus::default() };
        let allocatable = Resources { cpus: 8, memory_bytes: 8 << 30, disk_bytes: 100 << 30, gpus: 0 };
        Node {
            id: format!("018f4e2a-0000-7000-8000-{number:012}").parse().expect("a uid"),
            metadata: metadata(name),
            spec: NodeSpec { zone: "a".into(), ..NodeSpec::default() },
            status: NodeStatus {
                phase: NodePhase::Ready,
                report: NodeReport { allocatable, drivers: vec![driver], ..NodeReport::default() },
                ..NodeStatus::default()
            },
        }
    }

    fn instance(change: impl FnOnce(&mut InstanceSpec)) -> Instance {
        let mut spec = InstanceSpec { image: Some("/i".into()), ..InstanceSpec::default() };
        change(&mut spec);
        Instance {
            id: "018f4e2a-0000-7000-8000-00000000ffff".parse().expect("a uid"),
            metadata: metadata("demo"),
            spec,
            status: InstanceStatus::default(),
            placement: None,
        }
    }

    fn candidate(node: &Node) -> Candidate<'_> {
        Candidate { node, allocated: Resources::default(), refusal: None, taken: Vec::new() }
    }

    #[test]
    fn the_emptier_node_wins_and_the_preferred_one_before_it() {
        let (a, b) = (node(1, "a"), node(2, "b"));
        let busy = Candidate { allocated: Resources { cpus: 4, ..Resources::default() }, ..candidate(&a) };
        let decision = schedule(&instance(|_| {}), &[busy.clone(), candidate(&b)]).unwrap();
        assert_eq!(decision.chosen, Some(b.id));
        assert!(decision.summary.starts_with("b was chosen"), "{}", decision.summary);
        let prefers = instance(|spec| spec.placement.preferred_node = "a".into());
        assert_eq!(schedule(&prefers, &[busy, candidate(&b)]).unwrap().chosen, Some(a.id));
    }

    #[test]
    fn every_refusal_is_explained() {
        let check = |expected: &str, node: &Node, change: fn(&mut InstanceSpec)| {
            let decision = schedule(&instance(change), &[candidate(node)]).unwrap();
            assert_eq!(decision.chosen, None);
            assert!(decision.summary.contains(expected), "{}", decision.summary);
        };
        let with = |change: fn(&mut Node)| {
            let mut node = node(1, "a");
            change(&mut node);
            node
        };
        let good = node(1, "a");
        check("needs 9 vCPUs, 8 in all", &good, |spec| spec.cpus = 9);
        check("zone is `a`, not `b`", &good, |spec| spec.placement.zone = "b".into());
        check("its labels do not match", &good, |spec| spec.placement.node_selector = "disk=hdd".into());
        check("requires node `c`", &good, |spec| spec.placement.required_node = "c".into());
        check("no driver for container", &good, |spec| {
            spec.kind = hv_core::instance::InstanceKind::Container
        });
        check("cordoned", &with(|n| n.spec.schedulability = Schedulability::Cordoned), |_| {});
        check("draining", &with(|n| n.spec.schedulability = Schedulability::Draining), |_| {});
        let without_qemu = with(|n| {
            n.status.phase = NodePhase::NotReady;
            n.status.report.drivers[0].healthy = false;
            n.status.report.drivers[0].message = "install qemu-system-x86".into();
        });
        check("not ready: install qemu-system-x86", &without_qemu, |_| {});
        check("not heard of", &with(|n| n.status.phase = NodePhase::Unknown), |_| {});
        let refused = Candidate { refusal: Some("image /x does not exist"), ..candidate(&good) };
        let decision = schedule(&instance(|_| {}), &[refused]).unwrap();
        assert!(decision.summary.contains("image /x does not exist"));
        assert!(schedule(&instance(|_| {}), &[]).unwrap().summary.contains("no node has registered"));
    }

    #[test]
    fn what_waiting_cannot_help_is_told_from_what_it_can() {
        let (a, b) = (node(1, "a"), node(2, "b"));
        let busy =
            |node| Candidate { allocated: Resources { cpus: 8, ..Resources::default() }, ..candidate(node) };
        let look = |instance: &Instance, candidates: &[Candidate<'_>]| {
            let decision = schedule(instance, candidates).unwrap();
            assert_eq!(decision.chosen, None, "{decision:?}");
            decision.outlook
        };
        let wants = |cpus| instance(move |spec| spec.cpus = cpus);
        let of_kind = |kind| instance(move |spec| spec.kind = kind);
        let container = of_kind(hv_core::instance::InstanceKind::Container);
        assert_eq!(look(&wants(9), &[candidate(&a), busy(&b)]), Outlook::Hopeless);
        assert_eq!(look(&container, &[candidate(&a)]), Outlook::Hopeless);
        assert_eq!(look(&wants(8), &[busy(&a)]), Outlook::Open);
        // Nobody knows yet what it has.
        let mut fresh = node(3, "c");
        fresh.status = NodeStatus::default();
        assert_eq!(look(&wants(9), &[candidate(&a), candidate(&fresh)]), Outlook::Open);
        assert_eq!(look(&wants(9), &[]), Outlook::Open);
        // What is known of a node is known of one that is away.
        let mut away = node(1, "a");
        away.status.phase = NodePhase::Unknown;
        assert_eq!(look(&container, &[candidate(&away)]), Outlook::Hopeless);
        assert_eq!(look(&wants(9), &[candidate(&away)]), Outlook::Hopeless);
        assert_eq!(look(&wants(1), &[candidate(&away)]), Outlook::Open);
        // A driver that is ill may get well.
        let mut ill = node(1, "a");
        ill.status.report.drivers[0].healthy = false;
        assert_eq!(look(&wants(1), &[candidate(&ill)]), Outlook::Open);
        // Of the node that is asked for.
        let only = |name: &str, cpus| {
            let name = name.to_owned();
            instance(move |spec| (spec.placement.required_node, spec.cpus) = (name, cpus))
        };
        let mut large = node(4, "large");
        large.status.report.allocatable.cpus = 64;
        assert_eq!(look(&only("a", 9), &[candidate(&a), candidate(&large)]), Outlook::Hopeless);
        assert_eq!(look(&only("gone", 1), &[candidate(&a)]), Outlook::Open);
        // Another port would do.
        let port = hv_core::instance::PublishedPort {
            protocol: hv_core::instance::Protocol::Tcp,
            host_address: "127.0.0.1".parse().unwrap(),
            host_port: 2222,
            guest_port: 22,
        };
        let held = |hold| vec![Taken { instance: "web", port, hold }];
        let taken = |node| Candidate { taken: held(Hold::Kept), ..candidate(node) };
        assert_eq!(look(&wants(1), &[taken(&a), busy(&b)]), Outlook::PortsTaken);
        let summary = schedule(&wants(1), &[taken(&a)]).unwrap().summary;
        assert!(summary.contains("a: its port 127.0.0.1:2222/tcp leads to `web`"), "{summary}");
        // One that is about to be free is waited for.
        let ending = Candidate { taken: held(Hold::Ending), ..candidate(&a) };
        assert_eq!(look(&wants(1), &[ending]), Outlook::Open);
    }
}
