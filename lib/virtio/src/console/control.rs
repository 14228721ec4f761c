//! The control queues of a console with several ports (section 5.3.6.2).

use crate::bytes::{u16_at, u32_at};
use alloc::string::String;
use alloc::vec::Vec;

/// The queue on which the driver hears of ports, with `MULTIPORT`.
pub const CONTROL_RECEIVE: u16 = 2;
/// The queue on which it speaks of them.
pub const CONTROL_TRANSMIT: u16 = 3;

/// Where the queues of a port are: to receive, and to send. Those of the control queues lie between the first port and the others.
pub const fn queues(port: u16) -> [u16; 2] {
    match port {
        0 => [super::RECEIVE, super::TRANSMIT],
        port => [2 * port + 2, 2 * port + 3],
    }
}

/// What a message of the control queues is about.
mod event {
    pub(super) const DEVICE_READY: u16 = 0;
    pub(super) const PORT_ADD: u16 = 1;
    pub(super) const PORT_REMOVE: u16 = 2;
    pub(super) const PORT_READY: u16 = 3;
    pub(super) const CONSOLE_PORT: u16 = 4;
    pub(super) const RESIZE: u16 = 5;
    pub(super) const PORT_OPEN: u16 = 6;
    pub(super) const PORT_NAME: u16 = 7;
}

/// Bytes of a message that the driver sends.
pub const MESSAGE: usize = 8;

const fn message(port: u32, event: u16, value: u16) -> [u8; MESSAGE] {
    let ([a, b, c, d], [e, f], [g, h]) = (port.to_le_bytes(), event.to_le_bytes(), value.to_le_bytes());
    [a, b, c, d, e, f, g, h]
}

/// What the driver says first: it can take messages.
pub const fn ready() -> [u8; MESSAGE] {
    message(0, event::DEVICE_READY, 1)
}

/// What it says when a port was opened on its side.
pub const fn opened(port: u32) -> [u8; MESSAGE] {
    message(port, event::PORT_OPEN, 1)
}

/// What it says when a port was closed on its side.
pub const fn closed(port: u32) -> [u8; MESSAGE] {
    message(port, event::PORT_OPEN, 0)
}

/// What the device says of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// It is there. The driver answers with [`News::answer`].
    Added(u32),
    /// It is gone.
    Removed(u32),
    /// It is a console. The driver answers.
    IsConsole(u32),
    /// The screen of a console has another size.
    Resized {
        /// Which.
        port: u32,
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// The other side was opened, or closed.
    Opened {
        /// Which.
        port: u32,
        /// Whether it is open.
        is_open: bool,
    },
    /// What it is called.
    Named {
        /// Which.
        port: u32,
        /// Its name.
        name: String,
    },
    /// One that is not known here.
    Other {
        /// Which.
        port: u32,
        /// What happened.
        event: u16,
        /// What it happened with.
        value: u16,
    },
}

impl News {
    /// From the bytes of a message; `None` if it is too short.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<MESSAGE>()?;
        let (port, value) = (u32_at(head, 0), u16_at(head, 6));
        Some(match u16_at(head, 4) {
            event::PORT_ADD => Self::Added(port),
            event::PORT_REMOVE => Self::Removed(port),
            event::CONSOLE_PORT => Self::IsConsole(port),
            event::RESIZE => {
                // Columns come first, as Linux and QEMU have them.
                let size = rest.first_chunk::<4>()?;
                let [columns, rows] = [0, 2].map(|at| u16_at(size, at));
                Self::Resized { port, columns, rows }
            }
            event::PORT_OPEN => Self::Opened { port, is_open: value != 0 },
            event::PORT_NAME => {
                let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
                Self::Named { port, name: String::from_utf8_lossy(&rest[..end]).into_owned() }
            }
            event => Self::Other { port, event, value },
        })
    }

    /// What the driver answers, if anything: that it can use the port; of a console, that it is open.
    pub fn answer(&self) -> Vec<[u8; MESSAGE]> {
        match self {
            Self::Added(port) => Vec::from([message(*port, event::PORT_READY, 1)]),
            Self::IsConsole(port) => Vec::from([opened(*port)]),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_their_queues() {
        assert_eq!((queues(0), queues(1), queues(2)), ([0, 1], [4, 5], [6, 7]));
    }

    #[test]
    fn what_is_short_is_nothing() {
        let named = [&message(3, event::PORT_NAME, 1)[..], b"org.example\0"].concat();
        assert_eq!(News::parse(&named), Some(News::Named { port: 3, name: "org.example".to_owned() }));
        for length in 0..MESSAGE {
            assert_eq!(News::parse(&named[..length]), None);
        }
        assert_eq!(News::parse(&message(0, event::RESIZE, 0)), None);
    }
}
