//! Where the frames of a network device go to, and come from.

use super::MOST;
use crate::sys::tap;
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, write};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use virtio::net::Header;

/// Most frames that wait in a loopback.
const MOST_WAITING: usize = 256;

/// Where frames go to, and come from.
pub trait Port {
    /// Sends a frame.
    fn send(&mut self, frame: &[u8]);
    /// The next frame, into an empty buffer; `false` if there is none.
    fn receive(&mut self, frame: &mut Vec<u8>) -> bool;
    /// What tells that there are frames.
    fn source(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Sends a frame of which the header says what is left to be done; `false`: it is not taken, and [`Port::send`] has what comes of it.
    fn send_unfinished(&mut self, header: &Header, frame: &[u8]) -> bool {
        let _ = (header, frame);
        false
    }
    /// The next frame, and what is left to be done. The device does it where the driver does not.
    fn receive_unfinished(&mut self, frame: &mut Vec<u8>) -> Option<Header> {
        self.receive(frame).then(Header::default)
    }
}

/// Gives every frame back as it was sent: a checksum that was left to others is left to the driver, where it takes that. What the driver does
/// not take is dropped when many wait, as on every link.
#[derive(Clone, Debug, Default)]
pub struct Loopback(VecDeque<(Header, Vec<u8>)>);

impl Port for Loopback {
    fn send(&mut self, frame: &[u8]) {
        self.send_unfinished(&Header::default(), frame);
    }
    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        self.receive_unfinished(frame).is_some()
    }
    fn send_unfinished(&mut self, header: &Header, frame: &[u8]) -> bool {
        if self.0.len() < MOST_WAITING {
            self.0.push_back((*header, frame.to_vec()));
        }
        true
    }
    fn receive_unfinished(&mut self, frame: &mut Vec<u8>) -> Option<Header> {
        let (header, next) = self.0.pop_front()?;
        *frame = next;
        Some(header)
    }
}

/// A tap device of Linux's, without a header before its frames (`IFF_NO_PI`), and non-blocking.
#[derive(Debug)]
pub struct Tap(OwnedFd);

impl Tap {
    /// The tap of this name in this process's network, made for as long as it is open if there is none. It is up, and has an address, when
    /// somebody gives it one.
    ///
    /// # Errors
    /// That of the system: without `CAP_NET_ADMIN` only a tap that was made for this user can be taken, and by one at a time;
    /// `InvalidInput` where it is no name of an interface, 1 to 15 bytes.
    pub fn open(name: &str) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let descriptor = open("/dev/net/tun", flags, Mode::empty())?;
        tap::take(&descriptor, name)?;
        Ok(Self(descriptor))
    }

    /// An open one.
    pub const fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl Port for Tap {
    fn send(&mut self, frame: &[u8]) {
        // A tap that is full drops frames, as every link does.
        let _ = write(&self.0, frame);
    }
    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        frame.reserve(MOST);
        loop {
            match read(&self.0, spare_capacity(frame)) {
                Ok(1..) => return true,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return false,
            }
        }
    }
    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_fetches_is_dropped_in_the_end() {
        let mut port = Loopback::default();
        for number in 0..=MOST_WAITING {
            port.send(&number.to_le_bytes());
        }
        let mut frame = Vec::new();
        let fetched: Vec<_> =
            std::iter::from_fn(|| port.receive(&mut frame).then(|| frame.clone())).collect();
        assert_eq!(fetched.len(), MOST_WAITING);
        assert_eq!(fetched.last(), Some(&(MOST_WAITING - 1).to_le_bytes().to_vec()), "the first ones stay");
    }
}
