//! Serving in the background, for scripts.

use crate::Failure;
use crate::serve::Serve;
use crate::socket::{Alone, LOCKED, make_room};
use crate::target::{Clock, connected};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Lines of what one said that ended by itself.
const LAST: usize = 10;

/// How long it may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// What it is called.
    #[arg(long, default_value = "default", value_parser = name)]
    name: String,
    #[command(flatten)]
    memory: Memory,
}

/// Options of `start` that `serve` does not have; each has a value.
const OWN: [&str; 2] = ["--name", "--runtime-directory"];

/// Where it is remembered what was started.
#[derive(Debug, Args)]
struct Memory {
    // No path: one that is empty is none, and says nothing.
    #[arg(long = "runtime-directory", env = "XDG_RUNTIME_DIR", hide = true)]
    base: Option<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    #[command(flatten)]
    memory: Memory,
    /// Only this one; its exit code is 1 if it does not run.
    #[arg(long, value_parser = name)]
    name: Option<String>,
}

/// A name that is a file's.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.is_empty() || !text.chars().all(is_plain) {
        return Err("letters, digits, - and _".to_owned());
    }
    Ok(text.to_owned())
}

impl Memory {
    /// A directory of the user's alone, if it is there: where sessions have theirs, as far as that is known.
    fn directory(&self) -> io::Result<PathBuf> {
        let user = rustix::process::getuid().as_raw();
        let base = self.base.as_ref().map(PathBuf::from);
        let of_session = [base, Some(PathBuf::from(format!("/run/user/{user}")))];
        let mut of_session = of_session.into_iter().flatten();
        let base = of_session.find(|base| base.is_absolute() && base.is_dir());
        let directory =
            base.unwrap_or_else(|| PathBuf::from("/tmp")).join(format!("vhost-user-check-{user}"));
        match fs::symlink_metadata(&directory) {
            Ok(found) if !found.is_dir() || found.uid() != user => {
                Err(io::Error::other(format!("{} is another user's", directory.display())))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(directory),
        }
    }

    /// It is there, and nobody else's.
    fn make_directory(&self) -> io::Result<PathBuf> {
        match DirBuilder::new().mode(0o700).create(self.directory()?) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            // Somebody else may have been quicker.
            _ => self.directory(),
        }
    }

    /// What was written down of this one, and what it says.
    fn files(&self, name: &str) -> io::Result<[PathBuf; 2]> {
        let directory = self.directory()?;
        Ok([directory.join(name), directory.join(format!("{name}.log"))])
    }

    /// The directory is there, and nobody else starts or forgets anything in it while the value lives.
    fn alone(&self) -> io::Result<Alone> {
        loop {
            let directory = self.make_directory()?;
            let alone = Alone::within(&directory, LOCKED)?;
            if alone.is_at(&directory) {
                return Ok(alone);
            }
        }
    }

    /// Nothing is left of this process, nor of the directory if it was the last. Of another of the same name everything is.
    fn forget(&self, name: &str, pid: i32) -> io::Result<()> {
        let _alone = self.alone()?;
        if Started::read(self, name)?.is_some_and(|it| it.pid == pid) {
            for file in self.files(name)? {
                match fs::remove_file(file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        // There may be others.
        let _ = fs::remove_dir(self.directory()?);
        Ok(())
    }
}

/// One that was started.
struct Started {
    pid: i32,
    /// When its process began, which tells it from a later one of the same number.
    begun: String,
    what: String,
}

impl Started {
    fn read(memory: &Memory, name: &str) -> io::Result<Option<Self>> {
        let [written, _] = memory.files(name)?;
        let text = match fs::read_to_string(written) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut lines = text.lines();
        let mut next = || lines.next().unwrap_or_default().to_owned();
        let (pid, begun, what) = (next(), next(), next());
        let pid = pid.parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {pid:?} is no process"))
        })?;
        Ok(Some(Self { pid, begun, what }))
    }

    /// Its process, if it is there and no other's.
    fn process(&self) -> Option<OwnedFd> {
        let process = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        (begun(self.pid).as_deref() == Some(&*self.begun)).then_some(process)
    }
}

/// Field 22 of the process's state: when it began, in ticks since the machine did.
fn begun(pid: i32) -> Option<String> {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses that may have anything in it.
    let rest = state.rsplit_once(')')?.1;
    let mut fields = rest.split_ascii_whitespace();
    // A zombie does nothing any more.
    if fields.next() == Some("Z") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

pub(crate) fn start(arguments: &Start) -> Result<ExitCode, Failure> {
    let Named { name, memory } = &arguments.named;
    let (Some(kind), Some(socket)) = (arguments.serve.kind, arguments.serve.socket.as_ref()) else {
        return Err(Failure::Misused("--type and --socket are missing".to_owned()));
    };
    let own: Vec<_> = std::env::args_os().skip(2).collect();
    // The same arguments, but for what is ours; and a log that says all.
    let mut passed = Vec::new();
    let mut all = own.into_iter();
    while let Some(argument) = all.next() {
        let text = argument.to_string_lossy();
        if OWN.contains(&&*text) {
            all.next();
        } else if !OWN.iter().any(|own| text.strip_prefix(own).is_some_and(|rest| rest.starts_with('='))) {
            passed.push(argument);
        }
    }
    if !arguments.serve.verbose {
        passed.push("--verbose".into());
    }
    let what = format!("{kind} at {}", socket.display());
    let [written, log] = memory.files(name)?;
    // Written down before anybody else may look: of two that come at once one is the second.
    let alone = memory.alone()?;
    if Started::read(memory, name)?.is_some_and(|it| it.process().is_some()) {
        return Err(Failure::Other(format!(
            "{name} runs already; `vhost-user-check stop --name {name}` ends it"
        )));
    }
    let output = File::create(&log)?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("serve")
        .args(passed)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()?;
    let pid = i32::try_from(child.id()).map_err(|error| Failure::Other(error.to_string()))?;
    let record = format!("{pid}\n{}\n{what}\n", begun(pid).unwrap_or_default());
    // Who reads it reads all of it.
    let whole = written.with_extension("new");
    if let Err(error) = fs::write(&whole, record).and_then(|()| fs::rename(&whole, &written)) {
        // What nobody remembers is not there.
        let _ = child.kill().and_then(|()| child.wait());
        for file in [whole, written, log] {
            let _ = fs::remove_file(file);
        }
        let _ = fs::remove_dir(memory.directory()?);
        drop(alone);
        let _ = make_room(socket, LOCKED);
        return Err(error.into());
    }
    drop(alone);
    let clock = Clock::start();
    // Another may listen there already: it is ours that is waited for.
    let is_ours = || {
        let stream = connected(socket).ok()?;
        let peer = socket_peercred(&stream).ok()?;
        (peer.pid.as_raw_nonzero().get() == pid).then_some(())
    };
    while is_ours().is_none() {
        let ended = child.try_wait()?;
        if ended.is_some() || clock.elapsed() > PATIENCE {
            let said = fs::read_to_string(&log).unwrap_or_default();
            // What it leaves, if it made that: who listens there is left alone.
            let _ = child.kill().and_then(|()| child.wait()).and_then(|_| make_room(socket, LOCKED));
            memory.forget(name, pid)?;
            return Err(Failure::Other(format!("{name} does not serve: {}", said.trim())));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    writeln!(io::stdout(), "{name} serves {what} (process {pid}, log {})", log.display())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn stop(arguments: &Named) -> Result<ExitCode, Failure> {
    let Named { name, memory } = arguments;
    let Some(started) = Started::read(memory, name)? else {
        return Err(Failure::Other(format!("nothing was started as {name}")));
    };
    if let Some(process) = started.process() {
        pidfd_send_signal(&process, Signal::TERM).map_err(io::Error::from)?;
        // Readable when it has ended.
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        let patience = Timespec::try_from(PATIENCE).map_err(|error| Failure::Other(error.to_string()))?;
        if poll(&mut ended, Some(&patience)).map_err(io::Error::from)? == 0 {
            return Err(Failure::Other(format!("{name} does not end: `kill -KILL {}` ends it", started.pid)));
        }
        writeln!(io::stdout(), "{name} stopped")?;
    } else {
        // Why, that is.
        let [_, log] = memory.files(name)?;
        let said = fs::read_to_string(log).unwrap_or_default();
        let last = said.trim_end().lines().rev().take(LAST).collect::<Vec<_>>();
        let last: Vec<_> = last.into_iter().rev().collect();
        writeln!(io::stdout(), "{name} had ended by itself; the last that it said:\n{}", last.join("\n"))?;
    }
    memory.forget(name, started.pid)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn status(arguments: &Which) -> Result<ExitCode, Failure> {
    let memory = &arguments.memory;
    let mut names: Vec<String> = match &arguments.name {
        Some(name) => vec![name.clone()],
        None => fs::read_dir(memory.directory()?)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| !name.contains('.'))
            .collect(),
    };
    names.sort_unstable();
    let mut code = ExitCode::SUCCESS;
    let mut out = io::stdout().lock();
    if names.is_empty() {
        writeln!(out, "nothing was started")?;
    }
    for name in names {
        match Started::read(memory, &name)? {
            Some(started) if started.process().is_some() => {
                writeln!(out, "{name} serves {} (process {})", started.what, started.pid)?;
            }
            other => {
                let what = other
                    .map_or_else(|| "was not started".to_owned(), |it| format!("has ended ({})", it.what));
                writeln!(out, "{name} {what}")?;
                code = ExitCode::from(u8::from(arguments.name.is_some()));
            }
        }
    }
    Ok(code)
}
