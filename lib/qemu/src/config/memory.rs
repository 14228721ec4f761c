//! Memory: how much, from where, on which nodes.

use super::error::{ConfigError, range};
use std::{collections::BTreeSet, ops::RangeInclusive, path::PathBuf};

/// Memory of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Memory at the start in MiB.
    pub size_mib: u64,
    /// What can be plugged in addition.
    pub hotplug: Option<MemoryHotplug>,
    /// What was plugged before and is there from the start ([`crate::Config::occupied`]).
    pub modules: Vec<MemoryModule>,
    /// Where it comes from.
    pub backing: Backing,
    /// Whether other processes can map it; devices of other processes (vhost-user, virtiofs) need that.
    pub sharing: Sharing,
    /// Whether all of it is taken from the host before the guest starts.
    pub allocation: Allocation,
    /// NUMA nodes of the guest; empty for a machine without.
    pub nodes: Vec<NumaNode>,
    /// Distances between nodes that are not QEMU's default (10 to itself, 20 to others).
    pub distances: Vec<Distance>,
}

/// Memory that can be plugged while the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryHotplug {
    /// Modules that can be plugged, 1 to 256.
    pub slots: u16,
    /// The greatest amount in MiB, the memory at the start included.
    pub max_mib: u64,
}

/// A memory module as [`crate::Vm::plug_memory`] adds one. It comes from where the rest comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryModule {
    /// Its id, by which it is unplugged.
    pub id: String,
    /// Its size in MiB.
    pub size_mib: u64,
    /// Where it is; `None` for where there is room. A machine that moves or is restored finds it where it was.
    pub place: Option<ModulePlace>,
}

/// Where a memory module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModulePlace {
    /// Its slot, from 0.
    pub slot: u16,
    /// Its address in the guest's memory.
    pub address: u64,
    /// Its NUMA node.
    pub node: u16,
}

/// Where memory comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    /// Anonymous memory of the process; a memory file where others are to map it ([`Sharing::Shared`]).
    #[default]
    Anonymous,
    /// A memory file of the kernel.
    Memfd,
    /// Huge pages through a memory file; the size in KiB, e.g. 2048.
    HugePages {
        /// Size of a page in KiB.
        page_kib: u32,
    },
    /// Files in this directory, e.g. a mounted hugetlbfs, or a file for a guest of one node.
    Path(PathBuf),
}

/// Whether other processes can map the memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// No.
    #[default]
    Private,
    /// Those that QEMU hands a descriptor to.
    Shared,
}

/// When memory is taken from the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// When the guest touches it.
    #[default]
    Lazy,
    /// All of it before the guest starts.
    Ahead,
}

/// A NUMA node of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaNode {
    /// Its share of the memory in MiB.
    pub size_mib: u64,
    /// Its CPUs by index; the nodes together have all of them.
    pub cpus: Vec<RangeInclusive<u16>>,
    /// Nodes of the host that its memory is taken from.
    pub host_nodes: Vec<u16>,
    /// How strictly.
    pub policy: HostPolicy,
}

/// How memory is taken from nodes of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostPolicy {
    /// As the host likes; `host_nodes` is empty.
    #[default]
    Default,
    /// From these, else from others.
    Preferred,
    /// From these only.
    Bind,
    /// From these in turn.
    Interleave,
}

impl HostPolicy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Preferred => "preferred",
            Self::Bind => "bind",
            Self::Interleave => "interleave",
        }
    }
}

/// Distance between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance {
    /// From this node.
    pub from: u16,
    /// To this one.
    pub to: u16,
    /// 10 is local, 255 is unreachable.
    pub value: u8,
}

impl Memory {
    /// This much anonymous memory.
    #[must_use]
    pub fn new(size_mib: u64) -> Self {
        Self {
            size_mib,
            hotplug: None,
            modules: Vec::new(),
            backing: Backing::default(),
            sharing: Sharing::default(),
            allocation: Allocation::default(),
            nodes: Vec::new(),
            distances: Vec::new(),
        }
    }

    /// Whether QEMU's own plain memory does.
    pub(crate) fn is_plain(&self) -> bool {
        self.backing == Backing::Anonymous
            && self.sharing == Sharing::Private
            && self.allocation == Allocation::Lazy
    }

    pub(crate) fn check(&self, cpus: u16) -> Result<(), ConfigError> {
        let size = self.size_mib;
        range("memory_mib", size, (16..=MOST_MIB).contains(&size), format!("16 to {MOST_MIB}"))?;
        if let Some(MemoryHotplug { slots, max_mib }) = self.hotplug {
            range("memory.hotplug.slots", slots, (1..=256).contains(&slots), "1 to 256")?;
            let good = max_mib > size && max_mib <= MOST_MIB;
            range(
                "memory.hotplug.max_mib",
                max_mib,
                good,
                format!("more than the {size} at the start, up to {MOST_MIB}"),
            )?;
        }
        self.check_modules()?;
        if let Backing::HugePages { page_kib } = self.backing {
            let good = page_kib.is_power_of_two() && page_kib >= 16;
            range("memory.backing.page_kib", page_kib, good, "powers of two from 16")?;
            let page = u64::from(page_kib);
            range(
                "memory_mib",
                size,
                (size * 1024).is_multiple_of(page),
                format!("multiples of the page of {page} KiB"),
            )?;
        }
        self.check_nodes(cpus)
    }

    fn check_modules(&self) -> Result<(), ConfigError> {
        if self.modules.is_empty() {
            return Ok(());
        }
        let Some(MemoryHotplug { slots, max_mib }) = self.hotplug else {
            let reason = "the machine has no slots: memory.hotplug gives some";
            return Err(ConfigError::conflict("memory.modules", reason));
        };
        let count = self.modules.len() as u64;
        range(
            "number of memory.modules",
            count,
            count <= slots.into(),
            format!("the slots, which are {slots}"),
        )?;
        let all = self.modules.iter().fold(self.size_mib, |all, module| all.saturating_add(module.size_mib));
        range("memory with modules in MiB", all, all <= max_mib, format!("up to {max_mib}"))?;
        let mut taken = BTreeSet::new();
        for MemoryModule { size_mib, place, .. } in &self.modules {
            range("memory.modules.size_mib", *size_mib, *size_mib > 0, "from 1")?;
            let Some(place) = place else { continue };
            range("memory.modules.slot", place.slot, place.slot < slots, format!("0 to {}", slots - 1))?;
            if !taken.insert(place.slot) {
                let reason = "two modules cannot have it";
                return Err(ConfigError::conflict(format!("slot {}", place.slot), reason));
            }
            let node = usize::from(place.node);
            let nodes = self.nodes.len().max(1);
            range("memory.modules.node", place.node, node < nodes, format!("0 to {}", nodes - 1))?;
        }
        Ok(())
    }

    fn check_nodes(&self, cpus: u16) -> Result<(), ConfigError> {
        if self.nodes.is_empty() {
            let none = self.distances.is_empty();
            return if none {
                Ok(())
            } else {
                Err(ConfigError::conflict("memory.distances", "there are no nodes"))
            };
        }
        // A sum beyond what a u64 holds is told as the largest; no guest has that much.
        let sum = self.nodes.iter().fold(0u64, |sum, node| sum.saturating_add(node.size_mib));
        range(
            "sum of the nodes' memory",
            sum,
            sum == self.size_mib,
            format!("{} MiB, the guest's memory", self.size_mib),
        )?;
        let mut owners = vec![0u16; usize::from(cpus)];
        for cpu in self.nodes.iter().flat_map(|node| node.cpus.iter().cloned().flatten()) {
            let owner = owners.get_mut(usize::from(cpu));
            *owner.ok_or_else(|| ConfigError::Range {
                field: "memory.nodes.cpus",
                value: cpu.into(),
                allowed: format!("0 to {}", cpus - 1),
            })? += 1;
        }
        if let Some(cpu) = owners.iter().position(|count| *count != 1) {
            let reason = format!("CPU {cpu} is in {} nodes; each CPU is in one", owners[cpu]);
            return Err(ConfigError::conflict("memory.nodes", reason));
        }
        for node in &self.nodes {
            if node.host_nodes.is_empty() != (node.policy == HostPolicy::Default) {
                return Err(ConfigError::conflict(
                    "memory.nodes",
                    "a policy needs nodes of the host, and nodes need a policy",
                ));
            }
        }
        for distance in &self.distances {
            range("memory.distances.value", distance.value, distance.value >= 10, "10 to 255")?;
            let good = [distance.from, distance.to].iter().all(|node| usize::from(*node) < self.nodes.len());
            let at = distance.from.max(distance.to);
            range("memory.distances", at, good, format!("0 to {}", self.nodes.len() - 1))?;
        }
        Ok(())
    }
}

/// QEMU's x86 boards end here.
const MOST_MIB: u64 = 16 << 20;
