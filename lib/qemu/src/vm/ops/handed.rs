//! Descriptors that go to a running QEMU together with what uses them.
//!
//! ```text
//!   disk     key --add-fd--> set, noted as the disk's     opened as often as needed, removed when no image of the disk has it open
//!   network  key --getfd---> named, of this connection    used up by netdev_add and chardev-add
//! ```
//! A configuration names them by the same keys as at a start: [`crate::StartSpec::descriptors`].

use super::{
    OperationError,
    follow::Follow,
    host,
    rollback::{Made, Rollback},
    undone,
};
use crate::{
    Vm,
    config::{ConfigError, Image, Source, utf8},
    image::check_names,
    start::readable,
};
use qmp::{
    Client,
    aside::Place,
    commands::{QueryFdsets, RemoveFd},
    descriptors::NamedFd,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::Path,
};

/// What QEMU opens for the sources of an image.
pub(super) struct Files {
    /// Paths of the sets by the keys of their descriptors.
    sets: BTreeMap<String, String>,
}

impl Files {
    /// The file name that QEMU opens.
    pub(super) fn name(&self, source: &Source) -> Result<String, ConfigError> {
        match source {
            Source::Path(path) | Source::HostDevice(path) => utf8("disk", path).map(str::to_owned),
            Source::Descriptor(key) => {
                self.sets.get(key).cloned().ok_or_else(|| ConfigError::NoDescriptor { key: key.clone() })
            }
            Source::Nbd { .. } | Source::Null { .. } => Ok(String::new()),
        }
    }
}

/// Descriptors that QEMU has under names of ours until a command uses them up.
pub(super) struct Named {
    /// The connection that has them; no other one knows the names.
    pub(super) client: Client,
    held: Vec<NamedFd>,
}

impl Named {
    /// Commands have used them up.
    pub(super) fn used(self) {
        self.held.into_iter().for_each(NamedFd::used);
    }
}

impl Vm {
    /// Gives QEMU the descriptors of a disk's images.
    pub(super) async fn hand_over_files(
        &self,
        disk: &str,
        image: Option<&Image>,
        mut descriptors: BTreeMap<String, OwnedFd>,
        rollback: &mut Rollback,
    ) -> Result<Files, OperationError> {
        let mut sets = BTreeMap::new();
        if let Some(image) = image {
            let (id, image) = (disk.to_owned(), image.clone());
            let look = move |place: &Place| {
                let named = check_names(&id, &image, |source| readable(source, &descriptors, place));
                Ok((named, descriptors))
            };
            // Where the host does not answer this waits, and not QEMU with its guest.
            let (named, theirs) = host(format!("look at the image of {disk}"), Path::new(disk), look).await?;
            named?;
            descriptors = theirs;
        }
        for image in image.iter().flat_map(|image| image.chain()) {
            let Source::Descriptor(key) = &image.source else { continue };
            if sets.contains_key(key) {
                continue;
            }
            let Some(descriptor) = descriptors.remove(key) else {
                return Err(ConfigError::NoDescriptor { key: key.clone() }.into());
            };
            let passed = self.qmp().pass_set(descriptor, Some(note_of_disk(disk))).await;
            let set = passed.map_err(undone(format!("hand over the image of {disk}")))?;
            sets.insert(key.clone(), set.path());
            rollback.also(Made::FdSet(set.keep()));
        }
        Ok(Files { sets })
    }

    /// Has QEMU close the descriptors of the images of disks that no image has open any more, handed over at the start or since; answers how
    /// many sets there were.
    pub(super) async fn drop_files(&self, is_its: impl Fn(&str) -> bool) -> Result<usize, OperationError> {
        let mut follow = Follow::new(self, &[]);
        let what = "close the images of a disk";
        let mut sets = follow.read(what, &QueryFdsets {}).await?;
        let disk = |note: &Option<String>| {
            note.as_deref().and_then(|note| note.strip_prefix(NOTE)).is_some_and(&is_its)
        };
        sets.retain(|set| set.fds.iter().any(|fd| disk(&fd.opaque)));
        if sets.is_empty() {
            return Ok(0);
        }
        let nodes = follow.nodes(what).await?;
        let open: BTreeSet<String> = nodes.into_iter().map(|node| node.file).collect();
        let ids = sets.iter().map(|set| set.fdset_id);
        let ids: BTreeSet<i64> = ids.filter(|id| !open.contains(&format!("/dev/fdset/{id}"))).collect();
        for id in &ids {
            follow.insist(what, &RemoveFd { fdset_id: *id, fd: None }).await?;
        }
        Ok(ids.len())
    }

    /// Gives QEMU the descriptors of these keys and names.
    pub(super) async fn hand_over_named(
        &self,
        names: Vec<(String, String)>,
        mut descriptors: BTreeMap<String, OwnedFd>,
    ) -> Result<Named, OperationError> {
        let mut named = Named { client: self.qmp(), held: Vec::new() };
        for (key, name) in names {
            let Some(descriptor) = descriptors.remove(&key) else {
                return Err(ConfigError::NoDescriptor { key }.into());
            };
            let passed = named.client.pass_named(name, descriptor).await;
            named.held.push(passed.map_err(undone(format!("hand over {key}")))?);
        }
        Ok(named)
    }
}

/// What QEMU remembers of a set, also for a later manager.
pub(crate) fn note_of_disk(disk: &str) -> String {
    format!("{NOTE}{disk}")
}

const NOTE: &str = "disk ";
