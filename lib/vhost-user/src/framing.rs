//! Where a message ends and the next begins.

use crate::wire::{HEADER_BYTES, Header, HeaderError, MOST_DESCRIPTORS};
use std::os::fd::OwnedFd;

/// A message as it came: its header, its payload, and its descriptors.
#[derive(Debug)]
pub struct Raw {
    /// The header.
    pub header: Header,
    /// As many bytes as it says.
    pub payload: Vec<u8>,
    /// Those that came with any byte of it.
    pub descriptors: Vec<OwnedFd>,
}

/// Puts messages together from what a socket gives. Descriptors arrive with a byte: who reads more than [`Framing::want`] bytes at once gets
/// those of the next message together with this one's.
///
/// ```
/// use vhost_user::framing::Framing;
/// use vhost_user::wire::Header;
/// let mut framing = Framing::default();
/// let header = Header { request: 18, reply: false, need_reply: false, size: 8 };
/// assert_eq!(framing.want(), 12);
/// assert!(framing.feed(&header.encode(), Vec::new())?.is_none());
/// assert_eq!(framing.want(), 8);
/// let message = framing.feed(&[0; 8], Vec::new())?.expect("it is whole");
/// assert_eq!(message.header, header);
/// # Ok::<(), vhost_user::wire::HeaderError>(())
/// ```
#[derive(Debug, Default)]
pub struct Framing {
    header: Option<Header>,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Framing {
    /// Most bytes that may be read next.
    pub fn want(&self) -> usize {
        self.header.map_or(HEADER_BYTES, |header| header.size as usize) - self.bytes.len()
    }

    /// Whether a message has begun.
    pub fn within(&self) -> bool {
        self.header.is_some() || !self.bytes.is_empty()
    }

    /// Takes what was read: at most [`Framing::want`] bytes. Gives the message that is whole with them.
    ///
    /// # Errors
    /// [`HeaderError`]: nothing after it can be understood.
    ///
    /// # Panics
    /// If more bytes are given.
    pub fn feed(&mut self, bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<Option<Raw>, HeaderError> {
        assert!(bytes.len() <= self.want(), "more was read than belongs to this message");
        self.bytes.extend_from_slice(bytes);
        self.descriptors.extend(descriptors);
        if self.descriptors.len() > MOST_DESCRIPTORS {
            return Err(HeaderError::Descriptors { count: self.descriptors.len() });
        }
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(header) = self.bytes.first_chunk() else { return Ok(None) };
                let header = *self.header.insert(Header::decode(header)?);
                self.bytes.clear();
                header
            }
        };
        if self.bytes.len() < header.size as usize {
            return Ok(None);
        }
        let Self { bytes, descriptors, .. } = std::mem::take(self);
        Ok(Some(Raw { header, payload: bytes, descriptors }))
    }
}
