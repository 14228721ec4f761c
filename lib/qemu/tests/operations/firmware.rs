//! What a firmware starts and what it does not.

use crate::guest::{Guest, config, demo, missing, with_disk};
use qemu::config::{Disk, Firmware, Image, Source};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// OVMF's files (package ovmf), which differ in what they check.
const OVMF: &str = "/usr/share/OVMF";

/// A program for the firmware that nobody has signed (package systemd-boot-efi).
const UNSIGNED: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// A disk whose only program is this one.
fn disk(directory: &Path, name: &str, program: &Path) -> Disk {
    let path = directory.join(name);
    fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let at = |tool: &str| {
        let mut command = Command::new(tool);
        command.arg("-i").arg(&path);
        command
    };
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    run(at("mformat").args(["-F", "::"]));
    run(at("mmd").args(["::/EFI", "::/EFI/BOOT"]));
    run(at("mcopy").arg(program).arg("::/EFI/BOOT/BOOTX64.EFI"));
    Disk::new("root", Image::raw(path))
}

/// What such a machine says on its console up to this text.
async fn boots(directory: &Path, firmware: Firmware, disk: Disk, until: &str) -> String {
    fs::create_dir(directory).unwrap();
    let mut machine = config().disk(disk);
    machine.boot.firmware = firmware;
    let mut guest = Guest::start(directory, machine).await;
    let said = guest.until(until).await;
    guest.quit().await;
    said
}

#[tokio::test]
async fn secure_boot_starts_what_is_signed_and_nothing_else() {
    let test = "secure_boot_starts_what_is_signed_and_nothing_else";
    let shim = demo("../unpacked/shim-signed/usr/lib/shim/shimx64.efi.signed");
    let variables = |name: &str| Path::new(OVMF).join(name);
    let needed: [(PathBuf, &str); 4] = [
        (variables("OVMF_CODE_4M.secboot.fd"), "Debian package ovmf"),
        (UNSIGNED.into(), "Debian package systemd-boot-efi"),
        ("/usr/bin/mformat".into(), "Debian package mtools"),
        (shim.clone(), "cargo xtask test"),
    ];
    if missing(test, false) {
        return;
    }
    if let Some((path, from)) = needed.iter().find(|(path, _)| !path.exists()) {
        return println!("not run: {test}: {} ({from})", path.display());
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let own = |name: &str| {
        let copy = at(name);
        fs::copy(variables(name), &copy).unwrap();
        Source::Path(copy)
    };
    // With the keys that machines are sold with.
    let secure =
        Firmware::UefiSecure { code: variables("OVMF_CODE_4M.secboot.fd"), vars: own("OVMF_VARS_4M.ms.fd") };
    let open = Firmware::Uefi { code: variables("OVMF_CODE_4M.fd"), vars: own("OVMF_VARS_4M.fd") };
    let unsigned = disk(directory.path(), "unsigned.raw", Path::new(UNSIGNED));
    let signed = disk(directory.path(), "signed.raw", &shim);
    // The program's own words.
    let menu = "Reboot Into Firmware Interface";
    boots(&at("open"), open, unsigned.clone(), menu).await;
    let said = boots(&at("refused"), secure.clone(), unsigned, "Access Denied").await;
    assert!(!said.contains(menu), "{said}");
    boots(&at("started"), secure, signed, "grubx64.efi").await;
}

/// A machine without PCI starts Linux, whose disk is where the kernel was told of it.
#[tokio::test]
async fn a_microvm_starts_linux_and_the_guest_uses_its_disk() {
    let test = "a_microvm_starts_linux_and_the_guest_uses_its_disk";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let machine = qemu::Config { machine: "microvm".into(), ..with_disk(directory.path()) };
    let mut machine = Guest::with_linux(machine);
    // Where its processor is too slow for the kernel to measure its clock there is no other in this machine, and the kernel hangs.
    machine.boot.kernel.as_mut().unwrap().cmdline.push_str(" tsc_early_khz=2000000");
    let mut guest = Guest::linux_of(directory.path(), machine).await;
    assert_eq!(guest.run("ls /sys/bus/pci/devices 2>/dev/null | wc -l").await, "0");
    guest.run_until("[ -b /dev/vda ]").await;
    assert_eq!(guest.run("cat /sys/block/vda/size").await, "2048");
    guest.run("printf here >/dev/vda; sync").await;
    guest.quit().await;
    assert!(fs::read(directory.path().join("disk.raw")).unwrap().starts_with(b"here"));
}
