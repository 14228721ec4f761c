//! `bench`: runs every benchmark and merges what they measured into one table.
//!
//! A benchmark writes `target/bench/<name>.json`, an array of [`Row`]s.

use crate::sh::{self, say};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// One measured figure beside its peer and floor from the same run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What was measured, such as `store_durable_puts_64_clients`.
    pub name: String,
    /// Unit of all figures, such as `puts/s` or `ms`.
    pub unit: String,
    /// `higher` or `lower`.
    pub better: String,
    /// Our figure.
    pub value: f64,
    /// Who else does the same work, such as `SQLite WAL`.
    #[serde(default)]
    pub peer: String,
    /// The peer's figure.
    #[serde(default)]
    pub peer_value: Option<f64>,
    /// The least work that could do, such as one `fdatasync`.
    #[serde(default)]
    pub floor: String,
    /// The floor's figure.
    #[serde(default)]
    pub floor_value: Option<f64>,
    /// What we want to reach.
    #[serde(default)]
    pub goal: Option<f64>,
    /// CPU time per operation in nanoseconds, where it was taken.
    #[serde(default)]
    pub cpu_ns_per_op: Option<f64>,
    /// One-minute load of the machine at the start of the measurement.
    #[serde(default)]
    pub load: Option<f64>,
}

/// Runs all benchmarks, prints the table and writes it to `target/bench/table.md`.
///
/// # Errors
/// When a benchmark fails, or none wrote anything.
pub fn run() -> Result<()> {
    let directory = sh::root().join("target/bench");
    std::fs::create_dir_all(&directory)?;
    if let Err(error) = python_peer(&directory.join("python")) {
        say(&format!("not run: python's qemu.qmp: {error:#}"));
    }
    if let Err(error) = crate::unpacked::fetch() {
        say(&format!("not run, unless sshd is unpacked already: streams over ssh: {error:#}"));
    }
    // The programs that are measured from outside; the profile of benchmarks is the same.
    sh::run(sh::cargo().args(["build", "--workspace", "--locked", "--release"]))?;
    sh::run(sh::cargo().args(["bench", "--workspace", "--locked", "--bench", "*"]))?;
    // A workspace of its own, whose peers are no part of ours.
    let apart = sh::root().join("bench/vhost-user/Cargo.toml");
    sh::run(sh::cargo().args(["run", "--locked", "--release", "--manifest-path"]).arg(apart))?;
    let rows = collect(&directory)?;
    if rows.is_empty() {
        bail!("no benchmark wrote {}/*.json", directory.display());
    }
    let table = table(&rows);
    std::fs::write(directory.join("table.md"), &table)?;
    say(&table);
    Ok(())
}

/// The peer of `lib/qmp`, from the package index, in an environment of its own.
fn python_peer(place: &Path) -> Result<()> {
    let python = place.join("bin/python3");
    if python.exists() && sh::output(Command::new(&python).args(["-c", "import qemu.qmp"])).is_ok() {
        return Ok(());
    }
    sh::run(Command::new("python3").args(["-m", "venv"]).arg(place))?;
    sh::run(Command::new(python).args(["-m", "pip", "install", "--quiet", "qemu.qmp==0.0.6"]))
}

fn collect(directory: &Path) -> Result<Vec<Row>> {
    let mut files: Vec<_> =
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        let read: Vec<Row> = serde_json::from_slice(&std::fs::read(&file)?)
            .with_context(|| format!("{} is no array of rows", file.display()))?;
        rows.extend(read);
    }
    Ok(rows)
}

fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "| measured | unit | ours | peer | ours / peer | floor | ours / floor | goal | CPU us/op | load |\n\
         |---|---|--:|---|--:|---|--:|--:|--:|--:|\n",
    );
    let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), figure);
    for row in rows {
        let named = |name: &str, value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{name}: {}", figure(value)))
        };
        let ratio = |of: Option<f64>| optional(of.filter(|of| *of != 0.0).map(|of| row.value / of));
        let goal = row.goal.map(|goal| {
            let reached = if row.better == "higher" { row.value >= goal } else { row.value <= goal };
            format!("{}{}", figure(goal), if reached { "" } else { " (missed)" })
        });
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.name,
            row.unit,
            figure(row.value),
            named(&row.peer, row.peer_value),
            ratio(row.peer_value),
            named(&row.floor, row.floor_value),
            ratio(row.floor_value),
            goal.as_deref().unwrap_or("-"),
            optional(row.cpu_ns_per_op.map(|ns| ns / 1e3)),
            optional(row.load),
        );
    }
    out
}

/// Three significant digits, which is more than most measurements hold.
fn figure(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = value.abs().log10().floor() as i32;
    format!("{value:.*}", usize::try_from(2 - digits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_all_files_make_one_table() {
        let dir = tempfile::tempdir().unwrap();
        let row = r#"{"name":"put","unit":"puts/s","better":"higher","value":81234.5,"peer":"SQLite WAL",
            "peer_value":10000,"floor":"fdatasync","floor_value":100000,"goal":90000,"load":0.1}"#;
        let row = format!("[{row}]");
        std::fs::write(dir.path().join("a.json"), &row).unwrap();
        std::fs::write(dir.path().join("b.json"), row.replace("put\"", "list\"")).unwrap();
        std::fs::write(dir.path().join("table.md"), "old").unwrap();
        let table = table(&collect(dir.path()).unwrap());
        assert_eq!(table.lines().count(), 4);
        assert!(
            table.contains(
                "| put | puts/s | 81234 | SQLite WAL: 10000 | 8.12 | fdatasync: 100000 | 0.812 | 90000 (missed) | - | 0.100 |"
            ),
            "{table}"
        );
    }
}
