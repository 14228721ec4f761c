//! Results: tables for people, JSON and YAML for programs, names for shells.

pub(crate) mod human;
pub(crate) mod view;

use crate::Context;
use crate::exit::Failure;
use clap::ValueEnum;
use comfy_table::{Cell, Color, ContentArrangement, Table};
use hv_core::{Error, ErrorKind};
use serde_json::Value;

/// How results are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// More columns
    Wide,
    /// The API's messages: lists as an array, streams as one object a line
    Json,
    /// The same as YAML
    Yaml,
    /// Names only, one a line
    Name,
}

/// What a cell's text means: good things are green, bad ones red, on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Busy,
    Bad,
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub(crate) String, pub(crate) Tone);

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self(text.into(), Tone::Plain)
    }
}

/// Rows of one kind of object, in every format.
pub(crate) struct Rows {
    /// Headers; the last `wide` of them only with `-o wide`.
    pub(crate) headers: &'static [&'static str],
    pub(crate) wide: usize,
    /// The cells.
    pub(crate) rows: Vec<Vec<Text>>,
    /// The names.
    pub(crate) names: Vec<String>,
    /// The messages.
    pub(crate) values: Vec<Value>,
}

impl Context {
    /// A list.
    pub(crate) fn show_rows(&mut self, rows: Rows) -> Result<(), Failure> {
        match self.globals.output {
            Format::Json | Format::Yaml => self.show_value(&Value::Array(rows.values)),
            Format::Name => rows.names.iter().try_for_each(|name| self.say(name)),
            Format::Table => {
                let columns = rows.headers.len() - rows.wide;
                self.show_table(&rows.headers[..columns], rows.rows)
            }
            Format::Wide => self.show_table(rows.headers, rows.rows),
        }
    }

    /// One object: its message, its name, or the details that `details` makes.
    pub(crate) fn show_one(
        &mut self,
        value: &Value,
        name: &str,
        details: impl FnOnce() -> Details,
    ) -> Result<(), Failure> {
        match self.globals.output {
            Format::Json | Format::Yaml => self.show_value(value),
            Format::Name => self.say(name),
            Format::Table | Format::Wide => {
                let text = details().render();
                self.say(text.trim_end())
            }
        }
    }

    /// One object of a stream: a JSON line, a YAML document, or a line for people.
    pub(crate) fn show_line(&mut self, value: &Value, name: &str, line: String) -> Result<(), Failure> {
        match self.globals.output {
            Format::Json => self.say(value.to_string()),
            Format::Yaml => {
                self.say("---")?;
                self.show_value(value)
            }
            Format::Name => self.say(name),
            Format::Table | Format::Wide => self.say(line),
        }
    }

    /// A message as JSON or YAML.
    pub(crate) fn show_value(&mut self, value: &Value) -> Result<(), Failure> {
        let broken = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Internal, error.to_string());
        let text = match self.globals.output {
            Format::Yaml => serde_saphyr::to_string(value).map_err(|error| broken(&error))?,
            _ => serde_json::to_string_pretty(value).map_err(|error| broken(&error))?,
        };
        self.say(text.trim_end())
    }

    fn show_table(&mut self, headers: &[&str], rows: Vec<Vec<Text>>) -> Result<(), Failure> {
        if rows.is_empty() {
            self.note("none");
            return Ok(());
        }
        let colour = self.io.colour(self.io.out_is_terminal);
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(headers.iter().map(|header| Cell::new(header)));
        for row in rows {
            table.add_row(row.into_iter().take(headers.len()).map(|Text(text, tone)| {
                let cell = Cell::new(text);
                match tone {
                    _ if !colour => cell,
                    Tone::Plain => cell,
                    Tone::Good => cell.fg(Color::Green),
                    Tone::Busy => cell.fg(Color::Yellow),
                    Tone::Bad => cell.fg(Color::Red),
                }
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.lines() {
            self.say(line.trim_end())?;
        }
        Ok(())
    }
}

/// Named values of one object, for people. Empty values are left out.
#[derive(Default)]
pub(crate) struct Details(Vec<(String, String)>);

impl Details {
    /// A value.
    pub(crate) fn add(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((name.to_owned(), value));
        }
        self
    }

    /// Several values below one name.
    pub(crate) fn list(&mut self, name: &str, values: impl IntoIterator<Item = String>) -> &mut Self {
        for (index, value) in values.into_iter().enumerate() {
            self.0.push((if index == 0 { name.to_owned() } else { String::new() }, value));
        }
        self
    }

    fn render(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.chars().count() + 1).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in &self.0 {
            let name = if name.is_empty() { String::new() } else { format!("{name}:") };
            text.push_str(&format!("{name:width$}  {value}\n"));
        }
        text
    }
}
