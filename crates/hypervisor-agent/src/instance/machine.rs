//! The decisions about one instance: a step function over (state, input, now).
//!
//! Rules, in the order in which [`Machine`] applies them:
//!
//! 1. An assignment under an epoch lower than the highest seen is refused; so is a repetition of one that was refused or
//!    is gone. Deletion is never taken back.
//! 2. The journal knows of an action before the driver does. Names derive from the uid, so an action that was cut off by
//!    the agent's death is simply repeated: the driver adopts what is there.
//! 3. One action at a time. An observation that was begun before an action ended says nothing any more.
//! 4. A guest that powered itself off stays off unless the policy is `always`; one that failed is started again unless it is
//!    `never`, with growing pauses; a raised restart serial always starts one. A guest that vanished with the node's
//!    reboot did not end: it is started again.
//! 5. In a new boot of the host, nothing is started before a server has named the instance: its node may have been given up while
//!    it was off, and the instance may run elsewhere. The same holds for a node that went down in order, and for an instance that
//!    the full set of its server does not name: its guest is left alone, and not started again; and for one that an agent, just
//!    started, finds without its guest: perhaps its node went down in order, and a full disk kept that from being written.
//! 6. A node that goes down takes its guests with it as a reboot would: asked first, then ended; they start again with it.
//! 7. When the server has given up the node, its guests end at once: they may run elsewhere. Disks stay, and nothing is started
//!    before a newer assignment.
//! 8. A guest that is to stop is asked first and ended at its deadline, unless the stop is forced.
//! 9. A guest that its host halted, for want of disk space, is let go when the host says that the cause is gone, and now and
//!    then without that, with growing pauses.

mod observe;

pub use super::step::{Action, Confirmation, Effect, EpochCheck, Input, Now};

use super::{Desired, Ended, EndedBy, Record, Report, record::Started, stall::Stall};
use hv_core::Conditions;
use hv_core::instance::{Phase, RestartPolicy, RunState};
use hv_driver::{
    Assignment, DriverError, DriverErrorKind, Guest, Handle, Observation, Permanence, Responsive, StartMode,
};
use std::time::Duration;

/// Pause before the second attempt after a failure; it doubles with each further one.
pub const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest such pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A guest that lived this long has recovered: failures count from zero again.
pub const RECOVERED_AFTER: Duration = Duration::from_secs(60);

/// A stop that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    deadline: Duration,
    /// The guest has been asked.
    pub(super) asked: bool,
}

/// One instance.
#[derive(Debug)]
pub struct Machine {
    pub(super) record: Record,
    boot_id: String,
    epoch_check: EpochCheck,
    confirmation: Confirmation,
    /// A server has named it since this agent started.
    named: bool,
    /// The driver has looked since this agent started.
    looked: bool,
    /// What the driver last saw; `None` until it has looked.
    pub(super) seen: Option<Observation>,
    /// Number of the newest observation that was asked for.
    observation: u64,
    /// Its answer is awaited: until it comes, what was seen before is no ground to act on.
    looking: bool,
    /// Something changed while the driver looked.
    look_again: bool,
    pub(super) in_flight: Option<Action>,
    /// Disks were made since the specification last changed.
    prepared: bool,
    pub(super) stopping: Option<Stopping>,
    /// The node goes down, and the guest may take this long.
    pub(super) quiescing: Option<Duration>,
    /// When the guest may be started again after it ended.
    retry_at: Option<Duration>,
    /// When an action that failed, other than a start, may be tried again.
    again_at: Option<Duration>,
    alive_since: Option<Duration>,
    /// The host has halted the guest, or had lately.
    stall: Option<Stall>,
    /// Why the last action, other than a start, failed.
    pub(super) trouble: Option<String>,
    /// It would be started if a server had named it in this boot.
    pub(super) awaits_server: bool,
    pub(super) conditions: Conditions,
    pub(super) observed_generation: u64,
    last_report: Option<Report>,
    wake_at: Option<Duration>,
}

enum Next {
    Act(Action),
    Wait(Option<Duration>),
    AwaitServer,
    Settled,
}

/// Where what is known of an instance comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A server has just assigned it.
    Assigned,
    /// An agent that has ended wrote it, and may not have been able to write more.
    Journal,
}

impl Machine {
    /// The machine of an instance. Its first effects come with [`Machine::begin`].
    pub fn new(record: Record, origin: Origin, boot_id: impl Into<String>, epoch_check: EpochCheck) -> Self {
        Self {
            record,
            boot_id: boot_id.into(),
            epoch_check,
            confirmation: Confirmation::default(),
            named: origin == Origin::Assigned,
            looked: false,
            seen: None,
            observation: 0,
            looking: false,
            look_again: false,
            in_flight: None,
            prepared: false,
            stopping: None,
            quiescing: None,
            retry_at: None,
            again_at: None,
            alive_since: None,
            stall: None,
            trouble: None,
            awaits_server: false,
            conditions: Conditions::default(),
            observed_generation: 0,
            last_report: None,
            wake_at: None,
        }
    }

    /// The same, by what the node's settings say of confirmation.
    #[must_use]
    pub fn with(self, confirmation: Confirmation) -> Self {
        Self { confirmation, ..self }
    }

    /// What the journal holds, or is about to hold.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// How the driver knows it.
    pub fn handle(&self) -> Handle {
        Handle { id: self.record.desired.id, epoch: self.record.desired.epoch }
    }

    /// Whether something is here that the server does not name.
    pub fn is_unnamed(&self) -> bool {
        self.record.unnamed
    }

    /// What the server should know now.
    pub fn report(&self) -> Report {
        Report {
            id: self.record.desired.id,
            epoch: self.record.desired.epoch,
            status: self.status(),
            gone: self.record.gone,
            rejected: self.record.rejected.is_some(),
            orphan: self.record.is_revoked() || self.record.unnamed,
            revoked: self.record.is_revoked(),
        }
    }

    /// The first effects of a machine: its record is written, and the driver looks for what is there.
    pub fn begin(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = vec![Effect::Persist(Box::new(self.record.clone()))];
        if self.record.gone || self.record.rejected.is_some() {
            return self.finish(now, effects);
        }
        effects.push(self.observe());
        self.finish(now, effects)
    }

    /// Takes one input.
    pub fn step(&mut self, input: Input, now: Now) -> Vec<Effect> {
        let before = self.record.clone();
        let mut effects = Vec::new();
        match input {
            Input::Desired(desired) => self.on_desired(*desired, &mut effects),
            Input::Changed => {
                if self.looking {
                    self.look_again = true;
                } else if self.in_flight.is_none() && !self.record.gone {
                    effects.push(self.observe());
                }
            }
            Input::Observed(number, result) => {
                if number == self.observation {
                    self.looking = false;
                    self.on_observed(result, now);
                }
            }
            Input::Done(action, result) => {
                self.on_done(action, result, now);
                if !self.record.gone && self.record.rejected.is_none() {
                    effects.push(self.observe());
                }
            }
            Input::Quiesce(patience) => {
                self.quiescing = Some(patience);
                self.record.confirmed_boot.clear();
                // A stop that is under way has no longer than the node.
                if let Some(stopping) = &mut self.stopping {
                    stopping.deadline = stopping.deadline.min(now.mono + patience);
                }
            }
            Input::Revoked => {
                self.record.revoked = Some(self.record.desired.epoch);
                // Whatever was awaited: it ends at once.
                self.again_at = None;
            }
            Input::Unnamed => self.record.unnamed = !self.record.gone && self.record.rejected.is_none(),
            Input::Vanished => {
                let unwanted = self.record.is_revoked() || self.record.unnamed;
                let no_guest = self.seen.as_ref().is_some_and(|seen| seen.guest == Guest::Absent);
                if unwanted && no_guest && self.in_flight.is_none() {
                    self.record.gone = true;
                }
            }
            Input::Timer => {
                self.wake_at = None;
                if self.unresponsive() && self.in_flight.is_none() && !self.looking {
                    effects.push(self.observe());
                }
            }
        }
        let run = if self.looking { None } else { self.plan_next(now) };
        if run.is_none() && self.look_again && !self.looking {
            effects.push(self.observe());
        }
        if self.record != before {
            effects.insert(0, Effect::Persist(Box::new(self.record.clone())));
        }
        if let Some(action) = run {
            effects.push(Effect::Run(action, Box::new(self.assignment())));
        }
        self.finish(now, effects)
    }

    fn assignment(&self) -> Assignment {
        Assignment {
            handle: self.handle(),
            name: self.record.desired.name.clone(),
            project: self.record.desired.project.clone(),
            spec: self.record.desired.spec.clone(),
        }
    }

    fn observe(&mut self) -> Effect {
        self.observation += 1;
        self.looking = true;
        self.look_again = false;
        Effect::Observe(self.observation, self.handle())
    }

    fn on_desired(&mut self, desired: Desired, effects: &mut Vec<Effect>) {
        let known = &self.record.desired;
        if self.epoch_check == EpochCheck::Enforced {
            let stale = desired.epoch < known.epoch
                || (desired.epoch == known.epoch
                    && (desired.generation < known.generation || (known.deleted && !desired.deleted)));
            let over = desired.epoch == known.epoch
                && (self.record.gone || self.record.rejected.is_some() || self.record.is_revoked());
            if stale || over {
                // The server learns what became of it; nothing else happens.
                self.last_report = None;
                return;
            }
        }
        self.record.unnamed = false;
        self.named = true;
        if self.quiescing.is_none() {
            self.record.confirmed_boot.clone_from(&self.boot_id);
        }
        let known = &self.record.desired;
        if desired.epoch != known.epoch {
            // As if it came from elsewhere: what was acted on belongs to the assignment before. If the server's store was restored,
            // generations and restart serials are given out a second time, and a stop may be forgotten. How a guest ended by
            // itself is no order of the server's, and stands.
            self.observed_generation = 0;
            self.prepared = false;
            if let Some(started) = &mut self.record.started {
                started.serial = started.serial.min(desired.spec.restart_serial);
                if started.ended.take_if(|ended| ended.by == EndedBy::Order).is_some() {
                    started.came_up = false;
                }
            }
        }
        let fresh = desired.epoch != known.epoch && (self.record.gone || self.record.rejected.is_some());
        if fresh
            || (self.epoch_check == EpochCheck::Removed
                && (self.record.gone || self.record.rejected.is_some()))
        {
            self.record = Record::new(desired, std::mem::take(&mut self.record.confirmed_boot));
            self.prepared = false;
            self.seen = None;
            effects.push(self.observe());
            return;
        }
        if *known == desired {
            // It may have been reported as an orphan meanwhile.
            self.last_report = None;
            return;
        }
        if desired.spec.restart_serial > known.spec.restart_serial {
            self.record.failures = 0;
        }
        if desired.spec != known.spec {
            self.prepared = false;
            self.retry_at = None;
            self.again_at = None;
            self.trouble = None;
        }
        // A stop that turns into a forced one, or gets another deadline, begins anew.
        if desired.force != known.force
            || desired.spec.force_stop != known.spec.force_stop
            || desired.spec.stop_timeout_once != known.spec.stop_timeout_once
        {
            self.stopping = None;
        }
        self.record.desired = desired;
        // It is made anew once nothing is left of the old guest: perhaps that is so already.
        if self.record.revoked.is_some()
            && !self.record.is_revoked()
            && !self.looking
            && self.in_flight.is_none()
        {
            effects.push(self.observe());
        }
    }

    fn on_done(&mut self, action: Action, result: Result<(), DriverError>, now: Now) {
        self.in_flight = None;
        self.trouble = None;
        self.again_at = None;
        match (action, result) {
            (Action::Admit, Ok(())) => self.record.admitted = true,
            (Action::Admit, Err(error)) => self.record.rejected = Some(error.to_string()),
            (Action::Prepare, Ok(())) => self.prepared = true,
            // It is to be down anyway, and starts with its node: that is no failure.
            (Action::Prepare | Action::Start(_), Err(_)) if self.quiescing.is_some() => {}
            (Action::Prepare | Action::Start(_), Err(error)) => {
                let serial = self.record.desired.spec.restart_serial;
                let started = self.record.started.get_or_insert_with(|| Started {
                    serial,
                    boot_id: self.boot_id.clone(),
                    spec: self.record.desired.spec.clone(),
                    came_up: false,
                    taken_down: false,
                    ended: None,
                });
                started.serial = serial;
                started.came_up = false;
                started.ended = Some(Ended {
                    by: EndedBy::Failure,
                    message: error.to_string(),
                    permanent: error.permanence == Permanence::Permanent,
                });
                self.retry_at = None;
                self.count_failure(now);
            }
            (Action::Delete, Ok(())) if self.record.desired.deleted => self.record.gone = true,
            // Assigned anew meanwhile, by a store that was restored to before its deletion: it is made anew.
            (Action::Delete, Ok(())) => {
                let (desired, boot) =
                    (self.record.desired.clone(), std::mem::take(&mut self.record.confirmed_boot));
                self.record = Record { revoked: self.record.revoked, ..Record::new(desired, boot) };
                self.prepared = false;
                self.seen = None;
            }
            (Action::PowerDown, Err(error)) => {
                // Asked again until its time is over; one that is not there to be asked is only cleared away.
                let there = error.kind != DriverErrorKind::NotFound;
                self.trouble = Some(format!("cannot ask the guest to power down: {error}"));
                self.again_at = there.then(|| now.mono + FIRST_PAUSE);
                if let Some(stopping) = &mut self.stopping {
                    stopping.asked = false;
                    if !there {
                        stopping.deadline = now.mono;
                    }
                }
            }
            (Action::Kill | Action::Pause | Action::Resume | Action::Delete, Err(error)) => {
                self.trouble = Some(format!("{}: {error}", error.operation));
                self.again_at = Some(now.mono + FIRST_PAUSE);
            }
            (
                Action::Start(_) | Action::PowerDown | Action::Kill | Action::Pause | Action::Resume,
                Ok(()),
            ) => {
                if let (Action::Start(_), Some(started)) = (action, &mut self.record.started) {
                    started.came_up = true;
                }
            }
        }
    }

    /// Decides the next action and prepares the state for it.
    fn plan_next(&mut self, now: Now) -> Option<Action> {
        self.wake_at = None;
        self.awaits_server = false;
        if self.in_flight.is_some() || self.record.gone || self.record.rejected.is_some() {
            if self.record.rejected.is_some() {
                self.observed_generation = self.record.desired.generation;
            }
            return None;
        }
        let action = match self.next(now) {
            Next::Act(action) => action,
            Next::Wait(until) => {
                self.wake_at = until;
                // A failure that waits for its next attempt has been acted on.
                if self.phase() == Phase::Failed {
                    self.observed_generation = self.record.desired.generation;
                }
                return None;
            }
            Next::AwaitServer => {
                self.awaits_server = true;
                return None;
            }
            Next::Settled => {
                if self.seen.as_ref().is_some_and(|seen| seen.guest == Guest::Running) {
                    // Asked to stop, and wanted again before it did.
                    self.stopping = None;
                }
                self.observed_generation = self.record.desired.generation;
                return None;
            }
        };
        if action == Action::Resume
            && let Some(stall) = &mut self.stall
        {
            stall.attempted(now.mono);
        }
        match action {
            Action::PowerDown | Action::Resume if self.shall_end() => {
                let spec = &self.record.desired.spec;
                let patience = self.quiescing.or(spec.stop_timeout_once).unwrap_or(spec.stop_timeout);
                let deadline = now.mono + patience;
                let stopping = self.stopping.get_or_insert(Stopping { deadline, asked: false });
                stopping.asked = action == Action::PowerDown;
            }
            Action::Kill => {
                self.stopping = self.stopping.or(Some(Stopping { deadline: now.mono, asked: false }))
            }
            Action::Start(_) => {
                // One that was cut off by the agent's death is repeated, not a further one.
                let serial = self.record.desired.spec.restart_serial;
                let repeated = self.record.started.as_ref().is_some_and(|started| {
                    (started.serial, &started.boot_id) == (serial, &self.boot_id)
                        && !started.came_up
                        && !started.taken_down
                        && started.ended.is_none()
                });
                self.record.starts += u64::from(!repeated);
                self.record.started = Some(Started {
                    serial: self.record.desired.spec.restart_serial,
                    boot_id: self.boot_id.clone(),
                    spec: self.record.desired.spec.clone(),
                    came_up: false,
                    taken_down: false,
                    ended: None,
                });
                self.retry_at = None;
            }
            Action::Admit
            | Action::Prepare
            | Action::PowerDown
            | Action::Pause
            | Action::Resume
            | Action::Delete => {}
        }
        // Remembered before the driver hears of it: the agent may die before the guest has ended.
        if let (true, Some(started)) = (self.quiescing.is_some(), &mut self.record.started) {
            started.taken_down |= matches!(action, Action::PowerDown | Action::Resume | Action::Kill);
        }
        self.in_flight = Some(action);
        Some(action)
    }

    fn next(&self, now: Now) -> Next {
        let Some(seen) = &self.seen else {
            // The driver could not look; it is asked again.
            return Next::Wait(Some(now.mono + FIRST_PAUSE));
        };
        let desired = &self.record.desired;
        let spec = &desired.spec;
        let alive = matches!(seen.guest, Guest::Running | Guest::Paused);
        if let Some(at) = self.again_at.filter(|at| now.mono < *at) {
            return Next::Wait(Some(at));
        }
        if matches!(seen.guest, Guest::Ended(_)) {
            return Next::Act(Action::Kill);
        }
        if alive {
            if self.shall_end() {
                let force =
                    spec.force_stop || (desired.deleted && desired.force) || self.record.revoked.is_some();
                return match self.stopping {
                    _ if force => Next::Act(Action::Kill),
                    Some(Stopping { deadline, .. }) if now.mono >= deadline => Next::Act(Action::Kill),
                    Some(Stopping { deadline, asked: true }) => Next::Wait(Some(deadline)),
                    // Halted vCPUs cannot answer the power button.
                    _ if seen.guest == Guest::Paused => match (self.stalled_until(now), self.stopping) {
                        (Some(until), Some(stopping)) => Next::Wait(Some(until.min(stopping.deadline))),
                        _ => Next::Act(Action::Resume),
                    },
                    _ => Next::Act(Action::PowerDown),
                };
            }
            return match (spec.run_state, &seen.guest) {
                (RunState::Paused, Guest::Running) => Next::Act(Action::Pause),
                (RunState::Running, Guest::Paused) => match self.stalled_until(now) {
                    Some(until) => Next::Wait(Some(until)),
                    None => Next::Act(Action::Resume),
                },
                _ => Next::Settled,
            };
        }
        if desired.deleted {
            return Next::Act(Action::Delete);
        }
        if self.to_be_down() {
            return Next::Settled;
        }
        match self.may_start(now) {
            Start::No => Next::Settled,
            _ if !self.is_confirmed() => Next::AwaitServer,
            Start::At(at) => Next::Wait(Some(at)),
            Start::Now if !self.record.admitted => Next::Act(Action::Admit),
            Start::Now if !self.prepared => Next::Act(Action::Prepare),
            Start::Now => Next::Act(Action::Start(match spec.run_state {
                RunState::Paused => StartMode::Paused,
                RunState::Running | RunState::Stopped => StartMode::Running,
            })),
        }
    }

    /// When a guest that the host halted may be let go, if that is not now.
    fn stalled_until(&self, now: Now) -> Option<Duration> {
        self.seen.as_ref()?.stalled.as_ref()?;
        self.stall.as_ref().map(Stall::due).filter(|due| now.mono < *due)
    }

    /// Whether a guest that lives is to end.
    fn shall_end(&self) -> bool {
        let desired = &self.record.desired;
        let serial = desired.spec.restart_serial;
        let restart = self.record.started.as_ref().is_some_and(|started| serial > started.serial);
        desired.deleted || self.to_be_down() || restart
    }

    /// Whether a server has named it since the host booted, or need not, and none has left it out since.
    fn is_confirmed(&self) -> bool {
        let named = self.confirmation == Confirmation::Waived || self.record.confirmed_boot == self.boot_id;
        named && !self.record.unnamed
    }

    /// Whether there is to be no guest, for whatever reason but deletion.
    pub(super) fn to_be_down(&self) -> bool {
        self.quiescing.is_some()
            || self.record.revoked.is_some()
            || self.record.desired.spec.run_state == RunState::Stopped
    }

    fn may_start(&self, now: Now) -> Start {
        let spec = &self.record.desired.spec;
        let Some(started) = &self.record.started else { return Start::Now };
        if spec.restart_serial > started.serial {
            return Start::Now;
        }
        let Some(ended) = &started.ended else { return Start::Now };
        let again = match (ended.by, spec.restart_policy) {
            (_, RestartPolicy::Never) | (EndedBy::PowerOff | EndedBy::Order, RestartPolicy::OnFailure) => {
                false
            }
            (EndedBy::Failure, RestartPolicy::OnFailure | RestartPolicy::Always) => !ended.permanent,
            (EndedBy::PowerOff | EndedBy::Order, RestartPolicy::Always) => true,
        };
        match self.retry_at {
            _ if !again => Start::No,
            Some(at) if now.mono < at => Start::At(at),
            _ => Start::Now,
        }
    }

    fn unresponsive(&self) -> bool {
        self.seen.is_none() || self.seen.as_ref().is_some_and(|seen| seen.responsive != Responsive::Yes)
    }

    /// Appends the report, if it says anything new, and the timer.
    fn finish(&mut self, now: Now, mut effects: Vec<Effect>) -> Vec<Effect> {
        self.update_conditions(now);
        let report = self.report();
        if self.last_report.as_ref() != Some(&report) {
            let at = usize::from(matches!(effects.first(), Some(Effect::Persist(_))));
            effects.insert(at, Effect::Report(Box::new(report.clone())));
            self.last_report = Some(report);
        }
        if let Some(at) = self.wake_at {
            effects.push(Effect::WakeAt(at));
        }
        effects
    }
}

enum Start {
    Now,
    At(Duration),
    No,
}

impl Ended {
    fn ordered(message: &str) -> Self {
        Self { by: EndedBy::Order, message: message.to_owned(), permanent: false }
    }
}
