//! A program that is the connection: what it prints is what the daemon says. ssh, and whatever an `ext` URI names.

use super::{Traits, Transport};
use libvirt_protocol::session::Transmit;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// Of what the program complains about, so much is kept for the error.
const COMPLAINT: usize = 4096;

/// A running program that is the connection. It is killed with this value.
#[derive(Debug)]
pub struct Program {
    name: String,
    _child: Child,
    input: ChildStdin,
    output: ChildStdout,
    errors: Option<ChildStderr>,
    complaint: Vec<u8>,
}

impl Program {
    /// Starts a program with these arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &str, arguments: &[String]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("starting {program}: {error}")))?;
        let missing = || io::Error::other("a pipe of the program is missing");
        Ok(Self {
            name: program.to_owned(),
            input: child.stdin.take().ok_or_else(missing)?,
            output: child.stdout.take().ok_or_else(missing)?,
            errors: child.stderr.take(),
            _child: child,
            complaint: Vec::new(),
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
        let complaint = self.poll_complaint(context);
        let mut buffer = ReadBuf::new(room);
        ready!(Pin::new(&mut self.output).poll_read(context, &mut buffer))?;
        let bytes = buffer.filled().len();
        if bytes == 0 {
            // Its last words may come after the end of its output.
            ready!(complaint);
            return Poll::Ready(Err(self.ended()));
        }
        Poll::Ready(Ok(bytes))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, what: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let Transmit::Bytes(bytes) = what else {
            let text = "file descriptors travel over unix sockets only";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::Unsupported, text)));
        };
        match ready!(Pin::new(&mut self.input).poll_write(context, bytes)) {
            // It has ended: reading tells why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Poll::Pending,
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.input).poll_flush(context)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Poll::Pending,
            flushed => Poll::Ready(flushed),
        }
    }

    fn traits(&self) -> Traits {
        Traits { private: true, descriptors: false }
    }
}
