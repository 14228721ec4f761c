//! Consoles with one port.

use crate::backend::{Device, Guest};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, write};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use virtio::console::{Config, Features as Consoles, RECEIVE, TRANSMIT};
use virtio::features::Features;

/// Most bytes that wait for the driver to take them; what is beyond waits in the descriptor.
const MOST: usize = 64 << 10;

/// Most bytes of one chain that are written, so that others have their turn: no driver sends as much at once.
const MOST_SENT: usize = 1 << 20;

/// What is written to `input` the driver reads, and what it writes goes to `output`.
#[derive(Debug)]
pub struct Console {
    input: OwnedFd,
    output: OwnedFd,
    config: [u8; Config::BYTES],
    waiting: Vec<u8>,
    /// There may be more in `input`.
    more: bool,
}

impl Console {
    /// Of so many columns and rows. Both descriptors are made non-blocking; what `output` does not take at once is lost, as it is of a serial
    /// line that nobody reads, and so is what one chain has beyond 1 MiB.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn new(input: OwnedFd, output: OwnedFd, columns: u16, rows: u16) -> io::Result<Self> {
        for descriptor in [&input, &output] {
            fcntl_setfl(descriptor, fcntl_getfl(descriptor)? | OFlags::NONBLOCK)?;
        }
        let config = Config { columns, rows, most_ports: 1 }.bytes();
        Ok(Self { input, output, config, waiting: Vec::new(), more: false })
    }

    fn read_on(&mut self) {
        let mut buffer = [0; 4096];
        while self.more && self.waiting.len() < MOST {
            let room = buffer.len().min(MOST - self.waiting.len());
            match read(&self.input, &mut buffer[..room]) {
                Ok(count @ 1..) => self.waiting.extend_from_slice(&buffer[..count]),
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => self.more = false,
            }
        }
    }

    fn deliver(&mut self, guest: &mut Guest<'_>) {
        self.read_on();
        while !self.waiting.is_empty()
            && let Some(held) = guest.take(RECEIVE)
        {
            let count = held.chain().writer().write(&self.waiting);
            self.waiting.drain(..count);
            guest.put(RECEIVE, held, count as u32);
            self.read_on();
        }
    }
}

impl Device for Console {
    fn features(&self) -> Features {
        Features::from_bits_retain(Consoles::SIZE.bits())
    }

    fn queues(&self) -> u16 {
        2
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        if queue == RECEIVE {
            return self.deliver(guest);
        }
        let output = &self.output;
        guest.each(TRANSMIT, |chain| {
            let mut buffer = [0; 4096];
            let mut reader = chain.reader();
            for _ in 0..MOST_SENT / buffer.len() {
                let count = reader.read(&mut buffer);
                if count == 0 {
                    break;
                }
                let mut left = &buffer[..count];
                while let Ok(written @ 1..) = write(output, left) {
                    left = left.get(written..).unwrap_or_default();
                }
            }
            0
        });
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.input.as_fd()]
    }

    fn ready(&mut self, _source: usize, guest: &mut Guest<'_>) {
        self.more = true;
        self.deliver(guest);
    }

    fn reset(&mut self) {
        self.waiting.clear();
    }
}
