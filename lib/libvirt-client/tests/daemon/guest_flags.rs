//! Flags of guests that QEMU runs: how they start, are put aside, dumped, changed now or for later, and end.

use crate::guests::{awake, definition, disk};
use crate::support::{Daemon, present};
use libvirt_client::protocol::enums::{
    DomainCoreDumpFormat, DomainLifecycle, DomainLifecycleAction, DomainState, ErrorNumber,
};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    ConnectDomainQemuMonitorEventRegisterFlags as Monitor, DomainBlockResizeFlags, DomainChannelFlags,
    DomainConsoleFlags, DomainCoreDumpFlags, DomainCreateFlags as C, DomainDestroyFlags,
    DomainDeviceModifyFlags as Device, DomainMemoryFlags, DomainMemoryModFlags,
    DomainModificationImpact as Impact, DomainQemuMonitorCommandFlags, DomainRebootFlags,
    DomainSaveImageXmlFlags, DomainSaveRestoreFlags as S, DomainShutdownFlags, DomainSnapshotCreateFlags,
    DomainSnapshotRevertFlags, DomainUndefineFlags as U, DomainVcpuFlags, DomainXmlFlags as X,
};
use libvirt_client::protocol::parameters::DOMAIN_SAVE_PARAM_FILE;
use libvirt_client::protocol::procedure::Release;
use libvirt_client::protocol::xdr::IntoOwned;
use libvirt_client::protocol::{qemu, remote};
use libvirt_client::{
    Autostart, BlockIoTune, Connect, CpuMap, Domain, Filter, IoThreadParameters, Item, Params,
    SchedulerParameters,
};
use std::time::Duration;

/// A guest that is defined, and what `change` makes of its definition.
async fn guest(
    test: &str,
    change: impl FnOnce(&Daemon, String) -> String,
) -> Option<(Daemon, Connect, Domain)> {
    let daemon = Daemon::start(test)?;
    let programs = [("/usr/bin/qemu-system-x86_64", "qemu-system-x86"), ("/usr/bin/qemu-img", "qemu-utils")];
    if !present(test, &programs) {
        return None;
    }
    let connect = daemon.open("qemu:///session").await;
    let source = format!("<source file='{}'/>", disk(&daemon, "disk"));
    let xml = change(&daemon, definition(&daemon, &source));
    let domain = connect.define_domain(&xml, Default::default()).await.unwrap();
    Some((daemon, connect, domain))
}

async fn state(guest: &Domain) -> DomainState {
    guest.state().await.unwrap().state
}

/// It still echoes: it is the system that ran before, or one that starts anew.
async fn echoes(guest: &Domain) {
    let mut console = guest.open_console(None, DomainConsoleFlags::FORCE).await.unwrap();
    awake(&mut console).await;
}

#[tokio::test]
async fn guests_start_as_flags_say() {
    let test = "guests_start_as_flags_say";
    let Some((daemon, connect, guest)) = guest(test, |_, xml| xml).await else { return };
    let running = guest.start(C::START_PAUSED).await.unwrap();
    assert_eq!(state(&running).await, DomainState::Paused);
    running.managed_save(S::BYPASS_CACHE).await.unwrap().await.unwrap();
    assert!(guest.has_managed_save().await.unwrap());
    // What was saved is read without what the host's memory holds of it, and is used up.
    guest.start(C::START_BYPASS_CACHE).await.unwrap();
    assert_eq!(state(&guest).await, DomainState::Paused, "as it was saved");
    assert!(!guest.has_managed_save().await.unwrap());
    // What was saved is thrown away: the guest begins from the beginning.
    guest.managed_save(S::PAUSED).await.unwrap().await.unwrap();
    guest.start(C::START_FORCE_BOOT).await.unwrap();
    assert_eq!(state(&guest).await, DomainState::Running);
    assert!(!guest.has_managed_save().await.unwrap());
    guest.destroy(DomainDestroyFlags::REMOVE_LOGS).await.unwrap();
    assert!(!daemon.path("libvirt/qemu/log/guest.log").exists());
    // It ends with the connection that has started it.
    let mut events = connect.subscribe_to([Filter::domain(Kind::DomainLifecycle, &guest)]).await.unwrap();
    let brief = daemon.open("qemu:///session").await;
    brief.domain_by_name("guest").await.unwrap().start(C::START_AUTODESTROY).await.unwrap();
    assert!(guest.is_active().await.unwrap());
    brief.close().await.unwrap();
    while guest.is_active().await.unwrap() {
        let next = tokio::time::timeout(Duration::from_secs(60), events.next()).await.expect("its end");
        assert!(matches!(next.unwrap(), Item::Event(Event::DomainLifecycle(_))));
    }
    let xml = guest.xml(X::empty()).await.unwrap();
    guest.undefine(U::empty()).await.unwrap();
    // The same of guests that are not kept.
    let paused = connect.create_domain(&xml, C::START_PAUSED).await.unwrap();
    assert_eq!(state(&paused).await, DomainState::Paused);
    paused.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
    let brief = daemon.open("qemu:///session").await;
    brief.create_domain(&xml, C::START_AUTODESTROY).await.unwrap();
    let other = connect.domain_by_name("guest").await.unwrap();
    let mut events = connect.subscribe_to([Filter::domain(Kind::DomainLifecycle, &other)]).await.unwrap();
    brief.close().await.unwrap();
    while connect.domain_by_name("guest").await.is_ok() {
        let next = tokio::time::timeout(Duration::from_secs(60), events.next()).await.expect("its end");
        assert!(matches!(next.unwrap(), Item::Event(Event::DomainLifecycle(_))));
    }
}

/// Firmware that does nothing: it is there for the variables beside it.
fn with_variables(daemon: &Daemon, xml: String) -> String {
    for (name, byte) in [("firmware", 0xf4_u8), ("template", 0x11)] {
        std::fs::write(daemon.path(name), vec![byte; 256 << 10]).unwrap();
        daemon.own(&daemon.path(name));
    }
    let at = |name: &str| daemon.path(name).display().to_string();
    let loader = format!(
        "<loader readonly='yes' type='pflash'>{}</loader><nvram template='{}'>{}</nvram></os>",
        at("firmware"),
        at("template"),
        at("variables")
    );
    xml.replace("machine='pc'", "machine='q35'")
        .replace("</os>", &format!("{loader}<features><acpi/></features>"))
}

#[tokio::test]
async fn variables_of_the_firmware_are_reset_removed_or_kept() {
    let test = "variables_of_the_firmware_are_reset_removed_or_kept";
    let Some((daemon, connect, guest)) = guest(test, with_variables).await else { return };
    let variables = daemon.path("variables");
    let first = || std::fs::read(&variables).unwrap()[0];
    let change = || {
        let mut bytes = std::fs::read(&variables).unwrap();
        bytes[0] = 0x22;
        std::fs::write(&variables, bytes).unwrap();
    };
    let end = async || guest.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
    guest.start(C::START_PAUSED).await.unwrap();
    assert_eq!(first(), 0x11, "from its template");
    end().await;
    change();
    guest.start(C::START_PAUSED).await.unwrap();
    assert_eq!(first(), 0x22, "as it was left");
    end().await;
    guest.start(C::START_PAUSED | C::START_RESET_NVRAM).await.unwrap();
    assert_eq!(first(), 0x11);
    // Putting it aside and fetching it back.
    let file = daemon.path("saved").display().to_string();
    for named in [false, true] {
        guest.save(&file, None, S::empty()).await.unwrap().await.unwrap();
        change();
        if named {
            let params = Params::new().with(DOMAIN_SAVE_PARAM_FILE, file.clone());
            let args =
                remote::DomainRestoreParamsArgs { params: params.as_slice().into(), flags: S::RESET_NVRAM };
            connect.call::<remote::DomainRestoreParams>(&args).await.unwrap();
        } else {
            connect.restore_domain(&file, None, S::RESET_NVRAM).await.unwrap();
        }
        assert_eq!(first(), 0x11, "{named}");
    }
    end().await;
    let xml = guest.xml(X::INACTIVE).await.unwrap();
    change();
    // Not without a word of what is to become of them.
    guest.undefine(U::empty()).await.unwrap_err();
    guest.undefine(U::KEEP_NVRAM).await.unwrap();
    assert!(variables.exists());
    let again = connect.define_domain(&xml, Default::default()).await.unwrap();
    again.undefine(U::NVRAM).await.unwrap();
    assert!(!variables.exists());
    // One that is not kept.
    std::fs::write(&variables, vec![0x22; 256 << 10]).unwrap();
    daemon.own(&variables);
    connect.create_domain(&xml, C::START_PAUSED | C::START_RESET_NVRAM).await.unwrap();
    assert_eq!(first(), 0x11);
}

#[tokio::test]
async fn a_guest_comes_back_running_or_paused_as_flags_say() {
    let test = "a_guest_comes_back_running_or_paused_as_flags_say";
    let secret =
        |_: &Daemon, xml: String| xml.replace("<graphics type='vnc'", "<graphics type='vnc' passwd='hush'");
    let Some((daemon, connect, guest)) = guest(test, secret).await else { return };
    guest.start(C::empty()).await.unwrap();
    echoes(&guest).await;
    let file = daemon.path("saved").display().to_string();
    let params = Params::new().with(DOMAIN_SAVE_PARAM_FILE, file.clone());
    let cases = [
        (S::PAUSED, DomainState::Paused),
        (S::RUNNING, DomainState::Running),
        (S::BYPASS_CACHE, DomainState::Running),
    ];
    // Said when it goes: the file tells it who comes back.
    for (flags, expected) in cases {
        guest.save(&file, None, flags).await.unwrap().await.unwrap();
        connect.restore_domain(&file, None, S::empty()).await.unwrap();
        assert_eq!(state(&guest).await, expected, "save {flags:?}");
        guest.resume().await.ok();
        let dom = guest.wire().into_owned();
        let args = remote::DomainSaveParamsArgs { dom, params: params.as_slice().into(), flags };
        connect.call::<remote::DomainSaveParams>(&args).await.unwrap();
        let args = remote::DomainRestoreParamsArgs { params: params.as_slice().into(), flags: S::empty() };
        connect.call::<remote::DomainRestoreParams>(&args).await.unwrap();
        assert_eq!(state(&guest).await, expected, "save_params {flags:?}");
        guest.resume().await.ok();
        guest.managed_save(flags).await.unwrap().await.unwrap();
        guest.start(C::empty()).await.unwrap();
        assert_eq!(state(&guest).await, expected, "managed_save {flags:?}");
        guest.resume().await.ok();
    }
    // Said when it comes back.
    for (flags, expected) in cases {
        guest.save(&file, None, S::empty()).await.unwrap().await.unwrap();
        connect.restore_domain(&file, None, flags).await.unwrap();
        assert_eq!(state(&guest).await, expected, "restore {flags:?}");
        guest.resume().await.ok();
        guest.save(&file, None, S::empty()).await.unwrap().await.unwrap();
        let args = remote::DomainRestoreParamsArgs { params: params.as_slice().into(), flags };
        connect.call::<remote::DomainRestoreParams>(&args).await.unwrap();
        assert_eq!(state(&guest).await, expected, "restore_params {flags:?}");
        guest.resume().await.ok();
    }
    // Said in between.
    let own = DomainSaveImageXmlFlags::SECURE;
    for (flags, expected) in [(S::PAUSED, DomainState::Paused), (S::RUNNING, DomainState::Running)] {
        guest.save(&file, None, S::empty()).await.unwrap().await.unwrap();
        let open = connect.save_image_xml(&file, Default::default()).await.unwrap();
        let secret = connect.save_image_xml(&file, own).await.unwrap();
        assert!(!open.contains("hush") && secret.contains("hush"));
        connect.define_save_image(&file, &secret, flags).await.unwrap();
        connect.restore_domain(&file, None, S::empty()).await.unwrap();
        assert_eq!(state(&guest).await, expected, "define {flags:?}");
        guest.resume().await.ok();
        guest.managed_save(S::empty()).await.unwrap().await.unwrap();
        assert!(!guest.managed_save_xml(Default::default()).await.unwrap().contains("hush"));
        let secret = guest.managed_save_xml(own).await.unwrap();
        assert!(secret.contains("hush"));
        guest.define_managed_save(&secret, flags).await.unwrap();
        guest.start(C::empty()).await.unwrap();
        assert_eq!(state(&guest).await, expected, "managed define {flags:?}");
        guest.resume().await.ok();
    }
    echoes(&guest).await;
}

#[tokio::test]
async fn a_guest_is_dumped_and_goes_on_or_ends() {
    let test = "a_guest_is_dumped_and_goes_on_or_ends";
    let Some((daemon, connect, guest)) = guest(test, |_, xml| xml).await else { return };
    guest.start(C::empty()).await.unwrap();
    echoes(&guest).await;
    let mut resets = connect.subscribe_to([Filter::domain(Kind::DomainReboot, &guest)]).await.unwrap();
    type F = DomainCoreDumpFlags;
    for named in [false, true] {
        for flags in [F::LIVE, F::BYPASS_CACHE, F::RESET, F::MEMORY_ONLY, F::CRASH] {
            let what = format!("{named} {flags:?}");
            let file = daemon.path("core");
            let to = file.display().to_string();
            if named {
                guest.core_dump(&to, DomainCoreDumpFormat::Raw, flags).await.unwrap().await.unwrap();
            } else {
                let args =
                    remote::DomainCoreDumpArgs { dom: guest.wire().into_owned(), to: to.into(), flags };
                connect.call::<remote::DomainCoreDump>(&args).await.unwrap();
            }
            let dumped = std::fs::read(&file).unwrap();
            // With devices it is as it is saved; without, what debuggers read.
            let begins: &[u8] = if flags == F::MEMORY_ONLY { b"\x7fELF" } else { b"LibvirtQemudSave" };
            assert!(dumped.starts_with(begins) || dumped.starts_with(b"QEVM"), "{what}: {:?}", &dumped[..16]);
            std::fs::remove_file(&file).unwrap();
            if flags == F::RESET {
                let next =
                    tokio::time::timeout(Duration::from_secs(60), resets.next()).await.expect("a reset");
                assert!(matches!(next.unwrap(), Item::Event(Event::DomainReboot(_))));
            }
            assert_eq!(guest.is_active().await.unwrap(), flags != F::CRASH, "{what}");
        }
        guest.start(C::empty()).await.unwrap();
    }
}

/// What is defined for the next start.
async fn later(guest: &Domain) -> String {
    guest.xml(X::INACTIVE).await.unwrap()
}

async fn now(guest: &Domain) -> String {
    guest.xml(X::empty()).await.unwrap()
}

fn prepared(_: &Daemon, xml: String) -> String {
    xml.replace("<vcpu>1</vcpu>", "<vcpu current='1'>3</vcpu><iothreads>1</iothreads>")
        .replace("<memballoon model='none'/>", "<memballoon model='virtio'/>")
}

#[tokio::test]
async fn what_a_guest_gets_at_its_next_start_is_changed_alone() {
    let test = "what_a_guest_gets_at_its_next_start_is_changed_alone";
    let Some((daemon, connect, guest)) = guest(test, prepared).await else { return };
    guest.start(C::empty()).await.unwrap();
    let running = now(&guest).await;
    // Devices.
    let tablet = "<input type='tablet' bus='usb'><alias name='ua-tablet'/></input>";
    guest.attach_device(tablet, Device::CONFIG).await.unwrap();
    assert!(later(&guest).await.contains("ua-tablet"));
    guest.detach_device_alias("ua-tablet", Device::CONFIG).await.unwrap();
    assert!(!later(&guest).await.contains("ua-tablet"));
    let stick = format!(
        "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{}'/>\
         <target dev='sda' bus='usb'/><readonly/></disk>",
        disk(&daemon, "stick")
    );
    guest.attach_device(&stick, Device::CONFIG).await.unwrap();
    let other = stick.replace("stick'", "other'");
    guest.update_device(&other, Device::CONFIG).await.unwrap();
    assert!(later(&guest).await.contains("other'/>"));
    guest.detach_device(&other, Device::CONFIG).await.unwrap();
    assert!(!later(&guest).await.contains("other'/>"));
    // Processors, threads and what they may.
    let first: CpuMap = [0].into_iter().collect();
    guest.pin_vcpu(0, &first, Impact::CONFIG).await.unwrap();
    assert!(later(&guest).await.contains("<vcpupin vcpu='0' cpuset='0'/>"));
    guest.add_iothread(5, Impact::CONFIG).await.unwrap();
    guest.pin_iothread(5, &first, Impact::CONFIG).await.unwrap();
    let ids =
        |threads: Vec<libvirt_client::IoThread>| threads.iter().map(|thread| thread.id).collect::<Vec<_>>();
    assert_eq!(ids(guest.iothreads(Impact::CONFIG).await.unwrap()), [1, 5]);
    assert_eq!(ids(guest.iothreads(Impact::LIVE).await.unwrap()), [1]);
    assert!(later(&guest).await.contains("<iothreadpin iothread='5' cpuset='0'/>"));
    if connect.daemon_version() >= Release(9, 4, 0) {
        let poll = IoThreadParameters { poll_max_ns: Some(2000), ..Default::default() };
        guest.set_iothread(5, &poll, Impact::CONFIG).await.unwrap();
        assert!(later(&guest).await.contains("max='2000'"));
    }
    guest.remove_iothread(5, Impact::CONFIG).await.unwrap();
    assert_eq!(ids(guest.iothreads(Impact::CONFIG).await.unwrap()), [1]);
    guest.set_vcpu_count(2, DomainVcpuFlags::CONFIG | DomainVcpuFlags::HOTPLUGGABLE).await.unwrap();
    let text = later(&guest).await;
    assert!(text.contains("<vcpu id='1' enabled='yes' hotpluggable='yes'"), "{text}");
    // Limits.
    let tune = BlockIoTune { total_iops_sec: Some(70), ..Default::default() };
    guest.set_block_io_tune("vda", &tune, Impact::CONFIG).await.unwrap();
    assert_eq!(guest.block_io_tune("vda", Impact::CONFIG).await.unwrap().total_iops_sec, Some(70));
    assert_eq!(guest.block_io_tune("vda", Impact::LIVE).await.unwrap().total_iops_sec, Some(0));
    // A daemon of a user's own has no control groups for it.
    let share = SchedulerParameters { cpu_shares: Some(2048), ..Default::default() };
    guest.set_scheduler(&share, Impact::CONFIG).await.unwrap_err();
    guest.set_memory_stats_period(7, DomainMemoryModFlags::CONFIG).await.unwrap();
    assert!(later(&guest).await.contains("<stats period='7'/>"));
    guest
        .set_lifecycle_action(DomainLifecycle::Crash, DomainLifecycleAction::Preserve, Impact::CONFIG)
        .await
        .unwrap();
    assert!(later(&guest).await.contains("<on_crash>preserve</on_crash>"));
    assert_eq!(now(&guest).await, running, "it runs as it did");
}

#[tokio::test]
async fn what_a_guest_has_now_is_changed_alone() {
    let test = "what_a_guest_has_now_is_changed_alone";
    let Some((_daemon, connect, guest)) = guest(test, prepared).await else { return };
    guest.start(C::empty()).await.unwrap();
    echoes(&guest).await;
    let kept = later(&guest).await;
    let console = guest.open_console(None, DomainConsoleFlags::SAFE).await.unwrap();
    let second = guest.open_console(None, DomainConsoleFlags::SAFE).await.unwrap_err();
    assert!(second.refusal().is_some(), "{second}");
    drop(console);
    let channel = "org.example.channel";
    let mut first = guest.open_channel(Some(channel), DomainChannelFlags::empty()).await.unwrap();
    guest.open_channel(Some(channel), DomainChannelFlags::empty()).await.unwrap_err();
    let second = guest.open_channel(Some(channel), DomainChannelFlags::FORCE).await.unwrap();
    // Whoever had it has it no more.
    assert!(!matches!(first.receive().await, Ok(Some(_))));
    drop(second);
    // The BIOS is where it was put: what a processor would find at an address is looked at.
    let physical = guest.peek_memory(0x7c00, 4, DomainMemoryFlags::PHYSICAL).await.unwrap();
    assert_eq!(guest.peek_memory(0x7c00, 4, DomainMemoryFlags::VIRTUAL).await.unwrap(), physical);
    guest.set_vcpu("1", Autostart::On.into(), Impact::LIVE).await.unwrap();
    assert_eq!(guest.vcpu_count(DomainVcpuFlags::LIVE).await.unwrap(), 2);
    if connect.daemon_version() >= Release(10, 0, 0) {
        // Only a device of the host's has a size of its own, and none is a user's.
        let error = guest.block_resize("vda", 0, DomainBlockResizeFlags::CAPACITY).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().code, ErrorNumber::OperationUnsupported, "{error}");
    }
    assert_eq!(later(&guest).await, kept, "what is defined stays");
}

#[tokio::test]
async fn a_guest_is_told_to_end_by_its_button() {
    let test = "a_guest_is_told_to_end_by_its_button";
    let Some((_daemon, connect, guest)) = guest(test, |_, xml| xml).await else { return };
    guest.start(C::empty()).await.unwrap();
    let mut pressed =
        connect.monitor_events(Some(&guest), Some("POWERDOWN"), Default::default()).await.unwrap();
    guest.shutdown(DomainShutdownFlags::ACPI_POWER_BTN).await.unwrap();
    let next = tokio::time::timeout(Duration::from_secs(60), pressed.next()).await.expect("the button");
    assert!(matches!(next.unwrap(), Item::Event(_)));
    guest.reboot(DomainRebootFlags::ACPI_POWER_BTN).await.unwrap();
    let next = tokio::time::timeout(Duration::from_secs(60), pressed.next()).await.expect("the button");
    assert!(matches!(next.unwrap(), Item::Event(_)));
    // By a pattern, in whatever letters.
    for (pattern, flags) in [("^POWER", Monitor::REGEX), ("powerdown", Monitor::NOCASE)] {
        let mut pressed = connect.monitor_events(Some(&guest), Some(pattern), flags).await.unwrap();
        guest.shutdown(DomainShutdownFlags::ACPI_POWER_BTN).await.unwrap();
        let next = tokio::time::timeout(Duration::from_secs(60), pressed.next()).await.expect("the button");
        assert!(matches!(next.unwrap(), Item::Event(_)), "{pattern}");
    }
    // People's words to the monitor may come with files too.
    let args = qemu::DomainMonitorCommandWithFilesArgs {
        dom: guest.wire().into_owned(),
        cmd: "info name".into(),
        flags: DomainQemuMonitorCommandFlags::HMP,
    };
    let reply = connect.call_with::<qemu::DomainMonitorCommandWithFiles>(&args, Vec::new()).await.unwrap();
    assert_eq!(reply.result().unwrap().result.to_string().trim_end(), "guest");
    // Its system hears nothing of it.
    assert_eq!(state(&guest).await, DomainState::Running);
    connect.close().await.unwrap();
}

#[tokio::test]
async fn guests_end_with_or_without_what_was_kept_of_them() {
    let test = "guests_end_with_or_without_what_was_kept_of_them";
    let create = |daemon: &Daemon| {
        let mut make = daemon.unprivileged();
        make.args(["qemu-img", "create", "-q", "-f", "qcow2"]).arg(daemon.path("image")).arg("4M");
        assert!(make.status().unwrap().success());
    };
    let image = |daemon: &Daemon, xml: String| {
        create(daemon);
        xml.replace("type='raw'", "type='qcow2'").replace("/disk'", "/image'")
    };
    let Some((daemon, connect, guest)) = guest(test, image).await else { return };
    guest.start(C::empty()).await.unwrap();
    let point = "<domaincheckpoint><name>point</name></domaincheckpoint>";
    guest.create_checkpoint(point, Default::default()).await.unwrap();
    guest.destroy(DomainDestroyFlags::GRACEFUL).await.unwrap();
    let xml = later(&guest).await;
    guest.undefine(U::empty()).await.unwrap_err();
    guest.undefine(U::CHECKPOINTS_METADATA).await.unwrap();
    // One without a chip for it has no state of it.
    for flags in [U::TPM, U::KEEP_TPM] {
        let guest = connect.define_domain(&xml, Default::default()).await.unwrap();
        guest.undefine(flags).await.unwrap();
        assert!(connect.domain_by_name("guest").await.unwrap_err().is_not_found());
    }
    // Back to a state inside of the image; one with a checkpoint has no other.
    create(&daemon);
    let guest = connect.define_domain(&xml, Default::default()).await.unwrap();
    let snap = "<domainsnapshot><name>before</name></domainsnapshot>";
    let before = guest.create_snapshot(snap, DomainSnapshotCreateFlags::empty()).await.unwrap();
    guest.start(C::empty()).await.unwrap();
    before.revert(DomainSnapshotRevertFlags::RESET_NVRAM).await.unwrap();
    assert_eq!(state(&guest).await, DomainState::Shutoff);
    let error = guest.start(C::START_VALIDATE).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::InvalidArg, "{error}");
}
