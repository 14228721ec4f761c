//! Monitor connections that break in the middle of an operation, and callers that leave.

use crate::guest::{Guest, LONG, boot_disk, config, missing, with_disk};
use crate::migration::is_sent;
use crate::polled::polled;
use crate::small::DEAF_AT_FIRST;
use qemu::{
    Adoption, Supervision, Vm, adopt,
    config::{Address, Disk, Format, Image, Limits, Throttle},
    vm::{CopyTarget, FoundJob, MigrationOptions, Notes, OperationError, Pulled, Served},
};
use qmp::commands::{QomList, RunState};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// Something between a machine and its manager that breaks connections.
pub(crate) struct Cutter {
    cut: mpsc::Sender<oneshot::Sender<()>>,
    _proxy: JoinSet<()>,
}

impl Cutter {
    /// Comes between a machine and its manager.
    pub(crate) async fn between(guest: &mut Guest) -> Self {
        let record = guest.vm.record().clone();
        guest.unsupervised().await;
        let real = record.qmp_socket.with_file_name("real.sock");
        fs::rename(&record.qmp_socket, &real).unwrap();
        let listener = qemu::socket::listen(&record.qmp_socket).unwrap();
        let (cut, cuts) = mpsc::channel(1);
        let mut proxy = JoinSet::new();
        proxy.spawn(serve(listener, real, cuts));
        let supervision = Supervision { patience: LONG, ..Supervision::default() };
        let Adoption::Adopted(vm, supervisor) = adopt(record, LONG, supervision).await.unwrap() else {
            panic!("not adopted")
        };
        guest.supervised(vm, supervisor);
        Self { cut, _proxy: proxy }
    }

    /// On return the connection is broken; another one may be open already.
    pub(crate) async fn cut(&self) {
        let (done, cut) = oneshot::channel();
        self.cut.send(done).await.unwrap();
        cut.await.unwrap();
    }
}

async fn serve(
    listener: std::os::unix::net::UnixListener,
    real: PathBuf,
    mut cuts: mpsc::Receiver<oneshot::Sender<()>>,
) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    loop {
        let (mut manager, _) = listener.accept().await.unwrap();
        let mut machine = UnixStream::connect(&real).await.unwrap();
        let cut = tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut manager, &mut machine) => continue,
            cut = cuts.recv() => cut,
        };
        drop((manager, machine));
        let Some(cut) = cut else { return };
        cut.send(()).unwrap();
    }
}

#[tokio::test]
async fn a_backup_goes_on_and_is_closed_when_its_connection_breaks() {
    let test = "a_backup_goes_on_and_is_closed_when_its_connection_breaks";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let content: Vec<u8> = (0..32u32 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(at("disk.raw"), &content).unwrap();
    let disk = Disk::new("root", Image::raw(at("disk.raw")));
    let mut guest = Guest::paused(directory.path(), config().disk(disk)).await;
    let cutter = Cutter::between(&mut guest).await;
    for round in 0..4 {
        let path = at(&format!("copy-{round}.raw"));
        let target = CopyTarget::file(path.clone(), Format::Raw);
        let started = guest.vm.push_backup("root", &target, None);
        let mut backup = if round < 2 {
            let backup = started.await.unwrap();
            cutter.cut().await;
            backup
        } else {
            // Already while it is prepared: whatever step the cut meets is done or reported as not done.
            let (started, ()) = tokio::join!(started, cutter.cut());
            match started {
                Ok(backup) => backup,
                Err(error) => {
                    eprintln!("round {round}: {error:?}");
                    guest.answers().await;
                    assert_eq!(guest.node_names().await, ["root", "root-file"]);
                    continue;
                }
            }
        };
        backup.done().await.unwrap();
        assert!(fs::read(&path).unwrap() == content, "round {round}");
        assert_eq!(guest.node_names().await, ["root", "root-file"], "the copy is closed");
        assert!(guest.vm.jobs().await.unwrap().is_empty(), "and its job dismissed");
    }
    // Found again by who has lost the handle.
    let target = CopyTarget::file(at("found.raw"), Format::Raw);
    drop(guest.vm.push_backup("root", &target, None).await.unwrap());
    cutter.cut().await;
    guest.answers().await;
    let mut jobs = guest.vm.jobs().await.unwrap();
    let Some(FoundJob::Backup(mut backup)) = jobs.pop() else { panic!("{jobs:?}") };
    // Whoever runs out of patience, wherever, can wait again.
    for times in 0.. {
        if let Some(done) = polled(times, backup.done()).await {
            done.unwrap();
            break;
        }
    }
    assert!(fs::read(at("found.raw")).unwrap() == content);
    assert_eq!(guest.node_names().await, ["root", "root-file"], "the copy is closed");
    assert!(guest.vm.jobs().await.unwrap().is_empty(), "and its job dismissed");
    // What the disk used before is closed by who finds its mirror.
    let target = CopyTarget::file(at("mirror.raw"), Format::Raw);
    drop(guest.vm.mirror_disk("root", &target).await.unwrap());
    let mut jobs = guest.vm.jobs().await.unwrap();
    let Some(FoundJob::Mirror(mut mirror)) = jobs.pop() else { panic!("{jobs:?}") };
    for times in 0.. {
        if let Some(done) = polled(times, mirror.complete()).await {
            done.unwrap();
            break;
        }
    }
    let copy = mirror.target();
    assert_eq!(guest.node_names().await, [copy, &format!("{copy}-file")], "only the copy is open");
    guest.quit().await;
}

/// Wherever it is cut: each step is told again, and what is done already is passed over. What is left by one who leaves is found.
#[tokio::test]
async fn a_pulled_backup_is_finished_wherever_its_connection_breaks_or_its_caller_leaves() {
    let test = "a_pulled_backup_is_finished_wherever_its_connection_breaks_or_its_caller_leaves";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut guest = Guest::paused(directory.path(), with_disk(directory.path())).await;
    guest.vm.add_bitmap("root", "since", Notes::InMemory).await.unwrap();
    let cutter = Cutter::between(&mut guest).await;
    let bitmaps = async |guest: &Guest| {
        let bitmaps =
            guest.nodes().await.into_iter().flat_map(|node| node.dirty_bitmaps.into_iter().flatten());
        bitmaps.map(|bitmap| (bitmap.name.unwrap_or_default(), bitmap.recording)).collect::<Vec<_>>()
    };
    let begin = async |guest: &Guest| {
        let served = Served::new("root", at("scratch"), Address::Unix(at("pull.sock")), "x");
        guest.vm.pull_backup(&Served { since: Some("since".into()), ..served }).await.unwrap()
    };
    let is_whole = async |guest: &Guest, times: u64| {
        assert_eq!(guest.node_names().await, ["root", "root-file"], "after {times} polls");
        assert_eq!(bitmaps(guest).await, [("since".to_owned(), true)], "after {times} polls");
        assert_eq!(guest.vm.active_node("root").await.unwrap(), "root");
        assert!(guest.vm.pulled_backup("root").await.unwrap().is_none());
        for left in ["scratch", "pull.sock"] {
            // QEMU removes its socket itself, unless it was told to stop on a connection that was cut.
            let _ = fs::remove_file(at(left));
        }
    };
    let mut times = 0;
    loop {
        // Cut after so many polls; the same call goes on.
        let pull = begin(&guest).await;
        let mut finishing = std::pin::pin!(pull.finish(Pulled::Whole));
        if let Some(done) = polled(times, finishing.as_mut()).await {
            done.unwrap();
            is_whole(&guest, times).await;
            break;
        }
        cutter.cut().await;
        finishing.await.unwrap();
        guest.answers().await;
        is_whole(&guest, times).await;
        // Left after so many polls; whoever comes next finds the rest and ends it.
        let pull = begin(&guest).await;
        drop(polled(times, pull.finish(Pulled::GivenUp)).await);
        guest.answers().await;
        if let Some(found) = guest.vm.pulled_backup("root").await.unwrap() {
            found.finish(Pulled::GivenUp).await.unwrap();
        }
        is_whole(&guest, times).await;
        times += 1;
    }
    assert!(times > 8, "{times}");
    guest.quit().await;
}

/// A machine with two disks, and how both are served at one moment.
async fn two_disks(directory: &Path) -> (Guest, [Served; 2]) {
    let at = |name: &str| directory.join(name);
    let mut machine = config();
    for disk in ["a", "b"] {
        fs::write(at(disk), vec![0; 1 << 20]).unwrap();
        machine = machine.disk(Disk::new(disk, Image::raw(at(disk))));
    }
    let guest = Guest::start(directory, machine).await;
    let served = ["a", "b"]
        .map(|disk| Served::new(disk, at(&format!("{disk}-scratch")), Address::Unix(at("pull.sock")), disk));
    (guest, served)
}

/// Wherever their caller leaves, while somebody else lists the images: QEMU 7.2 would end at that while one is being made.
#[tokio::test]
async fn pulled_backups_that_are_dropped_anywhere_are_taken_back() {
    let test = "pulled_backups_that_are_dropped_anywhere_are_taken_back";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (guest, served) = two_disks(directory.path()).await;
    let is_clear = async || {
        for disk in ["a", "b"] {
            if guest.vm.pulled_backup(disk).await.unwrap().is_some()
                || at(&format!("{disk}-scratch")).exists()
            {
                return false;
            }
        }
        let state = guest.vm.qmp().call(&qmp::commands::QueryStatus {}).await;
        state.unwrap_or_else(|error| panic!("{error}: {}", guest.log())).running
    };
    for times in 0.. {
        if let Some(done) = polled(times, guest.vm.pull_backups(&served)).await {
            for backup in done.unwrap() {
                backup.finish(Pulled::Whole).await.unwrap();
            }
            assert!(times > 20, "{times}");
            break;
        }
        let taken_back = async { while !is_clear().await {} };
        let taken_back = tokio::time::timeout(LONG, taken_back).await;
        assert!(taken_back.is_ok(), "dropped after {times}: {}", guest.log());
    }
    assert_eq!(guest.node_names().await, ["a", "a-file", "b", "b-file"]);
    guest.quit().await;
}

/// A guest that somebody pauses while it stands for the moment that is served stays so.
#[tokio::test]
async fn a_guest_that_is_paused_while_its_disks_begin_to_be_served_stays_paused() {
    let test = "a_guest_that_is_paused_while_its_disks_begin_to_be_served_stays_paused";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (guest, served) = two_disks(directory.path()).await;
    for times in 0.. {
        let mut pulling = Box::pin(guest.vm.pull_backups(&served));
        let done = polled(times, pulling.as_mut()).await;
        let is_done = done.is_some();
        let backups = match done {
            Some(done) => done,
            None => {
                let (backups, paused) = tokio::join!(pulling, guest.vm.pause());
                paused.unwrap_or_else(|error| panic!("{error} after {times} polls: {}", guest.log()));
                let state = guest.vm.qmp().call(&qmp::commands::QueryStatus {}).await.unwrap().status;
                assert_eq!(state, RunState::Paused, "paused after {times} polls");
                backups
            }
        };
        match backups {
            Ok(backups) => {
                for backup in backups {
                    backup.finish(Pulled::Whole).await.unwrap();
                }
                for disk in ["a", "b"] {
                    fs::remove_file(at(&format!("{disk}-scratch"))).unwrap();
                }
            }
            // QEMU 10.0 may fail to make an image in the middle of which it is stopped.
            Err(error) => assert!(!is_done && matches!(error, OperationError::Job { .. }), "{error:?}"),
        }
        if is_done {
            break;
        }
        guest.vm.resume().await.unwrap();
    }
    guest.quit().await;
}

/// A file that was made for a copy is nobody's when QEMU is gone.
#[tokio::test]
async fn no_copy_is_left_of_a_machine_that_ends_while_its_backup_begins() {
    let test = "no_copy_is_left_of_a_machine_that_ends_while_its_backup_begins";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let machine = with_disk(directory.path());
    let copy = CopyTarget::file(at("copy"), Format::Qcow2);
    for times in 0.. {
        for by_leaving in [false, true] {
            let guest = Guest::paused(directory.path(), machine.clone()).await;
            let mut pushing = Box::pin(guest.vm.push_backup("root", &copy, None));
            if polled(times, pushing.as_mut()).await.is_some() {
                assert!(times > 8, "{times}");
                return;
            }
            guest.vm.kill().await.unwrap();
            if by_leaving {
                drop(pushing);
            } else {
                assert!(pushing.await.is_err(), "after {times} polls");
            }
            let removed = async {
                while at("copy").exists() {
                    tokio::task::yield_now().await;
                }
            };
            let removed = tokio::time::timeout(LONG, removed).await;
            assert!(removed.is_ok(), "after {times} polls, left by its caller: {by_leaving}");
        }
    }
}

#[tokio::test]
async fn unplugging_and_ballooning_go_on_when_their_connection_breaks() {
    let test = "unplugging_and_ballooning_go_on_when_their_connection_breaks";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("data.raw");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let mut machine = config();
    machine.balloon = Some(qemu::config::Balloon::default());
    let mut guest = Guest::linux(directory.path(), machine).await;
    guest.vm.plug_disk(&Disk::new("data", Image::raw(&image))).await.unwrap();
    guest.run_until("[ -b /dev/vda ]").await;
    let cutter = Cutter::between(&mut guest).await;
    // A guest that stands cannot let go before the connection is broken.
    guest.vm.pause().await.unwrap();
    let cut_and_resume = async || {
        cutter.cut().await;
        guest.answers().await;
        guest.vm.resume().await.unwrap();
    };
    let (unplugged, ()) = tokio::join!(guest.vm.unplug_disk("data", LONG), cut_and_resume());
    unplugged.unwrap();
    assert!(guest.node_names().await.is_empty());
    guest.vm.pause().await.unwrap();
    let (ballooned, ()) = tokio::join!(guest.vm.balloon(160 << 20, LONG), cut_and_resume());
    assert_eq!(ballooned.unwrap(), 160 << 20);
    guest.quit().await;
}

#[tokio::test]
async fn a_migration_goes_on_when_the_connections_of_both_ends_break() {
    let test = "a_migration_goes_on_when_the_connections_of_both_ends_break";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for name in ["source", "destination"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    let mut source = Guest::linux(&directory.path().join("source"), config()).await;
    let machine = Guest::with_linux(config());
    let mut destination = Guest::incoming(&directory.path().join("destination"), machine).await;
    let cutters = [Cutter::between(&mut source).await, Cutter::between(&mut destination).await];
    let via = Address::Unix(directory.path().join("migration.sock"));
    // It takes a second or two.
    let options = MigrationOptions { bandwidth: Some(32 << 20), ..MigrationOptions::default() };
    let cuts = async {
        is_sent(&source).await;
        for cutter in &cutters {
            cutter.cut().await;
        }
    };
    let (moved, ()) = tokio::join!(source.vm.migrate_to(&destination.vm, &via, &options), cuts);
    moved.unwrap();
    assert_eq!(source.vm.status().run_state, RunState::Postmigrate);
    assert_eq!(destination.vm.status().run_state, RunState::Running);
    destination.run("true").await;
    destination.quit().await;
    source.quit().await;
}

/// Whether the limits of the disk below are there.
async fn limited(vm: &Vm) -> bool {
    let objects = vm.qmp().call(&QomList { path: "/objects".into() }).await.unwrap();
    objects.iter().any(|object| object.name == "data-limits")
}

#[tokio::test]
async fn a_disk_whose_plugging_is_given_up_anywhere_leaves_nothing_or_is_there() {
    let test = "a_disk_whose_plugging_is_given_up_anywhere_leaves_nothing_or_is_there";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("data.raw");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let guest = Guest::linux(directory.path(), config()).await;
    let limits = Limits { requests: Some(100_000), ..Limits::default() };
    let disk = Disk { throttle: Some(Throttle::Own(limits)), ..Disk::new("data", Image::raw(&image)) };
    let (mut times, mut there) = (0, 0);
    loop {
        let done = polled(times, guest.vm.plug_disk(&disk)).await;
        if done.is_none() {
            // A command that is under way is carried out before the next question is answered.
            let settled = async {
                while (!guest.node_names().await.is_empty() || limited(&guest.vm).await)
                    && !guest.vm.devices().await.unwrap().contains("data")
                {}
            };
            tokio::time::timeout(LONG, settled).await.unwrap_or_else(|_| panic!("after {times} polls"));
        }
        if guest.vm.devices().await.unwrap().contains("data") {
            there += 1;
            guest.vm.unplug_disk("data", LONG).await.unwrap();
        }
        assert!(guest.node_names().await.is_empty(), "after {times} polls");
        assert!(!limited(&guest.vm).await, "after {times} polls");
        if let Some(done) = done {
            done.unwrap();
            break;
        }
        times += 1;
    }
    assert!(times > 4 && there > 0, "{times} {there}");
    guest.quit().await;
}

/// The guest has its time all the same.
#[tokio::test]
async fn a_button_is_pressed_on_the_next_connection_where_one_has_just_broken() {
    let test = "a_button_is_pressed_on_the_next_connection_where_one_has_just_broken";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let machine = config().disk(boot_disk(directory.path(), DEAF_AT_FIRST));
    let mut guest = Guest::start(directory.path(), machine).await;
    guest.until("!").await;
    guest.type_in("x").await;
    let cutter = Cutter::between(&mut guest).await;
    cutter.cut().await;
    let ladder = qemu::Ladder { button: LONG, ..qemu::Ladder::default() };
    assert_eq!(guest.vm.shutdown(ladder).await.unwrap().0, qemu::Rung::Button);
}

/// Also one who waited no longer: the copy, and what a disk used before, are closed by who finds the job.
#[tokio::test]
async fn a_copy_whose_caller_leaves_anywhere_is_closed_by_who_finds_it() {
    let test = "a_copy_whose_caller_leaves_anywhere_is_closed_by_who_finds_it";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: String| directory.path().join(name);
    fs::write(at("disk.raw".into()), vec![1; 1 << 20]).unwrap();
    let disk = Disk::new("root", Image::raw(at("disk.raw".into())));
    let guest = Guest::paused(directory.path(), config().disk(disk)).await;
    let chain = async || guest.node_names().await;
    let target = |name: String| CopyTarget::file(at(name), Format::Raw);
    for by_limit in [false, true] {
        let mut polls = 0;
        loop {
            let copy = target(format!("copy-{by_limit}-{polls}"));
            let mut backup = guest.vm.push_backup("root", &copy, None).await.unwrap();
            let done = polled(polls, backup.done()).await;
            if done.is_none() && by_limit {
                backup.done().await.unwrap();
            } else if done.is_none() {
                drop(backup);
                for found in guest.vm.jobs().await.unwrap() {
                    let FoundJob::Backup(mut backup) = found else { panic!("{found:?}") };
                    backup.done().await.unwrap();
                }
            }
            assert_eq!(chain().await, ["root", "root-file"], "after {polls} polls");
            assert!(guest.vm.jobs().await.unwrap().is_empty());
            if let Some(done) = done {
                done.unwrap();
                break;
            }
            polls += 1;
        }
        assert!(polls > 2, "{polls}");
    }
    let mut polls = 0;
    loop {
        let mut mirror = guest.vm.mirror_disk("root", &target(format!("mirror-{polls}"))).await.unwrap();
        mirror.ready().await.unwrap();
        let copy = mirror.target().to_owned();
        let done = polled(polls, mirror.complete()).await;
        drop(mirror);
        for found in guest.vm.jobs().await.unwrap() {
            let FoundJob::Mirror(mut mirror) = found else { panic!("{found:?}") };
            mirror.complete().await.unwrap();
        }
        assert_eq!(chain().await, [copy.clone(), format!("{copy}-file")], "after {polls} polls");
        if let Some(done) = done {
            done.unwrap();
            break;
        }
        polls += 1;
    }
    assert!(polls > 4, "{polls}");
    guest.quit().await;
}
