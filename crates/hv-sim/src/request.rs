//! The client: random requests, made into transactions by the server's own plans on what the server sees at that moment.

use crate::Scenario;
use crate::client::Call;
use crate::event::Event;
use crate::world::{World, say};
use hv_api::convert::{node_spec_to, spec_to};
use hv_api::v1;
use hv_core::instance::state::Request;
use hv_core::instance::{InstanceSpec, MIB, PlacementSpec, Relocation, RestartPolicy, RunState};
use hv_core::node::Schedulability;
use hypervisor_server::state::NodeEntry;
use std::sync::Arc;

/// Instances that may exist at once.
const MOST: usize = 6;
impl World {
    /// One random request, and the time of the next.
    pub(crate) fn request(&mut self) {
        if !self.rough {
            return;
        }
        self.after(100, self.climate.request_every, Event::Request);
        let Some(running) = &self.server.running else { return };
        let names: Vec<String> = running
            .cluster
            .instances()
            .values()
            .map(|entry| entry.instance.metadata.name.to_string())
            .collect();
        let nodes: Vec<Arc<NodeEntry>> = running.cluster.nodes().values().cloned().collect();
        let open: Vec<String> = running
            .cluster
            .operations()
            .values()
            .filter(|entry| !entry.operation.phase.is_final())
            .map(|entry| entry.operation.id.to_string())
            .collect();
        if let Some(node) = self.silent_node() {
            return self.ask(Call::Abandon(node));
        }
        let create = names.len() < 2 || (names.len() < MOST && self.rng.permille(200));
        let call = if create {
            Some(self.create())
        } else if self.rng.permille(60) {
            self.cordon(&nodes)
        } else if self.rng.permille(30) {
            self.cancel(&open)
        } else {
            self.rng.pick(&names).cloned().map(|name| self.change(name))
        };
        if let Some(call) = call {
            self.ask(call);
        }
    }

    fn create(&mut self) -> Call {
        let policies = [RestartPolicy::Never, RestartPolicy::OnFailure, RestartPolicy::Always];
        let states =
            [RunState::Running, RunState::Running, RunState::Running, RunState::Paused, RunState::Stopped];
        let preferred = ["", "", "alpha", "beta"];
        let spec = InstanceSpec {
            image: Some("/image".into()),
            cpus: u32::try_from(1 + self.rng.below(4)).unwrap_or(1),
            memory_bytes: (256 + 256 * self.rng.below(6)) * MIB,
            run_state: self.rng.pick(&states).copied().unwrap_or_default(),
            restart_policy: self.rng.pick(&policies).copied().unwrap_or_default(),
            stop_timeout: self.rng.millis(500, 10_000),
            placement: PlacementSpec {
                preferred_node: (*self.rng.pick(&preferred).unwrap_or(&"")).to_owned(),
                ..PlacementSpec::default()
            },
            relocation: self.relocation(),
            ..InstanceSpec::default()
        };
        let name = format!("vm{}", self.rng.below(8));
        say!(self, "client: create {name} {:?} {:?}", spec.run_state, spec.restart_policy);
        Call::Create(Box::new(v1::CreateInstanceRequest {
            name,
            spec: Some(spec_to(&spec)),
            ..Default::default()
        }))
    }

    fn relocation(&mut self) -> Relocation {
        match self.scenario {
            Scenario::Usual => Relocation::Never,
            Scenario::Abandon | Scenario::Drain if self.rng.permille(500) => Relocation::Recreate,
            Scenario::Abandon | Scenario::Drain => Relocation::Never,
        }
    }

    fn change(&mut self, instance: String) -> Call {
        let verbs = [
            Request::Start,
            Request::Start,
            Request::Stop,
            Request::ForceStop,
            Request::Restart,
            Request::ForceRestart,
            Request::Pause,
            Request::Resume,
        ];
        match self.rng.below(100) {
            0..15 => {
                // With force, people say that it is nowhere: not of what a restored store has lost.
                let force = self.rng.permille(300) && !self.is_lost(&instance);
                say!(self, "client: delete {instance}{}", if force { " by force" } else { "" });
                Call::Delete(v1::DeleteInstanceRequest { instance, force, ..Default::default() })
            }
            15..30 => {
                let policies = [RestartPolicy::Never, RestartPolicy::OnFailure, RestartPolicy::Always];
                let policy = self.rng.pick(&policies).copied().unwrap_or_default();
                let spec = InstanceSpec {
                    restart_policy: policy,
                    stop_timeout: self.rng.millis(1000, 10_000),
                    cpus: u32::try_from(1 + self.rng.below(4)).unwrap_or(1),
                    ..InstanceSpec::default()
                };
                let mut paths = vec!["spec.restart_policy".to_owned(), "spec.stop_timeout_ms".to_owned()];
                if self.rng.permille(300) {
                    paths.push("spec.cpus".to_owned());
                }
                say!(self, "client: update {instance} to {policy:?}");
                Call::Update(Box::new(v1::UpdateInstanceRequest {
                    instance,
                    spec: Some(spec_to(&spec)),
                    update_mask: Some(prost_types::FieldMask { paths }),
                    ..Default::default()
                }))
            }
            _ => {
                let request = self.rng.pick(&verbs).copied().unwrap_or(Request::Start);
                say!(self, "client: {} {instance}", request.as_str());
                Call::Act { instance, request }
            }
        }
    }

    fn cordon(&mut self, nodes: &[Arc<NodeEntry>]) -> Option<Call> {
        let entry = self.rng.pick(nodes)?.clone();
        let to = match entry.node.spec.schedulability {
            Schedulability::Schedulable if self.scenario == Scenario::Drain => Schedulability::Draining,
            Schedulability::Schedulable => Schedulability::Cordoned,
            _ => Schedulability::Schedulable,
        };
        say!(self, "client: {} becomes {to:?}", entry.node.metadata.name);
        Some(schedulability(&entry, to))
    }

    fn cancel(&mut self, open: &[String]) -> Option<Call> {
        let operation = self.rng.pick(open)?.clone();
        say!(self, "client: cancel {operation}");
        Some(Call::Cancel(operation))
    }

    /// After the faults: every node takes instances again. Says whether all do.
    pub(crate) fn uncordon(&mut self) -> bool {
        let Some(running) = &self.server.running else { return false };
        let cordoned: Vec<Call> = running
            .cluster
            .nodes()
            .values()
            .filter(|entry| entry.node.spec.schedulability != Schedulability::Schedulable)
            .map(|entry| schedulability(entry, Schedulability::Schedulable))
            .collect();
        let done = cordoned.is_empty();
        for call in cordoned {
            self.ask(call);
        }
        done
    }
}

fn schedulability(entry: &NodeEntry, to: Schedulability) -> Call {
    let spec = hv_core::node::NodeSpec { schedulability: to, ..entry.node.spec.clone() };
    Call::Cordon(Box::new(v1::UpdateNodeRequest {
        node: entry.node.id.to_string(),
        spec: Some(node_spec_to(&spec)),
        update_mask: Some(prost_types::FieldMask { paths: vec!["spec.schedulability".to_owned()] }),
        ..Default::default()
    }))
}
