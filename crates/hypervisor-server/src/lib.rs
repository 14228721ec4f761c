//! The control plane: it records intent, places it, tells agents, and shows what comes of it.
//!
//! ```text
//!   callers ──> auth ──> grpc ──> app (plan) ──> store ──> state (followed) ──> brain: Controller ──> agents
//!                          ^                                    │                 ^  (placement,        │
//!                          └──── get, list, watch, events ──────┘                 │   operations)       │
//!                                                                                 └──── reports ────────┘
//! ```
//!
//! A call records desired state and an operation in one transaction and returns. Everything else is reconciliation.

pub mod app;
pub mod auth;
pub mod backup;
mod brain;
pub mod cli;
pub mod config;
pub mod grpc;
mod listen;
pub mod reconcile;
pub mod scheduler;
pub mod state;
mod words;

pub use brain::Brain;
pub use listen::ListenError;

use app::{Committer, Expiry};
use config::ServerConfig;
use grpc::Api;
use hv_core::Error;
use hv_runtime::tasks::{DrainTimeout, TaskKind, Tasks};
use hv_runtime::{files, ids};
use hv_store::{Compare, Op, Store, Txn};
use reconcile::Timing;
use state::{Follower, keys};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// The server's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Follows the store; without it the server is blind.
    Follow,
    /// Owns the controller; without it nothing is decided.
    Brain,
    /// Commits one step of the controller.
    Commit,
    /// Accepts callers.
    Listen,
    /// Carries one stream of one caller or agent.
    Stream,
    /// Begins a new lease each hour, and tells what the store has to say.
    Expiry,
}

impl TaskKind for Task {
    fn name(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::Brain => "brain",
            Self::Commit => "commit",
            Self::Listen => "listen",
            Self::Stream => "stream",
            Self::Expiry => "expiry",
        }
    }

    fn is_vital(self) -> bool {
        matches!(self, Self::Follow | Self::Brain | Self::Listen)
    }
}

/// Who this cluster is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Made once.
    pub cluster_id: String,
    /// For people.
    pub cluster_name: String,
    /// Changes with every restore of the store.
    pub incarnation: String,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A directory or the token cannot be used.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A setting is wrong.
    #[error("{0}")]
    Config(String),
    /// The store cannot be read.
    #[error("cannot read the store: {0}")]
    Store(Error),
    /// The store cannot be opened.
    #[error("cannot open the store")]
    Open(#[from] hv_store::StoreError),
    /// The server cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The API's description is broken: a bug.
    #[error("cannot describe the API")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A server with everything opened and nothing running yet.
pub struct Built {
    timing: Timing,
    identity: Identity,
    follower: Follower,
    watch: hv_store::WatchStream,
    expiry: Expiry,
    token: auth::Token,
    socket: Option<listen::PrivateSocket>,
    tcp: Option<TcpListener>,
}

/// A running server.
pub struct Server {
    tasks: Tasks,
    store: Arc<dyn Store>,
    /// Loopback address, if it listens there.
    pub addr: Option<SocketAddr>,
    /// Identity of the cluster.
    pub identity: Identity,
}

/// Where the embedded store of a configuration is.
fn store_path(config: &ServerConfig) -> std::path::PathBuf {
    config.state_dir.join("store.redb")
}

/// Opens the embedded store of a configuration.
pub async fn open_store(config: &ServerConfig) -> Result<Arc<dyn Store>, StartError> {
    files::private_dir(&config.state_dir)
        .map_err(|source| StartError::File { path: config.state_dir.clone(), source })?;
    let path = store_path(config);
    Ok(Arc::new(
        hv_store::embedded::Embedded::open(
            &path,
            hv_store::embedded::Options { retain_revisions: Some(config.retain_revisions) },
        )
        .await?,
    ))
}

/// Reads the store, binds the listeners.
pub async fn build(config: &ServerConfig, store: Arc<dyn Store>) -> Result<Built, StartError> {
    let timing = timing(config)?;
    let token = auth::Token::load_or_make(&config.token_file)
        .map_err(|source| StartError::File { path: config.token_file.clone(), source })?;
    let socket = match config.socket.as_os_str().is_empty() {
        true => None,
        false => Some(listen::PrivateSocket::bind(&config.socket).await?),
    };
    let tcp = match config.grpc_addr.as_str() {
        "" => None,
        addr => Some(listen::loopback(addr).await?),
    };
    let identity = identity(&*store, &config.cluster_name).await.map_err(StartError::Store)?;
    let (follower, watch) = Follower::start(store.clone()).await.map_err(StartError::Store)?;
    let expiry = Expiry::start(store).await.map_err(StartError::Store)?;
    Ok(Built { timing, identity, follower, watch, expiry, token, socket, tcp })
}

/// How people are told why the store's log is not folded.
fn fold_problem(error: String) -> String {
    format!("the store's log grows, since it cannot be folded: {error}")
}

fn timing(config: &ServerConfig) -> Result<Timing, StartError> {
    let heartbeat = &config.heartbeat;
    if heartbeat.interval_ms < 10 || heartbeat.timeout_ms < heartbeat.interval_ms.saturating_mul(3) {
        return Err(StartError::Config(format!(
            "heartbeat.interval_ms must be at least 10, and heartbeat.timeout_ms at least three times as much: they are {} and {}",
            heartbeat.interval_ms, heartbeat.timeout_ms
        )));
    }
    Ok(Timing {
        beat: Duration::from_millis(heartbeat.interval_ms),
        grace: Duration::from_millis(heartbeat.timeout_ms),
    })
}

/// Reads the cluster's identity, or makes it.
async fn identity(store: &dyn Store, name: &str) -> Result<Identity, Error> {
    use hv_api::internal::v1::Cluster;
    use prost::Message;
    let fresh = Cluster { uid: ids::uuid().to_string(), name: name.to_owned() };
    let key = keys::CLUSTER.to_owned();
    let make = Txn {
        compares: vec![Compare::Absent(key.clone())],
        then: vec![Op::Put { key: key.clone(), value: fresh.encode_to_vec().into(), lease: None }],
        otherwise: vec![Op::Get(key)],
    };
    let outcome = store.txn(make).await.map_err(state::follow::store_error)?;
    let cluster = match outcome.gets.into_iter().next().flatten() {
        None => fresh,
        Some(found) => Cluster::decode(found.value).map_err(|error| {
            Error::new(hv_core::ErrorKind::Internal, format!("the cluster's identity is damaged: {error}"))
        })?,
    };
    let status = store.status().await.map_err(state::follow::store_error)?;
    Ok(Identity { cluster_id: cluster.uid, cluster_name: cluster.name, incarnation: status.incarnation })
}

impl Built {
    /// Starts everything.
    pub fn spawn(self) -> Result<Server, StartError> {
        let Self { timing, identity, follower, watch, expiry, token, socket, tcp } = self;
        let tasks = Tasks::new();
        let brain =
            Brain::start(&tasks, follower.clone(), expiry.clone(), timing, identity.incarnation.clone());
        let following = follower.clone();
        let stop = tasks.stop_token();
        tasks.spawn(Task::Follow, async move {
            tokio::select! {
                () = stop.cancelled() => {}
                error = following.follow(watch) => tracing::error!(%error, "cannot follow the store"),
            }
        });
        let (renewing, looked_at, stop) = (expiry.clone(), follower.store().clone(), tasks.stop_token());
        tasks.spawn(Task::Expiry, async move {
            const LOOK_EVERY: Duration = Duration::from_secs(60);
            let mut known = None;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                if let Err(error) = renewing.renew().await {
                    tracing::warn!(%error, "cannot begin a new lease; the old one serves on");
                }
                if let Ok(status) = looked_at.status().await
                    && status.fold_error != known
                {
                    known = status.fold_error;
                    match known.clone().map(fold_problem) {
                        Some(problem) => tracing::warn!("{problem}"),
                        None => tracing::info!("the store's log is folded again"),
                    }
                }
            }
        });
        let store = follower.store().clone();
        let api = Api {
            committer: Committer::new(follower.clone(), expiry),
            follower,
            brain,
            identity: identity.clone(),
            tasks: tasks.clone(),
        };
        let routes = grpc::routes(&api)?;
        let guarded = |via| {
            let state = (token.clone(), via);
            routes.clone().layer(axum::middleware::from_fn_with_state(state, auth::layer))
        };
        let addr = tcp.as_ref().and_then(|listener| listener.local_addr().ok());
        if let Some(socket) = socket {
            let serve = axum::serve(socket, guarded(auth::Via::Socket));
            let stop = tasks.stop_token().cancelled_owned();
            tasks.spawn(Task::Listen, async move {
                if let Err(error) = serve.with_graceful_shutdown(stop).await {
                    tracing::error!(%error, "the unix socket failed");
                }
            });
        }
        if let Some(tcp) = tcp {
            let serve = axum::serve(tcp, guarded(auth::Via::Loopback));
            let stop = tasks.stop_token().cancelled_owned();
            tasks.spawn(Task::Listen, async move {
                if let Err(error) = serve.with_graceful_shutdown(stop).await {
                    tracing::error!(%error, "the loopback listener failed");
                }
            });
        }
        tracing::info!(cluster = identity.cluster_name, addr = ?addr, "the server is up");
        Ok(Server { tasks, store, addr, identity })
    }
}

impl Server {
    /// Cancelled when the server cannot go on.
    pub fn stopped(&self) -> tokio_util::sync::CancellationToken {
        self.tasks.stop_token()
    }

    /// Stops taking calls, lets those under way end, and stops.
    pub async fn drain(self, deadline: Duration) -> Result<(), DrainTimeout> {
        let drained = self.tasks.drain(deadline).await;
        self.store.close().await;
        drained
    }
}
