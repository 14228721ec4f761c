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
    commands::{AddClient, AddFd, AddFdReply, Closefd, Command as _, Getfd, RemoveFd},
    mutex::guarded,
    session::CallId,
    wire::{Decode as _, Object as _},
};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    future::{Future as _, poll_fn},
    os::fd::OwnedFd,
    pin::pin,
    sync::Mutex,
    task::Poll,
};

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
        self.client.call_or_undo(&command, vec![descriptor], remove_one).await.map(drop)
    }

    /// Has QEMU close its copies, and waits until it has understood; dropped, or after its deadline, it still closes them. A guest that
    /// stands still keeps them until it runs.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn release(mut self) -> Result<(), CallError> {
        self.held = false;
        self.client.call_for_good(&self.remove()).await.map(drop)
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

/// A named descriptor in QEMU. Most commands that take one use it up; dropped before, or with [`NamedFd::close`], QEMU closes it, unless its
/// name was given to another, with which it has closed it.
#[derive(Debug)]
pub struct NamedFd {
    client: Client,
    name: String,
    /// Whoever has given something this name.
    by: CallId,
}

/// Who has given each name to a descriptor, last. QEMU is told under the same lock: it hears of a name in the order in which that changes hands.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<String, CallId>>);

impl Names {
    /// Gives it to somebody; answers whose it was.
    fn give<T>(&self, name: &str, by: CallId, tells: impl FnOnce() -> T) -> (Option<CallId>, T) {
        let mut names = guarded(&self.0);
        (names.insert(name.to_owned(), by), tells())
    }

    /// QEMU has not taken it: it is still his whose it was. Where he has dropped it meanwhile it is open until the name is given again, or the
    /// connection ends.
    fn give_back(&self, name: &str, by: CallId, before: Option<CallId>) {
        let mut names = guarded(&self.0);
        if names.get(name) == Some(&by) {
            match before {
                Some(before) => names.insert(name.to_owned(), before),
                None => names.remove(name),
            };
        }
    }

    /// Nothing is told where it is not his any more.
    fn give_up<T>(&self, name: &str, by: CallId, tells: impl FnOnce() -> T) -> Option<T> {
        let mut names = guarded(&self.0);
        if names.get(name) != Some(&by) {
            return None;
        }
        names.remove(name);
        Some(tells())
    }
}

impl NamedFd {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command has used it up: nothing is left to close.
    pub fn used(self) {
        self.given_up(|| ());
    }

    /// Has QEMU close it; dropped, or after its deadline, it still closes it.
    ///
    /// # Errors
    /// [`CallError`]; refused when it was used up.
    pub async fn close(self) -> Result<(), CallError> {
        let command = Closefd { fdname: self.name.clone() };
        let mut call = pin!(self.client.call_for_good(&command));
        // It is sent when it is first polled.
        let begun = poll_fn(|context| Poll::Ready(self.given_up(|| call.as_mut().poll(context))));
        match begun.await {
            None => Ok(()),
            Some(Poll::Ready(answer)) => answer.map(drop),
            Some(Poll::Pending) => call.await.map(drop),
        }
    }

    fn given_up<T>(&self, tells: impl FnOnce() -> T) -> Option<T> {
        self.client.names().give_up(&self.name, self.by, tells)
    }
}

impl Drop for NamedFd {
    fn drop(&mut self) {
        self.given_up(|| self.client.launch(&Closefd { fdname: self.name.clone() }));
    }
}

impl Client {
    /// Gives QEMU a descriptor under a name (`getfd`). A name that is taken changes owner: the descriptor before is closed, also when this call
    /// is given up.
    ///
    /// # Errors
    /// [`CallError`]; refused for names that begin with a digit.
    pub async fn pass_named(
        &self,
        name: impl Into<String>,
        descriptor: OwnedFd,
    ) -> Result<NamedFd, CallError> {
        let named = NamedFd { client: self.clone(), name: name.into(), by: self.new_id() };
        let command = Getfd { fdname: named.name.clone() };
        let mut call = pin!(self.call_with(&command, vec![descriptor]));
        // It is sent when it is first polled.
        let begun = poll_fn(|context| {
            Poll::Ready(self.names().give(&named.name, named.by, || call.as_mut().poll(context)))
        });
        let (before, begun) = begun.await;
        // Dropped before the answer, it is closed after it.
        let answer = match begun {
            Poll::Ready(answer) => answer,
            Poll::Pending => call.await,
        };
        if let Err(CallError::Refused { .. } | CallError::NoDescriptors { .. }) = answer {
            self.names().give_back(&named.name, named.by, before);
        }
        answer.map(|_| named)
    }

    /// Makes a set of one descriptor (`add-fd`); [`FdSet::add`] takes further ones. `note` is what `query-fdsets` tells of it. A call
    /// that is given up leaves no set behind.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn pass_set(&self, descriptor: OwnedFd, note: Option<String>) -> Result<FdSet, CallError> {
        let command = AddFd { fdset_id: None, opaque: note };
        let reply = self.call_or_undo(&command, vec![descriptor], remove_one).await?;
        Ok(FdSet { client: self.clone(), id: reply.fdset_id, held: true })
    }

    /// Gives a display or a character device a connected client: the connection is named `command.fdname` (`getfd`), which `add_client`
    /// uses up (`qmp_add_client` in QEMU's `monitor/qmp-cmds.c`).
    ///
    /// # Errors
    /// [`CallError`]; the connection is closed then.
    pub async fn pass_client(&self, command: &AddClient, connection: OwnedFd) -> Result<(), CallError> {
        let named = self.pass_named(command.fdname.clone(), connection).await?;
        self.call(command).await?;
        named.used();
        Ok(())
    }
}

/// Of a reply to `add-fd` that nobody took: a set without descriptors is no more.
fn remove_one(reply: Value) -> Option<(&'static str, Map<String, Value>)> {
    let reply = AddFdReply::decode(reply).ok()?;
    let mut arguments = Map::new();
    RemoveFd { fdset_id: reply.fdset_id, fd: Some(reply.fd) }.put(&mut arguments);
    Some((RemoveFd::FACTS.name, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another thread would be heard before this one, or between.
    #[test]
    fn nobody_else_has_a_name_while_qemu_is_told_of_it() {
        let (names, [first, second]) = (Names::default(), [CallId(1), CallId(2)]);
        let is_alone = || names.0.try_lock().is_err();
        assert_eq!(names.give("stream", first, is_alone), (None, true));
        assert_eq!(names.give("stream", second, is_alone), (Some(first), true));
        assert_eq!(names.give_up("stream", first, is_alone), None);
        names.give_back("stream", second, Some(first));
        assert_eq!(names.give_up("stream", second, is_alone), None);
        assert_eq!(names.give_up("stream", first, is_alone), Some(true));
        assert_eq!(names.give_up("stream", first, is_alone), None);
    }
}
