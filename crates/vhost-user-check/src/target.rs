//! The back-end that is asked: a socket, and perhaps a command that serves it.

use rustix::net::sockopt::socket_peercred;
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use vhost_user::check::{Backend, Resources};
use vhost_user::front::Request;
use vhost_user::frontend::FrontEnd;

/// How long a back-end that was started may take until it listens.
const LISTENS: Duration = Duration::from_secs(10);

/// How long a back-end that serves one front-end may take to end when that has left.
const ENDS: Duration = Duration::from_millis(500);

/// How a process was killed; `None`: it ended by itself.
fn killed(status: ExitStatus) -> Option<String> {
    status.signal().map(|_| format!("it was killed: {status}"))
}

/// Time since a beginning.
pub(crate) struct Clock(Duration);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        now().saturating_sub(self.0)
    }
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Processor time of this process.
pub(crate) fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A back-end at a socket.
pub(crate) struct Target {
    socket: PathBuf,
    command: Option<String>,
    /// It serves one front-end, and is started for each.
    single: bool,
    child: Option<Child>,
    /// A front-end was connected to this child.
    used: bool,
    /// How one before it was killed, until somebody asks.
    death: Option<String>,
    /// Of the process that last took a connection.
    pid: Option<u32>,
}

impl Target {
    /// Starts it, where a command says how.
    pub(crate) fn new(socket: &Path, command: Option<&str>, single: bool) -> io::Result<Self> {
        let mut target = Self {
            socket: socket.to_owned(),
            command: command.map(str::to_owned),
            single,
            child: None,
            used: false,
            death: None,
            pid: None,
        };
        if target.command.is_some() {
            target.start()?;
        }
        Ok(target)
    }

    fn start(&mut self) -> io::Result<()> {
        let Some(command) = self.command.clone() else { return Ok(()) };
        self.end();
        // What another left behind would be taken for a socket that listens.
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let command = format!("exec {}", command.replace("{socket}", &quoted(&self.socket)));
        let child = Command::new("/bin/sh")
            .args(["-c", &command])
            // Open as long as it runs: some end when there is nothing more to read.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let child = self.child.insert(child);
        let begin = Clock::start();
        // Looked at, and not connected to: some serve one connection only.
        while !self.socket.exists() {
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("the back-end ended before it listened: {status}")));
            }
            if begin.elapsed() > LISTENS {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the back-end does not listen at {}", self.socket.display()),
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // Some listen before they serve. One that serves a single front-end is not asked: that would be it.
        if !self.single {
            let begin = Clock::start();
            while let Err(error) = self.connected().and_then(|stream| answers(stream, LISTENS)) {
                if begin.elapsed() > LISTENS {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    /// Ends the child, after it had the chance to end by itself if it serves a single front-end.
    fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let begin = Clock::start();
        let patience = if self.single && self.used { ENDS } else { Duration::ZERO };
        let status = loop {
            match child.try_wait() {
                Ok(None) if begin.elapsed() < patience => std::thread::sleep(Duration::from_millis(2)),
                other => break other.ok().flatten(),
            }
        };
        // One that we kill was not killed by what it was asked.
        self.death = self.death.take().or_else(|| killed(status?));
        let _ = child.kill();
        let _ = child.wait();
        self.used = false;
    }

    fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn connected(&mut self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.socket)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.socket.display())))?;
        self.pid =
            socket_peercred(&stream).ok().and_then(|it| u32::try_from(it.pid.as_raw_nonzero().get()).ok());
        Ok(stream)
    }
}

/// Whether whoever took a connection answers.
fn answers(stream: UnixStream, time: Duration) -> io::Result<()> {
    let mut front = FrontEnd::new(stream, time)?;
    front.call(&Request::GetFeatures, &[]).map(drop).map_err(io::Error::other)
}

/// As one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

impl Drop for Target {
    fn drop(&mut self) {
        self.end();
    }
}

impl Backend for Target {
    fn connect(&mut self) -> io::Result<UnixStream> {
        let ended = match &mut self.child {
            Some(child) => child.try_wait()?.is_some(),
            None => false,
        };
        // One that served its front-end and ended in order is started for the next.
        if (ended || self.single && self.used) && self.command.is_some() {
            self.start()?;
        }
        self.used = true;
        let begin = Clock::start();
        loop {
            match self.connected() {
                // A path is there a little before somebody listens at it, and some make it anew for each front-end.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
                        && self.runs()
                        && begin.elapsed() < LISTENS =>
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                other => return other,
            }
        }
    }

    fn death(&mut self) -> Option<String> {
        let now = self.child.as_mut().and_then(|child| child.try_wait().ok()?).and_then(killed);
        self.death.take().or(now)
    }

    fn revive(&mut self) -> bool {
        self.command.is_some() && self.start().is_ok()
    }

    fn resources(&mut self) -> Option<Resources> {
        let of = PathBuf::from(format!("/proc/{}", self.pid?));
        let descriptors = fs::read_dir(of.join("fd")).ok()?.count();
        let mappings = fs::read_to_string(of.join("maps")).ok()?.lines().count();
        Some(Resources { descriptors, mappings })
    }
}
