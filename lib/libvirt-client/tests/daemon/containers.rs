//! Containers of libvirt's LXC driver: descriptors into their first processes, and out of them their name spaces.

use crate::support::{Daemon, is_other, present, run};
use libvirt_client::protocol::enums::DomainProcessSignal;
use libvirt_client::{Connect, Domain};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command};
use std::time::Duration;

const DRIVER: &str = "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_lxc.so";
const BUSYBOX: &str = "/bin/busybox";

/// Says what it has, then says what it is told, on the first descriptor that it was given.
const INIT: &str = "#!/bin/busybox sh\n\
    trap 'echo signalled >&3' USR1\n\
    echo begun as $$ >&3\n\
    while true; do /bin/busybox sleep 1 & wait $!; done\n";

/// A daemon of root's that has no driver but that of containers, in name spaces of its own: it sees nothing of the host's own daemon, and
/// everything in it ends with it.
struct Containers {
    daemon: Daemon,
    process: Child,
}

impl Containers {
    fn start(test: &str) -> Option<Self> {
        let daemon = Daemon::prepare(test)?;
        let programs = [
            (DRIVER, "libvirt-daemon-driver-lxc"),
            (BUSYBOX, "busybox-static"),
            ("/usr/bin/nsenter", "util-linux"),
        ];
        if !present(test, &programs) {
            return None;
        }
        if is_other() {
            println!("not run: {test}: the other libvirt has no driver of containers");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            println!("not run: {test}: only root may have containers of libvirt's");
            return None;
        }
        let at = |name: &str| daemon.path(name);
        for directory in ["drivers", "run", "root/bin", "root/dev", "root/proc", "root/sys", "root/tmp"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        std::os::unix::fs::symlink(DRIVER, at("drivers/libvirt_driver_lxc.so")).unwrap();
        std::fs::copy(BUSYBOX, at("root/bin/busybox")).unwrap();
        std::fs::write(at("root/bin/init"), INIT).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(at("root/bin/init"), executable).unwrap();
        let config = format!("unix_sock_dir = \"{}\"\nauth_unix_rw = \"none\"\n", at("run").display());
        std::fs::write(at("libvirtd.conf"), config).unwrap();
        // It is ready when it says so.
        let ready = UnixDatagram::bind(at("ready")).unwrap();
        ready.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // The driver takes the second kind of control groups beside the first for something that it can mount in a container.
        let enter = "for at in /run /var/lib/libvirt /etc/libvirt /var/log/libvirt /var/cache/libvirt; do \
                     mkdir -p $at && mount -t tmpfs tmpfs $at || exit; done; mkdir /run/libvirt; \
                     if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified || exit; fi; \
                     exec /usr/sbin/libvirtd --timeout 600 --config \"$1\" --pid-file \"$2\"";
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            enter,
        ]);
        command.arg("sh").arg(at("libvirtd.conf")).arg(at("containers-pid"));
        command.current_dir("/").env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LIBVIRT_DRIVER_DIR", at("drivers")).env("NOTIFY_SOCKET", at("ready"));
        command.stderr(std::fs::File::create(at("stderr")).unwrap());
        let process = command.spawn().unwrap();
        let containers = Self { daemon, process };
        let mut said = [0; 64];
        let said = ready.recv(&mut said).map(|length| String::from_utf8_lossy(&said[..length]).into_owned());
        let errors = || std::fs::read_to_string(containers.daemon.path("stderr")).unwrap_or_default();
        assert!(said.as_ref().is_ok_and(|said| said.contains("READY=1")), "{said:?}: {}", errors());
        Some(containers)
    }

    async fn open(&self) -> Connect {
        let socket = self.daemon.path("run/libvirt-sock");
        let uri = format!("lxc+unix:///system?socket={}", socket.display());
        self.daemon.builder(&uri).open_with(run).await.unwrap()
    }

    fn definition(&self, name: &str) -> String {
        format!(
            "<domain type='lxc'><name>{name}</name><memory unit='MiB'>64</memory>\
             <os><type>exe</type><init>/bin/init</init></os><devices>\
             <emulator>/usr/lib/libvirt/libvirt_lxc</emulator>\
             <filesystem type='mount'><source dir='{}'/><target dir='/'/></filesystem>\
             <console type='pty'/></devices></domain>",
            self.daemon.path("root").display()
        )
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        // The first process of its name space: all the others end with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        // The driver's own place among the control groups, unless somebody else is there too.
        for group in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(group.path().join("machine"));
        }
    }
}

/// A pipe's end to be read line by line, and the other for a container.
fn pipe() -> (BufReader<std::io::PipeReader>, Vec<OwnedFd>) {
    let (reader, writer) = std::io::pipe().unwrap();
    (BufReader::new(reader), vec![writer.into()])
}

fn line(reader: &mut BufReader<std::io::PipeReader>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

async fn end(container: &Domain) {
    container.destroy(Default::default()).await.unwrap();
}

#[tokio::test]
async fn a_container_gets_descriptors_and_gives_its_name_spaces() {
    let Some(containers) = Containers::start("a_container_gets_descriptors_and_gives_its_name_spaces") else {
        return;
    };
    let connect = containers.open().await;
    assert_eq!(connect.driver().await.unwrap(), "LXC");
    // What its first process was given it writes to.
    let (mut reader, writer) = pipe();
    let xml = containers.definition("one");
    let one = connect.create_domain_with_files(&xml, writer, Default::default()).await.unwrap();
    assert_eq!(line(&mut reader), "begun as 1\n");
    one.send_process_signal(1, DomainProcessSignal::Usr1).await.unwrap();
    assert_eq!(line(&mut reader), "signalled\n");
    // One of the name spaces that come out is where the host has the container's name.
    let spaces = one.open_namespace().await.unwrap();
    let link = |space: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", space.as_raw_fd())).unwrap();
    let names: Vec<String> = spaces.iter().map(|space| link(space).display().to_string()).collect();
    let uts = names.iter().position(|name| name.starts_with("uts:")).unwrap_or_else(|| panic!("{names:?}"));
    let own = std::fs::read_link("/proc/self/ns/uts").unwrap().display().to_string();
    assert!(names.iter().any(|name| name.starts_with("net:")) && names[uts] != own, "{names:?}");
    let entered = format!("--uts=/proc/{}/fd/{}", std::process::id(), spaces[uts].as_raw_fd());
    let hostname = Command::new("nsenter").args([&entered, "hostname"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&hostname.stdout), "one\n");
    end(&one).await;
    // The same for one that is kept.
    let two = connect.define_domain(&containers.definition("two"), Default::default()).await.unwrap();
    let (mut reader, writer) = pipe();
    let two = two.start_with_files(writer, Default::default()).await.unwrap();
    assert_eq!(line(&mut reader), "begun as 1\n");
    end(&two).await;
    two.undefine(Default::default()).await.unwrap();
    connect.close().await.unwrap();
}
