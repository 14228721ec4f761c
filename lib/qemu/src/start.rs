//! Starting a machine: sockets first, then the process, then the greeting raced against the process's end.
//!
//! ```text
//!   images looked at --> directory, lock --> sockets, logs, swtpm, QEMU --> record --> greeting --> record of who greeted
//!   '-------------- beside the runtime: a file system that does not answer costs the start, and nobody else --------'
//! ```

use crate::{
    argv::{Descriptors, argv},
    config::{Config, ConfigError, Source},
    confine::Confinement,
    image,
    lock::{self, NotLocked, RunDir, locked, more_than},
    logs::Logs,
    process::{Exit, Guard, Identity, Limits, Spawn},
    record::{CONSOLE_SOCKET, LOCK, QMP_SOCKET, Record},
    socket,
    swtpm::{Companion, Swtpm},
    vm::{self, Supervision, Vm},
};
use qmp::aside::{self, Place, Unanswered, ask, leave, run};
use rustix::fs::{FileType, MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File},
    future::Future,
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, FileExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use thiserror::Error;

/// What to start and how.
#[derive(Debug)]
pub struct StartSpec {
    /// The QEMU program.
    pub binary: PathBuf,
    /// The machine.
    pub config: Config,
    /// Directory of this machine alone, made (mode 0700) if absent; holds sockets, logs, record and lock.
    pub run_dir: PathBuf,
    /// Descriptors that the configuration names by key. Secrets and files of the firmware go to another identity, or into a confinement, as a
    /// copy in memory.
    pub descriptors: BTreeMap<String, OwnedFd>,
    /// Descriptors that the process keeps open and knows nothing of: a lock on one lasts as long as the process.
    pub held: Vec<OwnedFd>,
    /// Who the process is; `None` keeps the caller's identity.
    pub identity: Option<Identity>,
    /// What the process may reach of the file system; `None` for all that its identity may. Where the kernel cannot hold
    /// it to this ([`Confinement::is_available`]), the start fails.
    pub confinement: Option<Confinement>,
    /// Control groups that the process joins before anything else, one for each hierarchy: their `cgroup.procs` (v2) or
    /// `tasks` (v1), opened for writing.
    pub cgroups: Vec<OwnedFd>,
    /// Readiness to be chosen when memory runs out, -1000 to 1000; lowering it needs privileges.
    pub oom_score_adj: Option<i16>,
    /// Limits of the process.
    pub limits: Limits,
    /// Where its logs are.
    pub logs: Logs,
    /// The machine's TPM, where it is not somebody else's process.
    pub swtpm: Option<Swtpm>,
    /// Whether the machine's state comes from elsewhere: [`Vm::migrate_to`], [`Vm::restore`].
    pub incoming: Incoming,
    /// How long QEMU may take to greet, and how long each file system of the host may take to answer before that. A loaded host needs a
    /// multiple of the usual 40 ms.
    pub deadline: Duration,
    /// How the running machine is watched.
    pub supervision: Supervision,
}

impl StartSpec {
    /// A start with the defaults: the caller's identity, 30 s for the greeting.
    #[must_use]
    pub fn new(binary: PathBuf, config: Config, run_dir: PathBuf) -> Self {
        Self {
            binary,
            config,
            run_dir,
            descriptors: BTreeMap::new(),
            held: Vec::new(),
            identity: None,
            confinement: None,
            cgroups: Vec::new(),
            oom_score_adj: None,
            limits: Limits::default(),
            logs: Logs::default(),
            swtpm: None,
            incoming: Incoming::Nothing,
            deadline: Duration::from_secs(30),
            supervision: Supervision::default(),
        }
    }
}

/// Where a machine's state comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Incoming {
    /// It boots.
    #[default]
    Nothing,
    /// It waits for a state and holds its disks without locking them until then.
    State,
}

/// Why a machine could not be started. Nothing of it is left running.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is faulty.
    #[error("the configuration cannot be run")]
    Config(#[from] ConfigError),
    /// A QEMU still runs in this directory, whoever started it.
    #[error("another QEMU still runs in {}; adopt or end it first", run_dir.display())]
    Occupied {
        /// The directory.
        run_dir: PathBuf,
    },
    /// Preparing files or the process failed.
    #[error("cannot {action} {}", path.display())]
    Prepare {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// QEMU ended before it greeted; these are its own words.
    #[error("QEMU ended at start ({exit}): {message}")]
    Ended {
        /// How it ended.
        exit: Exit,
        /// What it wrote to stderr.
        message: String,
    },
    /// The host does not answer for something that the machine needs, such as an image on a server that is gone.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// QEMU is alive and says nothing, or not what QEMU says.
    #[error("QEMU did not greet{}: {message}", after.map(|after| format!(" within {after:?}")).unwrap_or_default())]
    Silent {
        /// The deadline; `None` when the monitor closed or said something else before.
        after: Option<Duration>,
        /// What it wrote to stderr.
        message: String,
        /// What became of the connection to its monitor, unless the deadline passed.
        #[source]
        source: Option<Cause>,
    },
}

/// Why there is no connection.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Starts a machine with its virtual CPUs stopped (run state `prelaunch`); [`Vm::resume`] lets them run.
///
/// The second value supervises the machine and must be polled, usually as a task of its own. Dropping it leaves the
/// machine running without supervision. Dropping the future of this function ends what it started, beside the caller's thread: another start
/// in the same directory waits for that.
///
/// # Errors
/// [`StartError`].
pub async fn start(spec: StartSpec) -> Result<(Vm, impl Future<Output = Exit> + Send + 'static), StartError> {
    // The process has another directory.
    let run_dir = std::path::absolute(&spec.run_dir).map_err(at("find", &spec.run_dir))?;
    let spec = StartSpec { run_dir: run_dir.clone(), binary: program_of(&spec.binary)?, ..spec };
    spec.config.check()?;
    let deadline = spec.deadline;
    let (spec, held) = ask(&run_dir, deadline, |place| {
        let spec = readable_images(spec, place)?;
        place.now(&spec.run_dir);
        let held = taken(&spec.run_dir, 0)?;
        Ok::<_, StartError>((spec, held))
    })
    .await??;
    let held = match held {
        None => {
            let limit = deadline.saturating_add(more_than(LOCK_TRIES));
            let place = run_dir.clone();
            ask(&run_dir.join(LOCK), limit, move |_| taken(&place, LOCK_TRIES)).await??
        }
        held => held,
    };
    let Some(held) = held else { return Err(StartError::Occupied { run_dir }) };
    let held = Arc::new(held);
    let litter = Arc::new(Litter { held: Some(held.clone()), is_wanted: AtomicBool::new(false) });
    let started = begin(spec, held, litter.clone()).await;
    if started.is_ok() {
        litter.is_wanted.store(true, Relaxed);
    } else if let Some(litter) = Arc::into_inner(litter) {
        // Whoever is told of the end may look at the directory. Where the host holds a thread of this start, it is cleared after that.
        drop(run(move || litter.clear()).await);
    }
    started
}

/// From the directory, which is this start's alone, to the greeting.
async fn begin(
    spec: StartSpec,
    held: Arc<RunDir>,
    litter: Arc<Litter>,
) -> Result<(Vm, impl Future<Output = Exit> + Send + 'static), StartError> {
    let (uuid, deadline, supervision) = (spec.config.uuid, spec.deadline, spec.supervision);
    let run_dir = spec.run_dir.clone();
    let logs = spec.logs.within(&run_dir);
    let log_path = logs.qemu.clone();
    let (kept, own, directory) = (litter.clone(), held.clone(), run_dir.clone());
    let Begun { process: guard, tpm, log_start, record, _litter } = ask(&run_dir, deadline, move |place| {
        let prepared = prepare(spec, &own, place)?;
        let (log_start, args, tpm) = (prepared.log_start, prepared.spawn.args.clone(), prepared.tpm);
        let program = prepared.spawn.program.clone();
        place.now(&program);
        let process = prepared.spawn.spawn().map_err(at("start", &program))?;
        place.now(&directory);
        let record = || -> io::Result<Record> {
            let swtpm = tpm.as_ref().map(|tpm| Companion::of(tpm.process().pid())).transpose()?;
            let pid = process.process().pid();
            let record = Record { swtpm, ..Record::of(uuid, pid, &directory, logs, &args)? };
            record.save(&own.here()).map(|()| record)
        };
        // A QEMU that ended at once is a zombie with the facts of its former self; its words are more useful than ours.
        let record = record();
        Ok::<_, StartError>(Begun { process, tpm, log_start, record, _litter: kept })
    })
    .await??;
    let greeted = async {
        let stream = socket::connect(&run_dir.join(QMP_SOCKET)).await.map_err(Cause::from)?;
        vm::greet(stream).await.map_err(Cause::from)
    };
    // Cancel safety: whatever loses is dropped, and the guard ends the process on every way out but the last.
    let connection = tokio::select! {
        connection = tokio::time::timeout(deadline, greeted) => Ok(connection),
        exit = guard.process().exited() => Err(exit),
    };
    let connection = match connection {
        Ok(Ok(Ok(connection))) => connection,
        Ok(Ok(Err(source))) => return Err(failed(guard, None, Some(source), log_path, log_start).await),
        Ok(Err(_)) => return Err(failed(guard, Some(deadline), None, log_path, log_start).await),
        Err(exit) => return Err(ended(exit, log_path, log_start).await),
    };
    let recorded = {
        let (directory, litter) = (run_dir.clone(), litter.clone());
        ask(&run_dir, deadline, move |_| -> io::Result<Record> {
            let _litter = litter;
            let record = record?;
            let greeted = record.greeted()?;
            if greeted != record {
                greeted.save(&held.here())?;
            }
            // Whoever looks for this machine looks at its path.
            if !held.is_at(&directory)? {
                let why = "it was removed or replaced while the machine was being started; start it again";
                return Err(io::Error::new(io::ErrorKind::NotFound, why));
            }
            Ok(greeted)
        })
    };
    let record = recorded.await?.map_err(at("record the process in", &run_dir))?;
    let tpm = tpm.map_or(vm::Tpm::None, |tpm| vm::Tpm::Runs(tpm.release()));
    Ok(vm::supervised(connection, Arc::new(guard.release()), tpm, record, supervision))
}

/// A process that was started. Where nobody waits for it any more it ends first, and then what it left in its directory is removed.
struct Begun {
    process: Guard,
    tpm: Option<Guard>,
    log_start: u64,
    record: io::Result<Record>,
    _litter: Arc<Litter>,
}

/// Looks at every image: whether it can be had, so that it is not QEMU that hangs there, and what its header names.
fn readable_images(spec: StartSpec, place: &Place) -> Result<StartSpec, StartError> {
    for disk in &spec.config.disks {
        let Some(image) = &disk.image else { continue };
        image::check_names(&disk.id, image, |source| readable(source, &spec.descriptors, place))?;
    }
    Ok(spec)
}

/// What a source is read from before QEMU has it.
pub(crate) fn readable(
    source: &Source,
    descriptors: &BTreeMap<String, OwnedFd>,
    place: &Place,
) -> Option<File> {
    match source {
        Source::Path(path) | Source::HostDevice(path) => {
            place.now(path);
            image::opened(path)
        }
        Source::Descriptor(key) => {
            place.now(format!("the descriptor {key}").as_ref());
            descriptors.get(key)?.try_clone().ok().map(File::from)
        }
        Source::Nbd { .. } | Source::Null { .. } => None,
    }
}

struct Prepared {
    spawn: Spawn,
    /// Length of the log before: what follows is of this start.
    log_start: u64,
    /// The machine's TPM, which runs already.
    tpm: Option<Guard>,
}

fn prepare(spec: StartSpec, held: &RunDir, place: &Place) -> Result<Prepared, StartError> {
    let StartSpec {
        binary,
        config,
        run_dir,
        mut descriptors,
        held: kept,
        identity,
        confinement,
        cgroups,
        oom_score_adj,
        limits,
        logs,
        swtpm,
        incoming,
        ..
    } = spec;
    // Where another directory has the path of this one meanwhile, nothing is made in that.
    let here = held.here();
    logs.link(&run_dir, &here).map_err(at("link logs in", &run_dir))?;
    let (named, logs) = (logs.within(&run_dir), logs.within(&here));
    let listen = |name| socket::listen(&here.join(name)).map_err(at("listen at", &run_dir.join(name)));
    let (qmp, console) = (listen(QMP_SOCKET)?, listen(CONSOLE_SOCKET)?);
    let open_log = |path: &Path, named: &Path| {
        place.now(named);
        socket::open_log(path).map_err(at("open", named))
    };
    let console_log = open_log(&logs.console, &named.console)?;
    let log = open_log(&logs.qemu, &named.qemu)?;
    let log_start = log.metadata().map_err(at("inspect", &run_dir))?.len();
    let mut tpm = None;
    if let Some(swtpm) = swtpm {
        let key = Swtpm::key(&config)?.to_owned();
        let program = &swtpm.program;
        place.now(&swtpm.state);
        let own = |fd: &OwnedFd| fd.try_clone().map_err(at("start", program));
        let (log, cgroups) =
            (open_log(&logs.qemu, &named.qemu)?, cgroups.iter().map(own).collect::<Result<_, _>>()?);
        let started = swtpm.start(log, identity.clone(), cgroups, limits).map_err(at("start", program));
        let (guard, end) = started?;
        descriptors.insert(key, end);
        tpm = Some(guard);
    }
    if identity.is_some() || confinement.is_some() {
        for key in config.opened_anew() {
            let Some(descriptor) = descriptors.get_mut(key) else { continue };
            place.now(format!("the descriptor {key}").as_ref());
            *descriptor = in_memory(key, descriptor)?;
        }
    }
    let numbers = Descriptors {
        qmp: qmp.as_raw_fd(),
        console: console.as_raw_fd(),
        console_log: console_log.as_raw_fd(),
        keyed: descriptors.iter().map(|(key, fd)| (key.clone(), fd.as_raw_fd())).collect(),
    };
    let mut args = argv(&config, &numbers)?;
    if incoming == Incoming::State {
        args.extend(["-incoming".into(), "defer".into()]);
    }
    let lock = held.lock().map_err(at("lock", &run_dir))?;
    let mut inherited: Vec<OwnedFd> = vec![qmp.into(), console.into(), console_log.into(), lock.into()];
    inherited.extend(descriptors.into_values());
    inherited.extend(kept);
    Ok(Prepared {
        spawn: Spawn {
            program: binary,
            args,
            inherited,
            log,
            identity,
            confinement,
            cgroups,
            oom_score_adj,
            limits,
        },
        log_start,
        tpm,
    })
}

/// A copy that whoever has it may open anew, which QEMU does by its number (`/proc/self/fd`): a file of the caller's is not to be opened by
/// another user, nor by a process that is held to some directories.
fn in_memory(key: &str, descriptor: &OwnedFd) -> Result<OwnedFd, StartError> {
    let failed =
        |source: io::Error| StartError::Prepare { action: "copy the descriptor", path: key.into(), source };
    let file = File::from(descriptor.try_clone().map_err(failed)?);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        let reason = "a secret or firmware file that is handed to another user, or to a confined process, is a regular file or memory";
        return Err(ConfigError::conflict(key, reason).into());
    }
    let copied = || -> io::Result<OwnedFd> {
        let size = usize::try_from(metadata.len()).ok().filter(|size| *size <= COPIED_BYTES);
        let size = size.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, 0)?;
        let memory = memfd_create(key, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut memory = File::from(memory);
        memory.write_all(&bytes)?;
        fcntl_add_seals(&memory, SealFlags::GROW | SealFlags::SHRINK | SealFlags::WRITE | SealFlags::SEAL)?;
        Ok(memory.into())
    };
    copied().map_err(failed)
}

/// A program that is named by a path is where that path leads from here; another is looked for as a shell does.
fn program_of(binary: &Path) -> Result<PathBuf, StartError> {
    if binary.components().count() > 1 {
        std::path::absolute(binary).map_err(at("find", binary))
    } else {
        Ok(binary.to_owned())
    }
}

/// A directory that is there already must be this user's, and nobody else's to write in: whoever can put files there could have the next
/// manager take over what it likes.
fn ours(directory: OwnedFd) -> io::Result<OwnedFd> {
    let stat = fstat(&directory)?;
    let why = if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        "it is no directory"
    } else if stat.st_uid != rustix::process::geteuid().as_raw() {
        "it belongs to another user"
    } else if stat.st_mode & 0o022 != 0 {
        "others may write in it; remove that right (chmod go-w)"
    } else {
        return Ok(directory);
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// A run directory with its lock, both of which are made if they are not there.
fn made(run_dir: &Path) -> Result<RunDir, StartError> {
    match DirBuilder::new().mode(0o700).create(run_dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(at("create", run_dir)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let directory = lock::opened(run_dir).and_then(ours).map_err(at("use the run directory", run_dir))?;
    RunDir::within(directory, OFlags::CREATE).map_err(at("open", &run_dir.join(LOCK)))
}

/// The directory of a start, which is its alone; `None` where somebody else has it also after so many tries more.
fn taken(run_dir: &Path, times: u32) -> Result<Option<RunDir>, StartError> {
    match locked(run_dir, || made(run_dir), times) {
        Ok(held) => Ok(Some(held)),
        Err(NotLocked::Held) => Ok(None),
        Err(NotLocked::Closed(error)) => Err(error),
        Err(NotLocked::Refused(error)) => Err(at("lock", &run_dir.join(LOCK))(error)),
    }
}

/// What a start leaves in its directory that is of no use once it has failed: sockets that nobody serves, and the record of a process
/// that is no more. Logs stay. Removed under the lock, which the next start waits for, when nobody can put anything there any more.
struct Litter {
    /// `None` once it is removed.
    held: Option<Arc<RunDir>>,
    /// The process lives, and holds the lock alone from here on.
    is_wanted: AtomicBool,
}

impl Litter {
    fn clear(mut self) {
        if let Some(held) = self.held.take() {
            remove_litter(&held);
        }
    }
}

impl Drop for Litter {
    fn drop(&mut self) {
        if self.is_wanted.load(Relaxed) {
            return;
        }
        if let Some(held) = self.held.take() {
            leave(move || remove_litter(&held));
        }
    }
}

fn remove_litter(held: &RunDir) {
    // What cannot be removed proves itself outdated, or is replaced.
    let _ = held.remove(&[Record::FILE, Record::NEW, QMP_SOCKET, CONSOLE_SOCKET]);
}

async fn ended(exit: Exit, log: PathBuf, log_start: u64) -> StartError {
    StartError::Ended { exit, message: said(log, log_start).await }
}

/// A closed monitor usually means that the process is just ending; a moment decides which error it is.
async fn failed(
    guard: Guard,
    after: Option<Duration>,
    source: Option<Cause>,
    log: PathBuf,
    log_start: u64,
) -> StartError {
    let grace = if after.is_some() { Duration::ZERO } else { ENDING };
    if let Ok(exit) = tokio::time::timeout(grace, guard.process().exited()).await {
        return ended(exit, log, log_start).await;
    }
    let waits = if guard.process().state() == Some('D') { WAITS_FOR_THE_HOST } else { "" };
    drop(guard);
    StartError::Silent { after, message: said(log, log_start).await + waits, source }
}

/// [`message`], beside the runtime.
async fn said(log: PathBuf, from: u64) -> String {
    let told = ask(&log.clone(), aside::PATIENCE, move |_| message(&log, from)).await;
    told.unwrap_or_else(|error| format!("its messages cannot be read: {error}"))
}

/// The end of what QEMU wrote since `from`.
fn message(log: &Path, from: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(end.saturating_sub(MESSAGE_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(MESSAGE_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.trim_ascii().is_empty() => "it wrote no message".to_owned(),
        Ok(bytes) => String::from_utf8_lossy(bytes.trim_ascii()).into_owned(),
        Err(error) => format!("its messages in {} cannot be read: {error}", log.display()),
    }
}

fn at<'p>(action: &'static str, path: &'p Path) -> impl Fn(io::Error) -> StartError + 'p {
    move |source| StartError::Prepare { action, path: path.to_owned(), source }
}

/// Enough for QEMU's longest complaint, too little to hurt an error message's reader.
const MESSAGE_BYTES: u64 = 16 * 1024;

/// Secrets have some dozen bytes, files of the firmware some thousand.
const COPIED_BYTES: usize = 16 << 20;

/// Said of a process in the state D.
const WAITS_FOR_THE_HOST: &str = "; its process waits for the host (state D), as where a file of its own is on a server or device that does not answer";

/// Between the monitor's end and the process's end.
const ENDING: Duration = Duration::from_secs(2);

/// How often a lock that is held is tried.
const LOCK_TRIES: u32 = 50;
