//! A configuration as QEMU's command line. Pure: descriptors enter as numbers.
//!
//! JSON wherever QEMU 7.2 takes it (`-blockdev`, `-device`, `-netdev`, `-object`, `-audiodev`, `-display`), so that no text can
//! be misread; elsewhere commas are doubled. Every image becomes two nodes, `<id>-file` and `<id>` (`<id>-b1-file` and so on
//! below), and filters above them `<id>-throttle` and `<id>-cor`.
//!
//! ```text
//!  Config --check--> Places (where each device sits)
//!     |                 |
//!     '--> Line: process, machine, monitor and console, ports, devices in the order of the list below
//! ```

mod block;
mod chardev;
mod devices;
mod display;
mod machine;
mod net;
pub(crate) mod places;
mod text;

pub(crate) use block::nodes as block_nodes;
pub(crate) use chardev::connection;
pub(crate) use net::{device as nic_device, netdev, netdev_id};
pub use text::escape;

use crate::config::{Board, Config, ConfigError, Source, absolute, utf8};
use places::Places;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::fd::RawFd,
};

/// Descriptors of the new process that the command line refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptors {
    /// Listening socket of the monitor.
    pub qmp: RawFd,
    /// Listening socket of the serial console.
    pub console: RawFd,
    /// Log of everything the guest writes to the serial console, opened for appending and for writing only.
    pub console_log: RawFd,
    /// Descriptors that the configuration names.
    pub keyed: BTreeMap<String, RawFd>,
}

/// The command line without the program's name.
///
/// # Errors
/// [`ConfigError`] when the configuration is faulty or a path is not UTF-8.
pub fn argv(config: &Config, descriptors: &Descriptors) -> Result<Vec<OsString>, ConfigError> {
    config.check()?;
    let board = Board::of(&config.machine)?;
    let places = Places::new(config, board);
    let mut line = Line { args: Vec::new(), config, board, descriptors, places };
    line.process();
    line.credentials()?;
    line.machine()?;
    line.plugged()?;
    line.monitor_and_console();
    line.root_ports();
    line.balloon_and_rng()?;
    line.controllers();
    for (nic, place) in config.nics.iter().zip(line.places.of_nics(config)) {
        line.nic(nic, place)?;
    }
    line.disks()?;
    line.display()?;
    line.streams()?;
    line.devices()?;
    line.tables()?;
    line.args.extend(config.extra.iter().cloned());
    Ok(line.args)
}

struct Line<'a> {
    args: Vec<OsString>,
    config: &'a Config,
    board: Board,
    descriptors: &'a Descriptors,
    places: Places,
}

impl Line<'_> {
    fn push(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(OsString::from));
    }

    fn option(&mut self, name: &str, value: &Value) {
        self.push(&[name, &value.to_string()]);
    }

    /// An option with an argument that is no UTF-8 for sure.
    fn raw_option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.args.extend([name.into(), value.as_ref().to_owned()]);
    }

    /// `-no-shutdown` keeps the process after a power-off, so that a manager that was away learns of it.
    fn process(&mut self) {
        let config = self.config;
        self.push(&["-name", &format!("guest={},debug-threads=on", escape(&config.name))]);
        self.push(&["-uuid", &config.uuid.to_string()]);
        self.push(&["-nodefaults", "-no-user-config"]);
        self.display_kind();
        self.push(&["-S", "-no-shutdown"]);
        self.push(&["-msg", "timestamp=on"]);
        let sandbox = config.sandbox;
        let sandbox = match sandbox.filter {
            crate::config::Switch::Off => "off".to_owned(),
            crate::config::Switch::On => format!(
                "on,obsolete={},elevateprivileges={},spawn={},resourcecontrol={}",
                sandbox.obsolete.as_str(),
                sandbox.elevate.as_str(),
                sandbox.spawn.as_str(),
                sandbox.resources.as_str()
            ),
        };
        self.push(&["-sandbox", &sandbox]);
    }

    /// One client at a time on each socket; the log goes on without any.
    fn monitor_and_console(&mut self) {
        let Descriptors { qmp, console, console_log, .. } = self.descriptors;
        self.push(&["-add-fd", &format!("fd={console_log},set={CONSOLE_LOG_SET}")]);
        self.push(&["-chardev", &format!("socket,id=qmp,fd={qmp},server=on,wait=off")]);
        self.push(&["-qmp", "chardev:qmp"]);
        self.push(&[
            "-chardev",
            &format!(
                "socket,id=console,fd={console},server=on,wait=off,logfile=/dev/fdset/{CONSOLE_LOG_SET},logappend=on"
            ),
        ]);
        self.option(
            "-device",
            &serde_json::json!({"driver": "isa-serial", "id": "serial0", "chardev": "console", "index": 0}),
        );
    }

    fn descriptor(&self, key: &str) -> Result<(usize, RawFd), ConfigError> {
        let mut keyed = self.descriptors.keyed.iter().enumerate();
        let found = keyed.find(|(_, (known, _))| *known == key);
        found
            .map(|(index, (_, fd))| (index, *fd))
            .ok_or_else(|| ConfigError::NoDescriptor { key: key.to_owned() })
    }

    /// What QEMU opens for a source; a descriptor is put into a set of its own first.
    fn filename(&mut self, field: &'static str, source: &Source) -> Result<String, ConfigError> {
        self.noted_filename(field, source, None)
    }

    /// The same with a note by which the set is found again; each note has a set of its own.
    fn noted_filename(
        &mut self,
        field: &'static str,
        source: &Source,
        note: Option<String>,
    ) -> Result<String, ConfigError> {
        match source {
            Source::Path(path) | Source::HostDevice(path) => Ok(utf8(field, path)?.to_owned()),
            Source::Descriptor(key) => {
                let (index, fd) = self.descriptor(key)?;
                let note = note.map(|note| format!(",opaque={}", escape(&note))).unwrap_or_default();
                let mut set = FIRST_KEYED_SET + index;
                loop {
                    let added = format!("fd={fd},set={set}{note}");
                    let of_set = format!("fd={fd},set={set}");
                    if self.args.iter().any(|arg| *arg == *added) {
                        break;
                    }
                    let is_whole = |rest: &str| rest.is_empty() || rest.starts_with(',');
                    let is_taken = |arg: &OsString| {
                        arg.to_str().and_then(|arg| arg.strip_prefix(&of_set)).is_some_and(is_whole)
                    };
                    if !self.args.iter().any(is_taken) {
                        self.push(&["-add-fd", &added]);
                        break;
                    }
                    // Another's, of the same descriptor.
                    set += self.descriptors.keyed.len();
                }
                Ok(format!("/dev/fdset/{set}"))
            }
            Source::Nbd { .. } | Source::Null { .. } => {
                Err(ConfigError::conflict(field, "this must be a file or a descriptor"))
            }
        }
    }

    /// The same for what QEMU opens without knowing of descriptor sets.
    fn plain_filename(&self, field: &'static str, source: &Source) -> Result<OsString, ConfigError> {
        match source {
            Source::Path(path) => Ok(absolute(field, path)?.into()),
            Source::Descriptor(key) => Ok(format!("/proc/self/fd/{}", self.descriptor(key)?.1).into()),
            _ => Err(ConfigError::conflict(field, "this must be a file or a descriptor")),
        }
    }
}

/// Ids used by every machine; a device of the configuration must not take them.
pub(crate) const OWN_IDS: &[&str] = &[
    "balloon0",
    "rng0",
    "rng0-source",
    "serial0",
    "console",
    "qmp",
    "pflash0",
    "pflash1",
    "ram0",
    "vserial0",
    "tpm0",
    "tpm0-device",
    "audio0",
    "sound0",
    "vsock0",
    "watchdog0",
    "panic0",
    "vmgenid0",
    "vmcoreinfo0",
    "iommu0",
    "agent0",
];

/// Prefix of the ids of root ports.
pub(crate) const PORT_PREFIX: &str = "port";

/// Descriptor set of the console log; sets of keyed descriptors follow.
const CONSOLE_LOG_SET: usize = 1;
const FIRST_KEYED_SET: usize = 2;

#[cfg(test)]
mod tests;
