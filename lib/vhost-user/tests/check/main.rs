//! The checks, on devices of ours. What they find in others is tested with the program.
#![cfg(test)]

mod faults;
mod types;

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;
use vhost_user::ProtocolFeatures;
use vhost_user::backend::{Device, serve};
use vhost_user::check::{Backend, Kind, Level, Options, Profile, Report, Verdict, checks, run};
use vhost_user::devices::{Balloon, DirectDisk, Disk, Entropy, InMemory, Loopback, Network, WithMore};
use vhost_user::socket::Canceller;

/// A back-end at a path, as long as the value lives.
struct AtPath {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Backend for AtPath {
    fn connect(&mut self) -> io::Result<UnixStream> {
        UnixStream::connect(&self.path)
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
    AtPath { path, _directory: directory }
}

fn checked(backend: &mut dyn Backend, options: &Options) -> Report {
    run(backend, options, || Duration::ZERO, |_| {}).unwrap()
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
    use ProtocolFeatures as P;
    let disk = || {
        let more = P::DEVICE_STATE | P::SHMEM | P::SHARED_OBJECT | P::HOST_NOTIFIER;
        WithMore::new(Disk::new(InMemory::new(4096), 2), more).unwrap()
    };
    // Two look into a process; postcopy and slots exclude each other.
    is_whole(Kind::Blk, &checked(&mut ours(disk), &options(Kind::Blk)), 7);
    let entropy = || Entropy::new(std::fs::File::open("/dev/urandom").unwrap());
    is_whole(Kind::Rng, &checked(&mut ours(entropy), &options(Kind::Rng)), 40);
    let network = || Network::new(Loopback::default(), [2, 0, 0, 0, 0, 1]);
    is_whole(Kind::Net, &checked(&mut ours(network), &options(Kind::Net)), 40);
    is_whole(Kind::Console, &checked(&mut ours(types::console), &options(Kind::Console)), 40);
    is_whole(Kind::Balloon, &checked(&mut ours(|| Balloon::new().unwrap()), &options(Kind::Balloon)), 40);
}

/// What is named is what is missing, and nothing that is there.
#[test]
fn who_is_not_asked_hears_what_it_lacks() {
    let only = vec!["state.shmem.map".to_owned()];
    let entropy = || Entropy::new(std::fs::File::open("/dev/zero").unwrap());
    let report = checked(&mut ours(entropy), &Options { only, ..options(Kind::Rng) });
    let verdicts: Vec<_> = report.findings.iter().map(|it| &it.verdict).collect();
    assert_eq!(verdicts, [&Verdict::NotApplicable("it does not offer SHMEM".to_owned())]);
}

/// Who can be migrated by postcopy has no slots, so that is asked of another.
#[test]
fn a_disk_of_ours_passes_the_checks_of_postcopy() {
    let test = "a_disk_of_ours_passes_the_checks_of_postcopy";
    if let Err(error) = vhost_user::memory::Userfault::new() {
        return println!("not run: {test}: no userfaultfd for this user: {error}");
    }
    let disk = || WithMore::new(Disk::new(InMemory::new(4096), 2), ProtocolFeatures::PAGEFAULT).unwrap();
    let only = ["state.postcopy", "profile.qemu.postcopy", "memory.table"].map(str::to_owned).to_vec();
    let report = checked(&mut ours(disk), &Options { only, ..options(Kind::Blk) });
    assert!(report.findings.len() > 4, "{:?}", report.findings);
    is_whole(Kind::Blk, &report, 0);
}

/// Some of what is asked goes around the page cache and takes its time, and some does not: what is quicker waits for what came before it.
#[test]
fn a_disk_around_the_page_cache_is_seen_to_keep_the_order() {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    if let Err(error) = DirectDisk::new(file.reopen().unwrap(), 1) {
        return println!(
            "not run: a_disk_around_the_page_cache_is_seen_to_keep_the_order: no direct transfers: {error}"
        );
    }
    let file = std::sync::Arc::new(file);
    let disk = move || DirectDisk::new(file.reopen().unwrap(), 1).unwrap();
    let only = vec!["rings.traffic.in-order".to_owned(), "rings.traffic.packed.in-order".to_owned()];
    let report = checked(&mut ours(disk), &Options { only, ..options(Kind::Blk) });
    let verdicts: Vec<_> = report.findings.iter().map(|it| &it.verdict).collect();
    assert_eq!(verdicts, [&Verdict::Passed; 2]);
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
    let only = vec!["framing.version".to_owned()];
    assert_eq!(checks(&Options { only: only.clone(), ..options.clone() }).len(), 3);
    let skip = vec!["framing.version.0".to_owned()];
    assert_eq!(checks(&Options { only, skip, ..options }).len(), 2);
}

/// Is away for a moment now and then, as one is that listens anew for each front-end.
struct Away {
    there: AtPath,
    connections: u32,
}

impl Backend for Away {
    fn connect(&mut self) -> io::Result<UnixStream> {
        self.connections += 1;
        // Never twice, so that who tries again finds it.
        if self.connections.is_multiple_of(8) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.there.connect()
    }
}

/// A back-end that takes no connection once fails that check, and the others are made.
#[test]
fn a_back_end_that_is_away_for_a_moment_does_not_end_the_run() {
    let there = ours(|| Entropy::new(std::fs::File::open("/dev/urandom").unwrap()));
    let mut backend = Away { there, connections: 0 };
    let options = Options { only: vec!["negotiation".to_owned()], ..options(Kind::Rng) };
    let report = checked(&mut backend, &options);
    assert_eq!(report.gone_before, None);
    assert_eq!(report.findings.len(), checks(&options).len());
    let failed: Vec<_> =
        report.findings.iter().filter(|it| matches!(it.verdict, Verdict::Failed(_))).collect();
    assert!(!failed.is_empty() && failed.len() < report.findings.len() / 2, "{failed:#?}");
}

/// What no sentence of the specification asks for is recommended, or is careful, and no more.
#[test]
fn what_the_specification_does_not_say_is_no_must() {
    let levels = [
        ("acknowledgements.not-negotiated", Level::Robust),
        ("framing.half-close", Level::Robust),
        ("memory.live", Level::Should),
        ("memory.slots.descriptor", Level::Robust),
        ("negotiation.features.unknown", Level::Robust),
        ("negotiation.owner.late", Level::Should),
        ("negotiation.protocol.unknown", Level::Robust),
        ("rings.enable.early", Level::Should),
        ("rings.kick.none", Level::Should),
    ];
    let all = checks(&options(Kind::Blk));
    for (id, level) in levels {
        let check = all.iter().find(|check| check.id == id);
        assert_eq!(check.map(|check| check.level), Some(level), "{id}");
    }
}

/// Ends the session of who asks for more of its configuration space than it has.
struct Strict(Disk<InMemory>);

impl Device for Strict {
    fn features(&self) -> virtio::features::Features {
        self.0.features()
    }
    fn queues(&self) -> u16 {
        1
    }
    fn config(&self) -> &[u8] {
        &self.0.config()[..8]
    }
    fn run(&mut self, queue: u16, guest: &mut vhost_user::backend::Guest<'_>) {
        self.0.run(queue, guest);
    }
}

/// A relay that closes the connection upon an answer that says no.
struct Closes(AtPath);

impl Backend for Closes {
    fn connect(&mut self) -> io::Result<UnixStream> {
        let back = self.0.connect()?;
        let (ours, its) = UnixStream::pair()?;
        std::thread::spawn(move || {
            let canceller = Canceller::new().unwrap();
            let ends = canceller.clone();
            let _ = vhost_user::proxy::relay(
                its,
                back,
                vhost_user::proxy::Chaos::default(),
                &canceller,
                |passed| {
                    if passed.number == 24 && passed.payload.is_empty() {
                        passed.number = 0;
                        ends.cancel();
                    }
                },
            );
        });
        Ok(ours)
    }
}

/// What is there is found, however many connections that takes.
#[test]
fn configuration_space_is_found_though_asking_for_more_ends_the_session() {
    let mut backend = Closes(ours(|| Strict(Disk::new(InMemory::new(64), 1))));
    let offer = vhost_user::check::probe(&mut backend, Duration::from_secs(10)).unwrap();
    assert_eq!(offer.config, Some(64_u64.to_le_bytes().to_vec()));
}
