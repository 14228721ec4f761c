//! The caller's terminal: raw mode, its size, and the signals that end a command.

use rustix::termios::{self, OptionalActions, Termios};
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// A terminal in raw mode: every key goes through as it is. Restored when dropped, so by errors, panics and signals too.
pub(crate) struct RawMode(Termios);

impl RawMode {
    /// Switches the terminal on standard input.
    pub(crate) fn enter() -> io::Result<Self> {
        let before = termios::tcgetattr(rustix::stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // What the terminal still shows is lost when it is gone; there is nobody to tell.
        let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Columns and rows of the terminal on standard input; 0 and 0 without one.
pub(crate) fn size() -> (u32, u32) {
    termios::tcgetwinsize(rustix::stdio::stdin())
        .map_or((0, 0), |size| (size.ws_col.into(), size.ws_row.into()))
}

/// Returns when a signal asks the command to end.
pub(crate) async fn interrupted() -> io::Result<()> {
    let [mut interrupt, mut terminate, mut hangup, mut quit] = [
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
        signal(SignalKind::quit())?,
    ];
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        _ = quit.recv() => {}
    }
    Ok(())
}
