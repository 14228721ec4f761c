//! Command lines of some hundred configurations: as texts, and as real QEMU takes them.
//!
//! ```text
//!  cases/*.rs --Config--> argv --> testdata/golden/<group>.argv     compared, or written with HV_GOLDEN=write
//!                   '---> start --> QEMU 7.2, QEMU 10.0 --> quit    with -compat deprecated-input=reject, in a directory with
//!                                                                   the files and other ends that the configuration names
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program: helpers beside the tests fail and report alike"
)]

mod cases;
#[path = "../support/huge_pages.rs"]
mod huge_pages;
#[path = "../support/loop_device.rs"]
mod loop_device;
mod peers;
#[path = "../support/sys.rs"]
mod sys;
#[path = "../support/unpacked.rs"]
mod unpacked;
#[path = "../support/vhost_user.rs"]
mod vhost_user;

use cases::Case;
use qemu::{
    StartSpec,
    argv::{Descriptors, argv},
    start,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet};

/// The same numbers always, so that the texts are the same.
fn numbers() -> Descriptors {
    let keys = [
        "base",
        "connected",
        "disk",
        "key",
        "listening",
        "log",
        "tap",
        "tap-2",
        "vars",
        "vdpa",
        "vhost",
        "vhost-2",
        "vhost-vsock",
    ];
    let keyed = keys.iter().zip(21..).map(|(key, fd)| ((*key).to_owned(), fd)).collect();
    Descriptors { qmp: 11, console: 12, console_log: 13, keyed }
}

/// One option to a line; whatever would hide in a terminal is escaped.
fn text(args: &[OsString]) -> String {
    let mut text = String::new();
    for arg in args {
        let arg = arg.to_str().unwrap().escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'");
        let option = arg.starts_with('-') && !arg.starts_with("-append");
        text.push_str(if !option && !text.is_empty() {
            " "
        } else if text.is_empty() {
            ""
        } else {
            "\n"
        });
        text.push_str(&arg);
    }
    text + "\n"
}

fn texts() -> BTreeMap<&'static str, String> {
    let mut texts = BTreeMap::new();
    for Case { group, name, config } in cases::all("/vm") {
        let args = argv(&config, &numbers()).unwrap_or_else(|error| panic!("{group}: {name}: {error}"));
        let text: &mut String = texts.entry(group).or_default();
        write!(text, "### {}\n{}\n", name.escape_debug(), self::text(&args)).unwrap();
    }
    texts
}

#[test]
#[expect(clippy::disallowed_methods, reason = "whoever means a change says so by the environment")]
fn command_lines_are_as_written_down() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden");
    let texts = texts();
    if std::env::var_os("HV_GOLDEN").is_some() {
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        for (group, text) in &texts {
            fs::write(directory.join(format!("{group}.argv")), text).unwrap();
        }
    }
    let written: BTreeSet<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(written, texts.keys().map(|group| OsString::from(format!("{group}.argv"))).collect());
    for (group, text) in &texts {
        let written = fs::read_to_string(directory.join(format!("{group}.argv"))).unwrap();
        for (now, then) in text.split("### ").zip(written.split("### ")) {
            assert_eq!(now, then, "{group}: HV_GOLDEN=write writes it anew");
        }
        assert_eq!(*text, written, "{group}");
    }
    let count: usize = texts.values().map(|text| text.matches("### ").count()).sum();
    assert!(count >= 300, "{count} configurations");
}

/// A release of QEMU.
struct Release {
    name: &'static str,
    /// Starts it with the arguments given to it.
    program: PathBuf,
    /// What it was built with, where it can be asked.
    drivers: Option<BTreeSet<String>>,
}

impl Release {
    fn of(name: &'static str, program: PathBuf) -> Self {
        let help = |what: &[&str]| {
            let output = std::process::Command::new(&program).args(what).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let listed = help(&["-device", "help"]);
        let drivers = listed.lines().filter_map(|line| line.strip_prefix("name \"")?.split('"').next());
        let mut drivers: BTreeSet<String> = drivers.map(str::to_owned).collect();
        // Other parts that are built separately are found by their own lists.
        for (option, kind) in [
            ("-chardev", "chardev"),
            ("-display", "display"),
            ("-audiodev", "audiodev"),
            ("-object", "object"),
        ] {
            let listed = help(&[option, "help"]);
            drivers.extend(listed.split_ascii_whitespace().map(|word| format!("{kind} {word}")));
        }
        assert!(drivers.contains("isa-serial"), "the lists are read");
        Self { name, program, drivers: Some(drivers) }
    }

    /// One whose lists cannot be asked for: it would load the modules of the installed one, and end.
    fn unpacked(name: &'static str, program: PathBuf) -> Self {
        Self { name, program, drivers: None }
    }

    /// A part that the configuration needs and the program was built without.
    fn lacks(&self, args: &[OsString]) -> Option<String> {
        let drivers = self.drivers.as_ref()?;
        let pairs = args.windows(2).filter_map(|pair| Some((pair[0].to_str()?, pair[1].to_str()?)));
        for (option, value) in pairs {
            let json = || serde_json::from_str::<serde_json::Value>(value).ok();
            let part = match option {
                "-device" => json().and_then(|json| Some(json["driver"].as_str()?.to_owned())),
                "-audiodev" => json().and_then(|json| Some(format!("audiodev {}", json["driver"].as_str()?))),
                "-display" => json().and_then(|json| Some(format!("display {}", json["type"].as_str()?))),
                "-spice" => Some("audiodev spice".to_owned()),
                _ => None,
            };
            if let Some(part) = part
                && !drivers.contains(&part)
            {
                return Some(format!("QEMU {} was built without {part}", self.name));
            }
        }
        None
    }
}

impl Release {
    /// A program without lists says by its error that it lacks a module.
    fn refusal(&self, message: String) -> Refused {
        let lacking = [
            "Only modules from the same build can be loaded",
            "There is no option group 'spice'",
            "'qxl-vga' is not a valid device model name",
        ];
        if self.drivers.is_none() && lacking.iter().any(|words| message.contains(words)) {
            return Refused::Missing(format!("a module of QEMU {} that is not unpacked", self.name));
        }
        // It took the options and asked for the device; this host has none.
        let no_vdpa =
            ["Could not open '/dev/vhost-vdpa-golden'", "Fail to query features from vhost-vDPA device"];
        if no_vdpa.iter().any(|words| message.contains(words)) {
            return Refused::Missing("a vDPA device".to_owned());
        }
        Refused::Fault(message)
    }
}

async fn every_configuration_is_accepted(release: Release) {
    let _pages = huge_pages::HugePages::take(160);
    let directory = tempfile::tempdir().unwrap();
    let templates = Arc::new(peers::Templates::make(&directory.path().join("templates")));
    let release = Arc::new(release);
    let at_once = Arc::new(Semaphore::new(4));
    let mut tasks = JoinSet::new();
    for number in 0..cases::all("/vm").len() {
        let place = directory.path().join(number.to_string());
        let (release, templates, at_once) = (release.clone(), templates.clone(), at_once.clone());
        tasks.spawn(async move {
            let _permit = at_once.acquire().await.unwrap();
            let case = cases::all(place.to_str().unwrap()).swap_remove(number);
            let title = format!("{}: {}", case.group, case.name);
            let mut outcome = accepted(&release, case, &place, &templates).await;
            // Whether it does is drawn by lot, and a port that was free may be taken by another program of this host.
            for _ in 0..5 {
                match &outcome {
                    Err(Refused::Crashed) => {}
                    Err(Refused::Fault(fault)) if fault.contains("Address already in use") => {}
                    _ => break,
                }
                let case = cases::all(place.to_str().unwrap()).swap_remove(number);
                outcome = accepted(&release, case, &place, &templates).await;
            }
            (title, outcome)
        });
    }
    let (mut faults, mut not_run, mut count) = (Vec::new(), Vec::new(), 0);
    while let Some(outcome) = tasks.join_next().await {
        let (title, outcome) = outcome.unwrap();
        match told(release.name, &title, outcome, KNOWN_CRASHES) {
            Told::Accepted => count += 1,
            Told::NotRun(why) => not_run.push(format!("{title}: {why}")),
            Told::Fault(fault) => faults.push(format!("{title}: {fault}")),
        }
    }
    not_run.sort();
    for line in &not_run {
        println!("not run: every_configuration_is_accepted_by_qemu_{}: {line}", release.name);
    }
    println!("QEMU {}: {count} configurations accepted", release.name);
    assert!(count >= 300, "{count} configurations accepted");
    assert!(faults.is_empty(), "{}\n{} refused", faults.join("\n"), faults.len());
}

/// What the last of its runs says of a configuration.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Accepted,
    NotRun(String),
    Fault(String),
}

/// A crash of QEMU itself.
struct KnownCrash {
    release: &'static str,
    /// Group and name.
    title: &'static str,
    /// What is known of its cause.
    reason: &'static str,
}

/// Configurations that crash a release at their end always.
const KNOWN_CRASHES: &[KnownCrash] = &[];

fn told(release: &str, title: &str, outcome: Result<(), Refused>, known: &[KnownCrash]) -> Told {
    let known = known.iter().find(|crash| (crash.release, crash.title) == (release, title));
    match outcome {
        Ok(()) => match known {
            Some(_) => Told::Fault("no longer crashes: it is to be taken off the list".to_owned()),
            None => Told::Accepted,
        },
        Err(Refused::Missing(what)) => Told::NotRun(what),
        Err(Refused::Fault(fault)) => Told::Fault(fault),
        Err(Refused::Crashed) => match known {
            Some(KnownCrash { reason, .. }) => {
                Told::NotRun(format!("accepted, and crashes at its end: {reason}"))
            }
            None => Told::Fault("accepted, and crashed at its end six times".to_owned()),
        },
    }
}

#[test]
fn a_configuration_that_always_crashes_is_a_fault_unless_that_is_known() {
    let known = [KnownCrash { release: "10.0", title: "disk: nvme", reason: "why" }];
    let crashed = |release, title| told(release, title, Err(Refused::Crashed), &known);
    assert_eq!(crashed("10.0", "disk: nvme"), Told::NotRun("accepted, and crashes at its end: why".into()));
    for (release, title) in [("10.0", "disk: usb"), ("7.2", "disk: nvme")] {
        assert!(matches!(crashed(release, title), Told::Fault(_)), "{release} {title}");
    }
    assert!(matches!(told("10.0", "disk: nvme", Ok(()), &known), Told::Fault(_)));
    assert_eq!(told("7.2", "disk: nvme", Ok(()), &known), Told::Accepted);
    let titles: BTreeSet<String> =
        cases::all("/vm").iter().map(|case| format!("{}: {}", case.group, case.name)).collect();
    for KnownCrash { title, .. } in KNOWN_CRASHES {
        assert!(titles.contains(*title), "{title:?} is no configuration");
    }
}

enum Refused {
    Missing(String),
    Fault(String),
    /// It took the command line, greeted, and crashed when it was told to end.
    Crashed,
}

async fn accepted(
    release: &Release,
    case: Case,
    place: &Path,
    templates: &peers::Templates,
) -> Result<(), Refused> {
    let mut config = case.config;
    let args = argv(&config, &numbers()).unwrap();
    if let Some(part) = release.lacks(&args) {
        return Err(Refused::Missing(part));
    }
    fs::create_dir(place).unwrap();
    let (peers, descriptors) =
        peers::Peers::of(&config, &args, place, templates).map_err(Refused::Missing)?;
    let machine = config.machine.clone();
    config.extra.extend(["-compat".into(), "deprecated-input=reject".into()]);
    let spec = StartSpec {
        descriptors,
        deadline: Duration::from_secs(120),
        ..StartSpec::new(peers::bridged(&config, place, &release.program), config, place.join("run"))
    };
    let outcome = match start(spec).await {
        Ok((vm, supervisor)) => {
            let mut tasks = JoinSet::new();
            tasks.spawn(supervisor);
            let exit = vm.quit(Duration::from_secs(60)).await.unwrap();
            let said = fs::read_to_string(&vm.record().qemu_log).unwrap();
            // Of what is no JSON QEMU only complains. A machine that was begun with an old type keeps it.
            let type_itself = format!("Machine type '{machine}' is deprecated");
            let mut complaints = said.lines().filter(|line| line.contains("deprecated"));
            let complaint = complaints.find(|line| !line.contains(&type_itself));
            match (exit, complaint) {
                (qemu::Exit::Code(0), None) => Ok(()),
                (_, Some(complaint)) => Err(Refused::Fault(complaint.to_owned())),
                // QEMU 10.0 sometimes does so when it is ended right after its start.
                (qemu::Exit::Signal(11), None) if release.drivers.is_none() => Err(Refused::Crashed),
                (exit, None) => Err(Refused::Fault(format!("ended with {exit}: {said}"))),
            }
        }
        Err(error) => {
            let error = error.to_string();
            // A KVM without the registers that QEMU sets in every machine, emulated in software.
            if error.contains("failed to set MSR") {
                Err(Refused::Missing("a KVM that QEMU can use".to_owned()))
            } else if error.contains("vhost initialization failed: requires kvm") {
                // Until QEMU 8: input and graphics of other processes.
                Err(Refused::Missing("a KVM that QEMU can use, or a newer QEMU".to_owned()))
            } else {
                Err(release.refusal(error))
            }
        }
    };
    drop(peers);
    fs::remove_dir_all(place).unwrap();
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_configuration_is_accepted_by_qemu_7_2() {
    let program = Path::new("/usr/bin/qemu-system-x86_64");
    if !program.exists() {
        println!(
            "not run: every_configuration_is_accepted_by_qemu_7_2: {} (package qemu-system-x86)",
            program.display()
        );
        return;
    }
    every_configuration_is_accepted(Release::of("7.2", program.into())).await;
}

/// Takes as long again; part of the long tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: every configuration again"]
async fn every_configuration_is_accepted_by_qemu_10_0() {
    let program = unpacked::unpacked();
    if !program.exists() {
        println!("not run: every_configuration_is_accepted_by_qemu_10_0: cargo xtask qemu-root");
        return;
    }
    every_configuration_is_accepted(Release::unpacked("10.0", program)).await;
}
