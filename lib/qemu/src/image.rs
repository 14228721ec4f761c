//! What the headers of images name: QEMU opens the external data file of a qcow2 image and the extents of a VMDK by the names that are
//! written in it, and whoever made the image wrote them. Only files that the configuration lists too may be named.
//!
//! A backing file that a header names is not looked at here: the command line says what lies below, or that nothing does.

use crate::config::{ConfigError, Format, Image, Source};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::{ffi::OsStrExt, fs::FileExt},
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
        if let (Source::Nbd { .. }, Format::Qcow2 | Format::Vmdk) = (&image.source, image.format) {
            // QEMU opens files of this host by the names that come over the wire.
            let reason = "what its header names is not seen where a server has it: have the server decode it, and take Format::Raw";
            return Err(ConfigError::conflict(disk, reason));
        }
        let Some(file) = open(&image.source) else { continue };
        match image.format {
            Format::Qcow2 => check_qcow2(disk, image, &file)?,
            Format::Vmdk => check_vmdk(disk, image, file, &open)?,
            Format::Raw | Format::Vdi | Format::Vpc | Format::Vhdx => {}
        }
    }
    Ok(())
}

fn check_listed(disk: &str, image: &Image, name: &OsStr, path: &Path) -> Result<(), ConfigError> {
    if image.others.iter().any(|other| other == path) {
        return Ok(());
    }
    let reason = format!(
        "its image names the file {name:?}, which QEMU would open too: list it in `others` if you trust whoever wrote that, or convert the image"
    );
    Err(ConfigError::conflict(disk, reason))
}

fn check_qcow2(disk: &str, image: &Image, file: &File) -> Result<(), ConfigError> {
    for name in qcow2_names(file).unwrap_or_default() {
        // QEMU opens it as it is written, and its process is at the root (`process.rs`).
        check_listed(disk, image, &name, &Path::new("/").join(&name))?;
    }
    Ok(())
}

/// An extent may be a file with a descriptor inside, whose extents QEMU opens likewise.
fn check_vmdk(
    disk: &str,
    image: &Image,
    file: File,
    open: impl Fn(&Source) -> Option<File>,
) -> Result<(), ConfigError> {
    // All names are relative to the image's directory; of a descriptor there is none.
    let beside = match &image.source {
        Source::Path(path) | Source::HostDevice(path) => path.parent(),
        _ => None,
    };
    let (mut files, mut seen) = (vec![file], BTreeSet::new());
    while let Some(file) = files.pop() {
        for Extent { name, has_header } in vmdk_extents(&file).unwrap_or_default() {
            let path = beside.map_or_else(|| PathBuf::from(&name), |directory| directory.join(&name));
            check_listed(disk, image, &name, &path)?;
            if has_header && seen.insert(path.clone()) {
                files.extend(open(&Source::Path(path)));
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

/// The external data file (QEMU's docs/interop/qcow2.txt: incompatible feature bit 2, header extension 0x44415441). Of several extensions
/// QEMU takes the last (`qcow2_read_extensions`); all are listed, or it is refused.
fn qcow2_names(file: &File) -> io::Result<Vec<OsString>> {
    let header = read(file, 0, HEADER_BYTES)?;
    let word = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_be_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let is_version_3 = header.starts_with(b"QFI\xfb") && word(4).is_some_and(|version| version >= 3);
    if !is_version_3 || long(72).is_none_or(|features| features & DATA_FILE == 0) {
        return Ok(Vec::new());
    }
    let (mut names, mut at) = (Vec::new(), word(100).map_or(0, |length| length as usize));
    let is_whole = loop {
        let (Some(kind), Some(length)) = (word(at), word(at.saturating_add(4))) else { break false };
        let (from, length) = (at + 8, length as usize);
        match (kind, from.checked_add(length).and_then(|to| header.get(from..to))) {
            (END_OF_EXTENSIONS, _) => break true,
            (_, None) => break false,
            (DATA_FILE_NAME, Some(name)) => names.push(OsStr::from_bytes(name).to_owned()),
            (_, Some(_)) => {}
        }
        at = from + length.next_multiple_of(8);
    };
    // It has one and does not say which, or there may be another that is not seen here.
    if !is_whole || names.is_empty() {
        names.push(OsString::new());
    }
    Ok(names)
}

/// Incompatible feature: clusters are in an external data file.
const DATA_FILE: u64 = 1 << 2;
/// Header extension: the name of that file.
const DATA_FILE_NAME: u32 = 0x4441_5441;
/// Header extension: there is no other one behind it.
const END_OF_EXTENSIONS: u32 = 0;
/// Header and extensions lie in the first cluster, which has 2 MiB at most; what QEMU writes of them is far less than this.
const HEADER_BYTES: usize = 64 << 10;

/// A file that a descriptor names.
struct Extent {
    name: OsString,
    /// QEMU reads a header there. In the others are a guest's bytes only, which may look like one.
    has_header: bool,
}

/// The extents of a descriptor, which is a file of its own or lies in one whose header says that it has no data (VMware's "Virtual Disk
/// Format 5.0": `KDMV`, capacity at 12, sector of the descriptor at 28).
fn vmdk_extents(file: &File) -> io::Result<Vec<Extent>> {
    let header = read(file, 0, DESCRIPTOR_BYTES)?;
    let long = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
    if header.starts_with(b"COWD") {
        return Ok(Vec::new());
    }
    if !header.starts_with(b"KDMV") {
        return Ok(extents(&header));
    }
    match (long(12), long(28)) {
        // A number of 64 bits whose upper ones QEMU drops, too.
        (Some(0), Some(sector)) => Ok(extents(&read(file, sector << 9, DESCRIPTOR_BYTES)?)),
        _ => Ok(Vec::new()),
    }
}

/// All that QEMU can take for an extent, and more. At the start of every line it reads the rest of the descriptor by (block/vmdk.c,
/// `vmdk_parse_extents`)
///
/// ```text
/// sscanf(p, "%10s %lld %10s \"%511[^\n\r\"]\" %lld", access, &sectors, type, fname, &flat_offset)
/// ```
///
/// whose white space goes over the ends of lines, and which needs no quote behind the name. What it reads before the quote are the words `RW`
/// and a type, a number and white space: so the quote is the first of its own line, with no `=` before it, which every value has, and no `#`.
fn extents(descriptor: &[u8]) -> Vec<Extent> {
    let text = descriptor.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut found = Vec::new();
    let mut line_start = 0;
    for line in text.split(|byte| *byte == b'\n') {
        let quote = line.iter().position(|byte| b"\"=#".contains(byte)).filter(|at| line[*at] == b'"');
        if let Some(quote) = quote {
            let rest = &line[quote + 1..];
            let length = rest.iter().position(|byte| b"\r\"".contains(byte)).unwrap_or(rest.len());
            let before = text[..line_start + quote].trim_ascii_end();
            found.push(Extent {
                name: OsStr::from_bytes(&rest[..length.min(LONGEST_NAME)]).to_owned(),
                has_header: !before.ends_with(b"FLAT") && !before.ends_with(b"VMFS"),
            });
        }
        line_start += line.len() + 1;
    }
    found
}

/// QEMU reads no more of a descriptor.
const DESCRIPTOR_BYTES: usize = 1 << 20;
/// A longer one it cuts off.
const LONGEST_NAME: usize = 511;

fn read(file: &File, from: u64, most: usize) -> io::Result<Vec<u8>> {
    let (mut bytes, mut count) = (vec![0; most], 0);
    while count < most {
        match file.read_at(&mut bytes[count..], from.saturating_add(count as u64)) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(count);
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

    /// One with a descriptor in this sector, which follows.
    fn with_header(sector: u64, descriptor: &str) -> Vec<u8> {
        let mut image = vec![0; 512];
        image[..4].copy_from_slice(b"KDMV");
        image[28..36].copy_from_slice(&sector.to_le_bytes());
        image.extend(descriptor.bytes());
        image
    }

    /// A descriptor with these lines.
    fn descriptor(extents: &str) -> String {
        let kind = "createType=\"twoGbMaxExtentFlat\"\nparentFileNameHint=\"of no interest\"";
        format!(
            "# Disk DescriptorFile, \"quoted\"\nversion=1\nCID=fffffffe\n{kind}\n{extents}ddb.adapterType = \"ide\"\n"
        )
    }

    #[test]
    fn an_image_names_no_file_that_is_not_listed() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let named = at("named").into_os_string().into_encoded_bytes();
        let name = || (DATA_FILE_NAME, named.as_slice());
        let plain = descriptor("RW 4096 FLAT \"named\" 0\n");
        let mut sparse = with_header(1, &plain);
        sparse[12] = 1;
        for (content, format, names_one) in [
            (qcow2(DATA_FILE, &[(1, b"other".as_slice()), name()]), Format::Qcow2, true),
            // Without the feature QEMU does not look.
            (qcow2(0, &[name()]), Format::Qcow2, false),
            (plain.clone().into(), Format::Vmdk, true),
            (descriptor("RW 4096 FLAT\n\"named\" 0\n").into(), Format::Vmdk, true),
            (descriptor("\x0bRW 4096 FLAT \"named\" 0\n").into(), Format::Vmdk, true),
            (with_header(1, &plain), Format::Vmdk, true),
            // Behind it is what QEMU does not take for a part of it.
            ([with_header(1, &plain), b"\0\n\"more\"".to_vec()].concat(), Format::Vmdk, true),
            (sparse, Format::Vmdk, false),
            // A guest may write what it likes into a raw image.
            (plain.into(), Format::Raw, false),
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
    }

    #[test]
    fn of_a_data_file_it_is_known_which() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("image");
        let listed = Image {
            others: vec!["/srv/data".into(), directory.path().join("beside")],
            ..Image::qcow2(path.clone())
        };
        let name = |name: &'static [u8]| (DATA_FILE_NAME, name);
        let unended = |mut header: Vec<u8>| {
            header.truncate(header.len() - 8);
            header
        };
        for (content, is_right) in [
            (qcow2(DATA_FILE, &[name(b"/srv/data")]), true),
            // QEMU opens it from the root.
            (qcow2(DATA_FILE, &[name(b"srv/data")]), true),
            (qcow2(DATA_FILE, &[name(b"beside")]), false),
            (qcow2(DATA_FILE, &[]), false),
            (qcow2(DATA_FILE, &[name(b"/srv/data"), name(b"/srv/other")]), false),
            (qcow2(DATA_FILE, &[name(b"/srv/other"), name(b"/srv/data")]), false),
            (unended(qcow2(DATA_FILE, &[name(b"/srv/data")])), false),
        ] {
            fs::write(&path, content).expect("written");
            let checked = checked(&listed);
            assert_eq!(checked.is_ok(), is_right, "{checked:?}");
        }
    }

    #[test]
    fn a_server_has_no_image_that_names_files() {
        let server = crate::config::Address::Unix("/nbd.sock".into());
        let source = Source::Nbd { server, export: String::new() };
        for (format, is_right) in
            [(Format::Raw, true), (Format::Vhdx, true), (Format::Qcow2, false), (Format::Vmdk, false)]
        {
            let image = Image::new(source.clone(), format);
            assert_eq!(checked(&image).is_ok(), is_right, "{format:?}");
            assert_eq!(checked(&Image::qcow2("/absent").on(image)).is_ok(), is_right, "{format:?}");
        }
    }

    /// Where the named file is not there, QEMU's complaint shows that it looked for it.
    #[test]
    fn whatever_qemu_opens_for_a_vmdk_is_seen() {
        let test = "whatever_qemu_opens_for_a_vmdk_is_seen";
        let qemu_img = Path::new("/usr/bin/qemu-img");
        if !qemu_img.exists() {
            println!("not run: {test}: {}", qemu_img.display());
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let inner = with_header(1, &descriptor("RW 4096 FLAT \"named\" 0\n"));
        fs::write(at("inner"), inner).expect("written");
        let sought = "named': No such file or directory";
        let cut = format!("RW 4096 SPARSE \"{}named and more\"\n", "./".repeat(253));
        for (extents, is_opened) in [
            ("RW 4096 FLAT \"named\" 0\n", true),
            ("RW 4096 FLAT\n\"named\" 0\n", true),
            ("RW\n\n4096\x0c\r\nFLAT\x0b\"named\" 0\n", true),
            ("\x0bRW 4096 FLAT \"named\" 0\n", true),
            ("\n \t\r RW 4096 FLAT \"named\" 0\n", true),
            ("RW 4096 SPARSE \"named\n", true),
            ("RW 4096 SPARSE \"named\r\n", true),
            ("RW+4096SPARSE\"named\"\n", false),
            ("RW 4096VMFSSPARSE\"named\"\n", true),
            ("RW 4096 SPARSE \"inner\"\n", true),
            ("RW 4096 FLAT \"inner\" 0\n", false),
            (&cut, true),
            ("# RW 4096 FLAT \"named\" 0\n", false),
            ("RW=4096 FLAT \"named\" 0\n", false),
        ] {
            let text = descriptor(extents);
            let embedded = with_header((1 << 55) + 1, &text);
            for content in [text.into_bytes(), embedded] {
                fs::write(at("image"), content).expect("written");
                let options = format!("driver=vmdk,file.driver=file,file.filename={}", at("image").display());
                let said =
                    std::process::Command::new(qemu_img).args(["info", "--image-opts", &options]).output();
                let said = String::from_utf8_lossy(&said.expect("it runs").stderr).into_owned();
                assert_eq!(said.contains(sought), is_opened, "{extents:?}: {said}");
                let mut image = Image::new(Source::Path(at("image")), Format::Vmdk);
                image.others = vec![at("inner")];
                assert!(!is_opened || checked(&image).is_err(), "{extents:?}");
                image.others.push(at("named"));
                assert!(!is_opened || checked(&image).is_ok(), "{extents:?}: {:?}", checked(&image));
            }
        }
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
