//! The cells of a split ring.

use super::super::LayoutError;
use super::{MOST, Shared};
use crate::cells::{Descriptor, SplitCells};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// The three parts of a split ring in memory.
pub struct SplitMemory {
    descriptors: NonNull<[AtomicU64; 2]>,
    avail: NonNull<AtomicU16>,
    used: NonNull<AtomicU16>,
    size: u16,
    /// Keeps what the pointers point to.
    _memory: [Shared; 3],
}

// SAFETY: all cells are atomic, and the memory is `Shared`.
unsafe impl Send for SplitMemory {}
// SAFETY: as above.
unsafe impl Sync for SplitMemory {}

impl SplitMemory {
    /// Bytes of the descriptors, of the driver's and of the device's part.
    pub const fn bytes(size: u16) -> [usize; 3] {
        let size = size as usize;
        [16 * size, 6 + 2 * size, 6 + 8 * size]
    }

    /// Looks at a ring whose parts are there.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn new(size: u16, descriptors: Shared, avail: Shared, used: Shared) -> Result<Self, LayoutError> {
        if !size.is_power_of_two() || size > MOST {
            return Err(LayoutError::Size { size });
        }
        let [table, driver, device] = Self::bytes(size);
        Ok(Self {
            descriptors: descriptors.part("descriptor table", table, 16)?,
            avail: avail.part("available ring", driver, 2)?,
            used: used.part("used ring", device, 4)?,
            size,
            _memory: [descriptors, avail, used],
        })
    }

    #[inline]
    fn entry(&self, index: u16) -> &[AtomicU64; 2] {
        assert!(index < self.size, "the ring checks its indices");
        // SAFETY: `new` saw that `size` descriptors are there and aligned; atomics allow that others change them.
        unsafe { self.descriptors.add(index as usize).as_ref() }
    }

    /// The `at`th 16-bit field of the driver's part; the last is `size + 2`.
    #[inline]
    fn driver(&self, at: u16) -> &AtomicU16 {
        // SAFETY: every caller passes at most `size + 2`, and `new` saw that these `6 + 2 * size` bytes are there and aligned.
        unsafe { self.avail.add(at as usize).as_ref() }
    }

    /// The `at`th 16-bit field of the device's part; the last is `4 * size + 2`.
    #[inline]
    fn device(&self, at: usize) -> &AtomicU16 {
        // SAFETY: every caller passes at most `4 * size + 2`, and `new` saw that these `6 + 8 * size` bytes are there and aligned.
        unsafe { self.used.add(at).as_ref() }
    }

    #[inline]
    fn used_pair(&self, slot: u16) -> &[AtomicU32; 2] {
        assert!(slot < self.size, "the ring checks its indices");
        // SAFETY: entry `slot` is at byte `4 + 8 * slot` of a part that is 4-byte aligned and long enough.
        unsafe { self.used.byte_add(4 + 8 * slot as usize).cast().as_ref() }
    }

    #[inline]
    fn slot(&self, slot: u16) -> u16 {
        assert!(slot < self.size, "the ring checks its indices");
        slot + 2
    }
}

impl SplitCells for SplitMemory {
    #[inline]
    fn size(&self) -> u16 {
        self.size
    }

    #[inline]
    fn descriptor(&self, index: u16) -> Descriptor {
        let [address, rest] = self.entry(index);
        let words = [address, rest].map(|word| u64::from_le(word.load(Ordering::Relaxed)));
        Descriptor::from_words(words)
    }

    #[inline]
    fn set_descriptor(&self, index: u16, value: Descriptor) {
        let [address, rest] = self.entry(index);
        let [a, b] = value.words();
        address.store(a.to_le(), Ordering::Relaxed);
        rest.store(b.to_le(), Ordering::Relaxed);
    }

    #[inline]
    fn avail_flags(&self) -> u16 {
        u16::from_le(self.driver(0).load(Ordering::Relaxed))
    }

    #[inline]
    fn set_avail_flags(&self, flags: u16) {
        self.driver(0).store(flags.to_le(), Ordering::Relaxed);
    }

    #[inline]
    fn avail_index(&self) -> u16 {
        u16::from_le(self.driver(1).load(Ordering::Acquire))
    }

    #[inline]
    fn set_avail_index(&self, index: u16) {
        self.driver(1).store(index.to_le(), Ordering::Release);
    }

    #[inline]
    fn avail_entry(&self, slot: u16) -> u16 {
        u16::from_le(self.driver(self.slot(slot)).load(Ordering::Relaxed))
    }

    #[inline]
    fn set_avail_entry(&self, slot: u16, head: u16) {
        self.driver(self.slot(slot)).store(head.to_le(), Ordering::Relaxed);
    }

    #[inline]
    fn used_event(&self) -> u16 {
        u16::from_le(self.driver(self.size + 2).load(Ordering::Relaxed))
    }

    #[inline]
    fn set_used_event(&self, index: u16) {
        self.driver(self.size + 2).store(index.to_le(), Ordering::Relaxed);
    }

    #[inline]
    fn used_flags(&self) -> u16 {
        u16::from_le(self.device(0).load(Ordering::Relaxed))
    }

    #[inline]
    fn set_used_flags(&self, flags: u16) {
        self.device(0).store(flags.to_le(), Ordering::Relaxed);
    }

    #[inline]
    fn used_index(&self) -> u16 {
        u16::from_le(self.device(1).load(Ordering::Acquire))
    }

    #[inline]
    fn set_used_index(&self, index: u16) {
        self.device(1).store(index.to_le(), Ordering::Release);
    }

    #[inline]
    fn used_entry(&self, slot: u16) -> (u32, u32) {
        let [head, written] = self.used_pair(slot);
        (u32::from_le(head.load(Ordering::Relaxed)), u32::from_le(written.load(Ordering::Relaxed)))
    }

    #[inline]
    fn set_used_entry(&self, slot: u16, head: u32, bytes: u32) {
        let [id, written] = self.used_pair(slot);
        id.store(head.to_le(), Ordering::Relaxed);
        written.store(bytes.to_le(), Ordering::Relaxed);
    }

    #[inline]
    fn avail_event(&self) -> u16 {
        u16::from_le(self.device(4 * self.size as usize + 2).load(Ordering::Relaxed))
    }

    #[inline]
    fn set_avail_event(&self, index: u16) {
        self.device(4 * self.size as usize + 2).store(index.to_le(), Ordering::Relaxed);
    }

    #[inline]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}
