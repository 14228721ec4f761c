//! Administration of a daemon itself: its servers, their workers and clients, its logs. On a socket of its own, for the daemon's user.

use crate::connect::run_here;
use crate::connection::{Connection, Driver, Options, Reply, moved};
use crate::error::{Error, ErrorKind};
use crate::handle::{methods, text};
use crate::params::Params;
use crate::transport::{Transport, Unix};
use crate::uri::{Environment, Uri};
use libvirt_protocol::NoFlags;
use libvirt_protocol::admin::{self, *};
use libvirt_protocol::enums::ClientTransport;
use libvirt_protocol::procedure::{Procedure, Release};
use libvirt_protocol::xdr::IntoOwned;
use std::path::PathBuf;
use std::sync::Arc;

/// A connection to a daemon's administration.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let uri = "virtqemud:///system";
/// # // Run with the tests, against a daemon in memory.
/// # let directory = tempfile::tempdir()?;
/// # let socket = directory.path().join("sock");
/// # let listener = tokio::net::UnixListener::bind(&socket)?;
/// # let server = libvirt_server::Server::builder().build();
/// # let handle = server.handle();
/// # tokio::spawn(server.serve(None));
/// # tokio::spawn(async move { handle.serve_admin(listener).await });
/// # let uri = &format!("{uri}?socket={}", socket.display());
/// # let mut seen = 0;
/// let admin = libvirt_client::Admin::open(uri).await?;
/// for server in admin.servers().await? {
///     println!("{} {:?}", server.name(), server.client_limits().await?);
/// #   seen += 1;
/// }
/// # assert!(seen > 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    connection: Connection,
    version: Release,
}

/// One of the servers inside a daemon, each with sockets and workers of its own.
#[derive(Clone, Debug)]
pub struct AdminServer {
    admin: Admin,
    wire: Arc<admin::Server<'static>>,
}

/// A client of a server.
#[derive(Clone, Debug)]
pub struct AdminClient {
    admin: Admin,
    wire: Arc<admin::Client<'static>>,
}

impl Admin {
    /// Opens the administration of a daemon: `libvirtd:///system`, `virtqemud:///session` … (`virAdmConnectOpen`).
    ///
    /// # Errors
    /// When the URI names no daemon, or the daemon cannot be reached.
    pub async fn open(uri: &str) -> Result<Self, Error> {
        Self::open_with(uri, &Environment::from_env(), Options::default(), run_here).await
    }

    /// The same, with everything said. `run` gets the driver of the connection and must run it.
    ///
    /// # Errors
    /// As [`Admin::open`].
    pub async fn open_with(
        uri: &str,
        environment: &Environment,
        options: Options,
        run: impl Fn(Driver),
    ) -> Result<Self, Error> {
        let path = socket(&uri.parse()?, environment)?;
        let transport = Unix::connect(&path).await.map_err(|error| {
            Error::from(std::io::Error::new(
                error.kind(),
                format!("connecting to {}: {error}", path.display()),
            ))
        })?;
        Self::open_on(transport, options, run).await
    }

    /// Opens it on a transport that the caller has made.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn open_on(
        transport: impl Transport,
        options: Options,
        run: impl Fn(Driver),
    ) -> Result<Self, Error> {
        let (connection, mut mover) = moved(transport, options);
        let version = mover
            .beside(async {
                connection.call::<admin::ConnectOpen>(&ConnectOpenArgs::default()).await?;
                let reply = connection.call::<admin::ConnectGetLibVersion>(&()).await?;
                Ok(Release::from_number(reply.result()?.lib_ver))
            })
            .await?;
        run(Driver::new(mover));
        Ok(Self { connection, version })
    }

    /// Calls a procedure of the admin program.
    ///
    /// # Errors
    /// As [`Connection::call`]; [`ErrorKind::Unsupported`] without a round trip when the daemon is too old.
    pub async fn call<P: Procedure>(&self, args: &P::Args<'_>) -> Result<Reply<P>, Error> {
        let info = P::INFO;
        if self.version < info.since {
            let kind = ErrorKind::Unsupported { procedure: info.name, since: info.since };
            return Err(Error::new(kind).of(info));
        }
        self.connection.call::<P>(args).await
    }

    /// The daemon's release (`virAdmConnectGetLibVersion`).
    #[must_use]
    pub fn daemon_version(&self) -> Release {
        self.version
    }

    fn connect(&self) -> &Self {
        self
    }
}

/// The administration's socket of the daemon that the URI names.
fn socket(uri: &Uri, environment: &Environment) -> Result<PathBuf, Error> {
    if let Some(socket) = uri.parameter("socket") {
        return Ok(PathBuf::from(socket));
    }
    let wrong = |why: &str| Error::new(ErrorKind::Uri(format!("{}://{}: {why}", uri.driver, uri.path)));
    let directory = match uri.path.as_str() {
        "/system" => environment.run.clone(),
        "/session" => environment
            .sockets()
            .cloned()
            .ok_or_else(|| wrong("there is neither XDG_RUNTIME_DIR, XDG_CACHE_HOME nor HOME"))?,
        _ => return Err(wrong("a daemon is at /system or at /session")),
    };
    let name = match uri.driver.as_str() {
        "libvirtd" => "libvirt",
        daemon if daemon.starts_with("virt") && daemon.ends_with('d') => daemon,
        _ => return Err(wrong("no daemon has that name: there are libvirtd, virtqemud and others")),
    };
    Ok(directory.join("libvirt").join(format!("{name}-admin-sock")))
}

methods! { Admin(this) {
    /// The servers inside the daemon (`virAdmConnectListServers`).
    servers() -> Vec<AdminServer>
        = admin::ConnectListServers(ConnectListServersArgs { need_results: 1, flags: NoFlags::empty() })
        => |found| found.servers.iter().map(|server| AdminServer::new(this, server)).collect();
    /// The server with a name (`virAdmConnectLookupServer`).
    server(name: &str) -> AdminServer
        = admin::ConnectLookupServer(ConnectLookupServerArgs { name: name.into(), flags: NoFlags::empty() })
        => |found| AdminServer::new(this, found.srv);
    /// Where the daemon logs to (`virAdmConnectGetLoggingOutputs`).
    logging_outputs() -> String
        = admin::ConnectGetLoggingOutputs(ConnectGetLoggingOutputsArgs { flags: NoFlags::empty() })
        => |found| found.outputs.into();
    /// Which parts of it log how much (`virAdmConnectGetLoggingFilters`).
    logging_filters() -> Option<String>
        = admin::ConnectGetLoggingFilters(ConnectGetLoggingFiltersArgs { flags: NoFlags::empty() })
        => |found| text(found.filters);
    /// Says where it logs to; `None` means its default (`virAdmConnectSetLoggingOutputs`).
    set_logging_outputs(outputs: Option<&str>)
        = admin::ConnectSetLoggingOutputs(ConnectSetLoggingOutputsArgs {
            outputs: outputs.map(Into::into), flags: NoFlags::empty(),
        });
    /// Says which parts log how much; `None` means no filter (`virAdmConnectSetLoggingFilters`).
    set_logging_filters(filters: Option<&str>)
        = admin::ConnectSetLoggingFilters(ConnectSetLoggingFiltersArgs {
            filters: filters.map(Into::into), flags: NoFlags::empty(),
        });
    /// After so many seconds without clients the daemon ends; 0 means never (`virAdmConnectSetDaemonTimeout`).
    set_daemon_timeout(seconds: u32)
        = admin::ConnectSetDaemonTimeout(ConnectSetDaemonTimeoutArgs { timeout: seconds, flags: NoFlags::empty() });
    /// Ends the daemon (`virAdmConnectDaemonShutdown`).
    shut_down_daemon() = admin::ConnectDaemonShutdown(ConnectDaemonShutdownArgs { flags: NoFlags::empty() });
    /// Ends the connection in order (`virAdmConnectClose`).
    close() = admin::ConnectClose();
} }

impl AdminServer {
    fn new(admin: &Admin, wire: admin::Server<'_>) -> Self {
        Self { admin: admin.clone(), wire: Arc::new(wire.into_owned()) }
    }

    fn connect(&self) -> &Admin {
        &self.admin
    }

    /// What names it in calls of [`crate::raw::admin`].
    #[must_use]
    pub fn wire(&self) -> admin::Server<'_> {
        admin::Server { name: self.wire.name.borrowed() }
    }

    /// Its name (`virAdmServerGetName`).
    #[must_use]
    pub fn name(&self) -> String {
        self.wire.name.to_string()
    }
}

methods! { AdminServer(this) {
    /// How many workers it has: names `THREADPOOL_*` (`virAdmServerGetThreadPoolParameters`).
    threadpool() -> Params
        = admin::ServerGetThreadpoolParameters(ServerGetThreadpoolParametersArgs {
            srv: this.wire(), flags: NoFlags::empty(),
        }) => |found| found.params.iter().collect();
    /// Says how many workers it has (`virAdmServerSetThreadPoolParameters`).
    set_threadpool(parameters: &Params)
        = admin::ServerSetThreadpoolParameters(ServerSetThreadpoolParametersArgs {
            srv: this.wire(), params: parameters.as_slice().into(), flags: NoFlags::empty(),
        });
    /// How many clients it takes: names `SERVER_CLIENTS_*` (`virAdmServerGetClientLimits`).
    client_limits() -> Params
        = admin::ServerGetClientLimits(ServerGetClientLimitsArgs { srv: this.wire(), flags: NoFlags::empty() })
        => |found| found.params.iter().collect();
    /// Says how many clients it takes (`virAdmServerSetClientLimits`).
    set_client_limits(parameters: &Params)
        = admin::ServerSetClientLimits(ServerSetClientLimitsArgs {
            srv: this.wire(), params: parameters.as_slice().into(), flags: NoFlags::empty(),
        });
    /// Its clients (`virAdmServerListClients`).
    clients() -> Vec<AdminClient>
        = admin::ServerListClients(ServerListClientsArgs {
            srv: this.wire(), need_results: 1, flags: NoFlags::empty(),
        }) => |found| found.clients.iter().map(|client| AdminClient::new(&this.admin, client)).collect();
    /// The client with a number (`virAdmServerLookupClient`).
    client(id: u64) -> AdminClient
        = admin::ServerLookupClient(ServerLookupClientArgs { srv: this.wire(), id, flags: NoFlags::empty() })
        => |found| AdminClient::new(&this.admin, found.clnt);
    /// Reads the certificates again (`virAdmServerUpdateTlsFiles`).
    update_tls_files()
        = admin::ServerUpdateTlsFiles(ServerUpdateTlsFilesArgs { srv: this.wire(), flags: NoFlags::empty() });
} }

impl AdminClient {
    fn new(admin: &Admin, wire: admin::Client<'_>) -> Self {
        Self { admin: admin.clone(), wire: Arc::new(wire.into_owned()) }
    }

    fn connect(&self) -> &Admin {
        &self.admin
    }

    /// What names it in calls of [`crate::raw::admin`].
    #[must_use]
    pub fn wire(&self) -> admin::Client<'_> {
        (*self.wire).clone()
    }

    /// Its number (`virAdmClientGetID`).
    #[must_use]
    pub fn id(&self) -> u64 {
        self.wire.id
    }

    /// When it came, in seconds since 1970 (`virAdmClientGetTimestamp`).
    #[must_use]
    pub fn since(&self) -> i64 {
        self.wire.timestamp
    }

    /// How it came (`virAdmClientGetTransport`).
    #[must_use]
    pub fn transport(&self) -> ClientTransport {
        i32::try_from(self.wire.transport).unwrap_or(-1).into()
    }
}

methods! { AdminClient(this) {
    /// Who it is: names `CLIENT_INFO_*` (`virAdmClientGetInfo`).
    info() -> Params
        = admin::ClientGetInfo(ClientGetInfoArgs { clnt: this.wire(), flags: NoFlags::empty() })
        => |found| found.params.iter().collect();
    /// Ends its connection (`virAdmClientClose`).
    disconnect() = admin::ClientClose(ClientCloseArgs { clnt: this.wire(), flags: NoFlags::empty() });
} }
