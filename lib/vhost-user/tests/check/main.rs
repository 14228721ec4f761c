//! The checks, on back-ends of ours and on what Debian has.
#![cfg(test)]

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use vhost_user::backend::{Device, serve};
use vhost_user::check::{Backend, Kind, Level, Options, Profile, Report, Verdict, checks, run};
use vhost_user::devices::{Balloon, Console, Disk, Entropy, InMemory, Loopback, Network};
use vhost_user::socket::Canceller;

/// A back-end at a path, as long as the value lives.
struct AtPath {
    path: PathBuf,
    child: Option<Child>,
    _directory: tempfile::TempDir,
}

impl Backend for AtPath {
    fn connect(&mut self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.path)
    }
    fn death(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        Some(status.to_string())
    }
}

impl Drop for AtPath {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Serves every front-end with a device of its own.
fn ours<D: Device>(make: impl Fn() -> D + Clone + Send + 'static) -> AtPath {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("device.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let make = make.clone();
            // Front-ends that do wrong end their session; that is what is checked.
            std::thread::spawn(move || {
                let _ = serve(&mut make(), stream.unwrap(), &Canceller::new().unwrap());
            });
        }
    });
    AtPath { path, child: None, _directory: directory }
}

fn checked(backend: &mut dyn Backend, options: &Options) -> Report {
    run(
        backend,
        options,
        || Duration::ZERO,
        |f| {
            if std::env::var_os("SHOW").is_some() {
                println!("{} {:?}", f.id, f.verdict)
            }
        },
    )
    .unwrap()
}

fn options(kind: Kind) -> Options {
    let profiles = Profile::ALL.map(|(profile, _)| profile).to_vec();
    Options {
        kind: Some(kind),
        profiles,
        timeout: Duration::from_secs(10),
        writes: true,
        ..Options::default()
    }
}

/// Nothing failed, and what was not asked is no more than what a device of this kind cannot be asked.
fn is_whole(kind: Kind, report: &Report, not_asked: usize) {
    let failed: Vec<_> =
        report.findings.iter().filter(|it| matches!(it.verdict, Verdict::Failed(_))).collect();
    assert!(failed.is_empty(), "{kind}: {failed:#?}");
    assert_eq!(report.gone_before, None);
    let skipped: Vec<_> = report
        .findings
        .iter()
        .filter_map(|it| match &it.verdict {
            Verdict::NotApplicable(why) => Some(format!("{}: {why}", it.id)),
            _ => None,
        })
        .collect();
    assert!(skipped.len() <= not_asked, "{kind}: {skipped:#?}");
}

#[test]
fn our_devices_pass_every_check() {
    is_whole(Kind::Blk, &checked(&mut ours(|| Disk::new(InMemory::new(4096), 2)), &options(Kind::Blk)), 14);
    let entropy = || Entropy::new(std::fs::File::open("/dev/urandom").unwrap());
    is_whole(Kind::Rng, &checked(&mut ours(entropy), &options(Kind::Rng)), 40);
    let network = || Network::new(Loopback::default(), [2, 0, 0, 0, 0, 1]);
    is_whole(Kind::Net, &checked(&mut ours(network), &options(Kind::Net)), 40);
    let console = || {
        let (input, output) =
            (rustix::pipe::pipe().unwrap(), std::fs::File::options().write(true).open("/dev/null"));
        Console::new(input.0, output.unwrap().into(), 80, 25).unwrap()
    };
    is_whole(Kind::Console, &checked(&mut ours(console), &options(Kind::Console)), 40);
    is_whole(Kind::Balloon, &checked(&mut ours(|| Balloon::new().unwrap()), &options(Kind::Balloon)), 40);
}

#[test]
fn there_are_enough_checks_and_each_has_a_name_of_its_own() {
    let options = options(Kind::Blk);
    let all = checks(&options);
    let mut names: Vec<_> = all.iter().map(|check| check.id.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len(), "two checks have one name");
    assert!(all.len() >= 170, "{} checks", all.len());
    assert!(all.iter().all(|check| !check.section.is_empty() && check.title.len() > 10));
    for level in [Level::Must, Level::Should, Level::Robust] {
        assert!(all.iter().any(|check| check.level == level));
    }
    let some = checks(&Options { only: vec!["framing.version".to_owned()], ..options });
    assert_eq!(some.len(), 3);
}

/// Known faults of what Debian 12 ships are found.
#[test]
fn faults_of_a_storage_daemon_are_found() {
    let test = "faults_of_a_storage_daemon_are_found";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.sock");
    let export = format!(
        "type=vhost-user-blk,id=e,node-name=d,writable=on,num-queues=2,addr.type=unix,addr.path={}",
        path.display()
    );
    let child = Command::new("qemu-storage-daemon")
        .args([
            "--blockdev",
            "driver=null-co,node-name=d,size=1073741824,read-zeroes=on",
            "--export",
            &export,
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => return println!("not run: {test}: qemu-storage-daemon: {error}"),
    };
    wait_for(&path);
    let mut daemon = AtPath { path, child: Some(child), _directory: directory };
    let report = run(
        &mut daemon,
        &Options { timeout: Duration::from_millis(1000), ..options(Kind::Blk) },
        || Duration::ZERO,
        |f| println!("{} {:?}", f.id, f.verdict),
    )
    .unwrap();
    for finding in &report.findings {
        if let Verdict::Failed(why) = &finding.verdict {
            println!("{} ({:?}): {why}", finding.id, finding.level);
        }
    }
    println!(
        "{} passed, {} not asked, gone before {:?}",
        report.passed(),
        report.not_applicable(),
        report.gone_before
    );
}

fn wait_for(path: &Path) {
    while UnixStream::connect(path).is_err() {
        std::thread::yield_now();
    }
}
