//! Entropy devices (section 5.4 of VIRTIO): every chain is filled with random bytes.

use crate::backend::{Device, Guest};
use std::io::Read;
use virtio::features::Features;

/// Most bytes for one chain; a driver that wants more asks again (section 5.4.6.2 lets the device give fewer than there is room for).
const MOST: usize = 64 << 10;

/// Gives what a source has, `/dev/urandom` for one.
#[derive(Debug)]
pub struct Entropy<R>(R);

impl<R: Read> Entropy<R> {
    /// From this source, which does not wait for long.
    pub const fn new(source: R) -> Self {
        Self(source)
    }
}

impl<R: Read> Device for Entropy<R> {
    fn features(&self) -> Features {
        Features::empty()
    }

    fn queues(&self) -> u16 {
        1
    }

    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        let mut buffer = [0; 4096];
        guest.each(queue, |chain| {
            let mut written = 0;
            for piece in chain.writable() {
                let mut at = 0;
                while at < piece.len() {
                    let want = buffer.len().min(piece.len() - at).min(MOST - written as usize);
                    if want == 0 {
                        return written;
                    }
                    let count = self.0.read(&mut buffer[..want]).unwrap_or(0);
                    let Some(part) = piece.part(at, count).filter(|_| count > 0) else { return written };
                    part.write(&buffer[..count]);
                    at += count;
                    written += count as u32;
                }
            }
            written
        });
    }
}
