//! What `cargo xtask codegen` prints from the description of libvirt's interface.

pub mod raw;
