//! Drivers of the demo guest's kernel that its RAM disk does not have.

use crate::{agent_guest, guest::demo};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Loads them in the guest.
pub(crate) const LOAD: &str = "while read -r m; do insmod /extra/$m; done </extra/order";

/// A RAM disk with these drivers, which are named in the order of loading, or a line that says what is missing.
pub(crate) fn initrd(test: &str, directory: &Path, drivers: &[&str]) -> Option<PathBuf> {
    let (mut files, mut order) = (Vec::new(), String::new());
    for driver in drivers {
        let Some(content) = of_package(driver, directory) else {
            println!("not run: {test}: the module {driver} in target/demo/packages (cargo xtask demo-image)");
            return None;
        };
        order.push_str(&format!("{driver}.ko\n"));
        files.push((format!("extra/{driver}.ko"), 0o100_644, content));
    }
    files.insert(0, ("extra".to_owned(), 0o040_755, Vec::new()));
    files.push(("extra/order".to_owned(), 0o100_644, order.into_bytes()));
    let path = directory.join("initrd with modules");
    fs::write(&path, agent_guest::with_files(&demo("initrd.img"), &files)).unwrap();
    Some(path)
}

/// The kernel's package is where the demo guest was made from.
fn of_package(driver: &str, directory: &Path) -> Option<Vec<u8>> {
    let unpacked = directory.join("package");
    if !unpacked.exists() {
        fs::create_dir(&unpacked).unwrap();
        for package in fs::read_dir(demo("packages")).ok()?.flatten() {
            // Only one of them has any.
            let unpack = "dpkg-deb --fsys-tarfile \"$0\" | tar -x -C \"$1\" --wildcards '*.ko' 2>/dev/null";
            let _ = Command::new("sh").args(["-c", unpack]).arg(package.path()).arg(&unpacked).status();
        }
    }
    let found = Command::new("find").arg(&unpacked).args(["-name", &format!("{driver}.ko")]).output().ok()?;
    let found = String::from_utf8(found.stdout).ok()?;
    fs::read(found.lines().next()?).ok()
}
