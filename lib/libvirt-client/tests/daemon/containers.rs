//! Containers of libvirt's LXC driver: descriptors into their first processes, and out of them their name spaces.

use crate::root::{Root, program};
use crate::support::present;
use libvirt_client::protocol::enums::{DomainProcessSignal, ErrorNumber};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::{
    DomainCreateFlags as C, DomainModificationImpact, DomainRebootFlags, DomainShutdownFlags,
};
use libvirt_client::protocol::procedure::Release;
use libvirt_client::protocol::remote;
use libvirt_client::protocol::xdr::IntoOwned;
use libvirt_client::{Connect, Domain, Item, Params, SchedulerParameters};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

const BUSYBOX: &str = "/bin/busybox";

/// Says what it has, then says what it is told, on the first descriptor that it was given: by a signal, or by a request for a run level,
/// whose ninth byte names the level.
const INIT: &str = "#!/bin/busybox sh\n\
    trap 'echo signalled >&3' USR1\n\
    trap 'echo TERM >&3' TERM\n\
    trap 'echo HUP >&3' HUP\n\
    /bin/busybox mkfifo /dev/initctl && exec 4<>/dev/initctl\n\
    (while level=$(/bin/busybox dd bs=1 skip=8 count=1 <&4 2>/dev/null); do\n\
    /bin/busybox dd bs=1 count=375 <&4 >/dev/null 2>&1; echo level $level >&3; done) &\n\
    echo begun as $$ >&3\n\
    while true; do /bin/busybox sleep 1 & wait $!; done\n";

/// A daemon of root's that has no driver but that of containers.
struct Containers(Root);

impl Containers {
    fn start(test: &str) -> Option<Self> {
        if !present(test, &[(BUSYBOX, "busybox-static"), ("/usr/bin/nsenter", "util-linux")]) {
            return None;
        }
        // The driver takes the second kind of control groups beside the first for something that it can mount in a container.
        let prepare = "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi";
        let root = Root::start_with(test, &["lxc"], prepare, |daemon| {
            for directory in ["bin", "dev", "proc", "sys", "tmp"] {
                std::fs::create_dir_all(daemon.path("root").join(directory)).unwrap();
            }
            std::fs::copy(BUSYBOX, daemon.path("root/bin/busybox")).unwrap();
            program(daemon, "root/bin/init", INIT);
        })?;
        Some(Self(root))
    }

    async fn open(&self) -> Connect {
        self.0.open("lxc").await
    }

    fn definition(&self, name: &str) -> String {
        format!(
            "<domain type='lxc'><name>{name}</name><memory unit='MiB'>64</memory>\
             <os><type>exe</type><init>/bin/init</init></os><devices>\
             <emulator>/usr/lib/libvirt/libvirt_lxc</emulator>\
             <filesystem type='mount'><source dir='{}'/><target dir='/'/></filesystem>\
             <console type='pty'/></devices></domain>",
            self.0.daemon.path("root").display()
        )
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        self.0.end();
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

/// A container whose first process was sent a signal, and what it was given to write to. The daemon's own program tells it once who that
/// process is, and a daemon that does not listen yet never knows: then another container is asked.
async fn signalled(connect: &Connect, xml: &str) -> (Domain, BufReader<std::io::PipeReader>) {
    for _ in 0..5 {
        let (mut reader, writer) = pipe();
        let domain = connect.create_domain_with_files(xml, writer, Default::default()).await.unwrap();
        assert_eq!(line(&mut reader), "begun as 1\n");
        for _ in 0..2000 {
            match domain.send_process_signal(1, DomainProcessSignal::Usr1).await {
                Ok(()) => return (domain, reader),
                Err(error) => assert!(error.to_string().contains("Init pid is not yet available"), "{error}"),
            }
        }
        end(&domain).await;
    }
    panic!("the daemon knows no container's first process");
}

#[tokio::test]
async fn a_container_gets_descriptors_and_gives_its_name_spaces() {
    let Some(containers) = Containers::start("a_container_gets_descriptors_and_gives_its_name_spaces") else {
        return;
    };
    let connect = containers.open().await;
    assert_eq!(connect.driver().await.unwrap(), "LXC");
    let (one, mut reader) = signalled(&connect, &containers.definition("one")).await;
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

/// Only a daemon of root's shares out processors, and only this driver still reads what another program has written.
#[tokio::test]
async fn a_container_has_its_share_and_may_come_from_elsewhere() {
    let Some(containers) = Containers::start("a_container_has_its_share_and_may_come_from_elsewhere") else {
        return;
    };
    let connect = containers.open().await;
    let (mut reader, writer) = pipe();
    let xml = containers.definition("one");
    let one = connect.create_domain_with_files(&xml, writer, Default::default()).await.unwrap();
    assert_eq!(line(&mut reader), "begun as 1\n");
    let share = SchedulerParameters { cpu_shares: Some(2048), ..Default::default() };
    one.set_scheduler(&share, DomainModificationImpact::LIVE).await.unwrap();
    assert_eq!(one.scheduler(DomainModificationImpact::LIVE).await.unwrap().cpu_shares, Some(2048));
    // The old call means what runs.
    let share = Params::from(&SchedulerParameters { cpu_shares: Some(512), ..Default::default() });
    let args = remote::DomainSetSchedulerParametersArgs {
        dom: one.wire().into_owned(),
        params: share.as_slice().into(),
    };
    connect.call::<remote::DomainSetSchedulerParameters>(&args).await.unwrap();
    assert_eq!(one.scheduler(DomainModificationImpact::LIVE).await.unwrap().cpu_shares, Some(512));
    end(&one).await;
    let config = "lxc.uts.name = elsewhere\nlxc.rootfs.path = /srv/elsewhere\nlxc.net.0.type = none\n";
    let xml = connect.domain_from_native("lxc-tools", config).await.unwrap();
    assert!(
        xml.contains("<name>elsewhere</name>") && xml.contains("<source dir='/srv/elsewhere'/>"),
        "{xml}"
    );
    connect.close().await.unwrap();
}

#[tokio::test]
async fn containers_start_and_end_as_flags_say() {
    let Some(containers) = Containers::start("containers_start_and_end_as_flags_say") else { return };
    let connect = containers.open().await;
    let xml = containers.definition("one");
    let strange = xml.replace("</domain>", "<strange/></domain>");
    let (_reader, writer) = pipe();
    let error = connect.create_domain_with_files(&strange, writer, C::START_VALIDATE).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::XmlInvalidSchema, "{error}");
    let (mut reader, writer) = pipe();
    let one = connect.create_domain_with_files(&xml, writer, C::START_VALIDATE).await.unwrap();
    assert_eq!(line(&mut reader), "begun as 1\n");
    end(&one).await;
    // They end with the connection that has started them.
    let kept = connect.define_domain(&containers.definition("two"), Default::default()).await.unwrap();
    for which in ["one", "two"] {
        let brief = containers.open().await;
        let (mut reader, writer) = pipe();
        if which == "one" {
            brief.create_domain_with_files(&xml, writer, C::START_AUTODESTROY).await.unwrap();
        } else {
            let two = brief.domain_by_name("two").await.unwrap();
            two.start_with_files(writer, C::START_AUTODESTROY).await.unwrap();
        }
        assert_eq!(line(&mut reader), "begun as 1\n");
        let mut events = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
        brief.close().await.unwrap();
        while connect.domain_by_name(which).await.is_ok_and(|container| container.id().is_some()) {
            let next = tokio::time::timeout(Duration::from_secs(30), events.next()).await.expect("its end");
            assert!(matches!(next.unwrap(), Item::Event(Event::DomainLifecycle(_))));
        }
    }
    // What is shared out at the next start. The call that tells it ends the daemon, when the container does not run.
    let share = SchedulerParameters { cpu_shares: Some(512), ..Default::default() };
    kept.set_scheduler(&share, DomainModificationImpact::CONFIG).await.unwrap();
    assert!(kept.xml(Default::default()).await.unwrap().contains("<shares>512</shares>"));
    kept.undefine(Default::default()).await.unwrap();
    connect.close().await.unwrap();
}

#[tokio::test]
async fn a_container_is_told_to_end_and_to_begin_again() {
    let Some(containers) = Containers::start("a_container_is_told_to_end_and_to_begin_again") else { return };
    let connect = containers.open().await;
    if connect.daemon_version() >= Release(11, 0, 0) {
        println!(
            "not run: a_container_is_told_to_end_and_to_begin_again: its first process hears nothing with libvirtd 11.3.0, and is gone"
        );
        return;
    }
    let (mut reader, writer) = pipe();
    let xml = containers.definition("one");
    let one = connect.create_domain_with_files(&xml, writer, Default::default()).await.unwrap();
    assert_eq!(line(&mut reader), "begun as 1\n");
    // The daemon hears from its own program who the first process is, in its own time. That of 9.0.0 can miss it, and never knows then.
    let mut asked = 0;
    while let Err(error) = one.shutdown(DomainShutdownFlags::SIGNAL).await {
        assert!(error.to_string().contains("Init process ID is not yet known"), "{error}");
        asked += 1;
        if asked == 5_000 {
            println!(
                "not run: a_container_is_told_to_end_and_to_begin_again: this daemon has not heard of the container's first process"
            );
            one.destroy(Default::default()).await.unwrap();
            return;
        }
    }
    assert_eq!(line(&mut reader), "TERM\n");
    one.reboot(DomainRebootFlags::SIGNAL).await.unwrap();
    assert_eq!(line(&mut reader), "HUP\n");
    one.shutdown(DomainShutdownFlags::INITCTL).await.unwrap();
    assert_eq!(line(&mut reader), "level 0\n");
    one.reboot(DomainRebootFlags::INITCTL).await.unwrap();
    assert_eq!(line(&mut reader), "level 6\n");
    end(&one).await;
    connect.close().await.unwrap();
}
