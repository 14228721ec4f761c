//! Contexts: servers by name, in `ctl.toml` in the user's configuration directory.
//!
//! ```toml
//! current = "lab"
//!
//! [contexts.lab]
//! server = "unix:/run/hypervisor/server.sock"
//! token_file = "/var/lib/hypervisor/token"
//! ```

use crate::Io;
use crate::exit::Failure;
use hv_core::{Error, ErrorKind};
use hv_runtime::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file's contents.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Contexts {
    /// The one that is used when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// All of them.
    pub(crate) contexts: BTreeMap<String, Entry>,
}

/// A server.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Entry {
    /// `unix:PATH` or `http://127.0.0.1:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    /// The file that holds the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
}

impl Contexts {
    /// Where the file is; `None` for a user without a home.
    pub(crate) fn path(io: &Io) -> Option<PathBuf> {
        let base = match io.variable("XDG_CONFIG_HOME") {
            Some(dir) => PathBuf::from(dir),
            None => Path::new(io.variable("HOME")?).join(".config"),
        };
        Some(base.join("hypervisor/ctl.toml"))
    }

    /// Reads the file; none is an empty one.
    pub(crate) fn load(io: &Io) -> Result<Self, Failure> {
        let Some(path) = Self::path(io) else { return Ok(Self::default()) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(wrong(&path, &error).into()),
        };
        Ok(toml::from_str(&text).map_err(|error| wrong(&path, &error))?)
    }

    /// Replaces the file. Answers where it is.
    pub(crate) fn save(&self, io: &Io) -> Result<PathBuf, Failure> {
        let path = Self::path(io).ok_or_else(|| {
            Error::new(
                ErrorKind::FailedPrecondition,
                "neither XDG_CONFIG_HOME nor HOME says where to keep contexts",
            )
        })?;
        let text = toml::to_string(self).map_err(|error| wrong(&path, &error))?;
        let parent = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(|error| wrong(parent, &error))?;
        files::replace(&path, text.as_bytes()).map_err(|error| wrong(&path, &error))?;
        Ok(path)
    }

    /// A context by its name.
    pub(crate) fn find(&self, name: &str) -> Result<&Entry, Failure> {
        Ok(self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let hint = match known.as_slice() {
                [] => format!("make it: hypervisor-ctl config set {name} --server unix:PATH"),
                known => format!("there are: {}", known.join(", ")),
            };
            Error::new(ErrorKind::NotFound, format!("there is no context `{name}`")).with_hint(hint)
        })?)
    }
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("{}: {error}", path.display()))
}
