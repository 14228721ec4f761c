//! The memory balloon.

use super::{OperationError, figure, follow::Follow};
use crate::Vm;
use qmp::commands::{
    Balloon, MemoryDeviceInfo, QomGet, QomSet, QueryBalloon, QueryMemoryDevices, QueryMemorySizeSummary,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// What the guest says of its memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestMemory {
    /// When it said so, in seconds since 1970; 0 for never.
    pub at: u64,
    /// Bytes it can use.
    pub total: Option<u64>,
    /// Bytes nobody uses.
    pub free: Option<u64>,
    /// Bytes that can be had without swapping.
    pub available: Option<u64>,
    /// Bytes of cached files.
    pub disk_caches: Option<u64>,
    /// Bytes read from swap since its start.
    pub swapped_in: Option<u64>,
    /// Bytes written to swap since its start.
    pub swapped_out: Option<u64>,
    /// Page faults that had to read from disk.
    pub major_faults: Option<u64>,
    /// Page faults that had not.
    pub minor_faults: Option<u64>,
}

impl Vm {
    /// Asks the guest to live with `bytes` of memory and waits until it does, at most `patience` long. Answers what it has then: whole pages
    /// (of 4 KiB), and never more than the machine has, so that `u64::MAX` gives all back.
    ///
    /// # Errors
    /// [`OperationError`]; refused while the guest's driver is not up. The guest goes on trying after
    /// [`OperationError::GuestSilent`].
    pub async fn balloon(&self, bytes: u64, patience: Duration) -> Result<u64, OperationError> {
        let what = format!("a balloon of {bytes} bytes");
        let mut changes = Follow::new(self, &["BALLOON_CHANGE"]);
        let bytes = in_pages(bytes, self.memory_of_balloon(&mut changes, &what).await?);
        // Asked again it is the same wish.
        changes.insist("set the balloon", &wish(bytes)).await?;
        let reached = async {
            loop {
                let actual = changes.read(&what, &QueryBalloon {}).await?.actual;
                if actual == bytes {
                    return Ok(actual);
                }
                // At most one a second; the last one is never lost.
                changes.heard(&what).await?;
            }
        };
        let silent = OperationError::GuestSilent { what: what.clone(), after: patience };
        tokio::time::timeout(patience, reached).await.unwrap_or(Err(silent))
    }

    /// Asks the guest to live with `bytes` of memory, without waiting for it.
    ///
    /// # Errors
    /// [`OperationError`]; refused while the guest's driver is not up.
    pub async fn ask_balloon(&self, bytes: u64) -> Result<(), OperationError> {
        self.tell("set the balloon", &wish(bytes)).await.map(drop)
    }

    /// What the balloon reckons with: memory of the start and modules, but nothing else that was plugged (`get_current_ram_size` of
    /// `hw/virtio/virtio-balloon.c`).
    async fn memory_of_balloon(&self, asking: &mut Follow, what: &str) -> Result<u64, OperationError> {
        let base = asking.read(what, &QueryMemorySizeSummary {}).await?.base_memory;
        let devices = asking.read(what, &QueryMemoryDevices {}).await?;
        let modules = devices.iter().map(|device| match device {
            MemoryDeviceInfo::Dimm(module) => figure(module.size),
            _ => 0,
        });
        Ok(figure(base) + modules.sum::<u64>())
    }

    /// Asks the guest for the state of its memory every `interval` (whole seconds; zero for no longer).
    ///
    /// # Errors
    /// [`OperationError`] for a machine without a balloon.
    pub async fn poll_guest_memory(&self, interval: Duration) -> Result<(), OperationError> {
        let command = QomSet {
            path: BALLOON.to_owned(),
            property: "guest-stats-polling-interval".to_owned(),
            value: json!(interval.as_secs()),
        };
        self.tell("ask for the guest's memory", &command).await.map(drop)
    }

    /// What the guest last said of its memory. Figures it does not tell are `None`, never zero.
    ///
    /// # Errors
    /// [`OperationError`] for a machine without a balloon.
    pub async fn guest_memory(&self) -> Result<GuestMemory, OperationError> {
        let question = QomGet { path: BALLOON.to_owned(), property: "guest-stats".to_owned() };
        let reply = self.ask("read the guest's memory", &question).await?;
        Ok(read(&reply))
    }
}

fn wish(bytes: u64) -> Balloon {
    // A signed number to QEMU.
    Balloon { value: bytes.min(i64::MAX as u64) }
}

/// What a balloon comes to that is asked for `bytes` of `all`: it takes whole pages only.
fn in_pages(bytes: u64, all: u64) -> u64 {
    const PAGE: u64 = 4096;
    all - all.saturating_sub(bytes) / PAGE * PAGE
}

/// QEMU writes figures that it has not as 2^64 - 1.
fn read(reply: &Value) -> GuestMemory {
    let figures: BTreeMap<&str, u64> = (reply["stats"].as_object().into_iter().flatten())
        .filter_map(|(name, value)| Some((name.as_str(), value.as_u64()?)))
        .filter(|(_, value)| *value != u64::MAX)
        .collect();
    let figure = |name: &str| figures.get(name).copied();
    GuestMemory {
        at: reply["last-update"].as_u64().unwrap_or(0),
        total: figure("stat-total-memory"),
        free: figure("stat-free-memory"),
        available: figure("stat-available-memory"),
        disk_caches: figure("stat-disk-caches"),
        swapped_in: figure("stat-swap-in"),
        swapped_out: figure("stat-swap-out"),
        major_faults: figure("stat-major-faults"),
        minor_faults: figure("stat-minor-faults"),
    }
}

const BALLOON: &str = "/machine/peripheral/balloon0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balloon_takes_whole_pages_of_what_there_is() {
        for (bytes, comes_to) in
            [(8192, 8192), (8193, 12288), (12287, 12288), (16384, 16384), (u64::MAX, 16384)]
        {
            assert_eq!(in_pages(bytes, 16384), comes_to, "{bytes}");
        }
    }

    #[test]
    fn figures_that_are_not_there_are_not_zero() {
        let told =
            read(&json!({"last-update": 7, "stats": {"stat-free-memory": 5, "stat-swap-in": u64::MAX}}));
        assert_eq!(told, GuestMemory { at: 7, free: Some(5), ..GuestMemory::default() });
        assert_eq!(read(&Value::Null), GuestMemory::default());
    }
}
