//! Guests that boot by UEFI, on the real QEMU with the real firmware.

use crate::place::{Place, console_says, guest_is_up, observed, removed, started};
use hv_core::instance::{BootSpec, Firmware, MIB};
use hv_driver::{Assignment, Driver, End, Guest, StartMode};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// A demo guest that boots by UEFI, and says what its kernel finds.
fn uefi(place: &Place) -> Assignment {
    let mut guest = place.demo();
    guest.spec.memory_bytes = 256 * MIB;
    guest.spec.boot.firmware = Firmware::Uefi;
    guest.spec.boot.cmdline = "console=ttyS0 panic=-1".into();
    guest
}

/// What the kernel says of the firmware that started it.
const BY_UEFI: &str = "efi: EFI v2";

fn firmware_is_missing(test: &str) -> bool {
    let missing = !Path::new(VARS).exists();
    if missing {
        println!("not run: {test}: the Debian package ovmf");
    }
    missing
}

#[tokio::test]
async fn a_kernel_is_started_by_uefi_whose_variables_are_the_guests_own_and_kept() {
    let test = "a_kernel_is_started_by_uefi_whose_variables_are_the_guests_own_and_kept";
    let Some(place) = Place::with_demo(test) else { return };
    if firmware_is_missing(test) {
        return;
    }
    let (driver, guest) = (place.driver(), uefi(&place));
    started(&driver, &guest).await;
    guest_is_up(&driver, &guest).await;
    console_says(&driver, &guest, BY_UEFI).await;
    driver.power_down(guest.handle).await.unwrap();
    observed(&driver, &guest, "the power off", |seen| seen.guest == Guest::Ended(End::PoweredOff)).await;
    driver.kill(guest.handle).await.unwrap();
    let vars = place.instance(&guest).join("uefi-vars.fd");
    let written = fs::read(&vars).unwrap();
    assert!(written != fs::read(VARS).unwrap(), "the firmware has written its variables");
    driver.prepare(&guest).await.unwrap();
    assert!(fs::read(&vars).unwrap() == written, "and keeps them for the next start");
    driver.start(&guest, StartMode::Running).await.unwrap();
    let up = console_says(&driver, &guest, "hypervisor-demo: up ").await;
    assert!(up.contains(BY_UEFI), "{up}");
    removed(&driver, &guest).await;
    place.assert_nothing_left();
}

#[tokio::test]
async fn a_disk_with_an_efi_program_boots_without_a_kernel_of_the_hosts() {
    let test = "a_disk_with_an_efi_program_boots_without_a_kernel_of_the_hosts";
    let Some(place) = Place::with_demo(test) else { return };
    if firmware_is_missing(test) {
        return;
    }
    let disk = match efi_disk(&place, "console=ttyS0 panic=-1") {
        Ok(disk) => disk,
        Err(why) => return println!("not run: {test}: {why}"),
    };
    let (driver, mut guest) = (place.driver(), uefi(&place));
    guest.spec.image = Some(disk);
    guest.spec.boot = BootSpec { firmware: Firmware::Uefi, ..BootSpec::default() };
    started(&driver, &guest).await;
    let up = console_says(&driver, &guest, "hypervisor-demo: up ").await;
    assert!(up.contains(BY_UEFI), "{up}");
    removed(&driver, &guest).await;
    place.assert_nothing_left();
}

/// A FAT file system with the demo guest as the one program that a firmware looks for on a disk it does not know
/// (UEFI 2.10, section 3.5.1.1): kernel, initrd and command line as sections behind systemd's stub.
fn efi_disk(place: &Place, cmdline: &str) -> Result<PathBuf, String> {
    if !Path::new(STUB).exists() {
        return Err("the Debian package systemd-boot-efi".into());
    }
    let at = |name: &str| place.directory.path().join(name);
    let (text, program, disk) = (at("cmdline"), at("BOOTX64.EFI"), at("esp.img"));
    fs::write(&text, cmdline).unwrap();
    let mut objcopy = Command::new("objcopy");
    // systemd-stub(7). Each section begins after the one before it has ended; the stub itself ends below 16 MiB.
    for (section, file, address) in [
        (".cmdline", text, 0x0100_0000),
        (".linux", place.demo.join("vmlinuz"), 0x0200_0000),
        (".initrd", place.demo.join("initrd.img"), 0x0500_0000),
    ] {
        objcopy.arg("--add-section").arg(format!("{section}={}", file.display()));
        objcopy.arg("--change-section-vma").arg(format!("{section}={address:#x}"));
    }
    run(objcopy.arg(STUB).arg(&program))?;
    fs::File::create(&disk).unwrap().set_len(64 * MIB).unwrap();
    run(Command::new("mformat").arg("-i").arg(&disk).args(["-F", "::"]))?;
    run(Command::new("mmd").arg("-i").arg(&disk).args(["::/EFI", "::/EFI/BOOT"]))?;
    run(Command::new("mcopy").arg("-i").arg(&disk).arg(&program).arg("::/EFI/BOOT/"))?;
    Ok(disk)
}

/// An error when the program is missing; a program that fails is a fault of this test.
fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
