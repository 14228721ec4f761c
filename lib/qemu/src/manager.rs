//! Many machines under one roof: what each is doing, and the calls that change it.
//!
//! ```text
//!            start                pause
//!  stopped --------> creating --> running <------> paused
//!     ^                             |   resume        |
//!     '------- shutting down <------'-----------------'        unknown: it does not answer, or nobody looks after it
//! ```
//!
//! Calls for one machine happen one after another; machines never wait for each other, and asking for a state waits for nobody.

use crate::{
    Adoption, Exit, Incoming, Ladder, Responsive, Rung, StartError, StartSpec, Status, Supervision,
    Unresponsive, Vm, adopt_in,
    left::Left,
    mutex::guarded,
    process::{ENDS, Held, Process},
    start,
    vm::Patience,
};
use qmp::{
    CallError,
    commands::{QueryStatus, RunState},
};
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use thiserror::Error;
use tokio::sync::watch;
use uuid::Uuid;

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It has no process.
    Stopped,
    /// Its process is being started.
    Creating,
    /// Its guest runs.
    Running,
    /// Its guest stands: it was paused, sleeps, has crashed or could not write, has yet to arrive or was sent elsewhere
    /// ([`crate::Status::run_state`] tells).
    Paused,
    /// It is being ended, or its guest has powered itself off: its process is ended then. Also when it was killed and the kernel holds it
    /// ([`crate::process::Held`]): it is stopped when the kernel lets go of it.
    ShuttingDown,
    /// Its process does not answer, or the future that looks after it was dropped.
    Unknown,
}

/// Why a call for a machine failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// There is no machine of this identity.
    #[error("there is no machine {0}")]
    NoMachine(Uuid),
    /// There is one already.
    #[error("there is a machine {0} already")]
    Exists(Uuid),
    /// It has no process.
    #[error("the machine {0} is stopped; start it first")]
    Stopped(Uuid),
    /// It has a process.
    #[error("the machine {0} has been started already")]
    Started(Uuid),
    /// It could not be started.
    #[error("cannot start the machine {id}")]
    Start {
        /// The machine.
        id: Uuid,
        /// Why not.
        #[source]
        source: StartError,
    },
    /// Whether it has a process cannot be told.
    #[error("cannot look for the process of the machine {id}")]
    Adopt {
        /// The machine.
        id: Uuid,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It has a process that has not answered since it was adopted.
    #[error("the machine {0} runs and has not answered yet; wait for it, or destroy it")]
    Unresponsive(Uuid),
    /// Its guest was sent elsewhere or into a file.
    #[error(
        "the guest of the machine {0} was sent away; resume it by the machine's handle once it is proved that it runs nowhere else"
    )]
    Sent(Uuid),
    /// Its guest has yet to arrive from elsewhere or from a file.
    #[error("the guest of the machine {0} is still arriving; whoever sends it decides whether it runs here")]
    Arriving(Uuid),
    /// QEMU refused or did not answer.
    #[error("cannot {action} the machine {id}")]
    Call {
        /// What was attempted.
        action: &'static str,
        /// With whom.
        id: Uuid,
        /// Why not.
        #[source]
        source: CallError,
    },
    /// The process could not be ended, or was killed and the kernel holds it ([`crate::process::Held`]).
    #[error("cannot end the machine {id}")]
    End {
        /// The machine.
        id: Uuid,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Runs the supervision of a machine until it ends, usually as a task.
pub type Spawn = Box<dyn Fn(Pin<Box<dyn Future<Output = Exit> + Send>>) + Send + Sync>;

type Make = Box<dyn Fn() -> StartSpec + Send + Sync>;

/// Many machines.
pub struct Manager {
    spawn: Spawn,
    /// Held for short sections without await.
    machines: Mutex<BTreeMap<Uuid, Arc<Machine>>>,
}

struct Machine {
    make: Make,
    /// One call after another.
    turn: tokio::sync::Mutex<()>,
    /// How many calls destroy it, or have destroyed it: while there is one, calls that wait for their turn come to nothing.
    gone: watch::Sender<usize>,
    /// Held for short sections without await.
    now: Mutex<Now>,
}

/// The process of a machine and what is being done with it.
#[derive(Clone, Debug, Default)]
struct Now {
    vm: Option<Vm>,
    /// A process that has not answered since it was adopted, and what it leaves.
    held: Option<(Arc<Process>, Arc<Left>)>,
    /// A process that was killed and may not have ended yet.
    ending: Option<Vm>,
    /// It was killed, and the kernel holds it.
    is_stuck: bool,
    doing: Option<State>,
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.states()).finish()
    }
}

impl Manager {
    /// A manager without machines.
    #[must_use]
    pub fn new(spawn: Spawn) -> Self {
        Self { spawn, machines: Mutex::default() }
    }

    /// Adds a machine, stopped. `make` describes each start of it anew, as descriptors can be handed over once only.
    ///
    /// # Errors
    /// [`ManagerError::Exists`].
    pub fn create(
        &self,
        id: Uuid,
        make: impl Fn() -> StartSpec + Send + Sync + 'static,
    ) -> Result<(), ManagerError> {
        let mut machines = guarded(&self.machines);
        if machines.contains_key(&id) {
            return Err(ManagerError::Exists(id));
        }
        let machine = Machine {
            make: Box::new(make),
            turn: tokio::sync::Mutex::default(),
            gone: watch::Sender::new(0),
            now: Mutex::default(),
        };
        machines.insert(id, Arc::new(machine));
        Ok(())
    }

    /// Adds a machine that an earlier manager may have started in `run_dir`: takes its process over if it is there, whether it was
    /// recorded or not ([`adopt_in`]). It is stopped if it is not, and unknown while it does not answer: it is taken over when it does.
    ///
    /// # Errors
    /// [`ManagerError::Exists`], [`ManagerError::Adopt`]; the machine is not added then.
    pub async fn adopt(
        &self,
        id: Uuid,
        run_dir: &Path,
        supervision: Supervision,
        deadline: Duration,
        make: impl Fn() -> StartSpec + Send + Sync + 'static,
    ) -> Result<State, ManagerError> {
        if guarded(&self.machines).contains_key(&id) {
            return Err(ManagerError::Exists(id));
        }
        let adopted = adopt_in(id, run_dir, deadline, supervision).await;
        let adopted = adopted.map_err(|source| ManagerError::Adopt { id, source })?;
        self.create(id, make)?;
        let machine = self.machine(id)?;
        match adopted {
            Adoption::Gone(_) => {}
            Adoption::Adopted(vm, supervisor) => {
                guarded(&machine.now).vm = Some(vm.clone());
                (self.spawn)(Box::pin(looked_after(vm, supervisor)));
            }
            Adoption::Unresponsive(held) => {
                guarded(&machine.now).held = Some(held.held());
                (self.spawn)(Box::pin(answers(machine.clone(), *held, deadline)));
            }
        }
        Ok(machine.state())
    }

    /// What a machine is doing, as far as is known now.
    ///
    /// # Errors
    /// [`ManagerError::NoMachine`].
    pub fn state(&self, id: Uuid) -> Result<State, ManagerError> {
        self.machine(id).map(|machine| machine.state())
    }

    /// The same of all.
    #[must_use]
    pub fn states(&self) -> BTreeMap<Uuid, State> {
        guarded(&self.machines).iter().map(|(id, machine)| (*id, machine.state())).collect()
    }

    /// The handle of a machine that has a process, for everything else.
    ///
    /// # Errors
    /// [`ManagerError::NoMachine`], [`ManagerError::Stopped`].
    pub fn vm(&self, id: Uuid) -> Result<Vm, ManagerError> {
        self.machine(id)?.vm(id)
    }

    /// Starts a machine and lets its guest run, unless it waits for a state ([`crate::Incoming::State`]).
    ///
    /// A call that is dropped ends what it started.
    ///
    /// # Errors
    /// [`ManagerError`]; nothing runs then.
    pub async fn start(&self, id: Uuid) -> Result<(), ManagerError> {
        self.begin(id, Guest::Runs).await
    }

    /// Starts a machine whose guest stands until [`Manager::resume`].
    ///
    /// # Errors
    /// As [`Manager::start`].
    pub async fn start_paused(&self, id: Uuid) -> Result<(), ManagerError> {
        self.begin(id, Guest::Stands).await
    }

    async fn begin(&self, id: Uuid, guest: Guest) -> Result<(), ManagerError> {
        let machine = self.machine(id)?;
        let _turn = machine.turn(id).await?;
        match machine.vm(id) {
            Ok(_) => return Err(ManagerError::Started(id)),
            Err(ManagerError::Stopped(_)) => {}
            Err(error) => return Err(error),
        }
        let _doing = machine.doing(State::Creating);
        let ending = guarded(&machine.now).ending.clone();
        if let Some(vm) = ending {
            vm.kill().await.map_err(|source| ManagerError::End { id, source })?;
            guarded(&machine.now).ending = None;
        }
        guarded(&machine.now).is_stuck = false;
        let spec = (machine.make)();
        let resumes = (guest, spec.incoming) == (Guest::Runs, Incoming::Nothing);
        let mut gone = machine.gone.subscribe();
        // Cancel safety: a start that is dropped ends its process.
        let started = tokio::select! {
            started = start(spec) => started,
            _ = gone.wait_for(|gone| *gone > 0) => return Err(ManagerError::NoMachine(id)),
        };
        let (vm, supervisor) = started.map_err(|source| ManagerError::Start { id, source })?;
        guarded(&machine.now).vm = Some(vm.clone());
        (self.spawn)(Box::pin(looked_after(vm.clone(), Box::pin(supervisor))));
        let unfinished = Unfinished(&machine);
        if resumes {
            vm.resume().await.map_err(|source| ManagerError::Call { action: "start", id, source })?;
        }
        std::mem::forget(unfinished);
        Ok(())
    }

    /// Stops the guest's CPUs.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub async fn pause(&self, id: Uuid) -> Result<(), ManagerError> {
        let machine = self.machine(id)?;
        let _turn = machine.turn(id).await?;
        machine.vm(id)?.pause().await.map_err(|source| ManagerError::Call { action: "pause", id, source })
    }

    /// Lets them go on; wakes a guest that sleeps.
    ///
    /// # Errors
    /// [`ManagerError`]; [`ManagerError::Sent`] for a guest that may run elsewhere by now, [`ManagerError::Arriving`] for one that may still run
    /// there.
    pub async fn resume(&self, id: Uuid) -> Result<(), ManagerError> {
        let machine = self.machine(id)?;
        let _turn = machine.turn(id).await?;
        let failed = |source| ManagerError::Call { action: "resume", id, source };
        let vm = machine.vm(id)?;
        match vm.qmp().call(&QueryStatus {}).await.map_err(failed)?.status {
            RunState::Postmigrate => Err(ManagerError::Sent(id)),
            RunState::Inmigrate => Err(ManagerError::Arriving(id)),
            RunState::Suspended => vm.wake().await.map_err(failed),
            _ => vm.resume().await.map_err(failed),
        }
    }

    /// Resets the machine.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub async fn reset(&self, id: Uuid) -> Result<(), ManagerError> {
        let machine = self.machine(id)?;
        let _turn = machine.turn(id).await?;
        machine.vm(id)?.reset().await.map_err(|source| ManagerError::Call { action: "reset", id, source })
    }

    /// Ends a machine by the first rung that does; see [`Ladder`].
    ///
    /// # Errors
    /// [`ManagerError`].
    pub async fn shutdown(&self, id: Uuid, ladder: Ladder<'_>) -> Result<(Rung, Exit), ManagerError> {
        let machine = self.machine(id)?;
        let _turn = machine.turn(id).await?;
        let vm = machine.vm(id)?;
        let _doing = machine.doing(State::ShuttingDown);
        let ended = vm.shutdown(ladder).await.map_err(|source| machine.not_ended(id, source))?;
        guarded(&machine.now).vm = None;
        Ok(ended)
    }

    /// Ends a machine at once, whatever it is doing, and forgets it. Calls for it that are going on or wait for their turn fail.
    ///
    /// # Errors
    /// [`ManagerError`]; the machine is kept when its process could not be ended.
    pub async fn destroy(&self, id: Uuid) -> Result<(), ManagerError> {
        let machine = self.machine(id)?;
        // A start that is going on gives up at this, and none begins. A call that is dropped leaves the machine as it is then: it can be
        // destroyed again, or used.
        let doomed = Doomed::begin(&machine.gone);
        let ended = async {
            // Not in turn: this is for machines whose calls do not come back.
            machine.end(id).await?;
            let _turn = machine.turn.lock().await;
            // What a start began before it gave up.
            machine.end(id).await
        };
        let ended = ended.await;
        if ended.is_ok() {
            // Another call may have done so, and a machine of this identity be there anew.
            let mut machines = guarded(&self.machines);
            if machines.get(&id).is_some_and(|known| Arc::ptr_eq(known, &machine)) {
                machines.remove(&id);
            }
            std::mem::forget(doomed);
        }
        ended
    }

    fn machine(&self, id: Uuid) -> Result<Arc<Machine>, ManagerError> {
        guarded(&self.machines).get(&id).cloned().ok_or(ManagerError::NoMachine(id))
    }
}

impl Machine {
    /// Waits for the calls before this one.
    async fn turn(&self, id: Uuid) -> Result<tokio::sync::MutexGuard<'_, ()>, ManagerError> {
        let turn = self.turn.lock().await;
        if *self.gone.borrow() > 0 { Err(ManagerError::NoMachine(id)) } else { Ok(turn) }
    }

    /// Kills its process and waits for the end of it.
    async fn end(&self, id: Uuid) -> Result<(), ManagerError> {
        let Now { vm, held, ending, .. } = guarded(&self.now).clone();
        let failed = |source| self.not_ended(id, source);
        for vm in vm.into_iter().chain(ending) {
            vm.kill().await.map_err(failed)?;
        }
        if let Some((process, left)) = held {
            process.killed(ENDS).await.map_err(failed)?;
            left.removed().await;
        }
        Ok(())
    }

    /// Notes what the kernel holds.
    fn not_ended(&self, id: Uuid, source: io::Error) -> ManagerError {
        guarded(&self.now).is_stuck = Held::is(&source);
        ManagerError::End { id, source }
    }

    fn state(&self) -> State {
        let Now { vm, held, is_stuck, doing, .. } = guarded(&self.now).clone();
        if let Some(doing) = doing {
            return doing;
        }
        if held.is_some() {
            return if is_stuck { State::ShuttingDown } else { State::Unknown };
        }
        let Some(status) = vm.map(|vm| vm.watch()) else { return State::Stopped };
        let is_looked_after = status.has_changed().is_ok();
        let status = status.borrow();
        match (status.exit, &status.responsive, &status.run_state) {
            (Some(_), _, _) => State::Stopped,
            _ if is_stuck => State::ShuttingDown,
            // What it said last may be long ago.
            _ if !is_looked_after => State::Unknown,
            (None, Responsive::No(_), _) => State::Unknown,
            (None, Responsive::Yes, RunState::Running) => State::Running,
            (None, Responsive::Yes, RunState::Shutdown) => State::ShuttingDown,
            (None, Responsive::Yes, _) => State::Paused,
        }
    }

    /// The handle of a process that lives.
    fn vm(&self, id: Uuid) -> Result<Vm, ManagerError> {
        let Now { vm, held, .. } = guarded(&self.now).clone();
        if held.is_some() {
            return Err(ManagerError::Unresponsive(id));
        }
        vm.filter(|vm| vm.status().exit.is_none()).ok_or(ManagerError::Stopped(id))
    }

    /// Shown as the state until dropped, also when the call is given up.
    fn doing(&self, state: State) -> Doing<'_> {
        guarded(&self.now).doing = Some(state);
        Doing(self)
    }
}

/// What becomes of the guest of a machine that is started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guest {
    Runs,
    Stands,
}

/// A start that has a process and is not done: with it the process ends.
struct Unfinished<'m>(&'m Machine);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let mut now = guarded(&self.0.now);
        let Some(vm) = now.vm.take() else { return };
        if let Err(error) = vm.end() {
            tracing::debug!(pid = vm.record().pid, %error, "cannot kill a process whose start was given up");
        }
        now.ending = Some(vm);
    }
}

/// A machine that is being destroyed by a call, unless this is dropped; by others it may be all the same.
struct Doomed<'m>(&'m watch::Sender<usize>);

impl<'m> Doomed<'m> {
    fn begin(gone: &'m watch::Sender<usize>) -> Self {
        gone.send_modify(|count| *count += 1);
        Self(gone)
    }
}

impl Drop for Doomed<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

struct Doing<'m>(&'m Machine);

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        guarded(&self.0.now).doing = None;
    }
}

/// Supervises a machine, and ends its process when its guest is off, which nobody else does.
async fn looked_after(vm: Vm, supervisor: Supervisor) -> Exit {
    let ends = async {
        let mut status = vm.watch();
        let is_off = |status: &Status| status.exit.is_none() && status.run_state == RunState::Shutdown;
        loop {
            // Supervision ends with the process, and with it what it tells.
            let ended_or_off = status.wait_for(|status| status.exit.is_some() || is_off(status)).await;
            if ended_or_off.map_or(true, |status| status.exit.is_some()) {
                return;
            }
            nothing_is_left(&vm).await;
            // It may have been reset meanwhile, and run.
            if is_off(&vm.status()) {
                break;
            }
        }
        if let Err(error) = vm.quit(Ladder::default().quit).await {
            tracing::debug!(pid = vm.record().pid, %error, "cannot end the process of a guest that is off");
        }
    };
    tokio::join!(supervisor, ends).0
}

/// Waits until nothing is at work any more in a machine whose guest is off: a backup that somebody waits for or reads is finished first, and a
/// guest that is being moved arrives as it is. What is seen to come no further is broken off after ten minutes.
async fn nothing_is_left(vm: &Vm) {
    let mut patience = Patience::default();
    // What does not answer is not waited for.
    while let Ok(work) = vm.at_work().await
        && !patience.is_over(work, TRY_AGAIN)
    {
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Takes a machine over that did not answer, when it does.
async fn answers(machine: Arc<Machine>, mut held: Unresponsive, deadline: Duration) -> Exit {
    let (process, _) = held.held();
    loop {
        match held.retry(deadline).await {
            Adoption::Adopted(vm, supervisor) => {
                {
                    let mut now = guarded(&machine.now);
                    (now.held, now.vm) = (None, Some(vm.clone()));
                }
                return looked_after(vm, supervisor).await;
            }
            Adoption::Gone(_) => {
                guarded(&machine.now).held = None;
                return process.exited().await;
            }
            Adoption::Unresponsive(again) => held = *again,
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Between looks at a machine; at one that does not answer, each waits for its answer first.
const TRY_AGAIN: Duration = Duration::from_millis(500);

type Supervisor = Pin<Box<dyn Future<Output = Exit> + Send>>;

#[cfg(test)]
mod tests;
