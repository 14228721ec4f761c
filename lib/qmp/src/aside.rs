//! Work that may wait for the host's file systems, beside the runtime.
//!
//! A file system that does not answer (its server is gone, its disk hangs) holds whoever asks it: no signal and no time limit frees that
//! thread. So none of the runtime's asks:
//!
//! ```text
//!   async fn --ask--> thread of its own --answer--> goes on
//!      '-- limit: an error that names the place        '-- nobody waits any more: what it brings is dropped there
//! ```
//!
//! It is a thread of its own and not one of the runtime's pool: that has an end, so that one silent server would come to hold up the work of
//! all, and a runtime that ends waits for it. What must not outlive its caller takes itself back when it is dropped.

use crate::mutex::guarded;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use thiserror::Error;
use tokio::{runtime::Handle, sync::oneshot};

/// What is being asked, for who gives up waiting.
#[derive(Clone, Debug)]
pub struct Place(Arc<Mutex<PathBuf>>);

impl Place {
    /// The work goes on to this place.
    pub fn now(&self, path: &Path) {
        path.clone_into(&mut guarded(&self.0));
    }

    fn last(&self) -> PathBuf {
        guarded(&self.0).clone()
    }
}

/// A place of the host that could not be asked.
#[derive(Debug, Error)]
#[error("the host does not answer for {}", path.display())]
pub struct Unanswered {
    /// The place.
    pub path: PathBuf,
    /// Why not; [`io::ErrorKind::TimedOut`] for a file system that is silent.
    #[source]
    pub source: io::Error,
}

impl From<Unanswered> for io::Error {
    fn from(error: Unanswered) -> Self {
        Self::new(error.source.kind(), error)
    }
}

/// Its file system has said nothing for so long.
#[derive(Clone, Copy, Debug, Error)]
#[error(
    "its file system has not answered within {0:?}; bring its server or device back or force it off (umount -f), and try again"
)]
struct Silent(Duration);

/// Does work that may wait for the host, beginning at `first`, at most `limit` long. What it does after that is for nobody: its outcome is
/// dropped. It runs in the context of the caller's runtime.
///
/// # Errors
/// [`Unanswered`], which names the place that the work had come to.
pub async fn ask<T: Send + 'static>(
    first: &Path,
    limit: Duration,
    work: impl FnOnce(&Place) -> T + Send + 'static,
) -> Result<T, Unanswered> {
    let place = Place(Arc::new(Mutex::new(first.to_owned())));
    let at = place.clone();
    let done = tokio::time::timeout(limit, run(move || work(&at))).await;
    let done = done.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, Silent(limit))));
    done.map_err(|source| Unanswered { path: place.last(), source })
}

/// The same for as long as it takes.
///
/// # Errors
/// When no thread can be had, or the work panicked.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, outcome) = oneshot::channel();
    let runtime = Handle::current();
    spawn(move || {
        let _context = runtime.enter();
        // Refused when nobody waits any more.
        drop(done.send(work()));
    })?;
    outcome.await.map_err(|_| io::Error::other("the thread that asks the host has panicked"))
}

/// Does work that nobody waits for; where no thread can be had, here.
pub fn leave(work: impl FnOnce() + Send + 'static) {
    let shared = Arc::new(Mutex::new(Some(work)));
    let once = |shared: &Mutex<Option<_>>| guarded(shared).take();
    let theirs = shared.clone();
    let left = spawn(move || {
        if let Some(work) = once(&theirs) {
            work();
        }
    });
    if left.is_err()
        && let Some(work) = once(&shared)
    {
        work();
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("host".to_owned()).spawn(work).map(drop)
}

/// How long a file system of the host may take where nobody says otherwise: a disk that sleeps takes some seconds, a server that fails over
/// some more.
pub const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    struct Told(mpsc::Sender<&'static str>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send("dropped").expect("the test listens");
        }
    }

    /// On one thread: what hangs would hold up all, the time limit included.
    #[tokio::test]
    async fn a_place_that_hangs_holds_up_nobody_and_is_named() {
        let (free, hangs) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let brings = Told(tell);
        let asked = ask("/first".as_ref(), Duration::from_millis(20), move |place| {
            place.now("/second".as_ref());
            // Until it is told to, or the test is over.
            let _ = hangs.recv();
            brings
        });
        let other = ask("/other".as_ref(), PATIENCE, |_| 7);
        let (asked, other) = tokio::join!(asked, other);
        assert_eq!(other.expect("answered"), 7);
        let error = asked.map(drop).expect_err("it hangs");
        assert_eq!(error.path, Path::new("/second"));
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("/second"), "{error}");
        assert!(told.try_recv().is_err(), "it still hangs");
        drop(free);
        assert_eq!(told.recv(), Ok("dropped"), "what came too late takes itself back");
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error() {
        assert!(run(|| panic!("as it is meant to")).await.map(|(): ()| ()).is_err());
        let (tell, told) = mpsc::channel();
        leave(move || drop(Told(tell)));
        assert_eq!(told.recv(), Ok("dropped"));
    }
}
