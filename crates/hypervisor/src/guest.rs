//! The demo guest: what `cargo xtask demo-image` built.

use anyhow::{Context, bail};
use hv_api::v1;
use std::path::{Path, PathBuf};

/// What the guest prints once it is up; `boot=<n>` follows.
pub(crate) const UP: &str = "hypervisor-demo: up boot=";

/// Files and command line of the demo guest.
#[derive(Clone, Debug)]
pub(crate) struct DemoGuest {
    dir: PathBuf,
    cmdline: String,
}

impl DemoGuest {
    /// Finds the demo guest.
    pub(crate) fn find(dir: &Path) -> anyhow::Result<Self> {
        // As the driver wants it: without `..`.
        let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let manifest = dir.join("manifest.json");
        let text = std::fs::read_to_string(&manifest).with_context(|| {
            format!("there is no demo guest in {}: run `cargo xtask demo-image`", dir.display())
        })?;
        let manifest: serde_json::Value = serde_json::from_str(&text)?;
        let Some(cmdline) = manifest["cmdline"].as_str() else {
            bail!("the manifest of the demo guest has no cmdline")
        };
        Ok(Self { cmdline: cmdline.to_owned(), dir })
    }

    /// A request for an instance of it, with a port that leads to its web page.
    pub(crate) fn request(&self, name: &str, host_port: Option<u16>) -> v1::CreateInstanceRequest {
        use v1::network_interface_spec::Attachment;
        let path = |file: &str| self.dir.join(file).to_string_lossy().into_owned();
        let publish = host_port
            .map(|port| v1::PublishedPort { host_port: port.into(), guest_port: 80, ..Default::default() })
            .into_iter()
            .collect();
        let spec = v1::InstanceSpec {
            r#type: v1::InstanceType::Vm.into(),
            cpus: 1,
            memory_bytes: 256 << 20,
            image: path("demo.qcow2"),
            network_interfaces: vec![v1::NetworkInterfaceSpec {
                name: "net0".into(),
                mac: String::new(),
                attachment: Some(Attachment::User(v1::UserNetwork { publish })),
            }],
            boot: Some(v1::BootSpec {
                firmware: v1::Firmware::Bios.into(),
                kernel: path("vmlinuz"),
                initrd: path("initrd.img"),
                cmdline: self.cmdline.clone(),
            }),
            stop_timeout_ms: 20_000,
            ..Default::default()
        };
        v1::CreateInstanceRequest { name: name.to_owned(), spec: Some(spec), ..Default::default() }
    }
}

/// What a guest says when it is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IsUp {
    /// Its boot counter.
    pub(crate) boots: u64,
    /// The whole line.
    pub(crate) line: String,
}

/// The newest such line of a console.
pub(crate) fn is_up(console: &str) -> Option<IsUp> {
    let line = &console[console.rfind(UP)?..];
    let line = line[..line.find(['\r', '\n'])?].to_owned();
    let boots = line[UP.len()..].split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some(IsUp { boots, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_boot_counts() {
        let up =
            is_up("x hypervisor-demo: up boot=1 u\nhypervisor-demo: up boot=12 uptime=2s\r\n$ ").unwrap();
        assert_eq!((up.boots, up.line.as_str()), (12, "hypervisor-demo: up boot=12 uptime=2s"));
        assert_eq!(is_up("hypervisor-demo: up boot=1 upt"), None, "the rest is on its way");
        assert_eq!(is_up("login:\n"), None);
    }
}
