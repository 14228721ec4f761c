//! Snapshots: inside an image, with the memory of the machine; or as an overlay on top of it.
//!
//! ```text
//!   inside:   root.qcow2 { tag: disk + memory }             save, load, delete
//!
//!   overlay:  device --> root --> root-s1 (new)             what follows is written to the overlay
//!             stream: what lies below is copied up          commit: the overlay is written down and left
//! ```

use super::{Job, OperationError, failed};
use crate::{Vm, config::ConfigError};
use qmp::commands::QueryBlock;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// An overlay to be put on top of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The disk.
    pub disk: String,
    /// The new qcow2 file. QEMU makes it: it must not be there, in a place that its process may write to.
    pub file: PathBuf,
}

impl Vm {
    /// Saves disks and memory of the machine inside the image of `memory_disk` under `tag`; `disks` have the tag too. All are
    /// qcow2 and written to. The guest stands meanwhile.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn save_snapshot(
        &self,
        tag: &str,
        memory_disk: &str,
        disks: &[&str],
    ) -> Result<(), OperationError> {
        self.snapshot_job("save", "snapshot-save", tag, Some(memory_disk), disks).await
    }

    /// Sets disks and memory of the machine back to what [`Vm::save_snapshot`] saved. The guest goes on from there if it ran before.
    ///
    /// # Errors
    /// [`OperationError`]; the guest may have to be started anew when this fails half way.
    pub async fn load_snapshot(
        &self,
        tag: &str,
        memory_disk: &str,
        disks: &[&str],
    ) -> Result<(), OperationError> {
        self.snapshot_job("load", "snapshot-load", tag, Some(memory_disk), disks).await
    }

    /// Removes what [`Vm::save_snapshot`] saved.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn delete_snapshot(&self, tag: &str, disks: &[&str]) -> Result<(), OperationError> {
        self.snapshot_job("delete", "snapshot-delete", tag, None, disks).await
    }

    async fn snapshot_job(
        &self,
        verb: &str,
        command: &str,
        tag: &str,
        memory: Option<&str>,
        disks: &[&str],
    ) -> Result<(), OperationError> {
        let mut nodes = Vec::new();
        for disk in disks {
            nodes.push(self.active_node(disk).await?);
        }
        let mut arguments = json!({"tag": tag, "devices": nodes});
        if let Some(memory) = memory {
            arguments["vmstate"] = json!(self.active_node(memory).await?);
        }
        let action = format!("{verb} the snapshot {tag}");
        self.job(action, job_id(verb), command, arguments).await?.done().await
    }

    /// Puts new overlays on top of disks, all at the same moment of the guest. Answers the names of their nodes, in order.
    ///
    /// # Errors
    /// [`OperationError`]; the machine is as before then, though files may be left.
    pub async fn snapshot_disks(&self, overlays: &[Overlay]) -> Result<Vec<String>, OperationError> {
        let mut made = Vec::new();
        let taken = async {
            let mut actions = Vec::new();
            for overlay in overlays {
                let below = self.active_node(&overlay.disk).await?;
                let node = self.new_overlay(overlay, &below, &mut made).await?;
                actions.push(json!({"type": "blockdev-snapshot", "data": {"node": below, "overlay": node}}));
            }
            self.run("take a snapshot", "transaction", json!({"actions": actions})).await
        };
        let taken = taken.await;
        if taken.is_err() {
            for node in made.iter().rev() {
                // The error that matters is the first one.
                let _ = self.run("take back a snapshot", "blockdev-del", json!({"node-name": node})).await;
            }
        }
        taken?;
        Ok(made.into_iter().filter(|node| !node.ends_with("-file")).collect())
    }

    /// Makes and opens an empty overlay; `made` has its nodes.
    async fn new_overlay(
        &self,
        overlay: &Overlay,
        below: &str,
        made: &mut Vec<String>,
    ) -> Result<String, OperationError> {
        let Overlay { disk, file } = overlay;
        let name = utf8(file)?;
        let size = self.size(below).await?;
        let node = self.free_overlay_name(disk).await?;
        let file_node = format!("{node}-file");
        let action = || format!("make an overlay of {disk}");
        let create = json!({"options": {"driver": "file", "filename": name, "size": 0}});
        self.job(action(), job_id("create"), "blockdev-create", create).await?.done().await?;
        let open = json!({"driver": "file", "node-name": file_node, "filename": name, "discard": "unmap"});
        self.run(action(), "blockdev-add", open).await?;
        made.push(file_node.clone());
        let create = json!({"options": {"driver": "qcow2", "file": file_node, "size": size}});
        self.job(action(), job_id("create"), "blockdev-create", create).await?.done().await?;
        let open = json!({"driver": "qcow2", "node-name": node, "file": file_node, "backing": null, "discard": "unmap"});
        self.run(action(), "blockdev-add", open).await?;
        made.push(node.clone());
        Ok(node)
    }

    /// Starts to copy what lies below the top image of a disk into it. When it is done the images below are not used any more and
    /// can be removed ([`Vm::forget_node`]).
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn stream_disk(&self, disk: &str) -> Result<Job, OperationError> {
        let node = self.active_node(disk).await?;
        let arguments = json!({"device": node, "auto-finalize": true, "auto-dismiss": false});
        self.job(format!("stream {disk}"), job_id("stream"), "block-stream", arguments).await
    }

    /// Starts to write the top image of a disk down into the one below it. [`Job::complete`] makes the disk use that one again.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn commit_disk(&self, disk: &str) -> Result<Job, OperationError> {
        let node = self.active_node(disk).await?;
        let below = self.below(&node).await?;
        let arguments = json!({"device": node, "top-node": node, "base-node": below, "auto-finalize": true, "auto-dismiss": false});
        self.job(format!("commit {disk}"), job_id("commit"), "block-commit", arguments).await
    }

    /// Closes an image that no disk uses any more, with its file.
    ///
    /// # Errors
    /// [`OperationError`]; QEMU refuses while it is in use.
    pub async fn forget_node(&self, node: &str) -> Result<(), OperationError> {
        self.run(format!("close {node}"), "blockdev-del", json!({"node-name": node})).await?;
        self.run(format!("close {node}"), "blockdev-del", json!({"node-name": format!("{node}-file")}))
            .await
            .map(drop)
    }

    /// The node that a disk writes to: its own, or the newest overlay; below filters.
    ///
    /// # Errors
    /// [`OperationError::Unknown`] for a disk that is not there.
    pub async fn active_node(&self, disk: &str) -> Result<String, OperationError> {
        let mut node = self.top_node(disk).await?;
        while node.ends_with("-throttle") || node.ends_with("-cor") {
            node = self.below(&node).await?;
        }
        Ok(node)
    }

    /// The node that the device of a disk uses: the topmost filter.
    pub(super) async fn top_node(&self, disk: &str) -> Result<String, OperationError> {
        let blocks = self.slow().call(&QueryBlock {}).await.map_err(failed("look for a disk"))?;
        let is_it = |qdev: &str| {
            let tail = qdev.strip_prefix("/machine/peripheral/").unwrap_or(qdev);
            tail.split('/').next() == Some(disk)
        };
        let found = blocks.into_iter().find(|block| block.qdev.as_deref().is_some_and(is_it));
        let node = found.and_then(|block| block.inserted).and_then(|inserted| inserted.node_name);
        node.ok_or_else(|| OperationError::Unknown { what: "disk", id: disk.to_owned() })
    }

    /// The node below: the backing image of an image, what a filter filters.
    async fn below(&self, node: &str) -> Result<String, OperationError> {
        let graph = self.run("look at the disks", "x-debug-query-block-graph", json!({})).await?;
        let list = |name: &str| graph[name].as_array().cloned().unwrap_or_default();
        let number =
            |name: &str| list("nodes").iter().find(|it| it["name"] == name).map(|it| it["id"].clone());
        let own = number(node);
        let edge = |edge: &&Value| {
            Some(&edge["parent"]) == own.as_ref() && matches!(edge["name"].as_str(), Some("backing" | "file"))
        };
        let edges = list("edges");
        let found = edges
            .iter()
            .filter(edge)
            .max_by_key(|edge| edge["name"] == "backing")
            .map(|edge| edge["child"].clone());
        let nodes = list("nodes");
        let below =
            nodes.iter().find(|it| Some(&it["id"]) == found.as_ref()).and_then(|it| it["name"].as_str());
        below
            .map(str::to_owned)
            .ok_or_else(|| OperationError::Unknown { what: "image below", id: node.to_owned() })
    }

    /// Size of an image as the guest sees it, in bytes.
    async fn size(&self, node: &str) -> Result<u64, OperationError> {
        let nodes = self.named_nodes().await?;
        let found = nodes
            .iter()
            .find(|it| it["node-name"] == node)
            .and_then(|it| it["image"]["virtual-size"].as_u64());
        found.ok_or_else(|| OperationError::Unknown { what: "image", id: node.to_owned() })
    }

    async fn free_overlay_name(&self, disk: &str) -> Result<String, OperationError> {
        let nodes = self.named_nodes().await?;
        let taken = |name: &str| nodes.iter().any(|it| it["node-name"] == name);
        let mut names = (1u32..).map(|number| format!("{disk}-s{number}"));
        Ok(names.find(|name| !taken(name)).expect("there are more numbers than nodes"))
    }

    async fn named_nodes(&self) -> Result<Vec<Value>, OperationError> {
        let reply = self.run("list the images", "query-named-block-nodes", json!({"flat": true})).await?;
        Ok(reply.as_array().cloned().unwrap_or_default())
    }
}

fn utf8(path: &Path) -> Result<&str, ConfigError> {
    path.to_str().ok_or_else(|| ConfigError::NotUtf8 { field: "overlay", path: path.to_owned() })
}

/// Names of jobs only have to differ from those that are going on in the same QEMU, whoever started them.
fn job_id(verb: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{verb}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
