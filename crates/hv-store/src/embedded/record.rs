//! The bytes of one key, one revision and one group on disk. Numbers are little-endian.
//!
//! ```text
//!   base table   key -> item       item   = create u64, modified u64, version u64, lease u64, length u32, value
//!   log frame    record*           record = 1, revision u64, length u32, event*
//!                                         | 2, lease u64, time to live in ms u64
//!                                         | 3, ended lease u64  |  4, compacted revision u64  |  5, last lease u64
//!                                  event  = kind u8, key length u16, key, previous revision u64, [item]
//! ```
//!
//! Lease 0 is no lease, previous revision 0 is a key that did not exist. An event names where its previous value is
//! instead of repeating it: in the log at that revision, or in the base.

use super::disk::Group;
use crate::{Event, KeyValue, LeaseId, Revision};
use bytes::Bytes;
use std::time::Duration;

/// A key's state without its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) value: Bytes,
    pub(super) create: u64,
    pub(super) modified: u64,
    pub(super) version: u64,
    pub(super) lease: Option<LeaseId>,
}

/// Appends one change to the record of its revision.
fn encode_event(event: &Event, out: &mut Vec<u8>) {
    let (current, previous) = match event {
        Event::Put { current, previous } => (Some(current), previous.as_ref()),
        Event::Delete { previous } => (None, Some(previous)),
    };
    out.push(u8::from(current.is_some()));
    let key = event.key();
    let length = u16::try_from(key.len()).expect("keys are at most MAX_KEY_BYTES");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(&previous.map_or(0, |previous| previous.mod_revision.0).to_le_bytes());
    if let Some(KeyValue { value, create_revision, mod_revision, version, lease, .. }) = current {
        encode_item([create_revision.0, mod_revision.0, *version], *lease, value, out);
    }
}

/// What a group is made of, as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Changes { revision: u64, entries: Vec<Entry> },
    Granted(LeaseId, Duration),
    Ended(LeaseId),
    Compacted(u64),
    LastLease(u64),
}

/// Appends a group.
pub(super) fn encode_group(group: &Group, out: &mut Vec<u8>) {
    let number = |out: &mut Vec<u8>, kind: u8, number: u64| {
        out.push(kind);
        out.extend_from_slice(&number.to_le_bytes());
    };
    for (id, ttl) in &group.granted {
        number(out, GRANTED, id.0);
        out.extend_from_slice(&millis(*ttl).to_le_bytes());
    }
    for batch in &group.log {
        encode_changes(batch.revision.0, out, |out| {
            batch.events.iter().for_each(|event| encode_event(event, out));
        });
    }
    group.ended.iter().for_each(|id| number(out, ENDED, id.0));
    group.compacted.iter().for_each(|compacted| number(out, COMPACTED, *compacted));
    group.last_lease.iter().for_each(|last| number(out, LAST_LEASE, *last));
}

/// Appends the changes of one revision, which `events` encodes.
pub(super) fn encode_changes(revision: u64, out: &mut Vec<u8>, events: impl FnOnce(&mut Vec<u8>)) {
    out.push(CHANGES);
    out.extend_from_slice(&revision.to_le_bytes());
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    events(out);
    let length = u32::try_from(out.len() - at - 4).expect("a transaction is bounded");
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// All records of a group; nothing if the bytes are not a whole group.
pub(super) fn decode_group(mut bytes: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let [kind] = array(&mut bytes)?;
        let number = u64(&mut bytes)?;
        records.push(match kind {
            CHANGES => {
                let length = usize::try_from(u32::from_le_bytes(array(&mut bytes)?)).ok()?;
                Record::Changes { revision: number, entries: Entry::decode_all(bytes.split_off(..length)?)? }
            }
            GRANTED => Record::Granted(LeaseId(number), Duration::from_millis(u64(&mut bytes)?)),
            ENDED => Record::Ended(LeaseId(number)),
            COMPACTED => Record::Compacted(number),
            LAST_LEASE => Record::LastLease(number),
            _ => return None,
        });
    }
    Some(records)
}

const CHANGES: u8 = 1;
const GRANTED: u8 = 2;
const ENDED: u8 = 3;
const COMPACTED: u8 = 4;
const LAST_LEASE: u8 = 5;

/// A time to live as it is written.
pub(super) fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

/// One change as the log holds it; `item` is absent for a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) previous: u64,
    pub(super) item: Option<Item>,
}

impl Item {
    pub(super) fn with_key(&self, key: &str) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: self.value.clone(),
            create_revision: Revision(self.create),
            mod_revision: Revision(self.modified),
            version: self.version,
            lease: self.lease,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        encode_item([self.create, self.modified, self.version], self.lease, &self.value, out);
    }

    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let (create, modified, version, lease) = (u64(bytes)?, u64(bytes)?, u64(bytes)?, u64(bytes)?);
        let length = usize::try_from(u32::from_le_bytes(array(bytes)?)).ok()?;
        let value = Bytes::copy_from_slice(bytes.split_off(..length)?);
        Some(Self { value, create, modified, version, lease: (lease != 0).then_some(LeaseId(lease)) })
    }
}

impl From<KeyValue> for Item {
    fn from(item: KeyValue) -> Self {
        Self {
            value: item.value,
            create: item.create_revision.0,
            modified: item.mod_revision.0,
            version: item.version,
            lease: item.lease,
        }
    }
}

impl Entry {
    /// All changes of one revision; nothing if the bytes are not a whole record.
    pub(super) fn decode_all(mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            let [kind] = array(&mut bytes)?;
            let length = usize::from(u16::from_le_bytes(array(&mut bytes)?));
            let key = str::from_utf8(bytes.split_off(..length)?).ok()?.to_owned();
            let previous = u64(&mut bytes)?;
            let item = match kind {
                0 => None,
                1 => Some(Item::decode(&mut bytes)?),
                _ => return None,
            };
            entries.push(Self { key, previous, item });
        }
        Some(entries)
    }
}

fn encode_item(numbers: [u64; 3], lease: Option<LeaseId>, value: &[u8], out: &mut Vec<u8>) {
    for number in numbers.into_iter().chain([lease.map_or(0, |lease| lease.0)]) {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let length = u32::try_from(value.len()).expect("values are at most MAX_VALUE_BYTES");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(value);
}

fn u64(bytes: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(array(bytes)?))
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    bytes.split_off(..N)?.try_into().ok()
}
