//! Records a conversation, and proves on the way that this library writes every message as its sender did.

use super::packet::Content;
use super::{Direction, Gate, Packet, Piece};
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// A message of a conversation, as it travelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which way.
    pub direction: Direction,
    /// All of its bytes, descriptors left out.
    pub bytes: Vec<u8>,
}

/// A conversation.
///
/// As text it has a line for each message: `>` to the daemon or `<` from it, and the bytes in hexadecimal digits. Lines that begin with
/// `#` say where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// What was said, in the order in which the proxy heard it.
    pub messages: Vec<Message>,
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Message { direction, bytes } in &self.messages {
            f.write_str(match direction {
                Direction::ToDaemon => "> ",
                Direction::FromDaemon => "< ",
            })?;
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_char('\n')?;
        }
        Ok(())
    }
}

/// Text that is no recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no message of a recording")]
pub struct NoRecording {
    /// Which line, from 1.
    pub line: usize,
}

impl FromStr for Recording {
    type Err = NoRecording;

    fn from_str(text: &str) -> Result<Self, NoRecording> {
        let mut messages = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let none = NoRecording { line: number + 1 };
            let (direction, digits) = match line.split_once(' ') {
                Some((">", digits)) => (Direction::ToDaemon, digits),
                Some(("<", digits)) => (Direction::FromDaemon, digits),
                _ => return Err(none),
            };
            if digits.len() % 2 != 0 {
                return Err(none);
            }
            let pairs = digits.as_bytes().chunks(2);
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            let bytes = pairs.map(byte).collect::<Option<Vec<u8>>>().ok_or(none)?;
            messages.push(Message { direction, bytes });
        }
        Ok(Self { messages })
    }
}

/// What became of the messages of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Decoded, encoded again, and byte by byte what they were.
    pub identical: usize,
    /// Without structure: stream data, keepalive.
    pub raw: usize,
    /// Of procedures that this library does not know.
    pub unknown: usize,
    /// Decoded and encoded to something else, or not decoded: what, and how.
    pub different: Vec<String>,
}

/// A gate that lets everything through, in the form that this library gives it, and keeps it.
#[derive(Debug, Default)]
pub struct Recorder {
    recording: Recording,
    summary: Summary,
}

impl Recorder {
    /// What was said, and what became of it.
    #[must_use]
    pub fn finish(self) -> (Recording, Summary) {
        (self.recording, self.summary)
    }
}

impl Gate for Recorder {
    fn pass(&mut self, direction: Direction, mut packet: Packet) -> Vec<Piece> {
        let original = packet.encode();
        match packet.recode(direction) {
            Content::Raw => self.summary.raw += 1,
            Content::Unknown => self.summary.unknown += 1,
            Content::Malformed(error) => self.summary.different.push(format!("{:?}: {error}", packet.header)),
            Content::Recoded(payload) => {
                let original = std::mem::replace(&mut packet.payload, payload);
                if packet.payload == original {
                    self.summary.identical += 1;
                } else {
                    let lengths = (original.len(), packet.payload.len());
                    self.summary.different.push(format!("{:?}: {lengths:?} bytes", packet.header));
                }
            }
        }
        let bytes = packet.encode();
        self.recording.messages.push(Message { direction, bytes: original });
        let mut pieces = vec![Piece::bytes(bytes)];
        pieces.extend(packet.descriptors.into_iter().map(Piece::Descriptor));
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_comes_back_from_its_text() {
        let message = |direction, bytes: &[u8]| Message { direction, bytes: bytes.to_vec() };
        let messages = vec![message(Direction::ToDaemon, &[0, 255]), message(Direction::FromDaemon, &[])];
        let recording = Recording { messages };
        let text = format!("# of nothing\n{recording}");
        assert_eq!(text, "# of nothing\n> 00ff\n< \n");
        assert_eq!(text.parse(), Ok(recording));
        for (text, line) in [("> 0g", 1), ("# \nx 00", 2), ("> 000", 1)] {
            assert_eq!(text.parse::<Recording>(), Err(NoRecording { line }), "{text}");
        }
    }
}
