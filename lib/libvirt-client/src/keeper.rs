//! The control lane's keeper: moves it, keeps the registrations of events, and connects again when it is lost.
//!
//! ```text
//!            ┌──────────────── lost, and reconnect is wanted ───────────────┐
//!            v                                                              │
//!   connect, open, register again ──> tell listeners ──> up: serve wishes ──┤ or clogged, and a wish waits
//!            │                                                              ├── the handle is gone ──> end
//!            └── no attempt left ──> gone: listeners and calls hear why <───┘ lost
//! ```
//!
//! It is a part of the driver that the caller runs, and the only one that talks to the daemon about registrations: so these follow
//! each other in order, although the daemon executes calls in any.

use crate::connection::{CONNECTING, Connection, Key, Mover};
use crate::error::{Error, ErrorKind, Execution};
use crate::events::{Fanout, Queue, Topic, TopicKey, deregister};
use crate::lanes::{Daemon, Opening, in_time, say};
use crate::params::Params;
use crate::route::{Place, Route};
use libvirt_protocol::remote;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// How long a wish waits on a connection that is full of calls which nobody waits for any more, before another connection is made; half a
/// deadline of calls if that is shorter, so that one of them is answered in time.
const CLOGGED: Duration = Duration::from_secs(1);
/// How long a daemon may take to hear that a connection ends, before it is ended all the same.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a lost connection is made again.
///
/// Each attempt looks everything up anew: settings, the daemon's socket, `auth.conf`, certificates. What cannot be done now may be possible
/// then: a daemon is started or replaced by another, a certificate renewed, a file with passwords written. So whatever the reason of a failure is,
/// the next attempt follows, but for a login that the daemon has refused ([`AfterRefusal`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconnect {
    /// Pause before the first attempt; each next one is twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// Attempts after which the connection is given up; `None` never gives up.
    pub attempts: Option<u32>,
    /// What follows when the daemon refuses the login.
    pub refused: AfterRefusal,
}

/// What follows when the daemon refuses to let a lost connection in again: a wrong password, a user without the right to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterRefusal {
    /// The connection is given up, as many services lock a user who is wrong too often: calls fail with [`ErrorKind::Auth`], whose source is
    /// the refusal.
    #[default]
    GiveUp,
    /// The next attempt follows. A password that was refused is not said again for ten minutes; another one, which `auth.conf` has by then, is said
    /// with the next attempt.
    GoOn,
}

impl Default for Reconnect {
    /// At first after 100 ms, then up to 10 s, for ever, but not against a refusal.
    fn default() -> Self {
        Self {
            pause: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            attempts: None,
            refused: AfterRefusal::default(),
        }
    }
}

/// What the keeper is asked to do.
#[derive(Debug)]
pub(crate) enum Wish {
    /// A queue wants a topic's events.
    Listen { topic: Topic, queue: Arc<Queue>, answer: oneshot::Sender<Result<(), Error>> },
    /// A queue wants them no more.
    Leave { topic: TopicKey, queue: Arc<Queue> },
    /// Further calls are on somebody's behalf.
    Identify { identity: Params, answer: oneshot::Sender<Result<(), Error>> },
}

/// What is known of the control lane.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(crate) daemon: Daemon,
    /// Where it leads to.
    pub(crate) place: Arc<Place>,
    pub(crate) link: Link,
}

#[derive(Clone, Debug)]
pub(crate) enum Link {
    Up(Connection),
    /// Lost for this reason, or not made again for it, the last time; it is being tried again.
    Away(Error),
    /// Lost for good.
    Gone(Error),
}

/// How the service of a connection ends.
enum End {
    Lost(Error),
    /// Whoever has the handle wants it so.
    Closed,
    /// Nobody has the handle any more.
    Unheld,
}

/// Keeps the control lane.
pub(crate) struct Keeper {
    pub(crate) opening: Opening,
    /// Whether and how the connection is made again.
    pub(crate) reconnect: Option<(Reconnect, Route)>,
    pub(crate) wishes: mpsc::UnboundedReceiver<Wish>,
    pub(crate) control: watch::Sender<Control>,
    closing: Arc<Notify>,
    topics: Topics,
}

/// Topics that are registered. When they go, their listeners hear that nothing more comes.
struct Topics(HashMap<TopicKey, Registered>);

struct Registered {
    topic: Topic,
    listeners: Arc<Fanout>,
    key: Key,
}

impl Keeper {
    pub(crate) fn new(
        opening: Opening,
        reconnect: Option<(Reconnect, Route)>,
        wishes: mpsc::UnboundedReceiver<Wish>,
        control: watch::Sender<Control>,
        closing: Arc<Notify>,
    ) -> Self {
        Self { opening, reconnect, wishes, control, closing, topics: Topics(HashMap::new()) }
    }

    /// Until the connection is gone for good.
    pub(crate) async fn run(mut self, mut connection: Connection, mut mover: Mover) -> Error {
        // What is being done. It is begun again on the next connection when this one does not live to see it done.
        let mut wish = None;
        loop {
            let closing = Arc::clone(&self.closing);
            let end = tokio::select! {
                biased;
                reason = &mut mover => End::Lost(reason),
                () = closing.notified() => End::Closed,
                // Dropped in the middle it loses nothing: the wish stays where it is until it is done.
                end = self.serve(&connection, &mut wish) => end,
            };
            let reason = match end {
                End::Lost(reason) => reason,
                End::Closed => return self.close(&connection, mover).await,
                End::Unheld => {
                    // The handle is gone; streams and clones of the connection may live on.
                    drop((self, connection));
                    return mover.await;
                }
            };
            (connection, mover) = match self.again(reason).await {
                Ok(again) => again,
                Err(reason) => {
                    self.set(Link::Gone(reason.clone()));
                    self.topics.close(&reason);
                    return reason;
                }
            };
        }
    }

    /// Ends the connection in order, and then in any case.
    async fn close(self, connection: &Connection, mut mover: Mover) -> Error {
        let farewell = in_time(Some(FAREWELL), connection.call::<remote::ConnectClose>(&()));
        if let Err(error) = mover.beside(farewell).await.and_then(|said| said) {
            tracing::debug!(
                error = format_args!("{error:#}"),
                "the daemon did not take the end of a connection"
            );
        }
        let reason = Error::new(ErrorKind::Closed);
        connection.shut(&reason);
        self.set(Link::Gone(reason.clone()));
        reason
    }

    fn set(&self, link: Link) {
        self.control.send_modify(|control| control.link = link);
    }

    /// Fulfils wishes, until the handle is gone, or the connection stands in the way of them.
    async fn serve(&mut self, connection: &Connection, wish: &mut Option<Wish>) -> End {
        let returns = self.reconnect.is_some();
        let patience = self.opening.options.deadline.map_or(CLOGGED, |deadline| CLOGGED.min(deadline / 2));
        loop {
            if wish.is_none() {
                *wish = self.wishes.recv().await;
            }
            let Some(current) = wish.as_ref() else { return End::Unheld };
            // Both can be begun again.
            let fulfilled = tokio::select! {
                biased;
                fulfilled = self.fulfil(connection, current) => fulfilled,
                () = clogged(connection, patience), if returns => {
                    let reason = Error::new(ErrorKind::Clogged);
                    connection.shut(&reason);
                    return End::Lost(reason);
                }
            };
            if let Some(Wish::Listen { answer, .. } | Wish::Identify { answer, .. }) = wish.take() {
                // Who asked may be gone; then it also leaves.
                let _ = answer.send(fulfilled);
            }
        }
    }

    /// Does what is wished for.
    async fn fulfil(&mut self, connection: &Connection, wish: &Wish) -> Result<(), Error> {
        match wish {
            // Nobody waits for it any more, and nothing of it is done.
            Wish::Listen { answer, .. } | Wish::Identify { answer, .. } if answer.is_closed() => Ok(()),
            Wish::Listen { topic, queue, .. } => self.listen(connection, topic, queue).await,
            Wish::Identify { identity, .. } => self.identify(connection, identity).await,
            Wish::Leave { topic, queue } => {
                self.leave(connection, topic, queue).await;
                Ok(())
            }
        }
    }

    /// Says on whose behalf further calls are; once the daemon has agreed, every connection that is made says so, too.
    async fn identify(&self, connection: &Connection, identity: &Params) -> Result<(), Error> {
        let said = say(connection, identity).await;
        match &said {
            Ok(()) => self.opening.identity.set(identity.clone()),
            // Nobody knows what its calls may do now.
            Err(error) if error.execution() == Execution::Possible => connection.shut(error),
            Err(_) => {}
        }
        said
    }

    async fn listen(
        &mut self,
        connection: &Connection,
        topic: &Topic,
        queue: &Arc<Queue>,
    ) -> Result<(), Error> {
        if let Some(registered) = self.topics.0.get(topic.key()) {
            registered.listeners.add(Arc::clone(queue));
            return Ok(());
        }
        let key = topic.register(connection).await?;
        let listeners = Arc::new(Fanout::default());
        listeners.add(Arc::clone(queue));
        connection.route(key, Arc::clone(&listeners));
        let registered = Registered { topic: topic.clone(), listeners, key };
        self.topics.0.insert(topic.key().clone(), registered);
        Ok(())
    }

    async fn leave(&mut self, connection: &Connection, topic: &TopicKey, queue: &Arc<Queue>) {
        let last = self.topics.0.get(topic).is_some_and(|registered| registered.listeners.remove(queue));
        if !last {
            return;
        }
        if let Some(Registered { key, .. }) = self.topics.0.remove(topic) {
            connection.unroute(key);
            if let Err(error) = deregister(connection, key).await {
                tracing::debug!(
                    error = format_args!("{error:#}"),
                    "a registration of events could not be ended"
                );
            }
            connection.unrouted(key);
        }
    }

    /// Connects again and registers everything again.
    ///
    /// # Errors
    /// With the last reason, when that is not wanted, not possible, or was tried often enough.
    async fn again(&mut self, lost: Error) -> Result<(Connection, Mover), Error> {
        let Some((policy, route)) = self.reconnect.clone() else { return Err(lost) };
        tracing::debug!(lost = format_args!("{lost:#}"), "the connection is lost");
        self.set(Link::Away(lost.clone()));
        let (mut reason, mut pause, mut attempts) = (lost, policy.pause, 0);
        while policy.attempts.is_none_or(|most| attempts < most) {
            attempts += 1;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.control.closed() => return Err(Error::new(ErrorKind::Closed)),
                () = self.closing.notified() => return Err(Error::new(ErrorKind::Closed)),
            }
            pause = (pause * 2).min(policy.longest);
            let opening = self.opening.clone();
            // A peer that takes the connection and says nothing must not stop all further attempts.
            // All of it is more than one call, whose deadline says nothing of it.
            let limit = self.opening.options.connecting.unwrap_or(CONNECTING);
            // Also one that brings events and then fails.
            self.topics.each_queue(Queue::moves);
            let topics = &mut self.topics;
            let attempt = async {
                let place = Arc::new(route.find()?);
                let Some(target) = &place.target else { return Err(Error::new(ErrorKind::Closed)) };
                let (connection, mut mover, daemon) =
                    opening.explored(target.connect().await?, &place).await?;
                mover.beside(topics.register_again(&connection)).await?;
                let link = Link::Up(connection.clone());
                Ok((connection, mover, Control { daemon, place, link }))
            };
            let registered = tokio::select! {
                made = in_time(Some(limit), attempt) => made.and_then(|made| made),
                () = self.control.closed() => return Err(Error::new(ErrorKind::Closed)),
                () = self.closing.notified() => return Err(Error::new(ErrorKind::Closed)),
            };
            match registered {
                Ok((connection, mover, up)) => {
                    // Whatever took this connection may have taken the others, and not be known of them yet. Both change at once for whoever looks.
                    self.control.send_modify(|control| {
                        self.opening.identity.moved();
                        *control = up;
                    });
                    self.topics.each_queue(Queue::announce);
                    return Ok((connection, mover));
                }
                Err(error) => {
                    tracing::debug!(error = format_args!("{error:#}"), attempts, "connecting again failed");
                    if policy.refused == AfterRefusal::GiveUp && error.is_refused_login() {
                        let why = "the connection was lost, and the daemon refuses the login to make it again, which is not repeated: open another when that is mended";
                        return Err(Error::new(ErrorKind::Auth(why.to_owned())).because(error));
                    }
                    // Who waits in vain hears why it does not come back.
                    self.set(Link::Away(error.clone()));
                    reason = error;
                }
            }
        }
        Err(reason)
    }
}

/// Until a connection is full of calls that nobody waits for any more; it is looked at from time to time, as one that is full for a moment
/// only is none.
async fn clogged(connection: &Connection, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if connection.load().clogged {
            return;
        }
    }
}

impl Topics {
    /// Registers every topic on a new connection. What the daemon refuses now ends for its listeners.
    async fn register_again(&mut self, connection: &Connection) -> Result<(), Error> {
        let mut refused = Vec::new();
        for (key, registered) in &mut self.0 {
            match registered.topic.register(connection).await {
                Ok(number) => {
                    registered.key = number;
                    connection.route(number, Arc::clone(&registered.listeners));
                }
                Err(error) if error.refusal().is_some() => {
                    registered.listeners.close(&error);
                    refused.push(key.clone());
                }
                Err(error) => return Err(error),
            }
        }
        self.0.retain(|key, _| !refused.contains(key));
        Ok(())
    }

    /// Whoever listens, to some as often as they have topics.
    fn each_queue(&self, act: fn(&Queue)) {
        self.0.values().flat_map(|registered| registered.listeners.queues()).for_each(|queue| act(&queue));
    }

    fn close(&self, reason: &Error) {
        for registered in self.0.values() {
            registered.listeners.close(reason);
        }
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        self.close(&Error::new(ErrorKind::Closed));
    }
}
