//! A file around the page cache, on the disk of the target directory: our disk beside qemu-storage-daemon with io_uring, both driven by our
//! front-end; and our disk that reads through the page cache, which has nothing of the file at the beginning.

use crate::ours::Ours;
use crate::servers::{Kind, Server};
use crate::{DISK, Mode, Rate, Result, measure, median};
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::path::{Path, PathBuf};
use virtio::features::Features;

const ROUNDS: usize = 5;

/// Ours, the daemon, and ours through the page cache.
pub fn beside(directory: &Path, depth: usize) -> Result<[Rate; 3]> {
    let file = file()?;
    let kinds = [Kind::OursDirect(&file), Kind::DaemonDirect(&file), Kind::OursFile(&file)];
    let mut all: [Vec<Rate>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (kind, rates) in kinds.into_iter().zip(&mut all) {
            fadvise(File::open(&file)?, 0, None, Advice::DontNeed)?;
            let server = Server::start(directory, kind)?;
            rates.push(measure(&mut Ours::new(server.socket(), depth, Mode::Called, Features::empty())?)?);
        }
    }
    Ok(all.map(median))
}

/// A file of the disk's size, made once.
fn file() -> Result<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/direct.raw");
    if std::fs::metadata(&file).map(|it| it.len()).ok() != Some(DISK) {
        std::fs::write(&file, vec![1; DISK as usize])?;
        File::open(&file)?.sync_all()?;
    }
    Ok(file)
}
