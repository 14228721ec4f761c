//! Several connections behind one handle.
//!
//! A daemon stops reading a connection at which five calls are under way, and stops everything on it when a stream is not read. So
//! each kind of work has connections of its own, which are opened when they are first needed:
//!
//! ```text
//!   urgent calls, subscriptions ──> control lane        one, as long as the handle lives
//!   all other calls ──────────────> work lanes          the one with the fewest calls under way; up to a limit
//!   each stream ──────────────────> a lane of its own   until the stream ends
//! ```

use crate::connection::{Connection, Driver, Options, connection};
use crate::dial::Target;
use crate::error::{Error, ErrorKind};
use crate::transport::Transport;
use libvirt_protocol::flags::ConnectFlags;
use libvirt_protocol::procedure::{Info, Release};
use libvirt_protocol::remote;
use std::sync::{Arc, Mutex, PoisonError};

/// Runs the drivers of connections.
pub(crate) type Run = Arc<dyn Fn(Driver) + Send + Sync>;

/// What every connection of one handle has in common.
#[derive(Clone)]
pub(crate) struct Opening {
    /// What the daemon is asked to open.
    pub(crate) name: String,
    pub(crate) read_only: bool,
    pub(crate) options: Options,
    pub(crate) run: Run,
}

/// The connections of one handle.
pub(crate) struct Lanes {
    opening: Opening,
    /// `None` when the caller has connected: then there is one lane for everything.
    target: Option<Target>,
    most: usize,
    control: Connection,
    work: Mutex<Vec<Connection>>,
}

/// What is known of the daemon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Daemon {
    pub(crate) version: Release,
    /// Whether subscriptions have numbers (`VIR_DRV_FEATURE_REMOTE_EVENT_CALLBACK`).
    pub(crate) numbered_events: bool,
}

/// Features of the protocol (`virDrvFeature`), by number.
mod feature {
    pub(super) const KEEPALIVE: i32 = 10;
    pub(super) const EVENT_CALLBACK: i32 = 14;
}

/// Ways to authenticate (`remote_auth_type`).
mod auth {
    pub(super) const NONE: i32 = 0;
    pub(super) const SASL: i32 = 1;
    pub(super) const POLKIT: i32 = 2;
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lanes({} for work)", self.lock().len())
    }
}

impl Lanes {
    /// Opens the control lane.
    pub(crate) async fn open(
        opening: Opening,
        transport: impl Transport,
        target: Option<Target>,
        most: usize,
    ) -> Result<(Self, Daemon), Error> {
        let control = opening.begin(transport, opening.options).await?;
        let daemon = explore(&control).await?;
        Ok((Self { opening, target, most, control, work: Mutex::default() }, daemon))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane on which calls are ordered with subscriptions and live as long as the handle.
    pub(crate) fn control(&self) -> &Connection {
        &self.control
    }

    /// The lane for a call.
    pub(crate) async fn of(&self, info: &Info) -> Result<Connection, Error> {
        let Some(target) = &self.target else { return Ok(self.control.clone()) };
        if info.urgent {
            return Ok(self.control.clone());
        }
        {
            let mut lanes = self.lock();
            lanes.retain(|lane| lane.closed().is_none());
            let least = lanes.iter().map(|lane| (lane.load(), lane)).min_by_key(|(load, _)| *load);
            if let Some((load, lane)) = least
                && (load < self.opening.options.limits.ordinary || lanes.len() >= self.most)
            {
                return Ok(lane.clone());
            }
        }
        let lane = self.opening.begin(target.connect().await?, self.opening.options).await?;
        self.lock().push(lane.clone());
        Ok(lane)
    }

    /// A lane for one stream.
    pub(crate) async fn stream(&self) -> Result<Connection, Error> {
        let Some(target) = &self.target else { return Ok(self.control.clone()) };
        // A reader that stalls stops the whole lane; then nobody may take its silence for death. The daemon does not ask either,
        // because it was not told that we answer.
        let options = Options { keepalive: None, ..self.opening.options };
        self.opening.begin(target.connect().await?, options).await
    }
}

impl Opening {
    /// Makes a transport a connection to what the handle has opened.
    async fn begin(&self, transport: impl Transport, options: Options) -> Result<Connection, Error> {
        let (connection, driver) = connection(transport, options);
        (self.run)(driver);
        authenticate(&connection).await?;
        let flags = if self.read_only { ConnectFlags::RO } else { ConnectFlags::empty() };
        let name = if self.name.is_empty() { None } else { Some(self.name.as_str().into()) };
        connection.call::<remote::ConnectOpen>(&remote::ConnectOpenArgs { name, flags }).await?;
        Ok(connection)
    }
}

async fn authenticate(connection: &Connection) -> Result<(), Error> {
    let reply = connection.call::<remote::AuthList>(&()).await?;
    let offered: Vec<i32> = reply.result()?.types.iter().collect();
    match offered.first().copied() {
        None | Some(auth::NONE) => Ok(()),
        Some(auth::POLKIT) => connection.call::<remote::AuthPolkit>(&()).await.map(drop),
        Some(auth::SASL) => Err(Error::new(ErrorKind::Auth("the daemon demands SASL".to_owned()))),
        Some(other) => {
            Err(Error::new(ErrorKind::Auth(format!("the daemon demands the unknown way {other}"))))
        }
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
    let version = connection.start::<remote::ConnectGetLibVersion>(&(), Vec::new());
    keepalive.await?;
    let numbered_events = events.await?.result()?.supported != 0;
    let version = Release::from_number(version.await?.result()?.lib_ver);
    Ok(Daemon { version, numbered_events })
}
