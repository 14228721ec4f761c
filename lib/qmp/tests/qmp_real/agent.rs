//! The agent in a Linux guest of a real QEMU: what must not be tried on a developer's own machine.
use crate::{
    agent_guest::initrd,
    support::{Connected, LONG, Qemu},
};
use qmp::{
    Filter,
    agent::{
        self, Agent, AgentError, End, Options, Patience, Program,
        commands::{
            Command as _, FreezeStatus, FsfreezeFreeze, FsfreezeStatus, GetHostName, GetOsinfo, GetTime,
            Ping, SetTime, Shutdown, ShutdownMode,
        },
    },
    commands::Cont,
};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinSet;

/// Booting under TCG takes seconds, on a busy machine many.
const BOOT: Duration = Duration::from_secs(180);

fn target(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(path)
}

struct Guest {
    qemu: Qemu,
    monitor: Connected,
    agent: Agent,
    _driver: JoinSet<Arc<qmp::CloseReason>>,
    _files: tempfile::TempDir,
}

/// The guest, whose agent has answered; or a line that says why there is none.
async fn guest(test: &str, patience: Patience) -> Option<Guest> {
    let (kernel, base) = (target("demo/vmlinuz"), target("demo/initrd.img"));
    let program = target("unpacked/qemu-guest-agent/usr/sbin/qemu-ga");
    for (file, command) in [(&kernel, "demo-image"), (&base, "demo-image"), (&program, "test")] {
        if !file.exists() {
            println!("not run: {test}: {} is missing (cargo xtask {command})", file.display());
            return None;
        }
    }
    let files = tempfile::tempdir().unwrap();
    let at = |name: &str| files.path().join(name);
    std::fs::write(at("initrd"), initrd(&base, &program)).unwrap();
    std::fs::File::create(at("disk")).unwrap().set_len(32 << 20).unwrap();
    let made = Command::new("mke2fs").args(["-q", "-t", "ext4"]).arg(at("disk")).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("not run: {test}: mke2fs (Debian package e2fsprogs)");
        return None;
    }
    let channel = tokio::net::UnixListener::bind(at("channel")).unwrap();
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    let kernel = kernel.to_str().unwrap().to_owned();
    let disk = format!("if=none,id=disk,format=raw,file={}", text("disk"));
    let socket = format!("socket,id=agent,path={}", text("channel"));
    let console = format!("file:{}", text("console"));
    let initrd = text("initrd");
    #[rustfmt::skip]
    let arguments = [
        "-m", "192", "-kernel", &kernel, "-initrd", &initrd, "-append", "console=ttyS0 quiet panic=-1",
        "-serial", &console, "-drive", &disk, "-device", "virtio-blk-pci,drive=disk", "-chardev", &socket,
        "-device", "virtio-serial-pci", "-device", "virtserialport,id=port,chardev=agent,name=org.qemu.guest_agent.0",
    ];
    let (qemu, monitor) = Qemu::with_client(test, &arguments).await?;
    let (stream, _) = channel.accept().await.unwrap();
    let (agent, driver) = agent::agent(stream, Options { patience, ..Options::default() });
    let mut tasks = JoinSet::new();
    tasks.spawn(driver);

    // Ports without an id raise no event. The guest stands still: nobody answers, and nothing is left lying in the channel for an agent of later.
    let absent = agent.call(&Shutdown { mode: None }).await.unwrap_err();
    assert!(matches!(absent, AgentError::Absent { .. }), "{absent}");
    let mut ports = monitor.client.subscribe(Filter::names(["VSERPORT_CHANGE"]), 16);
    monitor.client.call(&Cont {}).await.unwrap();
    let opened = tokio::time::timeout(BOOT, ports.next()).await;
    if opened.is_err() {
        panic!("no agent: {}", String::from_utf8_lossy(&std::fs::read(at("console")).unwrap()));
    }
    let present = async {
        while let Err(error) = agent.call(&Ping {}).await {
            assert!(matches!(error, AgentError::Absent { .. }), "{error}");
        }
    };
    tokio::time::timeout(BOOT, present).await.unwrap();
    Some(Guest { qemu, monitor, agent, _driver: tasks, _files: files })
}

impl Guest {
    /// What the guest's writer has written last.
    async fn counter(&self) -> u64 {
        loop {
            let mut content = Vec::new();
            self.agent.download("/data/counter", &mut content).await.unwrap();
            // The file is empty for a moment each time.
            if let Ok(count) = String::from_utf8(content).unwrap().trim().parse() {
                return count;
            }
        }
    }

    /// How often the agent has the file of [`Guest::counter`] open.
    async fn open_counters(&self) -> usize {
        let list = Program::new("/bin/sh").args(["-c", "ls -l /proc/$PPID/fd"]);
        let list = String::from_utf8(self.agent.exec(&list).await.unwrap().stdout).unwrap();
        assert!(list.contains("/dev/"), "the agent's channel: {list}");
        list.matches("/data/counter").count()
    }

    async fn frozen(&self) -> bool {
        self.agent.call(&FsfreezeStatus {}).await.unwrap() == FreezeStatus::Frozen
    }
}

#[tokio::test]
async fn file_systems_freeze_and_always_thaw_and_the_guest_powers_off() {
    let test = "file_systems_freeze_and_always_thaw_and_the_guest_powers_off";
    let patience = Patience { agent: Duration::from_secs(2), ..Patience::default() };
    let Some(guest) = guest(test, patience).await else { return };
    let agent = &guest.agent;
    assert_eq!(agent.call(&GetHostName {}).await.unwrap().host_name, "agent.example");
    assert!(agent.call(&GetOsinfo {}).await.unwrap().kernel_release.is_some());

    // Thawed by hand. Meanwhile nothing that could hang is sent, and the guest's own writer stands. A file that is done with is closed after.
    let left = agent.open("/data/counter", "r").await.unwrap();
    assert_eq!(guest.open_counters().await, 1);
    let before = guest.counter().await;
    let frozen = agent.freeze(None, LONG).await.unwrap();
    assert!(frozen.count() >= 1, "{frozen:?}");
    assert!(guest.frozen().await);
    let refused = agent.open("/data/counter", "w").await.unwrap_err();
    assert!(matches!(refused, AgentError::Frozen { .. }), "{refused}");
    let twice = agent.freeze(None, LONG).await.unwrap_err();
    assert!(matches!(twice, AgentError::Frozen { .. }), "{twice}");
    drop(left);
    assert_eq!(frozen.thaw().await.unwrap(), 1);
    assert_eq!(guest.open_counters().await, 0);
    assert!(!guest.frozen().await);
    while guest.counter().await <= before {}

    // Dropped.
    let frozen = agent.freeze(Some(vec!["/data".to_owned()]), LONG).await.unwrap();
    assert!(guest.frozen().await);
    drop(frozen);
    assert!(!guest.frozen().await);

    // Forgotten: the limit thaws, and whoever thought that it was still frozen is told.
    let frozen = agent.freeze(None, Duration::from_millis(100)).await.unwrap();
    while guest.frozen().await {}
    let over = frozen.thaw().await.unwrap_err();
    assert!(matches!(over, AgentError::FreezeOver), "{over}");

    // The call is given up at any time: it was not sent, or it is thawed.
    for milliseconds in [0, 1, 5, 20, 60] {
        let freeze = agent.freeze(None, LONG);
        drop(tokio::time::timeout(Duration::from_millis(milliseconds), freeze).await);
        assert!(!guest.frozen().await, "given up after {milliseconds} ms");
    }

    // Frozen behind our back, as by a manager that died.
    agent.execute(FsfreezeFreeze::FACTS, serde_json::Map::new()).await.unwrap();
    assert_eq!(agent.thaw_leftover().await.unwrap(), 1);
    assert_eq!(agent.thaw_leftover().await.unwrap(), 0);

    // A command that takes longer than was waited is not answered into the next one's place.
    let sleep = Program::new("/bin/sleep").arg("0.3");
    let slow = agent.exec(&sleep);
    assert!(tokio::time::timeout(Duration::from_millis(50), slow).await.is_err());
    let echo = agent.exec(&Program::new("/bin/echo").arg("here")).await.unwrap();
    assert_eq!((echo.end, echo.stdout), (End::Status(0), b"here\n".to_vec()));
    let time = agent.call(&GetTime {}).await.unwrap();
    agent.call(&SetTime { time: Some(u64::try_from(time).unwrap() + 3_600_000_000_000) }).await.unwrap();
    assert!(agent.call(&GetTime {}).await.unwrap() > time + 3_000_000_000_000);

    // Refused, then accepted: neither is answered by the agent itself.
    let mode = Some(ShutdownMode::Unknown("sideways".to_owned()));
    let refused = agent.call(&Shutdown { mode }).await.unwrap_err();
    assert!(refused.refusal().is_some(), "{refused}");
    let off = guest.monitor.client.waiter(|event| event.name == "SHUTDOWN");
    match agent.call(&Shutdown { mode: None }).await {
        // Accepted, or the guest was quicker.
        Ok(_) | Err(AgentError::Late { .. } | AgentError::Closed { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let off = tokio::time::timeout(LONG, off).await.unwrap().unwrap();
    assert_eq!(off.data["reason"], "guest-shutdown");
    drop(guest.qemu);
}
