//! Graphics devices (section 5.7), in two dimensions: pictures of the driver's that the device copies to its screens.
//!
//! ```text
//!   create ──> attach memory ──> show on a screen ──> (write pixels, transfer, flush)* ──> show nothing ──> destroy
//! ```

use crate::Fault;
use crate::bytes::u32_at;
use crate::cells::{PackedCells, SplitCells};
use crate::chain::Segment;
use crate::exchange::Exchanges;
use crate::memory::Shared;
use crate::ring::{AddError, Driver};
use alloc::vec::Vec;
use thiserror::Error;

bitflags::bitflags! {
    /// Features of graphics devices.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// Three dimensions, by virgl.
        const VIRGL = 1 << 0;
        /// What screens can show is told.
        const EDID = 1 << 1;
        /// Pictures have names that other devices know.
        const RESOURCE_UUID = 1 << 2;
        /// Pictures lie in memory that both sides see.
        const RESOURCE_BLOB = 1 << 3;
        /// Three dimensions, by others too.
        const CONTEXT_INIT = 1 << 4;
    }
}

/// The queue of commands.
pub const CONTROL: u16 = 0;
/// The queue of the pointer's commands, which are not held up by those.
pub const CURSOR: u16 = 1;

/// Most screens.
pub const SCREENS: usize = 16;

/// Most pieces of memory of one picture.
pub const PIECES: usize = 256;

/// Bytes of the largest command: the pieces of a picture's memory.
const COMMAND_BYTES: u32 = (HEADER + 8 + 16 * PIECES) as u32;
/// Bytes of the largest answer: all screens.
const ANSWER_BYTES: u32 = (HEADER + 24 * SCREENS) as u32;
/// Bytes before each command and each answer.
const HEADER: usize = 24;

/// A part of a picture or a screen, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Area {
    /// From the left.
    pub x: u32,
    /// From above.
    pub y: u32,
    /// How wide.
    pub width: u32,
    /// How high.
    pub height: u32,
}

/// How a pixel of four bytes is written, in the order of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Blue, green, red, opacity.
    Bgra = 1,
    /// Blue, green, red, nothing.
    Bgrx = 2,
    /// Opacity, red, green, blue.
    Argb = 3,
    /// Nothing, red, green, blue.
    Xrgb = 4,
    /// Red, green, blue, opacity.
    Rgba = 67,
    /// Nothing, blue, green, red.
    Xbgr = 68,
    /// Opacity, blue, green, red.
    Abgr = 121,
    /// Red, green, blue, nothing.
    Rgbx = 134,
}

/// What a device is told. Pictures have numbers that the driver chooses, not 0.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Says what screens there are; [`Ended::screens`].
    Screens,
    /// Makes a picture.
    Create {
        /// Its number.
        picture: u32,
        /// How its pixels are written.
        format: Format,
        /// How wide it is.
        width: u32,
        /// How high.
        height: u32,
    },
    /// Forgets a picture.
    Destroy(u32),
    /// Gives a picture its memory, at most [`PIECES`] pieces, row by row.
    Attach(u32, Vec<Segment>),
    /// Takes it away.
    Detach(u32),
    /// Shows a part of a picture on a screen; picture 0: nothing.
    Show {
        /// Which screen.
        screen: u32,
        /// Which picture.
        picture: u32,
        /// Which part of it.
        area: Area,
    },
    /// Copies a part of a picture from its memory, where it begins at byte `offset`.
    Transfer {
        /// Which picture.
        picture: u32,
        /// Which part of it.
        area: Area,
        /// The byte of its memory.
        offset: u64,
    },
    /// Makes what was copied visible.
    Flush {
        /// Which picture.
        picture: u32,
        /// Which part of it.
        area: Area,
    },
    /// Shows a pointer of 64 by 64 pixels; on [`CURSOR`].
    Pointer {
        /// Which screen.
        screen: u32,
        /// Where, from the left and from above.
        at: (u32, u32),
        /// Which picture; 0: none.
        picture: u32,
        /// The pixel of it that points.
        tip: (u32, u32),
    },
    /// Moves the pointer; on [`CURSOR`].
    Move {
        /// Which screen.
        screen: u32,
        /// Where to, from the left and from above.
        at: (u32, u32),
    },
}

impl Command {
    /// Its number (section 5.7.6.7), and what follows the header.
    fn encoded(&self) -> (u32, Vec<u8>) {
        fn numbers(all: &[u32]) -> Vec<u8> {
            all.iter().flat_map(|number| number.to_le_bytes()).collect()
        }
        let area = |Area { x, y, width, height }: Area| numbers(&[x, y, width, height]);
        match self {
            Self::Screens => (0x100, Vec::new()),
            Self::Create { picture, format, width, height } => {
                (0x101, numbers(&[*picture, *format as u32, *width, *height]))
            }
            Self::Destroy(picture) => (0x102, numbers(&[*picture, 0])),
            Self::Show { screen, picture, area: part } => {
                (0x103, [area(*part), numbers(&[*screen, *picture])].concat())
            }
            Self::Flush { picture, area: part } => (0x104, [area(*part), numbers(&[*picture, 0])].concat()),
            Self::Transfer { picture, area: part, offset } => {
                (0x105, [area(*part), offset.to_le_bytes().to_vec(), numbers(&[*picture, 0])].concat())
            }
            Self::Attach(picture, pieces) => {
                let mut bytes = numbers(&[*picture, pieces.len() as u32]);
                for Segment { address, length } in pieces {
                    bytes.extend(address.to_le_bytes());
                    bytes.extend(numbers(&[*length, 0]));
                }
                (0x106, bytes)
            }
            Self::Detach(picture) => (0x107, numbers(&[*picture, 0])),
            Self::Pointer { screen, at, picture, tip } => {
                (0x300, numbers(&[*screen, at.0, at.1, 0, *picture, tip.0, tip.1, 0]))
            }
            Self::Move { screen, at } => (0x301, numbers(&[*screen, at.0, at.1, 0, 0, 0, 0, 0])),
        }
    }
}

/// Why the device did not do it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// It says no more.
    #[error("the device does not do it")]
    Unspecified,
    /// It has no memory left.
    #[error("the device has no memory left")]
    OutOfMemory,
    /// There is no such screen.
    #[error("there is no such screen")]
    Screen,
    /// There is no such picture.
    #[error("there is no such picture")]
    Picture,
    /// There is no such context.
    #[error("there is no such context")]
    Context,
    /// A size or a place that cannot be.
    #[error("a parameter that cannot be")]
    Parameter,
    /// No answer of the specification's; 0 is none at all.
    #[error("the device answers {0:#x}")]
    Other(u32),
}

/// A screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// Where it is and how large, as its owner wants it.
    pub area: Area,
    /// Somebody sees it.
    pub enabled: bool,
}

/// A command that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What the caller calls it.
    pub tag: u64,
    /// Whether the device did it.
    pub result: Result<(), Refused>,
    /// What [`Command::Screens`] asked for; otherwise empty.
    pub screens: Vec<Screen>,
}

/// The commands of a queue.
#[derive(Debug)]
pub struct Commands(Exchanges);

impl Commands {
    /// Bytes of memory for a ring of `size`.
    pub const fn bytes(size: u16) -> usize {
        Exchanges::bytes(size, COMMAND_BYTES, ANSWER_BYTES)
    }

    /// For a ring of `size`, in memory that the device finds at `address`; `None` if it is too short.
    pub fn new(size: u16, slots: Shared, address: u64) -> Option<Self> {
        Exchanges::new(size, COMMAND_BYTES, ANSWER_BYTES, slots, address).map(Self)
    }

    /// Sends a command. The device sees it when the ring is published.
    ///
    /// # Errors
    /// [`AddError`]; [`AddError::Length`] where memory is in more than [`PIECES`] pieces.
    pub fn send<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
        command: &Command,
        tag: u64,
    ) -> Result<(), AddError> {
        let (number, rest) = command.encoded();
        // Flags, fence, context: none of them is used.
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&number.to_le_bytes());
        let answer = match command {
            Command::Screens => ANSWER_BYTES,
            _ => HEADER as u32,
        };
        self.0.send(ring, (&[&header, &rest], &[]), (answer, &[]), tag)
    }

    /// A command that has ended; `None` if none has.
    ///
    /// # Errors
    /// A [`Fault`] of the device's.
    pub fn reap<S: SplitCells, P: PackedCells>(
        &mut self,
        ring: &mut Driver<S, P>,
    ) -> Result<Option<Ended>, Fault> {
        const SCREENS_FOLLOW: u32 = 0x1101;
        let mut answer = [0; ANSWER_BYTES as usize];
        let Some((tag, length)) = self.0.answer(ring, &mut answer)? else { return Ok(None) };
        let number = |at| u32_at(&answer, at);
        let result = match number(0) {
            0x1100..0x1200 => Ok(()),
            0x1200 => Err(Refused::Unspecified),
            0x1201 => Err(Refused::OutOfMemory),
            0x1202 => Err(Refused::Screen),
            0x1203 => Err(Refused::Picture),
            0x1204 => Err(Refused::Context),
            0x1205 => Err(Refused::Parameter),
            other => Err(Refused::Other(other)),
        };
        let count = if number(0) == SCREENS_FOLLOW { length.saturating_sub(HEADER) / 24 } else { 0 };
        let screen = |index: usize| {
            let [x, y, width, height, enabled] = [0, 4, 8, 12, 16].map(|at| number(HEADER + 24 * index + at));
            Screen { area: Area { x, y, width, height }, enabled: enabled != 0 }
        };
        Ok(Some(Ended { tag, result, screens: (0..count).map(screen).collect() }))
    }
}
