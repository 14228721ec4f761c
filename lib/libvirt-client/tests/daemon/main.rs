//! Against libvirt's own daemon, started by the tests as an unprivileged user with directories of its own.
#![cfg(test)]

mod admin;
mod agent;
mod authority;
mod calls;
mod connections;
mod containers;
mod devices;
mod disk_flags;
mod effects;
mod events;
#[path = "../generated/every.rs"]
mod every;
mod file_systems;
mod flags;
mod guest_events;
mod guest_flags;
mod guests;
mod jobs;
mod kerberos;
mod memory;
mod migration;
mod migration_effects;
mod migration_flags;
mod networks;
mod newest;
mod object_flags;
mod objects;
mod observed;
mod old_calls;
mod old_events;
mod polkit;
mod post_copy;
mod raw;
mod root;
#[path = "../shared/running.rs"]
mod running;
mod secure;
mod settings;
mod sshd;
mod storage;
mod support;
mod transports;
mod tunnels;
