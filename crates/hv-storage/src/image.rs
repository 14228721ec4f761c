//! What a file is, and whether it may serve as an image.

use crate::qcow2::{Encryption, Header};
use crate::{DiskPath, StorageError};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Format of a disk's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
    /// The disk's bytes as they are.
    Raw,
}

impl Format {
    /// The name that QEMU gives the format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// A file that has been looked at; it may be used for what [`Policy`] allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where it lies, free of symbolic links.
    pub path: DiskPath,
    /// Its format.
    pub format: Format,
    /// Size that a guest sees, in bytes.
    pub virtual_size: u64,
    /// Size of the file itself in bytes.
    pub file_size: u64,
    /// The qcow2 header; absent for raw.
    pub header: Option<Header>,
}

/// Looks at a file without running anything and without trusting it.
///
/// # Errors
/// [`StorageError::ImageNotFound`], [`NotRegular`](StorageError::NotRegular), [`BadPath`](StorageError::BadPath),
/// [`Damaged`](StorageError::Damaged); [`Unsupported`](StorageError::Unsupported) for the formats of other hypervisors.
pub fn inspect(path: impl AsRef<Path>) -> Result<Image, StorageError> {
    // The name as given is checked first, so that the error speaks of what the user typed.
    let given = DiskPath::new(path)?;
    let resolved = given.as_path().canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StorageError::ImageNotFound { path: given.as_path().to_owned() },
        _ => StorageError::io("find", given.as_path())(error),
    })?;
    let path = DiskPath::new(&resolved)?;
    // Before the file is opened: opening a FIFO would wait for a writer.
    let kind = std::fs::metadata(&path).map_err(StorageError::io("look at", path.as_path()))?;
    if !kind.is_file() {
        return Err(StorageError::NotRegular { path: resolved });
    }
    let mut file = File::open(&path).map_err(StorageError::io("open", path.as_path()))?;
    let file_size = kind.len();
    let header = Header::read(&mut file).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => {
            StorageError::Damaged { path: resolved.clone(), reason: error.to_string() }
        }
        _ => StorageError::io("read", &resolved)(error),
    })?;
    let Some(header) = header else {
        if let Some(name) =
            foreign_format(&mut file, file_size).map_err(StorageError::io("read", &resolved))?
        {
            let reason = format!("it is a {name} file; convert it with `qemu-img convert -O qcow2`");
            return Err(StorageError::Unsupported { path: resolved, reason });
        }
        if file_size == 0 || !file_size.is_multiple_of(SECTOR) {
            let reason =
                format!("it is neither qcow2 nor a raw disk: {file_size} bytes are no multiple of 512");
            return Err(StorageError::Unsupported { path: resolved, reason });
        }
        return Ok(Image { path, format: Format::Raw, virtual_size: file_size, file_size, header: None });
    };
    let virtual_size = header.virtual_size;
    Ok(Image { path, format: Format::Qcow2, virtual_size, file_size, header: Some(header) })
}

/// Which images are accepted.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Directories in which backing files may lie; with none, images may have no backing file.
    pub backing_directories: Vec<PathBuf>,
}

impl Policy {
    /// Whether `image` may be used, and all that it reads from.
    ///
    /// # Errors
    /// [`StorageError::BackingFile`], [`StorageError::Unsupported`] or [`StorageError::Damaged`] with the reason; all
    /// of [`inspect`] for the backing files.
    pub fn check(&self, image: &Image) -> Result<(), StorageError> {
        self.check_at_depth(image, 0)
    }

    fn check_at_depth(&self, image: &Image, depth: usize) -> Result<(), StorageError> {
        let Some(header) = &image.header else { return Ok(()) };
        let path = image.path.as_path().to_owned();
        let unsupported =
            |reason: &str| Err(StorageError::Unsupported { path: path.clone(), reason: reason.to_owned() });
        if header.external_data_file || header.data_file.is_some() {
            return unsupported("its data lies in another file; convert it with `qemu-img convert -O qcow2`");
        }
        if header.encryption != Encryption::None {
            return unsupported("it is encrypted; decrypt it with `qemu-img convert` first");
        }
        if header.corrupt {
            return unsupported("QEMU has marked it corrupt; try `qemu-img check -r all` on a copy");
        }
        if header.unknown_incompatible != 0 {
            return unsupported("it uses qcow2 features that are not known here");
        }
        let Some(backing) = &header.backing_file else { return Ok(()) };
        let refuse = |reason: String| StorageError::BackingFile {
            path: path.clone(),
            backing: backing.clone(),
            reason,
        };
        if self.backing_directories.is_empty() {
            return Err(refuse("is not accepted here".to_owned()));
        }
        if depth == MAX_CHAIN {
            return Err(refuse(format!("makes a chain of more than {MAX_CHAIN} files")));
        }
        // `json:{...}`, `nbd:...` and other protocols reach beyond local files.
        if backing.split('/').next().is_some_and(|first| first.contains(':')) {
            return Err(refuse("is not a plain file name".to_owned()));
        }
        let file = inspect(lexical(&image.path.parent().join(backing)))?;
        let allowed = self.backing_directories.iter().any(|directory| {
            directory.canonicalize().is_ok_and(|directory| file.path.as_path().starts_with(directory))
        });
        if !allowed {
            return Err(refuse("lies outside the allowed directories".to_owned()));
        }
        // QEMU would otherwise guess, and a guest can write a qcow2 header into a raw disk.
        match header.backing_format.as_deref() {
            Some(format) if format == file.format.as_str() => self.check_at_depth(&file, depth + 1),
            Some(format) => Err(refuse(format!("is stated to be {format} but is {}", file.format.as_str()))),
            None => Err(refuse("has no stated format".to_owned())),
        }
    }
}

/// Removes `.` and `..` by their text; symbolic links are resolved afterwards and checked again.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

/// Formats that QEMU would recognise and that must not pass as raw.
fn foreign_format(file: &mut File, size: u64) -> io::Result<Option<&'static str>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut head = [0; 128];
    file.seek(SeekFrom::Start(0))?;
    let mut have = 0;
    while have < head.len() {
        match file.read(&mut head[have..])? {
            0 => break,
            n => have += n,
        }
    }
    let head = &head[..have];
    let at_start: &[(&[u8], &str)] = &[
        (b"KDMV", "VMDK"),
        (b"COWD", "VMDK"),
        (b"# Disk Des", "VMDK descriptor"),
        (b"vhdxfile", "VHDX"),
        (b"conectix", "VHD"),
        (b"QED\0", "QED"),
        (b"LUKS\xba\xbe", "LUKS"),
        (b"WithoutFreeSpace", "Parallels"),
        (b"WithouFreSpacExt", "Parallels"),
        (b"\x1f\x8b", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"OOOO SCSI Disk", "bochs"),
    ];
    if let Some((_, name)) = at_start.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Ok(Some(name));
    }
    if head.get(64..68) == Some(&[0x7f, 0x10, 0xda, 0xbe]) {
        return Ok(Some("VDI"));
    }
    // A fixed VHD has its mark in the last sector.
    if size >= SECTOR {
        let mut tail = [0; 8];
        file.seek(SeekFrom::Start(size - SECTOR))?;
        if file.read_exact(&mut tail).is_ok() && &tail == b"conectix" {
            return Ok(Some("VHD"));
        }
    }
    Ok(None)
}

const SECTOR: u64 = 512;

/// Longest chain of backing files.
const MAX_CHAIN: usize = 16;
