//! Commands for developers. Each is a module here and a word after `cargo xtask`.

pub mod bare;
pub mod bench;
pub mod check;
pub mod codegen;
pub mod cpio;
pub mod debian_image;
pub mod demo_image;
pub mod deps;
pub mod files;
pub mod fuzz;
pub mod libvirtd;
pub mod modules;
pub mod no_std;
pub mod observed;
pub mod packages;
pub mod peers;
pub mod qemu_root;
pub mod qmp_observed;
pub mod rings;
pub mod sh;
pub mod tidy;
pub mod unpacked;
pub mod vhost_user_observed;
