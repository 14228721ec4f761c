//! What programs share below their own code: clock, ids, tasks, configuration, logging, shutdown.
//!
//! Everything that decides takes time, ids and randomness as arguments. This crate is where they come from in a real
//! program, and the only one that may call what `clippy.toml` bans elsewhere.

pub mod clock;
pub mod config;
pub mod files;
pub mod ids;
pub mod logging;
pub mod tasks;

use tokio::signal::unix::{SignalKind, signal};

/// Returns when the process is asked to end: SIGINT or SIGTERM. Says which.
pub async fn termination() -> std::io::Result<&'static str> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    })
}
