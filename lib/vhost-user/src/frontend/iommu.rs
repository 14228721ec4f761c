//! Addresses behind an IOMMU, with `ACCESS_PLATFORM`: the back-end knows those that it was told, and asks for others on its channel.

use super::{CallError, FrontEnd};
use crate::front::Request;
use crate::payload::Iotlb;
use crate::socket::Waits;

/// What a device may do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Read it.
    Read,
    /// Write it.
    Write,
    /// Both.
    Both,
}

impl Permission {
    const fn bits(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Both => 3,
        }
    }
}

impl<W: Waits> FrontEnd<W> {
    /// The device's address `iova` and what follows it is memory from `user_address` on, an address of the front-end's by which it gave a
    /// region. What was told of these addresses before does not count any more.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn map(
        &mut self,
        iova: u64,
        size: u64,
        user_address: u64,
        permission: Permission,
    ) -> W::Output<'_, Result<(), CallError>> {
        const UPDATE: u8 = 2;
        self.translation(Iotlb { iova, size, user_address, permission: permission.bits(), kind: UPDATE })
    }

    /// These addresses of the device's are no memory any more; a `size` of 0 means all from `iova` on.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn unmap(&mut self, iova: u64, size: u64) -> W::Output<'_, Result<(), CallError>> {
        const INVALIDATE: u8 = 3;
        self.translation(Iotlb { iova, size, kind: INVALIDATE, ..Iotlb::default() })
    }

    fn translation(&mut self, entry: Iotlb) -> W::Output<'_, Result<(), CallError>> {
        W::run(self.succeeded(Request::IotlbMsg(entry)))
    }
}
