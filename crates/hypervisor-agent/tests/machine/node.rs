//! A pretended machine room with one instance.

use hv_core::Timestamp;
use hv_core::instance::{Epoch, InstanceSpec, Phase};
use hv_driver::fake::Host;
use hv_driver::{DriverError, End, Guest};
use hypervisor_agent::instance::machine::{
    Action, Confirmation, Effect, EpochCheck, Input, Machine, Now, Origin,
};
use hypervisor_agent::instance::{Desired, Record, Report};
use std::collections::VecDeque;
use std::time::Duration;

/// A node with one instance. Driver calls are answered at once, unless a fault is set for them.
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) machine: Machine,
    pub(crate) journal: Record,
    pub(crate) reports: Vec<Report>,
    pub(crate) actions: Vec<Action>,
    /// What the server had been told when what was left of the guest was removed.
    pub(crate) phase_at_kill: Option<Phase>,
    pub(crate) now: Now,
    pub(crate) wake_at: Option<Duration>,
    /// Fails before doing anything.
    pub(crate) fail: Option<(Action, DriverError)>,
    /// Fails after doing its work.
    pub(crate) fail_after: Option<(Action, DriverError)>,
    /// A guest powers itself off before its start is answered.
    pub(crate) powers_off_in_start: bool,
    pub(crate) boot: u32,
    pub(crate) confirmation: Confirmation,
}

pub(crate) fn desired(spec: InstanceSpec) -> Desired {
    Desired {
        id: "018f4e2a-0000-7000-8000-000000000001".parse().expect("a uid"),
        name: "demo".into(),
        project: "default".into(),
        epoch: Epoch(1),
        generation: 1,
        spec,
        deleted: false,
        force: false,
    }
}

pub(crate) fn spec() -> InstanceSpec {
    InstanceSpec { image: Some("/images/demo.qcow2".into()), ..InstanceSpec::default() }
}

impl Node {
    pub(crate) fn new(spec: InstanceSpec) -> Self {
        let record = Record::new(desired(spec), "boot-0");
        let mut node = Self {
            host: Host::default(),
            machine: Machine::new(record.clone(), Origin::Assigned, "boot-0", EpochCheck::Enforced),
            journal: record,
            reports: vec![],
            actions: vec![],
            phase_at_kill: None,
            now: Now { wall: Timestamp(1), mono: Duration::from_secs(1) },
            wake_at: None,
            fail: None,
            fail_after: None,
            powers_off_in_start: false,
            boot: 0,
            confirmation: Confirmation::Awaited,
        };
        let effects = node.machine.begin(node.now);
        node.apply(effects);
        node
    }

    pub(crate) fn step(&mut self, input: Input) {
        let effects = self.machine.step(input, self.now);
        self.apply(effects);
    }

    pub(crate) fn apply(&mut self, effects: Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            let input = match effect {
                Effect::Persist(record) => {
                    self.journal = *record;
                    continue;
                }
                Effect::Report(report) => {
                    self.reports.push(*report);
                    continue;
                }
                Effect::WakeAt(at) => {
                    self.wake_at = Some(at);
                    continue;
                }
                Effect::Observe(number, handle) => Input::Observed(number, Ok(self.host.observe(handle))),
                Effect::Run(action, assignment) => {
                    assert_eq!(
                        self.journal,
                        *self.machine.record(),
                        "the journal knows before the driver does"
                    );
                    self.actions.push(action);
                    if action == Action::Kill {
                        self.phase_at_kill = Some(self.phase());
                    }
                    let result = match self.fail.take_if(|(at, _)| *at == action) {
                        Some((_, error)) => Err(error),
                        None => match action {
                            Action::Admit => Ok(()),
                            Action::Prepare => {
                                self.host.prepare(&assignment);
                                Ok(())
                            }
                            Action::Start(mode) => self.host.start(&assignment, mode, self.now.wall),
                            Action::PowerDown => self.host.power_down(assignment.handle),
                            Action::Kill => {
                                self.host.kill(assignment.handle);
                                Ok(())
                            }
                            Action::Pause => self.host.set_paused(assignment.handle, true),
                            Action::Resume => self.host.set_paused(assignment.handle, false),
                            Action::Delete => self.host.delete(assignment.handle),
                        },
                    };
                    if matches!(action, Action::Start(_)) && self.powers_off_in_start {
                        self.host.end_guest(assignment.handle.id, End::PoweredOff);
                    }
                    let result = match self.fail_after.take_if(|(at, _)| *at == action) {
                        Some((_, error)) => Err(error),
                        None => result,
                    };
                    Input::Done(action, result)
                }
            };
            let more = self.machine.step(input, self.now);
            for effect in more.into_iter().rev() {
                queue.push_front(effect);
            }
        }
    }

    pub(crate) fn want(&mut self, change: impl FnOnce(&mut Desired)) {
        let mut desired = self.machine.record().desired.clone();
        desired.generation += 1;
        change(&mut desired);
        self.step(Input::Desired(Box::new(desired)));
    }

    /// Time passes; the timer fires if it was due.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now.mono += Duration::from_secs(seconds);
        self.now.wall = Timestamp(self.now.wall.0 + 1000 * i64::try_from(seconds).expect("small"));
        if self.wake_at.is_some_and(|at| at <= self.now.mono) {
            self.wake_at = None;
            self.step(Input::Timer);
        }
    }

    /// The agent dies and comes back with what its journal holds.
    pub(crate) fn restart_agent(&mut self) {
        self.machine = Machine::new(
            self.journal.clone(),
            Origin::Journal,
            format!("boot-{}", self.boot),
            EpochCheck::Enforced,
        )
        .with(self.confirmation);
        let effects = self.machine.begin(self.now);
        self.apply(effects);
    }

    /// The server names the instance again, as it does at the beginning of every session.
    pub(crate) fn session(&mut self) {
        self.step(Input::Desired(Box::new(self.machine.record().desired.clone())));
    }

    pub(crate) fn reboot(&mut self) {
        self.host.reboot();
        self.boot += 1;
        self.restart_agent();
    }

    pub(crate) fn end_guest(&mut self, end: End) {
        self.host.end_guest(self.machine.handle().id, end);
        self.step(Input::Changed);
    }

    pub(crate) fn boots(&self) -> u64 {
        self.host.slots().get(&self.machine.handle().id).map_or(0, |slot| slot.boots)
    }

    pub(crate) fn guest(&self) -> Guest {
        self.host.observe(self.machine.handle()).guest
    }

    pub(crate) fn phase(&self) -> Phase {
        self.reports.last().expect("something was reported").status.phase
    }

    pub(crate) fn message(&self) -> &str {
        &self.reports.last().expect("something was reported").status.message
    }
}
