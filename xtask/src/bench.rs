//! `bench`: runs every benchmark and merges what they measured into one table.
//!
//! A benchmark writes `target/bench/<name>.json`, an array of [`Row`]s.

use crate::sh::{self, say};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::Path;

/// One measured figure beside its peer or floor from the same run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What was measured, such as `store put, 64 clients`.
    pub name: String,
    /// Unit of both figures, such as `puts/s` or `ms`.
    pub unit: String,
    /// Our figure.
    pub ours: f64,
    /// What it is compared with, such as `SQLite WAL`.
    pub peer: String,
    /// The peer's figure.
    pub theirs: f64,
    /// CPU time per operation in microseconds, where it was taken.
    #[serde(default)]
    pub cpu_us: Option<f64>,
    /// One-minute load of the machine at the start of the measurement.
    #[serde(default)]
    pub load: Option<f64>,
    /// The goal, in words.
    #[serde(default)]
    pub goal: Option<String>,
}

/// Runs all benchmarks, prints the table and writes it to `target/bench/table.md`.
///
/// # Errors
/// When a benchmark fails, or none wrote anything.
pub fn run() -> Result<()> {
    let directory = sh::root().join("target/bench");
    std::fs::create_dir_all(&directory)?;
    sh::run(sh::cargo().args(["bench", "--workspace", "--locked"]))?;
    let rows = collect(&directory)?;
    if rows.is_empty() {
        bail!("no benchmark wrote {}/*.json", directory.display());
    }
    let table = table(&rows);
    std::fs::write(directory.join("table.md"), &table)?;
    say(&table);
    Ok(())
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
        "| measured | unit | ours | peer or floor | theirs | ours / theirs | CPU us/op | load | goal |\n|---|---|--:|---|--:|--:|--:|--:|---|\n",
    );
    let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), figure);
    for row in rows {
        let ratio = if row.theirs == 0.0 { "-".to_owned() } else { figure(row.ours / row.theirs) };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {ratio} | {} | {} | {} |",
            row.name,
            row.unit,
            figure(row.ours),
            row.peer,
            figure(row.theirs),
            optional(row.cpu_us),
            optional(row.load),
            row.goal.as_deref().unwrap_or("-"),
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
        let row = r#"[{"name":"put","unit":"puts/s","ours":81234.5,"peer":"SQLite WAL","theirs":10000,"load":0.1}]"#;
        std::fs::write(dir.path().join("a.json"), row).unwrap();
        std::fs::write(dir.path().join("b.json"), row.replace("put\"", "list\"")).unwrap();
        std::fs::write(dir.path().join("table.md"), "old").unwrap();
        let table = table(&collect(dir.path()).unwrap());
        assert_eq!(table.lines().count(), 4);
        assert!(
            table.contains("| put | puts/s | 81234 | SQLite WAL | 10000 | 8.12 | - | 0.100 | - |"),
            "{table}"
        );
    }
}
