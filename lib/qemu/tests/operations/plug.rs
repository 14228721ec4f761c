//! Devices that come and go.

use crate::{
    beside::encrypt,
    guest::{Guest, LONG, config, missing},
    huge_pages::HugePages,
    release,
};
use qemu::{
    ConfigError,
    config::{
        Backing, Disk, Encoding, Format, Image, Limits, MemoryHotplug, Nic, NicBackend, NicModel, Secret,
        Source, Throttle,
    },
    vm::OperationError,
};
use std::{fs, time::Duration};

fn nic(id: &str) -> Nic {
    Nic::new(id, [0x52, 0x54, 0, 1, 2, 3], NicBackend::User { forwards: Vec::new(), restrict: true })
}

#[tokio::test]
async fn disks_and_network_cards_come_and_go_as_the_guest_sees() {
    let test = "disks_and_network_cards_come_and_go_as_the_guest_sees";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("a, b.raw");
    fs::write(&image, vec![7; 3 << 20]).unwrap();
    for board in ["q35", "i440fx"] {
        let mut machine_config = config();
        machine_config.machine = release::machine(board);
        let mut guest = Guest::linux(directory.path(), machine_config).await;
        let before = guest.vm.devices().await.unwrap();
        // With a limit, so that there is more than one node and an object.
        let limits = Limits { requests: Some(100_000), ..Limits::default() };
        let disk = Disk { throttle: Some(Throttle::Own(limits)), ..Disk::new("data", Image::raw(&image)) }
            .serial("s1");
        guest.vm.plug_disk(&disk).await.unwrap();
        guest.run_until("[ -b /dev/vda ]").await;
        assert_eq!(guest.run("cat /sys/block/vda/size /sys/block/vda/serial").await, "6144\ns1");
        guest.run("dd if=/dev/vda of=/dev/null bs=64k count=4 2>/dev/null").await;
        assert!(guest.vm.stats().await.unwrap().disks["data"].rd_operations > 0);
        // The same id again: refused, and the first one is whole.
        let again = guest.vm.plug_disk(&disk).await.unwrap_err();
        assert!(matches!(again, OperationError::Config(_)), "{again:?}");
        guest.run("dd if=/dev/vda of=/dev/null bs=64k skip=8 count=4 2>/dev/null").await;
        guest.vm.unplug_disk("data", LONG).await.unwrap();
        guest.run_until("[ ! -e /dev/vda ]").await;
        assert_eq!(guest.vm.devices().await.unwrap(), before);
        // Nothing is left: the same can be added again.
        guest.vm.plug_disk(&disk).await.unwrap();
        guest.vm.unplug_disk("data", LONG).await.unwrap();

        guest.vm.plug_nic(&nic("extra")).await.unwrap();
        guest.run_until("[ -d /sys/class/net/eth0 ]").await;
        assert_eq!(guest.run("cat /sys/class/net/eth0/address").await, "52:54:00:01:02:03");
        guest.vm.unplug_nic("extra", LONG).await.unwrap();
        guest.run_until("[ ! -e /sys/class/net/eth0 ]").await;
        guest.vm.plug_nic(&nic("extra").model(NicModel::E1000e)).await.unwrap();
        guest.vm.unplug_nic("extra", LONG).await.unwrap();
        let unknown = guest.vm.unplug_nic("extra", LONG).await.unwrap_err();
        assert!(matches!(unknown, OperationError::Unknown { what: "device", .. }), "{unknown:?}");
        guest.quit().await;
    }
}

#[tokio::test]
async fn an_encrypted_disk_comes_and_goes_with_a_secret_of_the_machine() {
    let test = "an_encrypted_disk_comes_and_goes_with_a_secret_of_the_machine";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("clear"), "readable".repeat(1 << 17)).unwrap();
    fs::write(at("key"), "a passphrase").unwrap();
    let mut disks = Vec::new();
    for (name, format) in [("qcow2", Format::Qcow2), ("luks", Format::Raw)] {
        encrypt(&at("clear"), &at("key"), name, &at(name));
        let image = Image { key: Some("key".into()), ..Image::new(Source::Path(at(name)), format) };
        disks.push(Disk::new(name, image));
    }
    // One is there from the start, the other is not.
    let mut machine = config().disk(disks[0].clone());
    machine.iothreads = vec!["worker".into()];
    let source = Source::Path(at("key"));
    machine.secrets = vec![Secret { id: "key".into(), source, encoding: Encoding::Raw }];
    let mut guest = Guest::linux(directory.path(), machine).await;
    guest.run_until("[ -b /dev/vda ]").await;
    guest.vm.unplug_disk(&disks[0].id, LONG).await.unwrap();
    for disk in &disks {
        guest.run_until("[ ! -e /dev/vda ]").await;
        guest.vm.plug_disk(disk).await.unwrap();
        guest.run_until("[ -b /dev/vda ]").await;
        assert_eq!(guest.run("dd if=/dev/vda bs=8 count=1 2>/dev/null").await, "readable");
        guest.vm.unplug_disk(&disk.id, LONG).await.unwrap();
    }
    // Another object of the machine is no secret.
    disks[1].image.as_mut().unwrap().key = Some("worker".into());
    let refused = guest.vm.plug_disk(&disks[1]).await.unwrap_err();
    let is_told = matches!(&refused, OperationError::Config(ConfigError::Unknown { what: "secret", name, .. }) if name == "worker");
    assert!(is_told, "{refused:?}");
    guest.quit().await;
}

#[tokio::test]
async fn cpus_come_and_go_as_the_guest_sees() {
    let test = "cpus_come_and_go_as_the_guest_sees";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut machine = config();
    machine.cpu.max = Some(3);
    let mut guest = Guest::linux(directory.path(), machine).await;
    // Two at once get a place each. Not after one was unplugged: with TCG, QEMU 7.2 crashes then.
    let (second, third) = tokio::join!(guest.vm.plug_cpu(), guest.vm.plug_cpu());
    let (second, third) = (second.unwrap(), third.unwrap());
    assert_ne!(second, third);
    // A directory is there before what is in it.
    for cpu in 1..=2 {
        guest.run_until(&format!("[ -e /sys/devices/system/cpu/cpu{cpu}/online ]")).await;
    }
    guest.run("echo 1 >/sys/devices/system/cpu/cpu1/online").await;
    assert_eq!(guest.run("cat /sys/devices/system/cpu/online").await, "0-1");
    assert_eq!(guest.vm.vcpus().await.unwrap().len(), 3);
    let full = guest.vm.plug_cpu().await.unwrap_err();
    assert!(matches!(full, OperationError::NoPlace { .. }), "{full:?}");
    guest.vm.unplug_cpu(&third, LONG).await.unwrap();
    guest.vm.unplug_cpu(&second, LONG).await.unwrap();
    assert_eq!(guest.run("cat /sys/devices/system/cpu/online").await, "0");
    assert_eq!(guest.vm.vcpus().await.unwrap().len(), 1);
    guest.quit().await;
}

/// Not in the same machine as the test before: with TCG, QEMU 7.2 crashes when memory is plugged after a CPU was unplugged.
#[tokio::test]
async fn memory_comes_and_goes_as_the_guest_sees() {
    let test = "memory_comes_and_goes_as_the_guest_sees";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut machine = config();
    machine.memory.hotplug = Some(MemoryHotplug { slots: 2, max_mib: 1024 });
    let mut guest = Guest::linux(directory.path(), machine).await;
    let blocks = "$(ls -d /sys/devices/system/memory/memory* | wc -l)";
    let before = guest.run(&format!("echo {blocks}")).await;
    guest.vm.plug_memory("dimm-1", 128).await.unwrap();
    guest.run_until(&format!("[ {blocks} -gt {before} ]")).await;
    // What the guest does not use it can give back.
    guest.vm.unplug_memory("dimm-1", LONG).await.unwrap();
    assert_eq!(guest.run(&format!("echo {blocks}")).await, before);
    guest.vm.plug_memory("dimm-1", 128).await.unwrap();
    guest.quit().await;
}

#[tokio::test]
async fn memory_that_is_plugged_is_of_huge_pages_where_the_rest_is() {
    let test = "memory_that_is_plugged_is_of_huge_pages_where_the_rest_is";
    if missing(test, true) {
        return;
    }
    // 192 MiB and 128 more.
    let _pages = HugePages::take(160);
    if HugePages::count("free") < 160 {
        return println!("not run: {test}: 160 huge pages of 2 MiB (root, and as much free memory)");
    }
    let directory = tempfile::tempdir().unwrap();
    let mut machine = config();
    machine.memory.hotplug = Some(MemoryHotplug { slots: 2, max_mib: 1024 });
    machine.memory.backing = Backing::HugePages { page_kib: 2048 };
    let mut guest = Guest::linux(directory.path(), machine).await;
    let (promised, free) = (HugePages::count("resv"), HugePages::count("free"));
    guest.vm.plug_memory("dimm-1", 128).await.unwrap();
    let more = HugePages::count("resv") + free - promised - HugePages::count("free");
    assert!(more >= 64, "{more} pages more");
    guest.run_until("[ $(ls -d /sys/devices/system/memory/memory* | wc -l) -gt 1 ]").await;
    guest.vm.unplug_memory("dimm-1", LONG).await.unwrap();
    guest.quit().await;
}

#[tokio::test]
async fn a_guest_that_does_not_hear_keeps_its_device() {
    let test = "a_guest_that_does_not_hear_keeps_its_device";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("data.raw");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let mut machine = config();
    machine.spare_ports = 2;
    // Its CPUs stand: it can hear nothing.
    let guest = Guest::paused(directory.path(), machine).await;
    guest.vm.plug_disk(&Disk::new("data", Image::raw(&image))).await.unwrap();
    // An image that is not there: nothing of the disk is left, its place included.
    let absent = guest
        .vm
        .plug_disk(&Disk::new("other", Image::raw(directory.path().join("absent"))))
        .await
        .unwrap_err();
    assert!(matches!(absent, OperationError::Qmp { .. }), "{absent:?}");
    assert_eq!(guest.node_names().await, ["data", "data-file"]);
    guest.vm.plug_nic(&nic("second")).await.unwrap();
    let full = guest.vm.plug_nic(&nic("extra")).await.unwrap_err();
    assert!(matches!(full, OperationError::NoPlace { .. }), "{full:?}");
    let moment = Duration::from_millis(100);
    let silent = guest.vm.unplug_disk("data", moment).await.unwrap_err();
    assert!(matches!(silent, OperationError::GuestSilent { .. }), "{silent:?}");
    assert!(guest.vm.devices().await.unwrap().contains("data"));
    assert!(guest.vm.stats().await.unwrap().disks.contains_key("data"));
    guest.quit().await;
}

#[tokio::test]
async fn devices_that_are_plugged_at_once_get_a_port_each() {
    let test = "devices_that_are_plugged_at_once_get_a_port_each";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut machine = config();
    machine.spare_ports = 2;
    let guest = Guest::paused(directory.path(), machine).await;
    // Each of the three has looked for a port before any of them is in one.
    let cards = ["one", "two", "three"].map(nic);
    let [one, two, three] = &cards;
    let (one, two, three) =
        tokio::join!(guest.vm.plug_nic(one), guest.vm.plug_nic(two), guest.vm.plug_nic(three));
    let devices = guest.vm.devices().await.unwrap();
    let mut refused = 0;
    for (card, plugged) in cards.iter().zip([one, two, three]) {
        assert_eq!(devices.contains(&card.id), plugged.is_ok(), "{}: {plugged:?}", card.id);
        if let Err(error) = plugged {
            assert!(matches!(error, OperationError::NoPlace { .. }), "{error:?}");
            refused += 1;
        }
    }
    assert_eq!(refused, 1, "whoever comes last finds both taken");
    guest.quit().await;
}

/// What its kernel has put into a module can be nowhere else.
#[tokio::test]
async fn a_guest_that_needs_its_memory_refuses_to_give_it_back() {
    let test = "a_guest_that_needs_its_memory_refuses_to_give_it_back";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut machine = config();
    machine.memory.hotplug = Some(MemoryHotplug { slots: 2, max_mib: 1024 });
    let mut guest = Guest::linux(directory.path(), machine).await;
    guest.vm.plug_memory("dimm-1", 128).await.unwrap();
    guest.run_until("grep -l offline /sys/devices/system/memory/memory*/state >/run/offline").await;
    guest.run("for state in $(cat /run/offline); do echo online_kernel >$state; done").await;
    guest.run("mkdir /run/many; cd /run/many; mkdir $(seq 2000)").await;
    let refused = guest.vm.unplug_memory("dimm-1", LONG).await.unwrap_err();
    assert!(matches!(&refused, OperationError::GuestRefused { id } if id == "dimm-1"), "{refused:?}");
    // It has it as before, and is asked again by who wants it.
    assert!(guest.vm.devices().await.unwrap().contains("dimm-1"));
    assert_eq!(guest.run("sort -u $(cat /run/offline)").await, "online");
    let refused = guest.vm.unplug_memory("dimm-1", LONG).await.unwrap_err();
    assert!(matches!(refused, OperationError::GuestRefused { .. }), "{refused:?}");
    guest.quit().await;
}
