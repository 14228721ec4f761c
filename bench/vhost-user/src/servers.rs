//! The back-ends that are measured, each in a process of its own.

mod theirs;

use crate::watch::{Patience, Side};
use crate::{DISK, Result};
use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use vhost_user::backend::{Device, serve};
use vhost_user::devices::{DirectDisk, Disk, Null, OnFile};
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
    /// The same around the page cache, by io_uring.
    DaemonDirect(&'a Path),
    /// Our disk on a file.
    OursFile(&'a Path),
    /// The same around the page cache.
    OursDirect(&'a Path),
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
            Kind::DaemonDirect(file) => daemon(
                &socket,
                &format!(
                    "driver=file,node-name=disk,filename={},cache.direct=on,aio=io_uring",
                    file.display()
                ),
            ),
            Kind::Ours => own("ours", &socket, None)?,
            Kind::Theirs => own("theirs", &socket, None)?,
            Kind::OursFile(file) => own("file", &socket, Some(file))?,
            Kind::OursDirect(file) => own("direct", &socket, Some(file))?,
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

/// A child of this program.
fn own(which: &str, socket: &Path, file: Option<&Path>) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", which]).arg(socket).args(file);
    Ok(command)
}

/// What such a child does.
pub fn run(which: &str, socket: &str, file: Option<&str>) -> Result<()> {
    let open = || -> Result<File> {
        Ok(File::options().read(true).write(true).open(file.ok_or("which file?")?)?)
    };
    match which {
        "ours" => sessions(socket, || Ok(Disk::new(Null { sectors: DISK / 512 }, 1))),
        "file" => sessions(socket, || Ok(Disk::new(OnFile::new(open()?)?, 1))),
        "direct" => sessions(socket, || Ok(DirectDisk::new(open()?, 1)?)),
        "theirs" => theirs::run(socket),
        other => Err(format!("no back-end {other}").into()),
    }
}

fn sessions<D: Device>(socket: &str, mut device: impl FnMut() -> Result<D>) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    loop {
        let (stream, _) = listener.accept()?;
        // Who only looked whether somebody listens has gone again.
        let _ = serve(&mut device()?, stream, &Canceller::new()?);
    }
}
