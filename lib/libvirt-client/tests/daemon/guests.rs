//! Running guests: consoles, pictures, QEMU's monitor, jobs, descriptors. Their whole system is a boot sector.

use crate::authority::{Authority, Expired};
use crate::support::{Daemon, Settings, ended, is_other, present, run};
use libvirt_client::protocol::enums::{
    DomainBlockJobType, DomainControlState, DomainGraphicsReloadType, DomainState,
};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    DomainBackupBeginFlags, DomainBlockCopyFlags, DomainBlockJobAbortFlags, DomainConsoleFlags,
    DomainDestroyFlags, DomainFdAssociateFlags, DomainModificationImpact as Impact, DomainOpenGraphicsFlags,
    DomainSaveRestoreFlags, DomainStatsTypes,
};
use libvirt_client::protocol::parameters::{THREADPOOL_WORKERS_CURRENT, THREADPOOL_WORKERS_FREE};
use libvirt_client::protocol::procedure::Release;
use libvirt_client::protocol::remote::DomainGraphicsReloadArgs;
use libvirt_client::protocol::xdr::IntoOwned;
use libvirt_client::{
    Autostart, BlockIoTune, BlockJobState, ByteStream, Connect, Domain, ErrorKind, Item, Params, Piece, raw,
};
use rustix::process::Signal;
use serde_json::json;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// Echoes what comes on the first serial port, with capitals and small letters exchanged.
const ECHO: [u8; 20] = [
    0xfa, 0x90, 0x90, // cli
    0xba, 0xfd, 0x03, // wait: mov dx, 0x3fd
    0xec, 0xa8, 0x01, 0x74, 0xfb, // in al, dx; test al, 1; jz to the in
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xec, 0x34, 0x20, 0xee, // in al, dx; xor al, 0x20; out dx, al
    0xeb, 0xef, // jmp wait
];

pub(crate) fn disk(daemon: &Daemon, name: &str) -> String {
    let mut disk = vec![0; 4 * MIB];
    disk[..ECHO.len()].copy_from_slice(&ECHO);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let path = daemon.path(name);
    std::fs::write(&path, disk).unwrap();
    daemon.own(&path);
    path.display().to_string()
}

pub(crate) fn definition(daemon: &Daemon, disk: &str) -> String {
    format!(
        "<domain type='qemu'><name>guest</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>\
         <emulator>/usr/bin/qemu-system-x86_64</emulator>\
         <disk type='file' device='disk'><driver name='qemu' type='raw'/>{disk}<target dev='vda' bus='virtio'/></disk>\
         <serial type='pty'/><console type='pty'><target type='serial'/></console>\
         <channel type='unix'><target type='virtio' name='org.example.channel'/></channel>\
         <graphics type='vnc' socket='{}'/><video><model type='vga'/></video><memballoon model='none'/>\
         </devices></domain>",
        daemon.path("vnc").display()
    )
}

/// A guest that runs, or a line that says why there is none.
async fn guest(test: &str) -> Option<(Daemon, Connect, Domain)> {
    let daemon = Daemon::start(test)?;
    if !present(test, &[("/usr/bin/qemu-system-x86_64", "qemu-system-x86")]) {
        return None;
    }
    let connect = daemon.open("qemu:///session").await;
    let disk = format!("<source file='{}'/>", disk(&daemon, "disk"));
    let domain = connect.create_domain(&definition(&daemon, &disk), Default::default()).await.unwrap();
    Some((daemon, connect, domain))
}

#[tokio::test]
async fn guests_end_with_their_daemon_whatever_a_test_left_running() {
    let Some((daemon, ..)) = guest("guests_end_with_their_daemon").await else { return };
    let guests = daemon.guests();
    assert_eq!(guests.len(), 1);
    drop(daemon);
    assert!(guests.iter().all(|guest| ended(guest, 0)));
}

/// Keeps saying something until the first answer comes: the BIOS takes its time, and swallows what it likes.
pub(crate) async fn awake(console: &mut ByteStream) {
    loop {
        console.send(b"x").await.unwrap();
        match tokio::time::timeout(Duration::from_millis(100), console.receive()).await {
            Ok(Ok(Some(Piece::Data(data)))) if data.contains(&b'X') => break,
            Ok(Ok(Some(_))) | Err(_) => {}
            Ok(other) => panic!("{other:?}"),
        }
    }
    // A mark that no earlier answer holds: what comes after it is what is asked for after it.
    console.send(b"~").await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"^") {
        let Some(Piece::Data(data)) = console.receive().await.unwrap() else {
            panic!("the console has ended")
        };
        seen.extend(data);
    }
}

/// A stream that was dropped is over at the daemon: the console is free for a safe one again.
async fn reopened(guest: &Domain, console: ByteStream) -> ByteStream {
    drop(console);
    loop {
        match guest.open_console(None, DomainConsoleFlags::empty()).await {
            Ok(console) => return console,
            // The end of the old one is on its way.
            Err(error) => assert!(error.refusal().is_some(), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_console_of_a_running_guest_goes_both_ways() {
    let test = "a_console_of_a_running_guest_goes_both_ways";
    let Some((_daemon, connect, guest)) = guest(test).await else { return };
    let mut console = guest.open_console(None, DomainConsoleFlags::empty()).await.unwrap();
    awake(&mut console).await;
    let said = b"Hello From The Console";
    console.send(said).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < said.len() {
        let Some(Piece::Data(data)) = console.receive().await.unwrap() else {
            panic!("the console has ended")
        };
        heard.extend(data);
    }
    let expected: Vec<u8> = said.iter().map(|byte| byte ^ 0x20).collect();
    assert_eq!(String::from_utf8_lossy(&heard), String::from_utf8_lossy(&expected));
    // A second one is refused, unless it takes the console over; then the first one ends.
    assert!(guest.open_console(None, DomainConsoleFlags::SAFE).await.is_err());
    let second = guest.open_console(None, DomainConsoleFlags::FORCE).await.unwrap();
    let ended = loop {
        match console.receive().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert!(matches!(ended, Ok(None) | Err(_)), "{ended:?}");
    let mut third = if is_other() {
        println!(
            "not run: the end of {test}: libvirtd 11.3.0 can lock itself up when a stream is broken off"
        );
        second
    } else {
        reopened(&guest, second).await
    };
    awake(&mut third).await;
    assert_eq!(connect.domains(Default::default()).await.unwrap().len(), 1);
    guest.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
    // The guest is gone, and the stream says so.
    while let Ok(Some(_)) = third.receive().await {}
}

#[tokio::test]
async fn a_channel_and_a_picture_come_as_streams() {
    let Some((_daemon, _connect, guest)) = guest("a_channel_and_a_picture_come_as_streams").await else {
        return;
    };
    let channel = guest.open_channel(Some("org.example.channel"), Default::default()).await.unwrap();
    drop(channel);
    let (mime, mut picture) = guest.screenshot(0).await.unwrap();
    assert_eq!(mime.as_deref(), Some("image/png"));
    let mut bytes = Vec::new();
    while let Some(Piece::Data(data)) = picture.receive().await.unwrap() {
        bytes.extend(data);
    }
    picture.finish().await.unwrap();
    assert!(bytes.starts_with(b"\x89PNG"), "no picture in {} bytes", bytes.len());
    assert!(bytes.ends_with(b"IEND\xaeB`\x82"), "a picture without an end in {} bytes", bytes.len());
}

#[tokio::test]
async fn qemu_answers_through_the_daemon() {
    let Some((_daemon, connect, guest)) = guest("qemu_answers_through_the_daemon").await else { return };
    let mut events = connect.monitor_events(Some(&guest), None, Default::default()).await.unwrap();
    let status = guest.monitor_command("query-status", None).await.unwrap();
    assert_eq!(status["running"], true);
    let version = guest.monitor_command("query-version", None).await.unwrap();
    let major = version["qemu"]["major"].to_string();
    assert!(guest.human_monitor_command("info version").await.unwrap().starts_with(&major), "{version}");
    let error = guest.monitor_command("no-such-command", None).await.unwrap_err();
    match error.kind() {
        ErrorKind::Qemu(error) => assert_eq!(error.class, "CommandNotFound"),
        other => panic!("{other:?}"),
    }
    let error = guest.agent_command("guest-ping", None, -1).await.unwrap_err();
    assert!(error.refusal().is_some(), "there is no agent in a boot sector: {error}");
    guest.suspend().await.unwrap();
    loop {
        match events.next().await.unwrap() {
            Item::Event(Event::QemuMonitor(event)) if event.event == "STOP" => break,
            Item::Event(_) => {}
            other => panic!("{other:?}"),
        }
    }
    guest.resume().await.unwrap();
    let stats = connect.all_stats(DomainStatsTypes::empty(), Default::default()).await.unwrap();
    assert_eq!(stats[0].state(), Some(DomainState::Running));
    let disks = stats[0].blocks();
    assert_eq!((disks.len(), disks[0].name.as_str()), (1, "vda"));
    assert_eq!(disks[0].capacity, Some(4 * MIB as u64));
    assert!(disks[0].read_requests.is_some_and(|reads| reads > 0), "{disks:?}");
    assert_eq!(stats[0].vcpus().len(), 1);
    assert_eq!(guest.block_info("vda").await.unwrap().capacity, 4 * MIB as u64);
    assert_eq!(guest.peek_block("vda", 510, 2).await.unwrap(), [0x55, 0xaa]);
    assert!(guest.block_stats("vda").await.unwrap().i64("rd_bytes").is_some());
}

#[tokio::test]
async fn what_newer_daemons_have_they_answer_and_older_ones_are_not_asked() {
    let test = "what_newer_daemons_have_they_answer_and_older_ones_are_not_asked";
    let Some(daemon) = Daemon::start(test) else { return };
    if !present(test, &[("/usr/bin/qemu-system-x86_64", "qemu-system-x86")]) {
        return;
    }
    let connect = daemon.open("qemu:///session").await;
    let disk = format!("<source file='{}'/>", disk(&daemon, "disk"));
    let guest = connect.define_domain(&definition(&daemon, &disk), Default::default()).await.unwrap();
    let limits = BlockIoTune { total_iops_sec: Some(100), ..Default::default() };
    let limited = guest.set_throttle_group("slow", &limits, Impact::CONFIG).await;
    let once = guest.set_autostart_once(Autostart::On).await;
    let changes = connect.subscribe(Kind::DomainNicMacChange).await;
    if connect.daemon_version() < Release(11, 2, 0) {
        for error in [limited.unwrap_err(), once.unwrap_err(), changes.unwrap_err()] {
            assert!(error.is_unsupported() && error.to_string().contains("11.2.0"), "{error}");
        }
        return;
    }
    limited.unwrap();
    once.unwrap();
    changes.unwrap();
    assert!(guest.autostart_once().await.unwrap());
    let xml = guest.xml(Default::default()).await.unwrap();
    assert!(xml.contains("<throttlegroup>") && xml.contains("slow"), "{xml}");
    guest.remove_throttle_group("slow", Impact::CONFIG).await.unwrap();
    assert!(!guest.xml(Default::default()).await.unwrap().contains("<throttlegroup>"));
}

/// Its daemon tells nobody of the jobs that a guest had which is gone.
#[tokio::test]
async fn a_job_ends_with_a_guest_that_is_killed() {
    let Some((daemon, _connect, guest)) = guest("a_job_ends_with_a_guest_that_is_killed").await else {
        return;
    };
    let copy = daemon.path("copy").display().to_string();
    let xml = format!("<disk type='file'><source file='{copy}'/><driver type='raw'/></disk>");
    let slow = Params::new().with("bandwidth", 65_536_u64);
    let mut job = guest.block_copy("vda", &xml, &slow, DomainBlockCopyFlags::TRANSIENT_JOB).await.unwrap();
    assert!(job.progress().await.unwrap().is_some(), "it is at work");
    let [process] = daemon.guests().try_into().unwrap();
    rustix::process::pidfd_send_signal(&process, Signal::KILL).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), job.wait()).await.expect("it waits for ever");
    let error = ended.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Job(_)) && error.to_string().contains("stopped"), "{error}");
}

/// Five calls that wait for a guest whose QEMU has been stopped, and then one that takes no time, for which the daemon has no workers of
/// its own. Of six at once the daemon itself would let it wait: see `docs/libvirt/connections.md`.
#[tokio::test]
async fn slow_calls_do_not_delay_a_trivial_one() {
    let Some((daemon, first, guest)) = guest("slow_calls_do_not_delay_a_trivial_one").await else { return };
    let test = "slow_calls_do_not_delay_a_trivial_one";
    if !present(test, &[("/usr/bin/nc", "netcat-openbsd")]) {
        return;
    }
    let server = crate::admin::admin(&daemon).await.server("libvirtd").await.unwrap();
    let busy = async || {
        let pool = server.threadpool().await.unwrap();
        pool.u64(THREADPOOL_WORKERS_CURRENT).unwrap() - pool.u64(THREADPOOL_WORKERS_FREE).unwrap()
    };
    let [qemu] = daemon.guests().try_into().unwrap();
    // Of one connection three calls are at the daemon, beside an urgent one (`protocol::session::Limits`), and the rest waits here.
    for (lanes, waits, at_work) in [(None, false, 5), (Some(0), true, 3)] {
        let mut builder = daemon.builder("qemu:///session");
        if let Some(lanes) = lanes {
            builder = builder.lanes(lanes);
        }
        let connect = builder.open_with(run).await.unwrap();
        let guest = connect.domain_by_name(&guest.name()).await.unwrap();
        let models =
            async || connect.cpu_models("x86_64").await.unwrap_or_else(|error| panic!("{error}")).len();
        // All lanes are there before: to make one is no trivial call.
        let counts = futures::future::join_all((0..12).map(|_| models())).await;
        assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
        rustix::process::pidfd_send_signal(&qemu, Signal::STOP).unwrap();
        let mut slow = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let guest = guest.clone();
            slow.spawn(async move { guest.monitor_command("query-status", None).await });
        }
        // The daemon has begun with each, and nobody answers the first.
        let begun = async {
            while busy().await < at_work {
                tokio::task::yield_now().await;
            }
        };
        let begun = tokio::time::timeout(Duration::from_secs(20), begun).await;
        assert!(
            begun.is_ok(),
            "calls that wait for a guest, with lanes {lanes:?}: {:?}",
            server.threadpool().await
        );
        assert_eq!(guest.control_info().await.unwrap().state, DomainControlState::Occupied);
        let ended = slow.try_join_next();
        assert!(ended.is_none(), "what waits for a guest ended before it goes on: {ended:?}");
        if waits {
            // On one connection it waits for one of them, however much the daemon does for others meanwhile; that is what the lanes are for.
            let mut models = Box::pin(models());
            for _ in 0..20 {
                assert!(futures::poll!(&mut models).is_pending(), "it waits for none, with lanes {lanes:?}");
                first.hostname().await.unwrap();
            }
            rustix::process::pidfd_send_signal(&qemu, Signal::CONT).unwrap();
            models.await;
        } else {
            let answered = tokio::time::timeout(Duration::from_secs(60), models()).await;
            assert!(answered.is_ok(), "it waits for a guest that stands still");
            assert!(slow.try_join_next().is_none(), "one ended, though its guest stands still");
            rustix::process::pidfd_send_signal(&qemu, Signal::CONT).unwrap();
        }
        let results = slow.join_all().await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
}

/// What a server of VNC's says first.
fn greeting(socket: OwnedFd) -> String {
    let mut stream = std::os::unix::net::UnixStream::from(socket);
    stream.set_nonblocking(false).unwrap();
    let mut words = [0; 12];
    stream.read_exact(&mut words).unwrap();
    String::from_utf8_lossy(&words).into_owned()
}

/// A screen whose server shows a certificate.
#[tokio::test]
async fn a_screens_certificates_are_read_again() {
    let test = "a_screens_certificates_are_read_again";
    let Some(daemon) = Daemon::prepare(test) else { return };
    if !present(test, &[("/usr/bin/qemu-system-x86_64", "qemu-system-x86")]) {
        return;
    }
    for name in ["tls", "libvirt"] {
        std::fs::create_dir(daemon.path(name)).unwrap();
        daemon.own(&daemon.path(name));
    }
    let place = daemon.path("tls");
    let config = format!("vnc_tls = 1\nvnc_tls_x509_cert_dir = \"{}\"\n", place.display());
    std::fs::write(daemon.path("libvirt/qemu.conf"), config).unwrap();
    let (certificate, key) = (place.join("server-cert.pem"), place.join("server-key.pem"));
    let authority = Authority::new("screen");
    std::fs::write(place.join("ca-cert.pem"), &authority.pem).unwrap();
    let issue = || {
        authority.issue(&["localhost"], "screen", &certificate, &key, Expired::No);
        daemon.own(&key);
    };
    issue();
    daemon.run(&Settings::default());
    let connect = daemon.open("qemu:///session").await;
    let disk = format!("<source file='{}'/>", disk(&daemon, "disk"));
    let guest = connect.create_domain(&definition(&daemon, &disk), Default::default()).await.unwrap();
    let reload = async || {
        let kind = DomainGraphicsReloadType::Vnc;
        let args = DomainGraphicsReloadArgs { dom: guest.wire().into_owned(), kind, ..Default::default() };
        raw::domain::graphics_reload(&connect, &args).await
    };
    if connect.daemon_version() < Release(10, 2, 0) {
        let error = reload().await.unwrap_err();
        assert!(error.is_unsupported() && error.to_string().contains("10.2.0"), "{error}");
        return;
    }
    reload().await.unwrap();
    // What is there now is none: who reads it cannot take it.
    std::fs::write(&certificate, "none").unwrap();
    let error = reload().await.unwrap_err();
    assert!(error.refusal().is_some() && error.to_string().contains("server-cert.pem"), "{error}");
    issue();
    reload().await.unwrap();
}

#[tokio::test]
async fn descriptors_travel_both_ways() {
    let Some((daemon, connect, guest)) = guest("descriptors_travel_both_ways").await else { return };
    // With the call.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    guest.open_graphics(0, theirs.into(), DomainOpenGraphicsFlags::SKIPAUTH).await.unwrap();
    assert!(greeting(ours.into()).starts_with("RFB 003."));
    // With the reply.
    let socket = guest.open_graphics_fd(0, DomainOpenGraphicsFlags::SKIPAUTH).await.unwrap();
    assert!(greeting(socket).starts_with("RFB 003."));
    // Both.
    let (_reader, writer) = std::io::pipe().unwrap();
    let (value, files) = guest
        .monitor_command_with_files("getfd", Some(json!({ "fdname": "pipe" })), vec![writer.into()])
        .await
        .unwrap();
    assert_eq!((value, files.len()), (json!({}), 0));
    guest.monitor_command("closefd", Some(json!({ "fdname": "pipe" }))).await.unwrap();
    // Two calls whose descriptors only containers take: QEMU's driver refuses when it has read them.
    let file = || vec![OwnedFd::from(std::fs::File::open("/dev/null").unwrap())];
    let xml = definition(&daemon, "<source file='/none'/>").replace("guest", "other");
    let error = connect.create_domain_with_files(&xml, file(), Default::default()).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    let error = guest.start_with_files(file(), Default::default()).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    assert!(guest.open_namespace().await.is_err());
    // And everything behind them still works.
    assert!(!connect.hostname().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_disk_can_be_a_descriptor() {
    let Some((daemon, connect, old)) = guest("a_disk_can_be_a_descriptor").await else { return };
    old.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
    let path = disk(&daemon, "passed");
    let xml = definition(&daemon, &format!("<source file='{path}' fdgroup='system'/>"));
    let guest = connect.define_domain(&xml, Default::default()).await.unwrap();
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    guest.associate_files("system", vec![file.into()], DomainFdAssociateFlags::empty()).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let guest = guest.start(Default::default()).await.unwrap();
    let mut console = guest.open_console(None, DomainConsoleFlags::empty()).await.unwrap();
    awake(&mut console).await;
    guest.destroy(DomainDestroyFlags::DEFAULT).await.unwrap();
}

#[tokio::test]
async fn jobs_tell_how_far_they_are_and_end_when_told() {
    let Some((daemon, connect, guest)) = guest("jobs_tell_how_far_they_are_and_end_when_told").await else {
        return;
    };
    assert!(guest.job().await.unwrap().is_none());
    guest.abort_job().await.unwrap();
    // A copy so slow that it does not end by itself.
    let copy = daemon.path("copy").display().to_string();
    let xml = format!("<disk type='file'><source file='{copy}'/><driver type='raw'/></disk>");
    let slow = Params::new().with("bandwidth", 65_536_u64);
    let mut job = guest.block_copy("vda", &xml, &slow, DomainBlockCopyFlags::TRANSIENT_JOB).await.unwrap();
    let progress = job.progress().await.unwrap().unwrap();
    assert_eq!(
        (progress.kind, progress.bandwidth),
        (DomainBlockJobType::Copy, 1),
        "in whole MiB, rounded up"
    );
    let all = 4 * MIB as u64;
    // What is nothing but zeroes is there as soon as QEMU has looked at it, however slow the rest is.
    assert!(progress.current <= progress.end && progress.end <= all, "{progress:?}");
    job.abort(DomainBlockJobAbortFlags::empty()).await.unwrap();
    let error = job.wait().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Job(_)), "{error}");
    assert!(job.progress().await.unwrap().is_none());
    // One that may end, and takes over.
    std::fs::remove_file(&copy).unwrap();
    let mut job =
        guest.block_copy("vda", &xml, &Params::new(), DomainBlockCopyFlags::TRANSIENT_JOB).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Ready);
    let progress = job.progress().await.unwrap().unwrap();
    assert_eq!((progress.current, progress.end), (all, all));
    job.abort(DomainBlockJobAbortFlags::PIVOT).await.unwrap();
    assert_eq!(job.wait().await.unwrap(), BlockJobState::Completed);
    assert!(guest.xml(Default::default()).await.unwrap().contains(&copy));

    // A backup goes on in the background.
    let target = daemon.path("backup").display().to_string();
    let xml = format!(
        "<domainbackup><disks><disk name='vda' type='file'><target file='{target}'/><driver type='raw'/></disk></disks></domainbackup>"
    );
    let backup = guest.backup(&xml, None, DomainBackupBeginFlags::empty()).await.unwrap();
    let end = backup.wait().await.unwrap();
    assert_eq!(end.success, Some(true), "{end:?}");
    assert_eq!(end.disk_total, Some(all), "{end:?}");
    assert_eq!((end.disk_processed, end.disk_remaining), (end.disk_total, Some(0)), "{end:?}");
    let copied = std::fs::read(&target).unwrap();
    assert!(copied.starts_with(&ECHO) && copied.len() == 4 * MIB);

    // A save is one call; while it is under way another handle can look at it.
    let mut events = guest.subscribe(Kind::DomainLifecycle).await.unwrap();
    let file = daemon.path("saved").display().to_string();
    let save = guest.save(&file, None, DomainSaveRestoreFlags::empty()).await.unwrap();
    save.progress().await.unwrap();
    save.await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Item::Event(Event::DomainLifecycle(_))));
    connect.restore_domain(&file, None, DomainSaveRestoreFlags::empty()).await.unwrap();
    let guest = connect.domain_by_name("guest").await.unwrap();
    let mut console = guest.open_console(None, DomainConsoleFlags::empty()).await.unwrap();
    awake(&mut console).await;
}
