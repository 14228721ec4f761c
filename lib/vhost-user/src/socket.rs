//! Bytes and descriptors over a unix socket, with a deadline, and with somebody who may say that it is enough.

mod waits;

#[cfg(feature = "tokio")]
pub use waits::Reactor;
pub use waits::{Thread, Waits};

use crate::wire::MOST_DESCRIPTORS;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, write};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg, socket_with,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Why nothing more came or went.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The time is over.
    #[error("the time is over")]
    TimedOut,
    /// Somebody called [`Canceller::cancel`].
    #[error("cancelled")]
    Cancelled,
    /// The peer has closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// More descriptors came than fit, and some are lost.
    #[error("more than {MOST_DESCRIPTORS} descriptors came with one message")]
    Descriptors,
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for SocketError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            other => Self::Io(other.into()),
        }
    }
}

/// Ends every wait of its connections, from any thread, for good.
#[derive(Clone, Debug)]
pub struct Canceller(Arc<OwnedFd>);

impl Canceller {
    /// For connections that are still to be made.
    ///
    /// # Errors
    /// That of the system call.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Whether it was.
    pub fn is_cancelled(&self) -> bool {
        let mut all = [PollFd::new(&self.0, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut all, Some(&now)).is_ok_and(|count| count > 0)
    }

    /// Ends what waits, and what will wait.
    pub fn cancel(&self) {
        // A counter at its limit is readable all the same.
        let _ = write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Canceller {
    /// Readable once it was cancelled.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How long a wait to be accepted lasts before it is asked whether it was cancelled.
const SLICE: Duration = Duration::from_millis(50);

/// Connects to who listens at a path, and waits for at most so long where more are waiting already than it wants to have waiting.
///
/// # Errors
/// [`SocketError`].
pub fn connect(path: &Path, time: Duration, cancelled: &Canceller) -> Result<UnixStream, SocketError> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let mut left = time;
    loop {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // A connection that waits to be accepted can neither be polled for nor be interrupted; it ends with the time that sending may take.
        let slice = left.clamp(Duration::from_micros(1), SLICE);
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(slice))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {
                sockopt::set_socket_timeout(&socket, Timeout::Send, None)?;
                return Ok(socket.into());
            }
            Err(Errno::AGAIN) => left = left.saturating_sub(slice),
            Err(Errno::INTR) => {}
            Err(error) => return Err(SocketError::Io(error.into())),
        }
        if cancelled.is_cancelled() {
            return Err(SocketError::Cancelled);
        }
        if left.is_zero() {
            return Err(SocketError::TimedOut);
        }
    }
}

/// A socket of which no read or write takes longer than it may.
#[derive(Debug)]
pub struct Socket {
    stream: UnixStream,
    timer: OwnedFd,
    cancelled: Canceller,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Socket {
    /// Takes over a connected stream, whose waits `cancelled` ends.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn new(stream: UnixStream, cancelled: Canceller) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Self { stream, timer, cancelled })
    }

    /// What ends its waits.
    pub fn canceller(&self) -> Canceller {
        self.cancelled.clone()
    }

    /// Nothing goes any more: the peer hears that this is the end, and may say what it has to say.
    pub(crate) fn say_no_more(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Nothing comes or goes any more.
    pub(crate) fn shut(&self) {
        // One that the peer has closed is as good.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Sets when waits end, from now on; `None`: they do not.
    ///
    /// # Errors
    /// That of the system call.
    pub fn expire_after(&self, time: Option<Duration>) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A timer that is set to zero is off.
        let it_value = time.map_or(zero, |time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()).max(i64::from(time.as_secs() == 0)),
        });
        // What it said before is forgotten with this. Reading it away would take a short time's end with it, and the wait would have none.
        timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: zero, it_value },
        )?;
        Ok(())
    }

    /// Readable when the time that was set is over.
    pub(crate) fn deadline(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    /// Sends all bytes, and the descriptors with the first of them.
    ///
    /// # Errors
    /// [`SocketError`]. Some bytes may have gone out: no other message can follow them.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), SocketError> {
        Thread::run(self.send_in(&Thread, bytes, descriptors))
    }

    /// The same, which waits as it is told.
    pub(crate) async fn send_in(
        &self,
        waits: &impl Waits,
        mut bytes: &[u8],
        mut descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        while !bytes.is_empty() {
            match self.try_send(bytes, descriptors)? {
                0 => waits.wait(self, PollFlags::OUT).await?,
                sent => {
                    bytes = bytes.get(sent..).unwrap_or_default();
                    descriptors = &[];
                }
            }
        }
        Ok(())
    }

    /// Sends as many bytes as there is room for, and the descriptors with the first of them; 0: there is none.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn try_send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize, SocketError> {
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(SocketError::Descriptors);
            }
            match sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
                Ok(sent) => return Ok(sent),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(0),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads at most as many bytes as `into` has, at least one, and the descriptors that came with them.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn receive(&self, into: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), SocketError> {
        Thread::run(self.receive_in(&Thread, into))
    }

    /// The same, which waits as it is told.
    pub(crate) async fn receive_in(
        &self,
        waits: &impl Waits,
        into: &mut [u8],
    ) -> Result<(usize, Vec<OwnedFd>), SocketError> {
        loop {
            match self.try_receive(into)? {
                Some(received) => return Ok(received),
                None => waits.wait(self, PollFlags::IN).await?,
            }
        }
    }

    /// The same of what has come already; `None`: nothing has.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn try_receive(&self, into: &mut [u8]) -> Result<Option<(usize, Vec<OwnedFd>)>, SocketError> {
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(into)];
            match recvmsg(&self.stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => {
                    let mut descriptors = Vec::new();
                    for part in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(rights) = part {
                            descriptors.extend(rights);
                        }
                    }
                    if message.flags.contains(ReturnFlags::CTRUNC) {
                        return Err(SocketError::Descriptors);
                    }
                    if message.bytes == 0 {
                        return Err(SocketError::Closed);
                    }
                    return Ok(Some((message.bytes, descriptors)));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether it is ready for this; waits at most so long for that, `None`: without an end of its own.
    fn is_ready(&self, what: PollFlags, time: Option<&Timespec>) -> Result<bool, SocketError> {
        let mut all = [
            PollFd::new(&self.stream, what),
            PollFd::new(&self.timer, PollFlags::IN),
            PollFd::new(&self.cancelled.0, PollFlags::IN),
        ];
        loop {
            match poll(&mut all, time) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let [stream, timer, cancelled] = all.map(|it| !it.revents().is_empty());
        match () {
            () if cancelled => Err(SocketError::Cancelled),
            // What has come is read, however late it is.
            () if stream => Ok(true),
            () if timer => Err(SocketError::TimedOut),
            () => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{bind, listen};

    /// Somebody listens, takes nobody, and has as many waiting as it wants.
    #[test]
    fn who_is_not_accepted_waits_no_longer_than_it_may() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("full.sock");
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&listener, 0).unwrap();
        let canceller = Canceller::new().unwrap();
        let soon = || connect(&path, Duration::from_millis(60), &canceller);
        let first = soon().unwrap();
        let waiting: Vec<_> = (0..4).map(|_| soon()).collect();
        assert!(waiting.iter().any(|it| matches!(it, Err(SocketError::TimedOut))), "{waiting:?}");
        canceller.cancel();
        let cancelled = connect(&path, Duration::from_secs(3600), &canceller);
        assert!(matches!(cancelled, Err(SocketError::Cancelled)), "{cancelled:?}");
        drop(first);
        assert!(matches!(
            connect(&directory.path().join("nobody"), SLICE, &canceller),
            Err(SocketError::Io(_))
        ));
    }

    /// However short a time is, it ends.
    #[test]
    fn no_time_at_all_is_a_time() {
        let (stream, _other) = UnixStream::pair().unwrap();
        let socket = Socket::new(stream, Canceller::new().unwrap()).unwrap();
        for nanos in [0, 1, 1_000, 100_000].repeat(200) {
            socket.expire_after(Some(Duration::from_nanos(nanos))).unwrap();
            assert!(matches!(socket.receive(&mut [0]), Err(SocketError::TimedOut)));
        }
    }
}
