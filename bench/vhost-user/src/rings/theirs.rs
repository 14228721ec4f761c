//! The crate `virtio-drivers`.

mod sys;

pub(super) use sys::Theirs;
