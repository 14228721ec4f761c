//! Opening a connection, and what concerns it as a whole.

use crate::ByteStream;
use crate::auth::{self, Auth, Credentials};
use crate::connection::{Call, Connection, Driver, Options, Reply};
use crate::dial::Target;
use crate::error::{Error, ErrorKind};
use crate::keeper::{Reconnect, Wish};
use crate::lanes::{Identity, Lanes, Opening, in_time};
use crate::params::Params;
use crate::transport::{Tls, Transport};
use crate::uri::{Access, Environment, Uri};
use libvirt_protocol::procedure::{Procedure, Program, Release};
use libvirt_protocol::remote;
use std::any::TypeId;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// A connection to a daemon, and the way to everything behind it.
///
/// Behind it are several connections, so that slow calls and unread streams delay nothing else. Domains that are to end with
/// "the connection" (`START_AUTODESTROY`) end with the one that started them: open with [`Builder::lanes`] 0 for those.
#[derive(Clone, Debug)]
pub struct Connect {
    lanes: Arc<Lanes>,
    /// How long its calls may take.
    deadline: Option<Duration>,
}

/// How a connection is to be opened.
#[derive(Clone, Debug)]
pub struct Builder {
    uri: String,
    environment: Option<Environment>,
    options: Options,
    access: Access,
    lanes: usize,
    reconnect: Option<Reconnect>,
    credentials: Option<Credentials>,
    tls: Option<Tls>,
    host: Option<String>,
}

/// Connections for calls that may take long, at most.
const LANES: usize = 4;

impl Builder {
    /// How many connections there may be for calls that may take long, besides the first and those of streams. With 0 everything
    /// goes over one connection. Calls of one that cannot be made go over the others.
    #[must_use]
    pub fn lanes(mut self, most: usize) -> Self {
        self.lanes = most;
        self
    }

    /// Opens for reading only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    /// Connects again when the connection is lost. Calls that were under way fail, and say whether the daemon may have executed them;
    /// new ones wait. Subscriptions live on, with a marker ([`crate::Item::Resynchronised`]) where events may be missing. Without
    /// this a lost connection is lost for good.
    #[must_use]
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.reconnect = Some(policy);
        self
    }

    /// Who to be at a daemon that demands a user and a password; otherwise `auth.conf` says it.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// What TLS is spoken with; otherwise the URI and the surroundings say it.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// By which name the daemon's host proves itself (Kerberos); otherwise the URI's host, or `localhost`.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.host = Some(name.to_owned());
        self
    }

    /// How long each call may take, connecting as a whole, and each piece of data on a stream ([`Options::deadline`]).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// How the connection behaves.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Surroundings other than the process's own.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Opens the connection. `run` gets the driver of each connection and must run it, in a task of its own.
    ///
    /// # Errors
    /// When the URI names nothing, the daemon cannot be reached, or it refuses.
    pub async fn open_with(self, run: impl Fn(Driver) + Send + Sync + 'static) -> Result<Connect, Error> {
        let environment = self.environment.clone().unwrap_or_else(Environment::from_env);
        let uri = Uri::resolve(&self.uri, &environment)?;
        let mut target = Target::of(&uri, &environment, self.access)?;
        if let (Target::Tls(_, _, tls), Some(wished)) = (&mut target, &self.tls) {
            *tls = wished.clone();
        }
        let credentials = match &self.credentials {
            Some(credentials) => Ok(Some(credentials.clone())),
            None => environment.credentials(&uri),
        };
        let host = self.host.clone().or_else(|| uri.host.clone());
        let host = host.unwrap_or_else(|| auth::LOCALHOST.to_owned());
        let auth = Auth { wish: auth::Wish::of(uri.parameter("auth"))?, credentials, host };
        let opening = Opening { auth, ..self.opening(&uri.remote_name(), run) };
        let opened = async {
            let transport = target.connect().await?;
            Lanes::open(opening, transport, Some(target), self.lanes, self.reconnect).await
        };
        let lanes = in_time(self.options.connecting(), opened).await??;
        tracing::debug!(target: "libvirt_client::opened", transport = ?uri.transport());
        Ok(Connect { lanes: Arc::new(lanes), deadline: self.options.deadline })
    }

    /// Opens a connection on a transport that the caller has made; of the URI only the daemon's part counts. There is one connection
    /// then: an unread stream stops everything else.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn open_on(
        self,
        name: &str,
        transport: impl Transport,
        run: impl Fn(Driver) + Send + Sync + 'static,
    ) -> Result<Connect, Error> {
        let opened = Lanes::open(self.opening(name, run), transport, None, 0, None);
        let lanes = in_time(self.options.connecting(), opened).await??;
        Ok(Connect { lanes: Arc::new(lanes), deadline: self.options.deadline })
    }

    fn opening(&self, name: &str, run: impl Fn(Driver) + Send + Sync + 'static) -> Opening {
        Opening {
            name: name.to_owned(),
            access: self.access,
            options: self.options,
            auth: Auth {
                wish: auth::Wish::default(),
                credentials: Ok(self.credentials.clone()),
                host: self.host.clone().unwrap_or_else(|| auth::LOCALHOST.to_owned()),
            },
            identity: Arc::new(Identity::default()),
            run: Arc::new(run),
        }
    }
}

impl Connect {
    /// Opens a connection and runs it in a task of the current tokio runtime.
    ///
    /// # Errors
    /// As [`Builder::open_with`].
    pub async fn open(uri: &str) -> Result<Self, Error> {
        Self::builder(uri).open_with(run_here).await
    }

    /// Says how to open a connection: to a URI, or an alias of one; an empty text means the default of the surroundings.
    #[must_use]
    pub fn builder(uri: &str) -> Builder {
        Builder {
            uri: uri.to_owned(),
            environment: None,
            options: Options::default(),
            access: Access::Full,
            lanes: LANES,
            reconnect: None,
            credentials: None,
            tls: None,
            host: None,
        }
    }

    /// The same connections, with another deadline for each call and each piece of data on a stream ([`Options::deadline`]) of this handle and of
    /// those that are made from it: `connect.with_deadline(time).domain_by_name(name)` is a domain that has it. Unlike a timeout that is
    /// put around a method, its error says whether the daemon may have executed the call ([`Error::execution`]).
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// Calls any procedure (`raw`: arguments and result are the protocol's own).
    ///
    /// # Errors
    /// As [`Connection::call`]; [`ErrorKind::Unsupported`] without a round trip when the daemon is too old.
    pub async fn call<P: Procedure>(&self, args: &P::Args<'_>) -> Result<Reply<P>, Error> {
        self.supports::<P>()?;
        self.lanes.of(P::INFO, self.deadline).await?.call::<P>(args).await
    }

    /// Starts a call on the first connection; what comes back waits for its reply. A connection that is being made again is waited for.
    ///
    /// # Errors
    /// When the daemon is too old, or the connection is lost.
    pub async fn start<P: Procedure>(&self, args: &P::Args<'_>) -> Result<Call<P>, Error> {
        self.supports::<P>()?;
        Ok(self.lanes.control(self.deadline).await?.start::<P>(args, Vec::new()))
    }

    /// Calls any procedure, and sends descriptors with the call.
    ///
    /// # Errors
    /// As [`Connect::call`]; also when the transport carries no descriptors.
    pub async fn call_with<P: Procedure>(
        &self,
        args: &P::Args<'_>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Reply<P>, Error> {
        self.supports::<P>()?;
        self.lanes.of(P::INFO, self.deadline).await?.call_with::<P>(args, descriptors).await
    }

    /// Calls a procedure on the first connection, because what it brings about belongs to its connection.
    pub(crate) async fn call_on_the_first<P: Procedure>(
        &self,
        args: &P::Args<'_>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Reply<P>, Error> {
        self.supports::<P>()?;
        self.lanes.control(self.deadline).await?.call_with::<P>(args, descriptors).await
    }

    /// Starts a call on the lane that is meant for it, which is to be held until the call has ended.
    pub(crate) async fn start_on_a_lane<P: Procedure>(
        &self,
        args: &P::Args<'_>,
    ) -> Result<(Connection, Call<P>), Error> {
        self.supports::<P>()?;
        let lane = self.lanes.of(P::INFO, self.deadline).await?;
        let call = lane.start::<P>(args, Vec::new());
        // Whoever leaves it to itself and goes has begun it.
        lane.push();
        Ok((lane, call))
    }

    /// Calls a procedure that opens a stream.
    ///
    /// # Errors
    /// As [`Connect::call`].
    pub async fn call_stream<P: Procedure>(
        &self,
        args: &P::Args<'_>,
    ) -> Result<(Reply<P>, ByteStream), Error> {
        self.supports::<P>()?;
        self.own().await?.open::<P>(args).await
    }

    /// The same, when the stream is all that comes back.
    ///
    /// # Errors
    /// As [`Connect::call`].
    pub async fn open_stream<P: Procedure>(&self, args: &P::Args<'_>) -> Result<ByteStream, Error> {
        self.call_stream::<P>(args).await.map(|(_, stream)| stream)
    }

    /// Tells on whose behalf further calls are, on whatever connection; for daemons that speak for others (`virConnectSetIdentity`).
    /// Streams that are open, and calls that are under way, go on as they began.
    ///
    /// # Errors
    /// As every call. When the daemon refuses, everything is as before. When its answer is missing, its connection is given up: nobody
    /// would know what its calls may do.
    pub async fn set_identity(&self, parameters: &Params) -> Result<(), Error> {
        self.lanes.identify(parameters.clone(), self.deadline).await
    }

    fn supports<P: Procedure>(&self) -> Result<(), Error> {
        let info = P::INFO;
        if TypeId::of::<P>() == TypeId::of::<remote::ConnectSetIdentity>() && self.lanes.are_several() {
            let why = "other connections of this handle, now or later, would have other rights: Connect::set_identity";
            return Err(Error::misuse(why).of(info));
        }
        // One daemon has all programs but its own administration, which is asked on a socket of its own and has no release.
        if info.program != Program::Admin && self.lanes.daemon().version < info.since {
            let kind = ErrorKind::Unsupported { procedure: info.name, since: info.since };
            return Err(Error::new(kind).of(info));
        }
        Ok(())
    }

    /// The first connection: urgent calls and subscriptions go there. While it is being made again it is waited for. What a call on it settles for
    /// its connection, an identity for one, holds for that connection and ends with it: [`Connect::set_identity`] reaches all, also later ones.
    ///
    /// # Errors
    /// When it is lost, or is not made again in time.
    pub async fn connection(&self) -> Result<Connection, Error> {
        let connection = self.lanes.control(self.deadline).await?;
        connection.closed().map_or(Ok(connection), Err)
    }

    /// Whether the first connection is there now; when it is lost it may be made again ([`Builder::reconnect`]).
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.lanes.is_up()
    }

    /// Why the first connection is not there, if it is not: it was lost, or the last attempt to make it again has failed so
    /// ([`Builder::reconnect`]). Calls that wait for it in vain have the reason as the source of their error.
    #[must_use]
    pub fn lost(&self) -> Option<Error> {
        self.lanes.lost()
    }

    /// A lane of its own, with this handle's deadline.
    pub(crate) async fn own(&self) -> Result<Connection, Error> {
        self.lanes.own(self.deadline).await
    }

    /// Waits, but not longer than a call may.
    pub(crate) async fn within<T>(&self, wait: impl Future<Output = T>) -> Result<T, Error> {
        in_time(self.deadline, wait).await
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    pub(crate) fn wishes(&self) -> &tokio::sync::mpsc::UnboundedSender<Wish> {
        self.lanes.wishes()
    }

    /// The daemon's release; known since the connection was opened (`virConnectGetLibVersion`).
    #[must_use]
    pub fn daemon_version(&self) -> Release {
        self.lanes.daemon().version
    }

    pub(crate) fn has_numbered_events(&self) -> bool {
        self.lanes.daemon().numbered_events
    }

    pub(crate) fn has_ordered_network_update(&self) -> bool {
        self.lanes.daemon().ordered_network_update
    }

    /// Itself, so that its methods can be declared as those of other handles are.
    pub(crate) fn connect(&self) -> &Self {
        self
    }

    /// Ends all connections in order: the daemon hears so, those for work have a second for it, and frees what belongs to them (`virConnectClose`). Clones of this handle are of
    /// no further use; streams that are open go on.
    ///
    /// # Errors
    /// With the reason when the connection was lost before; [`ErrorKind::Timeout`].
    pub async fn close(self) -> Result<(), Error> {
        self.lanes.close(self.deadline).await
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the convenience that is documented to use the current runtime"
)]
pub(crate) fn run_here(driver: Driver) {
    drop(tokio::spawn(driver));
}
