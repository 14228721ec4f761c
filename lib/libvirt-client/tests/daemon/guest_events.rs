//! What a guest does by itself and its daemon tells: its whole system is a few instructions, which the BIOS starts.

use crate::guests::{definition, disk};
use crate::old_events::OldClient;
use crate::support::{Daemon, present};
use libvirt_client::protocol::enums::{
    DomainDiskErrorCode, DomainEventIoErrorAction, DomainEventWatchdogAction, DomainMemoryFailureActionType,
    DomainMemoryFailureRecipientType, DomainState, KeycodeSet,
};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::DomainMemoryFlags;
use libvirt_client::{Connect, Domain, Filter, Item, Subscription};
use std::process::{Child, Stdio};
use std::time::Duration;

/// Starts the watchdog of `ib700` (port 0x443) with the shortest time it has, none; waits.
const WATCHDOG: &[u8] = &[0xfa, 0xba, 0x43, 0x04, 0xb0, 0x0f, 0xee, 0xf4, 0xeb, 0xfd];
/// Sets the hours of the clock (register 4) to five.
const CLOCK: &[u8] = &[0xfa, 0xb0, 0x04, 0xe6, 0x70, 0xb0, 0x05, 0xe6, 0x71, 0xf4, 0xeb, 0xfd];
/// Says of the first bank of memory that it will not go: an answer (`_OST` of ACPI) to a request to eject (3), a failure (1), at the
/// ports that QEMU has for it (docs/specs/acpi_mem_hotplug.rst).
const KEEPS_MEMORY: &[u8] = &[
    0xfa, // cli
    0xba, 0x04, 0x0a, 0x66, 0xb8, 0x03, 0x00, 0x00, 0x00, 0x66,
    0xef, // mov dx, 0xa04; mov eax, 3; out dx, eax
    0xba, 0x08, 0x0a, 0x66, 0xb8, 0x01, 0x00, 0x00, 0x00, 0x66,
    0xef, // mov dx, 0xa08; mov eax, 1; out dx, eax
    0xf4, 0xeb, 0xfd, // hlt; again
];
/// Writes the kind of sleep and the word for it (`SLP_TYP`, `SLP_EN` of ACPI) to where the BIOS has put PM1a_CNT.
const SLEEP_IN_MEMORY: &[u8] = &[0xfa, 0xba, 0x04, 0x06, 0xb8, 0x00, 0x24, 0xef, 0xf4, 0xeb, 0xfd];
/// Notes at 0x7e00 that it runs, what comes from the keyboard one byte further, and an interrupt that cannot be masked where it noted
/// that it runs.
const NOTES: &[u8] = &[
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, // cli; xor ax, ax; mov ds, ax
    0xc7, 0x06, 0x08, 0x00, 0x23, 0x7c, // the second interrupt: mov word [8], 0x7c23
    0xc7, 0x06, 0x0a, 0x00, 0x00, 0x00, // mov word [10], 0
    0xc6, 0x06, 0x00, 0x7e, 0x52, // mov byte [0x7e00], 'R'
    0xe4, 0x64, 0xa8, 0x01, 0x74, 0xfa, // wait: in al, 0x64; test al, 1; jz wait
    0xe4, 0x60, 0xa2, 0x01, 0x7e, 0xeb, 0xf3, // in al, 0x60; mov [0x7e01], al; jmp wait
    0xc6, 0x06, 0x00, 0x7e, 0x4e, 0xcf, // mov byte [0x7e00], 'N'; iret
];
const SLEEP_ON_DISK: &[u8] = &[0xfa, 0xba, 0x04, 0x06, 0xb8, 0x00, 0x28, 0xef, 0xf4, 0xeb, 0xfd];

/// A defined guest that will do that, who listens to it in the form of today and who in the old one; or a line that says why there is none.
async fn guest(
    test: &str,
    system: &[u8],
    kinds: &[Kind],
) -> Option<(Daemon, Domain, Subscription, OldClient)> {
    let daemon = Daemon::start(test)?;
    if !present(test, &[("/usr/bin/qemu-system-x86_64", "qemu-system-x86")]) {
        return None;
    }
    let path = disk(&daemon, "disk");
    let mut content = std::fs::read(&path).unwrap();
    content[..system.len()].copy_from_slice(system);
    std::fs::write(&path, content).unwrap();
    let xml = definition(&daemon, &format!("<source file='{path}'/>")).replace(
        "<devices>",
        "<features><acpi/></features><pm><suspend-to-mem enabled='yes'/>\
            <suspend-to-disk enabled='yes'/></pm><devices><watchdog model='ib700' action='none'/>",
    );
    let connect = daemon.open("qemu:///session").await;
    let (domain, events) = defined(&connect, &xml, kinds).await;
    let old = OldClient::new(daemon.open("qemu:///session").await).await;
    Some((daemon, domain, events, old))
}

async fn defined(connect: &Connect, xml: &str, kinds: &[Kind]) -> (Domain, Subscription) {
    let domain = connect.define_domain(xml, Default::default()).await.unwrap();
    let filters = kinds.iter().map(|kind| Filter::domain(*kind, &domain));
    let events = connect.subscribe_to(filters).await.unwrap();
    (domain, events)
}

async fn next(events: &mut Subscription) -> Event<'static> {
    match tokio::time::timeout(Duration::from_secs(60), events.next()).await.expect("an event").unwrap() {
        Item::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_watchdog_that_nobody_feeds_is_told() {
    let test = "a_watchdog_that_nobody_feeds_is_told";
    let Some((_daemon, guest, mut events, mut old)) = guest(test, WATCHDOG, &[Kind::DomainWatchdog]).await
    else {
        return;
    };
    guest.start(Default::default()).await.unwrap();
    let Event::DomainWatchdog(event) = next(&mut events).await else { panic!("no watchdog") };
    assert_eq!(event.action, DomainEventWatchdogAction::None);
    old.sees(Kind::DomainWatchdog).await;
}

#[tokio::test]
async fn a_clock_that_is_set_is_told() {
    let test = "a_clock_that_is_set_is_told";
    let Some((_daemon, guest, mut events, mut old)) = guest(test, CLOCK, &[Kind::DomainRtcChange]).await
    else {
        return;
    };
    guest.start(Default::default()).await.unwrap();
    let Event::DomainRtcChange(event) = next(&mut events).await else { panic!("no clock") };
    assert!(event.offset.abs() <= 24 * 3600, "{event:?}");
    old.sees(Kind::DomainRtcChange).await;
}

#[tokio::test]
async fn a_guest_that_keeps_its_memory_is_told() {
    let test = "a_guest_that_keeps_its_memory_is_told";
    let kinds = [Kind::DomainDeviceRemovalFailed];
    let Some((_daemon, guest, mut events, _old)) = guest(test, KEEPS_MEMORY, &kinds).await else { return };
    let xml = guest.xml(Default::default()).await.unwrap();
    let (before, after) = xml.split_once("<memory unit='KiB'>16384</memory>").unwrap();
    let xml = format!(
        "{before}<maxMemory slots='2' unit='MiB'>1024</maxMemory><memory unit='MiB'>144</memory>{}",
        after.replace("<currentMemory unit='KiB'>16384</currentMemory>", "").replace(
            "</devices>",
            "<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory></devices>"
        )
    );
    let xml = xml.replace(
        "<features>",
        "<cpu><numa><cell id='0' cpus='0' memory='16' unit='MiB'/></numa></cpu><features>",
    );
    guest.connect().define_domain(&xml, Default::default()).await.unwrap();
    guest.start(Default::default()).await.unwrap();
    let Event::DomainDeviceRemovalFailed(event) = next(&mut events).await else { panic!("no failure") };
    assert_eq!(event.dev_alias.to_string(), "dimm0");
}

/// More than a daemon takes for an answer (`QEMU_MONITOR_MAX_RESPONSE`, 10 MiB).
#[tokio::test]
async fn a_monitor_that_says_too_much_is_told() {
    let test = "a_monitor_that_says_too_much_is_told";
    let kinds = [Kind::DomainControlError];
    let Some((_daemon, guest, mut events, mut old)) = guest(test, CLOCK, &kinds).await else { return };
    let guest = guest.start(Default::default()).await.unwrap();
    let error = guest.human_monitor_command("xp /4000000xb 0").await.unwrap_err();
    assert!(error.to_string().contains("exceeds buffer size"), "{error}");
    assert!(matches!(next(&mut events).await, Event::DomainControlError(_)));
    old.sees(Kind::DomainControlError).await;
}

#[tokio::test]
async fn memory_that_breaks_is_told() {
    let kinds = [Kind::DomainMemoryFailure];
    let Some((_daemon, guest, mut events, _old)) = guest("memory_that_breaks_is_told", CLOCK, &kinds).await
    else {
        return;
    };
    let guest = guest.start(Default::default()).await.unwrap();
    // A machine check as a processor raises it for memory that cannot be corrected (Intel's manual, volume 3, chapter "Machine-check
    // architecture": valid, uncorrected, enabled, with an address). A guest that has not asked for such exceptions begins anew.
    guest.human_monitor_command("mce 0 2 0xbc00000000000000 0x4 0x1000 0").await.unwrap();
    let Event::DomainMemoryFailure(event) = next(&mut events).await else { panic!("another event") };
    assert_eq!(event.recipient, DomainMemoryFailureRecipientType::Guest);
    assert_eq!(event.action, DomainMemoryFailureActionType::Reset);
}

/// Looks at the guest's memory until it holds one of these.
async fn noted(guest: &Domain, at: u64, expected: &[u8]) {
    let looked = async {
        loop {
            let found = guest.peek_memory(at, 1, DomainMemoryFlags::PHYSICAL).await.unwrap();
            if expected.contains(&found[0]) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looked).await.expect("it notes nothing");
}

#[tokio::test]
async fn what_is_done_to_a_guest_reaches_it() {
    let kinds = [Kind::DomainReboot];
    let Some((_daemon, guest, ..)) = guest("what_is_done_to_a_guest_reaches_it", NOTES, &kinds).await else {
        return;
    };
    let guest = guest.start(Default::default()).await.unwrap();
    noted(&guest, 0x7e00, b"R").await;
    let whole = guest.peek_memory(0x7c00, u32::try_from(NOTES.len()).unwrap(), DomainMemoryFlags::PHYSICAL);
    assert_eq!(whole.await.unwrap(), NOTES);
    guest.inject_nmi().await.unwrap();
    noted(&guest, 0x7e00, b"N").await;
    // The key of a line's end, as it goes down or comes up (the first set of codes).
    guest.send_keys(KeycodeSet::Linux, 10, &[28]).await.unwrap();
    noted(&guest, 0x7e01, &[0x1c, 0x9c]).await;
}

#[tokio::test]
async fn a_guest_that_sleeps_is_woken() {
    let kinds = [Kind::DomainPmsuspend, Kind::DomainPmwakeup];
    let test = "a_guest_that_sleeps_is_woken";
    let Some((_daemon, guest, mut events, mut old)) = guest(test, SLEEP_IN_MEMORY, &kinds).await else {
        return;
    };
    let guest = guest.start(Default::default()).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::DomainPmsuspend(_)));
    assert_eq!(guest.state().await.unwrap().state, DomainState::Pmsuspended);
    guest.wake().await.unwrap();
    assert!(matches!(next(&mut events).await, Event::DomainPmwakeup(_)));
    old.sees(Kind::DomainPmsuspend).await;
    old.sees(Kind::DomainPmwakeup).await;
}

#[tokio::test]
async fn a_guest_that_sleeps_on_disk_is_told() {
    let test = "a_guest_that_sleeps_on_disk_is_told";
    let kinds = [Kind::DomainPmsuspendDisk];
    let Some((_daemon, guest, mut events, mut old)) = guest(test, SLEEP_ON_DISK, &kinds).await else {
        return;
    };
    guest.start(Default::default()).await.unwrap();
    assert!(matches!(next(&mut events).await, Event::DomainPmsuspendDisk(_)));
    old.sees(Kind::DomainPmsuspendDisk).await;
}

/// A disk that answers every read with an error. It ends with this value.
pub(crate) struct Broken(Child);

impl Broken {
    pub(crate) fn new(daemon: &Daemon) -> Self {
        let mut command = daemon.unprivileged();
        let options = format!(
            "driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={},\
             file.inject-error.0.event=read_aio,file.inject-error.0.iotype=read,file.inject-error.0.errno=5",
            disk(daemon, "broken")
        );
        command.args([
            "qemu-nbd",
            "--persistent",
            "--image-opts",
            &options,
            "--export-name=broken",
            "--socket",
        ]);
        command.arg(daemon.path("nbd")).stderr(Stdio::null());
        let broken = Self(command.spawn().unwrap());
        while !daemon.path("nbd").exists() {
            std::thread::yield_now();
        }
        broken
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_disk_that_fails_is_told() {
    let test = "a_disk_that_fails_is_told";
    let Some(daemon) = Daemon::start(test) else { return };
    let programs = [("/usr/bin/qemu-system-x86_64", "qemu-system-x86"), ("/usr/bin/qemu-nbd", "qemu-utils")];
    if !present(test, &programs) {
        return;
    }
    let _broken = Broken::new(&daemon);
    // The export has a name: libvirtd 9.0.0 cannot send an event of a disk whose source has none.
    let network = format!(
        "<disk type='network' device='disk'><driver name='qemu' type='raw' error_policy='report'/>\
         <source protocol='nbd' name='broken'><host transport='unix' socket='{}'/></source><target dev='vdb' bus='virtio'/>\
         <boot order='1'/></disk><serial",
        daemon.path("nbd").display()
    );
    let whole = format!("<source file='{}'/>", disk(&daemon, "disk"));
    let xml = definition(&daemon, &whole).replacen("<serial", &network, 1);
    let connect = daemon.open("qemu:///session").await;
    let (guest, mut events) = defined(&connect, &xml, &[Kind::DomainIoError]).await;
    let mut reasons =
        connect.subscribe_to([Filter::domain(Kind::DomainIoErrorReason, &guest)]).await.unwrap();
    let mut old = OldClient::new(daemon.open("qemu:///session").await).await;
    guest.start(Default::default()).await.unwrap();
    let Event::DomainIoError(event) = next(&mut events).await else { panic!("no error") };
    assert_eq!(event.action, DomainEventIoErrorAction::Report);
    assert_eq!(event.dev_alias.to_string(), "virtio-disk1");
    assert!(matches!(next(&mut reasons).await, Event::DomainIoErrorReason(_)));
    old.sees(Kind::DomainIoError).await;
    old.sees(Kind::DomainIoErrorReason).await;
    assert_eq!(guest.disk_errors().await.unwrap(), [], "it goes on");
    // The same, and it waits for whoever mends the disk.
    guest.destroy(Default::default()).await.unwrap();
    guest.undefine(Default::default()).await.unwrap();
    let stops = xml.replace("error_policy='report'", "error_policy='stop'");
    let (guest, mut events) = defined(&connect, &stops, &[Kind::DomainIoError]).await;
    guest.start(Default::default()).await.unwrap();
    let Event::DomainIoError(event) = next(&mut events).await else { panic!("no error") };
    assert_eq!(event.action, DomainEventIoErrorAction::Pause);
    assert_eq!(guest.disk_errors().await.unwrap(), [("vdb".to_owned(), DomainDiskErrorCode::Unspec)]);
}
