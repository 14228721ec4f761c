//! Which user a guest's process is: when the driver is root, a number of its own for each instance, so that no guest can
//! reach another one's process or files.
//!
//! The number stands in the instance's facts: it stays the same over starts, restarts of the driver and reboots, and is free
//! again when the instance is deleted. No file belongs to it: disks are handed over as descriptors.
//!
//! No two guests that live have the same number, also when facts cannot be read, or two drivers share a host: each process holds
//! a lock on a file that is named after its number, in a directory that all drivers of the host use. Where an instance's number
//! is some other guest's at the moment of its start, it gets another.

use crate::{
    config::{Config, NoSuchUser},
    layout::{self, Facts, InstanceFacts},
};
use hv_core::InstanceId;
use hv_driver::{DriverError, DriverErrorKind};
use qemu::Identity;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, File},
    io,
    ops::RangeInclusive,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Users of guests.
#[derive(Debug)]
pub(crate) enum Users {
    /// The driver's own: it is not root.
    Own,
    /// One for all, as the settings say.
    Shared(Identity),
    /// One for each.
    Each(Range),
}

/// Numbers, and whose they are.
#[derive(Debug)]
pub(crate) struct Range {
    ids: RangeInclusive<u32>,
    /// The directory of all instances.
    instances: PathBuf,
    /// Read when first needed. Held while files are read, by blocking work only.
    taken: Mutex<Option<BTreeMap<u32, InstanceId>>>,
    /// The directory of locks.
    reservations: PathBuf,
}

impl Users {
    /// By the driver's rights and the settings.
    pub(crate) fn decide(config: &Config) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        let Some(user) = &config.user else {
            return Ok(Self::Each(Range::new(config.uids.clone(), &config.state_dir, &config.reservations)));
        };
        let (uid, gid) = account(user, &accounts())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, NoSuchUser(user.clone())))?;
        Ok(Self::Shared(Identity { uid, gid, groups: Vec::new() }))
    }

    /// Who the guest of an instance is, of which this number is recorded, `None` for the driver itself; and the lock that its
    /// process is to hold. Blocking.
    pub(crate) fn of(
        &self,
        id: InstanceId,
        recorded: Option<u32>,
    ) -> Result<(Option<Identity>, Option<File>), DriverError> {
        match self {
            Self::Own => Ok((None, None)),
            Self::Shared(identity) => Ok((Some(identity.clone()), None)),
            Self::Each(range) => {
                let (uid, lock) = range.take(id, recorded)?;
                Ok((Some(Identity { uid, gid: uid, groups: Vec::new() }), Some(lock)))
            }
        }
    }

    /// The number to record for an instance whose guest is this one.
    pub(crate) fn recorded(&self, identity: Option<&Identity>) -> Option<u32> {
        matches!(self, Self::Each(_)).then_some(identity?.uid)
    }

    /// The instance is no more.
    pub(crate) fn release(&self, id: InstanceId) {
        if let Self::Each(range) = self
            && let Some(taken) = &mut *range.taken.lock().unwrap_or_else(PoisonError::into_inner)
        {
            taken.retain(|_, owner| *owner != id);
        }
    }

    /// Whether guests may be this user.
    pub(crate) fn include(&self, uid: u32) -> bool {
        match self {
            Self::Own => true,
            Self::Shared(identity) => identity.uid == uid,
            Self::Each(range) => range.ids.contains(&uid),
        }
    }
}

impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("the agent's user"),
            Self::Shared(identity) => write!(f, "uid {}", identity.uid),
            Self::Each(Range { ids, .. }) => write!(f, "uid for each, {} to {}", ids.start(), ids.end()),
        }
    }
}

impl Range {
    pub(crate) fn new(ids: RangeInclusive<u32>, state_dir: &Path, reservations: &Path) -> Self {
        Self {
            ids,
            instances: layout::instances(state_dir),
            taken: Mutex::default(),
            reservations: reservations.to_owned(),
        }
    }

    fn take(&self, id: InstanceId, recorded: Option<u32>) -> Result<(u32, File), DriverError> {
        let mut lived = BTreeSet::new();
        if let Some(uid) = recorded
            && self.claim(id, uid)?
        {
            // Its own last process counts as ended when its first thread has, and others may be a moment behind.
            for _ in 0..ATTEMPTS {
                if let Some(lock) = self.reserve(uid)? {
                    return Ok((uid, lock));
                }
                thread::sleep(PAUSE);
            }
            tracing::warn!(instance = %id, uid, "another guest lives as this instance's user; it gets another one");
            lived.insert(uid);
        }
        loop {
            let uid = self.choose(id, &lived)?;
            if let Some(lock) = self.reserve(uid)? {
                return Ok((uid, lock));
            }
            lived.insert(uid);
        }
    }

    /// Whether a number is this instance's: what is recorded stays, also when the range was changed; unless a restored directory
    /// brought it twice.
    fn claim(&self, id: InstanceId, uid: u32) -> Result<bool, DriverError> {
        self.known(|taken| *taken.entry(uid).or_insert(id) == id)
    }

    /// The first number that no instance has, by what is known of them, other than these.
    fn choose(&self, id: InstanceId, lived: &BTreeSet<u32>) -> Result<u32, DriverError> {
        let accounts = accounts();
        let chosen = self.known(|taken| {
            taken.retain(|uid, owner| *owner != id || !lived.contains(uid));
            let is_free = |uid: &u32| {
                !taken.contains_key(uid)
                    && !lived.contains(uid)
                    && account(&uid.to_string(), &accounts) == Some((*uid, *uid))
            };
            let uid = self.ids.clone().find(is_free)?;
            taken.insert(uid, id);
            Some(uid)
        })?;
        chosen.ok_or_else(|| {
            let (first, last) = (self.ids.start(), self.ids.end());
            let message =
                format!("all users from {first} to {last} are taken by guests; widen qemu.uid_range");
            DriverError::new(DriverErrorKind::Conflict, "start", message)
        })
    }

    fn known<T>(&self, ask: impl FnOnce(&mut BTreeMap<u32, InstanceId>) -> T) -> Result<T, DriverError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.is_none() {
            let read = read(&self.instances);
            *taken =
                Some(read.map_err(|error| {
                    crate::error::io("start", "cannot read whose users are taken", &error)
                })?);
        }
        Ok(ask(taken.get_or_insert_default()))
    }

    /// A number's lock, for the process that is to be this user; `None` while another holds it.
    fn reserve(&self, uid: u32) -> Result<Option<File>, DriverError> {
        let path = self.reservations.join(uid.to_string());
        let lock = || -> io::Result<Option<File>> {
            hv_runtime::files::private_dir(&self.reservations)?;
            // Only to be locked: what holds it is a guest's process.
            File::options().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            let file = File::open(&path)?;
            match file.try_lock() {
                Ok(()) => Ok(Some(file)),
                Err(fs::TryLockError::WouldBlock) => Ok(None),
                Err(fs::TryLockError::Error(error)) => Err(error),
            }
        };
        lock().map_err(|error| {
            crate::error::io("start", &format!("cannot reserve a user at {}", path.display()), &error)
        })
    }
}

/// What the facts of all instances say.
fn read(instances: &Path) -> io::Result<BTreeMap<u32, InstanceId>> {
    let mut taken = BTreeMap::new();
    for entry in fs::read_dir(instances)? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Facts that cannot be read stop their own instance's start, and not this one's: if it has a guest, that holds its number.
        if let Ok(Some(facts)) = InstanceFacts::load(&entry.path())
            && let Some(uid) = facts.uid
        {
            taken.insert(uid, id);
        }
    }
    Ok(taken)
}

fn accounts() -> String {
    fs::read_to_string("/etc/passwd").unwrap_or_default()
}

/// User and group of a name in the form of /etc/passwd, or of a bare number.
fn account(user: &str, passwd: &str) -> Option<(u32, u32)> {
    let known = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (name == user || uid == user).then_some((uid.parse().ok()?, gid.parse().ok()?))
    });
    known.or_else(|| user.parse().ok().map(|number| (number, number)))
}

/// How long a number's lock is waited for that only the instance's own last guest should hold: a second in all.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nguests:x:990:991::/:/bin/false\n";
        assert_eq!(account("guests", passwd), Some((990, 991)));
        assert_eq!(account("990", passwd), Some((990, 991)));
        assert_eq!(account("61000", passwd), Some((61_000, 61_000)));
        assert_eq!(account("nobody-here", passwd), None);
    }

    fn id() -> InstanceId {
        InstanceId::new(hv_runtime::ids::uuid())
    }

    fn recorded(state: &Path, id: InstanceId, uid: u32) {
        let directory = layout::instances(state).join(id.to_string());
        fs::create_dir_all(&directory).unwrap();
        let facts = InstanceFacts {
            name: "guest".into(),
            epoch: 1,
            image: None,
            image_format: None,
            root_disk_bytes: 0,
            boot_warning: None,
            machine: None,
            uid: Some(uid),
        };
        facts.save(&directory).unwrap();
    }

    #[test]
    fn every_instance_has_a_number_of_its_own_until_it_is_deleted() {
        let state = tempfile::tempdir().unwrap();
        let (old, first, second) = (id(), id(), id());
        recorded(state.path(), old, 900_001);
        let users = Users::Each(Range::new(900_000..=900_002, state.path(), &state.path().join("users")));
        let uid = |id, recorded| users.of(id, recorded).map(|(identity, _)| identity.unwrap().uid);
        assert_eq!(uid(first, None).unwrap(), 900_000);
        assert_eq!(uid(second, None).unwrap(), 900_002);
        assert_eq!(uid(old, Some(900_001)).unwrap(), 900_001);
        assert_eq!(uid(first, Some(900_000)).unwrap(), 900_000, "the same at every start");
        let full = uid(id(), None).unwrap_err();
        assert!(full.message.contains("qemu.uid_range"), "{full}");
        users.release(second);
        assert_eq!(uid(id(), None).unwrap(), 900_002);
        // From an earlier setting: it stays.
        assert_eq!(uid(second, Some(700_000)).unwrap(), 700_000);
        // A copied directory claims what another instance has.
        users.release(second);
        assert!(uid(second, Some(900_000)).is_err(), "there is no other number left");
    }
    #[test]
    fn a_number_that_a_guest_lives_under_is_given_to_nobody_else() {
        let (state, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let range = |state: &Path, common: &Path| Range::new(900_000..=900_002, state, common);
        let common = state.path().join("users");
        let (one, two, three) = (id(), id(), id());
        let (users, beside) = (range(state.path(), &common), range(other.path(), &common));
        fs::create_dir_all(layout::instances(other.path())).unwrap();
        recorded(state.path(), one, 900_000);
        let (uid, guest) = users.take(one, Some(900_000)).unwrap();
        assert_eq!(uid, 900_000);
        // Another driver of this host.
        let (uid, second) = beside.take(two, None).unwrap();
        assert_eq!(uid, 900_001);
        // A driver that starts anew and cannot read whose number it is.
        fs::write(layout::instances(state.path()).join(one.to_string()).join("instance.json"), "{").unwrap();
        let users = range(state.path(), &common);
        assert_eq!(users.take(three, None).unwrap().0, 900_002);
        // A number that is another's by now, though it is recorded.
        drop((guest, second));
        let (_, held) = users.take(id(), Some(900_001)).unwrap();
        assert_eq!(beside.take(two, Some(900_001)).unwrap().0, 900_000);
        drop(held);
    }
}
