//! Kernel modules: which ones are needed, and in which order they load.

use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Finds `wanted` and all they depend on under `root`; the answer is in loading order.
///
/// A dependency is what the module's own `.modinfo` section names, so neither `modules.dep` (made at installation, thus
/// absent from an unpacked package) nor `modinfo` is needed.
///
/// # Errors
/// When a module is missing or unreadable.
pub fn in_load_order(root: &Path, wanted: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = BTreeMap::new();
    index(root, &mut found)?;
    let mut order = Vec::new();
    let mut done = BTreeSet::new();
    for name in wanted {
        visit(name, &found, &mut done, &mut order)?;
    }
    Ok(order)
}

fn visit(
    name: &str,
    found: &BTreeMap<String, PathBuf>,
    done: &mut BTreeSet<String>,
    order: &mut Vec<PathBuf>,
) -> Result<()> {
    let name = canonical(name);
    if !done.insert(name.clone()) {
        return Ok(());
    }
    let Some(path) = found.get(&name) else { bail!("the kernel package has no module {name}") };
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    for dependency in dependencies(&bytes) {
        visit(&dependency, found, done, order)?;
    }
    order.push(path.clone());
    Ok(())
}

fn index(directory: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            index(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "ko")
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
        {
            found.insert(canonical(stem), path.clone());
        }
    }
    Ok(())
}

/// File names use both `-` and `_`; the kernel treats them alike.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The `depends=` entry among the NUL-terminated strings of `.modinfo`.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(depends: &str) -> Vec<u8> {
        format!("\x7fELF junk\0license=GPL\0depends={depends}\0name=x\0").into_bytes()
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("sub")).unwrap();
        std::fs::write(root.path().join("a-top.ko"), module("b_mid,c")).unwrap();
        std::fs::write(root.path().join("sub/b_mid.ko"), module("c")).unwrap();
        std::fs::write(root.path().join("sub/c.ko"), module("")).unwrap();
        let order = in_load_order(root.path(), &["a_top", "c"]).unwrap();
        let names: Vec<_> = order.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["c.ko", "b_mid.ko", "a-top.ko"]);
    }

    #[test]
    fn a_missing_module_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = in_load_order(root.path(), &["virtio_blk"]).unwrap_err();
        assert!(error.to_string().contains("virtio_blk"), "{error}");
    }
}
