//! Configuration in layers: default < file < environment < flag, into one struct per program.
//!
//! A file is TOML or YAML by its ending. Unknown keys are refused with the nearest valid one. The environment's names are
//! the keys': `HYPERVISOR_` + section and key in capitals, joined by `_` (`HYPERVISOR_HEARTBEAT_INTERVAL_MS`).
//!
//! A program describes its settings by a table of [`Key`]s beside its `serde` struct; a test compares the two.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a setting's text in the environment is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Bool,
    /// Texts, separated by commas.
    List,
    /// `key=value` pairs, separated by commas.
    Map,
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its place, dotted: `heartbeat.interval_ms`.
    pub path: &'static str,
    /// How its text is read.
    pub kind: Kind,
}

/// Where configuration comes from; a value, so that it can be tested without a process.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that was named; searched for when absent.
    pub file: Option<PathBuf>,
    /// Where to look for it.
    pub search: Vec<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Flags: dotted key and value. They win.
    pub flags: Vec<(&'static str, Value)>,
}

impl Sources {
    /// What a real process has. `stem` is the file's name without its ending: `server`, `agent`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where configuration enters from the environment"
    )]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(&'static str, Value)>, stem: &str) -> Self {
        let mut search = vec![PathBuf::from("/etc/hypervisor")];
        if let Some(dir) = std::env::var_os("XDG_CONFIG_HOME") {
            search.push(PathBuf::from(dir).join("hypervisor"));
        } else if let Some(home) = std::env::var_os("HOME") {
            search.push(PathBuf::from(home).join(".config/hypervisor"));
        }
        search.push(PathBuf::from("configs"));
        search.push(PathBuf::from("."));
        let search = search
            .into_iter()
            .flat_map(|dir| ["toml", "yaml", "yml"].map(|ending| dir.join(format!("{stem}.{ending}"))))
            .collect();
        let environment = std::env::vars().filter(|(name, _)| name.starts_with("HYPERVISOR_")).collect();
        Self { file, search, environment, flags }
    }
}

/// Why configuration was refused. Each says where, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what its ending says.
    #[error("{path}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// There is no such key.
    #[error("{place}: unknown key `{key}`; did you mean `{nearest}`?")]
    UnknownKey {
        /// File or environment variable.
        place: String,
        /// What was written.
        key: String,
        /// The nearest valid key.
        nearest: String,
    },
    /// A value is of the wrong kind or out of its range.
    #[error("{place}: {message}")]
    Value {
        /// File, environment variable or key.
        place: String,
        /// What is wrong.
        message: String,
    },
}

/// Loads a program's configuration. Answers the file that was used, too.
pub fn load<T: DeserializeOwned>(
    keys: &[Key],
    sources: &Sources,
) -> Result<(T, Option<PathBuf>), ConfigError> {
    let file = match &sources.file {
        Some(file) => Some(file.clone()),
        None => sources.search.iter().find(|path| path.exists()).cloned(),
    };
    let mut tree = match &file {
        Some(path) => read_file(path)?,
        None => Value::Object(Map::new()),
    };
    if let Some(path) = &file {
        check_keys(keys, &path.display().to_string(), "", &tree)?;
    }
    for (name, text) in &sources.environment {
        if let Some(key) = keys.iter().find(|key| variable(key.path) == *name) {
            let value = parse(key.kind, text)
                .map_err(|message| ConfigError::Value { place: name.clone(), message })?;
            set(&mut tree, key.path, value);
        }
    }
    for (path, value) in &sources.flags {
        set(&mut tree, path, value.clone());
    }
    let value = serde_json::from_value(tree).map_err(|error| ConfigError::Value {
        place: file.as_ref().map_or_else(|| "configuration".to_owned(), |path| path.display().to_string()),
        message: error.to_string(),
    })?;
    Ok((value, file))
}

/// The environment variable of a key.
pub fn variable(path: &str) -> String {
    format!("HYPERVISOR_{}", path.replace('.', "_").to_uppercase())
}

fn read_file(path: &Path) -> Result<Value, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let syntax = |message: String| ConfigError::Syntax { path: path.to_owned(), message };
    let value = match path.extension().and_then(|ending| ending.to_str()) {
        Some("yaml" | "yml") if text.trim().is_empty() => Value::Object(Map::new()),
        Some("yaml" | "yml") => serde_saphyr::from_str(&text).map_err(|error| syntax(error.to_string()))?,
        _ => toml::from_str(&text).map_err(|error| syntax(error.to_string()))?,
    };
    match value {
        Value::Object(_) => Ok(value),
        Value::Null => Ok(Value::Object(Map::new())),
        _ => Err(syntax("the file must hold keys and values".into())),
    }
}

fn check_keys(keys: &[Key], place: &str, prefix: &str, value: &Value) -> Result<(), ConfigError> {
    let Value::Object(map) = value else { return Ok(()) };
    for (name, value) in map {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if keys.iter().any(|key| key.path == path) {
            continue;
        }
        let section = format!("{path}.");
        if keys.iter().any(|key| key.path.starts_with(&section)) && value.is_object() {
            check_keys(keys, place, &path, value)?;
            continue;
        }
        let nearest =
            keys.iter().map(|key| key.path).min_by_key(|known| distance(known, &path)).unwrap_or_default();
        return Err(ConfigError::UnknownKey {
            place: place.to_owned(),
            key: path,
            nearest: nearest.to_owned(),
        });
    }
    Ok(())
}

fn parse(kind: Kind, text: &str) -> Result<Value, String> {
    let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
    match kind {
        Kind::Text => Ok(Value::String(text.to_owned())),
        Kind::Number => {
            text.trim().parse::<u64>().map(Value::from).map_err(|_| format!("`{text}` is not a whole number"))
        }
        Kind::Bool => text
            .trim()
            .parse::<bool>()
            .map(Value::from)
            .map_err(|_| format!("`{text}` is neither true nor false")),
        Kind::List => Ok(parts().map(|part| Value::String(part.to_owned())).collect()),
        Kind::Map => parts()
            .map(|part| match part.split_once('=') {
                Some((key, value)) => Ok((key.to_owned(), Value::String(value.to_owned()))),
                None => Err(format!("`{part}` is not key=value")),
            })
            .collect::<Result<Map<_, _>, _>>()
            .map(Value::Object),
    }
}

fn set(tree: &mut Value, path: &str, value: Value) {
    let mut here = tree;
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        let Value::Object(map) = here else { return };
        if parts.peek().is_none() {
            map.insert(part.to_owned(), value);
            return;
        }
        here = map.entry(part).or_insert_with(|| Value::Object(Map::new()));
    }
}

/// Levenshtein's distance.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Example {
        name: String,
        heartbeat: Heartbeat,
        labels: BTreeMap<String, String>,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Heartbeat {
        interval_ms: u64,
    }

    const KEYS: &[Key] = &[
        Key { path: "name", kind: Kind::Text },
        Key { path: "heartbeat.interval_ms", kind: Kind::Number },
        Key { path: "labels", kind: Kind::Map },
    ];

    fn load_text(ending: &str, text: &str, with: impl FnOnce(&mut Sources)) -> Result<Example, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(format!("server.{ending}"));
        std::fs::write(&file, text).unwrap();
        let mut sources = Sources { search: vec![dir.path().join("none.toml"), file], ..Sources::default() };
        with(&mut sources);
        load(KEYS, &sources).map(|(value, _)| value)
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let text = "name = 'file'\n[heartbeat]\ninterval_ms = 1\n";
        let environment = [("HYPERVISOR_HEARTBEAT_INTERVAL_MS", "2"), ("HYPERVISOR_LABELS", "a=b, c=d")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let value = load_text("toml", text, |sources| {
            sources.environment = environment.into();
            sources.flags = vec![("name", Value::from("flag"))];
        })
        .unwrap();
        assert_eq!((value.name.as_str(), value.heartbeat.interval_ms), ("flag", 2));
        assert_eq!(value.labels.len(), 2);
    }

    #[test]
    fn yaml_reads_the_same() {
        let value = load_text("yaml", "name: x\nheartbeat:\n  interval_ms: 7\n", |_| {}).unwrap();
        assert_eq!((value.name.as_str(), value.heartbeat.interval_ms), ("x", 7));
        assert_eq!(load_text("yaml", "", |_| {}).unwrap(), Example::default());
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest() {
        let error = load_text("toml", "[heartbeat]\nintervall_ms = 1\n", |_| {}).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("unknown key `heartbeat.intervall_ms`; did you mean `heartbeat.interval_ms`?")
        );
    }

    #[test]
    fn wrong_values_say_where() {
        let error = load_text("toml", "", |sources| {
            sources.environment =
                BTreeMap::from([("HYPERVISOR_HEARTBEAT_INTERVAL_MS".into(), "soon".into())]);
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "HYPERVISOR_HEARTBEAT_INTERVAL_MS: `soon` is not a whole number");
        assert!(load_text("toml", "name = 3\n", |_| {}).unwrap_err().to_string().contains("server.toml"));
        assert!(matches!(load_text("toml", "name = \n", |_| {}), Err(ConfigError::Syntax { .. })));
    }
}
