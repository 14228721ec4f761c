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
    /// Until the memory is known. From then on the front-end's is the only one: when it goes, nobody waits for pages any more, such as the
    /// thread of this session, which hears of nothing else while it does.
    userfault: Option<Userfault>,
    listens: bool,
}

impl Postcopy {
    /// With another descriptor of it, for the front-end.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let userfault = Userfault::new()?;
        let theirs = userfault.descriptor()?;
        Ok((Self { userfault: Some(userfault), listens: false }, theirs))
    }

    pub(super) const fn listen(&mut self) {
        self.listens = true;
    }

    pub(super) const fn listens(&self) -> bool {
        self.listens
    }

    /// From now on who touches what is missing waits for it; once.
    pub(super) fn register(&mut self, memory: &Memory) -> io::Result<()> {
        let userfault = self.userfault.take().ok_or(io::ErrorKind::AlreadyExists)?;
        memory.places().try_for_each(|(_, here)| userfault.register(here))
    }
}
