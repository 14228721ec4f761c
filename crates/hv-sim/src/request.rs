//! The client: random requests, planned on what the server sees at that moment.

use crate::event::{Caller, Event};
use crate::intent::{self, Context};
use crate::world::{World, say};
use hv_core::instance::state::Request;
use hv_core::instance::{InstanceSpec, MIB, RestartPolicy, RunState};
use hv_core::node::Schedulability;
use hv_core::{Error, InstanceId, OperationId};
use hv_store::Txn;
use hypervisor_server::state::{InstanceEntry, NodeEntry};
use std::sync::Arc;
use std::time::Duration;

/// Instances that may exist at once.
const MOST: usize = 6;

impl World {
    /// One random request, and the time of the next.
    pub(crate) fn request(&mut self) {
        if !self.rough {
            return;
        }
        self.after(100, self.climate.request_every, Event::Request);
        let context_id = OperationId::new(self.uid());
        let now = self.wall();
        let Some(running) = &self.server.running else { return };
        let context = Context { now, operation: context_id, expiry: running.expiry };
        let instances: Vec<Arc<InstanceEntry>> = running.cluster.instances().values().cloned().collect();
        let nodes: Vec<Arc<NodeEntry>> = running.cluster.nodes().values().cloned().collect();
        let create = instances.len() < 2 || (instances.len() < MOST && self.rng.permille(200));
        let planned = if create {
            self.plan_create(context).map(Some)
        } else if self.rng.permille(60) {
            Ok(self.plan_cordon(&nodes))
        } else {
            match self.rng.pick(&instances).cloned() {
                Some(entry) => self.plan_change(&entry, context),
                None => Ok(None),
            }
        };
        match planned {
            Ok(Some(txn)) => {
                self.summary.requests += 1;
                self.submit(Caller::Client, txn);
            }
            Ok(None) => {}
            Err(error) => say!(self, "refused: {error}"),
        }
    }

    fn plan_create(&mut self, context: Context) -> Result<Txn, Error> {
        let id = InstanceId::new(self.uid());
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
            placement: hv_core::instance::PlacementSpec {
                preferred_node: (*self.rng.pick(&preferred).unwrap_or(&"")).to_owned(),
                ..Default::default()
            },
            ..InstanceSpec::default()
        };
        let name = format!("vm{}", self.rng.below(8));
        say!(self, "client: create {name} {:?} {:?}", spec.run_state, spec.restart_policy);
        intent::create(id, &name, spec, context)
    }

    fn plan_change(&mut self, entry: &InstanceEntry, context: Context) -> Result<Option<Txn>, Error> {
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
        let name = &entry.instance.metadata.name;
        match self.rng.below(100) {
            0..15 => {
                let force = self.rng.permille(300);
                say!(self, "client: delete {name}{}", if force { " by force" } else { "" });
                intent::delete(entry, force, context).map(Some)
            }
            15..30 => {
                let policy = [RestartPolicy::Never, RestartPolicy::OnFailure, RestartPolicy::Always];
                let policy = self.rng.pick(&policy).copied().unwrap_or_default();
                let patience = Duration::from_secs(1 + self.rng.below(10));
                let fewer = self.rng.permille(300);
                say!(self, "client: update {name} to {policy:?}");
                let alter = |spec: &mut InstanceSpec| {
                    spec.restart_policy = policy;
                    spec.stop_timeout = patience;
                    if fewer {
                        spec.cpus = (spec.cpus - 1).max(1);
                    }
                };
                intent::update(entry, alter, context).map(Some)
            }
            _ => {
                let verb = self.rng.pick(&verbs).copied().unwrap_or(Request::Start);
                say!(self, "client: {} {name}", verb.as_str());
                intent::act(entry, verb, context)
            }
        }
    }

    fn plan_cordon(&mut self, nodes: &[Arc<NodeEntry>]) -> Option<Txn> {
        let entry = self.rng.pick(nodes)?.clone();
        let to = match entry.node.spec.schedulability {
            Schedulability::Schedulable => Schedulability::Cordoned,
            _ => Schedulability::Schedulable,
        };
        say!(self, "client: {} becomes {to:?}", entry.node.metadata.name);
        Some(intent::set_schedulability(&entry, to))
    }

    /// After the faults: every node takes instances again. Says whether all do.
    pub(crate) fn uncordon(&mut self) -> bool {
        let Some(running) = &self.server.running else { return false };
        let cordoned: Vec<Txn> = running
            .cluster
            .nodes()
            .values()
            .filter(|entry| entry.node.spec.schedulability != Schedulability::Schedulable)
            .map(|entry| intent::set_schedulability(entry, Schedulability::Schedulable))
            .collect();
        let done = cordoned.is_empty();
        for txn in cordoned {
            self.submit(Caller::Client, txn);
        }
        done
    }
}
