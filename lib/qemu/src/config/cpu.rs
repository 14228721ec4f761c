//! Virtual CPUs.

use super::{
    error::{ConfigError, range},
    machine::Switch,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Virtual CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Model; `None` takes `host` with KVM and `max` with TCG.
    pub model: Option<String>,
    /// Features added to the model or taken from it, in QEMU's names.
    pub features: Vec<(String, Switch)>,
    /// CPUs present at the start.
    pub count: u16,
    /// CPUs that can be plugged in addition: this is the greatest number of all. `None` for none.
    pub max: Option<u16>,
    /// Those of them that were plugged before and are there from the start ([`crate::Config::occupied`]); not part of `count`.
    pub plugged: Vec<CpuPlace>,
    /// How they are arranged; `None` for one socket with one thread per core.
    pub topology: Option<Topology>,
}

/// Arrangement of the greatest number of CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Sockets on the board.
    pub sockets: u16,
    /// Dies in a socket.
    pub dies: u16,
    /// Cores in a die.
    pub cores: u16,
    /// Threads in a core.
    pub threads: u16,
}

/// Where a CPU is plugged, by the numbers that the machine has for its places (`query-hotpluggable-cpus`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuPlace {
    /// NUMA node, in a machine with nodes.
    pub node: Option<u16>,
    /// Socket.
    pub socket: Option<u16>,
    /// Die, in a machine with several in a socket.
    pub die: Option<u16>,
    /// Core.
    pub core: Option<u16>,
    /// Thread.
    pub thread: Option<u16>,
}

impl CpuPlace {
    /// QEMU's names of the numbers.
    pub(crate) fn numbers(self) -> impl Iterator<Item = (&'static str, u16)> {
        let Self { node, socket, die, core, thread } = self;
        let all = [
            ("node-id", node),
            ("socket-id", socket),
            ("die-id", die),
            ("core-id", core),
            ("thread-id", thread),
        ];
        all.into_iter().filter_map(|(name, number)| Some((name, number?)))
    }

    /// The id of the CPU there, as of [`crate::Vm::plug_cpu`].
    #[must_use]
    pub fn id(self) -> String {
        self.numbers().fold("cpu".to_owned(), |id, (_, number)| format!("{id}-{number}"))
    }

    /// The device for it.
    pub(crate) fn device(self, driver: &str) -> Value {
        let mut device = json!({"driver": driver});
        for (name, number) in self.numbers() {
            device[name] = json!(number);
        }
        device["id"] = json!(self.id());
        device
    }
}

impl Cpu {
    /// This many CPUs of the default model.
    #[must_use]
    pub fn new(count: u16) -> Self {
        Self { model: None, features: Vec::new(), count, max: None, plugged: Vec::new(), topology: None }
    }

    /// The greatest number of CPUs the machine can have.
    #[must_use]
    pub fn most(&self) -> u16 {
        self.max.unwrap_or(self.count)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        range("cpus", self.count, (1..=255).contains(&self.count), "1 to 255")?;
        let most = self.most();
        range("cpu.max", most, (self.count..=255).contains(&most), format!("{} to 255", self.count))?;
        let all = self.plugged.len().saturating_add(usize::from(self.count));
        let allowed = format!("{most} with those of the start: cpu.max");
        range("CPUs with cpu.plugged", all as u64, all <= usize::from(most), allowed)?;
        let places: BTreeSet<&CpuPlace> = self.plugged.iter().collect();
        if places.len() < self.plugged.len() {
            return Err(ConfigError::conflict("cpu.plugged", "two CPUs cannot have one place"));
        }
        if let Some(Topology { sockets, dies, cores, threads }) = self.topology {
            let product = [sockets, dies, cores, threads].into_iter().map(u64::from).product::<u64>();
            range(
                "cpu.topology",
                product,
                product == u64::from(most),
                format!("arrangements of {most} CPUs"),
            )?;
        }
        for (feature, _) in &self.features {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            if feature.is_empty() || !feature.bytes().all(plain) {
                return Err(ConfigError::Text {
                    field: "cpu.features",
                    reason: "a feature's name is letters, digits, '-', '_' and '.'",
                });
            }
        }
        Ok(())
    }
}
