//! Pages of 2 MiB for the guests of a test.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};

const PLACE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
/// Whoever has pages of the host's holds it: other threads of this process, another checkout's tests, and those of libvirt's client
/// (`HUGE_PAGES` in `lib/libvirt-client/tests/daemon/root.rs`) wait. Who cannot make it is not root, and uses pages that are free without it.
const LOCK: &str = "/run/tests-huge-pages.lock";

/// They go back to the host with this.
pub(crate) struct HugePages {
    before: Option<String>,
    _lock: Option<File>,
}

impl HugePages {
    /// Asks for so many, once nobody else has any. A host that has some already, or gives none, is left as it is: [`HugePages::count`]
    /// tells.
    pub(crate) fn take(count: usize) -> Self {
        let lock = File::options().write(true).create(true).truncate(false).open(LOCK).ok();
        let _lock = lock.filter(|lock| flock(lock, FlockOperation::LockExclusive).is_ok());
        let file = format!("{PLACE}/nr_hugepages");
        let before = fs::read_to_string(&file).unwrap_or_default();
        let taken = before.trim() == "0" && fs::write(&file, count.to_string()).is_ok();
        Self { before: taken.then_some(before), _lock }
    }

    /// How many there are: all (`nr`), those that nobody uses (`free`), or those promised to somebody (`resv`).
    pub(crate) fn count(which: &str) -> usize {
        let count = fs::read_to_string(format!("{PLACE}/{which}_hugepages")).unwrap_or_default();
        count.trim().parse().unwrap_or(0)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // What cannot be given back is the host's again when it restarts.
            let _ = fs::write(format!("{PLACE}/nr_hugepages"), before.trim());
        }
    }
}
