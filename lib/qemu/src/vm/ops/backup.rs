//! Copies of disks while the guest writes to them.
//!
//! ```text
//!   push    disk ---(as it was at the start)---> file or NBD server      whole, or what changed since a bitmap
//!   pull    device --> filter --> disk                                    read by whoever wants, as it was at the start; a filter
//!                        '--> scratch (what the guest overwrites)         above the disk copies that before it is overwritten
//!           NBD export --> view of the filter
//!   mirror  disk ---(and all that follows)---> file or NBD server; complete: the disk uses the copy from then on
//! ```

mod mirror;
mod pull;
mod push;

pub use mirror::Mirror;
pub use pull::{PullBackup, Pulled, Served};
pub(super) use pull::{goes_on, is_part_of_pulled, join_notes, leave_filter};
pub use push::{Copied, PushBackup};

use super::{
    OperationError, figure,
    graph::{Above, NewImage, connection_of},
    job::End,
    rollback::{Made, Rollback},
};
use crate::{
    Vm,
    config::{Access, Address, ConfigError, Format, utf8},
};
use qmp::commands::{
    BlockDirtyBitmapAdd, BlockDirtyBitmapRemove, BlockNodeDirtyBitmaps, BlockdevAdd, BlockdevOptions,
    BlockdevOptionsNbd, BlockdevOptionsRaw, BlockdevOptionsVariant, BlockdevRef, DirtyBitmap, DirtyBitmapAdd,
    InetSocketAddress, SocketAddress, SocketAddressWrapped, UnixSocketAddress,
};
use std::path::{Path, PathBuf};

/// Where a copy goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyTarget {
    /// A new file, raw or qcow2; encrypted with the disk's secret where the disk is. It is made here, for the user that the machine's
    /// process is, in a place where that may write.
    File {
        /// The file; one that is there is refused and left alone.
        path: PathBuf,
        /// Its format.
        format: Format,
        /// How it is read and written; `None` for the same cache as the disk's.
        access: Option<Access>,
    },
    /// A writable export of an NBD server, at least as large as the disk.
    Nbd {
        /// The server.
        server: Address,
        /// Name of the export.
        export: String,
        /// To speak TLS; `None` for bytes in the clear.
        tls: Option<ClientTls>,
    },
}

/// How a machine proves itself to a server, and the server to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// Credentials of the machine ([`crate::config::Tls`], of a client).
    pub credentials: String,
    /// Name in the server's certificate.
    pub hostname: String,
}

impl CopyTarget {
    /// A new file, cached as the disk is.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>, format: Format) -> Self {
        Self::File { path: path.into(), format, access: None }
    }
}

/// Where the notes of what changes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notes {
    /// In memory; they end with the process.
    InMemory,
    /// In the qcow2 image, where an orderly end of the process leaves them for the next one.
    InTheImage,
}

impl Vm {
    /// Begins to note which parts of a disk change, under this name.
    ///
    /// # Errors
    /// [`OperationError`]; refused for notes that are to be kept in an image that is not qcow2.
    pub async fn add_bitmap(&self, disk: &str, name: &str, keep: Notes) -> Result<(), OperationError> {
        let bitmap = DirtyBitmapAdd {
            persistent: Some(keep == Notes::InTheImage),
            ..DirtyBitmapAdd::new(self.active_node(disk).await?, name)
        };
        self.tell(format!("note the changes of {disk}"), &BlockDirtyBitmapAdd(bitmap)).await.map(drop)
    }

    /// Forgets such notes.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn remove_bitmap(&self, disk: &str, name: &str) -> Result<(), OperationError> {
        let bitmap = DirtyBitmap { node: self.active_node(disk).await?, name: name.to_owned() };
        self.tell(format!("forget the changes of {disk}"), &BlockDirtyBitmapRemove(bitmap)).await.map(drop)
    }

    /// Bytes that changed since the notes were begun or last used.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn changed_bytes(&self, disk: &str, name: &str) -> Result<u64, OperationError> {
        Ok(figure(self.whole_bitmap(disk, name).await?.count))
    }

    /// A disk's bitmap, if it has noted every change since it was begun.
    async fn whole_bitmap(&self, disk: &str, name: &str) -> Result<BlockNodeDirtyBitmaps, OperationError> {
        self.whole_bitmap_of(&self.active_node(disk).await?, name).await
    }

    /// The same of a node.
    async fn whole_bitmap_of(&self, node: &str, name: &str) -> Result<BlockNodeDirtyBitmaps, OperationError> {
        let mut bitmaps = self.node(node).await?.dirty_bitmaps.into_iter().flatten();
        let unknown = |what| OperationError::Unknown { what, id: name.to_owned() };
        let found =
            bitmaps.find(|bitmap| bitmap.name.as_deref() == Some(name)).ok_or_else(|| unknown("bitmap"))?;
        // Somebody has told it to stand still, or the process before did not come to write it.
        let is_whole = found.recording && found.inconsistent != Some(true);
        is_whole.then_some(found).ok_or_else(|| unknown("bitmap that has noted every change"))
    }

    /// Opens a target as large as `node`, making it if it is a file; answers its node.
    async fn open_target(
        &self,
        rollback: &mut Rollback,
        disk: &str,
        node: &str,
        to: &CopyTarget,
    ) -> Result<String, OperationError> {
        match to {
            CopyTarget::File { path, format, access } => {
                let image = NewImage {
                    disk,
                    like: node,
                    path,
                    format: *format,
                    access: *access,
                    above: Above::Nothing,
                    node: None,
                };
                self.make_image(rollback, image).await
            }
            CopyTarget::Nbd { server, export, tls } => {
                let name = self.free_image_name(disk).await?;
                let nbd = BlockdevOptionsNbd {
                    export: Some(export.clone()),
                    tls_creds: tls.as_ref().map(|tls| tls.credentials.clone()),
                    tls_hostname: tls.as_ref().map(|tls| tls.hostname.clone()),
                    ..BlockdevOptionsNbd::new(server_address(server)?)
                };
                let nbd = BlockdevOptions {
                    node_name: Some(connection_of(&name.to_string())),
                    ..BlockdevOptions::new(BlockdevOptionsVariant::Nbd(nbd))
                };
                let raw = BlockdevOptionsRaw::new(BlockdevRef::Object(Box::new(nbd)));
                let open = BlockdevOptions {
                    node_name: Some(name.to_string()),
                    ..BlockdevOptions::new(BlockdevOptionsVariant::Raw(raw))
                };
                let made = Made::Node(name.to_string());
                rollback.make(format!("open the copy of {disk}"), &BlockdevAdd(open), made).await?;
                Ok(name.to_string())
            }
        }
    }
}

/// Closes a copy that nothing writes any more; before its job is dismissed, which is how it is found. That of a job that failed may stay open:
/// why it failed is what counts.
async fn close_copy(vm: &Vm, end: &End, target: &str) -> Result<(), OperationError> {
    match vm.close_image(target).await {
        Err(error) if !end.is_good() => {
            tracing::debug!(target, error = &error as &dyn std::error::Error, "a copy stays open");
            Ok(())
        }
        closed => closed,
    }
}

fn server_address(address: &Address) -> Result<SocketAddress, OperationError> {
    address.check("NBD server")?;
    Ok(match address {
        Address::Unix(path) => SocketAddress::Unix(unix(path)?),
        Address::Tcp(host, port) => SocketAddress::Inet(inet(host, *port)),
    })
}

/// The older form of an address, which this one command takes.
pub(super) fn listening(address: &Address) -> Result<SocketAddressWrapped, OperationError> {
    address.check("NBD server")?;
    Ok(match address {
        Address::Unix(path) => SocketAddressWrapped::Unix(unix(path)?),
        Address::Tcp(host, port) => SocketAddressWrapped::Inet(inet(host, *port)),
    })
}

fn unix(path: &Path) -> Result<UnixSocketAddress, ConfigError> {
    Ok(UnixSocketAddress::new(utf8("socket", path)?))
}

fn inet(host: &str, port: u16) -> InetSocketAddress {
    InetSocketAddress::new(host, port.to_string())
}
