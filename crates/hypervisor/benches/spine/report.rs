//! Rows in the form that `cargo xtask bench` merges.

use serde::Serialize;
use std::io::Write;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) better: &'static str,
    pub(crate) value: f64,
    /// What the floor is.
    pub(crate) floor: &'static str,
    pub(crate) floor_value: Option<f64>,
    pub(crate) goal: Option<f64>,
    pub(crate) cpu_ns_per_op: Option<f64>,
    pub(crate) load: Option<f64>,
}

impl Row {
    /// A figure that should be small.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self { name: name.into(), unit, better: "lower", value, ..Self::default() }
    }

    pub(crate) fn floor(mut self, floor: &'static str, value: f64) -> Self {
        (self.floor, self.floor_value) = (floor, Some(value));
        self
    }

    pub(crate) fn goal(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self
    }

    pub(crate) fn cpu(mut self, ns_per_op: f64) -> Self {
        self.cpu_ns_per_op = Some(ns_per_op);
        self
    }
}

pub(crate) fn print(rows: &[Row]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let number = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.2}"));
    writeln!(out, "{:<48} {:>12} {:>12} {:>12} {:>12}", "", "value", "floor", "goal", "CPU ns/op")?;
    for row in rows {
        let name = format!("{} [{}]", row.name, row.unit);
        let [value, floor, goal, cpu] =
            [Some(row.value), row.floor_value, row.goal, row.cpu_ns_per_op].map(number);
        writeln!(out, "{name:<48} {value:>12} {floor:>12} {goal:>12} {cpu:>12}")?;
    }
    Ok(())
}

/// The value that `share` of the others do not exceed.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[index]
}
