//! Backups and saves of a running guest, and what else only a running guest tells.

use crate::guests::{definition, disk};
use crate::support::{Daemon, present};
use libvirt_client::protocol::enums::{DomainState, NodeDeviceEventLifecycleType};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    DomainBackupBeginFlags, DomainDirtyRateCalcFlags, DomainMessageType, DomainModificationImpact as Impact,
    DomainStatsTypes,
};
use libvirt_client::protocol::parameters::{DOMAIN_SAVE_PARAM_DXML, DOMAIN_SAVE_PARAM_FILE};
use libvirt_client::protocol::remote;
use libvirt_client::protocol::xdr::IntoOwned;
use libvirt_client::{Connect, Domain, Item, Params};
use std::time::Duration;

/// A guest that runs; what `change` does to its definition is done before.
async fn guest(test: &str, change: impl FnOnce(String) -> String) -> Option<(Daemon, Connect, Domain)> {
    let daemon = Daemon::start(test)?;
    if !present(test, &[("/usr/bin/qemu-system-x86_64", "qemu-system-x86")]) {
        return None;
    }
    let connect = daemon.open("qemu:///session").await;
    let disk = format!("<source file='{}'/>", disk(&daemon, "disk"));
    let xml = change(definition(&daemon, &disk));
    let domain = connect.define_domain(&xml, Default::default()).await.unwrap();
    let domain = domain.start(Default::default()).await.unwrap();
    Some((daemon, connect, domain))
}

#[tokio::test]
async fn a_backup_that_is_pulled_tells_what_it_does_until_it_is_ended() {
    let test = "a_backup_that_is_pulled_tells_what_it_does_until_it_is_ended";
    let Some((daemon, _connect, guest)) = guest(test, |xml| xml).await else { return };
    assert!(guest.backup_xml().await.is_err(), "there is none");
    let (scratch, socket) = (daemon.path("scratch"), daemon.path("nbd"));
    let xml = format!(
        "<domainbackup mode='pull'><server transport='unix' socket='{}'/><disks>\
         <disk name='vda' type='file'><scratch file='{}'/></disk></disks></domainbackup>",
        socket.display(),
        scratch.display()
    );
    let backup = guest.backup(&xml, None, DomainBackupBeginFlags::empty()).await.unwrap();
    let told = guest.backup_xml().await.unwrap();
    assert!(told.contains("mode='pull'") && told.contains(&*scratch.display().to_string()), "{told}");
    let mut server = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let mut magic = [0; 8];
    std::io::Read::read_exact(&mut server, &mut magic).unwrap();
    assert_eq!(&magic, b"NBDMAGIC");
    // QEMU waits for whom it serves before it lets go.
    drop(server);
    backup.abort().await.unwrap();
    backup.wait().await.unwrap();
    assert!(guest.backup_xml().await.is_err(), "it has ended");
    assert!(!scratch.exists());
}

#[tokio::test]
async fn a_guest_is_saved_and_restored_with_parameters() {
    let test = "a_guest_is_saved_and_restored_with_parameters";
    let Some((daemon, connect, guest)) = guest(test, |xml| xml).await else { return };
    let file = daemon.path("saved").display().to_string();
    let params = Params::new().with(DOMAIN_SAVE_PARAM_FILE, file.clone());
    let dom = guest.wire().into_owned();
    let args = remote::DomainSaveParamsArgs { dom, params: params.as_slice().into(), ..Default::default() };
    connect.call::<remote::DomainSaveParams>(&args).await.unwrap();
    assert_eq!(guest.state().await.unwrap().state, DomainState::Shutoff);
    let saved = connect.save_image_xml(&file, Default::default()).await.unwrap();
    let changed = saved.replace("<on_crash>destroy</on_crash>", "<on_crash>preserve</on_crash>");
    assert_ne!(saved, changed);
    let params = params.with(DOMAIN_SAVE_PARAM_DXML, changed.clone());
    let args = remote::DomainRestoreParamsArgs { params: params.as_slice().into(), ..Default::default() };
    connect.call::<remote::DomainRestoreParams>(&args).await.unwrap();
    let guest = connect.domain_by_name("guest").await.unwrap();
    assert_eq!(guest.state().await.unwrap().state, DomainState::Running);
    assert!(guest.xml(Default::default()).await.unwrap().contains("<on_crash>preserve</on_crash>"));
}

/// What the host's processors have done for programs, in nanoseconds: the kernel counts hundredths of a second, and those of a low priority
/// apart (proc(5)).
fn user_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let mut words = stat.split_whitespace().skip(1);
    let mut next = || words.next().unwrap().parse::<u64>().unwrap();
    (next() + next()) * 10_000_000
}

/// The host's memory (proc(5)).
fn total_kib() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    total.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_a_running_guest_tells_of_itself() {
    let test = "what_a_running_guest_tells_of_itself";
    let hotplug = |xml: String| {
        let vcpus = "<vcpu current='1'>2</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/>\
                     <vcpu id='1' enabled='no' hotpluggable='yes'/></vcpus>";
        xml.replace("<vcpu>1</vcpu>", vcpus)
    };
    let Some((_daemon, connect, guest)) = guest(test, hotplug).await else { return };
    // One processor more at the next start.
    guest.set_vcpu("1", 1, Impact::CONFIG).await.unwrap();
    let xml = guest.xml(libvirt_client::protocol::flags::DomainXmlFlags::INACTIVE).await.unwrap();
    assert!(xml.contains("<vcpu id='1' enabled='yes'"), "{xml}");
    // Who has talked to QEMU behind the daemon's back cannot count on it any more.
    assert!(guest.messages(DomainMessageType::TAINTING).await.unwrap().is_empty());
    guest.monitor_command("query-status", None).await.unwrap();
    let messages = guest.messages(DomainMessageType::TAINTING).await.unwrap();
    assert!(messages.iter().any(|message| message.contains("monitor")), "{messages:?}");
    // The BIOS has read the boot sector.
    let old = || async {
        let args = remote::DomainBlockStatsArgs { dom: guest.wire().into_owned(), path: "vda".into() };
        connect.call::<remote::DomainBlockStats>(&args).await.unwrap().result().unwrap().rd_bytes
    };
    while old().await < 512 {
        tokio::task::yield_now().await;
    }
    // It may go on reading.
    let before = old().await;
    let new = guest.block_stats("vda").await.unwrap().i64("rd_bytes").unwrap();
    assert!((before..=old().await).contains(&new), "{new}");
    guest.set_compression_cache(8 << 20).await.unwrap();
    assert_eq!(guest.compression_cache().await.unwrap(), 8 << 20);
    // It writes little, and that is measured.
    guest.start_dirty_rate(1, DomainDirtyRateCalcFlags::empty()).await.unwrap();
    const MEASURED: i64 = 2;
    let told = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let stats = connect.all_stats(DomainStatsTypes::DIRTYRATE, Default::default()).await.unwrap();
            let stats = &stats[0].params;
            if stats.i64("dirtyrate.calc_status") == Some(MEASURED) {
                break stats.clone();
            }
        }
    });
    let told = told.await.expect("it takes a second");
    assert_eq!(told.i64("dirtyrate.calc_period"), Some(1));
    assert!(told.i64("dirtyrate.megabytes_per_second").is_some());
    // What the host has is what its own statistics say.
    let before = user_time();
    let times = connect.cpu_stats(None).await.unwrap();
    let told = times.iter().find(|(name, _)| name == "user").unwrap().1;
    assert!((before..=user_time()).contains(&told), "{times:?}");
    // A host that is a machine itself may get or lose memory meanwhile. It is not the memory of its nodes (`node_info`): what was plugged
    // in later may belong to none.
    let before = total_kib();
    let memory = connect.memory_stats(None).await.unwrap();
    let total = memory.iter().find(|(name, _)| name == "total").unwrap().1;
    let after = total_kib();
    assert!((before.min(after)..=before.max(after)).contains(&total), "{before} {total} {after}");
}

#[tokio::test]
async fn an_adapter_of_the_host_is_made_and_taken_away() {
    let Some(daemon) = Daemon::start("an_adapter_of_the_host_is_made_and_taken_away") else { return };
    let connect = daemon.test().await;
    let names = || async {
        let devices = connect.node_devices(Default::default()).await.unwrap();
        devices.iter().map(|device| device.name()).collect::<Vec<_>>()
    };
    let before = names().await;
    let mut events = connect.subscribe(Kind::NodeDeviceLifecycle).await.unwrap();
    let xml = "<device><parent>scsi_host2</parent><capability type='scsi_host'><capability type='fc_host'>\
               <wwnn>2000000012341234</wwnn><wwpn>1000000012341234</wwpn></capability></capability></device>";
    let device = connect.create_node_device(xml, Default::default()).await.unwrap();
    let name = device.name();
    assert!(!before.contains(&name) && names().await.contains(&name), "{name}");
    assert!(device.xml(Default::default()).await.unwrap().contains("2000000012341234"));
    // Whatever it was told.
    assert_eq!(device.parent().await.unwrap().as_deref(), Some("scsi_host1"));
    device.destroy().await.unwrap();
    assert_eq!(names().await, before);
    for expected in [NodeDeviceEventLifecycleType::Created, NodeDeviceEventLifecycleType::Deleted] {
        let Item::Event(Event::NodeDeviceLifecycle(event)) = events.next().await.unwrap() else {
            panic!("no event of a device")
        };
        assert_eq!((event.dev.name.to_string(), event.event), (name.clone(), expected));
    }
}
