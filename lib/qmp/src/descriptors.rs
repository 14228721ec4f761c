//! File descriptors for QEMU: named ones, sets that are opened as files, connections of displays.
//!
//! ```text
//!   OwnedFd --getfd-->  named, of this monitor      used up by netdev_add, migrate-incoming, ...
//!           --add-fd--> set, `/dev/fdset/N`         opened by blockdev-add, chardev-add, ... as often as needed
//! ```
//!
//! They travel over unix sockets only. QEMU drops sets that nothing uses when the last monitor leaves: what is to use a set must be
//! made on the connection that made the set.

use crate::{
    CallError, Client,
    commands::{AddClient, AddFd, Closefd, Getfd, RemoveFd},
};
use std::os::fd::OwnedFd;

/// A set of descriptors in QEMU, which it opens under [`FdSet::path`]. Dropped, or with [`FdSet::release`], QEMU closes its copies;
/// what was opened from the set stays open for as long as its user needs it. [`FdSet::keep`] leaves it to QEMU.
#[derive(Debug)]
pub struct FdSet {
    client: Client,
    id: i64,
    held: bool,
}

impl FdSet {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The file name under which QEMU opens it: it takes the descriptor whose access mode fits.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/dev/fdset/{}", self.id)
    }

    /// Adds another descriptor, such as one that may write beside one that may only read.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn add(&self, descriptor: OwnedFd) -> Result<(), CallError> {
        let command = AddFd { fdset_id: Some(self.id), opaque: None };
        self.client.call_with(&command, vec![descriptor]).await.map(drop)
    }

    /// Has QEMU close its copies, and waits until it has understood. A guest that stands still keeps them until it runs.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn release(mut self) -> Result<(), CallError> {
        self.held = false;
        self.client.call(&self.remove()).await.map(drop)
    }

    /// Leaves the set in QEMU; answers its number, for a later `remove-fd`.
    #[must_use]
    pub fn keep(mut self) -> i64 {
        self.held = false;
        self.id
    }

    fn remove(&self) -> RemoveFd {
        RemoveFd { fdset_id: self.id, fd: None }
    }
}

impl Drop for FdSet {
    fn drop(&mut self) {
        if self.held {
            self.client.launch(&self.remove());
        }
    }
}

/// A named descriptor in QEMU. Most commands that take one use it up; dropped before, or with [`NamedFd::close`], QEMU closes it.
#[derive(Debug)]
pub struct NamedFd {
    client: Client,
    name: String,
    held: bool,
}

impl NamedFd {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command has used it up: nothing is left to close.
    pub fn used(mut self) {
        self.held = false;
    }

    /// Has QEMU close it.
    ///
    /// # Errors
    /// [`CallError`]; refused when it was used up.
    pub async fn close(mut self) -> Result<(), CallError> {
        self.held = false;
        self.client.call(&Closefd { fdname: self.name.clone() }).await.map(drop)
    }
}

impl Drop for NamedFd {
    fn drop(&mut self) {
        if self.held {
            self.client.launch(&Closefd { fdname: self.name.clone() });
        }
    }
}

impl Client {
    /// Gives QEMU a descriptor under a name (`getfd`). A name that is taken changes owner: the descriptor before is closed.
    ///
    /// # Errors
    /// [`CallError`]; refused for names that begin with a digit.
    pub async fn pass_named(
        &self,
        name: impl Into<String>,
        descriptor: OwnedFd,
    ) -> Result<NamedFd, CallError> {
        let name = name.into();
        self.call_with(&Getfd { fdname: name.clone() }, vec![descriptor]).await?;
        Ok(NamedFd { client: self.clone(), name, held: true })
    }

    /// Makes a set of one descriptor (`add-fd`); [`FdSet::add`] takes further ones. `note` is what `query-fdsets` tells of it.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn pass_set(&self, descriptor: OwnedFd, note: Option<String>) -> Result<FdSet, CallError> {
        let reply = self.call_with(&AddFd { fdset_id: None, opaque: note }, vec![descriptor]).await?;
        Ok(FdSet { client: self.clone(), id: reply.fdset_id, held: true })
    }

    /// Gives a display or a character device a connected client (`add_client`).
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn pass_client(&self, command: &AddClient, connection: OwnedFd) -> Result<(), CallError> {
        self.call_with(command, vec![connection]).await.map(drop)
    }
}
