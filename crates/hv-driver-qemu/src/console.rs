//! Consoles: output is read from QEMU's log, input goes through one connection that all consoles of a guest share.
//!
//! ```text
//!   guest --> QEMU --+--> console.log (append) --read, then inotify--> any number of consoles
//!                    '--> console.sock (one client) --> read and dropped
//!   any number of consoles --> channel --> console.sock --> guest
//! ```
//!
//! The log is kept short by freeing the blocks of its head: offsets stay what they are, for QEMU and for every reader.

mod sys;

use crate::{
    convert,
    guest::{Around, Task},
};
use bytes::Bytes;
use futures::{SinkExt, Stream, stream};
use hv_driver::Guest;
use hv_runtime::tasks::blocking;
use qemu::Status;
use rustix::fs::{FallocateFlags, inotify};
use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt, unix::AsyncFd},
    sync::{mpsc, watch},
};
use tokio_util::{
    io::{CopyToBytes, SinkWriter},
    sync::PollSender,
};

/// How often logs are looked at.
pub(crate) const TRIM_EVERY: Duration = Duration::from_secs(10);

/// What a log may hold before its head is freed, and what is left then.
const LOG_MOST: u64 = 16 << 20;
const LOG_KEPT: u64 = 8 << 20;

/// The log from at most `replay` bytes before its end, but not before `start`; then what is appended, until the guest ends.
pub(crate) async fn output(
    log: PathBuf,
    start: u64,
    replay: u64,
    status: watch::Receiver<Status>,
) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send> {
    let open = move || -> io::Result<_> {
        let file = File::open(&log)?;
        // Watched before it is read: what is appended in between is seen.
        let watch = Watch::new(&log)?;
        let end = file.metadata()?.len();
        Ok((Arc::new(file), watch, end))
    };
    let (file, watch, end) = blocking(open).await?;
    let position = end.saturating_sub(replay.min(LOG_KEPT)).max(start.min(end));
    let tail = Tail { file, watch, position, status };
    Ok(stream::unfold(Some(tail), |tail| async {
        let mut tail = tail?;
        match tail.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(tail))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Tail {
    file: Arc<File>,
    watch: Watch,
    position: u64,
    status: watch::Receiver<Status>,
}

impl Tail {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            // Asked before the log is read: what the guest printed last is not missed.
            let ended = has_ended(&self.status.borrow_and_update()) || self.status.has_changed().is_err();
            let (file, position) = (self.file.clone(), self.position);
            let read = move || -> io::Result<Vec<u8>> {
                let mut buffer = vec![0; CHUNK];
                let length = file.read_at(&mut buffer, position)?;
                buffer.truncate(length);
                Ok(buffer)
            };
            let read = blocking(read).await?;
            if !read.is_empty() {
                self.position += read.len() as u64;
                return Ok(Some(read.into()));
            }
            if ended {
                return Ok(None);
            }
            // Cancel safety: both only wait. Without supervision there is no news of the guest's end.
            tokio::select! {
                changed = self.watch.changed() => changed?,
                _ = self.status.changed() => {}
            }
        }
    }
}

fn has_ended(status: &Status) -> bool {
    !matches!(convert::guest_of(status), Some(Guest::Running | Guest::Paused))
}

/// Tells when a file was written to.
struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    fn new(path: &Path) -> io::Result<Self> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let inotify = inotify::init(flags)?;
        inotify::add_watch(&inotify, path, inotify::WatchFlags::MODIFY)?;
        Ok(Self(sys::watch(inotify)?))
    }

    async fn changed(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
        let mut events = inotify::Reader::new(self.0.as_fd(), &mut buffer);
        loop {
            match events.next() {
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}

/// Frees the head of logs that have grown too long. A log that cannot be trimmed only costs space.
pub(crate) fn trim(logs: &[PathBuf]) {
    for log in logs {
        let trim = || -> io::Result<()> {
            let metadata = std::fs::metadata(log)?;
            if metadata.blocks() * 512 <= LOG_MOST {
                return Ok(());
            }
            let head = metadata.len().saturating_sub(LOG_KEPT);
            let file = File::options().write(true).open(log)?;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            Ok(rustix::fs::fallocate(&file, flags, 0, head)?)
        };
        if let Err(error) = trim() {
            tracing::debug!(log = %log.display(), %error, "cannot trim a log");
        }
    }
}

/// The way to what a guest reads. Connected when first used.
pub(crate) struct Keyboard {
    socket: PathBuf,
    around: Around,
    /// The channel into the connection; held for short sections without await.
    sender: Mutex<Option<mpsc::Sender<Bytes>>>,
}

impl Keyboard {
    pub(crate) fn new(socket: PathBuf, around: Around) -> Self {
        Self { socket, around, sender: Mutex::default() }
    }

    /// A writer of its own; dropping it leaves the connection to the others.
    pub(crate) fn writer(&self) -> Box<dyn AsyncWrite + Send + Unpin> {
        let sink = PollSender::new(self.sender())
            .sink_map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the guest's console is closed"));
        Box::new(SinkWriter::new(CopyToBytes::new(sink)))
    }

    fn sender(&self) -> mpsc::Sender<Bytes> {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = sender.as_ref().filter(|sender| !sender.is_closed()) {
            return open.clone();
        }
        let (open, typed) = mpsc::channel(16);
        let (socket, stop) = (self.socket.clone(), self.around.stop.clone());
        self.around.tasks.spawn(Task::Keyboard, async move {
            // Cancel safety: whoever stops gives the connection up as a whole.
            let result = tokio::select! {
                result = pass_on(&socket, typed) => result,
                () = stop.cancelled() => Ok(()),
            };
            if let Err(error) = result {
                tracing::debug!(socket = %socket.display(), %error, "the console connection ended");
            }
        });
        *sender = Some(open.clone());
        open
    }
}

/// Until QEMU closes the connection. A guest that does not read holds up writers, not readers.
async fn pass_on(socket: &Path, mut typed: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let (mut output, mut input) = qemu::socket::connect(socket).await?.into_split();
    let drop_output = async { tokio::io::copy(&mut output, &mut tokio::io::sink()).await.map(drop) };
    let pass = async {
        while let Some(bytes) = typed.recv().await {
            input.write_all(&bytes).await?;
        }
        io::Result::Ok(())
    };
    // Cancel safety: the end of either is the end of the connection.
    tokio::select! {
        result = drop_output => result,
        result = pass => result,
    }
}

const CHUNK: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_long_log_loses_its_head_and_keeps_its_offsets() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut writer = File::options().append(true).create(true).open(&log).unwrap();
        let block = vec![b'x'; 1 << 20];
        for _ in 0..(LOG_MOST >> 20) + 1 {
            writer.write_all(&block).unwrap();
        }
        writer.sync_all().unwrap();
        trim(&[log.clone(), directory.path().join("absent")]);
        let metadata = std::fs::metadata(&log).unwrap();
        assert_eq!(metadata.len(), LOG_MOST + (1 << 20));
        assert!(metadata.blocks() * 512 <= LOG_KEPT + (1 << 20), "{} blocks", metadata.blocks());
        writer.write_all(b"end").unwrap();
        let mut last = [0; 4];
        File::open(&log).unwrap().read_exact_at(&mut last, LOG_MOST + (1 << 20) - 1).unwrap();
        assert_eq!(&last, b"xend");
    }
}
