//! What rings are made of: cells that two sides see.
//!
//! The rings are written against these traits, so that the same code runs on memory ([`crate::memory::SplitMemory`],
//! [`crate::memory::PackedMemory`]) and under a model checker. The order of accesses is part of each method's contract.

/// A descriptor of a split ring (section 2.7.5), or of the indirect table of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Where the segment begins, in the driver's addresses.
    pub address: u64,
    /// Its bytes.
    pub length: u32,
    /// [`NEXT`], [`WRITE`], [`INDIRECT`].
    pub flags: u16,
    /// The descriptor after it, if [`NEXT`] is set.
    pub next: u16,
}

impl Descriptor {
    /// From its two words.
    #[inline]
    pub(crate) const fn from_words([address, rest]: [u64; 2]) -> Self {
        Self { address, length: rest as u32, flags: (rest >> 32) as u16, next: (rest >> 48) as u16 }
    }

    /// Its two words: the address, and the rest of it.
    #[inline]
    pub(crate) const fn words(self) -> [u64; 2] {
        let Self { address, length, flags, next } = self;
        [address, length as u64 | (flags as u64) << 32 | (next as u64) << 48]
    }

    /// From its bytes.
    #[inline]
    pub(crate) const fn from_bytes(bytes: [u8; DESCRIPTOR_BYTES as usize]) -> Self {
        let whole = u128::from_le_bytes(bytes);
        Self::from_words([whole as u64, (whole >> 64) as u64])
    }

    /// Its bytes.
    #[inline]
    pub(crate) const fn bytes(self) -> [u8; DESCRIPTOR_BYTES as usize] {
        let [low, high] = self.words();
        (low as u128 | (high as u128) << 64).to_le_bytes()
    }
}

/// The chain goes on.
pub const NEXT: u16 = 1;
/// The device writes this segment, and does not read it.
pub const WRITE: u16 = 2;
/// The segment is a table of descriptors.
pub const INDIRECT: u16 = 4;
/// Packed rings: made available, if it equals the driver's wrap counter.
pub const AVAILABLE: u16 = 1 << 7;
/// Packed rings: used, if it equals the device's wrap counter.
pub const USED: u16 = 1 << 15;

/// Bytes of a descriptor, of either ring.
pub const DESCRIPTOR_BYTES: u32 = 16;

/// The shared cells of a split ring (section 2.7).
///
/// Slots and descriptor numbers are below [`SplitCells::size`]: the rings see to that; an implementation panics otherwise.
pub trait SplitCells {
    /// Entries: a power of two up to 32,768.
    fn size(&self) -> u16;
    /// Reads a descriptor once.
    fn descriptor(&self, index: u16) -> Descriptor;
    /// Writes a descriptor.
    fn set_descriptor(&self, index: u16, value: Descriptor);
    /// The driver's flags: 1 asks for no calls.
    fn avail_flags(&self) -> u16;
    /// Sets them.
    fn set_avail_flags(&self, flags: u16);
    /// The driver's index; what was written before it was set is seen after it (acquire).
    fn avail_index(&self) -> u16;
    /// Sets it, after everything written so far (release).
    fn set_avail_index(&self, index: u16);
    /// The head in a slot of the driver's.
    fn avail_entry(&self, slot: u16) -> u16;
    /// Sets it.
    fn set_avail_entry(&self, slot: u16, head: u16);
    /// Where the driver wants to be called.
    fn used_event(&self) -> u16;
    /// Sets it.
    fn set_used_event(&self, index: u16);
    /// The device's flags: 1 asks for no kicks.
    fn used_flags(&self) -> u16;
    /// Sets them.
    fn set_used_flags(&self, flags: u16);
    /// The device's index (acquire).
    fn used_index(&self) -> u16;
    /// Sets it (release).
    fn set_used_index(&self, index: u16);
    /// Head and written bytes in a slot of the device's.
    fn used_entry(&self, slot: u16) -> (u32, u32);
    /// Sets them.
    fn set_used_entry(&self, slot: u16, head: u32, written: u32);
    /// Where the device wants to be kicked.
    fn avail_event(&self) -> u16;
    /// Sets it.
    fn set_avail_event(&self, index: u16);
    /// Nothing after it is done before what precedes it is seen: the full barrier between publishing and looking whether to notify.
    fn fence(&self);
}

/// A descriptor of a packed ring (section 2.8.5), without its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of the segment; of a used one, those that were written.
    pub length: u32,
    /// What names the chain.
    pub id: u16,
    /// [`NEXT`], [`WRITE`], [`INDIRECT`], [`AVAILABLE`], [`USED`].
    pub flags: u16,
}

/// An event suppression structure (section 2.8.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suppression {
    /// Bits 0 to 14 a place in the ring, bit 15 the wrap counter there.
    pub place: u16,
    /// [`Suppression::ENABLE`], [`Suppression::DISABLE`], [`Suppression::AT_PLACE`].
    pub flags: u16,
}

impl Suppression {
    /// Every publication is told.
    pub const ENABLE: u16 = 0;
    /// None is.
    pub const DISABLE: u16 = 1;
    /// The one of that place is; with the event index negotiated only.
    pub const AT_PLACE: u16 = 2;
}

/// The shared cells of a packed ring (section 2.8).
///
/// Places are below [`PackedCells::size`]: the rings see to that; an implementation panics otherwise.
pub trait PackedCells {
    /// Entries: 1 to 32,768.
    fn size(&self) -> u16;
    /// All but the address; what was written before it was set is seen after it (acquire).
    fn state(&self, place: u16) -> Packed;
    /// Sets it, after everything written so far (release).
    fn set_state(&self, place: u16, state: Packed);
    /// The address.
    fn address(&self, place: u16) -> u64;
    /// Sets it.
    fn set_address(&self, place: u16, address: u64);
    /// When the driver wants to be called.
    fn driver_event(&self) -> Suppression;
    /// Sets it.
    fn set_driver_event(&self, event: Suppression);
    /// When the device wants to be kicked.
    fn device_event(&self) -> Suppression;
    /// Sets it.
    fn set_device_event(&self, event: Suppression);
    /// As [`SplitCells::fence`].
    fn fence(&self);
}
