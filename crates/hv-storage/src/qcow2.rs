//! The qcow2 header, read without trust, and empty images, written; both without QEMU.
//!
//! Layout: `docs/interop/qcow2.txt` of QEMU. All integers are big-endian.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// How the data in an image is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all.
    None,
    /// The old AES scheme, which QEMU itself calls insecure.
    Aes,
    /// LUKS.
    Luks,
    /// A method that the format does not define yet.
    Unknown(u32),
}

/// What the header of a qcow2 image states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// Size that a guest sees, in bytes.
    pub virtual_size: u64,
    /// Cluster size in bytes.
    pub cluster_bytes: u64,
    /// The backing file's name exactly as stored; it may be relative, or a `json:` description.
    pub backing_file: Option<String>,
    /// The backing file's format, if stated.
    pub backing_format: Option<String>,
    /// Whether the guest's data lies in another file.
    pub external_data_file: bool,
    /// Name of that file, if stated.
    pub data_file: Option<String>,
    /// How the data is encrypted.
    pub encryption: Encryption,
    /// Whether the image was not closed cleanly (version 3).
    pub dirty: bool,
    /// Whether QEMU has marked the image corrupt (version 3).
    pub corrupt: bool,
    /// Incompatible feature bits that this reader does not know.
    pub unknown_incompatible: u64,
}

impl Header {
    /// Reads the header; `None` when the file does not start with qcow2's magic.
    ///
    /// # Errors
    /// `InvalidData` with a text for a header that contradicts itself; other kinds come from the reader.
    pub fn read<R: Read + Seek>(mut file: R) -> io::Result<Option<Self>> {
        let mut fixed = [0; V3_BYTES];
        file.seek(SeekFrom::Start(0))?;
        let have = read_up_to(&mut file, &mut fixed)?;
        if have < 4 || fixed[..4] != MAGIC {
            return Ok(None);
        }
        let version = be32(&fixed, 4);
        let needed = match version {
            2 => V2_BYTES,
            3 => V3_BYTES,
            other => return Err(damaged(format!("version {other} is unknown, 2 and 3 are known"))),
        };
        if have < needed {
            return Err(damaged("the file ends inside the header".to_owned()));
        }
        let cluster_bits = be32(&fixed, 20);
        if !(9..=21).contains(&cluster_bits) {
            return Err(damaged(format!("cluster_bits is {cluster_bits}, not within 9 to 21")));
        }
        let cluster_bytes = 1_u64 << cluster_bits;
        let incompatible = if version == 3 { be64(&fixed, 72) } else { 0 };
        let header_bytes = if version == 3 { u64::from(be32(&fixed, 100)) } else { V2_BYTES as u64 };
        if header_bytes < needed as u64 || header_bytes > cluster_bytes || !header_bytes.is_multiple_of(8) {
            return Err(damaged(format!("header_length is {header_bytes}")));
        }
        let virtual_size = be64(&fixed, 24);
        if virtual_size > MAX_VIRTUAL_BYTES {
            return Err(damaged(format!("the virtual size {virtual_size} is beyond what can be addressed")));
        }
        let (backing_offset, backing_bytes) = (be64(&fixed, 8), be32(&fixed, 16));
        let backing_file = match (backing_offset, backing_bytes) {
            (0, _) => None,
            (_, length) if length > MAX_NAME_BYTES => {
                return Err(damaged(format!("the backing file's name has {length} bytes")));
            }
            (offset, length)
                if offset < header_bytes || offset.saturating_add(u64::from(length)) > cluster_bytes =>
            {
                return Err(damaged(format!(
                    "the backing file's name lies at {offset}, outside the first cluster"
                )));
            }
            (_, 0) => return Err(damaged("the backing file's name is empty".to_owned())),
            (offset, length) => Some(text(&mut file, offset, length)?),
        };
        let mut header = Self {
            version,
            virtual_size,
            cluster_bytes,
            backing_file,
            backing_format: None,
            external_data_file: incompatible & EXTERNAL_DATA != 0,
            data_file: None,
            encryption: match be32(&fixed, 32) {
                0 => Encryption::None,
                1 => Encryption::Aes,
                2 => Encryption::Luks,
                other => Encryption::Unknown(other),
            },
            dirty: incompatible & DIRTY != 0,
            corrupt: incompatible & CORRUPT != 0,
            unknown_incompatible: incompatible & !KNOWN_INCOMPATIBLE,
        };
        let end = if backing_offset == 0 { cluster_bytes } else { backing_offset };
        header.read_extensions(&mut file, header_bytes, end)?;
        Ok(Some(header))
    }

    /// Extensions stand between the header and the backing file's name: type, length, data, padding to eight bytes.
    fn read_extensions<R: Read + Seek>(&mut self, file: &mut R, mut at: u64, end: u64) -> io::Result<()> {
        while at + 8 <= end {
            let mut head = [0; 8];
            file.seek(SeekFrom::Start(at))?;
            if read_up_to(file, &mut head)? < head.len() {
                return Ok(());
            }
            let (kind, length) = (be32(&head, 0), be32(&head, 4));
            at += 8;
            if kind == EXTENSION_END {
                return Ok(());
            }
            if u64::from(length) > end - at {
                return Err(damaged(format!(
                    "header extension {kind:#x} has {length} bytes and leaves its room"
                )));
            }
            match kind {
                EXTENSION_BACKING_FORMAT => self.backing_format = Some(text(file, at, length)?),
                EXTENSION_DATA_FILE => self.data_file = Some(text(file, at, length)?),
                _ => {}
            }
            at += u64::from(length).next_multiple_of(8);
        }
        Ok(())
    }
}

/// Writes an empty image (version 3, clusters of 64 KiB) to the start of an empty file.
///
/// ```text
///   cluster 0   header, extensions, name of the backing file
///   cluster 1   table of refcount blocks, of which there is one:
///   cluster 2   refcounts of 32,768 clusters: those of this table are 1
///   cluster 3.. L1 table, all zero: nothing is allocated
/// ```
///
/// `backing` is an absolute path and its format; the size is at most [`MAX_CREATED_BYTES`].
///
/// # Errors
/// `InvalidInput` for a backing file's name that does not fit; otherwise those of the file.
pub(crate) fn create_empty(file: &File, virtual_size: u64, backing: Option<(&str, &str)>) -> io::Result<()> {
    let l1_entries = virtual_size.div_ceil(CREATED_CLUSTER * CREATED_CLUSTER / 8);
    let clusters = 3 + (l1_entries * 8).div_ceil(CREATED_CLUSTER);
    let mut extensions = Vec::new();
    let mut name = &b""[..];
    if let Some((path, format)) = backing {
        name = path.as_bytes();
        if name.len() > MAX_NAME_BYTES as usize {
            let why = format!("the backing file's name has more than {MAX_NAME_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        extensions.extend(EXTENSION_BACKING_FORMAT.to_be_bytes());
        extensions.extend(u32::try_from(format.len()).expect("names of formats are short").to_be_bytes());
        extensions.extend(format.as_bytes());
        extensions.resize(extensions.len().next_multiple_of(8), 0);
    }
    // The end of the extensions: its type and length are zero.
    extensions.extend([0; 8]);
    let name_offset = if name.is_empty() { 0 } else { V3_BYTES as u64 + extensions.len() as u64 };

    let mut header = Vec::with_capacity(V3_BYTES);
    header.extend(MAGIC);
    header.extend(3_u32.to_be_bytes());
    header.extend(name_offset.to_be_bytes());
    header.extend(u32::try_from(name.len()).expect("checked above").to_be_bytes());
    header.extend(CREATED_CLUSTER.ilog2().to_be_bytes());
    header.extend(virtual_size.to_be_bytes());
    header.extend(0_u32.to_be_bytes()); // Not encrypted.
    header.extend(u32::try_from(l1_entries).expect("the size is at most MAX_CREATED_BYTES").to_be_bytes());
    header.extend((3 * CREATED_CLUSTER).to_be_bytes()); // L1 table.
    header.extend(CREATED_CLUSTER.to_be_bytes()); // Refcount table, one cluster.
    header.extend(1_u32.to_be_bytes());
    header.extend([0; 4 + 8]); // No snapshots.
    header.extend([0; 8 * 3]); // No features of any kind.
    header.extend(4_u32.to_be_bytes()); // Refcounts of 16 bits.
    header.extend((V3_BYTES as u32).to_be_bytes());
    debug_assert_eq!(header.len(), V3_BYTES);
    header.extend(extensions);
    header.extend(name);

    // The length first: a full disk shows at the writes, and the L1 table needs none.
    file.set_len(clusters * CREATED_CLUSTER)?;
    file.write_all_at(&header, 0)?;
    file.write_all_at(&(2 * CREATED_CLUSTER).to_be_bytes(), CREATED_CLUSTER)?;
    let refcounts: Vec<u8> = (0..clusters).flat_map(|_| 1_u16.to_be_bytes()).collect();
    file.write_all_at(&refcounts, 2 * CREATED_CLUSTER)
}

/// Cluster size of images made here: QEMU's own default.
const CREATED_CLUSTER: u64 = 1 << 16;

/// Largest virtual size of images made here: 2 PiB, where QEMU's bound of 32 MiB for the L1 table lies.
pub(crate) const MAX_CREATED_BYTES: u64 = (32 << 20) / 8 * (CREATED_CLUSTER * CREATED_CLUSTER / 8);

/// Most bytes a qcow2 image can show to a guest here: 2^63 - 512, QEMU's own limit for any disk.
pub(crate) const MAX_VIRTUAL_BYTES: u64 = i64::MAX as u64 - 511;

const MAGIC: [u8; 4] = *b"QFI\xfb";
const V2_BYTES: usize = 72;
const V3_BYTES: usize = 104;
const MAX_NAME_BYTES: u32 = 1023;
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
/// Bits 0 to 4: dirty, corrupt, external data file, compression type, extended L2 entries.
const KNOWN_INCOMPATIBLE: u64 = 0x1f;
const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

fn damaged(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn text<R: Read + Seek>(file: &mut R, offset: u64, length: u32) -> io::Result<String> {
    let mut bytes = vec![0; length as usize];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut bytes).map_err(|_| damaged("the file ends inside a name".to_owned()))?;
    String::from_utf8(bytes).map_err(|_| damaged("a file name is not UTF-8".to_owned()))
}

fn read_up_to<R: Read>(file: &mut R, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match file.read(&mut buffer[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A valid version 3 header of a 1 GiB image with 64 KiB clusters.
    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; 65536];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&3_u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&16_u32.to_be_bytes());
        bytes[24..32].copy_from_slice(&(1_u64 << 30).to_be_bytes());
        bytes[100..104].copy_from_slice(&104_u32.to_be_bytes());
        bytes
    }

    #[test]
    fn a_plain_header_is_read() {
        let header = Header::read(Cursor::new(sample())).unwrap().unwrap();
        assert_eq!((header.version, header.virtual_size, header.cluster_bytes), (3, 1 << 30, 65536));
        assert_eq!((header.backing_file, header.external_data_file), (None, false));
    }

    #[test]
    fn other_files_are_not_qcow2() {
        for bytes in [&b""[..], b"QFI", b"\x7fELF", &[0; 512]] {
            assert_eq!(Header::read(Cursor::new(bytes)).unwrap(), None);
        }
    }

    #[test]
    fn contradictions_are_errors_and_no_panic() {
        let cases: &[(usize, &[u8], &str)] = &[
            (4, &4_u32.to_be_bytes(), "version 4"),
            (20, &8_u32.to_be_bytes(), "cluster_bits"),
            (20, &u32::MAX.to_be_bytes(), "cluster_bits"),
            (24, &u64::MAX.to_be_bytes(), "virtual size"),
            (100, &103_u32.to_be_bytes(), "header_length"),
            (8, &u64::MAX.to_be_bytes(), "name"),
            (8, &104_u64.to_be_bytes(), "empty"),
        ];
        for (at, change, expected) in cases {
            let mut bytes = sample();
            bytes[*at..*at + change.len()].copy_from_slice(change);
            // A name length, so that only the offset is wrong.
            if *at == 8 && *expected == "name" {
                bytes[16..20].copy_from_slice(&10_u32.to_be_bytes());
            }
            let error = Header::read(Cursor::new(bytes)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        for length in 4..V3_BYTES {
            assert!(Header::read(Cursor::new(&sample()[..length])).is_err(), "{length}");
        }
    }
}
