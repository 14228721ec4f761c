//! The build id of a program: the note `NT_GNU_BUILD_ID` of its ELF file, which the linker derives from its content.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

/// The build id in hexadecimal; `None` for a file without one, e.g. a script.
pub(crate) fn of(path: &Path) -> io::Result<Option<String>> {
    let file = File::open(path)?;
    Ok(notes(&file)
        .and_then(|notes| find(&notes))
        .map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// The segments of notes (`PT_NOTE`) of a 64-bit little-endian ELF file, joined.
fn notes(file: &File) -> Option<Vec<u8>> {
    let read = |at: u64, length: usize| -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at).ok()?;
        Some(bytes)
    };
    let header = read(0, 64)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = u64::from_le_bytes(header[32..40].try_into().ok()?);
    let (size, count) = (u16_at(&header, 54)?, u16_at(&header, 56)?);
    let mut notes = Vec::new();
    for index in 0..u64::from(count) {
        let segment = read(table + index * u64::from(size), usize::from(size))?;
        if u32_at(&segment, 0)? != PT_NOTE {
            continue;
        }
        let offset = u64::from_le_bytes(segment.get(8..16)?.try_into().ok()?);
        let length = u64::from_le_bytes(segment.get(32..40)?.try_into().ok()?);
        notes.extend(read(offset, usize::try_from(length.min(LONGEST_NOTES)).ok()?)?);
    }
    Some(notes)
}

/// Each note: lengths of name and content, kind, name, content; both padded to four bytes.
fn find(mut notes: &[u8]) -> Option<Vec<u8>> {
    while notes.len() >= 12 {
        let (name, content, kind) = (u32_at(notes, 0)?, u32_at(notes, 4)?, u32_at(notes, 8)?);
        let name_end = 12 + usize::try_from(name).ok()?.next_multiple_of(4);
        let content_end = name_end.checked_add(usize::try_from(content).ok()?)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..16)? == b"GNU\0" {
            return notes.get(name_end..content_end).map(<[u8]>::to_vec);
        }
        notes = notes.get(content_end.next_multiple_of(4)..)?;
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

const PT_NOTE: u32 = 4;
const NT_GNU_BUILD_ID: u32 = 3;

/// Real ones are some hundred bytes.
const LONGEST_NOTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_is_found_behind_others_and_broken_ones_end_the_search() {
        let mut notes = Vec::new();
        for (kind, name, content) in [(5u32, b"GNU\0", &[1, 2, 3][..]), (3, b"GNU\0", &[0xab, 0xcd])] {
            notes.extend(4u32.to_le_bytes());
            notes.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
            notes.extend(kind.to_le_bytes());
            notes.extend(name);
            notes.extend(content);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(find(&notes), Some(vec![0xab, 0xcd]));
        assert_eq!(find(&notes[..20]), None);
        assert_eq!(find(&[0xff; 64]), None);
        assert_eq!(find(&[]), None);
    }

    #[test]
    fn a_script_has_none_and_this_program_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert_eq!(of(&script).unwrap(), None);
        std::fs::write(&script, "").unwrap();
        assert_eq!(of(&script).unwrap(), None);
        let own = of(&std::env::current_exe().unwrap()).unwrap();
        assert!(own.is_none_or(|id| id.len() >= 16 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    }
}
