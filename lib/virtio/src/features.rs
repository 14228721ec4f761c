//! Features that belong to no device type (section 6).

use crate::Options;

bitflags::bitflags! {
    /// Bits 24 to 43 of the features of any device. Those of the device's type are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// vhost: writes to memory are logged. On the wire of vhost-user only.
        const LOG_ALL = 1 << 26;
        /// A chain may be a table elsewhere.
        const INDIRECT_DESC = 1 << 28;
        /// Notifications are asked for by place.
        const EVENT_IDX = 1 << 29;
        /// vhost-user: the back-end speaks protocol features. Never offered to a guest.
        const PROTOCOL_FEATURES = 1 << 30;
        /// The device follows version 1 of the specification or later.
        const VERSION_1 = 1 << 32;
        /// The device's addresses go through an IOMMU.
        const ACCESS_PLATFORM = 1 << 33;
        /// Rings are packed.
        const RING_PACKED = 1 << 34;
        /// Chains are used in the order in which they were offered.
        const IN_ORDER = 1 << 35;
        /// Memory is ordered as the platform orders it, for real hardware.
        const ORDER_PLATFORM = 1 << 36;
        /// Virtual functions.
        const SR_IOV = 1 << 37;
        /// A kick says how far the driver is.
        const NOTIFICATION_DATA = 1 << 38;
        /// The device gives the value of a kick.
        const NOTIF_CONFIG_DATA = 1 << 39;
        /// Queues can be reset one by one.
        const RING_RESET = 1 << 40;
        /// Administration queues.
        const ADMIN_VQ = 1 << 41;
        /// The device can be suspended.
        const SUSPEND = 1 << 43;
        /// Those of the device's type, and what is newer.
        const _ = !0;
    }
}

impl Features {
    /// How rings look with these.
    pub const fn options(self) -> Options {
        Options {
            event_index: self.contains(Self::EVENT_IDX),
            indirect: self.contains(Self::INDIRECT_DESC),
            in_order: self.contains(Self::IN_ORDER),
        }
    }
}
