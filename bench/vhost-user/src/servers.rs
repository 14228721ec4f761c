//! The back-ends that are measured, each in a process of its own.

mod theirs;

use crate::watch::{Patience, Side};
use crate::{DISK, Result};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use vhost_user::backend::serve;
use vhost_user::devices::{Disk, Null};
use vhost_user::socket::Canceller;

/// Ended with the value.
pub struct Server {
    child: Child,
    socket: PathBuf,
}

/// Which back-end.
#[derive(Clone, Copy)]
pub enum Kind<'a> {
    /// qemu-storage-daemon, with a device that does nothing.
    DaemonNull,
    /// qemu-storage-daemon, with a file.
    DaemonFile(&'a Path),
    /// Our null device.
    Ours,
    /// A null device on the crate vhost-user-backend.
    Theirs,
}

impl Server {
    /// Starts it, listening in `directory`.
    pub fn start(directory: &Path, kind: Kind<'_>) -> Result<Self> {
        let socket = directory.join("blk.sock");
        let _ = std::fs::remove_file(&socket);
        let mut command = match kind {
            Kind::DaemonNull => daemon(&socket, &format!("driver=null-co,node-name=disk,size={DISK}")),
            Kind::DaemonFile(file) => {
                daemon(&socket, &format!("driver=file,node-name=disk,filename={}", file.display()))
            }
            Kind::Ours | Kind::Theirs => {
                let mut command = Command::new(std::env::current_exe()?);
                let which = if matches!(kind, Kind::Ours) { "ours" } else { "theirs" };
                command.args(["serve", which]).arg(&socket);
                command
            }
        };
        Side::Serves.stay()?;
        let child = command.stdin(Stdio::null()).spawn();
        Side::Drives.stay()?;
        let child = child?;
        let mut it = Self { child, socket };
        let patience = Patience::begin();
        while UnixStream::connect(&it.socket).is_err() {
            it.runs()?;
            patience.left("a back-end that listens")?;
        }
        Ok(it)
    }

    fn runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => Err(format!("the back-end has ended: {status}").into()),
            None => Ok(std::thread::yield_now()),
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn daemon(socket: &Path, blockdev: &str) -> Command {
    let export = format!(
        "vhost-user-blk,id=disk,node-name=disk,writable=on,iothread=thread,addr.type=unix,addr.path={}",
        socket.display()
    );
    let mut command = Command::new("qemu-storage-daemon");
    command.args(["--blockdev", blockdev, "--object", "iothread,id=thread", "--export", &export]);
    command
}

/// What a child of this program does.
pub fn run(which: &str, socket: &str) -> Result<()> {
    match which {
        "ours" => {
            let listener = UnixListener::bind(socket)?;
            loop {
                let (stream, _) = listener.accept()?;
                let mut disk = Disk::new(Null { sectors: DISK / 512 }, 1);
                // Who only looked whether somebody listens has gone again.
                let _ = serve(&mut disk, stream, &Canceller::new()?);
            }
        }
        "theirs" => theirs::run(socket),
        other => Err(format!("no back-end {other}").into()),
    }
}
