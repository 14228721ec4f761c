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

pub use ops::{
    CopyTarget, Eject, GuestMemory, Job, Migrated, Migration, MigrationOptions, MigrationTls, OperationError,
    Overlay, Picture, PullBackup, PushBackup, Vcpu,
};
pub use shutdown::{Agent, Ladder, Rung};

use crate::{
    process::{Exit, Process},
    record::Record,
    socket,
    stats::{self, Stats},
};
use qmp::{
    CallError, Client, Filter, Subscription,
    commands::{
        Cont, QueryBlockstats, QueryStatus, Quit, RunState, StatusInfo, Stop, SystemPowerdown, SystemReset,
    },
    events::{EventData, ShutdownCause},
};
use std::{future::Future, io, path::PathBuf, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    net::UnixStream,
    sync::{Notify, watch},
};

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

/// Handle to a machine; clones share it. Dropping all of them leaves the machine running.
#[derive(Clone, Debug)]
pub struct Vm {
    /// The client of the newest connection.
    client: watch::Receiver<Client>,
    process: Arc<Process>,
    record: Arc<Record>,
    status: watch::Receiver<Status>,
    /// Places of devices that are being plugged.
    reserved: ops::Reserved,
    /// Asks supervision to read the state anew.
    poke: Arc<Notify>,
}

impl Vm {
    /// Identity and places, for adoption by a later manager. The console is reached by connecting to its socket
    /// ([`crate::socket::connect`]); it takes one client at a time.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The monitor, for commands without a method here. Of the newest connection: ask for it again after one that failed.
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

    /// Lets the guest run and waits until it does.
    ///
    /// # Errors
    /// [`CallError`]; refused e.g. after a shutdown, until a reset.
    pub async fn resume(&self) -> Result<(), CallError> {
        self.qmp().call(&Cont {}).await?;
        self.settle(|state| !matches!(state, RunState::Prelaunch | RunState::Paused)).await;
        Ok(())
    }

    /// Stops the guest's CPUs and waits until they stand.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn pause(&self) -> Result<(), CallError> {
        self.qmp().call(&Stop {}).await?;
        self.settle(|state| *state != RunState::Running).await;
        Ok(())
    }

    /// Presses the power button and waits for the guest to power off, at most `deadline` long.
    ///
    /// # Errors
    /// [`CallError`] of the button, not of the guest.
    pub async fn powerdown(&self, deadline: Duration) -> Result<Powerdown, CallError> {
        self.qmp().call(&SystemPowerdown {}).await?;
        Ok(self.off(deadline).await)
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

    /// Resets the machine as its button would, and waits until its devices are reset and its CPUs begin anew.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn reset(&self) -> Result<(), CallError> {
        let client = self.qmp();
        let done = client.waiter(|event| {
            let reason = event.data.get("reason").and_then(serde_json::Value::as_str);
            event.name == "RESET" && reason == Some("host-qmp-system-reset")
        });
        client.call(&SystemReset {}).await?;
        // QEMU announces it from its main loop, after the devices are reset. One whose connection ends is told by the next call.
        let _ = tokio::time::timeout(SETTLE, done).await;
        Ok(())
    }

    /// Ends QEMU in order: disks are flushed, the guest is not asked. Falls back to [`Vm::kill`] after `deadline`.
    ///
    /// # Errors
    /// Missing rights to kill the process.
    pub async fn quit(&self, deadline: Duration) -> io::Result<Exit> {
        let orderly = async {
            // Every outcome but the end of the process leads to the fallback below.
            let asked = self.qmp().with_deadline(Some(deadline)).call(&Quit {}).await;
            if matches!(asked, Err(CallError::Refused { .. } | CallError::Deadline { .. })) {
                return None;
            }
            Some(self.process.exited().await)
        };
        match tokio::time::timeout(deadline, orderly).await {
            Ok(Some(exit)) => Ok(exit),
            Ok(None) | Err(_) => self.kill().await,
        }
    }

    /// Ends the process at once, stopped or not, and waits for its end.
    ///
    /// # Errors
    /// Missing rights.
    pub async fn kill(&self) -> io::Result<Exit> {
        self.process.kill()?;
        Ok(self.process.exited().await)
    }

    /// [`Vm::kill`] without waiting.
    pub(crate) fn end(&self) -> io::Result<()> {
        self.process.kill()
    }

    /// Waits for the end of the process.
    pub async fn exited(&self) -> Exit {
        self.process.exited().await
    }

    /// CPU time and memory of the process, counters of the disks.
    ///
    /// # Errors
    /// [`stats::StatsError`]: an unknown figure is an error, never a zero.
    pub async fn stats(&self) -> Result<Stats, stats::StatsError> {
        let blocks = self.qmp().call(&QueryBlockstats::default()).await?;
        stats::collect(self.process.pid(), blocks)
    }

    /// For a change of state that no event announces.
    async fn read_again(&self, settled: impl Fn(&RunState) -> bool) {
        self.poke.notify_one();
        self.settle(settled).await;
    }

    /// Replies come before the supervising future has seen the event; callers want both to agree.
    async fn settle(&self, settled: impl Fn(&RunState) -> bool) {
        let mut status = self.status.clone();
        let done = status.wait_for(|status| {
            settled(&status.run_state) || status.exit.is_some() || status.responsive != Responsive::Yes
        });
        // Bounded for the case that nobody polls supervision; the command itself has succeeded.
        let _ = tokio::time::timeout(SETTLE, done).await;
    }
}

/// An open monitor whose driving future has not been handed to anybody yet.
pub(crate) struct Connection {
    client: Client,
    driver: Driver,
    events: Subscription,
    status: StatusInfo,
}

type Driver = Pin<Box<dyn Future<Output = Arc<qmp::CloseReason>> + Send>>;

/// Waits for the greeting, negotiates, subscribes, reads the state; no deadline.
pub(crate) async fn greet(stream: UnixStream) -> Result<Connection, CallError> {
    let (client, driver) = qmp::client_unix(stream, qmp::Options::default());
    let mut driver: Driver = Box::pin(driver);
    // Subscribed before the state is read: what changes in between is seen.
    let events = client.subscribe(Filter::Names(STATE_EVENTS), EVENTS);
    let opened = client.with_deadline(None);
    let status = {
        let query = opened.call(&QueryStatus {});
        tokio::pin!(query);
        // Cancel safety: the driver goes on where it was; a finished driver fails the query.
        tokio::select! {
            status = &mut query => status?,
            reason = &mut driver => {
                return Err(CallError::Closed { command: "query-status".to_owned(), reason });
            }
        }
    };
    Ok(Connection { client, driver, events, status })
}

/// Joins a connection and a process to a handle and its supervision.
pub(crate) fn supervised(
    connection: Connection,
    process: Process,
    record: Record,
    supervision: Supervision,
) -> (Vm, impl Future<Output = Exit> + Send + 'static) {
    let Connection { client, driver, events, status } = connection;
    let shutdown = shutdown_unseen(&status);
    let status = watch::Sender::new(Status {
        run_state: status.status,
        responsive: Responsive::Yes,
        shutdown,
        guest_resets: 0,
        panics: 0,
        exit: None,
    });
    let process = Arc::new(process);
    let monitor = record.qmp_socket.clone();
    let client = watch::Sender::new(client);
    let vm = Vm {
        client: client.subscribe(),
        process: process.clone(),
        record: Arc::new(record),
        status: status.subscribe(),
        reserved: ops::Reserved::default(),
        poke: Arc::default(),
    };
    let poke = vm.poke.clone();
    let supervisor =
        Supervisor { client, monitor, process, events, status, supervision, refresh: true, poke };
    (vm, supervisor.run(driver))
}

/// A guest that powered off while nobody watched is found in its run state; its own doing is the usual cause.
fn shutdown_unseen(info: &StatusInfo) -> Option<ShutdownCause> {
    (info.status == RunState::Shutdown).then_some(ShutdownCause::GuestShutdown)
}

struct Supervisor {
    client: watch::Sender<Client>,
    /// Socket of the monitor.
    monitor: PathBuf,
    process: Arc<Process>,
    events: Subscription,
    status: watch::Sender<Status>,
    supervision: Supervision,
    /// The state must be read again, because an event said that it changed or the interval has passed.
    refresh: bool,
    poke: Arc<Notify>,
}

/// The connection to the monitor.
enum Monitor {
    /// Driven by this future.
    Open(Driver),
    /// Being opened again by this one.
    Lost(Opening),
}

/// What became of a connection, as seen by the supervisor.
enum Turn {
    Lost(Arc<qmp::CloseReason>),
    Opened(Box<Connection>),
}

type Opening = Pin<Box<dyn Future<Output = Connection> + Send>>;

impl Monitor {
    async fn turn(&mut self) -> Turn {
        match self {
            Self::Open(driver) => Turn::Lost(driver.await),
            Self::Lost(opening) => Turn::Opened(Box::new(opening.await)),
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// Connects until it succeeds. Without a deadline: a QEMU that is stopped greets when it goes on, and one that serves
/// somebody else greets when that one leaves.
async fn open_again(path: PathBuf) -> Connection {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        let greeted = match socket::connect(&path).await {
            Ok(stream) => greet(stream).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match greeted {
            Ok(connection) => return connection,
            Err(error) => tracing::debug!(socket = %path.display(), error, "cannot open the monitor again"),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

type Probe = Pin<Box<dyn Future<Output = Result<StatusInfo, CallError>> + Send>>;

impl Supervisor {
    async fn run(mut self, driver: Driver) -> Exit {
        let process = self.process.clone();
        let mut exited = std::pin::pin!(process.exited());
        let mut monitor = Monitor::Open(driver);
        let mut probe: Option<Probe> = None;
        let mut timer = Box::pin(tokio::time::sleep(self.supervision.interval));
        let mut events_open = true;
        loop {
            if self.refresh && probe.is_none() && monitor.is_open() {
                self.refresh = false;
                probe = Some(self.probe());
                timer.set(tokio::time::sleep(self.supervision.patience));
            }
            // Cancel safety: every future but `next` is kept across rounds, and `next` loses nothing when dropped.
            tokio::select! {
                exit = &mut exited => return self.ended(exit, monitor).await,
                turn = monitor.turn() => match turn {
                    Turn::Lost(reason) => {
                        self.unresponsive(format!("the monitor connection ended: {reason}"));
                        monitor = Monitor::Lost(Box::pin(open_again(self.monitor.clone())));
                    }
                    Turn::Opened(connection) => {
                        monitor = Monitor::Open(self.opened(*connection));
                        (probe, events_open) = (None, true);
                    }
                },
                event = self.events.next(), if events_open => match event {
                    Ok(event) => self.event(&event),
                    Err(qmp::EventError::Lagged(_)) => self.refresh = true,
                    Err(qmp::EventError::Closed) => events_open = false,
                },
                () = self.poke.notified() => self.refresh = true,
                answer = answer(&mut probe) => {
                    probe = None;
                    self.answered(answer, &monitor);
                    timer.set(tokio::time::sleep(self.supervision.interval));
                }
                () = &mut timer => {
                    if probe.is_some() {
                        let patience = self.supervision.patience;
                        self.unresponsive(format!("no answer within {patience:?}{}", self.process_state()));
                    } else {
                        self.refresh = true;
                    }
                    timer.set(tokio::time::sleep(self.supervision.interval));
                }
            }
        }
    }

    /// Goes on with a new connection. What happened meanwhile is known only by its outcome.
    fn opened(&mut self, connection: Connection) -> Driver {
        let Connection { client, driver, events, status: info } = connection;
        tracing::info!(pid = self.process.pid(), "the monitor connection is open again");
        self.client.send_replace(client);
        self.events = events;
        self.change(|status| {
            status.shutdown = match &info.status {
                RunState::Shutdown => status.shutdown.take().or(shutdown_unseen(&info)),
                _ => None,
            };
            status.run_state = info.status;
            status.responsive = Responsive::Yes;
        });
        // Events of the new connection may be older than this reading.
        self.refresh = true;
        driver
    }

    /// Without a deadline: a QEMU that comes back answers the old question, and that is how it is noticed.
    fn probe(&self) -> Probe {
        let client = self.client.borrow().with_deadline(None);
        Box::pin(async move { client.call(&QueryStatus {}).await })
    }

    fn answered(&mut self, answer: Result<StatusInfo, CallError>, monitor: &Monitor) {
        match answer {
            // May be older than an event seen meanwhile; that event has asked for another reading.
            Ok(info) => self.change(|status| {
                status.run_state = info.status;
                // The last answer of a connection and its end come at once, and are seen in any order.
                if monitor.is_open() {
                    status.responsive = Responsive::Yes;
                }
            }),
            // The driver's end is reported by the driver.
            Err(CallError::Closed { .. }) => {}
            Err(error) => self.unresponsive(error.to_string()),
        }
    }

    fn event(&mut self, event: &qmp::Event) {
        match EventData::of(event) {
            Ok(EventData::Shutdown(shutdown)) => self.change(|status| {
                status.shutdown = Some(shutdown.reason);
                status.run_state = RunState::Shutdown;
            }),
            // The event says it all; on a busy host an answer from a guest that has just begun takes tens of milliseconds.
            Ok(EventData::Resume) => self.change(|status| {
                status.shutdown = None;
                status.run_state = RunState::Running;
            }),
            Ok(EventData::Reset(reset)) => {
                if reset.reason != ShutdownCause::GuestReset {
                    return;
                }
                self.change(|status| status.guest_resets += 1);
            }
            Ok(EventData::GuestPanicked(_)) => self.change(|status| status.panics += 1),
            // Of the others, and of one that has another form than ours, the state tells enough.
            Ok(_) | Err(_) => {}
        }
        self.refresh = true;
    }

    fn unresponsive(&self, reason: String) {
        self.change(|status| status.responsive = Responsive::No(reason));
    }

    fn process_state(&self) -> &'static str {
        match self.process.state() {
            Some('T' | 't') => "; the process is stopped",
            Some('D') => "; the process waits for the kernel",
            _ => "",
        }
    }

    /// What QEMU said last is read before its end is announced: the reason of a shutdown arrives just before it.
    async fn ended(mut self, exit: Exit, monitor: Monitor) -> Exit {
        if let Monitor::Open(driver) = monitor {
            let _ = tokio::time::timeout(LAST_WORDS, driver).await;
        }
        while let Ok(Ok(event)) = tokio::time::timeout(Duration::ZERO, self.events.next()).await {
            self.event(&event);
        }
        self.change(|status| {
            status.exit = Some(exit);
            status.responsive = Responsive::No(format!("the process has ended ({exit})"));
        });
        exit
    }

    /// Watchers are woken only by what really changed.
    fn change(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }
}

async fn answer(probe: &mut Option<Probe>) -> Result<StatusInfo, CallError> {
    match probe {
        Some(probe) => probe.await,
        None => std::future::pending().await,
    }
}

/// The events after which the state may be another one.
const STATE_EVENTS: &[&str] = &["SHUTDOWN", "RESET", "STOP", "RESUME", "GUEST_PANICKED", "BLOCK_IO_ERROR"];

/// State events kept for a supervisor that is late; the oldest matter least.
const EVENTS: usize = 64;

/// Between the end of a connection and the first attempt at another one; it doubles with each further attempt. A process
/// that is just ending is gone before it has passed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest such pause. An attempt costs a system call.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A closed socket is read to its end in no time; a stranger holding it open shall not delay the news.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Upper bound for a supervising future to see an event that has already arrived.
const SETTLE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
