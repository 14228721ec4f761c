//! Pages of 2 MiB for the guests of a test.

use std::fs;

const PLACE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// They go back to the host with this.
pub(crate) struct HugePages(Option<String>);

impl HugePages {
    /// Asks for so many. A host that has some already, or gives none, is left as it is: [`HugePages::count`] tells.
    pub(crate) fn take(count: usize) -> Self {
        let file = format!("{PLACE}/nr_hugepages");
        let before = fs::read_to_string(&file).unwrap_or_default();
        let taken = before.trim() == "0" && fs::write(&file, count.to_string()).is_ok();
        Self(taken.then_some(before))
    }

    /// How many there are: all (`nr`), those that nobody uses (`free`), or those promised to somebody (`resv`).
    pub(crate) fn count(which: &str) -> usize {
        let count = fs::read_to_string(format!("{PLACE}/{which}_hugepages")).unwrap_or_default();
        count.trim().parse().unwrap_or(0)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // What cannot be given back is the host's again when it restarts.
            let _ = fs::write(format!("{PLACE}/nr_hugepages"), before.trim());
        }
    }
}
