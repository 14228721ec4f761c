//! What is asked of the guest, its agent, its monitor, its consoles.

use super::super::guests::{Scripted, connect_unix};
use super::*;
use libvirt_client::protocol::event::Event;
use libvirt_client::protocol::flags::{
    ConnectDomainQemuMonitorEventRegisterFlags as Watch, ConnectFlags, DomainAbortJobFlags,
    DomainAuthorizedSshKeysSetFlags as Keys, DomainChannelFlags, DomainConsoleFlags,
    DomainDirtyRateCalcFlags as Rate, DomainFdAssociateFlags, DomainGetHostnameFlags as Host,
    DomainGetJobStatsFlags, DomainMemoryFlags, DomainMessageType as Message, DomainMigrateMaxSpeedFlags,
    DomainQemuMonitorCommandFlags, DomainSetTimeFlags, DomainSetUserPasswordFlags, DomainVcpuFlags as Vcpus,
    TypedParameterFlags,
};
use libvirt_client::{GuestTime, Item, Piece};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test]
async fn a_host_name_a_time_and_a_look_into_memory_come_from_who_is_asked() {
    let handle = start(complete().clock(|| Duration::from_secs(1_000_000)));
    let connect = super::super::connect(&handle).await;
    let guest = domain(&connect).await;
    assert_eq!(guest.hostname(Host::LEASE).await.unwrap(), "test");
    assert_eq!(guest.hostname(Host::AGENT).await.unwrap(), "testhost");
    guest.hostname(Host::LEASE | Host::AGENT).await.unwrap_err();
    let time = GuestTime { seconds: 5, nanoseconds: 6 };
    guest.set_time(time, DomainSetTimeFlags::empty()).await.unwrap();
    assert_eq!(guest.time().await.unwrap(), time);
    guest.set_time(time, DomainSetTimeFlags::TIME_SYNC).await.unwrap();
    assert_eq!(guest.time().await.unwrap().seconds, 1_000_000, "the host's");
    for flags in [DomainMemoryFlags::VIRTUAL, DomainMemoryFlags::PHYSICAL] {
        assert_eq!(guest.peek_memory(0, 8, flags).await.unwrap(), [0; 8]);
    }
    guest.peek_memory(0, 8, DomainMemoryFlags::empty()).await.unwrap_err();
    guest.peek_memory(0, 8, DomainMemoryFlags::VIRTUAL | DomainMemoryFlags::PHYSICAL).await.unwrap_err();
}

#[tokio::test]
async fn keys_are_set_added_and_removed() {
    let connect = fresh().await;
    let guest = domain(&connect).await;
    guest.set_ssh_keys("root", &["one", "two"], Keys::empty()).await.unwrap();
    guest.set_ssh_keys("root", &["three"], Keys::APPEND).await.unwrap();
    assert_eq!(guest.ssh_keys("root").await.unwrap(), ["one", "two", "three"]);
    guest.set_ssh_keys("root", &["two"], Keys::REMOVE).await.unwrap();
    assert_eq!(guest.ssh_keys("root").await.unwrap(), ["one", "three"]);
    guest.set_ssh_keys("root", &[], Keys::APPEND).await.unwrap_err();
    guest.set_ssh_keys("root", &["new"], Keys::empty()).await.unwrap();
    assert_eq!(guest.ssh_keys("root").await.unwrap(), ["new"]);
    assert!(guest.ssh_keys("nobody").await.unwrap().is_empty());
}

/// An agent that keeps what it was told.
#[derive(Debug)]
struct Told(Arc<Mutex<Vec<String>>>);

impl libvirt_server::Guest for Told {
    fn agent(&mut self, _: &str, command: &str) -> Option<String> {
        self.0.lock().unwrap().push(command.to_owned());
        Some(r#"{"return":{}}"#.to_owned())
    }
}

#[tokio::test]
async fn the_agent_is_told_whether_a_password_is_encrypted_already() {
    let handle = start(complete());
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let agent = Told(Arc::clone(&told));
    handle.with(|hypervisor| hypervisor.set_guest(agent)).await.unwrap();
    let guest = domain(&super::super::connect(&handle).await).await;
    for flags in [DomainSetUserPasswordFlags::empty(), DomainSetUserPasswordFlags::PASSWORD_ENCRYPTED] {
        guest.set_user_password("root", "hush", flags).await.unwrap();
    }
    let told = told.lock().unwrap();
    assert!(told[0].contains(r#""crypted":false"#) && told[1].contains(r#""crypted":true"#), "{told:?}");
}

#[tokio::test]
async fn what_the_guest_uses_and_what_can_go_is_counted_by_itself() {
    let connect = fresh().await;
    let guest = domain(&connect).await;
    guest.set_vcpu_count(1, Vcpus::GUEST).await.unwrap();
    assert_eq!(guest.vcpu_count(Vcpus::GUEST).await.unwrap(), 1);
    assert_eq!(guest.vcpu_count(Vcpus::LIVE).await.unwrap(), 2, "they are all there");
    assert!(!kept(&connect).await.contains("hotpluggable"));
    guest.set_vcpu_count(2, Vcpus::CONFIG | Vcpus::HOTPLUGGABLE).await.unwrap();
    assert!(kept(&connect).await.contains("<vcpu id='1' enabled='yes' hotpluggable='yes'/>"));
    assert_eq!(guest.vcpu_count(Vcpus::CONFIG | Vcpus::HOTPLUGGABLE).await.unwrap(), 2);
}

#[tokio::test]
async fn messages_are_told_by_their_kinds() {
    let connect = fresh().await;
    let old = "<domain type='test'><name>old</name><memory>1024</memory><os><type machine='pc-1.0'>hvm</type></os><devices>\
               <disk><source file='/a'/><target dev='vda'/></disk><disk><source file='/b'/><target dev='vdb'/></disk></devices></domain>";
    let guest = run(&connect, old).await;
    assert!(guest.messages(Message::TAINTING).await.unwrap().is_empty());
    guest.monitor_command("query-status", None).await.unwrap();
    for (kind, word) in [
        (Message::TAINTING, "tainted"),
        (Message::DEPRECATION, "deprecated"),
        (Message::IOERRORS, "disk='vdb'"),
    ] {
        let told = guest.messages(kind).await.unwrap();
        assert!(told.len() == 1 && told[0].contains(word), "{told:?}");
    }
    assert_eq!(guest.messages(Message::empty()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_console_has_one_reader_unless_another_takes_it_by_force() {
    let connect = fresh().await;
    let devices = "<devices><console type='pty'/><channel type='unix'/></devices>";
    let guest = run(&connect, &xml("c", devices)).await;
    let mut first = guest.open_console(None, DomainConsoleFlags::empty()).await.unwrap();
    let busy = guest.open_console(None, DomainConsoleFlags::SAFE).await.unwrap_err();
    assert_eq!(busy.refusal().unwrap().code, ErrorNumber::OperationFailed);
    let mut second = guest.open_console(None, DomainConsoleFlags::FORCE).await.unwrap();
    let cut = first.receive().await.unwrap_err();
    assert_eq!(cut.refusal().unwrap().code, ErrorNumber::OperationAborted);
    second.send(b"me").await.unwrap();
    assert_eq!(second.receive().await.unwrap(), Some(Piece::Data(b"me".to_vec())));
    second.finish().await.unwrap();
    guest.open_console(None, DomainConsoleFlags::SAFE).await.unwrap().finish().await.unwrap();
    let mut first = guest.open_channel(None, DomainChannelFlags::empty()).await.unwrap();
    guest.open_channel(None, DomainChannelFlags::empty()).await.unwrap_err();
    let second = guest.open_channel(None, DomainChannelFlags::FORCE).await.unwrap();
    first.receive().await.unwrap_err();
    second.finish().await.unwrap();
}

#[tokio::test]
async fn a_monitors_events_are_chosen_by_pattern_and_in_any_case() {
    let handle = start(complete());
    let connect = super::super::connect(&handle).await;
    for (pattern, flags, hears) in [
        ("STOP", Watch::empty(), true),
        ("stop", Watch::empty(), false),
        ("stop", Watch::NOCASE, true),
        ("^ST.P$", Watch::REGEX, true),
        ("^st.p$", Watch::REGEX, false),
        ("^st.p$", Watch::REGEX | Watch::NOCASE, true),
        ("ST.P", Watch::empty(), false),
    ] {
        let mut events = connect.monitor_events(None, Some(pattern), flags).await.unwrap();
        // One that it does not mean, one that it may mean, and one that ends the wait.
        let mut last = connect.monitor_events(None, Some("LAST"), Watch::empty()).await.unwrap();
        for event in ["POWERDOWN", "STOP", "LAST"] {
            handle.with(move |hypervisor| hypervisor.send_monitor_event("test", event, None)).await.unwrap();
        }
        last.next().await.unwrap();
        if hears {
            let Item::Event(Event::QemuMonitor(event)) = events.next().await.unwrap() else {
                panic!("another")
            };
            assert_eq!(event.event.to_string(), "STOP", "{pattern}");
        }
        drop(events);
    }
    connect.monitor_events(None, Some("("), Watch::REGEX).await.map(drop).unwrap_err();
}

#[tokio::test]
async fn a_monitor_speaks_to_people_with_files_too() {
    let handle = start(complete());
    handle.with(|hypervisor| hypervisor.set_guest(Scripted::default())).await.unwrap();
    let connect = connect_unix(&handle).await;
    use libvirt_client::protocol::qemu;
    let args = qemu::DomainMonitorCommandWithFilesArgs {
        dom: dom(&connect).await,
        cmd: "info it".into(),
        flags: DomainQemuMonitorCommandFlags::HMP,
    };
    let file: Vec<OwnedFd> = vec![std::fs::File::open("/dev/null").unwrap().into()];
    let reply = connect.call_with::<qemu::DomainMonitorCommandWithFiles>(&args, file).await.unwrap();
    assert_eq!(reply.result().unwrap().result.to_string(), "test: info it");
}

#[tokio::test]
async fn files_are_known_by_name_and_may_be_written_to_or_labelled_anew() {
    let handle = start(complete());
    let kept: Arc<Mutex<Vec<OwnedFd>>> = Arc::default();
    let scripted = Scripted(Arc::clone(&kept));
    handle.with(|hypervisor| hypervisor.set_guest(scripted)).await.unwrap();
    let guest = domain(&connect_unix(&handle).await).await;
    for flags in [DomainFdAssociateFlags::RESTORE, DomainFdAssociateFlags::WRITABLE] {
        let file: Vec<OwnedFd> = vec![std::fs::File::open("/dev/null").unwrap().into()];
        guest.associate_files("disk", file, flags).await.unwrap();
    }
    assert_eq!(kept.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn rates_speeds_and_figures_are_of_the_kind_that_is_asked_for() {
    let connect = fresh().await;
    let guest = domain(&connect).await;
    for (flags, mode) in [
        (Rate::empty(), "page-sampling"),
        (Rate::DIRTY_BITMAP, "dirty-bitmap"),
        (Rate::DIRTY_RING, "dirty-ring"),
    ] {
        guest.start_dirty_rate(1, flags).await.unwrap();
        let args = remote::ConnectGetAllDomainStatsArgs::default();
        let reply = done::<remote::ConnectGetAllDomainStats>(&connect, &args).await;
        assert!(format!("{:?}", reply.result().unwrap()).contains(mode), "{mode}");
    }
    guest.start_dirty_rate(1, Rate::DIRTY_BITMAP | Rate::DIRTY_RING).await.unwrap_err();
    guest.start_dirty_rate(0, Rate::empty()).await.unwrap_err();
    let postcopy = DomainMigrateMaxSpeedFlags::POSTCOPY;
    guest.set_max_migration_speed(7, postcopy).await.unwrap();
    assert_eq!(guest.max_migration_speed(postcopy).await.unwrap(), 7);
    assert_eq!(guest.max_migration_speed(DomainMigrateMaxSpeedFlags::empty()).await.unwrap(), 32);
    let texts = TypedParameterFlags::PARAM_STRING_OKAY;
    let args = remote::DomainBlockStatsFlagsArgs {
        dom: dom(&connect).await,
        path: "vda".into(),
        nparams: 16,
        flags: texts,
    };
    let reply = done::<remote::DomainBlockStatsFlags>(&connect, &args).await;
    assert!(reply.result().unwrap().params.iter().any(|param| param.field == "rd_bytes"));
    // What a job has come to is told once, or as often as somebody says that it be kept.
    guest.core_dump("/core", Default::default(), Default::default()).await.unwrap().await.map(drop).unwrap();
    let backup = guest.backup("<domainbackup/>", None, Default::default()).await.unwrap();
    backup.wait().await.unwrap();
    let (completed, keep) = (DomainGetJobStatsFlags::COMPLETED, DomainGetJobStatsFlags::KEEP_COMPLETED);
    for (flags, there) in [(completed | keep, true), (completed, true), (completed, false)] {
        let (_, progress) = guest.job_stats(flags).await.unwrap();
        assert_eq!(progress.success.is_some(), there, "{flags:?}");
    }
}

#[tokio::test]
async fn a_connection_is_opened_without_aliases() {
    let connect = fresh().await;
    let args =
        remote::ConnectOpenArgs { name: Some("test:///default".into()), flags: ConnectFlags::NO_ALIASES };
    done::<remote::ConnectOpen>(&connect, &args).await;
    domain(&connect).await.suspend().await.unwrap();
}

/// A migration that has gone over is broken off by who says that he knows what is left: halves.
#[tokio::test]
async fn a_migration_that_has_gone_ahead_is_broken_off_only_on_purpose() {
    use libvirt_client::protocol::flags::DomainMigrateFlags as F;
    for flags in [F::LIVE, F::LIVE | F::POSTCOPY] {
        let slow =
            complete().job_duration(Duration::from_secs(3600)).clock(|| Duration::from_secs(1_000_000));
        let handle = start(slow);
        let (sender, beside) = (super::super::connect(&handle).await, super::super::connect(&handle).await);
        let guest = domain(&beside).await;
        let args =
            remote::DomainMigratePerform3ParamsArgs { dom: dom(&beside).await, flags, ..Default::default() };
        let perform = sender.start::<remote::DomainMigratePerform3Params>(&args).await.unwrap();
        let mut performing = tokio::task::JoinSet::new();
        performing.spawn(async move { perform.within(None).await.map(drop) });
        while guest.job().await.unwrap().is_none() {}
        let postcopy = DomainAbortJobFlags::POSTCOPY;
        guest.abort_job_with(postcopy).await.unwrap_err();
        let ahead = guest.start_post_copy().await;
        if !flags.contains(F::POSTCOPY) {
            assert_eq!(ahead.unwrap_err().refusal().unwrap().code, ErrorNumber::OperationInvalid);
            continue;
        }
        ahead.unwrap();
        guest.abort_job().await.unwrap_err();
        guest.abort_job_with(postcopy).await.unwrap();
        performing.join_next().await.unwrap().unwrap().unwrap_err();
        use libvirt_client::protocol::enums::DomainPausedReason;
        assert_eq!(guest.state().await.unwrap().reason, i32::from(DomainPausedReason::PostcopyFailed));
    }
}
