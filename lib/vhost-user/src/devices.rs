//! Devices that back-ends serve.

mod disk;

pub use disk::{Disk, InMemory, Null, OnFile};
