//! What is done with bytes that could be anything: by the fuzzer, and by `tests/fuzz.rs` without one.

use libvirt_protocol::session::Transmit;
use libvirt_transport::{Privacy, SEALED_MAX, Seal, Sealed, Traits, Transport};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// A sealed connection brings what is in the pieces that have come, in whatever bits they come, and says how they ended; and what it sends
/// is what it was given. The first byte says how things are cut, the second whether the rest is what comes or what is in the pieces.
pub(crate) fn sealed(bytes: &[u8]) {
    let [cut, form, rest @ ..] = bytes else { return };
    let came = match form % 4 {
        0 => rest.to_vec(),
        // Right pieces: nearly nothing else would be one.
        kind => {
            let mut came: Vec<u8> = rest.chunks(usize::from(*form) + 1).flat_map(piece).collect();
            match kind {
                1 => {}
                2 => came.truncate(came.len() - came.len().min(usize::from(*cut))),
                _ => {
                    if let Some(byte) = came.get_mut(usize::from(*cut) * 3) {
                        *byte ^= 1;
                    }
                }
            }
            came
        }
    };
    let expected = opened(&came);
    assert_eq!(read(came, *cut), expected, "cut in bits, it is something else");
    let (sent, plain) = (written(rest, *cut), rest.to_vec());
    assert_eq!(opened(&sent), (plain, None), "what was sent is something else");
}

/// A seal of no use: a sum over the bytes stands before them.
struct Sum;

impl Seal for Sum {
    fn wrap(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        Ok([&[sum(bytes)], bytes].concat())
    }

    fn unwrap(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        match piece {
            [first, bytes @ ..] if *first == sum(bytes) => Ok(bytes.to_vec()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte))
}

/// A piece as it travels.
pub(crate) fn piece(bytes: &[u8]) -> Vec<u8> {
    let wrapped = Sum.wrap(bytes).expect("a sum");
    [&u32::try_from(wrapped.len()).expect("short").to_be_bytes(), &wrapped[..]].concat()
}

/// What is in pieces that have come as a whole, and why no more is: nothing, when they end as they should.
fn opened(mut came: &[u8]) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut plain = Vec::new();
    while let Some((length, rest)) = came.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length);
        if length > SEALED_MAX + 1024 {
            return (plain, Some(io::ErrorKind::InvalidData));
        }
        let Some((piece, rest)) = rest.split_at_checked(length as usize) else { break };
        match Sum.unwrap(piece) {
            Ok(bytes) => plain.extend(bytes),
            Err(error) => return (plain, Some(error.kind())),
        }
        came = rest;
    }
    (plain, (!came.is_empty()).then_some(io::ErrorKind::UnexpectedEof))
}

/// The same through a connection that brings it in bits.
pub(crate) fn read(came: Vec<u8>, cut: u8) -> (Vec<u8>, Option<io::ErrorKind>) {
    let wire = Wire { came, cut, ..Wire::default() };
    let mut connection = Sealed::new(Box::new(wire), Sum, 1);
    let mut context = Context::from_waker(Waker::noop());
    let mut plain = Vec::new();
    let mut room = vec![0; usize::from(cut / 3) + 1];
    loop {
        match connection.poll_read(&mut context, &mut room, &mut Vec::new()) {
            Poll::Pending => {}
            Poll::Ready(Ok(0)) => return (plain, None),
            Poll::Ready(Ok(bytes)) => plain.extend(&room[..bytes]),
            Poll::Ready(Err(error)) => return (plain, Some(error.kind())),
        }
    }
}

/// What goes over a connection that takes it in bits.
fn written(mut bytes: &[u8], cut: u8) -> Vec<u8> {
    let wire = Wire { cut, ..Wire::default() };
    let went = Arc::clone(&wire.went);
    let mut connection = Sealed::new(Box::new(wire), Sum, usize::from(cut) * 2 + 1);
    let mut context = Context::from_waker(Waker::noop());
    while !bytes.is_empty() {
        match connection.poll_write(&mut context, &Transmit::Bytes(bytes)) {
            Poll::Pending => {}
            Poll::Ready(taken) => bytes = &bytes[taken.expect("the wire breaks never")..],
        }
    }
    while connection.poll_flush(&mut context).is_pending() {}
    went.lock().expect("nobody panics with it").clone()
}

/// A connection whose every other poll is in vain, and the rest are for a few bytes.
#[derive(Default)]
struct Wire {
    came: Vec<u8>,
    taken: usize,
    went: Arc<Mutex<Vec<u8>>>,
    cut: u8,
    polls: usize,
}

impl Wire {
    /// How many bytes go now; nothing when none do.
    fn bits(&mut self) -> Option<usize> {
        self.polls += 1;
        let cut = usize::from(self.cut);
        (!self.polls.is_multiple_of(cut % 5 + 2)).then_some((self.polls * 7 + cut) % (cut * 4 + 3) + 1)
    }
}

impl Transport for Wire {
    fn poll_read(
        &mut self,
        _context: &mut Context<'_>,
        room: &mut [u8],
        _descriptors: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        let Some(bits) = self.bits() else { return Poll::Pending };
        let left = &self.came[self.taken..];
        let bytes = bits.min(left.len()).min(room.len());
        room[..bytes].copy_from_slice(&left[..bytes]);
        self.taken += bytes;
        Poll::Ready(Ok(bytes))
    }

    fn poll_write(&mut self, _context: &mut Context<'_>, what: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let Transmit::Bytes(bytes) = what else { return Poll::Ready(Err(io::ErrorKind::Unsupported.into())) };
        let Some(bits) = self.bits() else { return Poll::Pending };
        let bits = bits.min(bytes.len());
        self.went.lock().expect("nobody panics with it").extend(&bytes[..bits]);
        Poll::Ready(Ok(bits))
    }

    fn poll_flush(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn traits(&self) -> Traits {
        Traits::new(Privacy::Open)
    }
}
