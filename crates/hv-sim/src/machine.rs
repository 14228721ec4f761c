//! The instance tasks of an agent: the product's machines, and a loop around each that carries out effects in the same order
//! as the agent's own. A write to the journal is waited for; a call of the driver runs beside the loop.

use crate::Mutation;
use crate::agent::short;
use crate::check::Invariant;
use crate::event::{Event, Life};
use crate::world::{World, say};
use hv_core::InstanceId;
use hv_core::instance::RunState;
use hv_driver::{Assignment, DriverError, DriverErrorKind, Guest, Observation};
use hypervisor_agent::instance::machine::{Confirmation, EpochCheck, Now, Origin};
use hypervisor_agent::instance::{Action, Desired, Effect, Input, Machine, Record, Started};
use std::collections::VecDeque;
use std::time::Duration;

/// An instance is looked at this often without any sign of change.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Pause after a write to the journal that failed.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(1);

pub(crate) struct Task {
    machine: Machine,
    effects: VecDeque<Effect>,
    inbox: VecDeque<Input>,
    /// A write is not durable yet.
    waits: bool,
    /// A write of the newest step is lost.
    lost: bool,
    wake_at: Option<Duration>,
    /// Number of the timer that counts; older ones are stale.
    timer: u64,
}

/// A call of the driver.
pub(crate) struct Call {
    life: Life,
    action: Action,
    assignment: Assignment,
    /// What it came to, once it has acted.
    result: Option<Result<(), DriverError>>,
}

impl Call {
    /// The instance whose guest it was to start, if it has not done so.
    pub(crate) fn starts(&self) -> Option<InstanceId> {
        let open = matches!(self.action, Action::Start(_)) && self.result.is_none();
        open.then_some(self.assignment.handle.id)
    }
}

impl World {
    fn machine_now(&self, node: usize) -> Now {
        Now { wall: self.wall(), mono: self.nodes[node].mono(self.now) }
    }

    pub(crate) fn task_start(&mut self, life: Life, record: Record, origin: Origin) {
        let id = record.desired.id;
        let check = match self.mutation {
            Mutation::EpochCheckRemoved => EpochCheck::Removed,
            _ => EpochCheck::Enforced,
        };
        let now = self.machine_now(life.node);
        let confirmation = match self.mutation {
            Mutation::ConfirmationWaived => Confirmation::Waived,
            _ => Confirmation::Awaited,
        };
        let mut machine =
            Machine::new(record, origin, self.nodes[life.node].boot_id(), check).with(confirmation);
        let effects = machine.begin(now).into();
        let task = Task {
            machine,
            effects,
            inbox: VecDeque::new(),
            waits: false,
            lost: false,
            wake_at: None,
            timer: 0,
        };
        if let Some(agent) = self.agent(life) {
            agent.tasks.insert(id, task);
        }
        self.go_on(life, id);
    }

    pub(crate) fn desired(&mut self, life: Life, desired: Desired) {
        let id = desired.id;
        say!(
            self,
            "agent {} hears {} epoch {} generation {} {:?} serial {}{}",
            self.nodes[life.node].name,
            short(id),
            desired.epoch,
            desired.generation,
            desired.spec.run_state,
            desired.spec.restart_serial,
            if desired.deleted { ", deleted" } else { "" },
        );
        self.nodes[life.node].left_out.remove(&id);
        if self.agent(life).is_some_and(|agent| !agent.quiescing) {
            self.nodes[life.node].named.insert(id);
        }
        match self.agent(life).map(|agent| agent.tasks.contains_key(&id)) {
            Some(true) => self.input(life, id, Input::Desired(Box::new(desired))),
            Some(false) if self.agent(life).is_some_and(|agent| agent.quiescing) => {}
            Some(false) => {
                let boot = self.nodes[life.node].boot_id();
                self.task_start(life, Record::new(desired, boot), Origin::Assigned);
            }
            None => {}
        }
    }

    fn task(&mut self, life: Life, id: InstanceId) -> Option<&mut Task> {
        self.agent(life)?.tasks.get_mut(&id)
    }

    pub(crate) fn input(&mut self, life: Life, id: InstanceId, input: Input) {
        if let Some(task) = self.task(life, id) {
            task.inbox.push_back(input);
            self.go_on(life, id);
        }
    }

    /// Carries out effects and takes inputs until there is nothing to do but to wait.
    fn go_on(&mut self, life: Life, id: InstanceId) {
        let now = self.machine_now(life.node);
        let awaited = self.mutation != Mutation::JournalNotAwaited;
        loop {
            let Some(task) = self.task(life, id) else { return };
            if task.waits {
                return;
            }
            match task.effects.pop_front() {
                Some(Effect::Persist(record)) => {
                    task.waits = awaited;
                    let number = self.number();
                    let begun = |started: &Started| !started.came_up && started.ended.is_none();
                    let starts = record.started.as_ref().is_some_and(begun);
                    self.nodes[life.node].writes.insert(number, *record);
                    let most = if self.mishap(30) { 2_000 } else { 20 };
                    self.after(1, most, Event::Durable(life.node, number));
                    // What matters of a death is whether it comes before or after a write: at any time it would hardly ever hit.
                    if self.mishap(if starts { 60 } else { 5 }) {
                        self.after(0, most, Event::Falter(life, id));
                    }
                }
                Some(Effect::Report(report)) => self.publish(life, *report),
                Some(Effect::Run(action @ (Action::Admit | Action::Prepare | Action::Start(_)), _))
                    if task.lost =>
                {
                    let error = DriverError::new(DriverErrorKind::Conflict, "call", "the node goes down");
                    task.inbox.push_back(Input::Done(action, Err(error)));
                }
                Some(Effect::Run(action, assignment)) => self.call(life, action, *assignment),
                Some(Effect::Observe(number, _)) => self.after(1, 100, Event::Look(life, id, number)),
                Some(Effect::WakeAt(at)) => task.wake_at = Some(at),
                None => match task.inbox.pop_front() {
                    Some(input) => {
                        task.timer += 1;
                        task.wake_at = task.wake_at.filter(|at| now.mono < *at);
                        task.lost = false;
                        if let Input::Desired(desired) = &input {
                            self.assigned_anew(life, desired);
                        }
                        let Some(task) = self.task(life, id) else { return };
                        task.effects.extend(task.machine.step(input, now));
                    }
                    None => return self.set_timer(life, id),
                },
            }
        }
    }

    /// An agent is about to take an assignment in place of another.
    fn assigned_anew(&mut self, life: Life, desired: &Desired) {
        let (id, now) = (desired.id, self.machine_now(life.node));
        let Some(task) = self.task(life, id) else { return };
        let mut record = task.machine.record().clone();
        let known = &record.desired;
        if known.epoch == desired.epoch {
            return;
        }
        let restarts =
            record.started.as_ref().is_some_and(|started| known.spec.restart_serial > started.serial);
        if known.deleted || restarts || known.spec.run_state == RunState::Stopped {
            self.ledger.was_to_end(life.node, id);
        }
        let mut calls = self.nodes[life.node].calls.values();
        if self.mutation == Mutation::EndForgotten && calls.all(|call| call.assignment.handle.id != id) {
            if let Some(started) = &mut record.started {
                started.ended = None;
            }
            let boot = self.nodes[life.node].boot_id();
            let Some(task) = self.task(life, id) else { return };
            task.machine = Machine::new(record, Origin::Journal, boot, EpochCheck::Enforced);
            task.effects = task.machine.begin(now).into();
        }
    }

    fn set_timer(&mut self, life: Life, id: InstanceId) {
        let mono = self.nodes[life.node].mono(self.now);
        let now = self.now;
        let Some(task) = self.task(life, id) else { return };
        task.timer += 1;
        let token = task.timer;
        let due = task.wake_at.map_or(LOOK_EVERY, |at| at.saturating_sub(mono).min(LOOK_EVERY));
        self.queue.at(now + due, Event::Timer(life, id, token));
    }

    pub(crate) fn timer(&mut self, life: Life, id: InstanceId, token: u64) {
        let mono = self.nodes[life.node].mono(self.now);
        let Some(task) = self.task(life, id) else { return };
        if task.timer == token && !task.waits {
            let due = task.wake_at.is_some_and(|at| mono >= at);
            self.input(life, id, if due { Input::Timer } else { Input::Changed });
        }
    }

    pub(crate) fn changed(&mut self, life: Life, id: InstanceId) {
        self.input(life, id, Input::Changed);
    }

    pub(crate) fn durable(&mut self, node: usize, write: u64) {
        if !self.nodes[node].writes.contains_key(&write) {
            return;
        }
        let life = Life { node, number: self.nodes[node].life };
        if self.agent(life).is_some_and(|agent| agent.full) {
            self.summary.journal_faults += 1;
            say!(self, "agent {} cannot write its journal, and does not wait", self.nodes[node].name);
            let Some(record) = self.nodes[node].writes.remove(&write) else { return };
            return self.written(life, record.desired.id, true);
        }
        if self.mishap(5) {
            self.summary.journal_faults += 1;
            say!(self, "agent {} cannot write its journal", self.nodes[node].name);
            self.queue.at(self.now + WRITE_AGAIN_AFTER, Event::Durable(node, write));
            return;
        }
        let Some(record) = self.nodes[node].writes.remove(&write) else { return };
        let id = record.desired.id;
        self.nodes[node].journal.insert(id, record);
        self.written(life, id, false);
    }

    fn written(&mut self, life: Life, id: InstanceId, lost: bool) {
        if let Some(task) = self.task(life, id) {
            task.waits = false;
            task.lost |= lost;
            self.go_on(life, id);
        }
    }

    fn call(&mut self, life: Life, action: Action, assignment: Assignment) {
        let id = assignment.handle.id;
        let quiescing = self.agent(life).is_some_and(|agent| agent.quiescing);
        // What was decided before it was told, and waited for the journal, may still come.
        let told = self
            .task(life, id)
            .is_some_and(|task| !task.inbox.iter().any(|input| matches!(input, Input::Quiesce(_))));
        if quiescing
            && told
            && matches!(action, Action::Start(_))
            && self.mutation != Mutation::QuiesceForgotten
        {
            let id = short(id);
            self.ledger.breaks(Invariant::GoesDown, format!("{id} is started on a node that goes down"));
        }
        let unnamed = self.nodes[life.node].left_out.contains(&id);
        let told = self
            .task(life, id)
            .is_some_and(|task| !task.inbox.iter().any(|input| matches!(input, Input::Unnamed)));
        if unnamed && told && matches!(action, Action::Start(_)) {
            let id = short(id);
            self.ledger.breaks(Invariant::OnlyNamed, format!("{id} is started, and the server left it out"));
        }
        let revoked =
            self.task(life, assignment.handle.id).is_some_and(|task| task.machine.record().revoked.is_some());
        if revoked && matches!(action, Action::Prepare | Action::Start(_)) {
            self.ledger.started_although_revoked(assignment.handle.id);
        }
        let number = self.number();
        let most = match action {
            Action::Prepare | Action::Start(_) => 2_000,
            Action::Kill | Action::Delete => 500,
            Action::Admit | Action::PowerDown | Action::Pause | Action::Resume => 100,
        };
        let acts = self.rng.millis(1, most);
        let answers = acts + self.rng.millis(1, most);
        self.nodes[life.node].calls.insert(number, Call { life, action, assignment, result: None });
        self.queue.at(self.now + acts, Event::Act(life.node, number));
        self.queue.at(self.now + answers, Event::Done(life.node, number));
    }

    /// The moment at which a call has its effect, or fails.
    pub(crate) fn act(&mut self, node: usize, number: u64) {
        let rate = self.climate.driver_faults;
        let refusal = self.climate.refusals[node];
        let Some(call) = self.nodes[node].calls.get(&number).filter(|call| call.result.is_none()) else {
            return;
        };
        let (action, assignment) = (call.action, call.assignment.clone());
        let failed = |kind| Err(DriverError::new(kind, "call", "simulated"));
        let result = if action == Action::Admit {
            if self.mishap(refusal) { failed(DriverErrorKind::Missing) } else { Ok(()) }
        } else if self.mishap(rate) {
            self.summary.driver_faults += 1;
            // Before doing anything, or after all of it.
            if self.rng.permille(500) {
                let _ = self.perform(node, action, &assignment);
            }
            if matches!(action, Action::Start(_) | Action::Prepare) && self.rng.permille(100) {
                self.ledger.given_up(assignment.handle.id);
                failed(DriverErrorKind::Invalid)
            } else {
                failed(DriverErrorKind::Failed)
            }
        } else {
            self.perform(node, action, &assignment)
        };
        say!(
            self,
            "host {} {action:?} {} epoch {}: {}",
            self.nodes[node].name,
            short(assignment.handle.id),
            assignment.handle.epoch,
            result.as_ref().map_or_else(ToString::to_string, |()| "done".to_owned())
        );
        if matches!(action, Action::Start(_)) && result.is_err() {
            self.ledger.start_failed(node, assignment.handle.id);
        }
        if let Some(call) = self.nodes[node].calls.get_mut(&number) {
            call.result = Some(result);
        }
    }

    fn perform(&mut self, node: usize, action: Action, assignment: &Assignment) -> Result<(), DriverError> {
        let wall = self.wall();
        let (handle, id) = (assignment.handle, assignment.handle.id);
        let host = &mut self.nodes[node].host;
        let slot = host.slots().get(&id);
        let alive = slot.is_some_and(|slot| matches!(slot.guest, Guest::Running | Guest::Paused));
        let boots = slot.map_or(0, |slot| slot.boots);
        let result = match action {
            Action::Admit => Ok(()),
            Action::Prepare => {
                host.prepare(assignment);
                Ok(())
            }
            Action::Start(mode) => {
                let result = host.start(assignment, mode, wall);
                let now_boots = host.slots().get(&id).map_or(0, |slot| slot.boots);
                if now_boots > boots {
                    self.summary.boots += 1;
                    let excused = self.excused(node, id);
                    self.ledger.booted(node, assignment, excused);
                    let heeds = !self.mishap(200);
                    if let Some(slot) = self.nodes[node].host.slot_mut(id) {
                        slot.heeds_power_button = heeds;
                    }
                }
                result
            }
            Action::PowerDown => {
                // A guest needs a while to power down.
                let slow = slot.is_some_and(|slot| slot.guest == Guest::Running && slot.heeds_power_button)
                    && self.rng.permille(500);
                if slow {
                    self.after(100, 5_000, Event::GuestDown(node, id, boots));
                    Ok(())
                } else {
                    self.nodes[node].host.power_down(handle)
                }
            }
            Action::Kill => {
                host.kill(handle);
                Ok(())
            }
            Action::Pause | Action::Resume => host.set_paused(handle, action == Action::Pause),
            Action::Delete => host.delete(handle),
        };
        if action == Action::Delete && result.is_ok() {
            self.ledger.deleted(node, id);
        }
        let slot = self.nodes[node].host.slots().get(&id);
        if alive && !slot.is_some_and(|slot| matches!(slot.guest, Guest::Running | Guest::Paused)) {
            self.ledger.ended_by_agent(node, id);
        }
        self.notify(node, id);
        result
    }

    /// A guest that was asked to power down does so.
    pub(crate) fn guest_down(&mut self, node: usize, id: InstanceId, boots: u64) {
        let host = &mut self.nodes[node].host;
        if host.slots().get(&id).is_some_and(|slot| slot.guest == Guest::Running && slot.boots == boots) {
            host.end_guest(id, hv_driver::End::PoweredOff);
            self.ledger.ended_by_agent(node, id);
            self.notify(node, id);
        }
    }

    /// The driver says that something changed, to whoever listens.
    pub(crate) fn notify(&mut self, node: usize, id: InstanceId) {
        let life = Life { node, number: self.nodes[node].life };
        self.after(1, 50, Event::Changed(life, id));
    }

    pub(crate) fn done(&mut self, node: usize, number: u64) {
        let Some(call) = self.nodes[node].calls.remove(&number) else { return };
        if let Some(result) = call.result {
            self.input(call.life, call.assignment.handle.id, Input::Done(call.action, result));
        }
    }

    pub(crate) fn look(&mut self, life: Life, id: InstanceId, number: u64) {
        let Some(handle) = self.task(life, id).map(|task| task.machine.handle()) else { return };
        let rate = self.climate.driver_faults / 4;
        let result: Result<Observation, DriverError> = if self.mishap(rate) {
            Err(DriverError::new(DriverErrorKind::Unresponsive, "observe", "simulated"))
        } else {
            Ok(self.nodes[life.node].host.observe(handle))
        };
        self.after(1, 50, Event::Looked(life, id, number, result));
    }

    pub(crate) fn looked(
        &mut self,
        life: Life,
        id: InstanceId,
        number: u64,
        result: Result<Observation, DriverError>,
    ) {
        self.input(life, id, Input::Observed(number, result));
    }
}
