//! Opening a connection, and what concerns it as a whole.

use crate::ByteStream;
use crate::auth::{Credentials, Spent};
use crate::connection::{Call, Connection, Driver, Options, Reply};
use crate::dial::Dialer;
use crate::error::{Error, ErrorKind};
use crate::keeper::{Reconnect, Wish};
use crate::lanes::{Identity, Lanes, Opening, in_time};
use crate::params::Params;
use crate::route::{By, Route};
use crate::transport::{Tls, Transport};
use crate::uri::{Access, Environment};
use libvirt_protocol::procedure::{Procedure, Program, Release};
use libvirt_protocol::remote;
use std::any::TypeId;
use std::io;
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
    /// Said by itself: it goes before that of the options, in whatever order they were said.
    deadline: Option<Duration>,
    access: Access,
    lanes: Option<usize>,
    reconnect: Option<Reconnect>,
    credentials: Option<Credentials>,
    tls: Option<Tls>,
    host: Option<String>,
    dialer: Option<Dialer>,
}

/// Connections for calls that may take long, at most.
const LANES: usize = 4;

impl Builder {
    /// How many connections there may be for calls that may take long, besides the first and those of streams, of which
    /// one is kept for the next stream. With 0 everything goes over one connection. Calls of one that cannot be made go over the others.
    #[must_use]
    pub fn lanes(mut self, most: usize) -> Self {
        self.lanes = Some(most);
        self
    }

    /// Opens for reading only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    /// Connects again when the connection is lost. Calls that were under way fail, and say whether the daemon may have executed them;
    /// new ones wait. Subscriptions live on, with a marker ([`crate::Item::Resynchronised`]) where events may be missing. The
    /// other connections are made again with it, when they are next needed, each with its login. Without this a lost connection is lost
    /// for good.
    #[must_use]
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.reconnect = Some(policy);
        self
    }

    /// Who to be at a daemon that demands a user and a password; otherwise `auth.conf` says it, which is read for each login.
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

    /// How long each call may take, connecting as a whole, and each piece of data on a stream ([`Options::deadline`], before which this
    /// goes).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How the connection behaves.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Connects by a function of the program's own: through a bastion, a port that is forwarded, a vsock, whatever carries bytes. It is asked as
    /// often as it takes: for the first connection, further ones for calls and streams, and those that are made again when they are lost. So
    /// everything else is as with a URI, of which only what concerns the daemon counts: driver, path, `name`, `auth`, `authfile`, and the
    /// host, by whose name passwords are looked up.
    ///
    /// It runs where the driver of the connection does, or whatever opens it, and may be dropped before it is done.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use libvirt_client::Connect;
    /// use libvirt_client::transport::{Privacy, Stream};
    ///
    /// # // Run with the tests, against a daemon in memory.
    /// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let port = listener.local_addr()?.port();
    /// # let server = libvirt_server::Server::builder().build();
    /// # let handle = server.handle();
    /// # tokio::spawn(server.serve(None));
    /// # tokio::spawn(async move {
    /// #     while let Ok((stream, _)) = listener.accept().await {
    /// #         handle.attach(Stream::new(stream, Privacy::Open));
    /// #     }
    /// # });
    /// let forwarded = move || async move {
    ///     let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    ///     // What is at the other end of it leads through something that nobody else can read.
    ///     Ok(Stream::new(stream, Privacy::Private))
    /// };
    /// let connect = Connect::builder("test:///default").dial(forwarded).open().await?;
    /// assert_eq!(connect.domain_by_name("test").await?.info().await?.vcpus, 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn dial<T, F>(mut self, dial: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        T: Transport,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        self.dialer = Some(Dialer::new(dial));
        self
    }

    /// Surroundings other than the process's own.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Opens the connection, and runs its drivers in tasks of the current tokio runtime.
    ///
    /// # Errors
    /// As [`Builder::open_with`].
    pub async fn open(self) -> Result<Connect, Error> {
        self.open_with(run_here).await
    }

    /// Opens the connection. `run` gets the driver of each connection and must run it, in a task of its own.
    ///
    /// # Errors
    /// When the URI names nothing, the daemon cannot be reached, or it refuses; [`ErrorKind::Misuse`] when [`Builder::tls`] is said of
    /// what a function of the program's connects to.
    pub async fn open_with(self, run: impl Fn(Driver) + Send + Sync + 'static) -> Result<Connect, Error> {
        let by = match &self.dialer {
            Some(_) if self.tls.is_some() => return Err(unheard("tls")),
            Some(dialer) => By::Dialer(dialer.clone()),
            None => By::Uri,
        };
        let route = self.route(by);
        let place = Arc::new(route.find()?);
        let opening = self.opening(run);
        let connecting = opening.options.connecting();
        let opened = async {
            let transport = match &place.target {
                Some(target) => target.connect().await?,
                None => return Err(Error::new(ErrorKind::Closed)),
            };
            let most = self.lanes.unwrap_or(LANES);
            let reconnect = self.reconnect.map(|policy| (policy, route));
            Lanes::open(opening, transport, Arc::clone(&place), most, reconnect).await
        };
        let connect = Self::connected(in_time(connecting, opened).await??);
        if let Some(transport) = place.transport {
            tracing::debug!(target: "libvirt_client::opened", ?transport);
        }
        Ok(connect)
    }

    /// Opens a connection on a transport that the caller has made; of the URI only what concerns the daemon counts, as with
    /// [`Builder::dial`]. There is this one connection then, and never another: an unread stream stops everything else.
    ///
    /// # Errors
    /// When the daemon refuses; [`ErrorKind::Misuse`] when something was said that one connection cannot do: [`Builder::lanes`] other than
    /// 0, [`Builder::reconnect`], [`Builder::dial`], [`Builder::tls`].
    pub async fn open_on(
        self,
        transport: impl Transport,
        run: impl Fn(Driver) + Send + Sync + 'static,
    ) -> Result<Connect, Error> {
        let unheard_of = [
            ("lanes", self.lanes.is_some_and(|most| most > 0)),
            ("reconnect", self.reconnect.is_some()),
            ("dial", self.dialer.is_some()),
            ("tls", self.tls.is_some()),
        ];
        if let Some((setting, _)) = unheard_of.into_iter().find(|(_, said)| *said) {
            return Err(unheard(setting));
        }
        let place = Arc::new(self.route(By::Program).find()?);
        let opening = self.opening(run);
        let connecting = opening.options.connecting();
        let opened = Lanes::open(opening, transport, place, 0, None);
        Ok(Self::connected(in_time(connecting, opened).await??))
    }

    fn connected(lanes: Lanes) -> Connect {
        Connect { deadline: lanes.deadline(), lanes: Arc::new(lanes) }
    }

    fn route(&self, by: By) -> Route {
        Route {
            uri: self.uri.clone(),
            environment: self.environment.clone().unwrap_or_else(Environment::from_env),
            access: self.access,
            credentials: self.credentials.clone(),
            tls: self.tls.clone(),
            host: self.host.clone(),
            by,
            spent: Spent::default(),
        }
    }

    fn opening(&self, run: impl Fn(Driver) + Send + Sync + 'static) -> Opening {
        let deadline = self.deadline.or(self.options.deadline);
        Opening {
            access: self.access,
            options: Options { deadline, ..self.options },
            identity: Arc::new(Identity::default()),
            run: Arc::new(run),
        }
    }
}

/// A setting that would be passed over.
fn unheard(setting: &str) -> Error {
    Error::misuse(format!(
        "Builder::{setting} says nothing about connections that the program makes by itself: leave it out, or say it where they are made; a function for Builder::dial has lanes and reconnection"
    ))
}

impl Connect {
    /// Opens a connection and runs it in a task of the current tokio runtime.
    ///
    /// # Errors
    /// As [`Builder::open_with`].
    pub async fn open(uri: &str) -> Result<Self, Error> {
        Self::builder(uri).open().await
    }

    /// Says how to open a connection: to a URI, or an alias of one; an empty text means the default of the surroundings.
    #[must_use]
    pub fn builder(uri: &str) -> Builder {
        Builder {
            uri: uri.to_owned(),
            environment: None,
            options: Options::default(),
            deadline: None,
            access: Access::Full,
            lanes: None,
            reconnect: None,
            credentials: None,
            tls: None,
            host: None,
            dialer: None,
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
        let (lane, left) = self.lanes.stream(self.deadline).await?;
        lane.open_leaving::<P>(args, left).await
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

    /// Ends all connections in order: the daemon hears so, for which those besides the first have a second, and frees what belongs to them
    /// (`virConnectClose`). Clones of this handle are of no further use; streams that are open go on, and calls on connections from before
    /// the first was made again.
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
