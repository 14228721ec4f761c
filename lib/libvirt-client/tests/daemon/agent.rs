//! A Linux guest with QEMU's own agent in it, and a channel that answers: the demo guest's kernel and modules, with another first process.

use crate::old_events::OldClient;
use crate::support::{Daemon, present};
use libvirt_client::protocol::enums::{
    DomainInterfaceAddressesSource, DomainMemoryStatTags, DomainState, ErrorDomain, ErrorNumber,
    NodeSuspendTarget,
};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    DomainAuthorizedSshKeysSetFlags, DomainDeviceModifyFlags, DomainGuestInfoTypes, DomainMemoryModFlags,
    DomainRebootFlags, DomainSetTimeFlags, DomainSetUserPasswordFlags, DomainSnapshotCreateFlags,
    DomainVcpuFlags,
};
use libvirt_client::{Connect, Domain, Filter, GuestTime, Item, Piece};
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The first process. There is no udev: the ports of the channels are found by their names.
const INIT: &str = "#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
while read -r module; do insmod \"/lib/modules/$module\"; done </lib/modules/order
hostname agent.example
[ -b /dev/vda ] && mount -t ext4 /dev/vda /data
ip link set lo up
port() {
    while :; do
        for at in /sys/class/virtio-ports/*; do
            read -r name <\"$at/name\" && [ \"$name\" = \"$1\" ] && echo \"/dev/${at##*/}\" && return
        done
        sleep 0.1
    done
}
channel=$(port org.example.channel)
# A port that nobody holds on the host's side has an end.
(exec 3<>\"$channel\"; while :; do read -r line <&3 && echo \"heard $line\" >&3 || sleep 0.1; done) &
exec /agent/loader --library-path /agent /agent/qemu-ga -m virtio-serial -p \"$(port org.qemu.guest_agent.0)\" -t /run -f /run/agent.pid
";

/// Ends the guest, or begins it anew: as the kernel does it, for there is no `init` and not every tool.
const SHUTDOWN: &str =
    "#!/bin/sh\ncase \"$*\" in *-r*) echo b >/proc/sysrq-trigger;; *) exec /bin/poweroff -f;; esac\n";

const CHPASSWD: &str = "#!/bin/sh\necho \"with $@\" >/run/chpasswd\nexec cat >/run/passwords\n";

/// A file of an archive of the kernel's own form (`newc`, Documentation/driver-api/early-userspace/buffer-format.rst).
pub(crate) fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let size = u32::try_from(content.len()).unwrap();
    let length = u32::try_from(name.len() + 1).unwrap();
    let fields = [0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0];
    archive.extend_from_slice(b"070701");
    archive.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    for part in [[name.as_bytes(), &[0]].concat().as_slice(), content] {
        archive.extend_from_slice(part);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
}

/// The demo guest's kernel, and its files; or a line that says that they are not there.
pub(crate) fn demo(test: &str) -> Option<(PathBuf, PathBuf)> {
    let (kernel, files) = (target("demo/vmlinuz"), target("demo/initrd.img"));
    for file in [&kernel, &files] {
        if !file.exists() {
            println!("not run: {test}: {} is missing (cargo xtask demo-image)", file.display());
            return None;
        }
    }
    Some((kernel, files))
}

/// The demo guest's files with another first process. More may be added, and an entry `TRAILER!!!` ends it.
pub(crate) fn with_init(files: &Path, init: &str) -> Vec<u8> {
    let mut archive = std::fs::read(files).unwrap();
    archive.resize(archive.len().next_multiple_of(4), 0);
    entry(&mut archive, "init", 0o100_755, init.as_bytes());
    archive
}

/// The demo guest's files, with the agent and what it is linked with on top.
fn initrd(base: &Path, agent: &Path) -> Vec<u8> {
    let mut archive = with_init(base, INIT);
    // What the agent starts to end the guest, and to tell the time to its clock.
    entry(&mut archive, "sbin", 0o040_755, &[]);
    entry(&mut archive, "sbin/hwclock", 0o100_755, b"#!/bin/sh\necho \"$@\" >/run/clock\n");
    entry(&mut archive, "sbin/shutdown", 0o100_755, SHUTDOWN.as_bytes());
    // What it tells users and their passwords to; who asks for them gets them through the agent.
    entry(&mut archive, "bin/chpasswd", 0o100_755, CHPASSWD.as_bytes());
    entry(&mut archive, "agent", 0o040_755, &[]);
    entry(&mut archive, "agent/qemu-ga", 0o100_755, &std::fs::read(agent).unwrap());
    let linked = Command::new("ldd").arg(agent).output().unwrap();
    for line in String::from_utf8(linked.stdout).unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [name, "=>", path, _] => {
                entry(&mut archive, &format!("agent/{name}"), 0o100_755, &std::fs::read(path).unwrap());
            }
            [path, _] if path.starts_with('/') => {
                entry(&mut archive, "agent/loader", 0o100_755, &std::fs::read(path).unwrap());
            }
            _ => {}
        }
    }
    entry(&mut archive, "TRAILER!!!", 0, &[]);
    archive
}

fn target(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(path)
}

/// The guest, whose agent has connected; or a line that says why there is none.
async fn guest(test: &str) -> Option<(Daemon, Connect, Domain)> {
    guest_with(test, |_, xml| xml).await
}

/// The same, with a definition that was changed.
pub(crate) async fn guest_with(
    test: &str,
    change: impl FnOnce(&Daemon, String) -> String,
) -> Option<(Daemon, Connect, Domain)> {
    let (kernel, base) = demo(test)?;
    let agent = target("unpacked/qemu-guest-agent/usr/sbin/qemu-ga");
    if !agent.exists() {
        println!("not run: {test}: {} is missing (cargo xtask test)", agent.display());
        return None;
    }
    let daemon = Daemon::start(test)?;
    if !present(test, &[("/usr/bin/qemu-system-x86_64", "qemu-system-x86")]) {
        return None;
    }
    for (name, content) in [("vmlinuz", std::fs::read(&kernel).unwrap()), ("initrd", initrd(&base, &agent))] {
        std::fs::write(daemon.path(name), content).unwrap();
        daemon.own(&daemon.path(name));
    }
    let connect = daemon.open("qemu:///session").await;
    let xml = format!(
        "<domain type='qemu'><name>guest</name><memory unit='MiB'>192</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{}</kernel><initrd>{}</initrd>\
         <cmdline>console=ttyS0 quiet panic=-1</cmdline></os><features><acpi/></features>\
         <pm><suspend-to-mem enabled='yes'/></pm><devices>\
         <emulator>/usr/bin/qemu-system-x86_64</emulator><serial type='file'><source path='{}'/></serial>\
         <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\
         <channel type='unix'><target type='virtio' name='org.example.channel'/></channel>\
         <memballoon model='virtio'/></devices></domain>",
        daemon.path("vmlinuz").display(),
        daemon.path("initrd").display(),
        daemon.path("console").display()
    );
    let domain = connect.define_domain(&change(&daemon, xml), Default::default()).await.unwrap();
    let mut events =
        connect.subscribe_to([Filter::domain(Kind::DomainAgentLifecycle, &domain)]).await.unwrap();
    let domain = domain.start(Default::default()).await.unwrap();
    let connected = async {
        // First that it is not there.
        while !domain
            .xml(Default::default())
            .await
            .unwrap()
            .contains("org.qemu.guest_agent.0' state='connected'")
        {
            assert!(matches!(events.next().await.unwrap(), Item::Event(Event::DomainAgentLifecycle(_))));
        }
    };
    if tokio::time::timeout(Duration::from_secs(120), connected).await.is_err() {
        panic!("no agent: {}", String::from_utf8_lossy(&std::fs::read(daemon.path("console")).unwrap()));
    }
    Some((daemon, connect, domain))
}

/// A disk with a file system, all of whose blocks the host has.
fn with_files(daemon: &Daemon, xml: String) -> String {
    let path = daemon.path("files");
    std::fs::write(&path, vec![0xff; 16 << 20]).unwrap();
    let made = Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-E", "nodiscard"]).arg(&path).status();
    assert!(made.unwrap().success());
    daemon.own(&path);
    let disk = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='raw' discard='unmap'/><source file='{}'/>\
         <target dev='vda' bus='virtio'/></disk><memballoon",
        path.display()
    );
    xml.replace("<memballoon", &disk)
}

#[tokio::test]
async fn a_guests_agent_is_asked_and_a_channel_answers() {
    let test = "a_guests_agent_is_asked_and_a_channel_answers";
    if !present(test, &[("/usr/sbin/mke2fs", "e2fsprogs")]) {
        return;
    }
    let Some((daemon, _connect, guest)) = guest_with(test, with_files).await else { return };
    guest.set_agent_timeout(30).await.unwrap();
    assert_eq!(guest.agent_command("guest-ping", None, 30).await.unwrap(), json!({}));
    // The daemon turns the agent's errors into its own, with the agent's words.
    let error = guest.agent_command("guest-no-such-thing", None, 30).await.unwrap_err();
    let refusal = error.refusal().unwrap();
    let codes = [ErrorNumber::InternalError, ErrorNumber::AgentCommandFailed];
    assert!(refusal.domain == ErrorDomain::Qemu && codes.contains(&refusal.code), "{refusal:?}");
    assert!(refusal.message.contains("guest-no-such-thing has not been found"), "{error}");
    let arguments = json!({"path": "/there/is/nothing"});
    let error = guest.agent_command("guest-file-open", Some(arguments), 30).await.unwrap_err();
    assert!(error.to_string().contains("/there/is/nothing"), "{error}");

    assert_eq!(
        guest.hostname(libvirt_client::protocol::flags::DomainGetHostnameFlags::AGENT).await.unwrap(),
        "agent.example"
    );
    let info = guest.guest_info(DomainGuestInfoTypes::HOSTNAME | DomainGuestInfoTypes::OS).await.unwrap();
    assert_eq!(info.text("hostname").as_deref(), Some("agent.example"));
    let then = GuestTime { seconds: 1_000_000_000, nanoseconds: 0 };
    guest.set_time(then, Default::default()).await.unwrap();
    let now = guest.time().await.unwrap();
    assert!((then.seconds..then.seconds + 3600).contains(&now.seconds), "{now:?}");
    let interfaces = guest.interface_addresses(DomainInterfaceAddressesSource::Agent).await.unwrap();
    let loopback = interfaces.iter().find(|interface| interface.name == "lo").unwrap();
    assert!(loopback.addresses.iter().any(|address| address.address == "127.0.0.1"), "{interfaces:?}");
    let systems = guest.file_systems().await.unwrap();
    let [system] = &systems[..] else { panic!("{systems:?}") };
    assert_eq!((system.mount_point.as_str(), system.kind.as_str()), ("/data", "ext4"));
    let status = async || guest.agent_command("guest-fsfreeze-status", None, 30).await.unwrap();
    assert_eq!(guest.freeze_file_systems(&[]).await.unwrap(), 1);
    assert_eq!(status().await, "frozen");
    assert_eq!(guest.thaw_file_systems(&[]).await.unwrap(), 1);
    assert_eq!(status().await, "thawed");
    // What it does not need the host gets back.
    let blocks = || std::fs::metadata(daemon.path("files")).unwrap().blocks();
    let before = blocks();
    guest.trim_file_systems(None, 0).await.unwrap();
    assert!(blocks() < before / 2, "{} of {before}", blocks());
    guest.set_ssh_keys("root", &["ssh-ed25519 AAAA one"], Default::default()).await.unwrap();
    assert_eq!(guest.ssh_keys("root").await.unwrap(), ["ssh-ed25519 AAAA one"]);

    guest.set_user_password("root", "geheim", Default::default()).await.unwrap();
    // "root:geheim" and the end of the line, in base64.
    assert_eq!(content(&guest, "/run/passwords").await, "cm9vdDpnZWhlaW0K");

    let mut channel = guest.open_channel(Some("org.example.channel"), Default::default()).await.unwrap();
    channel.send(b"hello\n").await.unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"heard hello\n") {
        let piece = tokio::time::timeout(Duration::from_secs(60), channel.receive()).await;
        let Some(Piece::Data(data)) = piece.unwrap().unwrap() else { panic!("the channel has ended") };
        heard.extend(data);
    }
}

#[tokio::test]
async fn a_guest_is_put_to_sleep_and_woken() {
    let Some((_daemon, connect, guest)) = guest("a_guest_is_put_to_sleep_and_woken").await else { return };
    let kinds = [Kind::DomainPmsuspend, Kind::DomainPmwakeup];
    let filters = kinds.map(|kind| Filter::domain(kind, &guest));
    let mut events = connect.subscribe_to(filters).await.unwrap();
    guest.sleep(NodeSuspendTarget::Mem, 0).await.unwrap();
    let slept = tokio::time::timeout(Duration::from_secs(60), events.next()).await.unwrap().unwrap();
    assert!(matches!(slept, Item::Event(Event::DomainPmsuspend(_))), "{slept:?}");
    assert_eq!(guest.state().await.unwrap().state, DomainState::Pmsuspended);
    guest.wake().await.unwrap();
    let woken = tokio::time::timeout(Duration::from_secs(60), events.next()).await.unwrap().unwrap();
    assert!(matches!(woken, Item::Event(Event::DomainPmwakeup(_))), "{woken:?}");
    // The same system goes on: its agent answers, when its port is there again.
    let answer = async {
        loop {
            match guest.agent_command("guest-ping", None, 60).await {
                Err(error)
                    if error.refusal().is_some_and(|said| said.code == ErrorNumber::AgentUnresponsive) => {}
                answer => break answer,
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(120), answer).await.expect("an agent");
    assert_eq!(answer.unwrap(), json!({}));
}

#[tokio::test]
async fn a_guest_gives_memory_back_and_powers_off() {
    let Some((daemon, connect, guest)) = guest("a_guest_gives_memory_back_and_powers_off").await else {
        return;
    };
    let kinds = [Kind::DomainBalloonChange, Kind::DomainLifecycle];
    let filters = kinds.map(|kind| Filter::domain(kind, &guest));
    let mut events = connect.subscribe_to(filters).await.unwrap();
    let mut old = OldClient::new(daemon.open("qemu:///session").await).await;
    guest.set_memory_stats_period(1, DomainMemoryModFlags::LIVE).await.unwrap();
    assert!(guest.xml(Default::default()).await.unwrap().contains("<stats period='1'/>"));
    guest.set_memory(160 * 1024, DomainMemoryModFlags::LIVE).await.unwrap();
    loop {
        match tokio::time::timeout(Duration::from_secs(60), events.next()).await.unwrap().unwrap() {
            Item::Event(Event::DomainBalloonChange(change)) if change.actual == 160 * 1024 => break,
            Item::Event(Event::DomainBalloonChange(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    old.sees(Kind::DomainBalloonChange).await;
    assert_eq!(guest.info().await.unwrap().memory_kib, 160 * 1024);
    let stats = guest.memory_stats().await.unwrap();
    assert!(stats.contains(&(DomainMemoryStatTags::ActualBalloon, 160 * 1024)), "{stats:?}");
    guest.shutdown(libvirt_client::protocol::flags::DomainShutdownFlags::GUEST_AGENT).await.unwrap();
    while guest.is_active().await.unwrap() {
        let ended = tokio::time::timeout(Duration::from_secs(60), events.next()).await;
        assert!(matches!(ended.unwrap().unwrap(), Item::Event(_)));
    }
}

/// What a file of the guest's holds, in base64.
async fn content(guest: &Domain, path: &str) -> String {
    let file = guest.agent_command("guest-file-open", Some(json!({"path": path})), 30).await.unwrap();
    let content = guest.agent_command("guest-file-read", Some(json!({"handle": file})), 30).await.unwrap();
    content["buf-b64"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_guests_agent_does_what_flags_say() {
    let test = "a_guests_agent_does_what_flags_say";
    let two = |_: &Daemon, xml: String| xml.replace("<vcpu>1</vcpu>", "<vcpu>2</vcpu>");
    let Some((daemon, connect, guest)) = guest_with(test, two).await else { return };
    guest.set_agent_timeout(60).await.unwrap();
    // Processors that the guest itself lets rest.
    assert_eq!(guest.vcpu_count(DomainVcpuFlags::GUEST).await.unwrap(), 2);
    let online = async || guest.guest_vcpus().await.unwrap().text("online");
    assert_eq!(online().await.as_deref(), Some("0-1"));
    guest.set_guest_vcpus("1", 0).await.unwrap();
    assert_eq!(online().await.as_deref(), Some("0"));
    guest.set_guest_vcpus("1", 1).await.unwrap();
    assert_eq!(online().await.as_deref(), Some("0-1"));
    guest.set_vcpu_count(1, DomainVcpuFlags::GUEST).await.unwrap();
    assert_eq!(guest.vcpu_count(DomainVcpuFlags::GUEST).await.unwrap(), 1);
    assert_eq!(guest.vcpu_count(DomainVcpuFlags::LIVE).await.unwrap(), 2, "it still has both");
    // Its clock is set to what its hardware says: `-s` and the end of the line.
    guest.set_time(GuestTime { seconds: 0, nanoseconds: 0 }, DomainSetTimeFlags::TIME_SYNC).await.unwrap();
    assert_eq!(content(&guest, "/run/clock").await, "LXMK");
    // A password that is encrypted already: `with -e`.
    guest
        .set_user_password("root", "$6$geheim", DomainSetUserPasswordFlags::PASSWORD_ENCRYPTED)
        .await
        .unwrap();
    let told = (content(&guest, "/run/chpasswd").await, content(&guest, "/run/passwords").await);
    assert_eq!(told, ("d2l0aCAtZQo=".to_owned(), "cm9vdDokNiRnZWhlaW0K".to_owned()));
    use DomainAuthorizedSshKeysSetFlags as Keys;
    guest.set_ssh_keys("root", &["ssh-ed25519 AAAA one"], Keys::empty()).await.unwrap();
    guest.set_ssh_keys("root", &["ssh-ed25519 BBBB two"], Keys::APPEND).await.unwrap();
    let mut both = guest.ssh_keys("root").await.unwrap();
    both.sort();
    assert_eq!(both, ["ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"]);
    guest.set_ssh_keys("root", &["ssh-ed25519 AAAA one"], Keys::REMOVE).await.unwrap();
    assert_eq!(guest.ssh_keys("root").await.unwrap(), ["ssh-ed25519 BBBB two"]);
    // The agent holds its file systems still while pictures are taken, and is heard again after it.
    let mut make = daemon.unprivileged();
    make.args(["qemu-img", "create", "-q", "-f", "qcow2"]).arg(daemon.path("disk")).arg("4M");
    assert!(make.status().unwrap().success());
    let disk = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>\
         <target dev='vda' bus='virtio'/></disk>",
        daemon.path("disk").display()
    );
    guest.attach_device(&disk, DomainDeviceModifyFlags::LIVE).await.unwrap();
    let picture = format!(
        "<domainsnapshot><disks><disk name='vda'><source file='{}'/></disk></disks></domainsnapshot>",
        daemon.path("picture").display()
    );
    let flags = DomainSnapshotCreateFlags::DISK_ONLY | DomainSnapshotCreateFlags::QUIESCE;
    guest.create_snapshot(&picture, flags).await.unwrap();
    assert!(daemon.path("picture").exists());
    let thawed = guest.agent_command("guest-fsfreeze-status", None, 60).await.unwrap();
    assert_eq!(thawed, "thawed");
    // It begins anew.
    let kinds = [Kind::DomainAgentLifecycle, Kind::DomainReboot];
    let mut events = connect.subscribe_to(kinds.map(|kind| Filter::domain(kind, &guest))).await.unwrap();
    guest.reboot(DomainRebootFlags::GUEST_AGENT).await.unwrap();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(120), events.next()).await.expect("a reboot");
        if matches!(next.unwrap(), Item::Event(Event::DomainReboot(_))) {
            break;
        }
    }
}
