//! Virtual machines by QEMU, behind the contract of [`hv_driver`].
//!
//! ```text
//!                       .-- admit     looks only: image, kernel, bridge, tap, firmware, programs
//!   Driver (driver.rs) -+-- prepare   overlay, disks, seed, firmware variables         hv-storage
//!                       +-- convert   specification + descriptors -> machine           lib/qemu
//!                       +-- guest     one slot per instance: start, adopt, supervise, end
//!                       '-- console   replay of the log, then what is appended to it
//!
//!   <state>/kvm.json                        what is known of KVM in this boot
//!   <state>/instances/<uid>/instance.json   name, epoch, image, machine type
//!                           root.qcow2, disk-<name>.qcow2, seed.iso, uefi-vars.fd
//!                           run/            sockets, logs, lock, record.json, guest.json, ended.json
//! ```
//!
//! - The guest's process opens nothing of this: disks, kernel, sockets, logs and taps are handed over as descriptors. As
//!   root it is started as a user without any rights, one for each instance (users.rs), in a control group of its own
//!   (cgroup.rs); else Landlock hides what it does not need. With neither, no guest is
//!   started unless [`Config::allow_unconfined`] says so.
//! - Guests outlive the driver. A new driver finds them by the files above, and by the lock that QEMU holds while it lives.
//! - A tap that the driver made exists as long as the guest's process: there is nothing to remove, whoever dies first.

mod accelerator;
mod admit;
mod cgroup;
mod config;
mod confined;
mod console;
mod convert;
mod driver;
mod error;
mod guest;
mod layout;
mod network;
mod prepare;
mod users;

pub use cgroup::Choice as Cgroups;
pub use config::{Config, DEFAULT_UIDS, NoSuchUser};
pub use driver::QemuDriver;
pub use qemu::accel::Choice as Accel;
