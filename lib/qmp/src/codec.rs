//! Splits the server's byte stream into messages.
//!
//! The server terminates every JSON object with CRLF and never sends a raw line feed inside one (JSON escapes it), so
//! a line feed is a message border. Only bytes that arrived since the last call are searched: a reply of any size
//! costs one pass, however it was cut into packets.

use thiserror::Error;

/// A message that outgrew the limit before its end was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a message of more than {limit} bytes ({seen} seen so far)")]
pub struct TooLong {
    /// The limit in bytes.
    pub limit: usize,
    /// Bytes of the message seen when the limit was found exceeded.
    pub seen: usize,
}

/// Incremental splitter: bytes in, whole messages out.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Start of the first message not yet handed out.
    start: usize,
    /// Everything in `start..scanned` is known to hold no line feed.
    scanned: usize,
    limit: usize,
}

impl Splitter {
    /// A splitter that refuses messages of more than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, scanned: 0, limit }
    }

    /// Adds received bytes. Call [`Splitter::next_message`] until it answers `None` before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_CAPACITY {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, without its line end; blank lines are skipped.
    ///
    /// # Errors
    /// [`TooLong`] when a message exceeds the limit; the stream cannot be used any further.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, TooLong> {
        loop {
            let Some(offset) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) else {
                self.scanned = self.buffer.len();
                return self.check(self.scanned - self.start).map(|()| None);
            };
            let (from, end) = (self.start, self.scanned + offset);
            self.start = end + 1;
            self.scanned = end + 1;
            self.check(end - from)?;
            if !self.buffer[from..end].trim_ascii().is_empty() {
                return Ok(Some(self.buffer[from..end].trim_ascii()));
            }
        }
    }

    /// Bytes of an unfinished message.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn check(&self, seen: usize) -> Result<(), TooLong> {
        if seen > self.limit { Err(TooLong { limit: self.limit, seen }) } else { Ok(()) }
    }
}

/// A buffer that grew beyond this for one large reply is given back once it is empty.
const KEPT_CAPACITY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(splitter: &mut Splitter) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(message) = splitter.next_message().unwrap() {
            messages.push(message.to_vec());
        }
        messages
    }

    #[test]
    fn a_message_over_the_limit_is_refused_with_its_size_before_its_end_arrives() {
        let mut splitter = Splitter::new(8);
        splitter.push(b"12345678");
        assert_eq!(splitter.next_message(), Ok(None));
        splitter.push(b"9");
        assert_eq!(splitter.next_message(), Err(TooLong { limit: 8, seen: 9 }));
    }

    #[test]
    fn a_message_over_the_limit_is_refused_when_it_arrives_in_one_piece() {
        let mut splitter = Splitter::new(4);
        splitter.push(b"12345\n");
        assert_eq!(splitter.next_message(), Err(TooLong { limit: 4, seen: 5 }));
    }

    proptest! {
        #[test]
        fn any_cutting_of_the_stream_gives_the_same_messages(
            messages in prop::collection::vec("[a-z{}\" ]{0,30}[a-z]", 0..12),
            cuts in prop::collection::vec(1usize..20, 1..40),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|m| format!("{m}\r\n").into_bytes()).collect();
            let mut splitter = Splitter::new(64);
            let (mut seen, mut at, mut cuts) = (Vec::new(), 0, cuts.iter().cycle());
            while at < stream.len() {
                let end = (at + cuts.next().unwrap()).min(stream.len());
                splitter.push(&stream[at..end]);
                seen.extend(drain(&mut splitter));
                at = end;
            }
            let expected: Vec<Vec<u8>> = messages.iter().map(|m| m.trim().as_bytes().to_vec()).collect();
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(splitter.pending(), 0);
        }
    }
}
