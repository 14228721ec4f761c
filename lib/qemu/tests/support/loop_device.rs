//! A file as a block device of the host, for root.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

/// Once it is had, it is detached when the last who has it open has closed it, this among them, however its process ends.
pub(crate) struct LoopDevice {
    pub(crate) path: PathBuf,
    _open: File,
}

impl LoopDevice {
    /// The error is why none can be had.
    pub(crate) fn of(file: &Path) -> Result<Self, String> {
        let none = |why: String| format!("a loop device (root): {}", why.trim());
        let attached = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        let attached = attached.map_err(|error| none(format!("losetup: {error}")))?;
        if !attached.status.success() {
            return Err(none(String::from_utf8_lossy(&attached.stderr).into_owned()));
        }
        let path = PathBuf::from(String::from_utf8(attached.stdout).unwrap().trim());
        let open = File::open(&path);
        // While it is open this only notes that it is to be.
        let detached = Command::new("losetup").arg("--detach").arg(&path).status().unwrap();
        assert!(detached.success(), "{} stays attached", path.display());
        let open = open.map_err(|error| none(format!("{}: {error}", path.display())))?;
        Ok(Self { path, _open: open })
    }
}
