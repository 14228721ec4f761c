//! Bad input and faults, on the real QEMU. Most guests here never execute an instruction: they are started halted.

use crate::place::{Place, console_says, guest_is_up, observed, patiently, removed, started};
use futures::StreamExt;
use hv_core::Name;
use hv_core::instance::{
    Attachment, BootSpec, CloudInitSpec, DiskSpec, InstanceKind, InterfaceSpec, MIB, Protocol, PublishedPort,
};
use hv_driver::{
    Assignment, Capability, Driver, DriverErrorKind, End, Guest, Permanence, Responsive, StartMode,
};
use hv_driver_qemu::{Config, QemuDriver};
use hv_runtime::tasks::Tasks;
use sha2::{Digest, Sha256};
use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::MetadataExt,
    path::Path,
};
use tokio::io::AsyncWriteExt;

fn name(text: &str) -> Name {
    Name::parse("name", text).unwrap()
}

fn publishing(mut assignment: Assignment, host_port: u16, guest_port: u16) -> Assignment {
    let port = PublishedPort {
        protocol: Protocol::Tcp,
        host_address: Ipv4Addr::LOCALHOST.into(),
        host_port,
        guest_port,
    };
    let attachment = Attachment::User { publish: vec![port] };
    assignment.spec.interfaces = vec![InterfaceSpec { name: name("net"), mac: None, attachment }];
    assignment
}

/// A port that nobody listened on a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn checksum(path: &Path) -> Vec<u8> {
    Sha256::digest(fs::read(path).unwrap()).to_vec()
}

pub(crate) fn signal(pid: &str, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// One guest, booted once, for all that needs a running one.
#[tokio::test]
async fn a_guest_from_boot_to_power_off() {
    let Some(place) = Place::with_demo("a_guest_from_boot_to_power_off") else { return };
    let image = place.directory.path().join("image.qcow2");
    fs::copy(place.demo.join("demo.qcow2"), &image).unwrap();
    let before = checksum(&image);
    let port = free_port();
    let mut guest = publishing(place.demo(), port, 80);
    guest.name = "from-the-seed".into();
    guest.spec.image = Some(image.clone());
    guest.spec.disks = vec![DiskSpec { name: name("a-name-that-is-longer-than-an-id"), size_bytes: MIB }];
    guest.spec.cloud_init = Some(CloudInitSpec {
        user_data: String::new(),
        meta_data: String::new(),
        network_config: String::new(),
    });
    let driver = place.driver();
    started(&driver, &guest).await;
    let seen = driver.observe(guest.handle).await.unwrap();
    assert_eq!((&seen.guest, &seen.responsive), (&Guest::Running, &Responsive::Yes));
    assert_eq!(seen.published_ports[0].host_port, port);
    for key in ["pid", "accelerator", "accelerator_reason", "machine", "qemu_version"] {
        assert!(seen.details.contains_key(key), "{key}: {:?}", seen.details);
    }
    let up = console_says(&driver, &guest, "name=from-the-seed").await;
    assert!(up.contains("hypervisor-demo: up boot=1"), "{up}");

    console_says(&driver, &guest, "login: ").await;
    // Two consoles at once: both read, both write.
    let mut first = driver.console(guest.handle, 0).await.unwrap();
    let second = driver.console(guest.handle, 0).await.unwrap();
    let mut input = second.input;
    input.write_all(b"demo\n").await.unwrap();
    input.flush().await.unwrap();
    read_until(&mut first, "Password: ").await;
    first.input.write_all(b"demo\n").await.unwrap();
    first.input.flush().await.unwrap();
    console_says(&driver, &guest, "$ ").await;

    // A QEMU that is stopped: its own guest is silent, others are not held up, and it comes back by itself.
    let other = place.demo();
    driver.prepare(&other).await.unwrap();
    let pid = &seen.details["pid"];
    signal(pid, rustix::process::Signal::STOP);
    let silent = observed(&driver, &guest, "silence", |seen| seen.responsive != Responsive::Yes).await;
    assert_eq!(silent.guest, Guest::Running);
    assert!(matches!(&silent.responsive, Responsive::No(why) if why.contains("stopped")), "{silent:?}");
    driver.start(&other, StartMode::Paused).await.unwrap();
    removed(&driver, &other).await;
    // A driver that comes up meanwhile holds it as well, and hears when it answers.
    drop(driver);
    let driver = place.driver();
    let silent = driver.observe(guest.handle).await.unwrap();
    assert!(matches!(&silent.responsive, Responsive::No(why) if why.contains("stopped")), "{silent:?}");
    assert_eq!(silent.started_at, seen.started_at);
    driver.start(&guest, StartMode::Running).await.unwrap();
    signal(pid, rustix::process::Signal::CONT);
    let back = observed(&driver, &guest, "an answer", |seen| seen.responsive == Responsive::Yes).await;
    assert_eq!((back.guest, back.started_at), (Guest::Running, seen.started_at));
    assert_eq!(&back.details["pid"], pid);

    let stats = driver.stats(guest.handle).await.unwrap();
    let disks: Vec<_> = stats.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(disks, ["root", "a-name-that-is-longer-than-an-id"]);
    assert!(stats.disks[0].read_bytes > 0 && stats.disks[0].write_bytes > 0, "{stats:?}");

    let mut console = driver.console(guest.handle, 1 << 20).await.unwrap();
    driver.power_down(guest.handle).await.unwrap();
    observed(&driver, &guest, "the power off", |seen| seen.guest == Guest::Ended(End::PoweredOff)).await;
    let mut all = Vec::new();
    patiently("the console's end", async {
        while let Some(chunk) = console.output.next().await {
            all.extend_from_slice(&chunk.unwrap());
        }
    })
    .await;
    let all = String::from_utf8_lossy(&all);
    assert!(all.contains("hypervisor-demo: up boot=1") && all.contains("power button"), "{all}");
    // A driver that was not there learns of it too.
    drop(driver);
    let driver = place.driver();
    let seen = driver.observe(guest.handle).await.unwrap();
    assert_eq!(seen.guest, Guest::Ended(End::PoweredOff));
    removed(&driver, &guest).await;
    assert!(checksum(&image) == before, "the user's image is never written");
    place.assert_nothing_left();
}

/// Shuts down QEMU's end of the connection to its monitor, as a fault of either side would.
fn cut_monitor(pid: &str) {
    use rustix::{net, process};
    let pid = process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    let pidfd = process::pidfd_open(pid, process::PidfdFlags::empty()).unwrap();
    let mut cut = 0;
    for number in 3..256 {
        let Ok(fd) = process::pidfd_getfd(&pidfd, number, process::PidfdGetfdFlags::empty()) else {
            continue;
        };
        let is_monitor = net::getsockname(&fd).ok().and_then(|name| net::SocketAddrUnix::try_from(name).ok());
        let is_monitor = is_monitor
            .is_some_and(|name| name.path().is_some_and(|path| path.to_bytes().ends_with(b"/qmp.sock")));
        // The listening socket has the same name and no peer.
        if is_monitor && net::getpeername(&fd).is_ok() {
            net::shutdown(&fd, net::Shutdown::Both).unwrap();
            cut += 1;
        }
    }
    assert_eq!(cut, 1, "connections to the monitor");
}

#[tokio::test]
async fn a_monitor_connection_that_breaks_is_opened_again_while_the_guest_and_its_console_go_on() {
    let test = "a_monitor_connection_that_breaks_is_opened_again_while_the_guest_and_its_console_go_on";
    let Some(place) = Place::with_demo(test) else { return };
    let (driver, guest) = (place.driver(), place.demo());
    started(&driver, &guest).await;
    guest_is_up(&driver, &guest).await;
    let before = driver.observe(guest.handle).await.unwrap();
    let pid = &before.details["pid"];
    let mut console = driver.console(guest.handle, 0).await.unwrap();
    // Stopped, so that it does not listen again before the break was seen.
    signal(pid, rustix::process::Signal::STOP);
    cut_monitor(pid);
    let broken = observed(&driver, &guest, "the break", |seen| {
        matches!(&seen.responsive, Responsive::No(why) if why.contains("the monitor connection ended"))
    })
    .await;
    assert_eq!(broken.guest, Guest::Running);
    let error = driver.pause(guest.handle).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unresponsive, "{error}");
    signal(pid, rustix::process::Signal::CONT);
    let back = observed(&driver, &guest, "an answer", |seen| seen.responsive == Responsive::Yes).await;
    assert_eq!((&back.details["pid"], back.started_at), (pid, before.started_at));
    driver.pause(guest.handle).await.unwrap();
    driver.resume(guest.handle).await.unwrap();
    console.input.write_all(b"\n").await.unwrap();
    console.input.flush().await.unwrap();
    read_until(&mut console, "login: ").await;
    driver.power_down(guest.handle).await.unwrap();
    observed(&driver, &guest, "the power off", |seen| seen.guest == Guest::Ended(End::PoweredOff)).await;
    removed(&driver, &guest).await;
    place.assert_nothing_left();
}

async fn read_until(console: &mut hv_driver::Console, text: &str) {
    let mut read = String::new();
    patiently(text, async {
        while !read.contains(text) {
            let chunk = console.output.next().await.unwrap().unwrap();
            read.push_str(&String::from_utf8_lossy(&chunk));
        }
    })
    .await;
}

#[tokio::test]
async fn a_killed_process_is_told_with_its_end_until_kill() {
    let Some(place) = Place::with_demo("a_killed_process_is_told_with_its_end_until_kill") else { return };
    let (driver, guest) = (place.driver(), place.demo());
    driver.prepare(&guest).await.unwrap();
    driver.start(&guest, StartMode::Paused).await.unwrap();
    let pid = driver.observe(guest.handle).await.unwrap().details["pid"].clone();
    signal(&pid, rustix::process::Signal::KILL);
    let failed = |seen: &hv_driver::Observation| matches!(&seen.guest, Guest::Ended(End::Failed(why)) if why.contains("killed by signal 9"));
    observed(&driver, &guest, "the failure", failed).await;
    drop(driver);
    let driver = place.driver();
    assert!(failed(&driver.observe(guest.handle).await.unwrap()));
    assert!(driver.stats(guest.handle).await.is_err());
    driver.kill(guest.handle).await.unwrap();
    assert_eq!(driver.observe(guest.handle).await.unwrap().guest, Guest::Absent);

    // The same while no driver watches: the end is noticed all the same.
    driver.start(&guest, StartMode::Paused).await.unwrap();
    let pid = driver.observe(guest.handle).await.unwrap().details["pid"].clone();
    drop(driver);
    signal(&pid, rustix::process::Signal::KILL);
    let driver = place.driver();
    observed(&driver, &guest, "the failure", |seen| matches!(&seen.guest, Guest::Ended(End::Failed(_))))
        .await;
    // A start needs no kill before.
    driver.start(&guest, StartMode::Paused).await.unwrap();
    assert_eq!(driver.observe(guest.handle).await.unwrap().guest, Guest::Paused);
    // A lost record is found again by what the process shows.
    drop(driver);
    fs::remove_file(place.instance(&guest).join("run/record.json")).unwrap();
    let driver = place.driver();
    assert_eq!(driver.observe(guest.handle).await.unwrap().guest, Guest::Paused);
    removed(&driver, &guest).await;
    place.assert_nothing_left();
}

#[tokio::test]
async fn a_port_in_use_is_a_conflict_of_the_start_and_leaves_nothing() {
    let Some(place) = Place::with_demo("a_port_in_use_is_a_conflict_of_the_start_and_leaves_nothing") else {
        return;
    };
    let driver = place.driver();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let guest = publishing(place.demo(), port, 22);
    driver.admit(&guest).await.unwrap();
    driver.prepare(&guest).await.unwrap();
    let error = driver.start(&guest, StartMode::Paused).await.unwrap_err();
    assert_eq!((error.kind, error.permanence), (DriverErrorKind::Conflict, Permanence::Temporary));
    assert_eq!(error.message, format!("port {port} on 127.0.0.1 is in use"));
    assert_eq!(driver.observe(guest.handle).await.unwrap().guest, Guest::Absent);
    assert_eq!(place.processes(), Vec::<u32>::new());
    drop(taken);
    driver.start(&guest, StartMode::Paused).await.unwrap();
    removed(&driver, &guest).await;
}

#[tokio::test]
async fn a_qemu_that_ends_at_start_is_quoted() {
    let Some(place) = Place::with_demo("a_qemu_that_ends_at_start_is_quoted") else { return };
    let (driver, mut guest) = (place.driver(), place.demo());
    // More than any machine has: QEMU cannot reserve it.
    guest.spec.memory_bytes = 4 << 40;
    driver.prepare(&guest).await.unwrap();
    let error = driver.start(&guest, StartMode::Paused).await.unwrap_err();
    assert!(error.message.contains("cannot set up guest memory"), "{error:?}");
    assert_eq!(error.kind, DriverErrorKind::NoSpace);

    let kernel = place.directory.path().join("no-kernel");
    fs::write(&kernel, "not a kernel").unwrap();
    guest.spec.memory_bytes = 96 * MIB;
    guest.spec.boot.kernel = Some(kernel);
    let error = driver.start(&guest, StartMode::Paused).await.unwrap_err();
    assert!(error.message.contains("kernel"), "{error:?}");
    assert_eq!(driver.observe(guest.handle).await.unwrap().guest, Guest::Absent);
    removed(&driver, &guest).await;
    place.assert_nothing_left();
}

#[tokio::test]
async fn what_is_missing_is_named_before_anything_is_made() {
    let Some(place) = Place::with_demo("what_is_missing_is_named_before_anything_is_made") else { return };
    let driver = place.driver();
    let good = place.demo();
    let refused = async |change: &dyn Fn(&mut Assignment), kind, words: &[&str]| {
        let mut assignment = good.clone();
        change(&mut assignment);
        let error = driver.admit(&assignment).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(words.iter().all(|word| error.message.contains(word)), "{error:?}");
    };
    let interface = |attachment| vec![InterfaceSpec { name: name("net"), mac: None, attachment }];
    refused(
        &|a| a.spec.image = Some("/nowhere/x.qcow2".into()),
        DriverErrorKind::Missing,
        &["/nowhere/x.qcow2"],
    )
    .await;
    refused(
        &|a| a.spec.image = Some("/a\nb/x.qcow2".into()),
        DriverErrorKind::Invalid,
        &["control character", "rename"],
    )
    .await;
    refused(&|a| a.spec.image = Some("/tmp".into()), DriverErrorKind::Invalid, &["regular file"]).await;
    refused(
        &|a| a.spec.boot.kernel = Some("/nowhere/k".into()),
        DriverErrorKind::Missing,
        &["kernel", "/nowhere/k"],
    )
    .await;
    refused(&|a| a.spec.kind = InstanceKind::Container, DriverErrorKind::Unsupported, &["container"]).await;
    let tap =
        |a: &mut Assignment| a.spec.interfaces = interface(Attachment::Tap { interface: "hvnone0".into() });
    refused(&tap, DriverErrorKind::Missing, &["hvnone0", "ip tuntap add"]).await;
    let bridge =
        |a: &mut Assignment| a.spec.interfaces = interface(Attachment::Bridge { bridge: "hvnone1".into() });
    refused(&bridge, DriverErrorKind::Missing, &["hvnone1", "ip link add"]).await;
    let lo = |a: &mut Assignment| a.spec.interfaces = interface(Attachment::Bridge { bridge: "lo".into() });
    refused(&lo, DriverErrorKind::Missing, &["lo is no bridge"]).await;

    let mut smaller = good.clone();
    smaller.spec.root_disk_bytes = MIB;
    let error = driver.prepare(&smaller).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Invalid, "{error:?}");
    let mut seed = good.clone();
    seed.spec.cloud_init = Some(CloudInitSpec {
        user_data: "#cloud-config\na: [".into(),
        meta_data: String::new(),
        network_config: String::new(),
    });
    let error = driver.prepare(&seed).await.unwrap_err();
    assert!(error.message.contains("line"), "{error:?}");
    place.assert_nothing_left();
}

#[tokio::test]
async fn a_missing_qemu_is_unhealthy_and_names_its_package() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { binary: Some("/nowhere/qemu".into()), ..Config::new(directory.path()) };
    let driver = QemuDriver::new(config, Tasks::new()).unwrap();
    let status = driver.fingerprint().await;
    assert!(!status.healthy && status.message.contains("qemu-system-x86"), "{status:?}");
    assert!(status.capabilities.contains(&Capability::Console.as_str().to_owned()));
    let place = Place { directory, demo: "/nowhere".into() };
    let error = driver.admit(&place.demo()).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Missing);
    assert!(error.message.contains("qemu-system-x86"), "{error:?}");
}

#[tokio::test]
async fn a_healthy_driver_says_what_it_uses_and_why() {
    let Some(place) = Place::with_demo("a_healthy_driver_says_what_it_uses_and_why") else { return };
    let config = Config::new(place.state());
    let status = QemuDriver::new(config, Tasks::new()).unwrap().fingerprint().await;
    assert!(status.healthy, "{status:?}");
    println!("{:?}", status.attributes);
    assert!(status.attributes["machine"].starts_with("pc-q35-"), "{status:?}");
    let confinement = &status.attributes["confinement"];
    if rustix::process::geteuid().is_root() {
        assert!(confinement.starts_with("uid for each, 60706 to 61183"), "{confinement}");
    } else {
        assert_eq!(confinement, "landlock");
    }
    assert!(!status.attributes["accelerator_reason"].is_empty() && !status.version.is_empty());
}

#[tokio::test]
async fn disks_grow_at_the_next_start_and_are_never_made_twice() {
    let Some(place) = Place::with_demo("disks_grow_at_the_next_start_and_are_never_made_twice") else {
        return;
    };
    let (driver, mut guest) = (place.driver(), place.demo());
    guest.spec.disks = vec![DiskSpec { name: name("data"), size_bytes: MIB }];
    driver.prepare(&guest).await.unwrap();
    let file = |name: &str| place.instance(&guest).join(name);
    let size = |path: &Path| hv_storage::inspect(path).unwrap().virtual_size;
    let (root, data) = (file("root.qcow2"), file("disk-data.qcow2"));
    let inode = fs::metadata(&root).unwrap().ino();
    assert_eq!(size(&data), MIB);
    driver.start(&guest, StartMode::Paused).await.unwrap();
    let mut larger = guest.clone();
    larger.spec.root_disk_bytes = 100 * MIB;
    larger.spec.disks[0].size_bytes = 2 * MIB;
    driver.prepare(&larger).await.unwrap();
    assert_eq!(size(&data), MIB, "a disk in use is left alone");
    driver.kill(guest.handle).await.unwrap();
    driver.prepare(&larger).await.unwrap();
    assert_eq!((size(&root), size(&data)), (100 * MIB, 2 * MIB));
    assert_eq!(fs::metadata(&root).unwrap().ino(), inode);
    driver.start(&larger, StartMode::Paused).await.unwrap();
    let mut firmware = larger.clone();
    firmware.spec.boot.firmware = hv_core::instance::Firmware::Uefi;
    if Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd").exists() {
        driver.kill(guest.handle).await.unwrap();
        driver.prepare(&firmware).await.unwrap();
        driver.start(&firmware, StartMode::Running).await.unwrap();
    } else {
        println!("not run: disks_grow_at_the_next_start_and_are_never_made_twice: UEFI: package ovmf");
    }
    removed(&driver, &guest).await;
    place.assert_nothing_left();
}

#[tokio::test]
async fn a_bridge_gets_a_tap_that_ends_with_the_guest() {
    let test = "a_bridge_gets_a_tap_that_ends_with_the_guest";
    let Some(place) = Place::with_demo(test) else { return };
    let ip = |arguments: &[&str]| {
        let run = std::process::Command::new("ip").args(arguments).output();
        run.map_err(|error| error.to_string()).and_then(|run| {
            if run.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&run.stderr).into_owned()) }
        })
    };
    let number = std::process::id() % 100_000;
    let (bridge, tap) = (format!("hvb{number}"), format!("hvt{number}"));
    let made = ip(&["link", "add", &bridge, "type", "bridge"])
        .and_then(|()| ip(&["tuntap", "add", "dev", &tap, "mode", "tap"]));
    if let Err(why) = made {
        let _ = ip(&["link", "del", &bridge]);
        println!("not run: {test}: cannot make a bridge and a tap: {why}");
        return;
    }
    let (driver, mut guest) = (place.driver(), place.demo());
    let interface = |text, attachment| InterfaceSpec { name: name(text), mac: None, attachment };
    guest.spec.interfaces = vec![
        interface("one", Attachment::Bridge { bridge: bridge.clone() }),
        interface("two", Attachment::Tap { interface: tap.clone() }),
    ];
    let ports = || fs::read_dir(format!("/sys/class/net/{bridge}/brif")).unwrap().count();
    let outcome = async {
        driver.admit(&guest).await?;
        driver.prepare(&guest).await?;
        driver.start(&guest, StartMode::Paused).await?;
        let during = ports();
        driver.kill(guest.handle).await?;
        driver.delete(guest.handle).await?;
        Ok::<_, hv_driver::DriverError>((during, ports()))
    }
    .await;
    let kept = Path::new("/sys/class/net").join(&tap).exists();
    let _ = (ip(&["link", "del", &bridge]), ip(&["link", "del", &tap]));
    assert_eq!(outcome.unwrap(), (1, 0));
    assert!(kept, "a tap of the user's is left to them");
}

#[tokio::test]
async fn two_guests_boot_at_once() {
    let Some(place) = Place::with_demo("two_guests_boot_at_once") else { return };
    let driver = place.driver();
    let guests = [place.demo(), place.demo()];
    futures::future::join_all(guests.iter().map(|guest| started(&driver, guest))).await;
    futures::future::join_all(guests.iter().map(|guest| guest_is_up(&driver, guest))).await;
    futures::future::join_all(guests.iter().map(|guest| removed(&driver, guest))).await;
    place.assert_nothing_left();
}

#[tokio::test]
async fn a_disk_that_boots_nothing_is_told_by_a_warning_and_by_the_firmware() {
    let test = "a_disk_that_boots_nothing_is_told_by_a_warning_and_by_the_firmware";
    let Some(place) = Place::with_demo(test) else { return };
    let driver = place.driver();
    let image = place.directory.path().join("data.raw");
    let mut bytes = vec![0; 1 << 20];
    fs::write(&image, &bytes).unwrap();
    let mut assignment = place.demo();
    assignment.spec.image = Some(image.clone());
    assignment.spec.boot = BootSpec::default();
    driver.admit(&assignment).await.unwrap();
    driver.prepare(&assignment).await.unwrap();
    let seen = driver.observe(assignment.handle).await.unwrap();
    assert_eq!(seen.root_disk_bytes, 1 << 20);
    assert!(seen.details["boot_warning"].contains("data.raw has no boot sector"), "{:?}", seen.details);
    driver.start(&assignment, StartMode::Running).await.unwrap();
    console_says(&driver, &assignment, "No bootable device").await;
    assert!(driver.observe(assignment.handle).await.unwrap().details.contains_key("boot_warning"));
    driver.kill(assignment.handle).await.unwrap();
    driver.delete(assignment.handle).await.unwrap();

    // With a boot sector, or a kernel, there is nothing to warn of.
    let mut kernel = place.demo();
    kernel.spec.image = Some(image.clone());
    driver.prepare(&kernel).await.unwrap();
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&image, bytes).unwrap();
    let mut boots = assignment.clone();
    boots.handle.id = hv_core::InstanceId::new(hv_runtime::ids::uuid());
    driver.prepare(&boots).await.unwrap();
    for assignment in [&kernel, &boots] {
        let seen = driver.observe(assignment.handle).await.unwrap();
        assert!(!seen.details.contains_key("boot_warning"), "{:?}", seen.details);
        driver.delete(assignment.handle).await.unwrap();
    }
    place.assert_nothing_left();
}
