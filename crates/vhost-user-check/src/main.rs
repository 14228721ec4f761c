//! `vhost-user-check`: what it is asked to do, and the exit code.

mod bench;
mod daemon;
mod front;
mod probe;
mod proxy;
mod report;
mod serve;
mod socket;
mod sys;
mod target;

use clap::{Args, Parser, Subcommand, ValueEnum};
use report::Format;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use target::{Clock, Target};
use vhost_user::check::{self, Kind, Level, Offer, Options, Profile, Report};
use vhost_user::with_causes;

/// Checks vhost-user back-ends over their socket, without a machine; and what else who writes one needs.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 all is well, 1 checks failed, 2 wrong arguments, 3 the back-end cannot be reached or died, 4 something else went wrong, such as a report that cannot be written."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask a back-end what it offers, and say it in words.
    #[command(after_help = "Example: vhost-user-check probe --socket disk.sock --type blk")]
    Probe(Probe),
    /// Make every check that can be asked of a back-end.
    #[command(
        after_help = "Example: vhost-user-check check --socket disk.sock --type blk --profile qemu --command './my-back-end {socket}'"
    )]
    Check(Check),
    /// List the checks.
    #[command(after_help = "Example: vhost-user-check list --type blk --only rings")]
    List(Selection),
    /// Serve a device to any number of front-ends, until it is stopped.
    #[command(
        after_help = "Example: vhost-user-check serve --type blk --socket disk.sock --file disk.raw --queues 4"
    )]
    Serve(serve::Serve),
    /// Serve a device in the background.
    #[command(after_help = "Example: vhost-user-check start --name disk --type blk --socket disk.sock")]
    Start(daemon::Start),
    /// Stop what was started.
    #[command(after_help = "Example: vhost-user-check stop --name disk")]
    Stop(daemon::Named),
    /// Say what was started, and whether it runs.
    #[command(after_help = "Example: vhost-user-check status --name disk")]
    Status(daemon::Which),
    /// Serve a device in a manner that tests front-ends: strict, lenient, slow, lying, dying.
    #[command(
        after_help = "Example: vhost-user-check front --type blk --socket test.sock --as lying --sessions 20"
    )]
    Front(front::Front),
    /// Measure requests through a ring.
    #[command(
        after_help = "Example: vhost-user-check bench --socket disk.sock --type blk --depth 32 --seconds 5"
    )]
    Bench(bench::Bench),
    /// Show what a front-end and a back-end say to each other, write it down, and make it harder for them.
    #[command(
        after_help = "Example: vhost-user-check proxy --listen front.sock --connect disk.sock --record session.jsonl"
    )]
    Proxy(proxy::Proxy),
    /// Play a recording to a back-end, and compare its answers.
    #[command(after_help = "Example: vhost-user-check replay --socket disk.sock session.jsonl")]
    Replay(proxy::Replay),
}

/// Which back-end.
#[derive(Debug, Args)]
struct Of {
    /// The socket at which it listens.
    #[arg(long, value_name = "PATH", required_unless_present = "listen")]
    socket: Option<PathBuf>,
    /// For one that connects to its front-end, as ports of Open vSwitch of type dpdkvhostuserclient do: listen here, and take it. It is to connect
    /// again whenever its front-end has left.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["socket", "single"])]
    listen: Option<PathBuf>,
    /// A command of the shell that starts it; it is started again when it has died, and ended with all that it started.
    /// {socket} stands for the path of the socket.
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// It serves a single front-end: the command is run for each.
    #[arg(long, requires = "command")]
    single: bool,
    /// Seconds that an answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    timeout: f64,
}

impl Of {
    fn timeout(&self) -> Result<Duration, Failure> {
        let time = Duration::try_from_secs_f64(self.timeout).ok().filter(|time| !time.is_zero());
        time.ok_or_else(|| {
            Failure::Misused(format!("--timeout {}: no time in which anybody answers", self.timeout))
        })
    }

    fn target(&self) -> Result<Target, Failure> {
        let command = self.command.as_deref();
        let target = match (&self.listen, &self.socket) {
            (Some(listen), _) => Target::that_connects(listen, command),
            (None, Some(socket)) => Target::new(socket, command, self.single),
            (None, None) => return Err(Failure::Misused("--socket or --listen is missing".to_owned())),
        };
        target.map_err(Failure::Unreachable)
    }

    /// What it is called: where it is met.
    fn name(&self) -> String {
        let path = self.listen.as_ref().or(self.socket.as_ref());
        path.map(|path| path.display().to_string()).unwrap_or_default()
    }
}

#[derive(Debug, Args)]
struct Probe {
    #[command(flatten)]
    of: Of,
    /// The type of the device: its features and its configuration space are named too.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Which checks.
#[derive(Clone, Debug, Args)]
struct Selection {
    /// The type of the device: net, blk, console, rng, balloon, fs. Without it its rings are not used.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// A front-end that it must work with: qemu, dpdk, cloud-hypervisor, libblkio. May be repeated.
    #[arg(long = "profile", value_name = "FRONT-END")]
    profiles: Vec<Profile>,
    /// Only checks whose name begins so. May be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// No checks whose name begins so. May be repeated.
    #[arg(long, value_name = "NAME")]
    skip: Vec<String>,
    /// The content of a disk may be overwritten.
    #[arg(long)]
    destructive: bool,
}

impl Selection {
    fn options(&self, timeout: Duration) -> Options {
        let Self { kind, profiles, only, skip, destructive } = self.clone();
        Options { kind, profiles, timeout, only, skip, writes: destructive }
    }
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    selection: Selection,
    /// How findings are written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Where to, instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The least level whose failure is an exit code of 1.
    #[arg(long, value_enum, default_value_t = FailOn::Should)]
    fail_on: FailOn,
    /// Also show what passed and what could not be asked.
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// What the specification demands.
    Must,
    /// What it recommends, too.
    Should,
    /// What a careful back-end does, too.
    Robust,
}

impl FailOn {
    /// The levels whose failure counts.
    const fn levels(self) -> &'static [Level] {
        match self {
            Self::Must => &[Level::Must],
            Self::Should => &[Level::Must, Level::Should],
            Self::Robust => &[Level::Must, Level::Should, Level::Robust],
        }
    }
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Misused(String),
    #[error(transparent)]
    Unreachable(io::Error),
    #[error(transparent)]
    NoBackend(#[from] check::NoBackend),
    #[error(transparent)]
    Output(#[from] io::Error),
    /// The back-end was there, and is not, or does not do what it is there for.
    #[error("{0}")]
    BackEnd(String),
    #[error("{0}")]
    Other(String),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Probe(arguments) => probed(&arguments),
        Command::Check(arguments) => checked(&arguments),
        Command::List(arguments) => listed(&arguments),
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::Start(arguments) => daemon::start(&arguments),
        Command::Stop(arguments) => daemon::stop(&arguments),
        Command::Status(arguments) => daemon::status(&arguments),
        Command::Front(arguments) => front::front(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Proxy(arguments) => proxy::proxy(&arguments),
        Command::Replay(arguments) => proxy::replay(&arguments),
    };
    match outcome {
        Ok(code) => code,
        // Whoever reads our output has read enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "error: {}", with_causes(&failure));
            ExitCode::from(match failure {
                Failure::Misused(_) => 2,
                Failure::Unreachable(_) | Failure::NoBackend(_) | Failure::BackEnd(_) => 3,
                Failure::Output(_) | Failure::Other(_) => 4,
            })
        }
    }
}

fn probed(arguments: &Probe) -> Result<ExitCode, Failure> {
    let mut target = arguments.of.target()?;
    let offer = check::probe(&mut target, arguments.of.timeout()?)
        .map_err(|error| Failure::Unreachable(io::Error::other(error)))?;
    let text = if arguments.json {
        probe::json(&offer, arguments.kind)
    } else {
        probe::words(&offer, arguments.kind)
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn listed(arguments: &Selection) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    for check in check::checks(&arguments.options(Duration::ZERO)) {
        writeln!(
            out,
            "{:<44} {:<7} {}  [{}]",
            check.id,
            report::level(check.level),
            check.title,
            check.section
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn checked(arguments: &Check) -> Result<ExitCode, Failure> {
    let options = arguments.selection.options(arguments.of.timeout()?);
    let count = check::checks(&options).len();
    if count == 0 {
        return Err(Failure::Misused(
            "no check has such a name; `vhost-user-check list` has all of them".to_owned(),
        ));
    }
    let clock = Clock::start();
    // A report of nothing is a report too: who collects them must not find the last one's.
    let (report, unreached) = match made(arguments, &options, &clock, count) {
        Ok(report) => (report, None),
        Err(failure @ (Failure::Unreachable(_) | Failure::NoBackend(_))) => {
            let gone_before = Some("the first check".to_owned());
            let report = Report { offer: Offer::default(), findings: Vec::new(), gone_before };
            (report, Some(failure))
        }
        Err(other) => return Err(other),
    };
    let time = clock.elapsed();
    let (colour, counts) = (io::stdout().is_terminal(), arguments.fail_on.levels());
    let name = arguments.of.name();
    let shown = report::Shown { report: &report, name: &name, time, all: arguments.all, colour, counts };
    let said = match &arguments.output {
        Some(path) => {
            let text = report::print(&report::Shown { colour: false, ..shown }, arguments.format);
            File::create(path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| Failure::Other(format!("{}: {error}", path.display())))?;
            // Whoever reads the job's log, and not the file.
            format!("{}The report is {}.\n", report::summary(&shown), path.display())
        }
        None => report::print(&shown, arguments.format),
    };
    // Whoever reads it has read enough; what was found stays what it is.
    match io::stdout().write_all(said.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    if let Some(failure) = unreached {
        return Err(failure);
    }
    let failed: usize = counts.iter().map(|level| report.failed(*level)).sum();
    Ok(match (&report.gone_before, failed) {
        (Some(_), _) => ExitCode::from(3),
        (None, 0) => ExitCode::SUCCESS,
        (None, _) => ExitCode::from(1),
    })
}

/// Makes the checks.
fn made(arguments: &Check, options: &Options, clock: &Clock, count: usize) -> Result<Report, Failure> {
    let mut target = arguments.of.target()?;
    let bar = if io::stderr().is_terminal() {
        indicatif::ProgressBar::new(count as u64)
    } else {
        indicatif::ProgressBar::hidden()
    };
    if let Ok(style) = indicatif::ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let report = check::run(
        &mut target,
        options,
        || clock.elapsed(),
        |finding| {
            bar.set_message(finding.id.clone());
            bar.inc(1);
        },
    )?;
    bar.finish_and_clear();
    Ok(report)
}
