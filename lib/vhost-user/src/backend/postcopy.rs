//! Postcopy: the driver runs here before its memory has come, and pages come as they are touched.
//!
//! ```text
//!   ADVISE: a userfaultfd goes to the front-end       LISTEN: memory that comes now is empty
//!   SET_MEM_TABLE: answered by where it lies here     an empty SET_MEM_TABLE: a page that is missing is asked for on the userfaultfd
//!   END: all of it is there
//! ```

use super::memory::Memory;
use crate::memory::Userfault;
use std::io;
use std::os::fd::OwnedFd;

pub(super) struct Postcopy {
    userfault: Userfault,
    listens: bool,
}

impl Postcopy {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { userfault: Userfault::new()?, listens: false })
    }

    /// Another descriptor of it, for the front-end.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.userfault.descriptor()
    }

    pub(super) const fn listen(&mut self) {
        self.listens = true;
    }

    pub(super) const fn listens(&self) -> bool {
        self.listens
    }

    /// From now on who touches what is missing waits for it.
    pub(super) fn register(&self, memory: &Memory) -> io::Result<()> {
        memory.places().try_for_each(|(_, here)| self.userfault.register(here))
    }
}
