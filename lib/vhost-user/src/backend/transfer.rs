//! The state of a device on its way through a pipe, to or from the front-end.

use super::Failure;
use crate::socket::Canceller;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::Duration;

/// Most bytes of a state: what is longer is no device's of ours.
const MOST: usize = 64 << 20;
/// How long the rest of it may take once the front-end asks whether it succeeded: it asks when it has all of it, or has written all. Rings stand
/// still meanwhile.
const REST: Duration = Duration::from_secs(1);
/// How long a pipe may stand still.
const STILL: Duration = Duration::from_secs(10);
/// A pipe that has room has room for so much, and writing it does not wait (`PIPE_BUF`).
const PIECE: usize = 4096;

/// A transfer, in a thread of its own: the pipe is as slow as whoever is at its other end. Dropped, it ends where it is.
#[derive(Debug)]
pub(super) struct Transfer {
    done: mpsc::Receiver<io::Result<Vec<u8>>>,
    /// Told when it is.
    told: Canceller,
    loads: bool,
    ends: Canceller,
}

impl Transfer {
    /// Sends what a device saved.
    pub(super) fn save(state: Vec<u8>, pipe: OwnedFd) -> io::Result<Self> {
        // Its end is the end of the state.
        Self::start(false, pipe, STILL, move |pipe| pipe.pour(&state).map(|()| Vec::new()))
    }

    /// Receives what a device is to load.
    pub(super) fn load(pipe: OwnedFd) -> io::Result<Self> {
        Self::start(true, pipe, STILL, |pipe| pipe.draw())
    }

    fn start(
        loads: bool,
        pipe: OwnedFd,
        still: Duration,
        work: impl FnOnce(&Pipe) -> io::Result<Vec<u8>> + Send + 'static,
    ) -> io::Result<Self> {
        let (tell, done) = mpsc::channel();
        let (ends, told) = (Canceller::new()?, Canceller::new()?);
        let pipe = Pipe { pipe, ends: ends.clone(), still };
        let tells = told.clone();
        let work = move || {
            let state = work(&pipe);
            drop(pipe);
            // Nobody may be left who wants to know.
            let _ = tell.send(state);
            tells.cancel();
        };
        std::thread::Builder::new().name("device-state".to_owned()).spawn(work)?;
        Ok(Self { done, told, loads, ends })
    }

    /// Its end: what is to be loaded, if that is what it was for. Not waited for when the session is cancelled.
    pub(super) fn finished(self, session: &Canceller) -> Result<Option<Vec<u8>>, Failure> {
        let failed = |error: io::Error| Failure::State { error };
        let mut all = [PollFd::new(&self.told, PollFlags::IN), PollFd::new(session, PollFlags::IN)];
        let time = Timespec::try_from(REST).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        while let Err(Errno::INTR) = poll(&mut all, Some(&time)) {}
        let state = self.done.try_recv().map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
        state.map(|state| self.loads.then_some(state)).map_err(failed)
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.ends.cancel();
    }
}

/// Our end of the pipe, at which nobody waits for long.
struct Pipe {
    pipe: OwnedFd,
    ends: Canceller,
    still: Duration,
}

impl Pipe {
    fn pour(&self, mut state: &[u8]) -> io::Result<()> {
        while !state.is_empty() {
            self.wait(PollFlags::OUT)?;
            match write(&self.pipe, &state[..state.len().min(PIECE)]) {
                Ok(count) => state = state.get(count..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn draw(&self) -> io::Result<Vec<u8>> {
        let mut state = Vec::new();
        let mut buffer = [0; 1 << 16];
        loop {
            self.wait(PollFlags::IN)?;
            match read(&self.pipe, &mut buffer) {
                Ok(0) => return Ok(state),
                Ok(count) if state.len() + count > MOST => return Err(io::ErrorKind::FileTooLarge.into()),
                Ok(count) => state.extend_from_slice(&buffer[..count]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait(&self, what: PollFlags) -> io::Result<()> {
        let mut all = [PollFd::new(&self.pipe, what), PollFd::new(&self.ends, PollFlags::IN)];
        let time = Timespec::try_from(self.still).map_err(|_| io::ErrorKind::InvalidInput)?;
        let count = loop {
            match poll(&mut all, Some(&time)) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        match (count, all[1].revents().is_empty()) {
            (0, _) => Err(io::Error::new(io::ErrorKind::TimedOut, "the pipe of the state stands still")),
            (_, false) => Err(io::Error::new(io::ErrorKind::Interrupted, "nobody wants the state any more")),
            (_, true) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::pipe;
    use std::fs::File;
    use std::io::Read as _;

    /// More than a pipe has room for.
    const LONG: usize = 1 << 20;

    #[test]
    fn a_pipe_that_stands_still_is_given_up() {
        let soon = Duration::from_millis(1);
        let (_reads, writes) = pipe().unwrap();
        let saving = Transfer::start(false, writes, soon, |pipe| pipe.pour(&[7; LONG]).map(|()| Vec::new()));
        let (reads, _writes) = pipe().unwrap();
        let loading = Transfer::start(true, reads, soon, Pipe::draw);
        for transfer in [saving, loading] {
            let Err(Failure::State { error }) = transfer.unwrap().finished(&Canceller::new().unwrap()) else {
                panic!("it goes on")
            };
            assert_eq!(error.to_string(), "the pipe of the state stands still");
        }
    }

    #[test]
    fn a_transfer_that_nobody_wants_any_more_ends() {
        let (reads, writes) = pipe().unwrap();
        drop(Transfer::save(vec![7; LONG], writes).unwrap());
        let mut state = Vec::new();
        File::from(reads).read_to_end(&mut state).unwrap();
        assert!(state.len() < LONG);
    }
}
