//! A guest that sleeps (ACPI S3): QEMU tells of it by two events of its own.

use super::*;
use crate::{connection::Behind, manager::manager, polled::polled};
use qemu::{
    Ladder, Rung,
    config::Address,
    manager::{Manager, State},
    vm::MigrationOptions,
};
use qmp::{
    Filter, Subscription,
    commands::{Migrate, MigrateSetParameters, QueryStatus},
};
use std::process::Command;

/// Leaves its waking vector in the FACS, says `!`, waits for a byte on the serial line and goes to sleep. Woken, it sees to the chipset's ACPI
/// block, which a reset turns off, says `w` and waits for its power button, at which it powers off.
const SLEEPER: &[u8] = &[
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, // cli; xor ax, ax; mov ds, ax
    0x0f, 0x01, 0x16, 0xcb, 0x7c, // lgdt [0x7ccb]: all 4 GiB by fs
    0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, // mov eax, cr0; or al, 1; mov cr0, eax
    0xbb, 0x08, 0x00, 0x8e, 0xe3, // mov bx, 8; mov fs, bx
    0x24, 0xfe, 0x0f, 0x22, 0xc0, // and al, ~1; mov cr0, eax
    0x66, 0xbf, 0x00, 0x00, 0x0e, 0x00, // mov edi, 0xe0000
    0x66, 0x83, 0xc7, 0x10, // add edi, 16
    0x64, 0x67, 0x66, 0x81, 0x3f, b'R', b'S', b'D', b' ', 0x75,
    0xf1, // cmp dword fs:[edi], "RSD "; jne -15
    0x64, 0x67, 0x66, 0x8b, 0x77, 0x10, // mov esi, fs:[edi + 16] (RSDT)
    0x66, 0x83, 0xc6, 0x04, // add esi, 4
    0x64, 0x67, 0x66, 0x8b, 0x5e, 0x20, // mov ebx, fs:[esi + 32] (the next of its tables)
    0x64, 0x67, 0x66, 0x81, 0x3b, b'F', b'A', b'C', b'P', 0x75,
    0xeb, // cmp dword fs:[ebx], "FACP"; jne -21
    0x64, 0x67, 0x66, 0x8b, 0x5b, 0x24, // mov ebx, fs:[ebx + 36] (FACS)
    0x64, 0x67, 0x66, 0xc7, 0x43, 0x0c, 0x74, 0x7c, 0x00, 0x00, // mov dword fs:[ebx + 12], 0x7c74
    0xba, 0xf8, 0x03, 0xb0, b'!', 0xee, // mov dx, 0x3f8; mov al, '!'; out dx, al
    0xba, 0xfd, 0x03, // mov dx, 0x3fd
    0xec, 0xa8, 0x01, 0x74, 0xfb, // in al, dx; test al, 1; jz -5
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x24, 0xef, // mov dx, 0x604; mov ax, 0x2400; out dx, ax (S3)
    0xf4, 0xeb, 0xfd, // hlt; jmp -3
    // 0x7c74, of the LPC bridge:
    0xba, 0xf8, 0x0c, 0x66, 0xb8, 0x40, 0xf8, 0x00, 0x80, 0x66,
    0xef, // mov dx, 0xcf8; mov eax, 0x8000f840; out dx, eax
    0xb2, 0xfc, 0x66, 0xb8, 0x01, 0x06, 0x00, 0x00, 0x66,
    0xef, // mov dl, 0xfc; mov eax, 0x601; out dx, eax (PMBASE)
    0xb2, 0xf8, 0x66, 0xb8, 0x44, 0xf8, 0x00, 0x80, 0x66,
    0xef, // mov dl, 0xf8; mov eax, 0x8000f844; out dx, eax
    0xb2, 0xfc, 0xb0, 0x80, 0xee, // mov dl, 0xfc; mov al, 0x80; out dx, al (ACPI_CNTL: it is on)
    0xba, 0x00, 0x06, 0xb8, 0x00, 0x01,
    0xef, // mov dx, 0x600; mov ax, 0x100; out dx, ax (PM1 status: a wake counts as a button)
    0xb2, 0x02, 0xef, // mov dl, 2; out dx, ax (PM1 enable: the button)
    0xba, 0xf8, 0x03, 0xb0, b'w', 0xee, // mov dx, 0x3f8; mov al, 'w'; out dx, al
    0xba, 0x00, 0x06, // mov dx, 0x600
    0xed, 0xf6, 0xc4, 0x01, 0x74, 0xfa, // in ax, dx; test ah, 1; jz -6 (PM1 status)
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, // mov dx, 0x604; mov ax, 0x2000; out dx, ax (S5)
    0xf4, 0xeb, 0xfd, // hlt; jmp -3
    // 0x7cbb: no segment, and one from 0 to 4 GiB that is written to; where they are.
    0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0, 15, 0, 0xbb, 0x7c, 0, 0,
];

/// Waits for what it says from now on.
async fn says(console: &mut UnixStream, word: u8) {
    let mut said = [0];
    while said != [word] {
        let read = tokio::time::timeout(LONG, console.read_exact(&mut said)).await;
        read.expect("it says it in time").unwrap();
    }
}

/// A machine that sleeps when it is asked to.
fn sleeper(manager: &Manager, directory: &Path, supervision: Supervision) -> Uuid {
    let place = directory.to_owned();
    let config = Config { disks: vec![boot_disk(directory, SLEEPER)], ..config() };
    let id = config.uuid;
    manager.create(id, move || StartSpec { supervision, ..spec(&place, config.clone()) }).unwrap();
    id
}

/// Lets one run that stands before its first instruction, until it waits for its byte.
async fn waits(vm: &Vm) -> UnixStream {
    let mut console = qemu::socket::connect(&vm.record().console_socket).await.unwrap();
    vm.resume().await.unwrap();
    says(&mut console, b'!').await;
    console
}

/// Has a guest go to sleep. Nobody looks at it of their own accord: events tell.
async fn sleeps(vm: &Vm) -> UnixStream {
    let mut console = qemu::socket::connect(&vm.record().console_socket).await.unwrap();
    // What comes before it waits for it is lost, and so is what it said before somebody listened.
    let asking = async {
        loop {
            console.write_all(b"s").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = until(vm, "asleep", |status| status.run_state == RunState::Suspended) => {}
        () = asking => {}
    }
    console
}

async fn asleep(manager: &Manager, id: Uuid) -> (Vm, UnixStream) {
    manager.start(id).await.unwrap();
    let vm = manager.vm(id).unwrap();
    let console = sleeps(&vm).await;
    assert_eq!(manager.state(id).unwrap(), State::Paused);
    (vm, console)
}

#[tokio::test]
async fn a_guest_that_sleeps_is_seen_to_and_woken_to_run_or_to_be_shut_down() {
    let test = "a_guest_that_sleeps_is_seen_to_and_woken_to_run_or_to_be_shut_down";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directory = scratch();
    let never = Supervision { interval: Duration::from_secs(3600), patience: LONG };
    let id = sleeper(&manager, directory.path(), never);
    let ladder = || Ladder { button: LONG, ..Ladder::default() };

    let (vm, mut console) = asleep(&manager, id).await;
    manager.resume(id).await.unwrap();
    assert_eq!((manager.state(id).unwrap(), vm.status().run_state), (State::Running, RunState::Running));
    says(&mut console, b'w').await;
    assert!(vm.wake().await.is_err(), "it does not sleep");
    assert_eq!(manager.shutdown(id, ladder()).await.unwrap().0, Rung::Button);
}

/// What becomes of the guest, as its machine tells it.
fn course(vm: &Vm) -> Subscription {
    vm.qmp().subscribe(Filter::names(["MIGRATION", "SUSPEND", "WAKEUP", "STOP"]), 64)
}

/// Until its machine has told this; what it tells again is told once.
async fn told(course: &mut Subscription, last: &str) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    while told.last().is_none_or(|name| name != last) {
        let event = tokio::time::timeout(LONG, course.next()).await.expect("it tells it").unwrap();
        told.push(event.name.clone());
        told.dedup();
    }
    told
}

/// What is told of one that sleeps when its state is taken. QEMU 7.2 does not keep that it does: it is woken before.
fn woken_for<'a>(told: &[&'a str]) -> Vec<&'a str> {
    let woken = if release::is_newer() { None } else { Some("WAKEUP") };
    woken.into_iter().chain(told.iter().copied()).collect()
}

async fn goes_off(vm: &Vm) {
    assert_eq!(vm.powerdown(LONG).await.unwrap(), Powerdown::Off(ShutdownCause::GuestShutdown));
}

/// A machine that stands before its first instruction, and one that waits for its state.
struct Two {
    source: Vm,
    supervised: JoinSet<Exit>,
    destination: Vm,
    _tasks: JoinSet<Exit>,
    via: Address,
    here: Scratch,
    _there: Scratch,
}

impl Two {
    async fn new() -> Self {
        let (here, there) = (scratch(), scratch());
        let config = Config { disks: vec![boot_disk(here.path(), SLEEPER)], ..config() };
        let (source, supervised) = started(spec(here.path(), config.clone())).await;
        let incoming = StartSpec { incoming: qemu::Incoming::State, ..spec(there.path(), config) };
        let (destination, tasks) = started(incoming).await;
        let via = Address::Unix(there.path().join("migration"));
        Self { source, supervised, destination, _tasks: tasks, via, here, _there: there }
    }

    /// The first of them sleeps; what becomes of its guest from then on.
    async fn asleep() -> (Self, Subscription) {
        let two = Self::new().await;
        two.source.resume().await.unwrap();
        drop(sleeps(&two.source).await);
        let course = course(&two.source);
        (two, course)
    }
}

#[tokio::test]
async fn a_guest_that_sleeps_is_paused_until_it_is_resumed() {
    let test = "a_guest_that_sleeps_is_paused_until_it_is_resumed";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directory = scratch();
    let id = sleeper(&manager, directory.path(), Supervision::default());
    let (vm, _console) = asleep(&manager, id).await;
    manager.pause(id).await.unwrap();
    assert_eq!(vm.status().run_state, RunState::Paused);
    assert!(vm.wake().await.is_err(), "it is paused");
    assert_eq!(vm.qmp().call(&QueryStatus {}).await.unwrap().status, RunState::Paused);
    manager.resume(id).await.unwrap();
    goes_off(&vm).await;
}

#[tokio::test]
async fn a_guest_that_sleeps_begins_anew_when_it_is_reset() {
    let test = "a_guest_that_sleeps_begins_anew_when_it_is_reset";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directory = scratch();
    let id = sleeper(&manager, directory.path(), Supervision::default());
    let (vm, mut console) = asleep(&manager, id).await;
    // It has said `!` when it began, and somebody may have listened.
    while matches!(console.try_read(&mut [0]), Ok(1)) {}
    let was_reset =
        vm.qmp().waiter(|event| event.name == "RESET" && event.data["reason"] == "host-qmp-system-reset");
    manager.reset(id).await.unwrap();
    tokio::time::timeout(LONG, was_reset).await.expect("it is told").unwrap();
    assert_eq!((manager.state(id).unwrap(), vm.status().run_state), (State::Running, RunState::Running));
    // Where its firmware finds that it slept it goes on from there.
    tokio::select! {
        () = says(&mut console, b'!') => {}
        off = vm.powerdown(LONG) => assert_eq!(off.unwrap(), Powerdown::Off(ShutdownCause::GuestShutdown)),
    }
}

#[tokio::test]
async fn a_reset_of_a_guest_that_sleeps_is_asked_for_again_where_it_was_given_up() {
    let test = "a_reset_of_a_guest_that_sleeps_is_asked_for_again_where_it_was_given_up";
    if qemu_missing(test) {
        return;
    }
    for polls in 0..16 {
        let directory = scratch();
        let config = Config { disks: vec![boot_disk(directory.path(), SLEEPER)], ..config() };
        let (vm, _supervised) = started(spec(directory.path(), config)).await;
        vm.resume().await.unwrap();
        drop(sleeps(&vm).await);
        polled(polls, vm.reset()).await;
        // What was begun comes to its end.
        for _ in 0..10 {
            vm.qmp().call(&QueryStatus {}).await.unwrap();
        }
        vm.reset().await.unwrap();
        assert_eq!(vm.status().run_state, RunState::Running, "after {polls}");
        vm.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_guest_that_sleeps_is_moved_and_hears_its_button() {
    let test = "a_guest_that_sleeps_is_moved_and_hears_its_button";
    if qemu_missing(test) {
        return;
    }
    let (two, mut course) = Two::asleep().await;
    let destination = &two.destination;
    two.source.migrate_to(destination, &two.via, &MigrationOptions::default()).await.unwrap();
    assert_eq!(told(&mut course, "STOP").await, woken_for(&["MIGRATION", "STOP"]));
    let arrived = destination.qmp().call(&QueryStatus {}).await.unwrap().status;
    assert_eq!(arrived, if release::is_newer() { RunState::Suspended } else { RunState::Running });
    goes_off(destination).await;
}

/// So slowly that it is not there before it is told to hurry.
fn slowly() -> MigrationOptions {
    MigrationOptions { bandwidth: Some(1 << 14), ..MigrationOptions::default() }
}

async fn hurries(vm: &Vm) {
    let fast = MigrateSetParameters { max_bandwidth: Some(1 << 30), ..MigrateSetParameters::default() };
    vm.qmp().call(&fast).await.unwrap();
}

fn is_sent(vm: &Vm) -> qmp::Waiter {
    vm.qmp().waiter(|event| event.name == "MIGRATION" && event.data["status"] == "active")
}

impl Two {
    /// Has a guest that waits for it fall asleep while it is sent.
    async fn falls_asleep(&self, console: &mut UnixStream, course: &mut Subscription) {
        console.write_all(b"s").await.unwrap();
        told(course, "SUSPEND").await;
    }

    /// Sees it woken where it is to be, before it is there; then the rest is sent.
    async fn is_woken(&self, course: &mut Subscription) {
        if !release::is_newer() {
            assert_eq!(told(course, "WAKEUP").await, ["WAKEUP"]);
        }
        hurries(&self.source).await;
    }

    /// It stands where it has arrived, as nobody was there to let it run.
    async fn arrives(&self) {
        if let Some(arriving) = self.destination.migration().await.unwrap() {
            arriving.done().await.unwrap();
        }
        until(&self.destination, "there", |status| status.run_state == RunState::Paused).await;
        self.destination.resume().await.unwrap();
        goes_off(&self.destination).await;
    }
}

#[tokio::test]
async fn a_guest_that_falls_asleep_while_it_is_moved_hears_its_button() {
    let test = "a_guest_that_falls_asleep_while_it_is_moved_hears_its_button";
    if qemu_missing(test) {
        return;
    }
    let two = Two::new().await;
    let mut console = waits(&two.source).await;
    let (mut course, is_sent, options) = (course(&two.source), is_sent(&two.source), slowly());
    let moving = two.source.migrate_to(&two.destination, &two.via, &options);
    let falling_asleep = async {
        is_sent.await.unwrap();
        two.falls_asleep(&mut console, &mut course).await;
        two.is_woken(&mut course).await;
    };
    tokio::join!(moving, falling_asleep).0.unwrap();
    goes_off(&two.destination).await;
}

#[tokio::test]
async fn a_guest_that_falls_asleep_while_nobody_waits_for_its_move_hears_its_button() {
    let test = "a_guest_that_falls_asleep_while_nobody_waits_for_its_move_hears_its_button";
    if qemu_missing(test) {
        return;
    }
    for has_left in [false, true] {
        let two = Two::new().await;
        let mut console = waits(&two.source).await;
        let (mut course, is_sent, options) = (course(&two.source), is_sent(&two.source), slowly());
        if has_left {
            tokio::select! {
                moved = two.source.migrate_to(&two.destination, &two.via, &options) => panic!("{moved:?}"),
                sent = is_sent => drop(sent.unwrap()),
            }
        } else {
            drop(two.destination.await_migration(&two.via, &options).await.unwrap());
            drop(two.source.migrate(&two.via, &options).await.unwrap());
        }
        two.falls_asleep(&mut console, &mut course).await;
        two.is_woken(&mut course).await;
        two.arrives().await;
    }
}

#[tokio::test]
async fn a_guest_that_sleeps_while_a_stranger_moves_it_is_woken_by_who_finds_the_move() {
    let test = "a_guest_that_sleeps_while_a_stranger_moves_it_is_woken_by_who_finds_the_move";
    if qemu_missing(test) {
        return;
    }
    for sleeps_first in [false, true] {
        let two = Two::new().await;
        let mut console = waits(&two.source).await;
        let mut course = course(&two.source);
        drop(two.destination.await_migration(&two.via, &slowly()).await.unwrap());
        let slow = MigrateSetParameters { max_bandwidth: Some(1 << 14), ..MigrateSetParameters::default() };
        two.source.qmp().call(&slow).await.unwrap();
        let Address::Unix(path) = &two.via else { unreachable!("it is one") };
        let uri = Some(format!("unix:{}", path.display()));
        two.source.qmp().call(&Migrate { uri, ..Migrate::default() }).await.unwrap();
        let found = async || two.source.migration().await.unwrap().expect("it goes on");
        if sleeps_first {
            two.falls_asleep(&mut console, &mut course).await;
            tokio::join!(found().await.done(), two.is_woken(&mut course)).0.unwrap();
        } else {
            let found = found().await;
            let course = async {
                two.falls_asleep(&mut console, &mut course).await;
                two.is_woken(&mut course).await;
            };
            tokio::join!(found.done(), course).0.unwrap();
        }
        two.arrives().await;
    }
}

#[tokio::test]
async fn a_guest_that_falls_asleep_unseen_while_it_is_moved_hears_its_button() {
    let test = "a_guest_that_falls_asleep_unseen_while_it_is_moved_hears_its_button";
    if qemu_missing(test) {
        return;
    }
    let Two { source, supervised, destination, _tasks, via, here: _here, _there } = Two::new().await;
    let source = Behind::proxy((source, supervised)).await;
    let mut console = waits(&source.vm).await;
    let is_sent = is_sent(&source.vm);
    let options = slowly();
    let moving = source.vm.migrate_to(&destination, &via, &options);
    let falling_asleep = async {
        is_sent.await.unwrap();
        source.cut().await;
        console.write_all(b"s").await.unwrap();
        let asleep = async |client: &qmp::Client| {
            while client.call(&QueryStatus {}).await.unwrap().status != RunState::Suspended {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, source.other(asleep)).await.unwrap();
        source.open.send(()).await.unwrap();
        until(&source.vm, "an answer", |status| status.responsive == Responsive::Yes).await;
        if !release::is_newer() {
            until(&source.vm, "awake", |status| status.run_state == RunState::Running).await;
        }
        hurries(&source.vm).await;
    };
    tokio::join!(moving, falling_asleep).0.unwrap();
    goes_off(&destination).await;
}

#[tokio::test]
async fn a_guest_that_sleeps_is_saved_and_hears_its_button() {
    let test = "a_guest_that_sleeps_is_saved_and_hears_its_button";
    if qemu_missing(test) {
        return;
    }
    let (two, mut course) = Two::asleep().await;
    let file = two.here.path().join("state");
    two.source.save(&file).await.unwrap();
    assert_eq!(told(&mut course, "STOP").await, woken_for(&["STOP"]));
    two.destination.restore(&file).await.unwrap();
    two.destination.resume().await.unwrap();
    goes_off(&two.destination).await;
}

#[tokio::test]
async fn a_guest_goes_back_to_before_it_slept_and_to_its_sleep() {
    let test = "a_guest_goes_back_to_before_it_slept_and_to_its_sleep";
    if qemu_missing(test) {
        return;
    }
    let directory = scratch();
    let image = directory.path().join("states.qcow2");
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&image).arg("1M").status();
    if !made.is_ok_and(|status| status.success()) {
        println!("not run: {test}: qemu-img (Debian package qemu-utils)");
        return;
    }
    let boot = boot_disk(directory.path(), SLEEPER);
    let config = Config { disks: vec![boot, Disk::new("states", Image::qcow2(image))], ..config() };
    let (vm, _supervised) = started(spec(directory.path(), config)).await;
    let mut console = waits(&vm).await;
    vm.save_snapshot("awake", "states", &["states"]).await.unwrap();
    for _ in 0..2 {
        console.write_all(b"s").await.unwrap();
        until(&vm, "asleep", |status| status.run_state == RunState::Suspended).await;
        vm.load_snapshot("awake", "states", &["states"]).await.unwrap();
        until(&vm, "awake", |status| status.run_state == RunState::Running).await;
    }
    console.write_all(b"s").await.unwrap();
    until(&vm, "asleep", |status| status.run_state == RunState::Suspended).await;
    vm.save_snapshot("asleep", "states", &["states"]).await.unwrap();
    vm.load_snapshot("awake", "states", &["states"]).await.unwrap();
    vm.load_snapshot("asleep", "states", &["states"]).await.unwrap();
    goes_off(&vm).await;
}

#[tokio::test]
async fn a_guest_that_sleeps_hears_its_button() {
    let test = "a_guest_that_sleeps_hears_its_button";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directory = scratch();
    let id = sleeper(&manager, directory.path(), Supervision::default());
    asleep(&manager, id).await;
    let ladder = Ladder { button: LONG, ..Ladder::default() };
    assert_eq!(manager.shutdown(id, ladder).await.unwrap().0, Rung::Button);
    let (vm, _console) = asleep(&manager, id).await;
    goes_off(&vm).await;
}
