//! What is to run without an operating system has none: `lib/virtio` and all that it depends on. On a host with a standard library nothing else
//! would notice that a dependency brings it along.

use crate::sh;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

const PACKAGE: &str = "virtio";

/// A platform without a standard library.
const PLATFORM: &str = "x86_64-unknown-none";

/// Looks at the features of all dependencies, and compiles the package for such a platform; gives what could not be done.
///
/// # Errors
/// When there is a standard library in it.
pub fn check() -> Result<Option<String>> {
    let mut tree = sh::cargo();
    tree.args(["tree", "--locked", "--package", PACKAGE]);
    let tree = sh::output(tree.args(["--edges", "features,no-dev,no-build,no-proc-macro"]))?;
    let with_std = with_std(&tree);
    if !with_std.is_empty() {
        bail!("{PACKAGE} is to do without a standard library, and has: {}", with_std.join(", "));
    }
    let mut compiler = Command::new("rustc");
    compiler.args(["--print", "target-libdir", "--target", PLATFORM]).current_dir(sh::root());
    if !Path::new(sh::output(&mut compiler)?.trim()).exists() {
        let missing =
            format!("not run: no_std: the compiler comes without {PLATFORM} (rustup target add {PLATFORM})");
        return Ok(Some(missing));
    }
    sh::run(sh::cargo().args(["check", "--locked", "--package", PACKAGE, "--target", PLATFORM]))?;
    Ok(None)
}

/// The features of a tree that want a standard library.
fn with_std(tree: &str) -> Vec<&str> {
    let features = tree.lines().map(|line| line.trim_start_matches(|c: char| !c.is_alphanumeric()));
    features.filter(|feature| feature.contains(" feature \"std\"")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_a_standard_library_is_named() {
        let without = "virtio v0.1.0\n├── thiserror v2.0.21\n└── bitflags feature \"default\"\n    └── bitflags v2.13.2\n";
        assert_eq!(with_std(without), [""; 0]);
        let with = "virtio v0.1.0\n└── thiserror feature \"default\"\n    ├── thiserror v2.0.21\n    └── thiserror feature \"std\"\n        └── thiserror v2.0.21\n";
        assert_eq!(with_std(with), ["thiserror feature \"std\""]);
    }
}
