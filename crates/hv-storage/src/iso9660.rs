//! A small ISO 9660 writer with Joliet names: flat, a few files, equal input gives equal bytes.
//!
//! ```text
//!   sector  0-15  system area, zero
//!          16     primary volume descriptor        names in upper case, 8.3
//!          17     Joliet volume descriptor         names as they are, UCS-2
//!          18     terminator
//!          19-22  path tables: primary little/big endian, Joliet little/big endian
//!          23     primary root directory
//!          24     Joliet root directory
//!          25-    file data, each file from a new sector
//! ```
//!
//! Layout: ECMA-119 (fourth edition) for the volume, Joliet Specification 1.0 for the second tree. Times are zero ("not
//! specified"), so nothing depends on the clock.

/// One file of the volume.
#[derive(Clone, Debug)]
pub(crate) struct File<'a> {
    /// Name in the Joliet tree; ASCII, at most 64 characters.
    pub(crate) name: &'a str,
    /// Name in the primary tree: upper case letters, digits, `_`, one dot, 8.3.
    pub(crate) short: &'a str,
    /// Its bytes.
    pub(crate) data: &'a [u8],
}

/// The whole volume. All directory entries of one tree must fit one sector: about 30 files.
pub(crate) fn volume(label: &str, files: &[File<'_>]) -> Vec<u8> {
    let mut starts = Vec::with_capacity(files.len());
    let mut next = FIRST_DATA;
    for file in files {
        starts.push(next);
        next += sectors(file.data.len());
    }
    let mut image = vec![0; next as usize * SECTOR];
    let mut put = |sector: u32, bytes: &[u8]| {
        let at = sector as usize * SECTOR;
        image[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(16, &descriptor(&Tree::Primary, label, next));
    put(17, &descriptor(&Tree::Joliet, label, next));
    put(18, b"\xffCD001\x01");
    for (sector, root, big_endian) in [
        (19, PRIMARY_ROOT, false),
        (20, PRIMARY_ROOT, true),
        (21, JOLIET_ROOT, false),
        (22, JOLIET_ROOT, true),
    ] {
        put(sector, &path_table(root, big_endian));
    }
    for (tree, root) in [(Tree::Primary, PRIMARY_ROOT), (Tree::Joliet, JOLIET_ROOT)] {
        put(root, &directory(&tree, root, files, &starts));
    }
    for (file, start) in files.iter().zip(&starts) {
        put(*start, file.data);
    }
    image
}

enum Tree {
    Primary,
    Joliet,
}

impl Tree {
    fn root(&self) -> u32 {
        match self {
            Self::Primary => PRIMARY_ROOT,
            Self::Joliet => JOLIET_ROOT,
        }
    }

    /// Text padded with spaces, in the tree's character set.
    fn padded(&self, text: &str, bytes: usize) -> Vec<u8> {
        let mut out: Vec<u8> = match self {
            Self::Primary => text.bytes().collect(),
            Self::Joliet => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        };
        while out.len() < bytes {
            match self {
                Self::Primary => out.push(b' '),
                Self::Joliet => out.extend_from_slice(&[0, b' ']),
            }
        }
        out.truncate(bytes);
        out
    }
}

/// ECMA-119 8.4 and 8.5.
fn descriptor(tree: &Tree, label: &str, volume_sectors: u32) -> Vec<u8> {
    let mut d = Vec::with_capacity(SECTOR);
    d.extend_from_slice(match tree {
        Tree::Primary => b"\x01CD001\x01\0",
        Tree::Joliet => b"\x02CD001\x01\0",
    });
    d.extend_from_slice(&tree.padded("LINUX", 32)); // system
    d.extend_from_slice(&tree.padded(label, 32));
    d.extend_from_slice(&[0; 8]);
    d.extend_from_slice(&both32(volume_sectors));
    let mut escapes = [0; 32];
    if matches!(tree, Tree::Joliet) {
        escapes[..3].copy_from_slice(b"%/E"); // UCS-2 level 3
    }
    d.extend_from_slice(&escapes);
    d.extend_from_slice(&both16(1)); // volumes in the set
    d.extend_from_slice(&both16(1)); // number of this one
    d.extend_from_slice(&both16(SECTOR as u16));
    d.extend_from_slice(&both32(PATH_TABLE_BYTES));
    let first_table = if matches!(tree, Tree::Primary) { 19_u32 } else { 21 };
    d.extend_from_slice(&first_table.to_le_bytes());
    d.extend_from_slice(&[0; 4]); // no second copy
    d.extend_from_slice(&(first_table + 1).to_be_bytes());
    d.extend_from_slice(&[0; 4]);
    d.extend_from_slice(&record(&[0], tree.root(), SECTOR as u32, DIRECTORY));
    for bytes in [128, 128, 128, 128, 37, 37, 37] {
        d.extend_from_slice(&tree.padded("", bytes)); // set, publisher, preparer, application, three files
    }
    for _ in 0..4 {
        d.extend_from_slice(b"0000000000000000\0"); // creation, change, expiry, effect: not specified
    }
    d.push(1); // file structure version
    d
}

/// ECMA-119 9.4: the root alone.
fn path_table(root: u32, big_endian: bool) -> [u8; PATH_TABLE_BYTES as usize] {
    let mut table = [0; PATH_TABLE_BYTES as usize];
    table[0] = 1; // length of the name, which is one zero byte
    if big_endian {
        table[2..6].copy_from_slice(&root.to_be_bytes());
        table[6..8].copy_from_slice(&1_u16.to_be_bytes());
    } else {
        table[2..6].copy_from_slice(&root.to_le_bytes());
        table[6..8].copy_from_slice(&1_u16.to_le_bytes());
    }
    table
}

fn directory(tree: &Tree, root: u32, files: &[File<'_>], starts: &[u32]) -> Vec<u8> {
    let mut entries: Vec<(Vec<u8>, u32, u32)> = files
        .iter()
        .zip(starts)
        .map(|(file, start)| {
            let name = match tree {
                Tree::Primary => format!("{};1", file.short).into_bytes(),
                Tree::Joliet => file.name.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            };
            (name, *start, u32::try_from(file.data.len()).expect("seed files are far below 4 GiB"))
        })
        .collect();
    entries.sort(); // ECMA-119 9.3: by name
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&record(&[0], root, SECTOR as u32, DIRECTORY)); // itself
    bytes.extend_from_slice(&record(&[1], root, SECTOR as u32, DIRECTORY)); // its parent
    for (name, start, length) in entries {
        bytes.extend_from_slice(&record(&name, start, length, 0));
    }
    assert!(bytes.len() <= SECTOR, "the directory fits its one sector");
    bytes
}

/// ECMA-119 9.1.
fn record(name: &[u8], start: u32, length: u32, flags: u8) -> Vec<u8> {
    let mut r = vec![0, 0];
    r.extend_from_slice(&both32(start));
    r.extend_from_slice(&both32(length));
    r.extend_from_slice(&[0; 7]); // time: not specified
    r.push(flags);
    r.extend_from_slice(&[0, 0]); // not interleaved
    r.extend_from_slice(&both16(1));
    r.push(u8::try_from(name.len()).expect("names are short"));
    r.extend_from_slice(name);
    if r.len() % 2 == 1 {
        r.push(0);
    }
    r[0] = u8::try_from(r.len()).expect("names are short");
    r
}

fn both16(value: u16) -> [u8; 4] {
    let (l, b) = (value.to_le_bytes(), value.to_be_bytes());
    [l[0], l[1], b[0], b[1]]
}

fn both32(value: u32) -> [u8; 8] {
    let (l, b) = (value.to_le_bytes(), value.to_be_bytes());
    [l[0], l[1], l[2], l[3], b[0], b[1], b[2], b[3]]
}

fn sectors(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(SECTOR)).expect("seed files are far below 4 GiB")
}

const SECTOR: usize = 2048;
const PRIMARY_ROOT: u32 = 23;
const JOLIET_ROOT: u32 = 24;
const FIRST_DATA: u32 = 25;
const PATH_TABLE_BYTES: u32 = 10;
const DIRECTORY: u8 = 2;
