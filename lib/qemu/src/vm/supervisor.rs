//! The future that watches a machine: its process, its events, its state, and the connection to its monitor.

mod course;

use super::{Responsive, Status, Supervision, Vm, ops};
use crate::{
    left::Left,
    process::{Exit, Process},
    record::Record,
    socket,
};
use course::Course;
use qmp::{
    CallError, Client, EventError, Filter, Subscription,
    commands::{QueryStatus, StatusInfo},
    events::{EventData, ShutdownCause},
};
use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::UnixStream,
    sync::{Notify, mpsc, watch},
};

/// Readings of the state that somebody waits for. They are counted, as only one that was begun after a command tells what came of it.
#[derive(Clone, Debug)]
pub(super) struct Readings {
    /// How many were asked for.
    asked: Arc<AtomicU64>,
    /// Up to which of them the state has been read.
    read: watch::Receiver<u64>,
    poke: Arc<Notify>,
}

impl Readings {
    /// Waits for a reading that begins from now on. `false` when nobody reads any more.
    pub(super) async fn next(&self) -> bool {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        self.poke.notify_one();
        self.read.clone().wait_for(|read| *read >= number).await.is_ok()
    }
}

/// An open monitor whose driving future has not been handed to anybody yet.
pub(crate) struct Connection {
    client: Client,
    driver: Driver,
    events: Subscription,
    /// The latest of them only, which no other event takes the place of.
    shutdowns: Subscription,
    status: StatusInfo,
}

type Driver = Pin<Box<dyn Future<Output = Arc<qmp::CloseReason>> + Send>>;

/// Waits for the greeting, negotiates, subscribes, reads the state; no deadline.
pub(crate) async fn greet(stream: UnixStream) -> Result<Connection, CallError> {
    let (client, driver) = qmp::client_unix(stream, qmp::Options::default());
    let mut driver: Driver = Box::pin(driver);
    // Subscribed before the state is read: what changes in between is seen.
    let events = client.subscribe(Filter::names(STATE_EVENTS.iter().copied()), EVENTS);
    let shutdowns = client.subscribe(Filter::names(["SHUTDOWN"]), 1);
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
    Ok(Connection { client, driver, events, shutdowns, status })
}

/// The process that is a machine's TPM.
pub(crate) enum Tpm {
    /// The machine has none, or it is somebody else's.
    None,
    /// It runs.
    Runs(Process),
    /// It has ended, as it does with its machine: whether that goes on is to be seen.
    Ending(Exit, Pin<Box<tokio::time::Sleep>>),
    /// It has ended before its machine.
    Ended(Exit),
}

impl Tpm {
    /// Waits for an end that is not its machine's, and answers it once. Dropping the future loses nothing.
    async fn ended(&mut self) -> Exit {
        loop {
            match self {
                Self::Runs(process) => {
                    let exit = process.exited().await;
                    *self = Self::Ending(exit, Box::pin(tokio::time::sleep(TOGETHER)));
                }
                Self::Ending(exit, grace) => {
                    let exit = *exit;
                    grace.await;
                    *self = Self::Ended(exit);
                    return exit;
                }
                Self::None | Self::Ended(_) => std::future::pending().await,
            }
        }
    }
}

/// Joins a connection and a process to a handle and its supervision.
pub(crate) fn supervised(
    connection: Connection,
    process: Arc<Process>,
    tpm: Tpm,
    record: Record,
    supervision: Supervision,
) -> (Vm, impl Future<Output = Exit> + Send + 'static) {
    let Connection { client, driver, events, shutdowns, status } = connection;
    let shutdown = course::unseen(&status.status);
    let status = watch::Sender::new(Status {
        run_state: status.status,
        responsive: Responsive::Yes,
        shutdown,
        guest_resets: 0,
        panics: 0,
        tpm_exit: if let Tpm::Ended(exit) = tpm { Some(exit) } else { None },
        exit: None,
    });
    let monitor = record.qmp_socket.clone();
    let left = Arc::new(Left::of(&record));
    let client = watch::Sender::new(client);
    let read = watch::Sender::new(0);
    let (chores, given) = mpsc::unbounded_channel();
    let readings = Readings { asked: Arc::default(), read: read.subscribe(), poke: Arc::default() };
    let vm = Vm {
        client: client.subscribe(),
        process: process.clone(),
        record: Arc::new(record),
        left: left.clone(),
        status: status.subscribe(),
        reserved: ops::Reserved::default(),
        images: ops::Images::default(),
        pauses: Arc::default(),
        chores,
        readings: readings.clone(),
    };
    let supervisor = Supervisor {
        client,
        monitor,
        process,
        left,
        tpm,
        events,
        shutdowns,
        course: Course::new(),
        status,
        supervision,
        readings,
        read,
        chores: Chores { given, going: Vec::new() },
    };
    (vm, supervisor.run(driver))
}

struct Supervisor {
    client: watch::Sender<Client>,
    /// Socket of the monitor.
    monitor: PathBuf,
    process: Arc<Process>,
    left: Arc<Left>,
    tpm: Tpm,
    events: Subscription,
    shutdowns: Subscription,
    course: Course,
    status: watch::Sender<Status>,
    supervision: Supervision,
    readings: Readings,
    /// Up to which of the readings asked for the state has been read.
    read: watch::Sender<u64>,
    chores: Chores,
}

/// Work beside supervision.
pub(super) enum Chore {
    /// An operation that was dropped has left this.
    Undo(ops::Rollback),
    /// A connection of the machine's.
    Drive(Pin<Box<dyn Future<Output = ()> + Send>>),
}

struct Chores {
    given: mpsc::UnboundedReceiver<Chore>,
    going: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Chores {
    /// Does them. Never ready: there may always be more.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(Some(chore)) = self.given.poll_recv(context) {
            self.going.push(match chore {
                Chore::Undo(rollback) => Box::pin(rollback.undo()),
                Chore::Drive(driver) => driver,
            });
        }
        self.going.retain_mut(|chore| chore.as_mut().poll(context).is_pending());
        Poll::Pending
    }
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

/// A question for the state.
struct Probe {
    /// How many readings were asked for when it was sent.
    number: u64,
    answer: Pin<Box<dyn Future<Output = Result<StatusInfo, CallError>> + Send>>,
}

impl Supervisor {
    async fn run(mut self, driver: Driver) -> Exit {
        let process = self.process.clone();
        let mut exited = std::pin::pin!(process.exited());
        let mut monitor = Monitor::Open(driver);
        let mut probe: Option<Probe> = None;
        let mut timer = Box::pin(tokio::time::sleep(self.supervision.interval));
        let mut events_open = true;
        loop {
            if probe.is_none() && monitor.is_open() && self.course.asks() {
                probe = Some(self.probe());
                timer.set(tokio::time::sleep(self.supervision.patience));
            }
            // Cancel safety: every future but `next` is kept across rounds, and `next` loses nothing when dropped.
            tokio::select! {
                exit = &mut exited => return self.ended(exit, monitor).await,
                exit = self.tpm.ended() => {
                    tracing::debug!(pid = process.pid(), %exit, "the machine's TPM has ended");
                    self.change(|status| status.tpm_exit = Some(exit));
                }
                turn = monitor.turn() => match turn {
                    Turn::Lost(reason) => {
                        self.unresponsive(format!("the monitor connection ended: {reason}"));
                        monitor = Monitor::Lost(Box::pin(open_again(self.monitor.clone())));
                    }
                    Turn::Opened(connection) => {
                        monitor = Monitor::Open(self.opened(*connection).await);
                        (probe, events_open) = (None, true);
                    }
                },
                event = self.events.next(), if events_open => match event {
                    Ok(event) => self.event(&event),
                    Err(EventError::Lagged(_)) => self.course.lagged(),
                    Err(EventError::Closed) => events_open = false,
                },
                () = std::future::poll_fn(|context| self.chores.poll(context)) => {}
                () = self.readings.poke.notified() => self.course.wants_reading(),
                (number, answer) = answer(&mut probe) => {
                    probe = None;
                    // What was announced before the answer is older than it.
                    self.catch_up().await;
                    let is_open = monitor.is_open();
                    if self.answered(answer, is_open).await {
                        self.read.send_replace(number);
                    }
                    timer.set(tokio::time::sleep(self.supervision.interval));
                }
                () = &mut timer => {
                    if probe.is_some() {
                        let patience = self.supervision.patience;
                        self.unresponsive(format!("no answer within {patience:?}{}", self.process_state()));
                    } else {
                        self.course.wants_reading();
                    }
                    timer.set(tokio::time::sleep(self.supervision.interval));
                }
            }
        }
    }

    /// Goes on with a new connection. What happened meanwhile is known only by its outcome.
    async fn opened(&mut self, connection: Connection) -> Driver {
        let Connection { client, driver, events, shutdowns, status: info } = connection;
        tracing::debug!(pid = self.process.pid(), "the monitor connection is open again");
        self.client.send_replace(client);
        (self.events, self.shutdowns) = (events, shutdowns);
        let announced = latest(&mut self.shutdowns).await;
        self.course.begins_anew(announced);
        self.reads(&info);
        self.change(|status| status.responsive = Responsive::Yes);
        // Events of the new connection may be newer than this reading.
        self.course.wants_reading();
        driver
    }

    /// Takes in what has been announced by now.
    async fn catch_up(&mut self) {
        loop {
            match tokio::time::timeout(Duration::ZERO, self.events.next()).await {
                Ok(Ok(event)) => self.event(&event),
                Ok(Err(EventError::Lagged(_))) => self.course.lagged(),
                Ok(Err(EventError::Closed)) | Err(_) => return,
            }
        }
    }

    /// Without a deadline: a QEMU that comes back answers the old question, and that is how it is noticed.
    fn probe(&self) -> Probe {
        let client = self.client.borrow().with_deadline(None);
        let answer = Box::pin(async move { client.call(&QueryStatus {}).await });
        Probe { number: self.readings.asked.load(Ordering::Relaxed), answer }
    }

    /// Whether the state is known now as of the question.
    async fn answered(&mut self, answer: Result<StatusInfo, CallError>, is_open: bool) -> bool {
        match answer {
            Ok(info) => {
                self.course.announced(latest(&mut self.shutdowns).await);
                let is_known = self.reads(&info);
                // The last answer of a connection and its end come at once, and are seen in any order.
                if is_open {
                    self.change(|status| status.responsive = Responsive::Yes);
                }
                is_known
            }
            // The driver's end is reported by the driver.
            Err(CallError::Closed { .. }) => false,
            Err(error) => {
                self.unresponsive(error.to_string());
                false
            }
        }
    }

    fn event(&mut self, event: &qmp::Event) {
        let told = EventData::of(event);
        let course = &mut self.course;
        change(&self.status, |status| course.event(status, told.as_ref().ok()));
    }

    fn reads(&mut self, info: &StatusInfo) -> bool {
        let (course, mut is_known) = (&mut self.course, false);
        change(&self.status, |status| is_known = course.reading(status, &info.status));
        is_known
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
        self.catch_up().await;
        self.course.announced(latest(&mut self.shutdowns).await);
        let course = &mut self.course;
        change(&self.status, |status| {
            course.ends(status);
            status.exit = Some(exit);
            status.responsive = Responsive::No(format!("the process has ended ({exit})"));
        });
        self.left.removed().await;
        // It ends when QEMU's end of their connection closes.
        if let Tpm::Runs(tpm) = &self.tpm
            && tokio::time::timeout(LAST_WORDS, tpm.exited()).await.is_err()
            && tpm.kill().is_ok()
        {
            tpm.exited().await;
        }
        exit
    }

    fn change(&self, by: impl FnOnce(&mut Status)) {
        change(&self.status, by);
    }
}

/// Watchers are woken only by what really changed.
fn change(status: &watch::Sender<Status>, by: impl FnOnce(&mut Status)) {
    status.send_if_modified(|status| {
        let before = status.clone();
        by(status);
        *status != before
    });
}

/// Why a machine was last shut down, of what nobody has asked for yet.
async fn latest(shutdowns: &mut Subscription) -> Option<ShutdownCause> {
    let mut cause = None;
    loop {
        match tokio::time::timeout(Duration::ZERO, shutdowns.next()).await {
            Ok(Ok(event)) => {
                if let Ok(EventData::Shutdown(shutdown)) = EventData::of(&event) {
                    cause = Some(shutdown.reason);
                }
            }
            Ok(Err(EventError::Lagged(_))) => {}
            Ok(Err(EventError::Closed)) | Err(_) => return cause,
        }
    }
}

async fn answer(probe: &mut Option<Probe>) -> (u64, Result<StatusInfo, CallError>) {
    match probe {
        Some(probe) => (probe.number, (&mut probe.answer).await),
        None => std::future::pending().await,
    }
}

/// The events after which the state may be another one.
const STATE_EVENTS: &[&str] =
    &["SHUTDOWN", "RESET", "STOP", "RESUME", "SUSPEND", "WAKEUP", "GUEST_PANICKED", "BLOCK_IO_ERROR"];

/// State events kept for a supervisor that is late; the oldest matter least.
const EVENTS: usize = 64;

/// Between the end of a connection and the first attempt at another one; it doubles with each further attempt. A process
/// that is just ending is gone before it has passed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest such pause. An attempt costs a system call.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A process that ends has closed its descriptors a moment before.
const TOGETHER: Duration = Duration::from_millis(200);

/// A closed socket is read to its end in no time; a stranger holding it open shall not delay the news.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[cfg(test)]
pub(super) mod tests;
