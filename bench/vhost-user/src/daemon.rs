//! qemu-storage-daemon with a block device that does nothing.

use crate::Result;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Ended with the value.
pub struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// With a device of so many bytes.
    pub fn start(directory: &Path, bytes: u64) -> Result<Self> {
        let (socket, pid) = (directory.join("blk.sock"), directory.join("pid"));
        let _ = std::fs::remove_file(&pid);
        let export = format!(
            "vhost-user-blk,id=disk,node-name=disk,writable=on,iothread=thread,addr.type=unix,addr.path={}",
            socket.display()
        );
        let mut child = Command::new("qemu-storage-daemon")
            .args(["--blockdev", &format!("driver=null-co,node-name=disk,size={bytes}")])
            .args(["--object", "iothread,id=thread", "--export", &export])
            .arg("--pidfile")
            .arg(&pid)
            .stdin(Stdio::null())
            .spawn()?;
        while !pid.exists() {
            if child.try_wait()?.is_some() {
                return Err("qemu-storage-daemon has ended".into());
            }
            std::thread::yield_now();
        }
        Ok(Self { child, socket })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
