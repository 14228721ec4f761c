//! The configurations. Each has a place of its own (`root`), which is `/vm` in the golden texts.

mod board;
mod combined;
mod devices;
mod disks;
mod displays;
mod networks;

use qemu::Config;
use std::path::PathBuf;
use uuid::Uuid;

/// One configuration.
pub(crate) struct Case {
    /// File of the golden text.
    pub(crate) group: &'static str,
    /// Name within it.
    pub(crate) name: String,
    /// The machine.
    pub(crate) config: Config,
}

/// Collects configurations.
pub(crate) struct Cases {
    /// Where the files of the machine are.
    root: PathBuf,
    group: &'static str,
    list: Vec<Case>,
}

/// All configurations with their files below `root`.
pub(crate) fn all(root: &str) -> Vec<Case> {
    let mut cases = Cases { root: root.into(), group: "", list: Vec::new() };
    board::add(&mut cases);
    disks::add(&mut cases);
    networks::add(&mut cases);
    displays::add(&mut cases);
    devices::add(&mut cases);
    combined::add(&mut cases);
    cases.list
}

pub(crate) const Q35: &str = "pc-q35-7.2";
pub(crate) const I440FX: &str = "pc-i440fx-7.2";
pub(crate) const MICROVM: &str = "microvm";

/// A machine with as little as possible.
pub(crate) fn bare(machine: &str) -> Config {
    let mut config = Config::new("golden", Uuid::from_u128(0x42), machine, 1, 64);
    (config.balloon, config.rng, config.spare_ports) = (None, None, 0);
    config
}

impl Cases {
    pub(crate) fn group(&mut self, group: &'static str) {
        self.group = group;
    }

    /// A path of the machine's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A q35 machine with a change.
    pub(crate) fn q35(&mut self, name: impl Into<String>, change: impl FnOnce(&mut Config)) {
        self.on(Q35, name, change);
    }

    /// Any machine with a change.
    pub(crate) fn on(&mut self, machine: &str, name: impl Into<String>, change: impl FnOnce(&mut Config)) {
        let mut config = bare(machine);
        change(&mut config);
        self.add(name, config);
    }

    pub(crate) fn add(&mut self, name: impl Into<String>, config: Config) {
        let name = name.into();
        assert!(
            !self.list.iter().any(|case| case.group == self.group && case.name == name),
            "{name} is there twice"
        );
        self.list.push(Case { group: self.group, name, config });
    }
}
