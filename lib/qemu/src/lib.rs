//! QEMU from configuration to a supervised process.
