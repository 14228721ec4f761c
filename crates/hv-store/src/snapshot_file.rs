//! A snapshot as a file: read only if all of it is sound.
//!
//! ```text
//!   head     magic [8], revision u64, incarnation [36], crc32c u32
//!   chunk*   length u32, crc32c u32, record*     record = 1, lease u64, time to live in ms u64
//!                                                       | 2, key length u16, key, create u64, modified u64, version u64,
//!                                                            lease u64, value length u32, value
//!   end      0 u32, items u64, leases u64, SHA-256 of everything before it [32]
//! ```
//!
//! Numbers are little-endian, lease 0 is no lease. Nothing but one chunk is in memory beside the snapshot itself.

use crate::{KeyValue, LeaseId, MAX_KEY_BYTES, MAX_VALUE_BYTES, Revision, Snapshot};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// The last byte is the version.
const MAGIC: [u8; 8] = *b"hv-snap\x01";
const CHUNK_BYTES: usize = 256 << 10;
const MOST_CHUNK_BYTES: usize = CHUNK_BYTES + MAX_KEY_BYTES + MAX_VALUE_BYTES + 64;
const INCARNATION_BYTES: usize = 36;
const LEASE: u8 = 1;
const ITEM: u8 = 2;

/// Why a snapshot was not read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFileError {
    /// It is something else.
    #[error("{} is not a snapshot of the store", .0.display())]
    Foreign(PathBuf),
    /// It was made by another version of this program.
    #[error("{} is a snapshot of version {found}; this program reads version {}", path.display(), MAGIC[7])]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u8,
    },
    /// It ends too early.
    #[error("{} is cut short: its end is missing", .0.display())]
    Truncated(PathBuf),
    /// It is not what was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// The file system refused.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// A snapshot that was read, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// The incarnation of the store it was taken of.
    pub incarnation: String,
    /// What the store held.
    pub snapshot: Snapshot,
}

/// Writes a snapshot's bytes, in pieces of any size, and flushes them.
///
/// # Errors
/// What `out` says.
pub fn encode(incarnation: &str, snapshot: &Snapshot, out: impl Write) -> io::Result<()> {
    let mut out = Hashing { inner: out, hash: Sha256::new() };
    let mut head = Vec::new();
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&snapshot.revision.0.to_le_bytes());
    let mut name = incarnation.as_bytes().to_vec();
    name.resize(INCARNATION_BYTES, 0);
    head.extend_from_slice(&name);
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    out.write_all(&head)?;
    let mut chunk = Vec::new();
    for (id, ttl) in &snapshot.leases {
        chunk.push(LEASE);
        chunk.extend_from_slice(&id.0.to_le_bytes());
        chunk.extend_from_slice(&ttl.to_le_bytes());
        flush(&mut out, &mut chunk, CHUNK_BYTES)?;
    }
    for item in &snapshot.items {
        let key_length = u16::try_from(item.key.len()).map_err(|_| ErrorKind::InvalidInput)?;
        let value_length = u32::try_from(item.value.len()).map_err(|_| ErrorKind::InvalidInput)?;
        chunk.push(ITEM);
        chunk.extend_from_slice(&key_length.to_le_bytes());
        chunk.extend_from_slice(item.key.as_bytes());
        let lease = item.lease.map_or(0, |lease| lease.0);
        for number in [item.create_revision.0, item.mod_revision.0, item.version, lease] {
            chunk.extend_from_slice(&number.to_le_bytes());
        }
        chunk.extend_from_slice(&value_length.to_le_bytes());
        chunk.extend_from_slice(&item.value);
        flush(&mut out, &mut chunk, CHUNK_BYTES)?;
    }
    flush(&mut out, &mut chunk, 1)?;
    out.write_all(&0_u32.to_le_bytes())?;
    for count in [snapshot.items.len(), snapshot.leases.len()] {
        out.write_all(&(count as u64).to_le_bytes())?;
    }
    let Hashing { mut inner, hash } = out;
    inner.write_all(&hash.finalize())?;
    inner.flush()
}

/// Writes the chunk once it has `enough` bytes.
fn flush(out: &mut impl Write, chunk: &mut Vec<u8>, enough: usize) -> io::Result<()> {
    if chunk.len() >= enough {
        let length = u32::try_from(chunk.len()).map_err(|_| ErrorKind::InvalidInput)?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&crc32c::crc32c(chunk).to_le_bytes())?;
        out.write_all(chunk)?;
        chunk.clear();
    }
    Ok(())
}

/// Reads a snapshot.
///
/// # Errors
/// What is not whole and sound is refused.
pub fn read(path: &Path) -> Result<SnapshotFile, SnapshotFileError> {
    let io = |source: io::Error| match source.kind() {
        ErrorKind::UnexpectedEof => SnapshotFileError::Truncated(path.to_owned()),
        _ => SnapshotFileError::Io { path: path.to_owned(), source },
    };
    let damaged = |what| SnapshotFileError::Damaged { path: path.to_owned(), what };
    let file = File::open(path).map_err(io)?;
    let mut input = Hashing { inner: BufReader::new(file), hash: Sha256::new() };
    let magic: [u8; 8] = array(&mut input).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => SnapshotFileError::Foreign(path.to_owned()),
        _ => io(error),
    })?;
    if magic[..7] != MAGIC[..7] {
        return Err(SnapshotFileError::Foreign(path.to_owned()));
    }
    if magic[7] != MAGIC[7] {
        return Err(SnapshotFileError::Version { path: path.to_owned(), found: magic[7] });
    }
    let revision: [u8; 8] = array(&mut input).map_err(io)?;
    let incarnation: [u8; INCARNATION_BYTES] = array(&mut input).map_err(io)?;
    let head = [magic.as_slice(), &revision, &incarnation].concat();
    if u32::from_le_bytes(array(&mut input).map_err(io)?) != crc32c::crc32c(&head) {
        return Err(damaged("its head does not match its checksum"));
    }
    let mut snapshot = Snapshot { revision: Revision(u64::from_le_bytes(revision)), ..Snapshot::default() };
    loop {
        let length = u32::from_le_bytes(array(&mut input).map_err(io)?) as usize;
        if length == 0 {
            break;
        }
        if length > MOST_CHUNK_BYTES {
            return Err(damaged("a part has an impossible length"));
        }
        let crc = u32::from_le_bytes(array(&mut input).map_err(io)?);
        let mut chunk = vec![0; length];
        input.read_exact(&mut chunk).map_err(io)?;
        if crc32c::crc32c(&chunk) != crc {
            return Err(damaged("a part does not match its checksum"));
        }
        take_records(chunk.into(), &mut snapshot).ok_or_else(|| damaged("a part has half a record"))?;
    }
    let items = u64::from_le_bytes(array(&mut input).map_err(io)?);
    let leases = u64::from_le_bytes(array(&mut input).map_err(io)?);
    let Hashing { mut inner, hash } = input;
    let sum: [u8; 32] = array(&mut inner).map_err(io)?;
    if sum != *hash.finalize() {
        return Err(damaged("the whole does not match its checksum"));
    }
    if (items, leases) != (snapshot.items.len() as u64, snapshot.leases.len() as u64) {
        return Err(damaged("it does not hold as much as it says"));
    }
    if inner.read(&mut [0]).map_err(io)? != 0 {
        return Err(damaged("something follows its end"));
    }
    let incarnation = String::from_utf8_lossy(&incarnation).trim_end_matches('\0').to_owned();
    Ok(SnapshotFile { incarnation, snapshot })
}

fn take_records(mut chunk: Bytes, snapshot: &mut Snapshot) -> Option<()> {
    fn take(bytes: &mut Bytes, count: usize) -> Option<Bytes> {
        (bytes.len() >= count).then(|| bytes.split_to(count))
    }
    fn number(bytes: &mut Bytes) -> Option<u64> {
        Some(u64::from_le_bytes(take(bytes, 8)?[..].try_into().ok()?))
    }
    while !chunk.is_empty() {
        match take(&mut chunk, 1)?[0] {
            LEASE => snapshot.leases.push((LeaseId(number(&mut chunk)?), number(&mut chunk)?)),
            ITEM => {
                let length = u16::from_le_bytes(take(&mut chunk, 2)?[..].try_into().ok()?);
                let key = String::from_utf8(take(&mut chunk, length.into())?.to_vec()).ok()?;
                let (create, modified) = (number(&mut chunk)?, number(&mut chunk)?);
                let (version, lease) = (number(&mut chunk)?, number(&mut chunk)?);
                let length = u32::from_le_bytes(take(&mut chunk, 4)?[..].try_into().ok()?);
                // A copy, so that one small value does not keep its whole chunk.
                let value = Bytes::copy_from_slice(&take(&mut chunk, usize::try_from(length).ok()?)?);
                snapshot.items.push(KeyValue {
                    key,
                    value,
                    create_revision: Revision(create),
                    mod_revision: Revision(modified),
                    version,
                    lease: (lease != 0).then_some(LeaseId(lease)),
                });
            }
            _ => return None,
        }
    }
    Some(())
}

/// Passes bytes through and sums them up.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.hash.update(&out[..read]);
        Ok(read)
    }
}

fn array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn sample() -> Snapshot {
        let item = |number: u64| KeyValue {
            key: format!("/hv1/instance/default/{number:04}"),
            value: vec![number as u8; 900].into(),
            create_revision: Revision(number),
            mod_revision: Revision(number + 5),
            version: 3,
            lease: number.is_multiple_of(7).then_some(LeaseId(2)),
        };
        Snapshot {
            revision: Revision(2000),
            items: (1..1000).map(item).collect(),
            leases: vec![(LeaseId(2), 60_000)],
        }
    }

    fn write(path: &Path, snapshot: &Snapshot) {
        encode("incarnation", snapshot, File::create(path).unwrap()).unwrap();
    }

    #[test]
    fn a_snapshot_is_read_back_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snapshot");
        for snapshot in [sample(), Snapshot::default()] {
            write(&path, &snapshot);
            let back = read(&path).unwrap();
            assert_eq!(back, SnapshotFile { incarnation: "incarnation".into(), snapshot });
        }
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snapshot");
        write(&path, &sample());
        let whole = fs::read(&path).unwrap();
        assert!(whole.len() > 3 * CHUNK_BYTES, "more than one chunk");
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read(&path).expect_err("it must be refused")
        };
        for at in (0..whole.len()).step_by(10_007).chain([whole.len() - 1]) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            refused(&bytes);
            let error = refused(&whole[..at]);
            assert!(
                matches!(error, SnapshotFileError::Truncated(_) | SnapshotFileError::Foreign(_)),
                "{at}: {error}"
            );
        }
        let error = refused(&[&whole[..], b"more"].concat());
        assert!(error.to_string().contains("something follows"), "{error}");
        // Every part sound, and one of them missing.
        let second = 56 + 8 + u32::from_le_bytes(whole[56..60].try_into().unwrap()) as usize;
        let third = second + 8 + u32::from_le_bytes(whole[second..second + 4].try_into().unwrap()) as usize;
        let error = refused(&[&whole[..second], &whole[third..]].concat());
        assert!(error.to_string().contains("the whole"), "{error}");
        assert!(matches!(refused(b"# a configuration file, or so"), SnapshotFileError::Foreign(_)));
        let mut newer = whole.clone();
        newer[7] = 9;
        assert!(matches!(refused(&newer), SnapshotFileError::Version { found: 9, .. }));
    }
}
