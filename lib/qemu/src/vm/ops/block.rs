//! Disks that change while the guest uses them.

use super::{
    OperationError,
    follow::{Follow, Heard},
    rollback::{Made, Rollback},
};
use crate::{
    Vm,
    argv::block_nodes,
    config::{ConfigError, Disk, Image, Limits},
};
use qmp::commands::{
    BlockInfo, BlockResize, BlockdevCloseTray, BlockdevInsertMedium, BlockdevOpenTray, BlockdevRemoveMedium,
    QomList, QomSet, QueryBlock,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    time::Duration,
};

/// How a disc gets out of a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eject {
    /// The guest is asked and has this long to open the drive; one that has locked it may refuse.
    Ask(Duration),
    /// The drive opens, whatever the guest does with it.
    Force,
}

impl Vm {
    /// Makes a disk larger (or smaller: what lies beyond the new end is gone). The guest is told and sees the new size.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn resize_disk(&self, id: &str, bytes: u64) -> Result<(), OperationError> {
        // Through the filters, or the guest is not told.
        let node = self.top_node(id).await?;
        let size =
            i64::try_from(bytes).map_err(|_| ConfigError::conflict(id, "a size of more than 2^63 bytes"))?;
        let resize = BlockResize { node_name: Some(node), size, device: None };
        self.tell(format!("resize {id}"), &resize).await.map(drop)
    }

    /// Changes the limits of a disk with limits of its own ([`crate::config::Throttle::Own`]), or of a group by its name. What is not
    /// named is without limit from now on.
    ///
    /// # Errors
    /// [`OperationError`]; [`OperationError::Unknown`] for a disk without limits.
    pub async fn set_limits(&self, id: &str, limits: &Limits) -> Result<(), OperationError> {
        limits.check()?;
        let found = self.ask("list the limits", &QomList { path: "/objects".to_owned() }).await?;
        let names: BTreeSet<&str> = found.iter().map(|item| item.name.as_str()).collect();
        let own = format!("{id}-limits");
        let object = [own.as_str(), id].into_iter().find(|name| names.contains(name));
        let Some(object) = object else {
            return Err(OperationError::Unknown { what: "limits of", id: id.to_owned() });
        };
        // QEMU leaves what is not named as it was.
        let mut value: Map<String, Value> =
            ALL_LIMITS.iter().map(|name| ((*name).to_owned(), json!(0))).collect();
        for length in ["bps-total-max-length", "iops-total-max-length"] {
            value.insert(length.to_owned(), json!(1));
        }
        value.extend(limits.members().into_iter().map(|(name, value)| (name.to_owned(), json!(value))));
        let command = QomSet {
            path: format!("/objects/{object}"),
            property: "limits".to_owned(),
            value: Value::Object(value),
        };
        self.tell(format!("limit {id}"), &command).await.map(drop)
    }

    /// Puts another disc into a CD-ROM drive, or none.
    ///
    /// # Errors
    /// [`OperationError`]; a drive that could not be filled is left open and empty.
    pub async fn change_disc(
        &self,
        id: &str,
        image: Option<Image>,
        eject: Eject,
    ) -> Result<(), OperationError> {
        self.change_disc_with(id, image, eject, BTreeMap::new()).await
    }

    /// The same with the descriptors that the image names by key, as [`Vm::plug_disk_with`].
    ///
    /// # Errors
    /// Likewise.
    pub async fn change_disc_with(
        &self,
        id: &str,
        image: Option<Image>,
        eject: Eject,
        descriptors: BTreeMap<String, OwnedFd>,
    ) -> Result<(), OperationError> {
        let disk = Disk::cdrom(id, image);
        disk.check(&BTreeSet::new())?;
        if disk.image.as_ref().is_some_and(|image| image.key.is_some()) {
            return Err(ConfigError::conflict(id, "a disc is not encrypted").into());
        }
        self.open_tray(id, eject).await?;
        let empty = BlockdevRemoveMedium { id: id.to_owned() };
        self.tell(format!("empty {id}"), &empty).await?;
        self.close_disk(id).await?;
        let mut rollback = Rollback::new(self);
        let filling = async {
            let image = disk.image.as_ref();
            let files = self.hand_over_files(id, image, descriptors, &mut rollback).await?;
            let attached = block_nodes(&disk, &mut |source| files.name(source))?;
            let Some(top) = &attached.top else { return Ok(()) };
            for node in &attached.nodes {
                let made = Made::Node(node["node-name"].as_str().unwrap_or_default().to_owned());
                rollback.run(format!("open the disc of {id}"), "blockdev-add", node.clone(), made).await?;
            }
            let disc = BlockdevInsertMedium { id: id.to_owned(), node_name: top.clone() };
            rollback.make(format!("fill {id}"), &disc, Made::Disc(id.to_owned())).await?;
            let close = BlockdevCloseTray { id: Some(id.to_owned()), ..BlockdevCloseTray::default() };
            self.tell(format!("close {id}"), &close).await.map(drop)
        };
        let filled = filling.await;
        rollback.settle(filled).await
    }

    async fn open_tray(&self, id: &str, eject: Eject) -> Result<(), OperationError> {
        let what = format!("opening {id}");
        let mut follow = Follow::new(self, &["DEVICE_TRAY_MOVED"]);
        let ask = |force| BlockdevOpenTray {
            id: Some(id.to_owned()),
            force: Some(force),
            ..BlockdevOpenTray::default()
        };
        let Eject::Ask(patience) = eject else { return follow.insist(&what, &ask(true)).await };
        let opening = async {
            loop {
                // A guest that has locked the drive is asked by this, and the answer is the same: only the drive tells whether it is open.
                follow.insist(&what, &ask(false)).await?;
                let drives = follow.read(&what, &QueryBlock {}).await?;
                let is_it =
                    |drive: &&BlockInfo| drive.qdev.as_deref().is_some_and(|path| ends_with(path, id));
                let drive = drives.iter().find(is_it);
                if drive.is_some_and(|drive| drive.tray_open == Some(true)) {
                    return Ok(());
                }
                let opened = async {
                    while let Heard::Event(event) = follow.heard(&what).await? {
                        let open = event.data.get("tray-open").and_then(Value::as_bool) == Some(true);
                        let device = event.data.get("id").and_then(Value::as_str).unwrap_or_default();
                        if open && ends_with(device, id) {
                            return Ok(true);
                        }
                    }
                    Ok::<_, OperationError>(false)
                };
                // It may also have unlocked the drive and left it closed, of which no event tells.
                if let Ok(outcome) = tokio::time::timeout(ASK_AGAIN, opened).await
                    && outcome?
                {
                    return Ok(());
                }
            }
        };
        let silent = OperationError::GuestSilent { what: what.clone(), after: patience };
        tokio::time::timeout(patience, opening).await.unwrap_or(Err(silent))
    }
}

/// Events name a device by its id or by its path.
fn ends_with(path: &str, id: &str) -> bool {
    path == id || path.rsplit('/').next() == Some(id)
}

/// How long a guest that was asked for a disc is left alone.
const ASK_AGAIN: Duration = Duration::from_secs(2);

const ALL_LIMITS: &[&str] = &[
    "bps-total",
    "bps-read",
    "bps-write",
    "iops-total",
    "iops-read",
    "iops-write",
    "bps-total-max",
    "bps-read-max",
    "bps-write-max",
    "iops-total-max",
    "iops-read-max",
    "iops-write-max",
    "iops-size",
];
