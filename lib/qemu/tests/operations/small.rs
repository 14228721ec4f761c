//! Reset, keys, pictures, the balloon, panic, pinning.

use crate::guest::{Guest, LONG, boot_disk, config, missing};
use crate::pictures;
use qemu::config::{Gpu, Panic, PanicAction, PanicModel};
use qemu::vm::{OperationError, Picture};
use qmp::commands::RunState;
use std::{fs, time::Duration};

/// Shows a block in the first place of the screen, says `!` on the serial line (which is where dx points), then whatever is typed; `p` panics.
const TYPEWRITER: &[u8] = &[
    0xb8, 0x00, 0xb8, 0x8e, 0xc0, // mov ax, 0xb800; mov es, ax
    0x26, 0xc7, 0x06, 0x00, 0x00, 0xdb, 0x0f, // mov word [es:0], 0x0fdb
    0xb0, b'!', 0xee, // mov al, '!'; out dx, al
    0x31, 0xc0, 0xcd, 0x16, // xor ax, ax; int 0x16
    0x3c, b'p', 0x74, 0x03, // cmp al, 'p'; je +3
    0xee, 0xeb, 0xf5, // out dx, al; jmp -11
    0xba, 0x05, 0x05, 0xb0, 0x01, 0xee, // mov dx, 0x505; mov al, 1; out dx, al
    0xf4, 0xeb, 0xfd, // hlt; jmp -3
];

#[tokio::test]
async fn keys_arrive_pictures_show_and_a_reset_begins_anew() {
    let test = "keys_arrive_pictures_show_and_a_reset_begins_anew";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut machine = config().disk(boot_disk(directory.path(), TYPEWRITER));
    machine.display.gpus = vec![Gpu::Std];
    let mut guest = Guest::start(directory.path(), machine).await;
    guest.until("!").await;
    let moment = Duration::from_millis(50);
    for key in ["a", "7"] {
        guest.vm.send_keys(&[key], moment).await.unwrap();
        guest.until(key).await;
    }
    guest.vm.send_keys(&["shift", "b"], moment).await.unwrap();
    guest.until("B").await;
    let unknown = guest.vm.send_keys(&["no-such-key"], moment).await.unwrap_err();
    assert!(matches!(unknown, OperationError::Qmp { .. }), "{unknown:?}");
    let [png, ppm] = ["a, b.png", "screen.ppm"].map(|name| directory.path().join(name));
    // The cursor blinks otherwise.
    guest.vm.pause().await.unwrap();
    guest.vm.screenshot(&png, Picture::Png).await.unwrap();
    guest.vm.screenshot(&ppm, Picture::Ppm).await.unwrap();
    guest.vm.resume().await.unwrap();
    let (size, pixels) = pictures::ppm(&fs::read(&ppm).unwrap());
    assert_eq!(pictures::png(&fs::read(&png).unwrap()), (size, pixels.clone()));
    // A text screen of 80 by 25 on which the firmware has written, and the guest in the first place: some is lit and most is not.
    assert_eq!(size, [720, 400]);
    let at = |x: usize, y: usize| pixels[y * size[0] + x];
    assert_eq!([at(0, 0), at(8, 15)], [[255; 3]; 2], "a block that fills its place");
    assert!((0..16).all(|y| at(719, y) == [0; 3]), "the end of the first line");
    let lit = pixels.iter().filter(|pixel| **pixel != [0; 3]).count();
    assert!(lit > 200 && lit < pixels.len() / 2, "{lit} pixels are lit");
    guest.vm.reset().await.unwrap();
    guest.until("!").await;
    guest.quit().await;
}

/// Says `!`, waits for a byte on the serial line, and from then on for its power button, at which it powers off.
pub(crate) const DEAF_AT_FIRST: &[u8] = &[
    0xfa, // cli
    0xb0, b'!', 0xee, // mov al, '!'; out dx, al
    0xba, 0xfd, 0x03, // mov dx, 0x3fd
    0xec, 0xa8, 0x01, 0x74, 0xfb, // in al, dx; test al, 1; jz -5
    0xba, 0x02, 0x06, 0xb8, 0x00, 0x01,
    0xef, // mov dx, 0x602; mov ax, 0x100; out dx, ax (ACPI PM1 enable: the button)
    0xba, 0x00, 0x06, // mov dx, 0x600
    0xed, 0xf6, 0xc4, 0x01, 0x74, 0xfa, // in ax, dx; test ah, 1; jz -6 (PM1 status)
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, // mov dx, 0x604; mov ax, 0x2000; out dx, ax (S5)
    0xf4, 0xeb, 0xfd, // hlt; jmp -3
];

#[tokio::test]
async fn a_button_that_was_pressed_before_the_guest_heard_it_is_pressed_again() {
    let test = "a_button_that_was_pressed_before_the_guest_heard_it_is_pressed_again";
    if missing(test, false) {
        return;
    }
    for by_ladder in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let machine = config().disk(boot_disk(directory.path(), DEAF_AT_FIRST));
        let mut guest = Guest::start(directory.path(), machine).await;
        guest.until("!").await;
        let pressed = guest.vm.qmp().waiter(|event| event.name == "POWERDOWN");
        let vm = guest.vm.clone();
        let off = async {
            if by_ladder {
                let ladder = qemu::Ladder { button: LONG, ..qemu::Ladder::default() };
                assert_eq!(vm.shutdown(ladder).await.unwrap().0, qemu::Rung::Button);
            } else {
                let off = vm.powerdown(LONG).await.unwrap();
                assert!(matches!(off, qemu::Powerdown::Off(_)), "{off:?}");
                vm.quit(LONG).await.unwrap();
            }
        };
        let listens = async {
            pressed.await.unwrap();
            guest.type_in("x").await;
        };
        tokio::join!(off, listens);
    }
}

/// A guest that stands cannot go off: nobody waits for it.
#[tokio::test]
async fn the_button_of_a_guest_that_stands_is_left_out() {
    let test = "the_button_of_a_guest_that_stands_is_left_out";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let guest = Guest::paused(directory.path(), config()).await;
    let mut events = guest.vm.qmp().subscribe(qmp::Filter::names(["POWERDOWN"]), 1);
    let asks = Box::pin(async { panic!("its agent stands, too") });
    let ladder = qemu::Ladder { button: LONG, agent: Some((asks, LONG)), ..qemu::Ladder::default() };
    assert_eq!(guest.vm.shutdown(ladder).await.unwrap().0, qemu::Rung::Quit);
    assert!(events.next().await.is_err(), "it was not pressed");
}

#[tokio::test]
async fn a_panic_is_told_and_the_machine_does_as_configured() {
    let test = "a_panic_is_told_and_the_machine_does_as_configured";
    if missing(test, false) {
        return;
    }
    for (action, state) in [
        (PanicAction::Pause, qmp::commands::RunState::GuestPanicked),
        (PanicAction::Poweroff, qmp::commands::RunState::Shutdown),
        (PanicAction::None, qmp::commands::RunState::Running),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut machine = config().disk(boot_disk(directory.path(), TYPEWRITER));
        machine.panic = Some(Panic { model: PanicModel::Isa, action });
        let mut guest = Guest::start(directory.path(), machine).await;
        guest.until("!").await;
        guest.vm.send_keys(&["p"], Duration::from_millis(20)).await.unwrap();
        let mut status = guest.vm.watch();
        let told = status.wait_for(|status| status.panics == 1 && status.run_state == state);
        let told = tokio::time::timeout(LONG, told).await.map(|told| told.is_ok());
        assert_eq!(told, Ok(true), "{action:?}: {:?}", guest.vm.status());
        guest.quit().await;
    }
}

#[tokio::test]
async fn the_balloon_is_awaited_and_the_guest_tells_of_its_memory() {
    let test = "the_balloon_is_awaited_and_the_guest_tells_of_its_memory";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut guest = Guest::linux(directory.path(), config()).await;
    guest.vm.poll_guest_memory(Duration::from_secs(1)).await.unwrap();
    let target = 160 << 20;
    assert_eq!(guest.vm.balloon(target - 4095, LONG).await.unwrap(), target, "whole pages");
    guest.run("true").await;
    let told = tokio::time::timeout(LONG, async {
        loop {
            let memory = guest.vm.guest_memory().await.unwrap();
            if memory.at > 0 {
                return memory;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let memory = told.await.unwrap();
    assert!(memory.free.is_some_and(|free| free > 0 && free < 192 << 20), "{memory:?}");
    // It gets all of it back, and one that stands still gives nothing.
    let moment = Duration::from_millis(200);
    assert_eq!(guest.vm.balloon(u64::MAX, LONG).await.unwrap(), 192 << 20);
    guest.vm.pause().await.unwrap();
    let silent = guest.vm.balloon(target, moment).await.unwrap_err();
    assert!(matches!(silent, OperationError::GuestSilent { .. }), "{silent:?}");
    guest.quit().await;
}

#[tokio::test]
async fn the_guest_reads_randomness_of_the_host() {
    let test = "the_guest_reads_randomness_of_the_host";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut guest = Guest::linux(directory.path(), config()).await;
    assert_eq!(guest.run("cat /sys/class/misc/hw_random/rng_current").await, "virtio_rng.0");
    let read = "dd if=/dev/hwrng bs=64 count=4 iflag=fullblock 2>/dev/null | od -An -tx1 | tr -d ' \\n'";
    let (first, second) = (guest.run(read).await, guest.run(read).await);
    assert!(first.len() == 512 && second.len() == 512 && first != second, "{first} {second}");
    guest.quit().await;
}

#[tokio::test]
async fn virtual_cpus_stay_on_their_host_cpus() {
    let test = "virtual_cpus_stay_on_their_host_cpus";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut machine = config();
    machine.cpu.count = 2;
    let guest = Guest::paused(directory.path(), machine).await;
    let cpus = guest.vm.vcpus().await.unwrap();
    assert_eq!(cpus.iter().map(|cpu| cpu.index).collect::<Vec<_>>(), [0, 1]);
    assert_ne!(cpus[0].thread, cpus[1].thread);
    let allowed = |index: usize| {
        let status = fs::read_to_string(format!("/proc/{}/status", cpus[index].thread)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        line.trim().to_owned()
    };
    let before = allowed(1);
    guest.vm.pin_vcpu(0, &[0]).await.unwrap();
    assert_eq!((allowed(0), allowed(1)), ("0".to_owned(), before));
    for (index, host) in [(7, 0), (0, 1000), (0, usize::MAX)] {
        let error = guest.vm.pin_vcpu(index, &[host]).await.unwrap_err();
        assert!(matches!(error, OperationError::Unknown { .. } | OperationError::Host { .. }), "{error:?}");
    }
    guest.quit().await;
}

#[tokio::test]
async fn linux_sleeps_until_it_is_woken_and_goes_on_where_it_was() {
    let test = "linux_sleeps_until_it_is_woken_and_goes_on_where_it_was";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut guest = Guest::linux(directory.path(), config()).await;
    guest.run("echo kept >/run/note").await;
    guest.type_in("echo mem >/sys/power/state; echo wo\"\"ken\n").await;
    let mut status = guest.vm.watch();
    let asleep = status.wait_for(|status| status.run_state == RunState::Suspended);
    tokio::time::timeout(LONG, asleep).await.unwrap().unwrap();
    guest.vm.resume().await.unwrap();
    assert_eq!(guest.vm.status().run_state, RunState::Suspended, "that wakes nobody");
    guest.vm.wake().await.unwrap();
    guest.until("woken").await;
    assert_eq!(guest.run("cat /run/note").await, "kept");
    guest.quit().await;
}
