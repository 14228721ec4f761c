//! What a guest is told at its first start, in the form of cloud-init's NoCloud: a volume of the label CIDATA.

use crate::{
    guest::{Guest, config, missing},
    modules,
};
use qemu::config::{Disk, DiskBus, Image};
use std::{
    fs,
    process::{Command, Stdio},
};

const USER_DATA: &str = "#cloud-config\nhostname: told-by-the-seed\n";

#[tokio::test]
async fn a_guest_reads_its_seed_from_a_disk_and_from_a_drive() {
    let test = "a_guest_reads_its_seed_from_a_disk_and_from_a_drive";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("seed")).unwrap();
    fs::write(at("seed").join("user-data"), USER_DATA).unwrap();
    fs::write(at("seed").join("meta-data"), "instance-id: one\n").unwrap();
    let mut made = Command::new("xorrisofs");
    made.stderr(Stdio::null())
        .args(["-quiet", "-V", "CIDATA", "-J", "-r", "-o"])
        .arg(at("seed.iso"))
        .arg(at("seed"));
    match made.status() {
        Err(error) => return println!("not run: {test}: xorrisofs (Debian package xorriso): {error}"),
        Ok(status) => assert!(status.success(), "{status}"),
    }
    let drivers = ["scsi_common", "scsi_mod", "cdrom", "virtio_scsi", "sr_mod"];
    let Some(initrd) = modules::initrd(test, directory.path(), &drivers) else { return };
    let seed = || Image::raw(at("seed.iso"));
    let machine = config().disk(Disk::read_only("seed", seed()));
    let machine = machine.disk(Disk::cdrom("cd", Some(seed())).on(DiskBus::Scsi(0)));
    let mut machine = Guest::with_linux(machine);
    machine.boot.kernel.as_mut().unwrap().initrd = Some(initrd);
    let mut guest = Guest::linux_of(directory.path(), machine).await;
    guest.run(modules::LOAD).await;
    guest.run("while read -r m; do insmod /lib/modules/$m; done </lib/modules/order-seed; mkdir /mnt").await;
    for place in ["/dev/vda", "/dev/sr0"] {
        guest.run_until(&format!("[ -b {place} ]")).await;
        // By which cloud-init finds it: bytes 40 to 71 of the descriptor in the 17th sector (ECMA-119, 8.4.7).
        let label = guest.run(&format!("dd if={place} bs=1 skip=32808 count=32 2>/dev/null")).await;
        assert_eq!(label, "CIDATA", "{place}");
        guest.run(&format!("mount -t iso9660 -o ro {place} /mnt")).await;
        assert_eq!(guest.run("cat /mnt/user-data").await, USER_DATA.trim_end(), "{place}");
        assert_eq!(guest.run("cat /mnt/meta-data; umount /mnt").await, "instance-id: one");
    }
    let refused = guest.run("printf x 2>/dev/null >/dev/vda && echo written || echo refused").await;
    assert_eq!(refused, "refused");
    guest.quit().await;
}
