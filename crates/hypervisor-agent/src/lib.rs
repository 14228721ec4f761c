//! x
pub mod instance;
pub mod journal;
