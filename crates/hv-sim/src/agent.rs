//! An agent on its host: its session with the server, its journal, its death. The host and the journal outlive it.

use crate::Mutation;
use crate::event::{Event, Life};
use crate::machine::{Call, Task};
use crate::world::{World, say};
use hv_api::convert::report_to;
use hv_api::v1;
use hv_core::instance::{Epoch, InstanceStatus, MIB, Phase};
use hv_core::node::{DriverStatus, NodeReport};
use hv_core::{InstanceId, NodeId, Resources};
use hv_driver::Guest;
use hv_driver::fake::Host;
use hypervisor_agent::instance::machine::Origin;
use hypervisor_agent::instance::{Input, Record, Report};
use hypervisor_agent::node::Reports;
use hypervisor_agent::session::link::{Event as LinkEvent, Link};
use hypervisor_server::reconcile::Conn;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// First and longest pause before dialling again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How often a node looks for what is on it and what is not.
const SURVEY_EVERY: Duration = Duration::from_secs(30);

/// What one host has for instances: little enough that they compete for it.
pub(crate) const ALLOCATABLE: Resources =
    Resources { cpus: 8, memory_bytes: 4096 * MIB, disk_bytes: 1 << 40, gpus: 0 };

/// A host with what outlives its agent.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) host: Host,
    pub(crate) boot: u64,
    booted_at: Duration,
    pub(crate) journal: BTreeMap<InstanceId, Record>,
    /// Instances that a server has named since the host came up.
    pub(crate) named: BTreeSet<InstanceId>,
    /// Instances that the newest full set has left out, and that no server has named since.
    pub(crate) left_out: BTreeSet<InstanceId>,
    /// uid, session number and store incarnation, as the journal has them.
    identity: (String, u64, String),
    pub(crate) agent: Option<Agent>,
    pub(crate) life: u64,
    /// Journal writes that are not durable yet.
    pub(crate) writes: BTreeMap<u64, Record>,
    /// Calls of the driver that are under way.
    pub(crate) calls: BTreeMap<u64, Call>,
}

/// A running agent.
#[derive(Default)]
pub(crate) struct Agent {
    pub(crate) tasks: BTreeMap<InstanceId, Task>,
    reports: Reports,
    number: u64,
    /// Instances of the journal that have not been looked at yet.
    unseen: BTreeSet<InstanceId>,
    surveyed: bool,
    pub(crate) session: Option<(Conn, Link)>,
    /// The node goes down: what is new here waits in the server.
    pub(crate) quiescing: bool,
    /// Its disk is full, and its journal takes nothing.
    pub(crate) full: bool,
    pause: Duration,
    /// It was told that its node was abandoned, and is not another one yet.
    pub(crate) revoking: bool,
}

impl Agent {
    /// Whether the server has been, or is about to be, told of an instance.
    pub(crate) fn has_reported(&self, id: InstanceId) -> bool {
        self.reports.instances.contains_key(&id)
    }
}

impl Node {
    /// Its uid, as its journal has it.
    pub(crate) fn id(&self) -> NodeId {
        self.identity.0.parse().expect("a uid")
    }

    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            host: Host::default(),
            boot: 1,
            booted_at: Duration::ZERO,
            journal: BTreeMap::new(),
            named: BTreeSet::new(),
            left_out: BTreeSet::new(),
            // As the real agent's: made and durable before anybody hears it.
            identity: (node_uid(name), 0, String::new()),
            agent: None,
            life: 0,
            writes: BTreeMap::new(),
            calls: BTreeMap::new(),
        }
    }

    pub(crate) fn rename(&mut self, uid: String) {
        self.identity.0 = uid;
    }

    /// Time since this host's boot.
    pub(crate) fn mono(&self, now: Duration) -> Duration {
        now.saturating_sub(self.booted_at) + Duration::from_secs(10)
    }

    pub(crate) fn boot_id(&self) -> String {
        format!("{}-{}", self.name, self.boot)
    }

    fn report(&self) -> NodeReport {
        NodeReport {
            hostname: self.name.to_owned(),
            capacity: ALLOCATABLE,
            allocatable: ALLOCATABLE,
            drivers: vec![DriverStatus {
                name: "fake".into(),
                healthy: true,
                instance_types: vec!["vm".into()],
                ..DriverStatus::default()
            }],
            boot_id: self.boot_id(),
            ..NodeReport::default()
        }
    }

    fn hello(&self, reports: &Reports) -> v1::Hello {
        let (uid, session, incarnation) = self.identity.clone();
        v1::Hello {
            node_uid: uid,
            node_name: self.name.to_owned(),
            session,
            report: Some(report_to(&self.report())),
            highest_epoch: reports.instances.values().map(|(_, report)| report.epoch.0).max().unwrap_or(0),
            incarnation,
            ..v1::Hello::default()
        }
    }
}

/// The uid that a node's agent makes at its first start.
fn node_uid(name: &str) -> String {
    let number: u128 = name.bytes().map(u128::from).sum();
    uuid::Uuid::from_u128(0x018f_4e2a_0000_7000_8000_ffff_0000_0000 | number).to_string()
}

impl World {
    /// The agent, if this is still its life.
    pub(crate) fn agent(&mut self, life: Life) -> Option<&mut Agent> {
        let node = self.nodes.get_mut(life.node).filter(|node| node.life == life.number)?;
        node.agent.as_mut()
    }

    pub(crate) fn agent_start(&mut self, index: usize) {
        if self.nodes[index].agent.is_some() {
            return;
        }
        let life = Life { node: index, number: self.number() };
        let node = &mut self.nodes[index];
        node.life = life.number;
        let records: Vec<_> = node.journal.values().cloned().collect();
        let unseen = node.journal.keys().copied().collect();
        node.agent = Some(Agent { pause: PAUSES.0, unseen, ..Agent::default() });
        say!(self, "agent {} starts with {} records", self.nodes[index].name, records.len());
        for record in records {
            self.task_start(life, record, Origin::Journal);
        }
        self.after(1, 20, Event::Dial(life));
        self.after(1, 20, Event::Survey(life));
    }

    /// The agent dies; its guests do not. What it was doing is done or not.
    pub(crate) fn agent_crash(&mut self, index: usize) {
        let Some(agent) = self.nodes[index].agent.take() else { return };
        say!(self, "agent {} dies", self.nodes[index].name);
        self.nodes[index].life = self.number();
        let writes = std::mem::take(&mut self.nodes[index].writes);
        for (_, record) in writes {
            // Perhaps that it was left out was about to be written.
            self.nodes[index].left_out.remove(&record.desired.id);
            if self.rng.permille(500) {
                self.nodes[index].journal.insert(record.desired.id, record);
            }
        }
        let calls: Vec<u64> = self.nodes[index].calls.keys().copied().collect();
        for call in calls {
            if self.rng.permille(500) {
                self.act(index, call);
            } else if let Some(id) = self.nodes[index].calls.get(&call).and_then(Call::starts) {
                self.ledger.start_cut_off(index, id);
            }
        }
        self.nodes[index].calls.clear();
        if let Some((conn, _)) = agent.session {
            self.close_at_agent(conn);
        }
        self.after(10, 15_000, Event::AgentStart(index));
    }

    /// The host restarts: agent and guests are gone, journal and disks stay.
    pub(crate) fn host_reboot(&mut self, index: usize) {
        self.nodes[index].calls.clear();
        self.agent_crash(index);
        say!(self, "host {} restarts", self.nodes[index].name);
        self.summary.host_reboots += 1;
        let node = &mut self.nodes[index];
        node.host.reboot();
        node.boot += 1;
        node.named.clear();
        node.booted_at = self.now;
        self.ledger.rebooted(index);
    }

    pub(crate) fn dial(&mut self, life: Life) {
        if self.agent(life).is_none_or(|agent| agent.session.is_some()) {
            return;
        }
        if !self.renamed(life) {
            return self.dial_again(life);
        }
        self.nodes[life.node].identity.1 += 1;
        let Some(conn) = self.connect(life) else { return self.dial_again(life) };
        let node = &mut self.nodes[life.node];
        let mono = node.mono(self.now);
        let Some(agent) = node.agent.as_ref() else { return };
        let (link, hello) = Link::open(node.hello(&agent.reports), mono);
        if let Some(agent) = self.agent(life) {
            agent.session = Some((conn, link));
        }
        say!(self, "agent {} opens {conn:?}", self.nodes[life.node].name);
        self.send_up(conn, hello);
        self.queue_link_tick(life, conn);
    }

    fn dial_again(&mut self, life: Life) {
        let Some(agent) = self.agent(life) else { return };
        let pause = agent.pause;
        agent.pause = (pause * 2).min(PAUSES.1);
        self.queue.at(self.now + pause, Event::Dial(life));
    }

    fn queue_link_tick(&mut self, life: Life, conn: Conn) {
        let mono = self.nodes[life.node].mono(self.now);
        let Some(deadline) = self.agent(life).and_then(|agent| Some(agent.session.as_ref()?.1.deadline()))
        else {
            return;
        };
        self.queue.at(self.now + deadline.saturating_sub(mono), Event::LinkTick(life, conn));
    }

    pub(crate) fn link_tick(&mut self, life: Life, conn: Conn) {
        let mono = self.nodes[life.node].mono(self.now);
        let Some((_, link)) = self.session(life, conn) else { return };
        if link.deadline() > mono {
            return self.queue_link_tick(life, conn);
        }
        match link.tick(mono) {
            Ok(beat) => {
                if let Some(beat) = beat {
                    self.send_up(conn, beat);
                }
                self.queue_link_tick(life, conn);
            }
            Err(error) => self.session_over(life, conn, &error.to_string()),
        }
    }

    /// A frame from the server; one for an older session finds nobody.
    pub(crate) fn receive(&mut self, life: Life, conn: Conn, frame: v1::ServerMessage) {
        let mono = self.nodes[life.node].mono(self.now);
        let Some((_, link)) = self.session(life, conn) else { return };
        let events = match link.receive(frame, mono) {
            Ok(events) => events,
            Err(error) => return self.session_over(life, conn, &error.to_string()),
        };
        for event in events {
            match event {
                LinkEvent::Welcome(welcome) => {
                    say!(self, "agent {} is welcome on {conn:?}", self.nodes[life.node].name);
                    let identity = &mut self.nodes[life.node].identity;
                    identity.0 = welcome.node_uid;
                    identity.2 = welcome.incarnation;
                    if let Some(agent) = self.agent(life) {
                        agent.pause = PAUSES.0;
                    }
                    self.queue_link_tick(life, conn);
                }
                LinkEvent::Desired(desired) => {
                    for desired in desired {
                        self.desired(life, desired);
                    }
                }
                LinkEvent::FullSet(wanted) => {
                    self.forget_the_gone(life, &wanted);
                    self.leave_out(life, &wanted);
                    self.survey(life);
                }
                LinkEvent::Stats(_) | LinkEvent::OpenConsole(_) => {}
                LinkEvent::Abandoned => {
                    self.revoke(life);
                    return self.session_over(life, conn, "the node was abandoned");
                }
            }
        }
        self.flush(life);
    }

    pub(crate) fn session_over(&mut self, life: Life, conn: Conn, why: &str) {
        if self.session(life, conn).is_none() {
            return;
        }
        say!(self, "agent {} ends {conn:?}: {why}", self.nodes[life.node].name);
        if let Some(agent) = self.agent(life) {
            agent.session = None;
        }
        self.close_at_agent(conn);
        self.dial_again(life);
    }

    fn session(&mut self, life: Life, conn: Conn) -> Option<&mut (Conn, Link)> {
        self.agent(life)?.session.as_mut().filter(|(current, _)| *current == conn)
    }

    /// Takes a report of a machine, and tells the server if there is a session.
    pub(crate) fn publish(&mut self, life: Life, report: Report) {
        say!(
            self,
            "agent {} reports {} epoch {}: {} generation {}{}{}",
            self.nodes[life.node].name,
            short(report.id),
            report.epoch,
            report.status.phase.as_str(),
            report.status.observed_generation,
            if report.gone { ", gone" } else { "" },
            if report.rejected { ", rejected" } else { "" },
        );
        let Some(agent) = self.agent(life) else { return };
        let unseen = !agent.unseen.is_empty();
        if report.has_looked() {
            agent.unseen.remove(&report.id);
        }
        agent.number += 1;
        agent.reports.instances.insert(report.id, (agent.number, report));
        let last = unseen && agent.unseen.is_empty();
        self.complete(life);
        if last {
            return self.survey(life);
        }
        self.flush(life);
    }

    fn flush(&mut self, life: Life) {
        let Some(agent) = self.agent(life) else { return };
        let Some((conn, link)) = &mut agent.session else { return };
        let (conn, frames) = (*conn, link.report(&agent.reports));
        for frame in frames {
            self.send_up(conn, frame);
        }
    }

    /// As the agent's node task does it.
    fn forget_the_gone(&mut self, life: Life, wanted: &BTreeSet<InstanceId>) {
        let Some(agent) = self.agent(life) else { return };
        let over = |(id, (_, report)): (&InstanceId, &(u64, Report))| {
            ((report.gone || report.rejected) && !wanted.contains(id)).then_some(*id)
        };
        let over: BTreeSet<InstanceId> = agent.reports.instances.iter().filter_map(over).collect();
        agent.reports.instances.retain(|id, _| !over.contains(id));
        agent.tasks.retain(|id, _| !over.contains(id));
        let node = &mut self.nodes[life.node];
        node.journal.retain(|id, _| !over.contains(id));
        node.writes.retain(|_, record| !over.contains(&record.desired.id));
    }

    /// What is here and was left out of the full set.
    fn leave_out(&mut self, life: Life, wanted: &BTreeSet<InstanceId>) {
        let Some(agent) = self.agent(life) else { return };
        let unnamed: Vec<_> = agent.tasks.keys().filter(|id| !wanted.contains(id)).copied().collect();
        self.nodes[life.node].left_out.extend(unnamed.iter().copied());
        if self.mutation != Mutation::OmissionIgnored {
            for id in unnamed {
                self.input(life, id, Input::Unnamed);
            }
        }
    }

    /// The node looks for what is on it and what is not, and again after a while.
    pub(crate) fn survey_again(&mut self, life: Life) {
        self.survey(life);
        if self.agent(life).is_some() {
            self.queue.at(self.now + SURVEY_EVERY, Event::Survey(life));
        }
    }

    /// As the agent's node task does it.
    fn survey(&mut self, life: Life) {
        let Some(agent) = self.agent(life) else { return };
        agent.surveyed = true;
        let tasks: Vec<InstanceId> = agent.tasks.keys().copied().collect();
        let slots: BTreeMap<InstanceId, Phase> = self.nodes[life.node]
            .host
            .slots()
            .iter()
            .map(|(id, slot)| match slot.guest {
                Guest::Running => (*id, Phase::Running),
                Guest::Paused => (*id, Phase::Paused),
                Guest::Absent | Guest::Ended(_) => (*id, Phase::Stopped),
            })
            .collect();
        for id in tasks.iter().filter(|id| !slots.contains_key(id)) {
            self.input(life, *id, Input::Vanished);
        }
        let Some(agent) = self.agent(life) else { return };
        let reports = agent.reports.instances.values().map(|(_, report)| report);
        let gone = reports.filter(|report| report.is_found() && !slots.contains_key(&report.id));
        let gone: Vec<_> = gone.map(|report| (report.id, Phase::Stopped, true)).collect();
        let found = slots.iter().map(|(id, phase)| (*id, *phase, false));
        for (id, phase, gone) in found.chain(gone).filter(|(id, ..)| !tasks.contains(id)) {
            let status = InstanceStatus { phase, ..InstanceStatus::default() };
            let epoch = Epoch(0);
            self.publish(
                life,
                Report { id, epoch, status, gone, rejected: false, orphan: true, revoked: false },
            );
        }
        self.complete(life);
        self.flush(life);
    }

    fn complete(&mut self, life: Life) {
        if let Some(agent) = self.agent(life) {
            agent.reports.complete = agent.surveyed && agent.unseen.is_empty();
        }
    }
}

/// The end of a uid, for the log.
pub(crate) fn short(id: InstanceId) -> String {
    let text = id.to_string();
    text.get(text.len() - 4..).unwrap_or(&text).to_owned()
}
