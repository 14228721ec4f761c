//! The cells of a packed ring.

use super::super::LayoutError;
use super::{MOST, Shared};
use crate::cells::{Packed, PackedCells, Suppression};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// The three parts of a packed ring in memory.
pub struct PackedMemory {
    descriptors: NonNull<[AtomicU64; 2]>,
    driver: NonNull<AtomicU32>,
    device: NonNull<AtomicU32>,
    size: u16,
    /// Keeps what the pointers point to.
    _memory: [Shared; 3],
}

// SAFETY: all cells are atomic, and the memory is `Shared`.
unsafe impl Send for PackedMemory {}
// SAFETY: as above.
unsafe impl Sync for PackedMemory {}

impl PackedMemory {
    /// Bytes of the ring, of the driver's and of the device's event structure.
    pub const fn bytes(size: u16) -> [usize; 3] {
        [16 * size as usize, 4, 4]
    }

    /// Looks at a ring whose parts are there.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn new(size: u16, descriptors: Shared, driver: Shared, device: Shared) -> Result<Self, LayoutError> {
        if size == 0 || size > MOST {
            return Err(LayoutError::Size { size });
        }
        let [table, one, other] = Self::bytes(size);
        Ok(Self {
            descriptors: descriptors.part("descriptor ring", table, 16)?,
            driver: driver.part("driver event structure", one, 4)?,
            device: device.part("device event structure", other, 4)?,
            size,
            _memory: [descriptors, driver, device],
        })
    }

    #[inline]
    fn entry(&self, place: u16) -> &[AtomicU64; 2] {
        assert!(place < self.size, "the ring checks its places");
        // SAFETY: `new` saw that `size` descriptors are there and aligned; atomics allow that others change them.
        unsafe { self.descriptors.add(place as usize).as_ref() }
    }

    #[inline]
    fn event(cell: &NonNull<AtomicU32>) -> &AtomicU32 {
        // SAFETY: `new` saw that its four bytes are there and aligned.
        unsafe { cell.as_ref() }
    }

    #[inline]
    fn load(cell: &NonNull<AtomicU32>) -> Suppression {
        let both = u32::from_le(Self::event(cell).load(Ordering::Relaxed));
        Suppression { place: both as u16, flags: (both >> 16) as u16 }
    }

    #[inline]
    fn store(cell: &NonNull<AtomicU32>, event: Suppression) {
        let both = u32::from(event.place) | u32::from(event.flags) << 16;
        Self::event(cell).store(both.to_le(), Ordering::Relaxed);
    }
}

impl PackedCells for PackedMemory {
    #[inline]
    fn size(&self) -> u16 {
        self.size
    }

    #[inline]
    fn state(&self, place: u16) -> Packed {
        let [_, state] = self.entry(place);
        let bits = u64::from_le(state.load(Ordering::Acquire));
        Packed { length: bits as u32, id: (bits >> 32) as u16, flags: (bits >> 48) as u16 }
    }

    #[inline]
    fn set_state(&self, place: u16, it: Packed) {
        let [_, state] = self.entry(place);
        let bits = u64::from(it.length) | u64::from(it.id) << 32 | u64::from(it.flags) << 48;
        state.store(bits.to_le(), Ordering::Release);
    }

    #[inline]
    fn address(&self, place: u16) -> u64 {
        u64::from_le(self.entry(place)[0].load(Ordering::Relaxed))
    }

    #[inline]
    fn set_address(&self, place: u16, address: u64) {
        self.entry(place)[0].store(address.to_le(), Ordering::Relaxed);
    }

    #[inline]
    fn driver_event(&self) -> Suppression {
        Self::load(&self.driver)
    }

    #[inline]
    fn set_driver_event(&self, event: Suppression) {
        Self::store(&self.driver, event);
    }

    #[inline]
    fn device_event(&self) -> Suppression {
        Self::load(&self.device)
    }

    #[inline]
    fn set_device_event(&self, event: Suppression) {
        Self::store(&self.device, event);
    }

    #[inline]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}
