//! The command line, as a user of this program has it.

use crate::local::Layout;
use anyhow::bail;
use hypervisor_ctl::{Exit, Io};

/// Runs a command against the local server; it prints here.
pub(crate) async fn run(layout: &Layout, words: &[&str]) -> anyhow::Result<()> {
    let mut io = Io::of_process();
    let variables = [
        ("HYPERVISOR_SERVER", format!("unix:{}", layout.socket().display())),
        ("HYPERVISOR_TOKEN_FILE", layout.token().display().to_string()),
    ];
    io.environment.extend(variables.map(|(name, value)| (name.to_owned(), value)));
    let words: Vec<_> = std::iter::once(&"hypervisor-ctl").chain(words).map(Into::into).collect();
    // It has a runtime of its own.
    match tokio::task::spawn_blocking(move || hypervisor_ctl::run(words, io)).await? {
        Exit::Ok => Ok(()),
        exit => bail!("hypervisor-ctl ended with {}", exit as u8),
    }
}

/// The program as it can be typed: the one beside this one.
pub(crate) fn as_typed() -> String {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name("hypervisor-ctl"));
    let here = std::env::current_dir().unwrap_or_default();
    match beside.filter(|path| path.exists()) {
        Some(path) => path.strip_prefix(&here).unwrap_or(&path).display().to_string(),
        None => "hypervisor-ctl".to_owned(),
    }
}
