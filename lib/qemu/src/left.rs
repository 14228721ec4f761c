//! What a machine that has ended leaves in its directory: sockets that nobody serves any more. Its logs and its record stay.
//!
//! ```text
//!   handle, supervision ----.
//!   adoption, again and again +--> the directory --one thread--> its file system
//!   another handle ---------'      '-- silent: nobody waits, and no other thread is begun, until it answers
//! ```

use crate::{
    lock::{NotLocked, RunDir, locked_after, pause},
    mutex::guarded,
    record::{CONSOLE_SOCKET, QMP_SOCKET, Record},
};
use qmp::aside::run;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::watch;

/// The sockets of one process.
#[derive(Debug)]
pub(crate) struct Left {
    directory: Option<PathBuf>,
    /// They are gone. Whatever has their names then is another machine's.
    are_gone: AtomicBool,
}

impl Left {
    pub(crate) fn of(record: &Record) -> Self {
        Self { directory: record.run_dir().map(Path::to_owned), are_gone: AtomicBool::new(false) }
    }

    /// Removes them, once the process has ended; whoever else does so is waited for. Only under the lock of the directory, which each process
    /// in it holds as long as it lives, and each start from before it makes its sockets: those of the next one are not touched. What was
    /// refused is tried again by whoever comes next: to be refused takes a moment. A file system that does not answer is waited for once, by
    /// who finds that out: the others, of whatever process of this directory, go on at once until it does.
    pub(crate) async fn removed(&self) {
        let Some(directory) = &self.directory else { return };
        if self.are_gone.load(Relaxed) {
            return;
        }
        match removed_from(directory).await {
            Ok(()) => self.are_gone.store(true, Relaxed),
            // They are replaced by the next start.
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "sockets are left"),
        }
    }
}

/// Has a thread remove the sockets of a directory, or waits for the one that is at it.
async fn removed_from(directory: &Path) -> io::Result<()> {
    let outcome = async {
        if let Some(outcome) = attempt(directory).await {
            return outcome;
        }
        // It may have been refused because of what has ended since; the next one was begun after that.
        attempt(directory).await.unwrap_or_else(|| Err(io::Error::other("somebody else was refused")))
    };
    let in_time = tokio::time::timeout(PATIENCE, outcome).await;
    in_time.unwrap_or_else(|_| {
        found_silent(directory);
        Err(io::ErrorKind::TimedOut.into())
    })
}

/// What came of a removal that this has begun, or has joined; of one that was joined and refused nothing is known.
async fn attempt(directory: &Path) -> Option<io::Result<()>> {
    let mut stage = match joined(directory) {
        Joined::Begun(removal) => {
            let place = directory.to_owned();
            return Some(run(move || remove(&place, removal)).await.flatten());
        }
        Joined::Going(stage) => stage,
    };
    let news = stage.wait_for(|stage| *stage != Stage::Goes).await;
    match news.map_or(Stage::Refused, |stage| *stage) {
        Stage::Removed => Some(Ok(())),
        Stage::Silent => Some(Err(io::ErrorKind::TimedOut.into())),
        Stage::Goes | Stage::Refused => None,
    }
}

/// How far a removal has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A thread is at it, which nobody can call back. It ends when its file system answers.
    Goes,
    /// Somebody has waited for it in vain, and nobody else does.
    Silent,
    /// It is over, and they are gone.
    Removed,
    /// It is over, and they may be there.
    Refused,
}

/// The directories at which threads are, with how far they have come. Held for short sections without await.
static GOING: Mutex<BTreeMap<PathBuf, watch::Sender<Stage>>> = Mutex::new(BTreeMap::new());

fn going() -> MutexGuard<'static, BTreeMap<PathBuf, watch::Sender<Stage>>> {
    guarded(&GOING)
}

/// Somebody who wants the sockets of a directory removed.
enum Joined {
    /// He is the first, and has it done.
    Begun(Removal),
    /// It is being done.
    Going(watch::Receiver<Stage>),
}

fn joined(directory: &Path) -> Joined {
    let mut going = going();
    if let Some(stage) = going.get(directory) {
        return Joined::Going(stage.subscribe());
    }
    let stage = watch::Sender::new(Stage::Goes);
    going.insert(directory.to_owned(), stage.clone());
    Joined::Begun(Removal { directory: directory.to_owned(), stage, ends: Stage::Refused })
}

fn found_silent(directory: &Path) {
    if let Some(stage) = going().get(directory) {
        stage.send_replace(Stage::Silent);
    }
}

/// A removal that is going on, until it is dropped, as where no thread is had for it.
struct Removal {
    directory: PathBuf,
    stage: watch::Sender<Stage>,
    ends: Stage,
}

impl Drop for Removal {
    fn drop(&mut self) {
        // Whoever comes from here on begins another.
        going().remove(&self.directory);
        self.stage.send_replace(self.ends);
    }
}

/// In a thread that may wait: what it locks is free again when it ends, whoever waits for it then.
fn remove(directory: &Path, removal: Removal) -> io::Result<()> {
    remove_after(directory, removal, pause)
}

fn remove_after(directory: &Path, mut removal: Removal, pause: impl FnMut()) -> io::Result<()> {
    let held = match locked_after(directory, || RunDir::opened(directory), TRIES, pause) {
        // What was in a directory that is gone is gone, too. One that is made anew may be another's by now, who joins this.
        Err(NotLocked::Closed(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(NotLocked::Closed(error) | NotLocked::Refused(error)) => return Err(error),
        Err(error @ NotLocked::Held) => return Err(io::Error::other(error)),
        Ok(held) => held,
    };
    let outcome = held.remove(&[QMP_SOCKET, CONSOLE_SOCKET]);
    if outcome.is_ok() {
        removal.ends = Stage::Removed;
    }
    // Still under the lock: nobody joins it who was started since.
    drop(removal);
    outcome
}

/// How often a lock that is held is tried: a program that is just being started may have a copy of it until it executes.
const TRIES: u32 = 10;

/// Of who ends a machine, with a file system that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Adoption, Supervision, adopt,
        lock::{self, locked},
        logs::Logs,
        record::LOCK,
    };
    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
    use std::fs::{self, File};

    fn at(directory: &Path) -> Left {
        Left { directory: Some(directory.to_owned()), are_gone: AtomicBool::new(false) }
    }

    /// Makes a directory's lock one of a file system that does not answer: opening it waits for whoever reads it.
    fn silent(directory: &Path) {
        mknodat(CWD, directory.join(LOCK), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
    }

    /// Lets it answer, until this is dropped.
    fn answers(directory: &Path) -> File {
        File::options().read(true).write(true).open(directory.join(LOCK)).expect("opened")
    }

    /// The thread that is at a directory.
    fn at_work(directory: &Path) -> Option<watch::Receiver<Stage>> {
        going().get(directory).map(watch::Sender::subscribe)
    }

    impl Left {
        /// Tries it once, however long the thread of it is kept from running.
        async fn is_through(&self) {
            let through = async {
                loop {
                    self.removed().await;
                    let Some(directory) = &self.directory else { break };
                    if at_work(directory).is_none() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), through).await.expect("it comes through");
        }
    }

    #[tokio::test]
    async fn a_silent_file_system_is_waited_for_once_until_it_answers() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join(QMP_SOCKET);
        fs::write(&socket, "").expect("written");
        silent(directory.path());
        let left = at(directory.path());
        tokio::time::pause();
        let both = async { tokio::join!(left.removed(), left.removed()) };
        tokio::time::timeout(PATIENCE * 3 / 2, both).await.expect("not one after the other");
        let first = at_work(directory.path()).expect("it goes on");
        // By whom it was found out does not matter: an adoption of what is gone knows of no other.
        for left in [&left, &at(directory.path()), &at(directory.path())] {
            tokio::time::timeout(PATIENCE / 2, left.removed()).await.expect("that it is silent is known");
            let now = at_work(directory.path()).expect("it goes on");
            assert!(first.same_channel(&now), "there is one thread");
        }
        assert!(socket.exists() && !left.are_gone.load(Relaxed));
        tokio::time::resume();
        let _answers = answers(directory.path());
        let done = async {
            while !left.are_gone.load(Relaxed) {
                left.removed().await;
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), done).await.expect("it goes on by itself");
        assert!(!socket.exists() && at_work(directory.path()).is_none());
    }

    #[tokio::test]
    async fn what_is_gone_and_adopted_again_and_again_costs_one_thread() {
        let directory = tempfile::tempdir().expect("a directory");
        silent(directory.path());
        let logs = Logs::default().within(directory.path());
        let record = Record::of(uuid::Uuid::nil(), std::process::id(), directory.path(), logs, &[]);
        let record = Record { boot_id: "another".to_owned(), ..record.expect("described") };
        let mut first = None;
        for _ in 0..3 {
            let adopted = adopt(record.clone(), PATIENCE, Supervision::default()).await.expect("looked for");
            assert!(matches!(adopted, Adoption::Gone(_)), "{adopted:?}");
            let now = at_work(directory.path()).expect("it goes on");
            assert!(first.get_or_insert_with(|| now.clone()).same_channel(&now), "there is one thread");
        }
        let mut stage = at_work(directory.path()).expect("it goes on");
        let _answers = answers(directory.path());
        let over = stage.wait_for(|stage| *stage == Stage::Removed);
        tokio::time::timeout(Duration::from_secs(60), over).await.expect("it has an end").expect("told");
    }

    #[tokio::test]
    async fn what_was_refused_is_tried_again_and_hides_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let [first, second, lock] =
            [QMP_SOCKET, CONSOLE_SOCKET, LOCK].map(|name| directory.path().join(name));
        for name in [&lock, &second] {
            fs::write(name, "").expect("written");
        }
        // No file, and so it stays.
        fs::create_dir(&first).expect("made");
        let left = at(directory.path());
        left.is_through().await;
        assert!(first.exists() && !second.exists() && !left.are_gone.load(Relaxed));
        fs::remove_dir(&first).expect("removed");
        fs::write(&first, "").expect("written");
        left.is_through().await;
        assert!(!first.exists() && left.are_gone.load(Relaxed));
        // A socket that comes later is somebody else's.
        fs::write(&first, "").expect("written");
        left.removed().await;
        assert!(first.exists());
    }

    /// Whoever joins a removal that is refused, as it was begun while his machine lived, tries for himself.
    #[tokio::test]
    async fn what_another_was_refused_is_tried_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join(QMP_SOCKET);
        for name in [&socket, &directory.path().join(LOCK)] {
            fs::write(name, "").expect("written");
        }
        let Joined::Begun(other) = joined(directory.path()) else { panic!("nobody is at it") };
        let left = at(directory.path());
        let mut removed = std::pin::pin!(left.removed());
        let at_once = tokio::time::timeout(Duration::ZERO, removed.as_mut()).await;
        assert!(at_once.is_err() && socket.exists(), "he waits for the other");
        drop(other);
        removed.await;
        // A thread that is kept from running goes on by itself.
        let goes_on = at_work(directory.path()).is_some();
        assert!(goes_on || !socket.exists(), "he tries for himself");
        left.is_through().await;
        assert!(!socket.exists());
    }

    /// The directory is made anew while a removal waits for the lock: what is in it then is the next machine's.
    #[test]
    fn the_sockets_of_a_directory_that_was_made_anew_are_left_alone() {
        let scratch = tempfile::tempdir().expect("a directory");
        let run = &scratch.path().join("run");
        fs::create_dir(run).expect("made");
        let made = || RunDir::within(lock::opened(run)?, OFlags::CREATE);
        let mut ending = Some(locked::<io::Error>(run, made, 0).expect("free"));
        let mut next = None;
        let made_anew = || {
            if ending.is_some() {
                lock::tests::replace(run, &[QMP_SOCKET, CONSOLE_SOCKET]);
                next = Some(locked(run, made, 0).expect("free"));
                ending.take();
            }
        };
        let Joined::Begun(removal) = joined(run) else { panic!("nobody is at it") };
        let error = remove_after(run, removal, made_anew).expect_err("it is the next one's");
        assert!(error.to_string().contains("held"), "{error}");
        assert!(next.is_some() && [QMP_SOCKET, CONSOLE_SOCKET].iter().all(|name| run.join(name).exists()));
    }
}
