//! Disks that change.

use crate::{
    backup::{Small, nbd_server},
    elsewhere::passes_elsewhere,
    guest::{Guest, LONG, config, missing},
    loop_device::LoopDevice,
    modules,
};
use qemu::{
    config::{Address, Disk, DiskBus, Format, Image, Limits, Source, Throttle},
    vm::{CopyTarget, Eject, OperationError, Overlay},
};
use qmp::{CallError, Filter, commands::RunState};
use rustix::process::Signal;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fs, path::Path, process::Child, time::Duration};

/// As QEMU does by itself when a disk is full: the guest stands before its write fails, and the write is done when it goes on.
#[tokio::test]
async fn a_guest_whose_disk_is_full_stands_until_there_is_room() {
    let test = "a_guest_whose_disk_is_full_stands_until_there_is_room";
    if missing(test, true) || passes_elsewhere(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let Some(small) = Small::of(at("small"), 2) else {
        return println!("not run: {test}: a file system of its own (root, or user namespaces)");
    };
    let image = at("small/disk.raw");
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    let mut guest =
        Guest::linux(directory.path(), config().disk(Disk::new("root", Image::raw(&image)))).await;
    let vm = guest.vm.clone();
    let mut errors = vm.qmp().subscribe(Filter::names(["BLOCK_IO_ERROR"]), 16);
    let mut stops = vm.qmp().subscribe(Filter::names(["STOP"]), 16);
    let stands = async |stops: &mut qmp::Subscription| {
        tokio::time::timeout(LONG, stops.next()).await.unwrap().unwrap();
        let mut status = vm.watch();
        let full = status.wait_for(|status| status.run_state == RunState::IoError);
        tokio::time::timeout(LONG, full).await.unwrap().unwrap();
    };
    let full = async {
        stands(&mut stops).await;
        assert_eq!(errors.next().await.unwrap().data["nospace"], true);
        // It does not help to go on without room.
        vm.resume().await.unwrap();
        stands(&mut stops).await;
        small.grow(8);
        vm.resume().await.unwrap();
    };
    let write = "yes written | dd of=/dev/vda bs=1M count=4 iflag=fullblock conv=fsync 2>/dev/null";
    let (_, ()) = tokio::join!(guest.run(write), full);
    assert_eq!(vm.status().run_state, RunState::Running);
    assert!(fs::read(&image).unwrap() == "written\n".repeat(1 << 19).into_bytes(), "nothing of it was lost");
    guest.quit().await;
}

/// Written, backed up, and with an overlay that is merged into it.
#[tokio::test]
async fn a_guest_has_its_data_on_a_block_device_of_the_host() {
    let test = "a_guest_has_its_data_on_a_block_device_of_the_host";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("behind"), vec![0; 8 << 20]).unwrap();
    let device = match LoopDevice::of(&at("behind")) {
        Ok(device) => device,
        Err(why) => return println!("not run: {test}: {why}"),
    };
    let image = Image::new(Source::HostDevice(device.path.clone()), Format::Raw);
    let mut guest = Guest::linux(directory.path(), config().disk(Disk::new("root", image))).await;
    assert_eq!(guest.run("cat /sys/block/vda/size").await, "16384");
    guest.run("dd if=/dev/urandom of=/dev/vda bs=1M count=4 conv=fsync 2>/dev/null").await;
    let copy = CopyTarget::file(at("copy"), Format::Raw);
    guest.vm.push_backup("root", &copy, None).await.unwrap().done().await.unwrap();
    let first = fs::read(&device.path).unwrap();
    assert!(first[..4 << 20].iter().any(|byte| *byte != 0), "what the guest has written is there");
    assert!(fs::read(at("copy")).unwrap() == first, "and in the copy");
    guest.vm.snapshot_disks(&[Overlay::new("root", at("overlay"))]).await.unwrap();
    guest.run("printf above | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null").await;
    guest.vm.commit_disk("root").await.unwrap().complete().await.unwrap();
    assert_eq!(guest.vm.active_node("root").await.unwrap(), "root");
    // By its path only.
    let handed = Disk::new("handed", Image::new(Source::Descriptor("device".into()), Format::Raw));
    let opened = fs::File::options().read(true).write(true).open(&device.path).unwrap();
    let opened = BTreeMap::from([("device".to_owned(), opened.into())]);
    let refused = guest.vm.plug_disk_with(&handed, opened).await.unwrap_err();
    let OperationError::Qmp { source: CallError::Refused { refusal, .. }, .. } = &refused else {
        panic!("{refused:?}");
    };
    assert!(refusal.desc.contains("regular file"), "{refusal:?}");
    guest.quit().await;
    let written = fs::read(at("behind")).unwrap();
    assert!(written[..5] == *b"above" && written[5..] == first[5..]);
    // Nobody has it any more.
    let attached = Path::new("/sys/block").join(device.path.file_name().unwrap()).join("loop/backing_file");
    let is_attached =
        || fs::read_to_string(&attached).is_ok_and(|file| Path::new(file.trim_end()) == at("behind"));
    assert!(is_attached());
    drop(device);
    let detached = async {
        while is_attached() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, detached).await.unwrap();
}

#[tokio::test]
async fn the_guest_sees_the_new_size_and_limits_change() {
    let test = "the_guest_sees_the_new_size_and_limits_change";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("data.raw");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let limits =
        Limits { requests: Some(1000), burst_requests: Some(2000), burst_s: Some(5), ..Limits::default() };
    let disk = Disk { throttle: Some(Throttle::Own(limits)), ..Disk::new("data", Image::raw(&image)) };
    let mut guest = Guest::linux(directory.path(), config().disk(disk)).await;
    assert_eq!(guest.run("cat /sys/block/vda/size").await, "2048");
    guest.vm.resize_disk("data", 5 << 20).await.unwrap();
    guest.run_until("[ $(cat /sys/block/vda/size) = 10240 ]").await;
    assert_eq!(fs::metadata(&image).unwrap().len(), 5 << 20);

    let read = |vm: &qemu::Vm| {
        let client = vm.qmp();
        async move {
            let arguments = [("path", "/objects/data-limits"), ("property", "limits")];
            let arguments: Map<String, Value> =
                arguments.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
            client.execute("qom-get", arguments).await.unwrap()
        }
    };
    assert_eq!(read(&guest.vm).await["iops-total"], 1000);
    guest.vm.set_limits("data", &Limits { read_bytes: Some(1 << 20), ..Limits::default() }).await.unwrap();
    let now = read(&guest.vm).await;
    assert_eq!(
        (&now["iops-total"], &now["iops-total-max"], &now["bps-read"]),
        (&0.into(), &0.into(), &(1 << 20).into())
    );
    guest.run("dd if=/dev/vda of=/dev/null bs=64k count=4 2>/dev/null").await;
    let none = guest.vm.set_limits("other", &Limits::default()).await.unwrap_err();
    assert!(matches!(none, OperationError::Unknown { .. }), "{none:?}");
    guest.quit().await;
}

#[tokio::test]
async fn discs_are_changed() {
    let test = "discs_are_changed";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["one.iso", "two, 2.iso"] {
        fs::write(path(name), vec![0; 1 << 20]).unwrap();
    }
    let guest =
        Guest::paused(directory.path(), config().disk(Disk::cdrom("cd", Some(Image::raw(path("one.iso"))))))
            .await;
    let file = || async {
        let blocks = guest.vm.qmp().execute("query-block", Map::new()).await.unwrap();
        let cd = blocks.as_array().unwrap().iter().find(|block| block["qdev"] == "cd").unwrap().clone();
        (cd["inserted"]["file"].as_str().map(str::to_owned), cd["tray_open"].as_bool())
    };
    let shows = |name: &str| (Some(path(name).to_str().unwrap().to_owned()), Some(false));
    assert_eq!(file().await, shows("one.iso"));
    guest.vm.change_disc("cd", Some(Image::raw(path("two, 2.iso"))), Eject::Force).await.unwrap();
    assert_eq!(file().await, shows("two, 2.iso"));
    guest.vm.change_disc("cd", None, Eject::Force).await.unwrap();
    assert_eq!(file().await, (None, Some(true)));
    let absent =
        guest.vm.change_disc("cd", Some(Image::raw(path("absent.iso"))), Eject::Force).await.unwrap_err();
    assert!(matches!(absent, OperationError::Qmp { .. }), "{absent:?}");
    guest
        .vm
        .change_disc("cd", Some(Image::raw(path("one.iso"))), Eject::Ask(crate::guest::LONG))
        .await
        .unwrap();
    assert_eq!(file().await, shows("one.iso"));
    guest.quit().await;
}

#[tokio::test]
async fn a_disc_that_the_guest_holds_is_asked_for_or_taken() {
    let test = "a_disc_that_the_guest_holds_is_asked_for_or_taken";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["one", "two", "three", "four"] {
        fs::write(path(name), name.repeat(1 << 18)).unwrap();
    }
    let drivers = ["scsi_common", "scsi_mod", "cdrom", "virtio_scsi", "sr_mod"];
    let Some(initrd) = modules::initrd(test, directory.path(), &drivers) else { return };
    let drive = Disk::cdrom("cd", Some(Image::raw(path("one")))).on(DiskBus::Scsi(0));
    let mut machine = Guest::with_linux(config().disk(drive));
    machine.boot.kernel.as_mut().unwrap().initrd = Some(initrd);
    let mut guest = Guest::linux_of(directory.path(), machine).await;
    guest.run(modules::LOAD).await;
    guest.run_until("[ -b /dev/sr0 ]").await;
    let vm = guest.vm.clone();
    let change = async |name: &str, eject| vm.change_disc("cd", Some(Image::raw(path(name))), eject).await;
    // What has it open locks the drive.
    let hold = "exec 3</dev/sr0";
    guest.run(hold).await;
    let silent = change("two", Eject::Ask(Duration::from_millis(100))).await.unwrap_err();
    assert!(matches!(silent, OperationError::GuestSilent { .. }), "{silent:?}");
    assert_eq!(guest.run("head -c 3 <&3").await, "one", "the guest still has it");
    // A guest that does what it was asked for.
    let ejects = "/proc/sys/dev/cdrom/autoeject";
    let lets_go = format!("sleep 0.5; echo 1 >{ejects}; exec 3<&-; echo 0 >{ejects}");
    let (changed, _) = tokio::join!(change("two", Eject::Ask(LONG)), guest.run(&lets_go));
    changed.unwrap();
    guest.run_until(&format!("{hold} 2>/dev/null")).await;
    assert_eq!(guest.run("head -c 3 <&3").await, "two");
    // One that only lets go.
    let (changed, _) = tokio::join!(change("three", Eject::Ask(LONG)), guest.run("sleep 0.5; exec 3<&-"));
    changed.unwrap();
    guest.run_until(&format!("{hold} 2>/dev/null")).await;
    assert_eq!(guest.run("head -c 5 <&3").await, "three");
    // It is not asked.
    change("four", Eject::Force).await.unwrap();
    guest.run("exec 3<&-").await;
    guest.run_until(&format!("{hold} 2>/dev/null")).await;
    assert_eq!(guest.run("head -c 4 <&3").await, "four");
    guest.quit().await;
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

#[tokio::test]
async fn a_network_disk_that_hangs_is_broken_and_the_machine_answers() {
    let test = "a_network_disk_that_hangs_is_broken_and_the_machine_answers";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("data.raw"), vec![b'd'; 8 << 20]).unwrap();
    let server = nbd_server(&at("data.raw"), &at("nbd.sock"));
    let export = Source::Nbd { server: Address::Unix(at("nbd.sock")), export: "copy".into() };
    let disk = Disk::new("data", Image::new(export, Format::Raw));
    let mut guest = Guest::linux(directory.path(), config().disk(disk)).await;
    assert_eq!(guest.run("head -c 2 /dev/vda").await, "dd");
    // It answers no more, and a request of the guest's waits for it.
    signal(&server.0, Signal::STOP);
    guest.run("(dd if=/dev/vda of=/dev/null bs=4k count=1 skip=1000 iflag=direct 2>/dev/null; echo $? >/run/ended) & true").await;
    let waiting = "grep -q '^ *1 \\|^ *[0-9]* *1$' /sys/block/vda/inflight";
    guest.run_until(waiting).await;
    // What must wait for the request before it goes on, as this does for all of a machine's disks, holds up the whole of QEMU.
    let vm = guest.vm.clone();
    let (paused, broken) = tokio::join!(vm.pause(), async {
        let yanked = async {
            loop {
                match vm.yank().await {
                    Ok(0) => {}
                    broken => return broken,
                }
            }
        };
        tokio::time::timeout(LONG, yanked).await.unwrap()
    });
    assert_eq!(broken.unwrap(), 1);
    paused.unwrap();
    guest.vm.resume().await.unwrap();
    guest.run_until("[ -e /run/ended ]").await;
    assert_ne!(guest.run("cat /run/ended").await, "0", "what waited has failed");
    guest.quit().await;
    signal(&server.0, Signal::CONT);
}
