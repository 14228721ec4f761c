//! A file system that a test can fill.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system in memory; unmounted at the end.
#[derive(Debug)]
pub struct Small(PathBuf);

impl Small {
    /// Mounts one of so many MiB; an error says why it cannot be.
    pub fn mount(at: PathBuf, mib: u32) -> Result<Self, String> {
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={mib}m,mode=0700");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "e2e"]).arg(&at).output();
        let output = mount.map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(Self(at))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().into())
        }
    }

    /// Fills it to the last page; answers the file that does.
    pub fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        filler
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: whatever still holds a file of it ends with the site.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
