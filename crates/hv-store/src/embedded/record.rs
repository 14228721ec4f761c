//! The bytes of one key, one revision and one lease on disk. Numbers are little-endian.
//!
//! ```text
//!   log table    revision -> event*      event = kind u8, key length u16, key, previous revision u64, [item]
//!   base table   key      -> item        item  = create u64, modified u64, version u64, lease u64, length u32, value
//! ```
//!
//! Lease 0 is no lease, previous revision 0 is a key that did not exist. An event names where its previous value is
//! instead of repeating it: in the log at that revision, or in the base.

use crate::{Event, KeyValue, LeaseId, Revision};
use bytes::Bytes;

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
pub(super) fn encode_event(event: &Event, out: &mut Vec<u8>) {
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
    if let Some(current) = current {
        Item::from(current.clone()).encode(out);
    }
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
        for number in [self.create, self.modified, self.version, self.lease.map_or(0, |lease| lease.0)] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let length = u32::try_from(self.value.len()).expect("values are at most MAX_VALUE_BYTES");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.value);
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

fn u64(bytes: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(array(bytes)?))
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    bytes.split_off(..N)?.try_into().ok()
}
