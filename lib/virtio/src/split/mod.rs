//! Split rings (section 2.7): a table of descriptors, a ring of what the driver made available, a ring of what the device has used.

mod device;
mod driver;

pub use device::Device;
pub use driver::Driver;

/// Asks the other side not to notify, where the event index was not negotiated.
const NO_NOTIFICATIONS: u16 = 1;
