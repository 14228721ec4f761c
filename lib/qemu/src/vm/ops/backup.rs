//! Copies of disks while the guest writes to them.
//!
//! ```text
//!   push    disk ---(as it was at the start)---> file or NBD server      whole, or what changed since a bitmap
//!   pull    disk --> scratch (what the guest overwrites) --> NBD export   read by whoever wants, as it was at the start
//!   mirror  disk ---(and all that follows)---> file; complete: the disk uses the file from then on
//! ```

use super::{Job, OperationError, snapshot::job_id};
use crate::{
    Vm,
    argv::socket_address,
    config::{Address, ConfigError, Format},
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where a copy goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyTarget {
    /// A new file, which QEMU makes in a place that its process may write to; raw or qcow2.
    File {
        /// The file; it must not be there.
        path: PathBuf,
        /// Its format.
        format: Format,
    },
    /// A writable export of an NBD server, at least as large as the disk.
    Nbd {
        /// The server.
        server: Address,
        /// Name of the export.
        export: String,
    },
}

/// A backup that QEMU writes. The copy is closed when it is over.
#[derive(Debug)]
pub struct PushBackup {
    job: Job,
    vm: Vm,
    target: String,
}

/// A disk as it was, served for reading until this is finished. Dropping it leaves it served.
#[derive(Debug)]
pub struct PullBackup {
    job: Job,
    vm: Vm,
    scratch: String,
    export: String,
}

impl Vm {
    /// Begins to note which parts of a disk change, under this name. The notes end with the process.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn add_bitmap(&self, disk: &str, name: &str) -> Result<(), OperationError> {
        let node = self.active_node(disk).await?;
        let bitmap = json!({"node": node, "name": name});
        self.run(format!("note the changes of {disk}"), "block-dirty-bitmap-add", bitmap).await.map(drop)
    }

    /// Forgets such notes.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn remove_bitmap(&self, disk: &str, name: &str) -> Result<(), OperationError> {
        let node = self.active_node(disk).await?;
        let bitmap = json!({"node": node, "name": name});
        self.run(format!("forget the changes of {disk}"), "block-dirty-bitmap-remove", bitmap).await.map(drop)
    }

    /// Bytes that changed since the notes were begun or last used.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn changed_bytes(&self, disk: &str, name: &str) -> Result<u64, OperationError> {
        let node = self.active_node(disk).await?;
        let nodes = self.named_nodes().await?;
        let bitmaps = nodes.iter().find(|it| it["node-name"] == node).map(|it| it["dirty-bitmaps"].clone());
        let bitmaps = bitmaps.as_ref().and_then(Value::as_array).into_iter().flatten();
        let found =
            bitmaps.filter(|bitmap| bitmap["name"] == name).find_map(|bitmap| bitmap["count"].as_u64());
        found.ok_or_else(|| OperationError::Unknown { what: "bitmap", id: name.to_owned() })
    }

    /// Starts to copy a disk as it is now: all of it, or what changed since the bitmap, which begins anew when the copy is whole.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn push_backup(
        &self,
        disk: &str,
        to: &CopyTarget,
        since: Option<&str>,
    ) -> Result<PushBackup, OperationError> {
        let node = self.active_node(disk).await?;
        let target = self.open_target(disk, &node, to).await?;
        let mut arguments = json!({"device": node, "target": target, "sync": "full", "auto-dismiss": false});
        if let Some(bitmap) = since {
            arguments["sync"] = json!("bitmap");
            (arguments["bitmap"], arguments["bitmap-mode"]) = (json!(bitmap), json!("on-success"));
        }
        match self.job(format!("back up {disk}"), job_id("backup"), "blockdev-backup", arguments).await {
            Ok(job) => Ok(PushBackup { job, vm: self.clone(), target }),
            Err(error) => {
                // The first error is the one that matters.
                let _ = self.close_target(&target).await;
                Err(error)
            }
        }
    }

    /// Serves a disk as it is now at `listen` under the name `export`, for reading. `scratch` is a new file that takes what the guest
    /// overwrites meanwhile. One at a time: it is QEMU's only NBD server.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn pull_backup(
        &self,
        disk: &str,
        scratch: &Path,
        listen: &Address,
        export: &str,
    ) -> Result<PullBackup, OperationError> {
        let node = self.active_node(disk).await?;
        let address = listening(listen)?;
        let target = CopyTarget::File { path: scratch.to_owned(), format: Format::Qcow2 };
        let scratch = self.open_target_above(disk, &node, &target, Some(&node)).await?;
        let action = format!("serve {disk}");
        let serving = async {
            // Nothing is copied but what the guest is about to overwrite.
            let arguments = json!({"device": node, "target": scratch, "sync": "none", "auto-dismiss": false});
            let job = self.job(action.clone(), job_id("serve"), "blockdev-backup", arguments).await?;
            let served = async {
                self.run(action.clone(), "nbd-server-start", json!({"addr": address})).await?;
                let exported = json!({"type": "nbd", "id": scratch, "node-name": scratch, "name": export});
                let exported = self.run(action.clone(), "block-export-add", exported).await;
                if exported.is_err() {
                    let _ = self.run(action.clone(), "nbd-server-stop", json!({})).await;
                }
                exported
            };
            match served.await {
                Ok(_) => Ok(job),
                Err(error) => {
                    let _ = job.cancel().await;
                    Err(error)
                }
            }
        };
        match serving.await {
            Ok(job) => Ok(PullBackup { job, vm: self.clone(), export: scratch.clone(), scratch }),
            Err(error) => {
                let _ = self.close_target(&scratch).await;
                Err(error)
            }
        }
    }

    /// Starts to copy a disk to another place with all that the guest writes meanwhile. [`Job::ready`] waits until both are the same;
    /// [`Job::complete`] makes the disk use the copy, [`Job::cancel`] then leaves a copy of that moment.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn mirror_disk(&self, disk: &str, to: &CopyTarget) -> Result<Job, OperationError> {
        let node = self.active_node(disk).await?;
        let target = self.open_target(disk, &node, to).await?;
        let arguments = json!({"device": node, "target": target, "sync": "full", "auto-dismiss": false});
        let started =
            self.job(format!("mirror {disk}"), job_id("mirror"), "blockdev-mirror", arguments).await;
        if started.is_err() {
            let _ = self.close_target(&target).await;
        }
        started
    }

    async fn open_target(&self, disk: &str, node: &str, to: &CopyTarget) -> Result<String, OperationError> {
        self.open_target_above(disk, node, to, None).await
    }

    /// Makes and opens a target as large as `node`; answers its node.
    async fn open_target_above(
        &self,
        disk: &str,
        node: &str,
        to: &CopyTarget,
        backing: Option<&str>,
    ) -> Result<String, OperationError> {
        let name = self.free_overlay_name(disk).await?;
        let action = || format!("open the copy of {disk}");
        let (path, format) = match to {
            CopyTarget::Nbd { server, export } => {
                let server = server_address(server)?;
                let file = json!({"driver": "nbd", "server": server, "export": export});
                let open = json!({"driver": "raw", "node-name": name, "file": file});
                self.run(action(), "blockdev-add", open).await?;
                return Ok(name);
            }
            CopyTarget::File { path, format } => (path, *format),
        };
        if !matches!(format, Format::Raw | Format::Qcow2) {
            return Err(ConfigError::conflict(disk, "a copy is raw or qcow2").into());
        }
        let text = path.to_str().ok_or_else(|| ConfigError::NotUtf8 { field: "copy", path: path.clone() })?;
        let size = self.size(node).await?;
        let file = format!("{name}-file");
        let create = json!({"options": {"driver": "file", "filename": text, "size": if format == Format::Raw { size } else { 0 }}});
        self.job(action(), job_id("create"), "blockdev-create", create).await?.done().await?;
        let open = json!({"driver": "file", "node-name": file, "filename": text, "discard": "unmap"});
        self.run(action(), "blockdev-add", open).await?;
        let opening = async {
            let mut open = json!({"driver": "raw", "node-name": name, "file": file, "discard": "unmap"});
            if format == Format::Qcow2 {
                let create = json!({"options": {"driver": "qcow2", "file": file, "size": size}});
                self.job(action(), job_id("create"), "blockdev-create", create).await?.done().await?;
                (open["driver"], open["backing"]) =
                    (json!("qcow2"), backing.map_or(Value::Null, |backing| json!(backing)));
            }
            self.run(action(), "blockdev-add", open).await
        };
        if let Err(error) = opening.await {
            let _ = self.run(action(), "blockdev-del", json!({"node-name": file})).await;
            return Err(error);
        }
        Ok(name)
    }

    /// Closes a copy; the node of its file is there only if it is a file.
    async fn close_target(&self, node: &str) -> Result<(), OperationError> {
        self.run("close a copy", "blockdev-del", json!({"node-name": node})).await?;
        let file = format!("{node}-file");
        if self.named_nodes().await?.iter().any(|it| it["node-name"] == file) {
            self.run("close a copy", "blockdev-del", json!({"node-name": file})).await?;
        }
        Ok(())
    }
}

impl PushBackup {
    /// How much is done of how much.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn progress(&self) -> Result<Option<(u64, u64)>, OperationError> {
        self.job.progress().await
    }

    /// Waits until the copy is whole, and closes it.
    ///
    /// # Errors
    /// [`OperationError`]; the copy is of no use then, and a bitmap as it was.
    pub async fn done(self) -> Result<(), OperationError> {
        let outcome = self.job.done().await;
        let closed = self.vm.close_target(&self.target).await;
        outcome.and(closed)
    }

    /// Gives it up.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn cancel(self) -> Result<(), OperationError> {
        let outcome = self.job.cancel().await;
        let closed = self.vm.close_target(&self.target).await;
        outcome.and(closed)
    }
}

impl PullBackup {
    /// Stops to serve it; readers that are still connected are cut off. The scratch file can be removed then.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn finish(self) -> Result<(), OperationError> {
        let action = "stop to serve a disk";
        // Ends every export with its readers, and waits for that.
        self.vm.run(action, "nbd-server-stop", json!({})).await?;
        tracing::debug!(export = self.export, "a disk is not served any more");
        self.job.cancel().await?;
        self.vm.close_target(&self.scratch).await
    }
}

/// The older form of an address, which this one command takes.
fn listening(address: &Address) -> Result<Value, OperationError> {
    let mut members = server_address(address)?;
    let kind = members["type"].take();
    if let Value::Object(members) = &mut members {
        members.remove("type");
    }
    Ok(json!({"type": kind, "data": members}))
}

fn server_address(address: &Address) -> Result<Value, OperationError> {
    address.check("NBD server")?;
    Ok(socket_address(address)?)
}
