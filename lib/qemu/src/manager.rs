//! Many machines under one roof: what each is doing, and the calls that change it.
//!
//! ```text
//!            start                pause
//!  stopped --------> creating --> running <------> paused
//!     ^                             |   resume        |
//!     '------- shutting down <------'-----------------'        unknown: it does not answer
//! ```
//!
//! Calls for one machine happen one after another; machines never wait for each other, and asking for a state waits for nobody.

use crate::{
    Adoption, Exit, Incoming, Ladder, Record, Responsive, Rung, StartError, StartSpec, Supervision,
    Unresponsive, Vm, adopt, start,
};
use qmp::{CallError, commands::RunState};
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    /// Its guest stands: it was paused, or it is off and its process waits to be ended.
    Paused,
    /// It is being ended.
    ShuttingDown,
    /// Its process does not answer.
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
    /// It has a process that does not answer.
    #[error("the machine {id} runs and does not answer: {}", held.reason())]
    Unresponsive {
        /// The machine.
        id: Uuid,
        /// To try again, or to end it.
        held: Box<Unresponsive>,
    },
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
    /// The process could not be ended.
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
    /// It was destroyed: calls that still wait for their turn come to nothing.
    gone: watch::Sender<bool>,
    /// Held for short sections without await.
    now: Mutex<Now>,
}

/// The process of a machine and what is being done with it.
#[derive(Clone, Debug, Default)]
struct Now {
    vm: Option<Vm>,
    /// A process that was killed and may not have ended yet.
    ending: Option<Vm>,
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
        let mut machines = lock(&self.machines);
        if machines.contains_key(&id) {
            return Err(ManagerError::Exists(id));
        }
        let machine = Machine {
            make: Box::new(make),
            turn: tokio::sync::Mutex::default(),
            gone: watch::Sender::new(false),
            now: Mutex::default(),
        };
        machines.insert(id, Arc::new(machine));
        Ok(())
    }

    /// Adds a machine that an earlier manager may have started in `run_dir`: takes its process over if it is there, whether it was
    /// recorded or not. It is stopped if it is not.
    ///
    /// # Errors
    /// [`ManagerError::Exists`], [`ManagerError::Unresponsive`] with a hold on the process, [`ManagerError::Adopt`]; the machine is not added
    /// then.
    pub async fn adopt(
        &self,
        id: Uuid,
        run_dir: &Path,
        supervision: Supervision,
        deadline: Duration,
        make: impl Fn() -> StartSpec + Send + Sync + 'static,
    ) -> Result<State, ManagerError> {
        let failed = |source| ManagerError::Adopt { id, source };
        if lock(&self.machines).contains_key(&id) {
            return Err(ManagerError::Exists(id));
        }
        let written = match Record::load(run_dir) {
            // What is no record tells as little as none.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            written => written.map_err(failed)?,
        };
        let adopted = match written {
            Some(record) => taken_over(id, record, deadline, supervision).await?,
            None => None,
        };
        let adopted = match adopted {
            // Also where the record is of a process that is gone: a start after that one may not have come to writing its own.
            None => match Record::find(id, run_dir).map_err(failed)? {
                Some(record) => taken_over(id, record, deadline, supervision).await?,
                None => None,
            },
            adopted => adopted,
        };
        self.create(id, make)?;
        let machine = self.machine(id)?;
        if let Some((vm, supervisor)) = adopted {
            (self.spawn)(supervisor);
            lock(&machine.now).vm = Some(vm);
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
        lock(&self.machines).iter().map(|(id, machine)| (*id, machine.state())).collect()
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
        if machine.vm(id).is_ok() {
            return Err(ManagerError::Started(id));
        }
        let _doing = machine.doing(State::Creating);
        let ending = lock(&machine.now).ending.clone();
        if let Some(vm) = ending {
            vm.exited().await;
            lock(&machine.now).ending = None;
        }
        let spec = (machine.make)();
        let resumes = (guest, spec.incoming) == (Guest::Runs, Incoming::Nothing);
        let mut gone = machine.gone.subscribe();
        // Cancel safety: a start that is dropped ends its process.
        let started = tokio::select! {
            started = start(spec) => started,
            _ = gone.wait_for(|gone| *gone) => return Err(ManagerError::NoMachine(id)),
        };
        let (vm, supervisor) = started.map_err(|source| ManagerError::Start { id, source })?;
        (self.spawn)(Box::pin(supervisor));
        lock(&machine.now).vm = Some(vm.clone());
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

    /// Lets them go on.
    ///
    /// # Errors
    /// [`ManagerError`].
    pub async fn resume(&self, id: Uuid) -> Result<(), ManagerError> {
        let machine = self.machine(id)?;
        let _turn = machine.turn(id).await?;
        machine.vm(id)?.resume().await.map_err(|source| ManagerError::Call { action: "resume", id, source })
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
        let ended = vm.shutdown(ladder).await.map_err(|source| ManagerError::End { id, source })?;
        lock(&machine.now).vm = None;
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
        let doomed = Doomed(&machine.gone);
        doomed.0.send_replace(true);
        let ended = async {
            // Not in turn: this is for machines whose calls do not come back.
            machine.end(id).await?;
            let _turn = machine.turn.lock().await;
            // What a start began before it gave up.
            machine.end(id).await
        };
        let ended = ended.await;
        if ended.is_ok() {
            lock(&self.machines).remove(&id);
            std::mem::forget(doomed);
        }
        ended
    }

    fn machine(&self, id: Uuid) -> Result<Arc<Machine>, ManagerError> {
        lock(&self.machines).get(&id).cloned().ok_or(ManagerError::NoMachine(id))
    }
}

impl Machine {
    /// Waits for the calls before this one.
    async fn turn(&self, id: Uuid) -> Result<tokio::sync::MutexGuard<'_, ()>, ManagerError> {
        let turn = self.turn.lock().await;
        if *self.gone.borrow() { Err(ManagerError::NoMachine(id)) } else { Ok(turn) }
    }

    /// Kills its process and waits for the end of it.
    async fn end(&self, id: Uuid) -> Result<(), ManagerError> {
        let Now { vm, ending, .. } = lock(&self.now).clone();
        for vm in vm.into_iter().chain(ending) {
            vm.kill().await.map_err(|source| ManagerError::End { id, source })?;
        }
        Ok(())
    }

    fn state(&self) -> State {
        let Now { vm, doing, .. } = lock(&self.now).clone();
        if let Some(doing) = doing {
            return doing;
        }
        let Some(status) = vm.map(|vm| vm.status()) else { return State::Stopped };
        match (status.exit, &status.responsive, &status.run_state) {
            (Some(_), _, _) => State::Stopped,
            (None, Responsive::No(_), _) => State::Unknown,
            (None, Responsive::Yes, RunState::Running) => State::Running,
            (None, Responsive::Yes, _) => State::Paused,
        }
    }

    /// The handle of a process that lives.
    fn vm(&self, id: Uuid) -> Result<Vm, ManagerError> {
        let vm = lock(&self.now).vm.clone();
        vm.filter(|vm| vm.status().exit.is_none()).ok_or(ManagerError::Stopped(id))
    }

    /// Shown as the state until dropped, also when the call is given up.
    fn doing(&self, state: State) -> Doing<'_> {
        lock(&self.now).doing = Some(state);
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
        let mut now = lock(&self.0.now);
        let Some(vm) = now.vm.take() else { return };
        if let Err(error) = vm.end() {
            tracing::debug!(pid = vm.record().pid, %error, "cannot kill a process whose start was given up");
        }
        now.ending = Some(vm);
    }
}

/// A machine that is being destroyed, unless this is dropped.
struct Doomed<'m>(&'m watch::Sender<bool>);

impl Drop for Doomed<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

struct Doing<'m>(&'m Machine);

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        lock(&self.0.now).doing = None;
    }
}

/// The machine of a record; `None` when its process is gone.
async fn taken_over(
    id: Uuid,
    record: Record,
    deadline: Duration,
    supervision: Supervision,
) -> Result<Option<(Vm, Supervisor)>, ManagerError> {
    match adopt(record, deadline, supervision).await {
        Ok(Adoption::Adopted(vm, supervisor)) => Ok(Some((vm, supervisor))),
        Ok(Adoption::Gone(_)) => Ok(None),
        Ok(Adoption::Unresponsive(held)) => Err(ManagerError::Unresponsive { id, held }),
        Err(source) => Err(ManagerError::Adopt { id, source }),
    }
}

type Supervisor = Pin<Box<dyn Future<Output = Exit> + Send>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
