//! Power failures and full disks, on a medium that keeps only what it has to.

use super::disk::{Disk, Loaded};
use super::engine::{Answer, Asked, Command, Engine};
use super::state::Shared;
use crate::model::Model;
use crate::{LeaseId, Op, Revision, Snapshot, StoreError, Txn, clock};
use medium::{Image, Medium, Sync};
use std::sync::Arc;
use std::time::Duration;

mod medium;

/// How many histories with power failures a run of the tests goes through, always the same ones.
const SEEDS: u64 = 10_000;

/// Asks for another number of them.
const SEEDS_VARIABLE: &str = "HV_STORE_CRASH_SEEDS";

/// A small generator of its own, so that a seed means the same for ever (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % limit
    }
}

/// A new store's bytes.
fn blank() -> Image {
    let medium = Medium::new(Image::default(), Sync::Honest);
    Disk::create(&medium.guard(), medium.directory(), "blank", &Loaded::default()).unwrap();
    medium.image()
}

/// What a snapshot shows, and what it does not: the compacted revision and the last lease that was granted.
type Seen = (Snapshot, Revision, u64);

fn seen_in(model: &Model) -> Seen {
    (model.snapshot(), model.status().compacted, model.last_lease())
}

fn open(medium: &Medium) -> Result<(Engine, Arc<Shared>, Seen), StoreError> {
    let (disk, loaded) = Disk::open(medium.guard(), || medium.directory(), "medium".into())?;
    let seen = Snapshot {
        revision: Revision(loaded.revision),
        items: loaded.keys.iter().map(|(key, item)| item.with_key(key)).collect(),
        leases: loaded.leases.iter().map(|(id, ttl)| (*id, ttl.as_millis() as u64)).collect(),
    };
    let (compacted, base, last_lease) = (Revision(loaded.compacted), loaded.base, loaded.last_lease);
    let shared = Arc::new(Shared::new(disk, loaded));
    Ok((
        Engine::new(shared.clone(), base, last_lease, None, clock::now()),
        shared,
        (seen, compacted, last_lease),
    ))
}

/// With automatic compaction.
fn open_compacting(medium: &Medium, retain: u64) -> (Engine, Arc<Shared>) {
    let (disk, loaded) = Disk::open(medium.guard(), || medium.directory(), "medium".into()).unwrap();
    let (base, last_lease) = (loaded.base, loaded.last_lease);
    let shared = Arc::new(Shared::new(disk, loaded));
    (Engine::new(shared.clone(), base, last_lease, Some(retain), clock::now()), shared)
}

fn put(key: &str, bytes: usize) -> Vec<Command> {
    let put = Op::Put { key: key.into(), value: vec![1; bytes].into(), lease: None };
    vec![Command::Txn(Txn { then: vec![put], ..Txn::default() })]
}

fn command(random: &mut Random, model: &Model) -> Command {
    let key = format!("/k/{}", random.below(12));
    match random.below(16) {
        0 => Command::Grant(Duration::from_secs(3600)),
        1 => Command::Revoke(LeaseId(1 + random.below(6))),
        2 => Command::Compact(Revision(random.below(model.revision().0 + 1))),
        3 => Command::Txn(Txn { then: vec![Op::DeletePrefix("/k/1".into())], ..Txn::default() }),
        4 => Command::Txn(Txn { then: vec![Op::Delete(key)], ..Txn::default() }),
        number => {
            let lease = (number == 5).then(|| LeaseId(1 + random.below(4)));
            let size = if number == 6 { 20_000 } else { random.below(300) as usize };
            let value = bytes::Bytes::from(vec![random.below(256) as u8; size]);
            let twin = Op::Put { key: format!("{key}/twin"), value: value.clone(), lease };
            Command::Txn(Txn { then: vec![Op::Put { key, value, lease }, twin], ..Txn::default() })
        }
    }
}

fn apply_to_model(model: &mut Model, command: &Command) -> Result<Answer, StoreError> {
    match command {
        Command::Txn(txn) => model.txn(txn).map(Answer::Txn),
        Command::Grant(ttl) => model.lease_grant(Duration::ZERO, *ttl).map(Answer::Lease),
        Command::KeepAlive(id) => model.lease_keep_alive(Duration::ZERO, *id).map(|()| Answer::Done),
        Command::Revoke(id) => model.lease_revoke(*id).map(|()| Answer::Done),
        Command::Compact(revision) => model.compact(*revision).map(|()| Answer::Done),
    }
}

/// Writes, dies or loses power, reopens, four times over. What is found must be exactly what was acknowledged, or that and
/// the whole of a group whose commit was interrupted; and what one life has found, the next ones find too.
fn survive(seed: u64, blank: &Image, sync: Sync) -> Result<(), String> {
    let mut random = Random(seed);
    let mut medium = Medium::new(blank.clone(), sync);
    let mut acknowledged = Model::new("");
    let mut in_flight: Vec<Model> = Vec::new();
    for life in 0..4 {
        // The first failure may meet recovery itself, or the opening.
        let longest = if random.below(4) == 0 { 16 } else { 120 };
        medium.state().fails_after = random.below(longest);
        if random.below(4) == 0 {
            medium.state().sync_fails_after = random.below(20);
        }
        let opened = open(&medium);
        if let Err(error) = &opened
            && medium.state().fails_after != 0
            && !medium.state().sync_failed
        {
            return Err(format!("seed {seed}, life {life}: the power is on, and yet: {error}"));
        }
        if let Ok((mut engine, shared, seen)) = opened {
            let found = in_flight.drain(..).find(|model| seen_in(model) == seen);
            acknowledged = match found {
                Some(model) => model,
                None if seen_in(&acknowledged) == seen => acknowledged,
                None => {
                    return Err(format!(
                        "seed {seed}, life {life}: revision {}, acknowledged {}",
                        seen.0.revision,
                        acknowledged.revision()
                    ));
                }
            };
            for _ in 0..8 {
                let mut after = acknowledged.clone();
                let commands: Vec<_> = (0..random.below(6)).map(|_| command(&mut random, &after)).collect();
                let expected: Vec<_> =
                    commands.iter().map(|command| apply_to_model(&mut after, command)).collect();
                let answers = engine.apply(clock::now(), commands);
                if medium.state().fails_after == 0 {
                    // Nothing can be said of this group: a failure may also have come after its commit.
                    let answered = answers
                        .iter()
                        .zip(&expected)
                        .all(|(answer, expected)| answer.is_ok() == expected.is_ok());
                    if !answered {
                        in_flight.push(after);
                    } else if seen_in(&after) != seen_in(&acknowledged) {
                        (acknowledged, in_flight) = (after, Vec::new());
                    }
                    break;
                }
                if answers
                    .iter()
                    .map(|answer| answer.as_ref().ok())
                    .ne(expected.iter().map(|answer| answer.as_ref().ok()))
                {
                    // Nor of this one. The store may go on, or refuse everything from here.
                    if medium.state().sync_failed {
                        in_flight.push(after);
                        continue;
                    }
                    return Err(format!(
                        "seed {seed}, life {life}: answered {answers:?} instead of {expected:?}"
                    ));
                }
                if seen_in(&after) != seen_in(&acknowledged) {
                    // On top of what was acknowledged before: what is between them did not happen.
                    (acknowledged, in_flight) = (after, Vec::new());
                }
                let asked = if random.below(3) == 0 { Asked::Nothing } else { Asked::Something };
                if let Some(to) = engine.fold_due(clock::now(), asked) {
                    engine.folded(clock::now(), shared.disk.fold(to));
                }
                if medium.state().fails_after == 0 {
                    break;
                }
            }
            if random.below(4) == 0 {
                shared.disk.close();
            }
            // A process that dies does nothing more.
            medium.state().fails_after = 0;
        }
        if life == 3 || random.below(2) == 0 {
            medium = Medium::new(medium.crash(&mut random), sync);
        } else {
            medium.outlive();
        }
    }
    // With the power on, it must open.
    medium.outlive();
    let (_, _, seen) = open(&medium).map_err(|error| format!("seed {seed}: {error}"))?;
    let found = seen == seen_in(&acknowledged) || in_flight.iter().any(|model| seen == seen_in(model));
    if found {
        Ok(())
    } else {
        Err(format!("seed {seed}: revision {}, acknowledged {}", seen.0.revision, acknowledged.revision()))
    }
}

#[test]
fn power_failures_lose_nothing_acknowledged_and_leave_nothing_half() {
    #[expect(clippy::disallowed_methods, reason = "a test has no configuration to take this from")]
    let seeds =
        std::env::var(SEEDS_VARIABLE).map_or(SEEDS, |number| number.parse().expect("a number of seeds"));
    let blank = blank();
    std::thread::scope(|scope| {
        for part in 0..2 {
            let blank = &blank;
            scope.spawn(move || {
                for seed in (part..seeds).step_by(2) {
                    survive(seed, blank, Sync::Honest).unwrap();
                }
            });
        }
    });
}

/// The test above can fail: on a disk that lies about syncing, it does.
#[test]
fn the_power_failure_test_notices_a_missing_sync() {
    let blank = blank();
    let noticed = (0..200).filter(|seed| survive(*seed, &blank, Sync::Lying).is_err()).count();
    assert!(noticed > 100, "only {noticed} of 200 seeds noticed");
}

/// Nor does it trust a directory that was not synced.
#[test]
fn the_power_failure_test_notices_a_missing_sync_of_the_directory() {
    let blank = blank();
    let noticed = (0..400).filter(|seed| survive(*seed, &blank, Sync::LyingAboutNames).is_err()).count();
    assert!(noticed > 20, "only {noticed} of 400 seeds noticed");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_again() {
    let medium = Medium::new(blank(), Sync::Honest);
    let (mut engine, shared, ..) = open(&medium).unwrap();
    let put = |key: &str| {
        let put = Op::Put { key: key.into(), value: vec![1; 100_000].into(), lease: None };
        vec![Command::Txn(Txn { then: vec![put], ..Txn::default() })]
    };
    assert!(engine.apply(clock::now(), put("/before"))[0].is_ok());
    let full = medium.state().used();
    medium.state().capacity = full;
    let mut kept = 0;
    let refused = loop {
        match engine.apply(clock::now(), put(&format!("/fill/{kept}"))).remove(0) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Full), "{refused:?}");
    for _ in 0..3 {
        let again = engine.apply(clock::now(), put("/refused"));
        assert!(matches!(again[0], Err(StoreError::Full)), "{again:?}");
    }
    assert_eq!(shared.read().get("/refused"), None);
    assert!(shared.read().get("/before").is_some(), "reads go on");
    medium.state().capacity = u64::MAX;
    let written = engine.apply(clock::now(), put("/after"));
    assert!(matches!(&written[0], Ok(Answer::Txn(outcome)) if outcome.revision.0 == kept + 2), "{written:?}");
    shared.disk.close();
    let (_, _, (seen, ..)) = open(&medium).unwrap();
    assert_eq!(seen.revision.0, kept + 2);
    assert!(seen.items.iter().all(|item| item.key != "/refused"));
}

/// Whichever sync fails while a segment is begun: what is acknowledged after that is there after a restart.
#[test]
fn a_sync_that_fails_while_a_segment_is_begun_loses_nothing_that_is_written_later() {
    // An empty first segment is replaced under its name, one with a frame is followed.
    for frames in 0..2 {
        let mut refused = 0;
        for sync in 0..4 {
            let medium = Medium::new(blank(), Sync::Honest);
            let (mut engine, shared, ..) = open(&medium).unwrap();
            let mut acknowledged = 0;
            for _ in 0..frames {
                acknowledged += usize::from(engine.apply(clock::now(), put("/first", 10))[0].is_ok());
            }
            medium.state().sync_fails_after = sync;
            let large = engine.apply(clock::now(), put("/large", 50_000));
            refused += usize::from(large[0].is_err());
            let mut keys = vec![("/large", large[0].is_ok())];
            for key in ["/small", "/smaller"] {
                keys.push((key, engine.apply(clock::now(), put(key, 10))[0].is_ok()));
            }
            medium.state().fails_after = 0;
            drop((engine, shared));
            medium.outlive();
            let opened = open(&medium);
            let (_, _, (seen, ..)) = opened.unwrap_or_else(|error| panic!("sync {sync}: {error}"));
            assert!(seen.items.len() >= acknowledged);
            for (key, _) in keys.iter().filter(|(_, acknowledged)| *acknowledged) {
                assert!(seen.items.iter().any(|item| item.key == *key), "sync {sync}: {key} is lost");
            }
        }
        assert!(refused >= 3, "only {refused} syncs mattered");
    }
}

#[test]
fn a_log_of_large_values_is_bounded_in_bytes_under_steady_load() {
    let medium = Medium::new(blank(), Sync::Honest);
    let (mut engine, shared) = open_compacting(&medium, 1_000_000);
    let mut most = 0;
    for number in 0..200 {
        assert!(engine.apply(clock::now(), put(&format!("/{}", number % 3), 8_000))[0].is_ok());
        if let Some(to) = engine.fold_due(clock::now(), Asked::Something) {
            engine.folded(clock::now(), shared.disk.fold(to));
        }
        most = most.max(shared.disk.log_bytes());
    }
    // The bound, the segment that goes beyond it, and the one that is being dropped.
    assert!(most <= (128 << 10) + 2 * (32 << 10), "{most} bytes");
    assert!(shared.read().compacted > 100);
    let kept = shared.read().compacted;
    assert_eq!(shared.history(kept + 1, 200).unwrap().len() as u64, 200 - kept, "the rest is there");
}

#[test]
fn a_fold_that_fails_is_told_and_tried_ever_more_seldom() {
    let medium = Medium::new(blank(), Sync::Honest);
    let (mut engine, shared) = open_compacting(&medium, 0);
    let mut now = clock::now();
    for number in 0..40 {
        assert!(engine.apply(now, put(&format!("/{number}"), 100_000))[0].is_ok());
    }
    let full = medium.state().used();
    medium.state().capacity = full;
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let to = engine.fold_due(now, Asked::Nothing).expect("it is time");
        let result = shared.disk.fold(to);
        assert!(matches!(result, Err(StoreError::Full)), "{result:?}");
        engine.folded(now, result);
        assert_eq!(shared.fold_error(), Some(StoreError::Full.to_string()));
        let next = engine.next_wake(now).expect("it will be tried again");
        assert_eq!(engine.fold_due(next - Duration::from_millis(1), Asked::Nothing), None);
        pauses.push((next - now).as_secs());
        now = next;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    medium.state().capacity = u64::MAX;
    let to = engine.fold_due(now, Asked::Nothing).expect("it is time");
    engine.folded(now, shared.disk.fold(to));
    assert_eq!(shared.fold_error(), None);
}
