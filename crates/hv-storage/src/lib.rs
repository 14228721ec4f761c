//! Images, overlays, data disks and cloud-init seeds of one host. Blocking code: files and the program `qemu-img`.
//!
//! ```text
//!   a user's image ── inspect ── Policy::check ──> Image ──┬── create_overlay ──> <instance>/root.qcow2
//!   (never written)   own header reader, no trust          └── grow (never shrink)
//!   a size ─────────────────────────────────────────────────── create_disk ────> <instance>/data.qcow2
//!   user-data ── UserData::parse ── Seed ── iso9660 ──────────────────────────> <instance>/seed.iso
//! ```
//!
//! Every file appears under its final name only when it is complete: it is made beside it under a temporary name, flushed
//! and renamed; on any error, a full disk among them, the temporary file is removed and the state is as before.
//!
//! What it does not do: remember anything (names and owners of disks belong to the caller), talk to a running QEMU
//! (growing a disk in use is QMP's business), fetch images.

mod disk;
mod error;
mod image;
mod iso9660;
mod path;
mod qcow2;
mod qemu_img;
mod seed;

pub use disk::{create_disk, create_overlay, delete, grow};
pub use error::StorageError;
pub use image::{Format, Image, Policy, inspect};
pub use path::DiskPath;
pub use qcow2::{Encryption, Header};
pub use seed::{Seed, UserData};
