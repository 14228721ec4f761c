//! Devices that the back-end can serve.

mod balloon;
mod console;
mod disk;
mod entropy;
mod more;
mod net;

pub use balloon::{Balloon, BalloonControl, BalloonNumbers};
pub use console::Console;
#[cfg(feature = "io-uring")]
pub use disk::DirectDisk;
pub use disk::{Disk, InMemory, Null, OnFile};
pub use entropy::Entropy;
pub use more::WithMore;
pub use net::{Loopback, Network, Port, Tap};
