//! Rings of both kinds, driver against device: whatever is offered arrives once and comes back once, nobody misses a notification, and
//! no content of the shared memory makes a side panic, loop or touch what it must not.
#![cfg(test)]

mod busy;
mod hostile;
mod layout;
mod noise;
mod pair;
mod traffic;
