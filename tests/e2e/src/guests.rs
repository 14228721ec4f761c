//! Guests as the host sees them: QEMU processes that hold files of one state directory open.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A QEMU.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// uid of its instance.
    pub instance: String,
}

/// All guests of one agent.
#[derive(Clone, Debug)]
pub struct Guests {
    instances: PathBuf,
    user: u32,
}

impl Guests {
    /// Those that run as `user` on the instances in this directory.
    pub fn new(instances: PathBuf, user: u32) -> Self {
        Self { instances, user }
    }

    /// Those that run now.
    pub fn now(&self) -> Vec<Process> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(instance) = self.instance_of(&entry.path()) {
                found.push(Process { pid, instance });
            }
        }
        found.sort();
        found
    }

    /// The instance that a process is the QEMU of. A process may end at any time: then it is none.
    fn instance_of(&self, process: &Path) -> Option<String> {
        if fs::metadata(process).ok()?.uid() != self.user {
            return None;
        }
        let program = fs::read_link(process.join("exe")).ok()?;
        if !program.file_name()?.to_str()?.starts_with("qemu-system") {
            return None;
        }
        fs::read_dir(process.join("fd")).ok()?.flatten().find_map(|descriptor| {
            let file = fs::read_link(descriptor.path()).ok()?;
            let instance = file.strip_prefix(&self.instances).ok()?.iter().next()?;
            Some(instance.to_str()?.to_owned())
        })
    }

    /// The process ids of the guests of one instance.
    pub fn of(&self, instance: &str) -> Vec<u32> {
        self.now().into_iter().filter(|guest| guest.instance == instance).map(|guest| guest.pid).collect()
    }

    /// Ends all of them, and whatever else an agent that was killed in the middle of its work has left, such as a child that
    /// was about to become a QEMU: everything that holds a file of an instance.
    pub(crate) fn kill_all(&self) {
        let holds = |process: PathBuf| {
            let descriptors = fs::read_dir(process.join("fd")).ok()?.flatten();
            let ours =
                |link: PathBuf| fs::read_link(link).is_ok_and(|file| file.starts_with(&self.instances));
            descriptors.map(|entry| entry.path()).any(ours).then_some(())
        };
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid: Option<i32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let pid = pid.filter(|_| holds(entry.path()).is_some()).and_then(rustix::process::Pid::from_raw);
            pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }

    /// No process, socket or file of any instance.
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.now(), []);
        let files: Vec<_> =
            fs::read_dir(&self.instances).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(files.is_empty(), "{files:?}");
        let sockets = fs::read_to_string("/proc/net/unix").unwrap();
        let ours = self.instances.to_str().unwrap();
        let sockets: Vec<_> = sockets.lines().filter(|line| line.contains(ours)).collect();
        assert!(sockets.is_empty(), "{sockets:?}");
    }
}

#[derive(Debug, Default)]
struct Seen {
    /// For each instance all process ids, and the most at one time.
    instances: BTreeMap<String, (BTreeSet<u32>, usize)>,
    over: bool,
}

/// Looks at the guests all the time, in a thread.
#[derive(Debug)]
pub struct Sampler {
    seen: Arc<(Mutex<Seen>, Condvar)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sampler {
    /// Begins to look.
    pub fn start(guests: Guests) -> Self {
        let seen: Arc<(Mutex<Seen>, Condvar)> = Arc::default();
        let shared = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            loop {
                let now = guests.now();
                let mut seen = shared.0.lock().unwrap();
                let mut counts = BTreeMap::<_, usize>::new();
                for guest in now {
                    let count = counts.entry(guest.instance.clone()).or_default();
                    *count += 1;
                    let (pids, most) = seen.instances.entry(guest.instance).or_default();
                    pids.insert(guest.pid);
                    *most = (*most).max(*count);
                }
                let (seen, _) = shared.1.wait_timeout(seen, EVERY).unwrap();
                if seen.over {
                    return;
                }
            }
        });
        Self { seen, thread: Some(thread) }
    }

    /// How many processes an instance ever had, and how many at one time.
    pub fn of(&self, instance: &str) -> (usize, usize) {
        let seen = self.seen.0.lock().unwrap();
        seen.instances.get(instance).map_or((0, 0), |(pids, most)| (pids.len(), *most))
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.seen.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).over = true;
        self.seen.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // Its panic would have been that of a broken /proc.
            let _ = thread.join();
        }
    }
}

/// Between two looks; two QEMUs of one instance would live together far longer.
const EVERY: Duration = Duration::from_millis(25);
