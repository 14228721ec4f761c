//! Which release of QEMU the tests run: the installed one, or that of Debian 13, which `cargo xtask qemu-root` unpacks and
//! `cargo xtask test --long` asks for.

use crate::unpacked::unpacked;
use std::path::PathBuf;

/// The release that is asked for, if it is not the installed one: `10.0`.
const VARIABLE: &str = "HV_QEMU_RELEASE";

/// Whether that is 10.0.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
pub(crate) fn is_newer() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|release| release == "10.0")
}

/// The program under test; one that is not there is said to be missing by the test.
pub(crate) fn program() -> PathBuf {
    if is_newer() { unpacked() } else { "/usr/bin/qemu-system-x86_64".into() }
}

/// Where the program is from.
pub(crate) fn origin() -> &'static str {
    if is_newer() { "cargo xtask qemu-root" } else { "Debian package qemu-system-x86" }
}

/// The release's own machine type of a board.
pub(crate) fn machine(board: &str) -> String {
    format!("pc-{board}-{}", if is_newer() { "10.0" } else { "7.2" })
}
