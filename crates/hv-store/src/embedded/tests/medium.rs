//! A disk with a volatile cache: files and a directory of which a power failure leaves what was synced, and any of the rest.

use super::super::file::Guard;
use super::super::log::Directory;
use super::Random;
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    Honest,
    /// Claims to have synced files.
    Lying,
    /// Claims to have synced the directory.
    LyingAboutNames,
}

/// The whole disk. The store's file is not in the directory, but counts as there from the start.
#[derive(Clone, Debug)]
pub(super) struct Medium(Arc<Mutex<State>>);

/// What is on a disk after a power failure.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) base: Vec<u8>,
    pub(super) log: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct State {
    files: Vec<Contents>,
    /// Which file a name leads to, as programs see it and as a power failure leaves it for certain.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Rename>,
    /// What was done since each file's last sync, in order of all.
    pending: Vec<(usize, Pending)>,
    sync: Sync,
    /// Operations until the power fails.
    pub(super) fails_after: u64,
    /// Syncs until one fails, alone.
    pub(super) sync_fails_after: u64,
    /// Whether it has.
    pub(super) sync_failed: bool,
    /// Bytes that all files may have.
    pub(super) capacity: u64,
}

#[derive(Debug, Default)]
struct Contents {
    current: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Rename {
    Add(String, usize),
    Move(String, String),
    Remove(String),
}

#[derive(Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

const SECTOR: usize = 512;

/// The store's own file.
const BASE: usize = 0;

#[derive(Clone, Debug)]
struct MediumFile(Medium, usize);

impl Medium {
    pub(super) fn new(image: Image, sync: Sync) -> Self {
        let contents = |bytes: Vec<u8>| Contents { current: bytes.clone(), durable: bytes };
        let names: BTreeMap<_, _> = image.log.keys().cloned().zip(1..).collect();
        let state = State {
            files: [image.base].into_iter().chain(image.log.into_values()).map(contents).collect(),
            durable_names: names.clone(),
            names,
            pending_names: Vec::new(),
            pending: Vec::new(),
            sync,
            fails_after: u64::MAX,
            sync_fails_after: u64::MAX,
            sync_failed: false,
            capacity: u64::MAX,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn guard(&self) -> Guard {
        Guard::new(Box::new(MediumFile(self.clone(), BASE)))
    }

    pub(super) fn directory(&self) -> Box<dyn Directory> {
        Box::new(self.clone())
    }

    /// What the next process finds after this one has died with the power on: everything, synced or not.
    pub(super) fn outlive(&self) {
        let mut state = self.state();
        (state.fails_after, state.sync_fails_after, state.sync_failed) = (u64::MAX, u64::MAX, false);
    }

    /// What is there while the power is on.
    pub(super) fn image(&self) -> Image {
        let state = self.state();
        let log = state.names.iter().map(|(name, id)| (name.clone(), state.files[*id].current.clone()));
        Image { base: state.files[BASE].current.clone(), log: log.collect() }
    }

    /// What is there after the power has failed: of the unsynced writes any may be lost, and of the last one that is not any
    /// sectors may be. Of the names, the last changes may be lost.
    pub(super) fn crash(&self, random: &mut Random) -> Image {
        let mut state = self.state();
        let state = &mut *state;
        let pending = std::mem::take(&mut state.pending);
        // Sometimes everything arrives, sometimes nothing, mostly some of it.
        let share = random.below(5);
        let mut kept: Vec<_> = pending.into_iter().filter(|_| random.below(4) < share).collect();
        let torn = random.below(2) == 0;
        let last = torn.then(|| kept.pop()).flatten();
        for (id, operation) in &kept {
            operation.apply(&mut state.files[*id].durable);
        }
        if let Some((id, operation)) = last {
            operation.tear(&mut state.files[id].durable, random);
        }
        let kept = random.below(state.pending_names.len() as u64 + 1) as usize;
        for rename in &state.pending_names[..kept] {
            rename.apply(&mut state.durable_names);
        }
        let log =
            state.durable_names.iter().map(|(name, id)| (name.clone(), state.files[*id].durable.clone()));
        Image { base: state.files[BASE].durable.clone(), log: log.collect() }
    }
}

impl Pending {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => image.resize(*len, 0),
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[*offset..end].copy_from_slice(data);
            }
        }
    }

    /// Applies some sectors of it.
    fn tear(&self, image: &mut Vec<u8>, random: &mut Random) {
        let Self::Write(offset, data) = self else { return self.apply(image) };
        let mut at = 0;
        while at < data.len() {
            let next = ((offset + at) / SECTOR + 1) * SECTOR - offset;
            let piece = at..next.min(data.len());
            if random.below(2) == 0 {
                Self::Write(offset + at, data[piece.clone()].to_vec()).apply(image);
            }
            at = piece.end;
        }
    }
}

impl Rename {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Add(name, id) => drop(names.insert(name.clone(), *id)),
            Self::Move(from, to) => {
                let id = names.remove(from).expect("renames come after what they rename");
                names.insert(to.clone(), id);
            }
            Self::Remove(name) => drop(names.remove(name)),
        }
    }
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        self.fails_after =
            self.fails_after.checked_sub(1).ok_or_else(|| io::Error::other("the power has failed"))?;
        Ok(())
    }

    /// As [`State::operate`], for a sync.
    fn operate_sync(&mut self) -> io::Result<()> {
        self.operate()?;
        self.sync_failed |= self.sync_fails_after == 0;
        let fails = self.sync_fails_after == 0;
        self.sync_fails_after = self.sync_fails_after.checked_sub(1).unwrap_or(u64::MAX);
        if fails { Err(io::Error::other("the disk has failed to write")) } else { Ok(()) }
    }

    fn change(&mut self, id: usize, operation: Pending) -> io::Result<()> {
        self.operate()?;
        operation.apply(&mut self.files[id].current);
        self.pending.push((id, operation));
        Ok(())
    }

    fn rename(&mut self, rename: Rename) -> io::Result<()> {
        self.operate()?;
        rename.apply(&mut self.names);
        self.pending_names.push(rename);
        Ok(())
    }

    /// Bytes in all files that have a name, and in the store's.
    pub(super) fn used(&self) -> u64 {
        self.names.values().chain([&BASE]).map(|id| self.files[*id].current.len() as u64).sum()
    }
}

impl StorageBackend for MediumFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.state().files[self.1].current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.state();
        let offset = offset as usize;
        let current = &state.files[self.1].current;
        let bytes = current.get(offset..offset + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.state();
        let old = state.files[self.1].current.len() as u64;
        if len > old && state.used() + (len - old) > state.capacity {
            return Err(ErrorKind::StorageFull.into());
        }
        state.change(self.1, Pending::SetLen(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.state();
        if let Err(error) = state.operate_sync() {
            if state.fails_after != 0 {
                // As a system does it: the cache keeps what the disk did not take, and takes it for written.
                state
                    .pending
                    .retain(|(id, operation)| *id != self.1 || matches!(operation, Pending::SetLen(_)));
            }
            return Err(error);
        }
        if state.sync != Sync::Lying {
            let State { files, pending, .. } = &mut *state;
            pending.retain(|(id, operation)| {
                if *id == self.1 {
                    operation.apply(&mut files[*id].durable);
                }
                *id != self.1
            });
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.state().change(self.1, Pending::Write(offset as usize, data.to_vec()))
    }
}

impl Directory for Medium {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let mut state = self.state();
        let id = state.files.len();
        state.files.push(Contents::default());
        state.rename(Rename::Add(name.to_owned(), id))?;
        Ok(Box::new(MediumFile(self.clone(), id)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let id = *self.state().names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(MediumFile(self.clone(), id)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state().rename(Rename::Move(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state().rename(Rename::Remove(name.to_owned()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate_sync()?;
        let State { durable_names, pending_names, sync, .. } = &mut *state;
        if *sync != Sync::LyingAboutNames {
            pending_names.drain(..).for_each(|rename| rename.apply(durable_names));
        }
        Ok(())
    }
}
