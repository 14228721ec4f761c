//! One slot per instance: what is known of its guest, and the task that watches it.
//!
//! ```text
//!   Unknown --find()--> Live      a process that answers, supervised by a task
//!      ^                 |  ^
//!      |                 v  | retried by a task, no polling
//!      |               Silent    a process that does not answer, held all the same
//!      |                 |
//!      '--(start cut)--  Gone    no process; how its guest ended, if it did by itself
//! ```

mod observe;
mod supervise;

use crate::{
    cgroup,
    console::Keyboard,
    convert, error,
    layout::{EndFacts, Facts, GuestFacts, InstanceFacts, Layout},
};
use hv_core::InstanceId;
use hv_driver::{DriverError, DriverErrorKind, End, Guest, Observation};
use hv_runtime::{
    clock,
    tasks::{TaskKind, Tasks, blocking},
};
use qemu::{Adoption, Exit, Record, Supervision, Unresponsive, Vm, adopt};
use std::{
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

/// The tasks of this driver. Each ends with its guest or with the driver, whichever is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Supervises a process that answers.
    Guest,
    /// Waits for a process that does not.
    Silent,
    /// Passes on what is typed at a guest's console.
    Keyboard,
}

impl TaskKind for Task {
    fn name(self) -> &'static str {
        match self {
            Self::Guest => "qemu-guest",
            Self::Silent => "qemu-silent",
            Self::Keyboard => "qemu-keyboard",
        }
    }

    fn is_vital(self) -> bool {
        false
    }
}

/// What all slots share.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) tasks: Tasks,
    pub(crate) events: broadcast::Sender<InstanceId>,
    /// Cancelled when the driver is dropped or the program ends; guests run on.
    pub(crate) stop: CancellationToken,
    pub(crate) supervision: Supervision,
}

/// An instance.
pub(crate) struct Slot {
    pub(crate) id: InstanceId,
    pub(crate) layout: Layout,
    /// One at a time prepares, starts, ends and deletes; held by blocking work too, so that a repeated call waits for one
    /// that was cut off.
    pub(crate) work: Arc<tokio::sync::Mutex<()>>,
    /// One at a time looks for a process: a monitor has one client.
    finding: tokio::sync::Mutex<()>,
    /// Held for short sections without await.
    known: Mutex<Known>,
    around: Around,
}

#[derive(Clone)]
pub(crate) enum Known {
    /// Nobody has looked.
    Unknown,
    /// Its process is being started.
    Starting,
    /// There is no process.
    Gone(Option<End>),
    /// It answers, or did when last asked.
    Live(Arc<Live>),
    /// It is there and has not answered yet.
    Silent(Arc<Silent>),
}

/// A process that is supervised.
pub(crate) struct Live {
    pub(crate) vm: Vm,
    pub(crate) facts: GuestFacts,
    pub(crate) keyboard: Keyboard,
    /// It is being ended by us: its end is no news.
    ending: AtomicBool,
    /// There is room again for what QEMU could not write; says nothing unless it has stalled.
    room: AtomicBool,
    /// Told when the power button was pressed, which is pressed again from then on.
    pub(crate) button: Notify,
    /// Where its disks are.
    dir: PathBuf,
    /// Becomes true when the process is gone and all that is to be known of its end is on disk.
    pub(crate) settled: watch::Receiver<bool>,
}

/// A process that is held and does not answer.
pub(crate) struct Silent {
    record: Record,
    facts: GuestFacts,
    /// Why it counts as silent.
    reason: Mutex<String>,
    ending: AtomicBool,
    settled: watch::Receiver<bool>,
}

/// What an earlier guest has left on disk.
enum Traces {
    /// The record of a process that lives, or of the last one that did.
    Process { record: Box<Record>, facts: Box<GuestFacts>, same_boot: bool },
    /// Something lives here that left no record.
    Stranger,
    /// Nothing lives here.
    End(Option<End>),
}

type Supervisor = Pin<Box<dyn Future<Output = Exit> + Send>>;

impl Slot {
    pub(crate) fn new(id: InstanceId, layout: Layout, around: Around) -> Self {
        Self {
            id,
            layout,
            work: Arc::default(),
            finding: tokio::sync::Mutex::default(),
            known: Mutex::new(Known::Unknown),
            around,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, known: Known) {
        *self.known() = known;
        self.changed();
    }

    fn changed(&self) {
        // Without a subscriber nobody needs to know.
        let _ = self.around.events.send(self.id);
    }

    /// Marks that a process is being started; [`Slot::begin`] completes it, dropping undoes it.
    pub(crate) fn starting(self: &Arc<Self>) -> Starting {
        *self.known() = Known::Starting;
        Starting { slot: self.clone(), begun: false }
    }

    /// What there is, looking for it when nobody has. Bounded in time.
    pub(crate) async fn find(self: &Arc<Self>, operation: &'static str) -> Result<Known, DriverError> {
        let already = |known: &Known| (!matches!(known, Known::Unknown)).then(|| known.clone());
        if let Some(known) = already(&self.known()) {
            return Ok(known);
        }
        let _finding = self.finding.lock().await;
        if let Some(known) = already(&self.known()) {
            return Ok(known);
        }
        self.look(operation).await
    }

    async fn look(self: &Arc<Self>, operation: &'static str) -> Result<Known, DriverError> {
        let failed = |error: io::Error| error::io(operation, "cannot look for the guest", &error);
        let (record, facts, same_boot) = match self.on_files(Self::traces).await.map_err(failed)? {
            Traces::Process { record, facts, same_boot } => (*record, *facts, same_boot),
            Traces::Stranger => {
                let lock = self.layout.run().join("lock");
                let message = format!("a process that is not known holds {}", lock.display());
                return Err(DriverError::new(DriverErrorKind::Unresponsive, operation, message));
            }
            Traces::End(end) => {
                let gone = Known::Gone(end);
                *self.known() = gone.clone();
                return Ok(gone);
            }
        };
        let adopted = adopt(record.clone(), ANSWER, self.around.supervision).await.map_err(failed)?;
        let known = match adopted {
            Adoption::Adopted(vm, supervisor) => {
                tracing::info!(instance = %self.id, pid = record.pid, "adopted a running guest");
                Known::Live(self.begin(vm, supervisor, facts))
            }
            Adoption::Unresponsive(held) => Known::Silent(self.wait_for(held, record, facts)),
            // The host's reboot ended it; that is no failure of the guest. Its control group ended with it.
            Adoption::Gone(_) if !same_boot => Known::Gone(None),
            Adoption::Gone(_) => {
                let end = move |slot: &Self| {
                    cgroup::remove(&facts.cgroup);
                    slot.end_on_disk().unwrap_or_else(|| {
                        let words = slot.layout.last_words(facts.log_start);
                        let words = if words.is_empty() { words } else { format!(": {words}") };
                        End::Failed(format!("the QEMU process ended while nobody watched{words}"))
                    })
                };
                Known::Gone(Some(self.on_files(end).await))
            }
        };
        self.set(known.clone());
        Ok(known)
    }

    /// Runs work on this instance's files where it may block.
    async fn on_files<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let slot = self.clone();
        blocking(move || work(&slot)).await
    }

    fn traces(&self) -> io::Result<Traces> {
        let Some(record) = self.record()? else {
            return Ok(match self.layout.is_occupied()? {
                true => Traces::Stranger,
                false => Traces::End(self.end_on_disk()),
            });
        };
        let facts = GuestFacts::load(&self.layout.run()).ok().flatten().unwrap_or_else(GuestFacts::unknown);
        let same_boot = record.boot_id == clock::boot_id();
        Ok(Traces::Process { record: Box::new(record), facts: Box::new(facts), same_boot })
    }

    /// The record of a process that lives, or of the last one that did.
    fn record(&self) -> io::Result<Option<Record>> {
        let run = self.layout.run();
        if let Some(record) = Record::load(&run)? {
            return Ok(Some(record));
        }
        if !self.layout.is_occupied()? {
            return Ok(None);
        }
        // The driver before was killed between the start of the process and its record.
        let found = Record::find(self.id.uuid(), &run)?;
        if let Some(record) = &found {
            record.save(&run)?;
        }
        Ok(found)
    }

    fn end_on_disk(&self) -> Option<End> {
        let end = EndFacts::load(&self.layout.run()).ok().flatten()?;
        (end.boot_id == clock::boot_id()).then(|| end.failure.map_or(End::PoweredOff, End::Failed))
    }

    /// Takes a process over: from now on a task supervises it.
    pub(crate) fn begin(self: &Arc<Self>, vm: Vm, supervisor: Supervisor, facts: GuestFacts) -> Arc<Live> {
        let (settled, settled_seen) = watch::channel(false);
        let keyboard = Keyboard::new(vm.record().console_socket.clone(), self.around.clone());
        let live = Arc::new(Live {
            vm,
            facts,
            keyboard,
            ending: AtomicBool::new(false),
            room: AtomicBool::new(false),
            button: Notify::new(),
            dir: self.layout.dir.clone(),
            settled: settled_seen,
        });
        self.set(Known::Live(live.clone()));
        self.around
            .tasks
            .spawn(Task::Guest, supervise::supervise(self.clone(), live.clone(), supervisor, settled));
        live
    }

    fn wait_for(self: &Arc<Self>, held: Box<Unresponsive>, record: Record, facts: GuestFacts) -> Arc<Silent> {
        let (settled, settled_seen) = watch::channel(false);
        let silent = Arc::new(Silent {
            record,
            facts,
            reason: Mutex::new(held.reason().to_owned()),
            ending: AtomicBool::new(false),
            settled: settled_seen,
        });
        self.around.tasks.spawn(Task::Silent, supervise::wait(self.clone(), silent.clone(), held, settled));
        silent
    }

    /// Ends whatever process there is and forgets it. The caller holds `work`.
    pub(crate) async fn end(self: &Arc<Self>) -> Result<(), DriverError> {
        let failed = |error: io::Error| error::io("kill", "cannot end the QEMU process", &error);
        let mut settled = match self.find("kill").await? {
            Known::Live(live) => {
                live.ending.store(true, Ordering::Release);
                if live.vm.status().responsive == qemu::Responsive::Yes {
                    // In order where that is possible: QEMU writes back what it holds of the disks.
                    live.vm.quit(QUIT).await.map_err(failed)?;
                } else {
                    live.vm.kill().await.map_err(failed)?;
                }
                live.settled.clone()
            }
            Known::Silent(silent) => {
                silent.ending.store(true, Ordering::Release);
                match adopt(silent.record.clone(), Duration::ZERO, self.around.supervision)
                    .await
                    .map_err(failed)?
                {
                    Adoption::Adopted(vm, _) => vm.kill().await.map(drop).map_err(failed)?,
                    Adoption::Unresponsive(held) => held.kill().await.map(drop).map_err(failed)?,
                    Adoption::Gone(_) => {}
                }
                silent.settled.clone()
            }
            Known::Unknown | Known::Starting | Known::Gone(_) => watch::channel(true).1,
        };
        // An error is a task that has ended without a word: the program is ending.
        let _ = settled.wait_for(|settled| *settled).await;
        self.on_files(|slot| slot.layout.forget_guest()).await.map_err(failed)?;
        self.set(Known::Gone(None));
        Ok(())
    }

    /// What there is, in the contract's terms.
    pub(crate) async fn observe(self: &Arc<Self>) -> Result<Observation, DriverError> {
        let mut known = self.find("observe").await?;
        if let Known::Live(live) = &known
            && live.vm.status().exit.is_some()
        {
            // It has ended this moment, and its task is about to read its last words. An error is that task's end.
            let _ = live.settled.clone().wait_for(|settled| *settled).await;
            known = self.find("observe").await?;
        }
        let observation = match known {
            Known::Live(live) => live.observe(),
            Known::Silent(silent) => silent.observe(),
            Known::Gone(Some(end)) => Observation { guest: Guest::Ended(end), ..Observation::absent() },
            Known::Unknown | Known::Starting | Known::Gone(None) => Observation::absent(),
        };
        let dir = self.layout.dir.clone();
        // Facts that cannot be read say nothing of the guest.
        let Some(facts) = blocking(move || InstanceFacts::load(&dir).ok().flatten()).await else {
            return Ok(observation);
        };
        let warning = facts.boot_warning.map(|warning| ("boot_warning".to_owned(), warning));
        let details = observation.details.into_iter().chain(warning).collect();
        Ok(Observation { root_disk_bytes: facts.root_disk_bytes, details, ..observation })
    }

    /// The guest, which must run or be halted.
    pub(crate) async fn live(self: &Arc<Self>, operation: &'static str) -> Result<Arc<Live>, DriverError> {
        match self.find(operation).await? {
            Known::Live(live)
                if matches!(convert::guest_of(&live.vm.status()), Some(Guest::Running | Guest::Paused)) =>
            {
                Ok(live)
            }
            Known::Silent(silent) => {
                Err(DriverError::new(DriverErrorKind::Unresponsive, operation, silent.why()))
            }
            _ => Err(DriverError::new(
                DriverErrorKind::NotFound,
                operation,
                format!("the instance {} has no guest", self.id),
            )),
        }
    }
}

/// A start under way.
pub(crate) struct Starting {
    slot: Arc<Slot>,
    begun: bool,
}

impl Starting {
    /// There is a process.
    pub(crate) fn begin(mut self, vm: Vm, supervisor: Supervisor, facts: GuestFacts) -> Arc<Live> {
        self.begun = true;
        self.slot.begin(vm, supervisor, facts)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if !self.begun {
            // Whoever asks next looks at what is really there.
            *self.slot.known() = Known::Unknown;
        }
    }
}

impl Slot {
    fn settle(&self, settled: watch::Sender<bool>, end: Option<End>) {
        *self.known() = Known::Gone(end);
        settled.send_replace(true);
        self.changed();
    }
}

/// How long a process that was found may take to answer; the contract wants observations bounded.
const ANSWER: Duration = Duration::from_secs(3);

/// How long QEMU may take to end in order.
const QUIT: Duration = Duration::from_secs(3);
