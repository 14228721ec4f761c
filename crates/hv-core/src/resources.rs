//! Resource arithmetic: one place decides what fits.

use std::ops::{Add, Sub};

/// Amounts of what a node has and an instance takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// Whole virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Disk space in bytes.
    pub disk_bytes: u64,
    /// GPUs.
    pub gpus: u32,
}

impl Resources {
    /// What is short when `self` is asked of `free`: one sentence each, none when it fits.
    pub fn shortages(self, free: Self) -> Vec<String> {
        const ALL: u64 = u64::MAX;
        let total = Self { cpus: u32::MAX, memory_bytes: ALL, disk_bytes: ALL, gpus: u32::MAX };
        self.shortages_of(free, total)
    }

    /// The same, where `free` is what is left of `total`: says of what does not fit whether it ever could.
    pub fn shortages_of(self, free: Self, total: Self) -> Vec<String> {
        let mut shortages = Vec::new();
        let mut check = |what: &str, needed: u64, free: u64, total: u64| {
            if needed > total {
                shortages.push(format!("needs {needed} {what}, {total} in all"));
            } else if needed > free {
                shortages.push(format!("needs {needed} {what}, {free} free"));
            }
        };
        check("vCPUs", self.cpus.into(), free.cpus.into(), total.cpus.into());
        check("MiB of memory", self.memory_bytes >> 20, free.memory_bytes >> 20, total.memory_bytes >> 20);
        check("MiB of disk", self.disk_bytes >> 20, free.disk_bytes >> 20, total.disk_bytes >> 20);
        check("GPUs", self.gpus.into(), free.gpus.into(), total.gpus.into());
        shortages
    }
}

impl Add for Resources {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            cpus: self.cpus.saturating_add(other.cpus),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            disk_bytes: self.disk_bytes.saturating_add(other.disk_bytes),
            gpus: self.gpus.saturating_add(other.gpus),
        }
    }
}

/// Saturates at zero: a node may have less than what is placed on it.
impl Sub for Resources {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self {
            cpus: self.cpus.saturating_sub(other.cpus),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
            disk_bytes: self.disk_bytes.saturating_sub(other.disk_bytes),
            gpus: self.gpus.saturating_sub(other.gpus),
        }
    }
}

impl std::iter::Sum for Resources {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortages_name_what_is_missing() {
        let free = Resources { cpus: 2, memory_bytes: 1 << 30, ..Resources::default() };
        let fits = Resources { cpus: 2, memory_bytes: 1 << 30, ..Resources::default() };
        assert_eq!(fits.shortages(free), Vec::<String>::new());
        let big = Resources { cpus: 3, memory_bytes: 2 << 30, disk_bytes: 0, gpus: 1 };
        let total = Resources { cpus: 2, memory_bytes: 4 << 30, ..free };
        let of = big.shortages_of(free, total);
        assert_eq!(of[..2], ["needs 3 vCPUs, 2 in all", "needs 2048 MiB of memory, 1024 free"]);
        assert_eq!(
            big.shortages(free),
            ["needs 3 vCPUs, 2 free", "needs 2048 MiB of memory, 1024 free", "needs 1 GPUs, 0 free"]
        );
    }
}
