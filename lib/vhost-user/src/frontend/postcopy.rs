//! Postcopy: memory that comes to the back-end as it is touched.

use super::memory::region;
use super::wait_error::WaitError;
use super::{CallError, FrontEnd};
use crate::clock;
use crate::front::Request;
use crate::memory::{Memory, Userfault};
use crate::payload::{MemoryTable, Region};
use crate::socket::{Canceller, Waits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// Pages that the back-end waits for.
#[derive(Debug)]
pub struct Missing {
    userfault: Userfault,
    /// What ends its waits: that of the front-end.
    cancelled: Canceller,
    /// Each region, at the back-end's address.
    regions: Vec<Region>,
}

impl AsFd for Missing {
    /// Readable when it waits for one.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.userfault.as_fd()
    }
}

const PAGE: u64 = 4096;

impl Missing {
    /// The driver's address of a page that the back-end waits for; waits at most so long for that, `None`: it waits for none.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn next(&self, time: Duration) -> Result<Option<u64>, WaitError> {
        let mut all =
            [PollFd::new(&self.userfault, PollFlags::IN), PollFd::new(&self.cancelled, PollFlags::IN)];
        let begin = clock::monotonic();
        loop {
            let left = time.saturating_sub(clock::monotonic().saturating_sub(begin));
            let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
            match poll(&mut all, Some(&left)) {
                // A signal's handler ran, which is no page that is missing, nor the end of the time.
                Err(Errno::INTR) => {}
                polled => {
                    polled?;
                    break;
                }
            }
        }
        if !all[1].revents().is_empty() {
            return Err(WaitError::Cancelled);
        }
        let Some(address) = self.userfault.missing()? else { return Ok(None) };
        let found = self.regions.iter().find_map(|region| {
            let offset = address.checked_sub(region.user_address).filter(|offset| *offset < region.size)?;
            Some(region.guest_address + offset / PAGE * PAGE)
        });
        found.ok_or(WaitError::Page(address)).map(Some)
    }

    /// All pages are there, and whoever waits for any of them looks again.
    ///
    /// # Errors
    /// That of the system call.
    pub fn all_are_there(&self) -> io::Result<()> {
        // Below the least that is mapped, and up to the least end of all that are (x86).
        const START: u64 = 1 << 16;
        const END: u64 = (1 << 47) - PAGE;
        self.userfault.wake(START, END - START)
    }

    /// The page at this address of the driver's is there now, written into the memory that the back-end was given.
    ///
    /// # Errors
    /// That of the system call.
    pub fn is_there(&self, address: u64) -> io::Result<()> {
        let here = self.regions.iter().find_map(|region| {
            let offset = address.checked_sub(region.guest_address).filter(|offset| *offset < region.size)?;
            Some(region.user_address + offset)
        });
        here.map_or(Ok(()), |here| self.userfault.wake(here, PAGE))
    }
}

impl<W: Waits> FrontEnd<W> {
    /// Begins a postcopy migration, with `PAGEFAULT`: the back-end gets this memory, of which nothing has come yet, and waits for each page
    /// that it touches until [`Missing::is_there`] tells it to look again. It must have no memory before.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn postcopy<'a>(&'a mut self, memory: &'a [&'a Memory]) -> W::Output<'a, Result<Missing, CallError>> {
        W::run(async move {
            let advised = self.ask(&Request::PostcopyAdvise, &[]).await?;
            let descriptor =
                advised.and_then(|mut answer| answer.descriptors.pop()).ok_or(CallError::Broken)?;
            self.ask(&Request::PostcopyListen, &[]).await?;
            let regions = memory.iter().map(|it| region(&it.region(), self.names())).collect();
            let descriptors: Vec<_> = memory.iter().map(|it| it.descriptor()).collect();
            let regions = self.told_where(MemoryTable { regions }, &descriptors).await?;
            let missing =
                Missing { userfault: Userfault::of(descriptor), cancelled: self.canceller(), regions };
            // Only now may it wait for pages: there is who brings them.
            self.tell_table().await?;
            for it in memory {
                let descriptor = Arc::new(it.descriptor().try_clone_to_owned()?);
                self.regions.push((region(&it.region(), self.names()), descriptor));
            }
            Ok(missing)
        })
    }

    /// All pages are there.
    ///
    /// # Errors
    /// [`CallError::Refused`] where the back-end knows of no postcopy.
    pub fn postcopy_end(&mut self) -> W::Output<'_, Result<(), CallError>> {
        W::run(self.succeeded(Request::PostcopyEnd))
    }
}
