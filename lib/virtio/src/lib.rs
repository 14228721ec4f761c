//! Virtio rings, split and packed, from both sides, without an operating system.
//!
//! ```text
//!   driver                          shared memory                         device
//!   split::Driver  --descriptors--> SplitCells  (descriptors, avail, used) --> split::Device --> Chain
//!   packed::Driver --descriptors--> PackedCells (descriptors, two events)  --> packed::Device --> Chain
//!                                                                               |
//!                                                              Regions: guest address -> memory
//! ```
//!
//! - [`split`] and [`packed`] hold the rings; [`ring`] joins them where the kind is known at run time only.
//! - [`cells`] is what a ring is made of. Real memory implements it in [`memory`], a model checker implements it in the tests.
//! - [`memory`] is the memory that driver and device share: [`memory::Regions`] find what is behind an address, and every access goes
//!   through a [`memory::Slice`].
//! - [`blk`], [`net`], [`scsi`], [`console`], [`balloon`], [`fs`], [`vsock`], [`input`], [`gpu`], [`sound`]: what goes through the rings of a device type; [`post`]: messages that
//!   are copied; [`exchange`]: requests that are answered within their chain.
//!   Entropy devices have no protocol at all: a chain is filled (section 5.4).
//!
//! Nothing from the other side is trusted: every field is read once into memory of our own, every index, length and address is
//! checked before it is used, and a ring that broke a rule is broken from then on ([`Fault`]).
//!
//! "Section" names one of VIRTIO 1.4 (CS01).
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod balloon;
pub mod blk;
mod bytes;
pub mod cells;
pub mod chain;
pub mod console;
pub mod event;
pub mod exchange;
mod fault;
pub mod features;
pub mod fs;
pub mod gpu;
pub mod input;
pub mod memory;
pub mod net;
pub mod packed;
pub mod post;
pub mod ring;
pub mod scsi;
pub mod sound;
pub mod split;
pub mod vsock;

pub use chain::{Chain, Segment, Taken};
pub use fault::Fault;
pub use ring::{AddError, Done, Full, Options, Tables, Token};
