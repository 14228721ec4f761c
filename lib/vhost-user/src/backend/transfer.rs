//! The state of a device on its way through a pipe, to or from the front-end.

use super::Failure;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::Duration;

/// Most bytes of a state: what is longer is no device's of ours.
const MOST: u64 = 64 << 20;
/// How long the rest of it may take once the front-end asks whether it succeeded: it asks when it has all of it.
const REST: Duration = Duration::from_secs(10);

/// A transfer, in a thread of its own: the pipe is as slow as whoever is at its other end.
#[derive(Debug)]
pub(super) struct Transfer {
    done: mpsc::Receiver<io::Result<Vec<u8>>>,
    loads: bool,
}

impl Transfer {
    /// Sends what a device saved.
    pub(super) fn save(state: Vec<u8>, pipe: OwnedFd) -> io::Result<Self> {
        Self::start(false, move || {
            // Its end is the end of the state.
            File::from(pipe).write_all(&state)?;
            Ok(Vec::new())
        })
    }

    /// Receives what a device is to load.
    pub(super) fn load(pipe: OwnedFd) -> io::Result<Self> {
        Self::start(true, move || {
            let mut state = Vec::new();
            File::from(pipe).take(MOST + 1).read_to_end(&mut state)?;
            if state.len() as u64 > MOST {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Ok(state)
        })
    }

    fn start(loads: bool, work: impl FnOnce() -> io::Result<Vec<u8>> + Send + 'static) -> io::Result<Self> {
        let (tell, done) = mpsc::channel();
        let work = move || {
            // Nobody may be left who wants to know.
            let _ = tell.send(work());
        };
        std::thread::Builder::new().name("device-state".to_owned()).spawn(work)?;
        Ok(Self { done, loads })
    }

    /// Its end: what is to be loaded, if that is what it was for.
    pub(super) fn finished(self) -> Result<Option<Vec<u8>>, Failure> {
        let failed = |error: io::Error| Failure::State { error };
        let state = self.done.recv_timeout(REST).map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
        state.map(|state| self.loads.then_some(state)).map_err(failed)
    }
}
