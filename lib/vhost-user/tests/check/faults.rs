//! For every check a back-end that is wrong in what it finds, and in nothing that another does.

use super::options;
use super::types::{Files, console};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vhost_user::backend::Device;
use vhost_user::check::faults::{Faulty, Session};
use vhost_user::check::{Backend, Kind, Options, Profile, Report, Verdict, checks, run};
use vhost_user::devices::{Balloon, Disk, Entropy, InMemory, Loopback, Network};
use vhost_user::socket::Canceller;

/// A back-end with a fault, which is started again when it has died.
struct Variant {
    faulty: Arc<Faulty>,
    kind: Kind,
}

impl Backend for Variant {
    fn connect(&mut self) -> io::Result<UnixStream> {
        if self.faulty.has_died() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, its) = UnixStream::pair()?;
        let (session, kind) = (self.faulty.session(), self.kind);
        std::thread::spawn(move || serve(session, kind, its).unwrap());
        Ok(ours)
    }

    fn revive(&mut self) -> bool {
        self.faulty.revive();
        true
    }
}

fn serve(session: Session, kind: Kind, stream: UnixStream) -> io::Result<()> {
    fn on(session: Session, mut device: impl Device, stream: UnixStream) -> io::Result<()> {
        session.serve(&mut device, stream, &Canceller::new()?)
    }
    match kind {
        Kind::Blk => on(session, Disk::new(InMemory::new(64), 2), stream),
        Kind::Rng => on(session, Entropy::new(std::fs::File::open("/dev/urandom")?), stream),
        Kind::Net => on(session, Network::new(Loopback::default(), [2, 0, 0, 0, 0, 1]), stream),
        Kind::Console => on(session, console(), stream),
        Kind::Balloon => on(session, Balloon::new()?, stream),
        Kind::Fs => on(session, Files::new(), stream),
    }
}

/// Without profiles, which ask in their order what others ask too: those have faults of their own, and only then are they asked.
fn of(kind: Kind) -> Options {
    Options { profiles: Vec::new(), timeout: Duration::from_secs(5), ..options(kind) }
}

fn failed(report: &Report) -> Vec<(&str, &str)> {
    let failed = report.findings.iter().filter_map(|it| match &it.verdict {
        Verdict::Failed(why) => Some((it.id.as_str(), why.as_str())),
        _ => None,
    });
    failed.collect()
}

/// What a back-end with the fault of a check fails instead of that check alone.
fn wrong(check: &str, kind: Kind) -> Option<String> {
    let Some(faulty) = Faulty::new(check, kind) else { return Some("no back-end fails it".to_owned()) };
    let mut backend = Variant { faulty, kind };
    let profiles = Profile::ALL.map(|(profile, _)| profile).to_vec();
    let its = profiles.into_iter().filter(|profile| check.starts_with(&format!("profile.{profile}.")));
    // A fifth of a run, of which nothing but its own back-end is wrong.
    let mut skip: Vec<_> = [LONG.to_owned()].into_iter().filter(|long| long != check).collect();
    // What a profile needs a disk to have, every front-end does.
    skip.extend((check.starts_with("profile.") && check.ends_with(".features")).then(|| OFFERED.to_owned()));
    let options = Options { profiles: its.collect(), skip, ..of(kind) };
    let report = run(&mut backend, &options, || Duration::ZERO, |_| {});
    let report = match report {
        Ok(report) => report,
        Err(error) => return Some(format!("{error:?}")),
    };
    let failed = failed(&report);
    match (failed.as_slice(), &report.gone_before) {
        ([(only, _)], None) if *only == check => None,
        (all, gone) => Some(format!("it fails {all:?}, gone before {gone:?}")),
    }
}

const LONG: &str = "rings.traffic.long";
const OFFERED: &str = "type.blk.configuration.offered";
const THREADS: usize = 6;

/// Checks that look into the back-end's process: the program's tests have them.
const OF_PROCESSES: [&str; 2] = ["memory.unmapped", "reconnection.resources"];

/// One of each family, and of each way of being wrong.
const CHOSEN: [&str; 31] = [
    "type.blk.features",
    "type.net.requirements",
    "type.console.queues",
    "type.balloon.actual",
    "framing.answer.size",
    "framing.half-close",
    "framing.end.every-byte",
    "framing.descriptors.late",
    "framing.stray.SET_VRING_BASE",
    "negotiation.slots.enough",
    "acknowledgements.own-answer",
    "memory.table.8",
    "memory.live",
    "rings.size.odd",
    "rings.base.far",
    "rings.stop.quiet",
    "rings.traffic.full",
    "hostile.head",
    "configuration.echo",
    "state.status.stop",
    "state.inflight.packed.commit",
    "state.iommu.invalidate",
    "state.in-band.call",
    "state.shmem.map",
    "reconnection.busy",
    "reconnection.second",
    "profile.qemu.order",
    "blk.read.last",
    "rng.readable",
    "net.send.pieces",
    "console.send.large",
];

/// All checks, each with a kind of device that it is asked of. What is asked of all types is asked of disks, which have more than one queue.
fn all() -> Vec<(String, Kind)> {
    let mut seen = BTreeSet::new();
    [Kind::Blk, Kind::Rng, Kind::Net, Kind::Console, Kind::Balloon, Kind::Fs]
        .into_iter()
        .flat_map(|kind| {
            checks(&Options { profiles: options(kind).profiles, ..of(kind) })
                .into_iter()
                .map(move |check| (check.id, kind))
        })
        .filter(|(id, _)| seen.insert(id.clone()) && !OF_PROCESSES.contains(&id.as_str()))
        .collect()
}

fn each_fails_its_own(all: &[(String, Kind)]) {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        // Most of a run is waiting.
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((check, kind)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(wrong) = wrong(check, *kind) {
                        found.lock().unwrap().push(format!("{check} of {kind}: {wrong}"));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
    found.sort();
    assert!(found.is_empty(), "{} of {}:\n{}", found.len(), all.len(), found.join("\n"));
}

#[test]
fn every_check_has_a_back_end_that_fails_it_and_one_of_each_family_fails_no_other() {
    let all = all();
    let without: Vec<_> = all.iter().filter(|(check, kind)| Faulty::new(check, *kind).is_none()).collect();
    assert!(without.is_empty(), "no back-end fails {without:?}");
    let family = |id: &str| id.split('.').next().unwrap_or_default().to_owned();
    let families: BTreeSet<_> = all.iter().map(|(id, _)| family(id)).collect();
    assert_eq!(families, CHOSEN.into_iter().map(family).collect(), "one of each family is chosen");
    let chosen: Vec<_> = all.into_iter().filter(|(id, _)| CHOSEN.contains(&id.as_str())).collect();
    assert_eq!(chosen.len(), CHOSEN.len(), "there are fewer: {chosen:?}");
    each_fails_its_own(&chosen);
}

#[test]
#[ignore = "a minute or two"]
fn every_check_is_failed_by_a_back_end_that_fails_no_other() {
    each_fails_its_own(&all());
}
