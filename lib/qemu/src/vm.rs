//! A running machine: one future watches it, any number of [`Vm`] handles command it.
//!
//! ```text
//!   pidfd ---------.
//!   QMP events -----+--> supervising future --> watch channel of [`Status`]
//!   bounded probe -'
//!   Vm handles --------> QMP client (own deadline per call; never wait for the future)
//! ```
//!
//! A monitor connection that ends while the process lives is opened again, with growing pauses, by the same future:
//! handles and watchers stay valid, and calls fail meanwhile. QEMU tells a new connection nothing of the past, so the state
//! is read anew.

mod ops;
mod shutdown;
mod supervisor;

pub use ops::{
    Channel, ClientTls, Connected, Consistency, Copied, CopyTarget, Eject, Expiry, FoundJob, GuestMemory,
    Job, MigrateError, Migrated, Migration, MigrationOptions, MigrationTls, Mirror, MovedDisks, Notes,
    Occupied, OperationError, Overlay, Picture, PullBackup, Pulled, PushBackup, ReadyJob, Route, Screen,
    Served, Taken, Vcpu, Whereabouts,
};
pub(crate) use ops::{Patience, note_of_disk};
pub use shutdown::{Ask, Ladder, Rung, by_agent};
pub(crate) use supervisor::{Tpm, greet, supervised};

use crate::{
    left::Left,
    process::{ENDS, Exit, Process},
    record::Record,
    stats::{self, Stats},
};
use qmp::{
    CallError, Client, ErrorClass, Event, Refusal,
    commands::{Command, Cont, QueryBlockstats, QueryStatus, RunState, Stop, SystemPowerdown, SystemReset},
    events::ShutdownCause,
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use supervisor::Readings;
use tokio::sync::{mpsc, watch};

/// How a running machine is watched.
#[derive(Clone, Copy, Debug)]
pub struct Supervision {
    /// Pause between two probes of a machine that answers. Default 5 s; costs one short command each time.
    pub interval: Duration,
    /// How long a probe may take before the machine counts as unresponsive. Default 3 s.
    pub patience: Duration,
}

impl Default for Supervision {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), patience: Duration::from_secs(3) }
    }
}

/// What is known about a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it was doing when it last answered.
    pub run_state: RunState,
    /// Whether QEMU answers.
    pub responsive: Responsive,
    /// Why the guest was shut down, since it last ran.
    pub shutdown: Option<ShutdownCause>,
    /// Resets asked for from inside the guest since supervision began; a firmware may reset several times per reboot.
    pub guest_resets: u64,
    /// Panics that the guest told of since supervision began, through its panic device ([`crate::config::Panic`]).
    pub panics: u64,
    /// How the process that is the machine's TPM ended ([`crate::Swtpm`]). QEMU goes on, and the guest's requests to it fail.
    pub tpm_exit: Option<Exit>,
    /// How the process ended.
    pub exit: Option<Exit>,
}

/// Whether QEMU answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Responsive {
    /// The last probe was answered in time.
    Yes,
    /// It was not, for this reason.
    No(String),
}

/// How a power-down request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Powerdown {
    /// The guest is off; the process waits for [`Vm::quit`].
    Off(ShutdownCause),
    /// The process has ended.
    Exited(Exit),
    /// The guest did not react in time; it may ignore its power button.
    Ignored,
}

/// How often a guest was paused by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pauses(u64);

/// Handle to a machine; clones share it. Dropping all of them leaves the machine running.
#[derive(Clone, Debug)]
pub struct Vm {
    /// The client of the newest connection.
    client: watch::Receiver<Client>,
    process: Arc<Process>,
    record: Arc<Record>,
    left: Arc<Left>,
    status: watch::Receiver<Status>,
    /// Places of devices that are being plugged.
    reserved: ops::Reserved,
    /// Whether an image is being made.
    images: ops::Images,
    /// How often the guest was paused: what stops it for a moment does not resume one that somebody has paused meanwhile.
    pauses: Arc<AtomicU64>,
    /// What supervision does beside its own.
    chores: mpsc::UnboundedSender<supervisor::Chore>,
    /// For a state that is newer than a command.
    readings: Readings,
}

impl Vm {
    /// Identity and places, for adoption by a later manager. The console is reached by connecting to its socket
    /// ([`crate::socket::connect`]); it takes one client at a time.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The monitor, for commands without a method here. Of the newest connection: ask for it again after one that failed.
    ///
    /// QEMU 7.2 ends when it is told `stop` or `query-named-block-nodes` while a job of `blockdev-create` goes on. The methods here wait for
    /// each other; what is told here waits for nothing.
    #[must_use]
    pub fn qmp(&self) -> Client {
        self.client.borrow().clone()
    }

    /// What is known now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Follows [`Status`]. The sender ends with the supervising future.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Lets the guest run. [`Vm::status`] is newer than that on return. One that sleeps goes on sleeping: [`Vm::wake`].
    ///
    /// # Errors
    /// [`CallError`]; refused e.g. after a shutdown, until a reset, and for a guest that has yet to arrive. After one of `query-status` QEMU has
    /// carried it out and is silent since.
    pub async fn resume(&self) -> Result<(), CallError> {
        // No machine begins to wait for a state later than at its start, and whether it still does is not announced.
        if self.status().run_state == RunState::Inmigrate
            && self.qmp().call(&QueryStatus {}).await?.status == RunState::Inmigrate
        {
            // QEMU would say yes, and let it run as soon as it is here, whatever becomes of it at its source (`qmp_cont`: autostart).
            let desc = "the guest is still arriving".to_owned();
            let refusal = Refusal { class: ErrorClass::GenericError, desc };
            return Err(CallError::Refused { command: "cont".to_owned(), refusal });
        }
        self.qmp().call(&Cont {}).await?;
        self.read_again().await.map(drop)
    }

    /// Stops the guest's CPUs. [`Vm::status`] is newer than that on return. One that sleeps is woken for it where QEMU would not stop it (before
    /// 9.0).
    ///
    /// # Errors
    /// [`CallError`], also of [`Vm::wake`]; [`CallError::Deadline`] also where an image that is being made does not come to its end, and then
    /// the guest was not stopped. After one of `query-status` QEMU has been told and is silent since: a guest stands, unless it slept.
    pub async fn pause(&self) -> Result<(), CallError> {
        // QEMU 7.2 would end: `ops/listing.rs`.
        let _none_is_made = self.while_none_is_made("stop").await?;
        loop {
            self.pauses.fetch_add(1, Relaxed);
            self.qmp().call(&Stop {}).await?;
            if self.read_again().await?.run_state != RunState::Suspended {
                return Ok(());
            }
            // QEMU before 9.0 has said yes, and would have it run as soon as it wakes.
            self.wakes().await?;
        }
    }

    /// The pauses until now.
    fn pauses(&self) -> Pauses {
        Pauses(self.pauses.load(Relaxed))
    }

    /// Presses the power button and waits for the guest to power off, at most `deadline` long; presses it again every few seconds meanwhile,
    /// as a guest that is booting does not hear it. One that sleeps is woken.
    ///
    /// # Errors
    /// [`CallError`] of the button, not of the guest.
    pub async fn powerdown(&self, deadline: Duration) -> Result<Powerdown, CallError> {
        let late = tokio::time::sleep(deadline);
        tokio::pin!(late);
        // Cancel safety, here and below: what is waited for goes on when it is dropped, or is of no more interest.
        tokio::select! {
            () = self.stirs() => {}
            () = &mut late => {}
        }
        self.qmp().call(&SystemPowerdown {}).await?;
        tokio::select! {
            biased;
            off = self.off(deadline) => Ok(off),
            () = late => Ok(Powerdown::Ignored),
            never = self.keeps_pressing() => match never {},
        }
    }

    /// Waits for the guest to be off, at most `deadline` long.
    pub(super) async fn off(&self, deadline: Duration) -> Powerdown {
        let mut status = self.status.clone();
        let off = status.wait_for(|status| status.shutdown.is_some() || status.exit.is_some());
        let Ok(settled) = tokio::time::timeout(deadline, off).await else { return Powerdown::Ignored };
        match settled.map(|status| (status.exit, status.shutdown.clone())) {
            Ok((Some(exit), _)) => Powerdown::Exited(exit),
            Ok((None, Some(cause))) => Powerdown::Off(cause),
            Ok((None, None)) => Powerdown::Ignored,
            // Supervision was dropped; the process still tells whether it ended.
            Err(_) => match tokio::time::timeout(deadline, self.process.exited()).await {
                Ok(exit) => Powerdown::Exited(exit),
                Err(_) => Powerdown::Ignored,
            },
        }
    }

    /// Resets the machine as its button would, and waits until its devices are reset and its CPUs begin anew. One that sleeps is woken for it: QEMU
    /// would leave it standing.
    ///
    /// # Errors
    /// [`CallError`], also of [`Vm::wake`] and [`Vm::resume`]; [`CallError::Deadline`] and [`CallError::Closed`] when it is unknown whether the
    /// machine was reset.
    pub async fn reset(&self) -> Result<(), CallError> {
        let (fell_asleep, pauses) = (self.qmp().waiter(|event| event.name == "SUSPEND"), self.pauses());
        self.wakes().await?;
        // QEMU announces it from its main loop, after the devices are reset.
        let is_done = |event: &Event| {
            let reason = event.data.get("reason").and_then(serde_json::Value::as_str);
            event.name == "RESET" && reason == Some("host-qmp-system-reset")
        };
        self.done_when(&SystemReset {}, is_done).await?;
        let stands = self.status().run_state == RunState::Prelaunch;
        // Since it was seen to be awake. Cancel safety: it was heard by now, or never.
        let fell_asleep = tokio::select! {
            biased;
            heard = fell_asleep => heard.is_some(),
            () = std::future::ready(()) => false,
        };
        if stands && fell_asleep && self.pauses() == pauses { self.resume().await } else { Ok(()) }
    }

    /// Has QEMU do what it announces when it is done. [`Vm::status`] is newer than that on return.
    async fn done_when<C: Command>(
        &self,
        command: &C,
        is_done: impl Fn(&Event) -> bool + Send + Sync + 'static,
    ) -> Result<(), CallError> {
        let client = self.qmp();
        let done = client.waiter(is_done);
        client.call(command).await?;
        let name = || C::FACTS.name.to_owned();
        match tokio::time::timeout(ANNOUNCED, done).await {
            Ok(Some(_)) => self.read_again().await.map(drop),
            Ok(None) => Err(CallError::Closed { command: name(), reason: client.closed().await }),
            Err(_) => Err(CallError::Deadline { command: name(), after: ANNOUNCED }),
        }
    }

    /// Ends QEMU in order: disks are flushed, the guest is not asked. After `deadline` by SIGTERM, which flushes them too, and at last by
    /// [`Vm::kill`].
    ///
    /// # Errors
    /// As of [`Vm::kill`].
    pub async fn quit(&self, deadline: Duration) -> io::Result<Exit> {
        if let Some(exit) = self.quits(deadline).await {
            self.left.removed().await;
            return Ok(exit);
        }
        let Ladder { terminate, kill, .. } = Ladder::default();
        self.ended_by_signal(terminate, kill, Rung::Quit).await.map(|(_, exit)| exit)
    }

    /// Ends the process at once, stopped or not, and waits for its end, at most half a minute long.
    ///
    /// # Errors
    /// Missing rights; [`crate::process::Held`] (as [`io::ErrorKind::TimedOut`]) when the kernel does not let go of it, as where a disk of the host
    /// does not answer. It ends by itself when it can, which [`Vm::exited`] waits for.
    pub async fn kill(&self) -> io::Result<Exit> {
        let exit = self.process.killed(ENDS).await?;
        self.left.removed().await;
        Ok(exit)
    }

    /// [`Vm::kill`] without waiting.
    pub(crate) fn end(&self) -> io::Result<()> {
        self.process.kill()
    }

    /// Waits for the end of the process.
    pub async fn exited(&self) -> Exit {
        self.process.exited().await
    }

    /// Opens the guest's agent at the socket of its channel ([`crate::config::Channel::guest_agent`] with
    /// [`crate::config::Stream::Listen`], or at a path of any length with [`crate::config::Stream::ListenOn`]). The connection is driven by the
    /// future that supervises the machine.
    ///
    /// # Errors
    /// Those of `connect`. Whether an agent answers in the guest shows with the first call.
    pub async fn agent(
        &self,
        socket: &std::path::Path,
        options: qmp::agent::Options,
    ) -> io::Result<qmp::agent::Agent> {
        let stream = crate::socket::connect(socket).await?;
        let (agent, driver) = qmp::agent::agent(stream, options);
        // Where nobody supervises the machine the connection ends at once, and calls say so.
        let _ = self.chores.send(supervisor::Chore::Drive(Box::pin(async { drop(driver.await) })));
        Ok(agent)
    }

    /// CPU time and memory of the process, counters of the disks.
    ///
    /// # Errors
    /// [`stats::StatsError`]: an unknown figure is an error, never a zero.
    pub async fn stats(&self) -> Result<Stats, stats::StatsError> {
        let blocks = self.qmp().call(&QueryBlockstats::default()).await?;
        stats::collect(self.process.pid(), blocks)
    }

    /// Waits for a state that was read after this call: replies come before supervision has seen what they did.
    async fn read_again(&self) -> Result<Status, CallError> {
        let read = async {
            let mut ended = self.status.clone();
            // Cancel safety: neither future loses anything when dropped.
            tokio::select! {
                read = self.readings.next() => read,
                ended = ended.wait_for(|status| status.exit.is_some()) => ended.is_ok(),
            }
        };
        let command = || "query-status".to_owned();
        match tokio::time::timeout(READING, read).await {
            Ok(true) => Ok(self.status()),
            Ok(false) => Err(CallError::Closed { command: command(), reason: self.qmp().closed().await }),
            Err(_) => Err(CallError::Deadline { command: command(), after: READING }),
        }
    }
}

/// As long as any command that only asks ([`qmp::deadline::Class::Query`]), and a connection may have to be opened again for it.
const READING: Duration = Duration::from_secs(15);

/// From an answer to the event that says that it is done; the time of a busy host.
const ANNOUNCED: Duration = Duration::from_secs(60);
