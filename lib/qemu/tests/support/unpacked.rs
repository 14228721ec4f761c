//! The QEMU of Debian 13, which `cargo xtask qemu-root` unpacks.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// A program that starts the unpacked emulator, through its own loader and with its own files.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
pub(crate) fn unpacked() -> PathBuf {
    let root = std::env::var_os("HV_QEMU_ROOT").unwrap_or_else(|| "/var/cache/hypervisor/qemu-trixie".into());
    let root = PathBuf::from(root);
    if !root.join("usr/bin/qemu-system-x86_64").exists() {
        return root.join("usr/bin/qemu-system-x86_64");
    }
    let root = root.display();
    let script = format!(
        "#!/bin/sh\nQEMU_MODULE_DIR={root}/usr/lib/x86_64-linux-gnu/qemu exec {root}/usr/lib64/ld-linux-x86-64.so.2 \
         --library-path {root}/usr/lib/x86_64-linux-gnu {root}/usr/bin/qemu-system-x86_64 -L {root}/usr/share/qemu \
         -L {root}/usr/share/seabios \"$@\"\n"
    );
    // Whoever may not write where the tests were built has a place of his own.
    let own = std::env::temp_dir().join(format!("qemu-tests-of-{}", rustix::process::getuid().as_raw()));
    let places = [PathBuf::from(env!("CARGO_TARGET_TMPDIR")), own];
    places.iter().find_map(|place| write(place, &script).ok()).expect("a place to write in")
}

fn write(place: &Path, script: &str) -> io::Result<PathBuf> {
    let program = place.join("qemu-10.0");
    if fs::read(&program).is_ok_and(|there| there == script.as_bytes()) {
        return Ok(program);
    }
    fs::create_dir_all(place)?;
    // Tests of other programs do the same at the same time.
    let written = tempfile::NamedTempFile::new_in(place)?;
    fs::write(written.path(), script)?;
    fs::set_permissions(written.path(), fs::Permissions::from_mode(0o755))?;
    fs::rename(written.path(), &program)?;
    Ok(program)
}
