//! `codegen`: files that are generated and checked in, and the check that they are what the generator prints.

pub mod libvirt;
pub mod qmp;
pub mod vhost_user;

use crate::sh;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// All files from the checked-in descriptions; the description of QMP also against the programs that are installed, when it is
/// only compared. Answers what could not be compared.
///
/// # Errors
/// As the generators.
pub fn all(mode: Mode) -> Result<Vec<String>> {
    libvirt::run(None, mode)?;
    vhost_user::run(mode)?;
    let ask = if mode == Mode::Check { qmp::Ask::Installed } else { qmp::Ask::Nobody };
    qmp::run(ask, mode)
}

/// What a generator made: files by their path inside the workspace.
#[derive(Debug, Default)]
pub struct Output {
    files: BTreeMap<PathBuf, String>,
    directories: Vec<PathBuf>,
}

/// What to do with the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Write what differs, remove what is no longer made.
    Write,
    /// Change nothing; fail when something differs.
    Check,
}

impl Output {
    /// Declares a directory in which nothing but generated files may lie.
    pub fn owns(&mut self, directory: impl Into<PathBuf>) {
        self.directories.push(directory.into());
    }

    /// Adds a file as it is.
    pub fn text(&mut self, path: impl Into<PathBuf>, text: String) {
        self.files.insert(path.into(), text);
    }

    /// Adds a Rust file, formatted as the workspace's other files.
    ///
    /// # Errors
    /// When rustfmt refuses the text, which means that the generator printed no Rust.
    pub fn rust(&mut self, path: impl Into<PathBuf>, text: &str) -> Result<()> {
        let path = path.into();
        let text = rustfmt(text).with_context(|| format!("formatting {}", path.display()))?;
        self.text(path, text);
        Ok(())
    }

    /// Writes or compares all files.
    ///
    /// # Errors
    /// In [`Mode::Check`] with the list of files that differ; otherwise when writing fails.
    pub fn finish(self, mode: Mode) -> Result<()> {
        let mut differing = Vec::new();
        for (path, text) in &self.files {
            let at = sh::root().join(path);
            if std::fs::read_to_string(&at).is_ok_and(|present| present == *text) {
                continue;
            }
            differing.push(path.clone());
            if mode == Mode::Write {
                if let Some(parent) = at.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                std::fs::write(&at, text).with_context(|| format!("writing {}", at.display()))?;
            }
        }
        for directory in &self.directories {
            for path in files_below(&sh::root().join(directory))? {
                let path = path.strip_prefix(sh::root())?.to_owned();
                if self.files.contains_key(&path) {
                    continue;
                }
                if mode == Mode::Write {
                    std::fs::remove_file(sh::root().join(&path))?;
                }
                differing.push(path);
            }
        }
        if mode == Mode::Check && !differing.is_empty() {
            let list: Vec<_> = differing.iter().map(|path| path.display().to_string()).collect();
            bail!("not what the generator prints: {}; run cargo xtask codegen", list.join(", "));
        }
        for path in differing {
            sh::say(&format!("written: {}", path.display()));
        }
        Ok(())
    }
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !directory.exists() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files_below(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn rustfmt(text: &str) -> Result<String> {
    let mut command = Command::new("rustfmt");
    command.args(["--edition", "2024", "--config-path"]).arg(sh::root().join("rustfmt.toml"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting rustfmt")?;
    let mut input = child.stdin.take().context("rustfmt without an input")?;
    let owned = text.to_owned();
    // rustfmt may print before it has read everything.
    let writer = std::thread::spawn(move || input.write_all(owned.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| anyhow::anyhow!("the thread that feeds rustfmt panicked"))??;
    if !output.status.success() {
        bail!("rustfmt failed: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}
