//! Open vSwitch with DPDK: ports of the kind `dpdkvhostuserclient`, which connect to where our front-end listens.

use crate::card::{Card, frame};
use crate::{Peer, Prefix};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsStr;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use vhost_user::check::{Backend, Kind, Options, Verdict, run};
use virtio::features::Features;
use virtio::net;

/// Where `cargo xtask test` unpacks it: installed it would run on this machine.
fn unpacked(package: &str, file: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/unpacked")).join(package).join(file)
}

/// One at a time: each has half a GiB, and processors to itself.
static ALONE: Mutex<()> = Mutex::new(());

/// A switch of its own, in a network of its own.
struct Switch {
    directory: tempfile::TempDir,
    _programs: [Peer; 2],
    /// Behind the programs, which go first.
    _prefix: Prefix,
    _alone: MutexGuard<'static, ()>,
}

impl Switch {
    fn start(test: &str) -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().unwrap();
        let prefix = Prefix::new("ovs");
        let schema = unpacked("openvswitch-switch", "usr/share/openvswitch/vswitch.ovsschema");
        let [create, database, switch] = [
            unpacked("openvswitch-common", "usr/bin/ovsdb-tool"),
            unpacked("openvswitch-common", "usr/sbin/ovsdb-server"),
            unpacked("openvswitch-switch-dpdk", "usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"),
        ];
        for needed in [&create, &database, &switch] {
            if !needed.exists() {
                println!("not run: {test}: {} is missing", needed.display());
                return None;
            }
        }
        let command = |program: &Path| {
            let mut command = Command::new("unshare");
            command.arg("--net").arg("--").arg(program).current_dir(directory.path()).stderr(Stdio::null());
            for name in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_SYSCONFDIR", "OVS_LOGDIR"] {
                command.env(name, directory.path());
            }
            command
        };
        let made = command(&create).arg("create").arg("conf.db").arg(schema).status().unwrap();
        assert!(made.success(), "{}: {made}", create.display());
        let at = |name: &str| directory.path().join(name).display().to_string();
        let mut started = command(&database);
        started.args(["conf.db", &format!("--remote=punix:{}", at("db.sock")), "--unixctl", &at("db.ctl")]);
        let database = Peer::start(test, &mut started)?;
        let asked = Self::ask(directory.path(), &["--no-wait", "init"]);
        assert_eq!(asked, "");
        let extra =
            format!("--no-huge --legacy-mem -m 512 --no-pci --no-telemetry --file-prefix={}", prefix.0);
        Self::ask(
            directory.path(),
            &[
                "--no-wait",
                "set",
                "Open_vSwitch",
                ".",
                // Buffers of its own for each port, which are few: of those that ports share there is room for one set, and a switch that
                // is to have two for a moment, as on a busy host, leaves the port out.
                "other_config:per-port-memory=true",
                "other_config:dpdk-init=true",
                "other_config:dpdk-lcore-mask=1",
                "other_config:pmd-cpu-mask=1",
                &format!("other_config:dpdk-extra=\"{extra}\""),
            ],
        );
        let mut started = command(&switch);
        started.args([&format!("unix:{}", at("db.sock")), "--unixctl", &at("switch.ctl")]);
        let switch = Peer::start(test, &mut started)?;
        // It answers when the switch has done it.
        Self::ask(
            directory.path(),
            &["add-br", "between", "--", "set", "bridge", "between", "datapath_type=netdev"],
        );
        Some(Self { directory, _programs: [database, switch], _prefix: prefix, _alone: alone })
    }

    /// What `ovs-vsctl` says.
    fn ask<A: AsRef<OsStr>>(directory: &Path, arguments: &[A]) -> String {
        let mut command = Command::new(unpacked("openvswitch-switch", "usr/bin/ovs-vsctl"));
        command.arg(format!("--db=unix:{}", directory.join("db.sock").display()));
        command.args(["--retry", "--timeout=30"]).args(arguments).env("OVS_RUNDIR", directory);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A port, and where it connects to.
    fn port(&self, name: &str) -> UnixListener {
        let path = self.directory.path().join(format!("{name}.sock"));
        let listener = UnixListener::bind(&path).unwrap();
        let server = format!("options:vhost-server-path={}", path.display());
        let kind = "type=dpdkvhostuserclient";
        let arguments = ["add-port", "between", name, "--", "set", "Interface", name, kind, &server];
        Self::ask(self.directory.path(), &arguments);
        listener
    }
}

/// What is sent until the switch has found both cards.
const HELLO: [u8; 2] = [0x88, 0xb6];

/// Until frames of one come to the other.
fn meet(one: &mut Card, two: &mut Card) {
    let hello = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9], &HELLO, &[0; 46]].concat();
    for _ in 0..400 {
        one.send(&hello);
        if two.hear(HELLO, Duration::from_millis(50)).is_some() {
            return;
        }
    }
    panic!("the switch does not find the cards");
}

#[test]
fn a_switch_passes_frames_between_two_cards() {
    let test = "a_switch_passes_frames_between_two_cards";
    if !rustix::process::geteuid().is_root() {
        return println!("not run: {test}: a network of its own needs root");
    }
    let Some(switch) = Switch::start(test) else { return };
    let ports = ["one", "two"].map(|name| switch.port(name));
    let mergeable = Features::from_bits_retain(net::Features::MRG_RXBUF.bits());
    // Each time it connects anew: front-ends leave, and others come.
    for features in [
        Features::empty(),
        mergeable | Features::EVENT_IDX | Features::INDIRECT_DESC,
        mergeable | Features::RING_PACKED,
    ] {
        let [mut one, mut two] =
            ports.each_ref().map(|port| Card::new(port.accept().unwrap().0, "openvswitch", features));
        meet(&mut one, &mut two);
        meet(&mut two, &mut one);
        let most = if features.contains(mergeable) { 1514 } else { 500 };
        for bytes in (60..most).step_by(41) {
            let (there, back) = (frame(1, 2, bytes), frame(2, 1, bytes));
            one.send(&there);
            assert!(two.receive() == there);
            two.send(&back);
            assert!(one.receive() == back);
        }
    }
}

/// A port as the checks see it: it connects, and again whenever they have left.
struct Port(UnixListener);

impl Backend for Port {
    fn connect(&mut self) -> io::Result<UnixStream> {
        // Not for ever: it tries every second.
        let time = Timespec { tv_sec: 30, tv_nsec: 0 };
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(self.0.accept()?.0),
        }
    }

    fn connects(&self) -> bool {
        true
    }
}

/// Nothing but what DPDK offers without what it needs, of which its report tells (`docs/vhost-user/reports/openvswitch-dpdk.md`).
#[test]
fn a_port_of_a_switch_is_checked() {
    let test = "a_port_of_a_switch_is_checked";
    if !rustix::process::geteuid().is_root() {
        return println!("not run: {test}: a network of its own needs root");
    }
    let Some(switch) = Switch::start(test) else { return };
    let mut port = Port(switch.port("checked"));
    let only = ["type", "net", "negotiation", "rings.traffic.packed", "reconnection"].map(str::to_owned);
    let options =
        Options { kind: Some(Kind::Net), only: only.to_vec(), timeout: crate::TIMEOUT, ..Options::default() };
    let report = run(&mut port, &options, || Duration::ZERO, |_| {}).unwrap();
    let of = |verdict: fn(&Verdict) -> bool| {
        let these = report.findings.iter().filter(move |it| verdict(&it.verdict));
        these.map(|it| it.id.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(|it| matches!(it, Verdict::Failed(_))), ["net.congestion"], "{:#?}", report.findings);
    assert_eq!(report.gone_before, None);
    let passed = of(|it| *it == Verdict::Passed);
    assert!(
        passed.len() > 30 && passed.iter().any(|id| id.starts_with("rings.traffic.packed")),
        "{passed:?}"
    );
    assert!(of(|it| matches!(it, Verdict::NotApplicable(_))).contains(&"reconnection.second"));
}
