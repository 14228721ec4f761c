//! An installation under a live systemd: `make install` in a Debian of its own, which is a virtual machine of ours.
//!
//! ```text
//!   this host ── Site ── QEMU (TCG): Debian 12, systemd
//!                          ├── hypervisor-server.service
//!                          ├── hypervisor-agent.service
//!                          ├── hypervisor-power-down.service   ends the guest before the host reboots
//!                          └── hypervisor-guests.service
//!                                └── hypervisor-<uid> ── QEMU (KVM, which the translator provides): the demo guest
//! ```
//!
//! Everything inside is slow, and little of it: one boot of Debian, two of the demo guest, one reboot between them.
#![cfg(test)]

use e2e::{Api, Site, demo, free_port, path_of};
use hv_api::v1;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Only ends a test that hangs.
const LIMIT: Duration = Duration::from_secs(900);

/// Where the demo guest's files are inside.
const INSIDE: &str = "/var/lib/demo";

/// The host inside, reached by ssh.
struct Inside {
    key: PathBuf,
    port: u16,
}

impl Inside {
    fn ssh(&self, script: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes"])
            // A machine that goes down for a reboot does not close its connections.
            .args([
                "-o",
                "ConnectTimeout=30",
                "-o",
                "ServerAliveInterval=10",
                "-o",
                "ServerAliveCountMax=6",
                "-i",
            ])
            .arg(&self.key)
            .args(["-p", &self.port.to_string(), "root@127.0.0.1", script]);
        ssh
    }

    /// What a script says; an error is all that it said.
    async fn attempt(&self, script: &str) -> Result<String, String> {
        let mut ssh = self.ssh(script);
        let run = tokio::task::spawn_blocking(move || ssh.stdin(Stdio::null()).output());
        let output = tokio::time::timeout(LIMIT, run).await.expect("ssh hangs").unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said.trim().to_owned());
        }
        Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    }

    async fn run(&self, script: &str) -> String {
        self.attempt(script).await.unwrap_or_else(|said| panic!("{script}: {said}"))
    }

    /// Waits until a script answers as wanted, also while nobody answers at all.
    async fn until(&self, what: &str, script: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut last = Err("not asked".to_owned());
        let asking = async {
            loop {
                last = self.attempt(script).await;
                if let Ok(said) = &last
                    && wanted(said)
                {
                    return said.clone();
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        match tokio::time::timeout(LIMIT, asking).await {
            Ok(said) => said,
            Err(_) => panic!("never happened: {what}: {last:?}"),
        }
    }

    /// Unpacks a directory of this host.
    fn unpack(&self, from: &Path, to: &str) {
        let mut tar =
            Command::new("tar").arg("-C").arg(from).args(["-c", "."]).stdout(Stdio::piped()).spawn().unwrap();
        let mut ssh = self.ssh(&format!("mkdir -p {to} && tar -C {to} --no-same-owner -x"));
        let unpacked = ssh.stdin(tar.stdout.take().unwrap()).output().unwrap();
        assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
        assert!(tar.wait().unwrap().success());
    }
}

/// Before asking again what cannot be waited for.
const AGAIN: Duration = Duration::from_secs(1);

fn missing() -> Option<String> {
    let image = image();
    if !image.exists() {
        return Some(format!("there is no {} (as root: cargo xtask debian-image)", image.display()));
    }
    let absent = |program: &&str| xtask::sh::find(program).is_none();
    let programs = ["qemu-system-x86_64", "qemu-img", "ssh", "ssh-keygen", "make", "strip", "tar"];
    programs.into_iter().find(absent).map(|program| format!("{program} is missing"))
}

fn image() -> PathBuf {
    xtask::sh::root().join("target/debian").join(xtask::debian_image::Variant::Host.image())
}

/// What `make install` puts into place, without what only a debugger reads.
fn installation(dir: &Path) -> PathBuf {
    let (bin, root) = (dir.join("bin"), dir.join("root"));
    std::fs::create_dir(&bin).unwrap();
    for program in ["hypervisor", "hypervisor-server", "hypervisor-agent", "hypervisor-ctl"] {
        xtask::sh::output(Command::new("strip").arg("-o").arg(bin.join(program)).arg(path_of(program)))
            .unwrap();
    }
    let mut make = Command::new("make");
    make.current_dir(xtask::sh::root()).arg("install-files");
    make.arg(format!("BIN={}", bin.display())).arg(format!("DESTDIR={}", root.display()));
    xtask::sh::output(&mut make).unwrap();
    root
}

#[tokio::test]
#[ignore = "takes minutes: `make test-long`"]
async fn units_under_systemd_start_guests_once_and_leave_them_alone() {
    let test = "units_under_systemd_start_guests_once_and_leave_them_alone";
    if let Some(missing) = missing() {
        return println!("not run: {test}: {missing}");
    }
    let Some((site, mut api)) = Site::running(test).await else { return };
    let root = installation(site.dir.path());
    let inside = boot(&site, &mut api).await;
    inside.unpack(&root, "/");
    inside.unpack(demo().unwrap(), INSIDE);
    inside.run("systemctl daemon-reload && systemctl enable --now hypervisor-server hypervisor-agent").await;
    units_are_active(&inside).await;
    let ready = |nodes: &str| nodes.contains(r#""phase": "ready""#);
    inside.until("a ready node", "hypervisor-ctl node list -o json", ready).await;
    println!("{}", inside.run("hypervisor-ctl node get host").await);

    let create = format!(
        "hypervisor-ctl instance create inner --memory 96M --image {INSIDE}/demo.qcow2 --kernel {INSIDE}/vmlinuz \
         --initrd {INSIDE}/initrd.img --cmdline 'console=ttyS0 quiet panic=-1' 2>&1"
    );
    inside.run(&create).await;
    inside.until("the first boot", BOOTS, |boots| boots == "1").await;
    let pid = inside.run(QEMU).await;
    apart(&inside, &pid).await;
    // QEMU's translator has the virtualization instructions of AMD's processors, so the host inside has a KVM that works: it
    // was probed, believed, and has just booted Linux for a guest without rights.
    let instance = inside.run("hypervisor-ctl instance get inner -o json").await;
    assert!(instance.contains(r#""accelerator": "kvm""#), "{instance}");

    // The agent's end is not its guest's, in order or not.
    for order in [
        "systemctl restart hypervisor-agent",
        "systemctl kill --kill-who=main --signal=KILL hypervisor-agent",
    ] {
        let before = inside.run(MAIN_PID).await;
        inside.run(order).await;
        let another = |agent: &str| agent != "0" && agent != before;
        inside.until("another agent", MAIN_PID, another).await;
        let adopted =
            format!("journalctl --quiet -o cat _PID=$({MAIN_PID}) | grep -c 'adopted a running guest'");
        inside.until("the guest's adoption", &adopted, |times| times == "1").await;
        units_are_active(&inside).await;
        assert_eq!(inside.run(QEMU).await, pid, "{order}");
        assert_eq!(inside.run(BOOTS).await, "1", "{order}");
    }

    // Nor can anybody end the guests by the units beside it.
    for unit in ["hypervisor-power-down", "hypervisor-guests"] {
        inside.attempt(&format!("systemctl restart {unit}")).await.unwrap_err();
    }
    assert_eq!(
        (inside.run(QEMU).await, inside.run(&format!("{BUTTON} || true")).await),
        (pid, "0".to_owned())
    );

    let boot_id = "cat /proc/sys/kernel/random/boot_id";
    let before = inside.run(boot_id).await;
    // It may go down before it answers.
    let _ = inside.attempt("systemctl reboot").await;
    inside.until("another boot", boot_id, |now| now != before).await;
    inside.until("the second boot", BOOTS, |boots| boots.ends_with('2')).await;
    units_are_active(&inside).await;
    assert_eq!(inside.run(BUTTON).await, "1", "asked to power down before the host went down");
    assert_eq!(inside.run(BOOTS).await, "1\n2", "started once, and the boot counter was on its disk");
    let pid = inside.run(QEMU).await;
    assert!(!pid.contains('\n'), "one QEMU: {pid}");
    apart(&inside, &pid).await;
    let instance = inside.run("hypervisor-ctl instance get inner -o json").await;
    let instance: serde_json::Value = serde_json::from_str(&instance).unwrap();
    assert!(starts(&instance) == Some(2), "{instance}");

    inside.run("hypervisor-ctl instance delete inner --force").await;
    assert_eq!(inside.run(&format!("{QEMU} || true")).await, "");
    let left = "ls -d /var/lib/hypervisor/agent/instances/* /sys/fs/cgroup/system.slice/hypervisor-guests.service/hypervisor-* \
                2>/dev/null || true";
    assert_eq!(inside.run(left).await, "", "nothing is left of it");
    api.delete("host").await;
    site.guests.assert_nothing_left();
}

const MAIN_PID: &str = "systemctl show --property=MainPID --value hypervisor-agent";

/// Every boot counter that the guest has printed, one a line.
const BOOTS: &str = "grep -aho 'hypervisor-demo: up boot=[0-9]*' /var/lib/hypervisor/agent/instances/*/run/console.log \
                     | grep -o '[0-9]*$'";

/// How often the guest has seen its power button.
const BUTTON: &str =
    "cat /var/lib/hypervisor/agent/instances/*/run/console.log | grep -ac 'hypervisor-demo: power button'";

/// All QEMU processes.
const QEMU: &str = "pgrep -f '^[^ ]*qemu-system-x86_64 .*-uuid'";

fn starts(instance: &serde_json::Value) -> Option<u64> {
    let starts = instance.get("status")?.get("starts")?;
    starts.as_u64().or_else(|| starts.as_str()?.parse().ok())
}

/// A Debian with our key, up to where it answers.
async fn boot(site: &Site, api: &mut Api) -> Inside {
    use v1::network_interface_spec::Attachment;
    let inside = Inside { key: site.path("key"), port: free_port() };
    xtask::sh::output(
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&inside.key),
    )
    .unwrap();
    let public = std::fs::read_to_string(inside.key.with_extension("pub")).unwrap();
    let user_data = format!(
        "#cloud-config\ndisable_root: false\nusers:\n  - name: root\n    ssh_authorized_keys:\n      - {public}"
    );
    let publish =
        vec![v1::PublishedPort { host_port: inside.port.into(), guest_port: 22, ..Default::default() }];
    let spec = v1::InstanceSpec {
        r#type: v1::InstanceType::Vm.into(),
        cpus: 2,
        memory_bytes: 1536 << 20,
        image: image().to_str().unwrap().to_owned(),
        network_interfaces: vec![v1::NetworkInterfaceSpec {
            name: "net0".into(),
            mac: String::new(),
            attachment: Some(Attachment::User(v1::UserNetwork { publish })),
        }],
        cloud_init: Some(v1::CloudInitSpec { user_data, ..Default::default() }),
        ..Default::default()
    };
    let request = v1::CreateInstanceRequest { name: "host".into(), spec: Some(spec), ..Default::default() };
    api.created(request).await;
    inside.until("an answer", "cloud-init status --wait >/dev/null; hostname", |name| name == "host").await;
    inside
}

/// They are, perhaps after attempts: the agent ends as long as the server has not made the token.
async fn units_are_active(inside: &Inside) {
    let units =
        "systemctl is-active hypervisor-server hypervisor-agent hypervisor-guests hypervisor-power-down";
    inside.until("active units", units, |active| active == "active\nactive\nactive\nactive").await;
}

/// The guest is a user of its own in a control group of its own, where systemd has delegated one.
async fn apart(inside: &Inside, pid: &str) {
    let group = inside.run(&format!("cut -d: -f3 /proc/{pid}/cgroup")).await;
    assert!(group.starts_with("/system.slice/hypervisor-guests.service/hypervisor-"), "{group}");
    let limit = inside.run(&format!("cat /sys/fs/cgroup{group}/memory.max")).await;
    assert!(limit.parse::<u64>().is_ok_and(|limit| limit > 96 << 20), "{limit}");
    let uid: u32 = inside.run(&format!("stat -c %u /proc/{pid}")).await.parse().unwrap();
    assert!((60_706..=61_183).contains(&uid), "{uid}");
}
