//! Client of libvirt's daemons, without libvirt's C library.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let uri = "qemu:///system";
//! # // Run with the tests, against a daemon in memory.
//! # let directory = tempfile::tempdir()?;
//! # let socket = directory.path().join("sock");
//! # let listener = tokio::net::UnixListener::bind(&socket)?;
//! # tokio::spawn(libvirt_server::Server::builder().build().serve(Some(listener)));
//! # let uri = &format!("test+unix:///default?socket={}", socket.display());
//! # let mut seen = Vec::new();
//! let connect = libvirt_client::Connect::open(uri).await?;
//! for domain in connect.domains(Default::default()).await? {
//!     println!("{} {:?}", domain.name(), domain.state().await?.state);
//! #   seen.push(domain.name());
//! }
//! # assert_eq!(seen, ["test"]);
//! # Ok(()) }
//! ```
//!
//! - [`Connect`] is a connection to a daemon and the way to everything behind it; it is cheap to clone, as all handles are.
//! - [`Domain`], [`StoragePool`], [`StorageVol`] are handles of objects. Their methods are libvirt's calls under short names.
//! - [`raw`] has every procedure of [`libvirt_protocol`] as a function, with nothing between.
//! - [`ByteStream`] is a stream: dense or with holes, one way or both ways.
//! - [`Error`] tells what happened, in which call, and whether the daemon may have executed that call all the same.
//!
//! Dropping a future abandons its call and harms nothing else. Every wait can have a deadline.

#![forbid(unsafe_code)]
#![warn(clippy::missing_errors_doc)]

mod admin;
mod auth;
mod blocking;
mod config;
mod connect;
mod connection;
mod dial;
mod domain;
mod error;
mod events;
mod generated;
mod handle;
mod host;
mod interface;
mod keeper;
mod lanes;
mod network;
mod node_device;
mod nwfilter;
mod params;
mod route;
mod secret;
mod storage;
pub mod transport;
pub mod uri;

pub use admin::{Admin, AdminClient, AdminServer};
pub use auth::{AuthFile, Credentials};
pub use blocking::Blocking;
pub use connect::{Builder, Connect};
pub use connection::{
    ByteStream, Call, Connection, Driver, DriverEnd, Options, Piece, Reply, StreamReader, StreamWriter,
    connection,
};
pub use domain::{
    Aftermath, BackgroundJob, BandwidthParameters, BlkioParameters, BlockInfo, BlockIoTune, BlockJob,
    BlockJobInfo, BlockJobState, BlockStats, BlockTarget, CallJob, ControlInfo, CpuMap, Domain,
    DomainCheckpoint, DomainInfo, DomainInterface, DomainSnapshot, DomainState, DomainStats, FileSystem,
    GuestAddress, GuestTime, HostSnapshot, InterfaceStats, IoThread, IoThreadParameters, JobProgress,
    MemoryParameters, MigrateParameters, MigrationJob, NumaParameters, QemuError, SchedulerParameters,
    VcpuInfo, VcpuStats, qemu_value,
};
pub use error::{Error, ErrorKind, Execution, Refusal};
pub use events::{Filter, Item, Subscription};
pub use generated::raw;
pub use handle::Autostart;
pub use host::{CapabilitiesOf, NodeInfo};
pub use interface::Interface;
pub use keeper::{AfterRefusal, Reconnect};
pub use libvirt_protocol as protocol;
pub use network::{DhcpLease, Network, NetworkPort, NetworkUpdate};
pub use node_device::NodeDevice;
pub use nwfilter::{NwFilter, NwFilterBinding};
pub use params::{Params, TypedParam, TypedValue};
pub use secret::Secret;
pub use storage::{Holes, StoragePool, StoragePoolInfo, StorageVol, StorageVolInfo};

/// The programs in the book are compiled with the tests.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../../docs/libvirt/getting-started.md")]
    mod getting_started {}
    #[doc = include_str!("../../../docs/libvirt/events.md")]
    mod events {}
    #[doc = include_str!("../../../docs/libvirt/streams.md")]
    mod streams {}
    #[doc = include_str!("../../../docs/libvirt/errors.md")]
    mod errors {}
    #[doc = include_str!("../../../docs/libvirt/connections.md")]
    mod connections {}
    #[doc = include_str!("../../../docs/libvirt/porting.md")]
    ///
    /// Every name that its tables hold on this side:
    ///
    /// ```no_run
    /// use libvirt_client::protocol::event::Kind;
    /// use libvirt_client::protocol::remote;
    /// use libvirt_client::transport::Unix;
    /// use libvirt_client::{Blocking, Connect, Credentials, Domain, Error, Holes, Piece, StoragePool};
    /// use tokio::io::AsyncWriteExt;
    ///
    /// fn blocking(uri: &str) -> Result<Blocking, Error> {
    ///     Blocking::open_with(Connect::builder(uri).read_only())?;
    ///     Blocking::open(uri)
    /// }
    ///
    /// async fn connections(uri: &str, credentials: Credentials) -> Result<Connect, Error> {
    ///     Connect::builder(uri).read_only().open().await?.close().await?;
    ///     Connect::builder(uri).credentials(credentials).open().await?.close().await?;
    ///     let dial = || Unix::connect(std::path::Path::new("/socket"));
    ///     Connect::builder(uri).dial(dial).open().await?.close().await?;
    ///     Connect::open(uri).await
    /// }
    ///
    /// async fn domains(connect: &Connect, xml: &str, uuid: libvirt_client::protocol::xdr::Uuid) -> Result<(), Error> {
    ///     let _: Vec<Domain> = connect.domains(Default::default()).await?;
    ///     connect.domain_by_uuid(uuid).await?;
    ///     connect.create_domain(xml, Default::default()).await?;
    ///     let domain = connect.define_domain(xml, Default::default()).await?;
    ///     if connect.domain_by_name("web").await.is_err_and(|error| error.is_not_found()) {
    ///         domain.start(Default::default()).await?;
    ///     }
    ///     let info = domain.info().await?;
    ///     println!("{} {:?} {} {}", domain.name(), domain.state().await?.state, info.memory_kib, info.cpu_time_ns);
    ///     domain.xml(Default::default()).await?;
    ///     domain.monitor_command("query-status", None).await?;
    ///     domain.shutdown(Default::default()).await?;
    ///     domain.destroy(Default::default()).await?;
    ///     connect.all_stats(Default::default(), Default::default()).await?;
    ///     connect.stats_of(&[domain], Default::default(), Default::default()).await?;
    ///     connect.subscribe(Kind::DomainLifecycle).await?;
    ///     if let Err(error) = connect.call::<remote::ConnectGetSysinfo>(&Default::default()).await {
    ///         println!("{:?}", error.refusal().map(|refusal| refusal.code));
    ///     }
    ///     Ok(())
    /// }
    ///
    /// async fn volumes(connect: &Connect, xml: &str, content: &[u8]) -> Result<(), Error> {
    ///     let pool: StoragePool = connect.storage_pool_by_name("default").await?;
    ///     let volume = pool.create_volume(xml, Default::default()).await?;
    ///     let mut up = volume.upload(.., Default::default()).await?;
    ///     up.send(content).await?;
    ///     up.finish().await?;
    ///     let mut down = volume.download(.., Default::default()).await?;
    ///     while let Some(Piece::Data(_) | Piece::Hole(_)) = down.receive().await? {}
    ///     down.finish().await?;
    ///     let file = std::fs::File::open("file").expect("it is there");
    ///     volume.upload_file(&file, .., Holes::Keep).await?;
    ///     volume.download_file(&file, .., Holes::Fill).await?;
    ///     let mut up = volume.upload(.., Default::default()).await?;
    ///     tokio::io::copy(&mut &content[..], &mut up).await.expect("it is taken");
    ///     up.shutdown().await.expect("it has arrived");
    ///     Ok(())
    /// }
    /// ```
    mod porting {}
}
