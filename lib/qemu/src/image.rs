//! What the headers of images name: QEMU opens the external data file of a qcow2 image and the extents of a VMDK by the names that are
//! written in it, and whoever made the image wrote them. Only files that the configuration lists too may be named.
//!
//! A backing file that a header names is not looked at here: the command line says what lies below, or that nothing does.

use crate::config::{ConfigError, Format, Image, Source};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Refuses images that name files which are not listed ([`Image::others`]). `open` answers what a source has to be read from; what cannot be
/// read here is QEMU's to complain of. Every image is opened, also one whose format names none: one that hangs is to hang here.
pub(crate) fn check_names(
    disk: &str,
    image: &Image,
    open: impl Fn(&Source) -> Option<File>,
) -> Result<(), ConfigError> {
    for image in image.chain() {
        let Some(file) = open(&image.source) else { continue };
        let named = match image.format {
            Format::Qcow2 => qcow2_names,
            Format::Vmdk => vmdk_names,
            Format::Raw | Format::Vdi | Format::Vpc | Format::Vhdx => continue,
        };
        // A name is relative to the image's directory; of a descriptor there is none.
        let beside = match &image.source {
            Source::Path(path) | Source::HostDevice(path) => path.parent(),
            _ => None,
        };
        for name in named(&file).unwrap_or_default() {
            let path = beside.map_or_else(|| PathBuf::from(&name), |directory| directory.join(&name));
            if !image.others.contains(&path) {
                let reason = format!(
                    "its image names the file {name:?}, which QEMU would open too: list it in `others` if you trust whoever wrote that, or convert the image"
                );
                return Err(ConfigError::conflict(disk, reason));
            }
        }
    }
    Ok(())
}

/// A file to be read from; devices that would wait, such as pipes, are no images.
pub(crate) fn opened(path: &Path) -> Option<File> {
    let is_image = |file: &File| file.metadata().is_ok_and(|it| !is_pipe(&it));
    let metadata = std::fs::metadata(path).ok()?;
    if is_pipe(&metadata) {
        return None;
    }
    File::open(path).ok().filter(is_image)
}

fn is_pipe(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type())
}

/// The external data file (QEMU's docs/interop/qcow2.txt: incompatible feature bit 2, header extension 0x44415441).
fn qcow2_names(file: &File) -> io::Result<Vec<String>> {
    let header = beginning(file, HEADER_BYTES)?;
    let word = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_be_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let is_version_3 = header.starts_with(b"QFI\xfb") && word(4).is_some_and(|version| version >= 3);
    if !is_version_3 || long(72).is_none_or(|features| features & DATA_FILE == 0) {
        return Ok(Vec::new());
    }
    let mut at = word(100).map_or(0, |length| length as usize);
    while let (Some(kind), Some(length)) = (word(at), word(at.saturating_add(4))) {
        let (from, length) = (at + 8, length as usize);
        match (kind, from.checked_add(length).and_then(|to| header.get(from..to))) {
            (DATA_FILE_NAME, Some(name)) => return Ok(vec![String::from_utf8_lossy(name).into_owned()]),
            (0, _) | (_, None) => break,
            (_, Some(_)) => at = from + length.next_multiple_of(8),
        }
    }
    // It has one and does not say which: QEMU would refuse it, and so do we.
    Ok(vec![String::new()])
}

/// Incompatible feature: clusters are in an external data file.
const DATA_FILE: u64 = 1 << 2;
/// Header extension: the name of that file.
const DATA_FILE_NAME: u32 = 0x4441_5441;
/// Header and extensions lie in the first cluster, which has 2 MiB at most; what QEMU writes of them is far less than this.
const HEADER_BYTES: usize = 64 << 10;

/// The extents of a descriptor, which is a file of its own or lies in one whose header says that it has no data (VMware's "Virtual Disk
/// Format 5.0": `KDMV`, capacity at 12, sector of the descriptor at 28).
fn vmdk_names(file: &File) -> io::Result<Vec<String>> {
    let header = beginning(file, DESCRIPTOR_BYTES)?;
    let long = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let text = if header.starts_with(b"KDMV") {
        match (long(12), long(28)) {
            (Some(0), Some(sector)) => {
                let mut text = vec![0; DESCRIPTOR_BYTES];
                let count = file.read_at(&mut text, sector.saturating_mul(512))?;
                text.truncate(count);
                text
            }
            _ => return Ok(Vec::new()),
        }
    } else if header.starts_with(b"COWD") {
        return Ok(Vec::new());
    } else {
        header
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let extents = text.lines().filter(|line| {
        let access = line.split_ascii_whitespace().next().unwrap_or_default();
        ["RW", "RDONLY", "NOACCESS"].contains(&access)
    });
    Ok(extents.filter_map(|line| line.split('"').nth(1).map(str::to_owned)).collect())
}

/// QEMU reads no more of one (block/vmdk.c).
const DESCRIPTOR_BYTES: usize = 1 << 20;

fn beginning(file: &File, most: usize) -> io::Result<Vec<u8>> {
    let (mut bytes, mut at) = (vec![0; most], 0);
    while at < most {
        match file.read_at(&mut bytes[at..], at as u64)? {
            0 => break,
            count => at += count,
        }
    }
    bytes.truncate(at);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn checked(image: &Image) -> Result<(), ConfigError> {
        check_names("root", image, |source| match source {
            Source::Path(path) => opened(path),
            _ => None,
        })
    }

    fn qcow2(features: u64, extensions: &[(u32, &[u8])]) -> Vec<u8> {
        let mut header = vec![0; 104];
        header[..4].copy_from_slice(b"QFI\xfb");
        header[4..8].copy_from_slice(&3_u32.to_be_bytes());
        header[72..80].copy_from_slice(&features.to_be_bytes());
        header[100..104].copy_from_slice(&104_u32.to_be_bytes());
        for (kind, data) in extensions {
            header.extend(kind.to_be_bytes());
            header.extend((data.len() as u32).to_be_bytes());
            header.extend(*data);
            header.resize(header.len().next_multiple_of(8), 0);
        }
        header.extend([0; 8]);
        header
    }

    #[test]
    fn an_image_names_no_file_that_is_not_listed() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let name = |name: &'static [u8]| (DATA_FILE_NAME, name);
        let descriptor = "# Disk DescriptorFile\nversion=1\nRW 4096 FLAT \"named\" 0\n";
        let mut embedded = [b"KDMV".as_slice(), &[0; 60]].concat();
        embedded[28..36].copy_from_slice(&1_u64.to_le_bytes());
        embedded.resize(512, 0);
        let mut sparse = embedded.clone();
        sparse[12] = 1;
        embedded.extend(descriptor.bytes());
        sparse.extend(descriptor.bytes());
        for (content, format, names_one) in [
            (qcow2(DATA_FILE, &[(1, b"other".as_slice()), name(b"named")]), Format::Qcow2, true),
            // Without the feature QEMU does not look.
            (qcow2(0, &[name(b"named")]), Format::Qcow2, false),
            (descriptor.into(), Format::Vmdk, true),
            (embedded, Format::Vmdk, true),
            (sparse, Format::Vmdk, false),
            // A guest may write what it likes into a raw image.
            (descriptor.into(), Format::Raw, false),
        ] {
            fs::write(at("image"), content).expect("written");
            let image = Image::new(Source::Path(at("image")), format);
            let overlay = Image::qcow2(at("absent")).on(image.clone());
            for image in [&image, &overlay] {
                let refused = checked(image);
                assert_eq!(refused.is_err(), names_one, "{format:?}: {refused:?}");
            }
            let listed = Image { others: vec![at("named")], ..image };
            assert_eq!(checked(&listed), Ok(()), "{format:?}");
        }
        fs::write(at("image"), qcow2(DATA_FILE, &[])).expect("written");
        assert!(checked(&Image::qcow2(at("image"))).is_err(), "it does not say which");
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_harm(
            mut content in prop::collection::vec(any::<u8>(), 0..400),
            which in 0usize..4,
        ) {
            let magic: [&[u8]; 4] = [b"QFI\xfb\0\0\0\x03", b"KDMV", b"RW 1 FLAT \"", b""];
            let length = magic[which].len().min(content.len());
            content[..length].copy_from_slice(&magic[which][..length]);
            if which == 0 && content.len() > 80 {
                content[79] |= 4;
            }
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("image");
            fs::write(&path, content).expect("written");
            for format in [Format::Qcow2, Format::Vmdk] {
                let _ = checked(&Image::new(Source::Path(path.clone()), format));
            }
        }
    }
}
