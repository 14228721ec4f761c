//! A guest that sleeps (ACPI S3): QEMU tells of it by two events of its own.

use super::*;
use crate::manager::manager;
use qemu::{
    Ladder, Rung,
    manager::{Manager, State},
    vm::MigrationOptions,
};
use qmp::commands::QueryStatus;

/// Says `!`, waits for a byte on the serial line and goes to sleep. Woken, the firmware starts it anew: it finds what it wrote into the clock's
/// memory, says `!` and waits for its power button, at which it powers off.
const SLEEPER: &[u8] = &[
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, // cli; xor ax, ax; mov ds, ax
    0xba, 0xf8, 0x03, 0xb0, b'!', 0xee, // mov dx, 0x3f8; mov al, '!'; out dx, al
    0xb0, 0x50, 0xe6, 0x70, 0xe4, 0x71, // mov al, 0x50; out 0x70, al; in al, 0x71
    0x3c, 0x5a, 0x74, 0x16, // cmp al, 0x5a; je +22
    0xb0, 0x5a, 0xe6, 0x71, // mov al, 0x5a; out 0x71, al
    0xba, 0xfd, 0x03, // mov dx, 0x3fd
    0xec, 0xa8, 0x01, 0x74, 0xfb, // in al, dx; test al, 1; jz -5
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x24, 0xef, // mov dx, 0x604; mov ax, 0x2400; out dx, ax (S3)
    0xf4, 0xeb, 0xfd, // hlt; jmp -3
    0xba, 0x02, 0x06, 0xb8, 0x00, 0x01,
    0xef, // mov dx, 0x602; mov ax, 0x100; out dx, ax (ACPI PM1 enable: the button)
    0xba, 0x00, 0x06, // mov dx, 0x600
    0xed, 0xf6, 0xc4, 0x01, 0x74, 0xfa, // in ax, dx; test ah, 1; jz -6 (PM1 status)
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, // mov dx, 0x604; mov ax, 0x2000; out dx, ax (S5)
    0xf4, 0xeb, 0xfd, // hlt; jmp -3
];

async fn until_ready(console: &mut UnixStream) {
    let mut byte = [0];
    while byte != *b"!" {
        let read = tokio::time::timeout(LONG, console.read_exact(&mut byte)).await;
        read.expect("it starts in time").unwrap();
    }
}

/// Starts it and has it go to sleep. Nobody looks at it of their own accord: events tell.
async fn asleep(manager: &Manager, id: Uuid) -> (Vm, UnixStream) {
    manager.start(id).await.unwrap();
    let vm = manager.vm(id).unwrap();
    let mut console = qemu::socket::connect(&vm.record().console_socket).await.unwrap();
    until_ready(&mut console).await;
    console.write_all(b"s").await.unwrap();
    until(&vm, "asleep", |status| status.run_state == RunState::Suspended).await;
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
    let place = directory.path().to_owned();
    let config = Config { disks: vec![boot_disk(&place, SLEEPER)], ..config() };
    let id = config.uuid;
    let never = Supervision { interval: Duration::from_secs(3600), patience: LONG };
    manager.create(id, move || StartSpec { supervision: never, ..spec(&place, config.clone()) }).unwrap();
    let ladder = || Ladder { button: LONG, ..Ladder::default() };

    let (vm, mut console) = asleep(&manager, id).await;
    manager.resume(id).await.unwrap();
    assert_eq!((manager.state(id).unwrap(), vm.status().run_state), (State::Running, RunState::Running));
    until_ready(&mut console).await;
    assert!(vm.wake().await.is_err(), "it does not sleep");
    assert_eq!(manager.shutdown(id, ladder()).await.unwrap().0, Rung::Button);
}

#[tokio::test]
async fn a_guest_that_sleeps_is_moved_and_hears_its_button() {
    let test = "a_guest_that_sleeps_is_moved_and_hears_its_button";
    if qemu_missing(test) {
        return;
    }
    let (here, there) = (scratch(), scratch());
    let config = Config { disks: vec![boot_disk(here.path(), SLEEPER)], ..config() };
    let (source, _supervised) = started(spec(here.path(), config.clone())).await;
    let incoming = StartSpec { incoming: qemu::Incoming::State, ..spec(there.path(), config) };
    let (destination, _tasks) = started(incoming).await;
    source.resume().await.unwrap();
    let mut console = qemu::socket::connect(&source.record().console_socket).await.unwrap();
    until_ready(&mut console).await;
    console.write_all(b"s").await.unwrap();
    until(&source, "asleep", |status| status.run_state == RunState::Suspended).await;
    let via = qemu::config::Address::Unix(there.path().join("migration"));
    source.migrate_to(&destination, &via, &MigrationOptions::default()).await.unwrap();
    // QEMU 7.2 wakes a guest to move it (`migration_completion`).
    let arrived = destination.qmp().call(&QueryStatus {}).await.unwrap().status;
    assert!([RunState::Suspended, RunState::Running].contains(&arrived), "{arrived:?}");
    let off = destination.powerdown(LONG).await.unwrap();
    assert_eq!(off, Powerdown::Off(ShutdownCause::GuestShutdown));
    for vm in [source, destination] {
        vm.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_guest_that_sleeps_hears_its_button() {
    let test = "a_guest_that_sleeps_hears_its_button";
    if qemu_missing(test) {
        return;
    }
    let (manager, _tasks) = manager();
    let directory = scratch();
    let place = directory.path().to_owned();
    let config = Config { disks: vec![boot_disk(&place, SLEEPER)], ..config() };
    let id = config.uuid;
    manager.create(id, move || spec(&place, config.clone())).unwrap();
    asleep(&manager, id).await;
    let ladder = Ladder { button: LONG, ..Ladder::default() };
    assert_eq!(manager.shutdown(id, ladder).await.unwrap().0, Rung::Button);
    let (vm, _console) = asleep(&manager, id).await;
    assert_eq!(vm.powerdown(LONG).await.unwrap(), Powerdown::Off(ShutdownCause::GuestShutdown));
}
