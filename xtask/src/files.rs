//! Checksums of files, by which a built guest is known to be intact.

use anyhow::Result;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// SHA-256 of a file in hexadecimal digits.
///
/// # Errors
/// When the file cannot be read.
pub fn checksum(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether every file in `dir` has the checksum that stands beside its name.
#[must_use]
pub fn intact(dir: &Path, sums: &BTreeMap<String, String>) -> bool {
    sums.iter().all(|(name, sum)| checksum(&dir.join(name)).is_ok_and(|now| now == *sum))
}
