//! What changes of a running guest is seen where it must be: in its definition, in statistics, in events.

use crate::guests::{definition, disk};
use crate::old_events::OldClient;
use crate::support::{Daemon, present};
use libvirt_client::protocol::enums::{
    CpuCompareResult, DomainLifecycle, DomainLifecycleAction, DomainMetadataType, DomainState,
    SecretUsageType,
};
use libvirt_client::protocol::enums::{DomainCoreDumpFormat, StorageVolWipeAlgorithm};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    DomainBlockCommitFlags, DomainBlockJobAbortFlags, DomainBlockPullFlags, DomainBlockRebaseFlags,
    DomainBlockResizeFlags, DomainCoreDumpFlags, DomainDeviceModifyFlags, DomainModificationImpact as Impact,
    DomainSaveRestoreFlags, DomainSnapshotCreateFlags, DomainVcpuFlags, StorageVolInfoFlags,
    StorageVolResizeFlags,
};
use libvirt_client::protocol::remote;
use libvirt_client::protocol::xdr::IntoOwned;
use libvirt_client::{
    BlockIoTune, BlockJobState, BlockTarget, CapabilitiesOf, Connect, CpuMap, Domain, Filter,
    IoThreadParameters, Item, Subscription,
};
use std::process::Command;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// A guest with a tray, USB and room for more processors, that runs; or a line that says why there is none.
async fn guest(test: &str) -> Option<(Daemon, Connect, Domain)> {
    let daemon = Daemon::start(test)?;
    let programs = [("/usr/bin/qemu-system-x86_64", "qemu-system-x86"), ("/usr/bin/qemu-img", "qemu-utils")];
    if !present(test, &programs) {
        return None;
    }
    let connect = daemon.open("qemu:///session").await;
    let source = format!("<source file='{}'/>", disk(&daemon, "disk"));
    let tray = format!(
        "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{}'/>\
         <target dev='hdc' bus='ide'/><readonly/></disk></devices>",
        disk(&daemon, "tray.iso")
    );
    let xml = definition(&daemon, &source)
        .replace("<vcpu>1</vcpu>", "<vcpu current='1'>2</vcpu><iothreads>1</iothreads>")
        .replace("</devices>", &tray);
    let domain = connect.define_domain(&xml, Default::default()).await.unwrap();
    let domain = domain.start(Default::default()).await.unwrap();
    Some((daemon, connect, domain))
}

/// Events of these kinds of a domain.
async fn hear(domain: &Domain, kinds: &[Kind]) -> Subscription {
    let filters = kinds.iter().map(|kind| Filter::domain(*kind, domain));
    domain.connect().subscribe_to(filters).await.unwrap()
}

async fn next(events: &mut Subscription) -> Event<'static> {
    // Far longer than any takes: a test that hangs names nothing.
    match tokio::time::timeout(Duration::from_secs(30), events.next()).await.expect("an event").unwrap() {
        Item::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

async fn xml(domain: &Domain) -> String {
    domain.xml(Default::default()).await.unwrap()
}

#[tokio::test]
async fn devices_come_and_go_and_events_tell() {
    let Some((daemon, _connect, guest)) = guest("devices_come_and_go_and_events_tell").await else { return };
    let kinds = [Kind::DomainDeviceAdded, Kind::DomainDeviceRemoved, Kind::DomainTrayChange];
    let mut events = hear(&guest, &kinds).await;
    let mut old = OldClient::new(daemon.open("qemu:///session").await).await;
    let live = DomainDeviceModifyFlags::LIVE;
    let tablet = "<input type='tablet' bus='usb'><alias name='ua-tablet'/></input>";
    guest.attach_device(tablet, live).await.unwrap();
    let Event::DomainDeviceAdded(added) = next(&mut events).await else { panic!("no device was added") };
    assert_eq!(added.dev_alias.to_string(), "ua-tablet");
    assert!(xml(&guest).await.contains("ua-tablet"));
    guest.detach_device_alias("ua-tablet", live).await.unwrap();
    let Event::DomainDeviceRemoved(removed) = next(&mut events).await else {
        panic!("no device was removed")
    };
    assert_eq!(removed.dev_alias.to_string(), "ua-tablet");
    assert!(!xml(&guest).await.contains("ua-tablet"));
    // The old call, and a definition in place of a name.
    let dom = guest.wire().into_owned();
    let stick = disk(&daemon, "stick");
    let stick = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{stick}'/><target dev='sda' bus='usb'/></disk>"
    );
    let args = remote::DomainAttachDeviceArgs { dom: dom.clone(), xml: stick.as_str().into() };
    guest.connect().call::<remote::DomainAttachDevice>(&args).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::DomainDeviceAdded(_)));
    assert_eq!(guest.block_info("sda").await.unwrap().capacity, 4 * MIB);
    guest.detach_device(&stick, live).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::DomainDeviceRemoved(_)));
    guest.attach_device(tablet, live).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::DomainDeviceAdded(_)));
    let args = remote::DomainDetachDeviceArgs { dom, xml: tablet.into() };
    guest.connect().call::<remote::DomainDetachDevice>(&args).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::DomainDeviceRemoved(_)));
    // The tray opens and closes.
    let empty = "<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>";
    let flags = live | DomainDeviceModifyFlags::FORCE;
    guest.update_device(empty, flags).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::DomainTrayChange(_)));
    assert!(!xml(&guest).await.contains("tray.iso"));
    old.sees(Kind::DomainDeviceRemoved).await;
    old.sees(Kind::DomainTrayChange).await;
}

#[tokio::test]
async fn what_is_set_of_a_running_guest_is_read_back() {
    let Some((daemon, connect, guest)) = guest("what_is_set_of_a_running_guest_is_read_back").await else {
        return;
    };
    let kinds = [Kind::DomainTunable, Kind::DomainMetadataChange, Kind::DomainReboot];
    let mut events = hear(&guest, &kinds).await;
    let mut old = OldClient::new(daemon.open("qemu:///session").await).await;
    let tune = BlockIoTune { total_iops_sec: Some(500), ..Default::default() };
    guest.set_block_io_tune("vda", &tune, Impact::LIVE).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::DomainTunable(_)));
    let read = guest.block_io_tune("vda", Impact::LIVE).await.unwrap();
    assert_eq!(read.total_iops_sec, Some(500));
    guest.set_metadata(DomainMetadataType::Title, Some("named"), None, None, Impact::LIVE).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::DomainMetadataChange(_)));
    assert_eq!(guest.metadata(DomainMetadataType::Title, None, Impact::LIVE).await.unwrap(), "named");
    guest.reset().await.unwrap();
    assert!(matches!(next(&mut events).await, Event::DomainReboot(_)));
    old.sees(Kind::DomainReboot).await;

    guest
        .set_lifecycle_action(DomainLifecycle::Crash, DomainLifecycleAction::Preserve, Impact::LIVE)
        .await
        .unwrap();
    assert!(xml(&guest).await.contains("<on_crash>preserve</on_crash>"));
    guest.set_vcpu_count(2, DomainVcpuFlags::LIVE).await.unwrap();
    assert_eq!(guest.vcpu_count(DomainVcpuFlags::LIVE).await.unwrap(), 2);
    let vcpus = guest.vcpus().await.unwrap();
    assert_eq!(vcpus.len(), 2);
    let first: CpuMap = [0].into_iter().collect();
    guest.pin_vcpu(0, &first, Impact::LIVE).await.unwrap();
    guest.pin_emulator(&first, Impact::LIVE).await.unwrap();
    assert_eq!(guest.vcpus().await.unwrap()[0].allowed.iter().collect::<Vec<_>>(), [0]);
    assert_eq!(guest.emulator_pin(Impact::LIVE).await.unwrap().iter().collect::<Vec<_>>(), [0]);
    let args = remote::DomainGetVcpuPinInfoArgs {
        dom: guest.wire().into_owned(),
        ncpumaps: 2,
        maplen: 1,
        flags: Impact::LIVE,
    };
    let reply = connect.call::<remote::DomainGetVcpuPinInfo>(&args).await.unwrap();
    let reply = reply.result().unwrap();
    assert_eq!((reply.num, reply.cpumaps.0[0]), (2, 1), "the first may run on the first alone");

    guest.add_iothread(7, Impact::LIVE).await.unwrap();
    guest.pin_iothread(7, &first, Impact::LIVE).await.unwrap();
    let threads = guest.iothreads(Impact::LIVE).await.unwrap();
    let seventh = threads.iter().find(|thread| thread.id == 7).unwrap();
    assert_eq!(seventh.allowed.iter().collect::<Vec<_>>(), [0]);
    let poll = IoThreadParameters { poll_max_ns: Some(1000), ..Default::default() };
    guest.set_iothread(7, &poll, Impact::LIVE).await.unwrap();
    let polled = guest.monitor_command("query-iothreads", None).await.unwrap().to_string();
    assert!(polled.contains("\"poll-max-ns\":1000"), "{polled}");
    guest.remove_iothread(7, Impact::LIVE).await.unwrap();
    assert_eq!(guest.iothreads(Impact::LIVE).await.unwrap().len(), 1);

    // Speeds of a migration that there may be one day.
    let dom = guest.wire().into_owned();
    let args = remote::DomainMigrateSetMaxSpeedArgs { dom: dom.clone(), bandwidth: 77, ..Default::default() };
    connect.call::<remote::DomainMigrateSetMaxSpeed>(&args).await.unwrap();
    let args = remote::DomainMigrateGetMaxSpeedArgs { dom: dom.clone(), ..Default::default() };
    let reply = connect.call::<remote::DomainMigrateGetMaxSpeed>(&args).await.unwrap();
    assert_eq!(reply.result().unwrap().bandwidth, 77);
    let args =
        remote::DomainMigrateSetMaxDowntimeArgs { dom: dom.clone(), downtime: 432, ..Default::default() };
    connect.call::<remote::DomainMigrateSetMaxDowntime>(&args).await.unwrap();
    let args = remote::DomainMigrateGetMaxDowntimeArgs { dom: dom.clone(), ..Default::default() };
    let reply = connect.call::<remote::DomainMigrateGetMaxDowntime>(&args).await.unwrap();
    assert_eq!(reply.result().unwrap().downtime, 432);
    let args = remote::DomainGetJobInfoArgs { dom };
    let reply = connect.call::<remote::DomainGetJobInfo>(&args).await.unwrap();
    assert_eq!(i32::from(reply.result().unwrap().kind), 0, "no job");
}

/// Writes a whole sector behind the guest's back, through QEMU.
async fn write(guest: &Domain, at: u64) {
    let blocks = guest.monitor_command("query-block", None).await.unwrap();
    let disk =
        blocks.as_array().unwrap().iter().find(|block| block["qdev"].to_string().contains("virtio-disk0"));
    let device = disk.unwrap()["qdev"].as_str().unwrap();
    let command = format!("qemu-io -d {device} \"write -P 7 {at} 512\"");
    let said = guest.human_monitor_command(&command).await.unwrap();
    assert_eq!(said, "", "{command}");
}

#[tokio::test]
async fn disks_grow_have_thresholds_and_are_pulled_and_committed() {
    let Some((daemon, _connect, guest)) =
        guest("disks_grow_have_thresholds_and_are_pulled_and_committed").await
    else {
        return;
    };
    guest.block_resize("vda", 8 * MIB, DomainBlockResizeFlags::BYTES).await.unwrap();
    assert_eq!(guest.block_info("vda").await.unwrap().capacity, 8 * MIB);
    let mut events = hear(&guest, &[Kind::DomainBlockJob]).await;
    let mut old = OldClient::new(daemon.open("qemu:///session").await).await;
    let overlay = |name: &str| {
        let path = daemon.path(name).display().to_string();
        let xml = format!(
            "<domainsnapshot><disks><disk name='vda'><source file='{path}'/></disk><disk name='hdc' snapshot='no'/></disks></domainsnapshot>"
        );
        (path, xml)
    };
    let flags = DomainSnapshotCreateFlags::DISK_ONLY | DomainSnapshotCreateFlags::NO_METADATA;
    let (first, definition) = overlay("first");
    guest.create_snapshot(&definition, flags).await.unwrap();
    assert!(xml(&guest).await.contains(&first));
    let active = DomainBlockCommitFlags::ACTIVE;
    let mut commit = guest.block_commit("vda", BlockTarget::default(), active).await.unwrap();
    assert_eq!(commit.wait().await.unwrap(), BlockJobState::Ready);
    assert!(matches!(next(&mut events).await, Event::DomainBlockJob(_)));
    old.sees(Kind::DomainBlockJob).await;
    commit.abort(DomainBlockJobAbortFlags::PIVOT).await.unwrap();
    assert_eq!(commit.wait().await.unwrap(), BlockJobState::Completed);
    assert!(!xml(&guest).await.contains(&first));
    // Everything into the overlay; what it lay on is needed no more.
    let (second, definition) = overlay("second");
    guest.create_snapshot(&definition, flags).await.unwrap();
    let mut pull =
        guest.block_pull("vda", BlockTarget::default(), DomainBlockPullFlags::empty()).await.unwrap();
    assert_eq!(pull.wait().await.unwrap(), BlockJobState::Completed);
    let text = xml(&guest).await;
    assert!(text.contains(&second) && !text.contains("<backingStore type='file'"), "{text}");
    // Down to a named one.
    let (third, definition) = overlay("third");
    guest.create_snapshot(&definition, flags).await.unwrap();
    let target = BlockTarget { bandwidth: 1, ..Default::default() };
    let mut rebase = guest.block_rebase("vda", target, DomainBlockRebaseFlags::empty()).await.unwrap();
    // It may have ended already.
    let _ = rebase.set_speed(100, Default::default()).await;
    assert_eq!(rebase.wait().await.unwrap(), BlockJobState::Completed);
    assert!(xml(&guest).await.contains(&third));
    let info = Command::new("qemu-img").args(["info", "-U", &third]).output().unwrap();
    assert!(!String::from_utf8_lossy(&info.stdout).contains("backing file"));
    assert!(guest.block_job("vda", Default::default()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_write_beyond_a_threshold_is_told() {
    let Some((_daemon, _connect, guest)) = guest("a_write_beyond_a_threshold_is_told").await else { return };
    let mut events = hear(&guest, &[Kind::DomainBlockThreshold]).await;
    guest.set_block_threshold("vda", MIB).await.unwrap();
    write(&guest, 3 * MIB).await;
    let Event::DomainBlockThreshold(threshold) = next(&mut events).await else { panic!("no threshold") };
    assert_eq!(threshold.threshold, MIB);
    assert_eq!(guest.peek_block("vda", 3 * MIB, 4).await.unwrap(), [7; 4]);
}

#[tokio::test]
async fn a_guest_that_is_put_aside_has_another_definition_when_it_comes_back() {
    let test = "a_guest_that_is_put_aside_has_another_definition_when_it_comes_back";
    let Some((daemon, connect, guest)) = guest(test).await else { return };
    let core = daemon.path("core").display().to_string();
    let dump =
        guest.core_dump(&core, DomainCoreDumpFormat::Raw, DomainCoreDumpFlags::MEMORY_ONLY).await.unwrap();
    dump.await.unwrap();
    assert!(std::fs::read(&core).unwrap().starts_with(b"\x7fELF"));
    guest.managed_save(DomainSaveRestoreFlags::empty()).await.unwrap().await.unwrap();
    assert!(guest.has_managed_save().await.unwrap());
    let saved = guest.managed_save_xml(Default::default()).await.unwrap();
    let changed = saved.replace("<on_crash>destroy</on_crash>", "<on_crash>preserve</on_crash>");
    assert_ne!(saved, changed);
    guest.define_managed_save(&changed, DomainSaveRestoreFlags::empty()).await.unwrap();
    assert_eq!(guest.managed_save_xml(Default::default()).await.unwrap(), changed);
    let guest = guest.start(Default::default()).await.unwrap();
    assert!(xml(&guest).await.contains("<on_crash>preserve</on_crash>"));
    assert_eq!(guest.state().await.unwrap().state, DomainState::Running);
    let file = daemon.path("saved").display().to_string();
    guest.save(&file, None, DomainSaveRestoreFlags::empty()).await.unwrap().await.unwrap();
    let saved = connect.save_image_xml(&file, Default::default()).await.unwrap();
    let changed = saved.replace("<on_crash>preserve</on_crash>", "<on_crash>restart</on_crash>");
    connect.define_save_image(&file, &changed, DomainSaveRestoreFlags::PAUSED).await.unwrap();
    connect.restore_domain(&file, None, DomainSaveRestoreFlags::empty()).await.unwrap();
    let guest = connect.domain_by_name("guest").await.unwrap();
    assert!(xml(&guest).await.contains("<on_crash>restart</on_crash>"));
    assert_eq!(guest.state().await.unwrap().state, DomainState::Paused, "as the image says");
}

#[tokio::test]
async fn a_disk_that_is_missing_is_left_out_and_told() {
    let test = "a_disk_that_is_missing_is_left_out_and_told";
    let Some((daemon, connect, guest)) = guest(test).await else { return };
    guest.destroy(Default::default()).await.unwrap();
    std::fs::remove_file(daemon.path("tray.iso")).unwrap();
    let text = guest.xml(Default::default()).await.unwrap();
    let from = format!("<source file='{}'/>", daemon.path("tray.iso").display());
    let optional = from.replace("/>", " startupPolicy='optional'/>");
    assert!(text.contains(&from), "{text}");
    let guest = connect.define_domain(&text.replace(&from, &optional), Default::default()).await.unwrap();
    let mut events = hear(&guest, &[Kind::DomainDiskChange]).await;
    let mut old = OldClient::new(daemon.open("qemu:///session").await).await;
    let guest = guest.start(Default::default()).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::DomainDiskChange(_)));
    old.sees(Kind::DomainDiskChange).await;
    assert!(!xml(&guest).await.contains("tray.iso"));
}

#[tokio::test]
async fn a_viewer_that_connects_is_told() {
    let Some((daemon, _connect, guest)) = guest("a_viewer_that_connects_is_told").await else { return };
    let mut events = hear(&guest, &[Kind::DomainGraphics]).await;
    let mut old = OldClient::new(daemon.open("qemu:///session").await).await;
    let mut viewer = std::os::unix::net::UnixStream::connect(daemon.path("vnc")).unwrap();
    let mut version = [0; 12];
    std::io::Read::read_exact(&mut viewer, &mut version).unwrap();
    assert!(version.starts_with(b"RFB "));
    assert!(matches!(next(&mut events).await, Event::DomainGraphics(_)));
    old.sees(Kind::DomainGraphics).await;
}

#[tokio::test]
async fn a_daemon_of_qemus_compares_processors_and_translates_definitions() {
    let test = "a_daemon_of_qemus_compares_processors_and_translates_definitions";
    let Some((_daemon, connect, guest)) = guest(test).await else { return };
    let capabilities = connect.capabilities().await.unwrap();
    let start = capabilities.find("<cpu>").unwrap();
    let end = capabilities[start..].find("</cpu>").unwrap() + start + "</cpu>".len();
    let host = &capabilities[start..end];
    assert_eq!(connect.compare_cpu(host, Default::default()).await.unwrap(), CpuCompareResult::Identical);
    let baseline = connect.baseline_cpu(&[host, host], Default::default()).await.unwrap();
    assert!(baseline.contains("<model"), "{baseline}");
    let of = || CapabilitiesOf {
        emulator: Some("/usr/bin/qemu-system-x86_64"),
        arch: Some("x86_64"),
        machine: Some("pc"),
        virtualisation: Some("qemu"),
    };
    let told = connect.domain_capabilities(of(), Default::default()).await.unwrap();
    for part in ["<path>/usr/bin/qemu-system-x86_64</path>", "<domain>qemu</domain>", "<arch>x86_64</arch>"] {
        assert!(told.contains(part), "{told}");
    }
    let plain = "<cpu mode='custom'><model>qemu64</model></cpu>";
    let compared = connect.compare_hypervisor_cpu(of(), plain, Default::default()).await.unwrap();
    assert!(compared != CpuCompareResult::Error);
    let baseline = connect.baseline_hypervisor_cpu(of(), &[plain], Default::default()).await.unwrap();
    assert!(baseline.contains("<model"), "{baseline}");
    let native = connect.domain_to_native("qemu-argv", &xml(&guest).await).await.unwrap();
    assert!(native.contains("qemu-system-x86_64") && native.contains("guest=guest"), "{native}");
    // Pools of directories are what the other tests have.
    let pools = connect.storage_pool_capabilities().await.unwrap();
    assert!(pools.contains("<pool type='dir' supported='yes'>"), "{pools}");
}

#[tokio::test]
async fn secrets_keep_what_they_are_given() {
    let Some(daemon) = Daemon::start("secrets_keep_what_they_are_given") else { return };
    let connect = daemon.open("qemu:///session").await;
    let xml = "<secret><usage type='volume'><volume>/a/volume</volume></usage></secret>";
    let secret = connect.define_secret(xml, Default::default()).await.unwrap();
    secret.set_value(b"open sesame").await.unwrap();
    let found = connect.secret_by_usage(SecretUsageType::Volume, "/a/volume").await.unwrap();
    assert_eq!(found.uuid(), secret.uuid());
    assert_eq!(found.value().await.unwrap(), b"open sesame");
    let found = connect.secret_by_uuid(secret.uuid()).await.unwrap();
    assert!(found.xml().await.unwrap().contains("/a/volume"));
    assert_eq!(connect.secrets(Default::default()).await.unwrap().len(), 1);
    let reply = connect.call::<remote::ConnectNumOfSecrets>(&()).await.unwrap();
    assert_eq!(reply.result().unwrap().num, 1);
    let args = remote::ConnectListSecretsArgs { maxuuids: 9 };
    let reply = connect.call::<remote::ConnectListSecrets>(&args).await.unwrap();
    let listed: Vec<String> = reply.result().unwrap().uuids.iter().map(|uuid| uuid.to_string()).collect();
    assert_eq!(listed, [secret.uuid().to_string()]);
    secret.undefine().await.unwrap();
    assert!(connect.secrets(Default::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn volumes_are_resized_and_wiped_and_pools_found_by_path() {
    let Some(daemon) = Daemon::start("volumes_are_resized_and_wiped_and_pools_found_by_path") else { return };
    let connect = daemon.open("qemu:///session").await;
    let at = daemon.path("pool").display().to_string();
    let xml = format!("<pool type='dir'><name>p</name><target><path>{at}</path></target></pool>");
    let pool = connect.define_storage_pool(&xml, Default::default()).await.unwrap();
    pool.build(Default::default()).await.unwrap();
    pool.start(Default::default()).await.unwrap();
    assert!(pool.is_persistent().await.unwrap() && !pool.autostart().await.unwrap());
    pool.set_autostart(libvirt_client::Autostart::On).await.unwrap();
    assert!(pool.autostart().await.unwrap());
    assert_eq!(connect.storage_pool_by_path(&at).await.unwrap().uuid(), pool.uuid());
    let names: Vec<_> =
        connect.storage_pools(Default::default()).await.unwrap().iter().map(|p| p.name()).collect();
    assert_eq!(names, ["p"]);
    let xml = "<volume><name>v</name><capacity>1048576</capacity></volume>";
    let volume = pool.create_volume(xml, Default::default()).await.unwrap();
    volume.resize(2 * MIB, StorageVolResizeFlags::empty()).await.unwrap();
    let info = volume.info_with(StorageVolInfoFlags::GET_PHYSICAL).await.unwrap();
    assert_eq!(info.capacity, 2 * MIB);
    let path = volume.path().await.unwrap();
    std::fs::write(&path, vec![9; 2 * MIB as usize]).unwrap();
    // It wipes as much as it knows to be allocated.
    pool.refresh().await.unwrap();
    volume.wipe_pattern(StorageVolWipeAlgorithm::Zero).await.unwrap();
    assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
    volume.delete(Default::default()).await.unwrap();
    pool.destroy().await.unwrap();
    pool.delete(Default::default()).await.unwrap();
    assert!(!std::path::Path::new(&at).exists());
    pool.undefine().await.unwrap();
    assert!(connect.storage_pools(Default::default()).await.unwrap().is_empty());
    // One that is not kept.
    std::fs::create_dir(daemon.path("other")).unwrap();
    let at = daemon.path("other").display().to_string();
    let xml = format!("<pool type='dir'><name>q</name><target><path>{at}</path></target></pool>");
    let pool = connect.create_storage_pool(&xml, Default::default()).await.unwrap();
    assert!(pool.is_active().await.unwrap() && !pool.is_persistent().await.unwrap());
}
