//! Several connections behind one handle.
//!
//! A daemon stops reading a connection at which five calls are under way, and stops everything on it when a stream is not read. So
//! each kind of work has connections of its own, which are opened when they are first needed:
//!
//! ```text
//!   urgent calls, subscriptions ──> control lane        one, as long as the handle lives
//!   all other calls ──────────────> work lanes          the one with the fewest calls under way; up to a limit
//!   each stream ──────────────────> a lane of its own   until the stream ends; then one is kept for the next
//! ```
//!
//! The control lane tells whether the handle lives: while it is being made again every call waits for it, and when it is gone for good
//! all calls fail for the same reason.

mod identity;
mod spare;
mod work;

pub(crate) use identity::{Identity, say};

use crate::connection::{Connection, Driver, FAREWELL, Left, Mover, Options, moved, now};
use crate::error::{Error, ErrorKind};
use crate::keeper::{Control, Keeper, Link, Reconnect, Wish};
use crate::params::Params;
use crate::route::{Place, Route};
use crate::transport::Transport;
use crate::uri::Access;
use futures::future::BoxFuture;
use libvirt_protocol::flags::ConnectFlags;
use libvirt_protocol::procedure::{Info, Release};
use libvirt_protocol::remote;
use spare::Spare;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use work::{Next, Outcome, Work};

/// Runs the drivers of connections.
pub(crate) type Run = Arc<dyn Fn(Driver) + Send + Sync>;

/// What every connection of one handle has in common.
#[derive(Clone)]
pub(crate) struct Opening {
    pub(crate) access: Access,
    pub(crate) options: Options,
    /// On whose behalf its calls are.
    pub(crate) identity: Arc<Identity>,
    pub(crate) run: Run,
}

/// The connections of one handle.
pub(crate) struct Lanes {
    opening: Opening,
    /// Whether there are others than the control lane, which otherwise carries everything.
    several: bool,
    /// Whether the control lane is made again when it is lost.
    returns: bool,
    control: watch::Receiver<Control>,
    wishes: mpsc::UnboundedSender<Wish>,
    /// Tells the keeper that the handle is to be closed.
    closing: Arc<Notify>,
    work: Arc<Work>,
    spare: Arc<Spare>,
}

/// What is known of the daemon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Daemon {
    pub(crate) version: Release,
    /// Whether subscriptions have numbers (`VIR_DRV_FEATURE_REMOTE_EVENT_CALLBACK`).
    pub(crate) numbered_events: bool,
    /// Whether `virNetworkUpdate` has its arguments in order (`VIR_DRV_FEATURE_NETWORK_UPDATE_HAS_CORRECT_ORDER`).
    pub(crate) ordered_network_update: bool,
}

/// Features of the protocol (`virDrvFeature`), by number.
mod feature {
    pub(super) const KEEPALIVE: i32 = 10;
    pub(super) const EVENT_CALLBACK: i32 = 14;
    pub(super) const NETWORK_UPDATE_ORDER: i32 = 16;
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lanes({} for work)", self.work.len())
    }
}

impl Lanes {
    /// Opens the control lane.
    pub(crate) async fn open(
        opening: Opening,
        transport: impl Transport,
        place: Arc<Place>,
        most: usize,
        reconnect: Option<(Reconnect, Route)>,
    ) -> Result<Self, Error> {
        let (connection, mover, daemon) = opening.explored(transport, &place).await?;
        // With no lanes for work there are none for streams either: one connection carries everything.
        let several = place.target.is_some() && most > 0;
        let (wishes, wished) = mpsc::unbounded_channel();
        let (sender, control) = watch::channel(Control { daemon, place, link: Link::Up(connection.clone()) });
        let closing = Arc::new(Notify::new());
        let ends = Arc::clone(&closing);
        let returns = reconnect.is_some();
        let keeper = Keeper::new(opening.clone(), reconnect, wished, sender, ends);
        (opening.run)(Driver::new(keeper.run(connection, mover)));
        let work = Arc::new(Work::new(most, opening.options.limits.ordinary.max(1)));
        Ok(Self { opening, several, returns, control, wishes, closing, work, spare: Arc::default() })
    }

    /// How long calls may take that say nothing else.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.opening.options.deadline
    }

    /// The lane on which subscriptions are; while it is being made again, it is waited for.
    pub(crate) async fn control(&self, deadline: Option<Duration>) -> Result<Connection, Error> {
        if let Link::Up(connection) = &self.control.borrow().link {
            return Ok(connection.clone().timed(deadline));
        }
        self.control_again(deadline).await
    }

    /// Waits until the control lane is there again. In a box, as everything rare that a call may wait for: its future is small, and cheap to
    /// move, when there is nothing to be made.
    fn control_again(&self, deadline: Option<Duration>) -> BoxFuture<'_, Result<Connection, Error>> {
        Box::pin(self.reached(deadline))
    }

    async fn reached(&self, deadline: Option<Duration>) -> Result<Connection, Error> {
        let mut control = self.control.clone();
        let reached = control.wait_for(|control| !matches!(control.link, Link::Away(_)));
        let reached = in_time(deadline, reached).await.map_err(|late| self.explain(late))?;
        match reached.map(|control| control.link.clone()) {
            Ok(Link::Up(connection)) => Ok(connection.timed(deadline)),
            Ok(Link::Away(error) | Link::Gone(error)) => Err(error),
            Err(_) => Err(Error::new(ErrorKind::Closed)),
        }
    }

    /// Why the control lane is not there: the last reason, if it is being made again.
    pub(crate) fn lost(&self) -> Option<Error> {
        match &self.control.borrow().link {
            Link::Up(connection) => connection.closed(),
            Link::Away(reason) | Link::Gone(reason) => Some(reason.clone()),
        }
    }

    /// Whether the control lane is there.
    pub(crate) fn is_up(&self) -> bool {
        matches!(&self.control.borrow().link, Link::Up(connection) if connection.closed().is_none())
    }

    /// What the daemon was when the control lane was made.
    pub(crate) fn daemon(&self) -> Daemon {
        self.control.borrow().daemon
    }

    /// Whether there may be several connections, at one time or one after the other.
    pub(crate) fn are_several(&self) -> bool {
        self.several || self.returns
    }

    /// Runs something beside the connections, for as long as it takes.
    pub(crate) fn run(&self, task: Driver) {
        (self.opening.run)(task);
    }

    /// Says on whose behalf further calls are, on every connection that there is or will be. The keeper does that: who gives up waiting
    /// leaves nothing half done.
    pub(crate) async fn identify(&self, identity: Params, deadline: Option<Duration>) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let closed = || Error::new(ErrorKind::Closed);
        self.wishes.send(Wish::Identify { identity, answer }).map_err(|_| closed())?;
        let late = |error: Error| error.possibly_executed();
        let answered =
            async { in_time(deadline, answered).await.map_err(late)?.map_err(|_| late(closed()))? };
        self.explained(answered.await)
    }

    /// What came of a wish; when no answer came in time, with the reason if it is known.
    pub(crate) fn explained(&self, fulfilled: Result<(), Error>) -> Result<(), Error> {
        fulfilled.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: Error) -> Error {
        match &self.control.borrow().link {
            Link::Up(connection) => error.when_clogged(connection.load().clogged),
            Link::Away(reason) if matches!(error.kind(), ErrorKind::Timeout) => error.because(reason.clone()),
            Link::Away(_) | Link::Gone(_) => error,
        }
    }

    /// Ends all connections but those of open streams, which end with their streams.
    ///
    /// # Errors
    /// With the reason for which the control lane was lost before.
    pub(crate) async fn close(&self, deadline: Option<Duration>) -> Result<(), Error> {
        let closed = Error::new(ErrorKind::Closed);
        let mut ending = self.work.close(&closed);
        if let Some(spare) = self.spare.close() {
            spare.leave(&closed);
            ending.push(spare);
        }
        let lost = match &self.control.borrow().link {
            Link::Gone(error) => Some(error.clone()),
            Link::Up(_) | Link::Away(_) => None,
        };
        if let Some(lost) = lost {
            return Err(lost);
        }
        self.closing.notify_one();
        let mut control = self.control.clone();
        // Its keeper may be gone, too.
        let _ = in_time(deadline, control.wait_for(|control| matches!(control.link, Link::Gone(_)))).await?;
        // All of them hear it at the same time.
        let parted = futures::future::join_all(ending.iter().map(Connection::parted));
        // A driver that does not run any more tells nobody; then they are ended all the same.
        let _ = in_time(Some(FAREWELL), parted).await;
        Ok(())
    }

    /// Where wishes for events go.
    pub(crate) fn wishes(&self) -> &mpsc::UnboundedSender<Wish> {
        &self.wishes
    }

    /// The lane for a call, with this deadline for it; nor is the lane waited for longer.
    pub(crate) async fn of(&self, info: &Info, deadline: Option<Duration>) -> Result<Connection, Error> {
        let control = self.control(deadline).await?;
        if !self.several || (info.urgent && !control.load().clogged) {
            return Ok(control);
        }
        loop {
            match self.work.next(self.opening.identity.changes(), now())? {
                Next::Take(lane) => return Ok(lane.timed(deadline)),
                Next::Make(making, outcome) => {
                    // It goes on by itself: others may have more time, or come later.
                    let lane = self.lane();
                    self.run(Driver::work(async move {
                        if let Err(error) = making.made(lane.await, now()) {
                            not_made(&error);
                        }
                    }));
                    self.awaited(outcome, deadline, &control).await?;
                }
                // It may not be made after all; then it is somebody else's turn.
                Next::Wait(outcome) => self.awaited(outcome, deadline, &control).await?,
                // Slow calls are in the way of urgent ones there, which is better than to fail.
                Next::Without => return self.control(deadline).await,
            }
        }
    }

    /// Waits until a lane that is being made is there, or is known not to be.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`]; why it could not be made, when the control lane has gone too: there is no way to the daemon then.
    fn awaited<'a>(
        &self,
        mut outcome: watch::Receiver<Outcome>,
        deadline: Option<Duration>,
        control: &'a Connection,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let made = in_time(deadline, outcome.wait_for(Option::is_some)).await?;
            match made.as_deref() {
                Ok(Some(Err(error))) if control.closed().is_some() => Err(error.clone()),
                _ => Ok(()),
            }
        })
    }

    fn lane(&self) -> BoxFuture<'static, Result<Connection, Error>> {
        let (opening, control) = (self.opening.clone(), self.control.clone());
        let made = in_time(opening.options.connecting(), async move {
            // To the same daemon as the control lane, wherever another would be found now.
            let place = Arc::clone(&control.borrow().place);
            let Some(target) = &place.target else { return Err(Error::new(ErrorKind::Closed)) };
            let (connection, mover) = opening.begin(target.connect().await?, &place).await?;
            (opening.run)(Driver::new(mover));
            Ok(connection)
        });
        Box::pin(async { made.await? })
    }

    /// A lane for one stream, and what is done with it once that has ended well.
    ///
    /// # Errors
    /// As [`Lanes::own`].
    pub(crate) async fn stream(
        &self,
        deadline: Option<Duration>,
    ) -> Result<(Connection, Option<Left>), Error> {
        let control = self.control(deadline).await?;
        if !self.several {
            return Ok((control, None));
        }
        let changes = self.opening.identity.changes();
        let lane = match self.spare.take(changes) {
            Some(lane) => lane.timed(deadline),
            None => self.own(deadline).await?,
        };
        // Without a handle there is no next stream, and what has been made anew since is better than this.
        let (spare, identity) = (Arc::downgrade(&self.spare), Arc::clone(&self.opening.identity));
        let left = Left::to(move |lane| {
            if identity.changes() == changes
                && let Some(spare) = spare.upgrade()
            {
                spare.keep(lane, changes);
            }
        });
        Ok((lane, Some(left)))
    }

    /// A lane that nobody else has: a stream's, or a migration's.
    ///
    /// # Errors
    /// [`ErrorKind::Lane`] when it cannot be made though the control lane is there: that is not to be stopped by who does not read his stream.
    pub(crate) async fn own(&self, deadline: Option<Duration>) -> Result<Connection, Error> {
        let control = self.control(deadline).await?;
        if !self.several {
            return Ok(control);
        }
        match in_time(deadline, self.lane()).await? {
            Ok(lane) => Ok(lane.timed(deadline)),
            Err(error) if control.closed().is_some() => Err(error),
            Err(error) => Err(Error::new(ErrorKind::Lane(Box::new(error)))),
        }
    }
}

/// Tells whoever looks after the program that there is one lane fewer than it wants.
fn not_made(error: &Error) {
    tracing::warn!(
        error = format_args!("{error:#}"),
        "a further connection cannot be made; there are the others"
    );
}

/// Waits, but not longer than this.
pub(crate) async fn in_time<T>(
    deadline: Option<Duration>,
    wait: impl Future<Output = T>,
) -> Result<T, Error> {
    let Some(deadline) = deadline else { return Ok(wait.await) };
    tokio::time::timeout(deadline, wait).await.map_err(|_| Error::new(ErrorKind::Timeout))
}

impl Opening {
    /// Makes a transport a connection to what the handle has opened.
    async fn begin(&self, transport: impl Transport, place: &Place) -> Result<(Connection, Mover), Error> {
        // Nobody is asked for a sign of life before somebody is there: who logs in through a program may take his time.
        let (connection, mut mover) = moved(transport, Options { keepalive: None, ..self.options });
        mover.beside(self.hello(&connection, place)).await?;
        connection.keep_alive(self.options.keepalive);
        connection.announce_end();
        Ok((connection, mover))
    }

    /// The same, and what the daemon is.
    pub(crate) async fn explored(
        &self,
        transport: impl Transport,
        place: &Place,
    ) -> Result<(Connection, Mover, Daemon), Error> {
        let (connection, mut mover) = self.begin(transport, place).await?;
        let daemon = mover.beside(explore(&connection)).await?;
        Ok((connection, mover, daemon))
    }

    async fn hello(&self, connection: &Connection, place: &Place) -> Result<(), Error> {
        place.auth.authenticate(connection).await?;
        let flags = match self.access {
            Access::Full => ConnectFlags::empty(),
            Access::ReadOnly => ConnectFlags::RO,
        };
        // Also when it is empty, which has the daemon look for a driver; without any name it opens none, and then refuses.
        let name = Some(place.name.as_str().into());
        connection.call::<remote::ConnectOpen>(&remote::ConnectOpenArgs { name, flags }).await?;
        self.identity.introduce(connection).await
    }
}

/// Asks what the daemon is and can. The questions do not depend on each other, so they take one round trip together.
async fn explore(connection: &Connection) -> Result<Daemon, Error> {
    let supports = |feature| {
        let args = remote::ConnectSupportsFeatureArgs { feature };
        connection.start::<remote::ConnectSupportsFeature>(&args, Vec::new())
    };
    // Asking for keepalive makes the daemon ask us, too.
    let (keepalive, events) = (supports(feature::KEEPALIVE), supports(feature::EVENT_CALLBACK));
    let order = supports(feature::NETWORK_UPDATE_ORDER);
    let version = connection.start::<remote::ConnectGetLibVersion>(&(), Vec::new());
    keepalive.await?;
    let numbered_events = events.await?.result()?.supported != 0;
    let ordered_network_update = order.await?.result()?.supported != 0;
    let version = Release::from_number(version.await?.result()?.lib_ver);
    Ok(Daemon { version, numbered_events, ordered_network_update })
}
