//! A writer of newc archives, the form in which the kernel takes its initial file system.
//!
//! Format: `Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel. All entries belong to root and
//! carry time 0, so that equal input gives equal bytes.

use std::io::{self, Write};

/// What an entry is, with its content.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A directory.
    Directory,
    /// A file with these bytes.
    File(&'a [u8]),
    /// A symbolic link to this target.
    Symlink(&'a str),
    /// A character device: major and minor number.
    CharDevice(u32, u32),
}

/// Writes entries one after another; [`finish`](Self::finish) ends the archive.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    next_inode: u32,
}

impl<W: Write> Writer<W> {
    /// An archive that goes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, next_inode: 1 }
    }

    /// Adds `path` (relative, no leading slash) with the permission bits of `mode`. Parents come before children.
    ///
    /// # Errors
    /// Those of the underlying writer; `InvalidInput` for content over 4 GiB.
    pub fn add(&mut self, path: &str, mode: u32, entry: Entry<'_>) -> io::Result<()> {
        let (kind, links, data, device): (u32, u32, &[u8], (u32, u32)) = match entry {
            Entry::Directory => (0o040_000, 2, &[], (0, 0)),
            Entry::File(data) => (0o100_000, 1, data, (0, 0)),
            Entry::Symlink(target) => (0o120_000, 1, target.as_bytes(), (0, 0)),
            Entry::CharDevice(major, minor) => (0o020_000, 1, &[], (major, minor)),
        };
        let inode = self.next_inode;
        self.next_inode += 1;
        self.record(path, inode, kind | mode, links, data, device)
    }

    /// Writes the trailer and returns the underlying writer.
    ///
    /// # Errors
    /// Those of the underlying writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.record("TRAILER!!!", 0, 0, 1, &[], (0, 0))?;
        Ok(self.out)
    }

    fn record(
        &mut self,
        path: &str,
        inode: u32,
        mode: u32,
        links: u32,
        data: &[u8],
        (major, minor): (u32, u32),
    ) -> io::Result<()> {
        let size = u32::try_from(data.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "file too large for newc"))?;
        let name_size = u32::try_from(path.len() + 1)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "name too long for newc"))?;
        // inode mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0];
        self.out.write_all(b"070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(path.as_bytes())?;
        self.out.write_all(b"\0")?;
        self.pad(HEADER_BYTES + path.len() + 1)?;
        self.out.write_all(data)?;
        self.pad(data.len())
    }

    /// Header with name, and data, each end on a multiple of four.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }
}

/// Magic and thirteen fields of eight hexadecimal digits.
const HEADER_BYTES: usize = 6 + 13 * 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_aligned_and_end_with_the_trailer() {
        let mut writer = Writer::new(Vec::new());
        writer.add("d", 0o755, Entry::Directory).unwrap();
        writer.add("d/file", 0o644, Entry::File(b"hello")).unwrap();
        writer.add("l", 0o777, Entry::Symlink("d/file")).unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 4);
        assert!(text.contains("000081a4"), "regular file, mode 0644: {text}");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"), "{text}");
    }
}
