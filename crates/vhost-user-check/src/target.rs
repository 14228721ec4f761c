//! The back-end that is asked: a socket, and perhaps a command that serves it.

use crate::serve::Signals;
use crate::socket::{Alone, LOCKED, Place, listen_alone, make_room};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, SystemTime};
use vhost_user::check::{Backend, Resources};
use vhost_user::clock::monotonic;
use vhost_user::front::Request;
use vhost_user::frontend::FrontEnd;
use vhost_user::socket::{Canceller, SocketError, connect};

/// How long a back-end that was started may take until it listens.
const LISTENS: Duration = Duration::from_secs(10);

/// How long a back-end that serves one front-end may take to end when that has left.
const ENDS: Duration = Duration::from_millis(500);

/// How long a back-end that was there may take until it listens again.
const AWAY: Duration = Duration::from_secs(1);

/// How long is looked whether a back-end listens anew for each front-end, once.
const LEARNS: Duration = Duration::from_millis(200);

/// How long is waited for a back-end that connects before its process is looked at again.
const LOOK: Duration = Duration::from_millis(50);

/// The process group of the back-end that was started, and its socket if it has one: what a signal to us must end. Held while one is started, so
/// that none is that nobody knows.
static GROUP: Mutex<Option<Started>> = Mutex::new(None);

/// Where we listen ourselves, which a signal to us must end too.
static PLACE: Mutex<Option<Arc<Place>>> = Mutex::new(None);

struct Started(Pid, Option<PathBuf>);

fn group() -> MutexGuard<'static, Option<Started>> {
    GROUP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends it, and takes its socket away, which was not there before: who is killed leaves it.
fn end_group(group: &mut Option<Started>) {
    let Some(Started(group, socket)) = group.take() else { return };
    // It may have ended by itself.
    let _ = kill_process_group(group, Signal::KILL);
    let Some(socket) = socket else { return };
    let begin = Clock::start();
    // Somebody of the group may end a moment later; who has left the group goes on, with his socket.
    // Whoever is to end does not wait for who has the directory for long.
    while make_room(&socket, ENDS.saturating_sub(begin.elapsed())).is_err() && begin.elapsed() < ENDS {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// From now on whoever ends us ends the back-end too.
fn end_with_us() -> io::Result<()> {
    static ONCE: Once = Once::new();
    if ONCE.is_completed() {
        return Ok(());
    }
    let signals = Signals::new()?;
    ONCE.call_once(|| {
        std::thread::spawn(|| {
            signals.wait();
            // Held to the end: nothing is started any more.
            let mut group = group();
            end_group(&mut group);
            if let Some(place) = &*PLACE.lock().unwrap_or_else(PoisonError::into_inner) {
                place.leave();
            }
            std::process::exit(130);
        });
    });
    Ok(())
}

/// Time since a beginning.
pub(crate) struct Clock(Duration);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(monotonic())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        monotonic().saturating_sub(self.0)
    }
}

/// A back-end at a socket.
pub(crate) struct Target {
    socket: PathBuf,
    /// We listen there, and it connects.
    place: Option<Arc<Place>>,
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
    /// A front-end has reached this child, so that it does not have to come up first.
    reached: bool,
    /// The socket of the last connection. Some make another for each front-end, and turn away whoever comes before that.
    last: Option<Which>,
    /// Whether it is known to do so.
    anew: Option<bool>,
    /// How long one that is up may be away: some listen anew for each front-end. One that was never there is not waited for.
    away: Duration,
}

impl Target {
    /// One that connects to us, started where a command says how.
    pub(crate) fn that_connects(socket: &Path, command: Option<&str>) -> io::Result<Self> {
        end_with_us()?;
        let alone = Alone::in_directory_of(socket, LOCKED)?;
        // Held while it is made, so that none is that nobody knows.
        let mut ours = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = Arc::new(listen_alone(socket, &alone)?);
        *ours = Some(Arc::clone(&place));
        drop((ours, alone));
        Self::begun(socket, Some(place), command, false)
    }

    /// Starts it, where a command says how.
    pub(crate) fn new(socket: &Path, command: Option<&str>, single: bool) -> io::Result<Self> {
        Self::begun(socket, None, command, single)
    }

    fn begun(
        socket: &Path,
        place: Option<Arc<Place>>,
        command: Option<&str>,
        single: bool,
    ) -> io::Result<Self> {
        let mut target = Self {
            socket: socket.to_owned(),
            place,
            command: command.map(str::to_owned),
            single,
            child: None,
            used: false,
            death: None,
            pid: None,
            reached: false,
            last: None,
            anew: None,
            away: Duration::ZERO,
        };
        if target.command.is_some() {
            target.start()?;
        }
        Ok(target)
    }

    fn start(&mut self) -> io::Result<()> {
        let Some(command) = self.command.clone() else { return Ok(()) };
        self.end();
        let its_socket = self.place.is_none().then(|| self.socket.clone());
        if let Some(socket) = &its_socket {
            make_room(socket, LOCKED)?;
        }
        if let Some(place) = &self.place {
            // Of one that has ended: the next is not to be taken for it.
            while place.within(Duration::ZERO)?.is_some() {}
        }
        let command = command.replace("{socket}", &quoted(&self.socket));
        end_with_us()?;
        let mut started = group();
        let child = Command::new("/bin/sh")
            .args(["-c", &command])
            // Open as long as it runs: some end when there is nothing more to read.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // What a shell starts is ended with it.
            .process_group(0)
            .spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        *started = pid.map(|pid| Started(pid, its_socket));
        drop(started);
        let child = self.child.insert(child);
        (self.reached, self.last) = (false, None);
        if self.place.is_some() {
            return Ok(());
        }
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
        if self.single && self.used {
            has_ended(&child, ENDS);
        }
        let status = child.try_wait().ok().flatten();
        // One that we kill was not killed by what it was asked.
        self.death = self.death.take().or_else(|| self.killed(status?));
        end_group(&mut group());
        let _ = child.wait();
        self.used = false;
    }

    /// How a process ended that should not have; `None`: it may have. One that serves a single front-end may end as it likes, but for a
    /// signal or a panic.
    fn killed(&self, status: ExitStatus) -> Option<String> {
        // A shell says 128 and the signal; a panic of Rust's is 101.
        let crashed =
            status.signal().is_some() || status.code().is_some_and(|code| code >= 128 || code == 101);
        let hint = if status.success() { "; --single is for one that ends with each front-end" } else { "" };
        (crashed || !self.single).then(|| format!("the back-end ended: {status}{hint}"))
    }

    fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// How long it may take until it listens.
    fn patience(&mut self) -> Duration {
        match () {
            () if self.has_ended() => Duration::ZERO,
            () if !self.reached && self.runs() => LISTENS,
            () => self.away,
        }
    }

    /// Nobody is to be waited for.
    fn has_ended(&mut self) -> bool {
        self.child.is_some() && !self.runs()
    }

    /// Where it makes a socket for each front-end, that of the last is not connected to again.
    fn wait_for_another(&mut self) {
        if self.last.is_none() {
            return;
        }
        let patience = match self.anew {
            None => LEARNS,
            Some(true) => AWAY,
            Some(false) => Duration::ZERO,
        };
        let begin = Clock::start();
        let (socket, last) = (self.socket.clone(), self.last);
        let other = || Which::at(&socket).is_some_and(|which| Some(which) != last);
        let mut is_another = other();
        while !is_another && begin.elapsed() < patience && !self.has_ended() {
            std::thread::sleep(Duration::from_millis(2));
            is_another = other();
        }
        // One that was slow may be found out later, and one that was only started again is not waited for each time.
        self.anew = Some(is_another);
    }

    /// Its next connection to us.
    fn came(&mut self, place: &Place) -> io::Result<UnixStream> {
        let begin = Clock::start();
        loop {
            if let Some(stream) = place.within(LOOK)? {
                return Ok(stream);
            }
            let socket = self.socket.display().to_string();
            let named = |kind, text: &str| io::Error::new(kind, format!("{socket}: {text}"));
            if self.has_ended() {
                return Err(named(io::ErrorKind::NotConnected, "the back-end ended, and did not connect"));
            }
            if begin.elapsed() > LISTENS {
                return Err(named(io::ErrorKind::TimedOut, "no back-end connects to it"));
            }
        }
    }

    fn connected(&mut self) -> io::Result<UnixStream> {
        let stream = match self.place.clone() {
            Some(place) => self.came(&place)?,
            None => {
                self.wait_for_another();
                let which = Which::at(&self.socket);
                let stream = connected(&self.socket)?;
                if !is_whose(which, Which::at(&self.socket), &stream) {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                self.last = which;
                stream
            }
        };
        (self.reached, self.away) = (true, AWAY);
        self.pid =
            socket_peercred(&stream).ok().and_then(|it| u32::try_from(it.pid.as_raw_nonzero().get()).ok());
        Ok(stream)
    }
}

/// What tells a socket from another at the same path: its device and inode, which another may have after it, and when it was made. Not when it
/// was changed: it stays the same with another mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Which(u64, u64, Option<SystemTime>);

impl Which {
    fn at(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok()?;
        Some(Self(found.dev(), found.ino(), found.created().ok()))
    }
}

/// Whether a connection is known to be to the socket that was there before it: not if another is there behind it, since whose it is nobody knows
/// then. Some take their socket away as soon as they have somebody, who goes on unless he was left with it.
fn is_whose(before: Option<Which>, behind: Option<Which>, stream: &UnixStream) -> bool {
    if behind.is_some() {
        return behind == before;
    }
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // Nothing but a hang-up is asked for.
    before.is_some() && poll(&mut [PollFd::new(stream, PollFlags::empty())], Some(&now)) == Ok(0)
}

/// Waits until a child has ended, so long at most.
fn has_ended(child: &Child, time: Duration) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let Some(descriptor) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return };
    if let Ok(time) = Timespec::try_from(time) {
        let _ = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&time));
    }
}

/// A connection to who listens at a path; who has too many waiting is not waited for for ever.
pub(crate) fn connected(path: &Path) -> io::Result<UnixStream> {
    let named =
        |kind, error: &dyn std::fmt::Display| io::Error::new(kind, format!("{}: {error}", path.display()));
    connect(path, LISTENS, &Canceller::new()?).map_err(|error| match error {
        SocketError::Io(error) => named(error.kind(), &error),
        SocketError::TimedOut => named(io::ErrorKind::TimedOut, &"whoever listens there takes nobody"),
        other => named(io::ErrorKind::Other, &other),
    })
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
        if let Some(place) = &self.place {
            place.leave();
        }
    }
}

impl Backend for Target {
    fn connect(&mut self) -> io::Result<UnixStream> {
        let ended = match &mut self.child {
            Some(child) => child.try_wait()?.is_some(),
            None => false,
        };
        // One that served its front-end and ended in order is started for the next.
        if (ended || self.child.is_none() || self.single && self.used) && self.command.is_some() {
            self.start()?;
        }
        self.used = true;
        let begin = Clock::start();
        loop {
            match self.connected() {
                // A path is there a little before somebody listens at it, and some make it anew for each front-end.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
                        && begin.elapsed() < self.patience() =>
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                other => return other,
            }
        }
    }

    fn is_single(&self) -> bool {
        self.single
    }

    fn connects(&self) -> bool {
        self.place.is_some()
    }

    fn death(&mut self) -> Option<String> {
        // It ends with its front-end, and may still be at it.
        if self.single && self.used {
            self.end();
        }
        let status = self.child.as_mut().and_then(|child| child.try_wait().ok()?);
        let now = status.and_then(|status| self.killed(status));
        self.death.take().or(now)
    }

    fn revive(&mut self) -> bool {
        let starts = self.command.is_some() && self.start().is_ok();
        // How the one before ended is known to whoever had it started again, and is no finding of the next check's.
        self.death = None;
        starts
    }

    fn resources(&mut self) -> Option<Resources> {
        let of = PathBuf::from(format!("/proc/{}", self.pid?));
        let descriptors = fs::read_dir(of.join("fd")).ok()?.count();
        let mappings = fs::read_to_string(of.join("maps")).ok()?.lines().count();
        Some(Resources { descriptors, mappings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    /// One that stays is not waited for: neither when its mode changes, nor for ever after it was started again once.
    #[test]
    fn a_back_end_that_listens_for_long_is_not_taken_for_one_that_listens_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, other) = (directory.path().join("one.sock"), directory.path().join("other.sock"));
        let _first = UnixListener::bind(&socket).unwrap();
        let mut target = Target::new(&socket, None, false).unwrap();
        target.connected().unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
        target.connected().unwrap();
        assert_eq!(target.anew, Some(false), "it is the same");
        let _second = UnixListener::bind(&other).unwrap();
        fs::rename(&other, &socket).unwrap();
        target.connected().unwrap();
        assert_eq!(target.anew, Some(true), "it is another");
        target.connected().unwrap();
        assert_eq!(target.anew, Some(false), "it stays now");
    }

    #[test]
    fn a_back_end_that_is_started_again_is_not_taken_for_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("one.sock");
        let mut target = Target::that_connects(&socket, Some("exec sleep 600")).unwrap();
        let before = UnixStream::connect(&socket).unwrap();
        assert!(target.revive());
        let mut all = [PollFd::new(&before, PollFlags::empty())];
        poll(&mut all, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
        assert!(all[0].revents().contains(PollFlags::HUP), "it waits still");
        assert!(target.place.as_ref().unwrap().within(Duration::ZERO).unwrap().is_none());
    }

    #[test]
    fn a_connection_outlives_the_path_of_its_socket() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (Which::at(directory.path()), Which::at(Path::new("/")));
        let (ours, its) = UnixStream::pair().unwrap();
        for (behind, expected) in [(one, true), (other, false), (None, true)] {
            assert_eq!(is_whose(one, behind, &ours), expected, "{behind:?}");
        }
        drop(its);
        assert!(!is_whose(one, None, &ours), "nobody has it");
    }
}
