//! The test server: every front-end gets a device.

use crate::Failure;
use crate::socket::{Place, Source, listen};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use vhost_user::ProtocolFeatures;
use vhost_user::backend::{self, Device, ServeError};
use vhost_user::check::Kind;
use vhost_user::check::faults::{self, Faulty};
use vhost_user::devices::{
    Balloon, Console, DirectDisk, Disk, Entropy, InMemory, Loopback, Network, Null, OnFile, Tap, WithMore,
};
use vhost_user::socket::{Canceller, SocketError, connect};
use vhost_user::with_causes;

/// What is served, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Serve {
    /// The type of the device: net gives every frame back or has a tap, blk is a disk, console writes to standard error, rng, balloon.
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "print_capabilities")]
    pub(crate) kind: Option<Kind>,
    /// Where to listen. The socket is made for the user alone.
    #[arg(
        long = "socket",
        alias = "socket-path",
        value_name = "PATH",
        required_unless_present_any = ["print_capabilities", "fd", "connect"]
    )]
    pub(crate) socket: Option<PathBuf>,
    /// In place of listening: connect to the front-end that listens here, as QEMU does with `server=on`, and again whenever it has left, until
    /// it is stopped.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["socket", "fd"])]
    connect: Option<PathBuf>,
    /// In place of a path: this descriptor, which the program was started with. A socket that listens is served as a path is; of one that is
    /// connected the front-end is served, and the program ends when it leaves.
    #[arg(long, value_name = "NUMBER", conflicts_with = "socket", value_parser = clap::value_parser!(i32).range(3..))]
    pub(crate) fd: Option<i32>,
    /// blk: queues, 1 unless told otherwise.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    queues: Option<u16>,
    /// blk: the disk is this file, or block device, for one front-end at a time: others wait, and no other server takes it.
    #[arg(long, value_name = "FILE", conflicts_with = "null")]
    file: Option<PathBuf>,
    /// blk: the file is read and written around the page cache, all requests at once by io_uring. For what a disk is behind.
    #[arg(long, requires = "file")]
    direct: bool,
    /// blk: reads give what was there, writes are forgotten: what is left is the cost of everything else.
    #[arg(long)]
    null: bool,
    /// blk: MiB of a disk without a file, 64 unless told otherwise; in memory, and another for each front-end.
    #[arg(long, value_name = "MIB", conflicts_with = "file", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    size: Option<u32>,
    /// net: frames go to this tap and come from it, one front-end at a time; it is made if there is none, and needs an address and `up`.
    #[arg(long, value_name = "INTERFACE")]
    tap: Option<String>,
    /// net: pairs of queues, 4 unless told otherwise. A tap has one.
    #[arg(long, conflicts_with = "tap", value_parser = clap::value_parser!(u16).range(1..=64))]
    pairs: Option<u16>,
    /// Offer this protocol feature too, and use it: DEVICE_STATE, SHMEM, SHARED_OBJECT, HOST_NOTIFIER, or PAGEFAULT, which is postcopy and leaves no
    /// memory slots. May be repeated.
    #[arg(long = "feature", value_name = "FEATURE", conflicts_with = "fault", value_parser = feature)]
    features: Vec<ProtocolFeatures>,
    /// Be wrong on purpose, in what one check finds and no other does: the name of the check. Who dies of it exits by SIGABRT.
    #[arg(long, value_name = "CHECK")]
    fault: Option<String>,
    /// Microseconds for which a ring is looked at before sleeping, at most, and not while requests are rarer; 0: never. 32 unless told
    /// otherwise.
    #[arg(long, value_name = "MICROSECONDS", conflicts_with = "fault", value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    poll_us: Option<u64>,
    /// Say how each session ended that did not end in order, which is what front-ends under test make of it.
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Print what this program can do, as the conventions for back-end programs have it, and end.
    #[arg(long)]
    print_capabilities: bool,
}

const MIB_SECTORS: u64 = 2048;

/// What can be offered beside what devices have.
const MORE: ProtocolFeatures = ProtocolFeatures::DEVICE_STATE
    .union(ProtocolFeatures::SHMEM)
    .union(ProtocolFeatures::SHARED_OBJECT)
    .union(ProtocolFeatures::HOST_NOTIFIER)
    .union(ProtocolFeatures::PAGEFAULT);

fn feature(name: &str) -> Result<ProtocolFeatures, String> {
    let found = ProtocolFeatures::from_name(name).filter(|feature| MORE.contains(*feature));
    let names: Vec<_> = MORE.iter_names().map(|(name, _)| name).collect();
    found.ok_or_else(|| format!("it is none of {}", names.join(", ")))
}

/// Of a network that gives frames back.
const PAIRS: u16 = 4;

/// Of the guest's card.
const ADDRESS: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];

impl Serve {
    /// What is served, and where.
    pub(crate) fn where_and_what(&self) -> Result<(Kind, &PathBuf), Failure> {
        let Some(socket) = self.socket.as_ref() else {
            return Err(Failure::Misused(
                "--socket is missing; --fd and --connect are for `serve`".to_owned(),
            ));
        };
        Ok((self.what()?, socket))
    }

    /// What is served.
    pub(crate) fn what(&self) -> Result<Kind, Failure> {
        let kind = self.kind.ok_or_else(|| Failure::Misused("--type is missing".to_owned()))?;
        if kind == Kind::Fs {
            return Err(Failure::Misused("file systems are checked, and not served".to_owned()));
        }
        if kind != Kind::Blk
            && let Some(option) = self.of_disks()
        {
            return Err(Failure::Misused(format!("{option} is for disks, and means nothing to a {kind}")));
        }
        if kind != Kind::Net
            && let Some(option) = self.of_networks()
        {
            return Err(Failure::Misused(format!("{option} is for networks, and means nothing to a {kind}")));
        }
        Ok(kind)
    }

    /// What it is to be wrong in.
    fn faulty(&self, kind: Kind) -> Result<Option<Arc<Faulty>>, Failure> {
        let Some(check) = &self.fault else { return Ok(None) };
        let list = format!("`vhost-user-check list --type {kind} --destructive` has all of them");
        let unknown =
            || Failure::Misused(format!("--fault {check}: no check of a {kind} is called so; {list}"));
        Faulty::new(check, kind).map(Some).ok_or_else(unknown)
    }

    /// Opens what the device is made of, so that what is wrong with it is said now, and not to the first front-end; gives what all have in
    /// common.
    pub(crate) fn opened(&self) -> Result<Common, Failure> {
        let mut common = Common::default();
        if let Some(file) = &self.file {
            let wrong = |error: io::Error| {
                Failure::Misused(format!("{}, which is read and written: {error}", file.display()))
            };
            let opened = File::options().read(true).write(true).open(file).map_err(wrong)?;
            common.lock = Some(locked(&opened).map_err(wrong)?);
            if self.direct {
                let wrong = |error: io::Error| {
                    Failure::Misused(format!(
                        "{} around the page cache: {error}; without --direct it is served through it",
                        file.display()
                    ))
                };
                DirectDisk::new(opened, 1).map_err(wrong)?;
            } else {
                OnFile::new(opened).map_err(wrong)?;
            }
        }
        if let Some(name) = &self.tap {
            let wrong = |error: io::Error| Failure::Misused(format!("the tap {name}: {error}"));
            Tap::open(name).map_err(wrong)?;
        }
        Ok(common)
    }

    /// Whether it is to be wrong.
    pub(crate) const fn is_faulty(&self) -> bool {
        self.fault.is_some()
    }

    /// An option that only networks have, if one was given.
    fn of_networks(&self) -> Option<&'static str> {
        given(&[(self.tap.is_some(), "--tap"), (self.pairs.is_some(), "--pairs")])
    }

    /// The same of disks.
    fn of_disks(&self) -> Option<&'static str> {
        given(&[
            (self.queues.is_some(), "--queues"),
            (self.file.is_some(), "--file"),
            (self.direct, "--direct"),
            (self.null, "--null"),
            (self.size.is_some(), "--size"),
        ])
    }
}

fn given(options: &[(bool, &'static str)]) -> Option<&'static str> {
    options.iter().find(|(is_given, _)| *is_given).map(|(_, option)| *option)
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve(arguments: &Serve) -> Result<ExitCode, Failure> {
    if arguments.print_capabilities {
        let kind = arguments
            .kind
            .map_or_else(|| "block".to_owned(), |kind| kind.to_string().replace("blk", "block"));
        writeln!(io::stdout(), "{}", serde_json::json!({ "type": kind, "features": [] }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let kind = arguments.what()?;
    // Before anything else has a descriptor of this number.
    let given = arguments.fd.map(|number| {
        Source::inherited(number).map_err(|error| Failure::Misused(format!("--fd {number}: {error}")))
    });
    let given = given.transpose()?;
    let common = arguments.opened()?;
    let faulty = arguments.faulty(kind)?;
    let signals = Signals::new()?;
    let source = match (given, &arguments.connect, &arguments.socket) {
        (Some(source), ..) => source,
        (None, Some(path), _) => Source::Listening(path.clone()),
        (None, None, Some(socket)) => {
            Source::Listener(listen(socket).map_err(|error| Failure::Misused(error.to_string()))?)
        }
        (None, None, None) => return Err(Failure::Misused("--socket is missing".to_owned())),
    };
    let path = arguments.connect.as_ref().or(arguments.socket.as_ref());
    let place = path.map_or_else(|| "its descriptor".to_owned(), |it| it.display().to_string());
    writeln!(io::stdout(), "serving {kind} at {place}")?;
    let canceller = Canceller::new()?;
    let cancelled = canceller.clone();
    std::thread::spawn(move || {
        let again = signals.wait();
        cancelled.cancel();
        // A device may be in the middle of something long; who asks twice does not want to wait for it.
        again.wait();
        std::process::exit(130);
    });
    let server = Server { kind, arguments, common: &common, faulty: faulty.as_ref(), canceller: &canceller };
    match source {
        Source::Listener(place) => server.accept(place),
        Source::Listening(path) => server.connect(&path)?,
        Source::Connected(stream) => {
            let wrong = faulty.as_ref().map(Faulty::session);
            session(kind, arguments, &common, wrong, stream, &canceller)
                .map_err(|ended| Failure::Other(ended.to_string()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What all front-ends of a server have in common: a disk has one of them at a time, since none knows what another writes.
#[derive(Default)]
pub(crate) struct Common {
    /// The file, locked for as long as it is open.
    lock: Option<File>,
    /// Whose turn it is; a disk around the page cache stays from one to the next, since what one left under way is over before another's begins.
    turn: Mutex<Option<DirectDisk>>,
}

impl Common {
    /// Waits until nobody else has the device. All who have it end when the server is to, and so do those who wait.
    fn turn(&self, waits: impl FnOnce()) -> Option<MutexGuard<'_, Option<DirectDisk>>> {
        self.lock.as_ref()?;
        Some(match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                waits();
                self.turn.lock().unwrap_or_else(PoisonError::into_inner)
            }
        })
    }
}

/// Keeps other servers from a file. Where its file system has no locks there is none.
fn locked(file: &File) -> io::Result<File> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            let text = "another program has locked it, such as another server of it; end that first";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
        }
        // The same open file: it is locked until both are closed.
        _ => file.try_clone(),
    }
}

/// SIGTERM and SIGINT, which do nothing else from when this is made.
pub(crate) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let context = runtime.enter();
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        drop(context);
        Ok(Self { runtime, terminate, interrupt })
    }

    /// Waits for one, and gives who waits for the next.
    pub(crate) fn wait(mut self) -> Self {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
        });
        self
    }
}

/// What serves front-ends, each with a device of its own.
struct Server<'s> {
    kind: Kind,
    arguments: &'s Serve,
    common: &'s Common,
    faulty: Option<&'s Arc<Faulty>>,
    canceller: &'s Canceller,
}

/// How long a front-end that does not listen is left alone.
const AGAIN: Duration = Duration::from_millis(100);

/// How long one that has left is: it may listen and take nobody for longer than a moment, again and again.
const NEXT: Duration = Duration::from_millis(10);

impl Server<'_> {
    /// Takes front-ends until it is cancelled, and ends when all of them have.
    fn accept(&self, place: Place) {
        let count = AtomicU64::new(0);
        std::thread::scope(|scope| {
            while let Some(stream) = place.accepted(self.canceller) {
                let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                let wrong = self.faulty.map(Faulty::session);
                let serves = move || self.session(number, wrong, stream);
                // Without a thread its connection is closed, and the others go on.
                if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, serves) {
                    say(&format!("front-end {number}: {error}"));
                }
            }
            // Nobody is to find it while sessions end.
            drop(place);
        });
    }

    /// Serves the front-end that listens there, and again whenever it has left, until it is cancelled.
    fn connect(&self, path: &Path) -> Result<(), Failure> {
        let mut number = 0;
        while !self.canceller.is_cancelled() {
            let pause = match connect(path, AGAIN, self.canceller) {
                Ok(stream) => {
                    number += 1;
                    self.session(number, self.faulty.map(Faulty::session), stream);
                    NEXT
                }
                Err(error) if comes_yet(path, &error) => AGAIN,
                Err(error) => {
                    return Err(Failure::Other(format!("{}: {}", path.display(), with_causes(&error))));
                }
            };
            let pause = Timespec::try_from(pause).map_err(|error| Failure::Other(error.to_string()))?;
            let _ = poll(&mut [PollFd::new(self.canceller, PollFlags::IN)], Some(&pause));
        }
        Ok(())
    }

    /// Serves one to its end, and says how it ended.
    fn session(&self, number: u64, wrong: Option<faults::Session>, stream: UnixStream) {
        match session(self.kind, self.arguments, self.common, wrong, stream, self.canceller) {
            Err(Ended::FrontEnd(_)) if !self.arguments.verbose => {}
            Err(ended) => say(&format!("front-end {number}: {ended}")),
            Ok(()) => {}
        }
        if self.faulty.is_some_and(|faulty| faulty.has_died()) {
            say("dies, as it was told to");
            std::process::abort();
        }
    }
}

/// Whether somebody may listen there yet who cannot be connected to now; that we are to end is no error either.
fn comes_yet(path: &Path, error: &SocketError) -> bool {
    match error {
        SocketError::TimedOut | SocketError::Cancelled => true,
        SocketError::Io(error) => match error.kind() {
            // Nobody makes a directory to listen in it.
            io::ErrorKind::NotFound => {
                let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
                directory.is_none_or(Path::is_dir)
            }
            // A file that is no socket says the same.
            io::ErrorKind::ConnectionRefused => {
                !fs::symlink_metadata(path).is_ok_and(|it| it.is_file() || it.is_dir())
            }
            _ => false,
        },
        _ => false,
    }
}

fn say(text: &str) {
    // Nobody may be left who reads it.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Why a session did not end in order.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// What is served cannot be had any more, or the system has no more of what a session takes.
    #[error("{0}")]
    Ours(String),
    /// The front-end did what it may not, or went away in the middle of something.
    #[error("{0}")]
    FrontEnd(String),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Ours(error.to_string())
    }
}

/// Serves one front-end with a device of its own, wrong in what it is to be wrong in.
pub(crate) fn session(
    kind: Kind,
    arguments: &Serve,
    common: &Common,
    wrong: Option<faults::Session>,
    stream: UnixStream,
    canceller: &Canceller,
) -> Result<(), Ended> {
    let mut turn = common.turn(|| say("a front-end waits until another has left the disk's file"));
    let more = arguments.features.iter().copied().collect();
    let how = How { wrong, more, looks: arguments.poll_us.map(Duration::from_micros), canceller };
    let sectors = u64::from(arguments.size.unwrap_or(64)) * MIB_SECTORS;
    let queues = arguments.queues.unwrap_or(1);
    match (kind, &arguments.file) {
        (Kind::Blk, Some(path)) => {
            let file = File::options().read(true).write(true).open(path)?;
            if arguments.direct {
                // Every file is locked, and has its turns.
                let stays = turn.as_deref_mut().and_then(Option::take);
                let mut disk = stays.map_or_else(|| DirectDisk::new(file, queues), Ok)?;
                let ended = run(&mut disk, stream, how);
                if let Some(turn) = turn.as_deref_mut() {
                    *turn = Some(disk);
                }
                ended
            } else {
                run(&mut Disk::new(OnFile::new(file)?, queues), stream, how)
            }
        }
        (Kind::Blk, None) if arguments.null => run(&mut Disk::new(Null { sectors }, queues), stream, how),
        (Kind::Blk, None) => {
            let sectors = u32::try_from(sectors).map_err(io::Error::other)?;
            run(&mut Disk::new(InMemory::new(sectors), queues), stream, how)
        }
        (Kind::Net, _) => match &arguments.tap {
            Some(name) => {
                let tap = Tap::open(name).map_err(|error| Ended::Ours(format!("the tap {name}: {error}")))?;
                run(&mut Network::new(tap, ADDRESS), stream, how)
            }
            None => {
                let ports = (0..arguments.pairs.unwrap_or(PAIRS)).map(|_| Loopback::default());
                run(&mut Network::with_pairs(ports, ADDRESS), stream, how)
            }
        },
        (Kind::Rng, _) => run(&mut Entropy::new(File::open("/dev/urandom")?), stream, how),
        (Kind::Console, _) => {
            let (input, _keep) = rustix::pipe::pipe().map_err(io::Error::from)?;
            // Opened anew: the one that we have is shared with whoever started us, who did not ask for a descriptor that does not wait.
            let output = File::options().append(true).open("/proc/self/fd/2")?;
            run(&mut Console::new(input, output.into(), 80, 25)?, stream, how)
        }
        (Kind::Balloon, _) => run(&mut Balloon::new()?, stream, how),
        (Kind::Fs, _) => Err(Ended::Ours("file systems are not served".to_owned())),
    }
}

/// How a session is served.
struct How<'s> {
    /// Wrong in what it is to be wrong in.
    wrong: Option<faults::Session>,
    /// With more than its type has.
    more: ProtocolFeatures,
    /// For how long rings are looked at, if somebody said it.
    looks: Option<Duration>,
    canceller: &'s Canceller,
}

fn run<D: Device>(device: &mut D, stream: UnixStream, how: How<'_>) -> Result<(), Ended> {
    let How { wrong, more, looks, canceller } = how;
    if let Some(wrong) = wrong {
        return Ok(wrong.serve(device, stream, canceller)?);
    }
    let ended = if more.is_empty() {
        served(device, stream, looks, canceller)
    } else {
        let mut device = WithMore::new(device, more)?;
        served(&mut device, stream, looks, canceller)
    };
    ended.or_else(whose)
}

/// Who ended a session; that of who was to end is in order.
fn whose(error: ServeError) -> Result<(), Ended> {
    let text = with_causes(&error);
    match error {
        ServeError::Socket(SocketError::Cancelled) => Ok(()),
        ServeError::Io(_) | ServeError::Socket(SocketError::Io(_)) => Err(Ended::Ours(text)),
        _ => Err(Ended::FrontEnd(text)),
    }
}

fn served<D: Device>(
    device: &mut D,
    stream: UnixStream,
    looks: Option<Duration>,
    canceller: &Canceller,
) -> Result<(), ServeError> {
    match looks {
        Some(most) => backend::serve_polling(device, stream, canceller, most),
        None => backend::serve(device, stream, canceller),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vhost_user::wire::HeaderError;

    /// Front-ends under test are not blamed for descriptors that run out.
    #[test]
    fn what_the_system_refuses_is_no_front_ends_doing() {
        let of_system = || io::Error::from(Errno::MFILE);
        for error in [ServeError::Io(of_system()), ServeError::Socket(SocketError::Io(of_system()))] {
            assert!(matches!(whose(error), Err(Ended::Ours(why)) if why.contains("Too many open files")));
        }
        for error in [
            ServeError::Socket(SocketError::Closed),
            ServeError::Socket(SocketError::TimedOut),
            ServeError::Header(HeaderError::Descriptors { count: 9 }),
        ] {
            assert!(matches!(whose(error), Err(Ended::FrontEnd(_))));
        }
        assert!(whose(ServeError::Socket(SocketError::Cancelled)).is_ok());
    }
}
