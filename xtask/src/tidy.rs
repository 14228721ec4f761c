//! `tidy`: what the compiler does not check, over the files that git tracks.

use crate::sh::{self, say};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// Checks all tracked files.
///
/// # Errors
/// With the number of findings, each of which has been printed.
pub fn check() -> Result<()> {
    let root = sh::root();
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let files = sh::output(Command::new("git").args(list).current_dir(root))?;
    let mut findings = Vec::new();
    for name in files.split('\0').filter(|name| !name.is_empty()) {
        // Binary files and deleted ones are not ours to judge.
        let Ok(text) = std::fs::read_to_string(root.join(name)) else { continue };
        findings.extend(machine_paths(&text).map(|line| format!("{name}:{line}: path of one machine")));
        match Path::new(name).extension().and_then(|extension| extension.to_str()) {
            Some("md") => {
                let exists = |path: &str| {
                    let beside = Path::new(name).parent().unwrap_or(Path::new("")).join(path);
                    root.join(path).exists() || root.join(beside).exists()
                };
                findings.extend(
                    dead_paths(&text, exists)
                        .into_iter()
                        .map(|(line, path)| format!("{name}:{line}: {path} does not exist")),
                );
            }
            Some("rs") => findings.extend(rust(name, &text)),
            Some("toml") if is_member(name) && !text.contains("[lints]\nworkspace = true") => {
                findings.push(format!("{name}: does not inherit the workspace's lints"));
            }
            _ => {}
        }
    }
    for finding in &findings {
        say(finding);
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    Ok(())
}

/// Whether this is the manifest of a member of the main workspace.
fn is_member(name: &str) -> bool {
    name.ends_with("/Cargo.toml")
        && !name.ends_with("/fuzz/Cargo.toml")
        && ["crates/", "lib/", "tests/", "xtask/"].iter().any(|area| name.starts_with(area))
}

fn machine_paths(text: &str) -> impl Iterator<Item = usize> {
    // Written in pieces, or this file would find itself.
    const NEEDLES: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ho", "me/")];
    let found = |(n, line): (usize, &str)| NEEDLES.iter().any(|path| line.contains(path)).then_some(n + 1);
    text.lines().enumerate().filter_map(found)
}

fn rust(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let generated = text.lines().next().is_some_and(|line| line.contains("@generated"));
    let count = text.lines().count();
    if count > MAX_LINES && !generated {
        findings.push(format!("{name}: {count} lines, over {MAX_LINES}: split it"));
    }
    let may_be_unsafe = name.ends_with("/sys.rs") || name.contains("/sys/");
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for left_over in [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("db", "g!(")] {
            if code.contains(left_over) {
                findings.push(format!("{name}:{}: {left_over}...) is left over", number + 1));
            }
        }
        let keyword =
            ["{", "fn ", "impl ", "extern "].iter().any(|next| code.contains(&format!("unsafe {next}")));
        if keyword && !may_be_unsafe && !generated && !name.ends_with("tidy.rs") {
            findings.push(format!("{name}:{}: unsafe outside a module called sys", number + 1));
        }
    }
    findings
}

/// Paths in back-quotes and in links that do not exist, each with its line.
fn dead_paths(text: &str, exists: impl Fn(&str) -> bool) -> Vec<(usize, String)> {
    let mut dead = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            continue;
        }
        if in_code {
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2).filter(|word| looks_like_path(word));
        let linked = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
        let linked = linked.filter(|target| !target.is_empty() && !target.contains(':'));
        for path in quoted.chain(linked) {
            if !exists(path.trim_end_matches('/')) {
                dead.push((number + 1, path.to_owned()));
            }
        }
    }
    dead
}

/// Whether a quoted word claims to be a file of this repository.
fn looks_like_path(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let first = word.split('/').next().unwrap_or_default();
    plain && word.contains('/') && OUR_DIRECTORIES.contains(&first)
}

const OUR_DIRECTORIES: &[&str] = &[
    "bench",
    "bpf",
    "configs",
    "crates",
    "docs",
    "lib",
    "packaging",
    "proto",
    "tests",
    "web",
    "xtask",
    ".ci",
];

const MAX_LINES: usize = 700;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_paths_are_found_and_others_left_alone() {
        let text = "see `crates/gone/lib.rs`, `crates/here`, `/dev/kvm`, `a/b`\n\
                    [x](docs/gone.md) [y](https://e.org/x) [z](#there)\n```\n`lib/in-code`\n```\n";
        let dead = dead_paths(text, |path| path == "crates/here");
        assert_eq!(dead, [(1, "crates/gone/lib.rs".to_owned()), (2, "docs/gone.md".to_owned())]);
    }

    #[test]
    fn left_overs_unsafe_and_long_files_are_found() {
        let left_over = format!("fn f() {{ {}) }}", concat!("to", "do!("));
        assert_eq!(rust("a/src/x.rs", &left_over).len(), 1);
        assert_eq!(rust("a/src/x.rs", "// unsafe { } is banned").len(), 0);
        let block = format!("un{} {{ x() }}", "safe");
        assert_eq!(rust("a/src/x.rs", &block).len(), 1);
        assert_eq!(rust("a/src/sys.rs", &block).len(), 0);
        assert_eq!(rust("a/src/x.rs", &"\n".repeat(701)).len(), 1);
        assert_eq!(rust("a/src/x.rs", &format!("// @generated\n{}", "\n".repeat(701))).len(), 0);
    }

    #[test]
    fn machine_paths_are_found() {
        let text = format!("a\n{}x\n", concat!("/ho", "me/"));
        assert_eq!(machine_paths(&text).collect::<Vec<_>>(), [2]);
    }
}
