//! Processes that end at the wrong moment: starts that fail anywhere, and managers that are killed.
//!
//! What is counted (children, descriptors, files) is that of the whole process, so the tests take turns.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program: helpers beside the tests fail and report alike"
)]

mod managers;
#[path = "../support/polled.rs"]
mod polled;
mod starts;

use qemu::{Config, StartSpec, Supervision};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use uuid::Uuid;

const BINARY: &str = "/usr/bin/qemu-system-x86_64";

/// Far more than anything here takes; reached only when something hangs.
const LONG: Duration = Duration::from_secs(60);

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn missing(test: &str, program: &str, package: &str) -> bool {
    let missing = !Path::new(program).exists();
    if missing {
        println!("not run: {test}: {program} (Debian package {package})");
    }
    missing
}

fn spec(binary: PathBuf, id: Uuid, run_dir: PathBuf) -> StartSpec {
    let config = Config::new("test", id, "pc-q35-7.2", 1, 64);
    let supervision = Supervision { interval: LONG, patience: LONG };
    StartSpec { supervision, deadline: LONG, ..StartSpec::new(binary, config, run_dir) }
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn a_uuid() -> Uuid {
    Uuid::parse_str(fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim()).unwrap()
}
