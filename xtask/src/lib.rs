//! Commands for developers. Each is a module here and a word after `cargo xtask`.

pub mod cpio;
pub mod demo_image;
pub mod modules;
pub mod sh;
