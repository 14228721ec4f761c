//! What a peer may do wrong in a ring.

use thiserror::Error;

/// A rule of the ring that the other side broke. The ring cannot be used any more: what it holds means nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The other side's index is further ahead than the ring is long.
    #[error("the index went from {from} to {to}, more than the {size} entries of the ring")]
    Index {
        /// Where we are.
        from: u16,
        /// Where the other side says that it is.
        to: u16,
        /// Entries of the ring.
        size: u16,
    },
    /// A chain begins or goes on outside of the table.
    #[error("descriptor {index} is outside of a table of {size}")]
    Descriptor {
        /// The descriptor named.
        index: u16,
        /// Descriptors of the table.
        size: u16,
    },
    /// A chain comes back to itself, or is longer than its table (section 2.7.5).
    #[error("a chain has more than the {size} descriptors of its table")]
    Loop {
        /// Descriptors of the table.
        size: u16,
    },
    /// An indirect descriptor where none may be: not negotiated, in an indirect table, or followed by another (section 2.7.5.3).
    #[error("descriptor {index} must not be indirect")]
    Indirect {
        /// The descriptor.
        index: u16,
    },
    /// An indirect table that is empty, no multiple of 16 bytes, or longer than the ring allows.
    #[error("an indirect table of {bytes} bytes")]
    IndirectLength {
        /// Its length.
        bytes: u32,
    },
    /// A readable segment behind a writable one (section 2.7.4.2).
    #[error("descriptor {index} is readable and follows a writable one")]
    Order {
        /// The descriptor.
        index: u16,
    },
    /// All segments of a chain together are 4 GiB or more (section 2.7.5).
    #[error("the segments of a chain are 4 GiB or more")]
    Length,
    /// No memory is there.
    #[error("no memory for {length} bytes at {address:#x}")]
    Address {
        /// First byte, in the driver's addresses.
        address: u64,
        /// Bytes.
        length: u32,
    },
    /// The driver offered a chain by the name of one that the device still has.
    #[error("chain {id} was offered while the device has it")]
    Twice {
        /// What names it: the head of a split ring, the id of a packed one.
        id: u16,
    },
    /// The device gave back what it does not have.
    #[error("chain {id} was used and is not with the device")]
    Unknown {
        /// What names it: the head of a split ring, the id of a packed one.
        id: u32,
    },
    /// An address whose memory is not known yet: an IOMMU has to be asked. The ring is as it was, and what was not taken can be taken when the
    /// answer is there.
    #[error("{length} bytes at {address:#x} are not translated yet")]
    Untranslated {
        /// The first byte.
        address: u64,
        /// How many.
        length: u32,
    },
}

impl Fault {
    /// It passes: nobody broke a rule.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Untranslated { .. })
    }
}
