//! `codegen libvirt`: from a libvirt source tree to a description of its interface, and from the description to Rust.
//!
//! ```text
//!   *.x ──xdr──┐
//!              ├─resolve─> schema/*.toml ──print──> lib/libvirt-protocol/src/generated/
//!   *-api.xml ─api─┘  ^                                lib/libvirt-client/src/generated/
//!              schema/overrides.toml
//! ```
//!
//! The description is checked in and holds facts only: names, numbers, types, limits. libvirt's own files are read where they lie
//! and never copied. Without `--source` the second half runs alone.

mod api;
mod layout;
mod model;
mod names;
mod print;
mod resolve;
mod xdr;

use super::{Mode, Output};
use crate::sh;
use anyhow::{Context, Result};
use model::{Constants, Program};
use std::path::{Path, PathBuf};

pub(super) const SCHEMA: &str = "lib/libvirt-protocol/schema";

/// The programs: name, file in the source tree, prefix of its C functions.
const PROGRAMS: [(&str, &str, &str); 4] = [
    ("remote", "src/remote/remote_protocol.x", "vir"),
    ("qemu", "src/remote/qemu_protocol.x", "vir"),
    ("lxc", "src/remote/lxc_protocol.x", "vir"),
    ("admin", "src/admin/admin_protocol.x", "virAdm"),
];

/// Where libvirt's own files are.
#[derive(Debug)]
pub struct From {
    /// A source tree.
    pub source: PathBuf,
    /// The directory of `libvirt-api.xml` and its siblings (package libvirt-dev: /usr/share/libvirt/api).
    pub api: PathBuf,
}

/// Reads libvirt's files when `from` is given, then prints the Rust files from the description.
///
/// # Errors
/// With everything that is unclassified, unused or different.
pub fn run(from: Option<&From>, mode: Mode) -> Result<()> {
    let mut output = Output::default();
    let (programs, constants) = match from {
        Some(from) => describe(from, &mut output)?,
        None => load()?,
    };
    print::all(&programs, &constants, &mut output)?;
    output.finish(mode)
}

fn describe(from: &From, output: &mut Output) -> Result<(Vec<Program>, Constants)> {
    let read =
        |path: &Path| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let origin = version(&read(&from.source.join("meson.build"))?)?;
    let overrides = toml::from_str(&read(&sh::root().join(SCHEMA).join("overrides.toml"))?)
        .context("reading overrides.toml")?;
    let used = resolve::Used::new(&overrides);
    let names = ["libvirt-api.xml", "libvirt-qemu-api.xml", "libvirt-lxc-api.xml", "libvirt-admin-api.xml"];
    let files = names.iter().map(|name| read(&from.api.join(name))).collect::<Result<Vec<_>>>()?;
    let api = api::parse(&files)?;
    let mut programs = Vec::new();
    for (program, path, function_prefix) in PROGRAMS {
        let file = xdr::parse(&read(&from.source.join(path))?).with_context(|| format!("in {path}"))?;
        let structs = format!("src/{program}_protocol-structs");
        layout::check(&file, &read(&from.source.join(&structs))?).with_context(|| format!("in {structs}"))?;
        let source = resolve::Source { program, function_prefix, origin: &origin };
        programs.push(resolve::program(&source, &file, &api, &programs, &used)?);
    }
    let constants = resolve::constants(&origin, &api, &used)?;
    used.all_used()?;
    for program in &programs {
        let text = toml::to_string_pretty(program)?;
        output.text(format!("{SCHEMA}/{}.toml", program.name), text);
    }
    output.text(format!("{SCHEMA}/constants.toml"), toml::to_string_pretty(&constants)?);
    Ok((programs, constants))
}

fn load() -> Result<(Vec<Program>, Constants)> {
    let read = |name: &str| -> Result<String> {
        let path = sh::root().join(SCHEMA).join(format!("{name}.toml"));
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let programs = PROGRAMS
        .iter()
        .map(|(name, ..)| toml::from_str(&read(name)?).with_context(|| format!("in {name}.toml")))
        .collect::<Result<_>>()?;
    Ok((programs, toml::from_str(&read("constants")?).context("in constants.toml")?))
}

/// `version: '11.3.0'` of a meson project.
fn version(meson: &str) -> Result<String> {
    let line = meson.lines().find_map(|line| line.trim().strip_prefix("version: '"));
    let version = line.and_then(|line| line.split('\'').next()).context("no version in meson.build")?;
    Ok(version.to_owned())
}
