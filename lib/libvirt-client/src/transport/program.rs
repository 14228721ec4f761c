//! A program that is the connection: what it prints is what the daemon says. ssh, and whatever an `ext` URI names.

use super::{Privacy, Traits, Transport, Unix};
use libvirt_protocol::session::Transmit;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::Sleep;

/// Of what the program complains about, so much is kept for the error.
const COMPLAINT: usize = 4096;
/// How long its last words may take to come after its end. They need not end: who started a helper in the background (ssh with
/// `ControlPersist`) leaves it that output, for hours.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A running program that is the connection. It is killed with this value.
#[derive(Debug)]
pub struct Program {
    name: String,
    _child: Child,
    /// Its input and its output: a socket takes more at once than a pipe.
    socket: Unix,
    errors: Option<ChildStderr>,
    complaint: Vec<u8>,
    /// Runs once the program has ended, until its last words must have come.
    last_words: Option<Pin<Box<Sleep>>>,
    privacy: Privacy,
}

impl Program {
    /// Starts a program with these arguments; who else may hear what it carries is known to whoever names it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &str, arguments: &[String], privacy: Privacy) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (input, output) = (OwnedFd::from(theirs.try_clone()?), OwnedFd::from(theirs));
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::from(input)).stdout(Stdio::from(output)).stderr(Stdio::piped());
        let mut child = command
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("starting {program}: {error}")))?;
        // The command holds the program's ends: an end of its output is seen only when they are closed here.
        drop(command);
        Ok(Self {
            name: program.to_owned(),
            socket: Unix::try_from(UnixStream::from_std(ours)?)?,
            errors: child.stderr.take(),
            _child: child,
            complaint: Vec::new(),
            last_words: None,
            privacy,
        })
    }

    /// Takes what the program complains about, so that it never blocks on that.
    fn poll_complaint(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some(errors) = &mut self.errors {
            let mut room = [0; 512];
            let mut buffer = ReadBuf::new(&mut room);
            let read = ready!(Pin::new(errors).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                self.errors = None;
            } else {
                self.complaint.extend_from_slice(buffer.filled());
                // The end says most.
                let excess = self.complaint.len().saturating_sub(COMPLAINT);
                self.complaint.drain(..excess);
            }
        }
        Poll::Ready(())
    }

    /// It has ended, and what was on its way to it is lost.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let last_words = self.last_words.get_or_insert_with(|| Box::pin(tokio::time::sleep(LAST_WORDS)));
        let late = last_words.as_mut().poll(context).is_ready();
        if self.poll_complaint(context).is_pending() && !late {
            return Poll::Pending;
        }
        Poll::Ready(self.ended())
    }

    fn ended(&self) -> io::Error {
        let complaint = String::from_utf8_lossy(&self.complaint);
        let complaint = complaint.trim();
        let said = if complaint.is_empty() { "it says nothing" } else { complaint };
        io::Error::new(io::ErrorKind::UnexpectedEof, format!("{} ended: {said}", self.name))
    }
}

impl Transport for Program {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
        _descriptors: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        if self.last_words.is_some() {
            return self.poll_ended(context).map(Err);
        }
        // Also so that it never waits for somebody who listens to it.
        let _ = self.poll_complaint(context);
        // No descriptors are for us here.
        match ready!(self.socket.poll_read(context, room, &mut Vec::new())) {
            Ok(bytes @ 1..) => Poll::Ready(Ok(bytes)),
            // Its last words may come after that.
            Ok(0) => self.poll_ended(context).map(Err),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.poll_ended(context).map(Err),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, what: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let Transmit::Bytes(_) = what else {
            let text = "file descriptors travel over unix sockets only";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::Unsupported, text)));
        };
        match ready!(self.socket.poll_write(context, what)) {
            // It has ended: reading tells why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Poll::Pending,
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush(context)
    }

    fn traits(&self) -> Traits {
        Traits::new(self.privacy)
    }
}
