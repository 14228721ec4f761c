//! QEMU Machine Protocol and guest agent protocol: session without I/O, async client.
