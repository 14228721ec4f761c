//! Labels and the selectors over them.

use crate::Error;
use std::collections::BTreeMap;

/// Free keys to select by.
pub type Labels = BTreeMap<String, String>;

/// Most labels, and most annotations, on one object.
pub const MAX_ENTRIES: usize = 64;

/// Checks the keys and values of labels: keys 1 to 63 of `[A-Za-z0-9._/-]`, values at most 63 of `[A-Za-z0-9._-]`.
pub fn check_labels(field: &str, labels: &Labels) -> Result<(), Error> {
    if labels.len() > MAX_ENTRIES {
        return Err(Error::invalid(
            field,
            format!("{} labels; at most {MAX_ENTRIES} are allowed", labels.len()),
        ));
    }
    for (key, value) in labels {
        if !is_key(key) {
            return Err(Error::invalid(
                format!("{field}[{key}]"),
                "a label's key has 1 to 63 of A-Z, a-z, 0-9, '.', '_', '/' and '-'",
            ));
        }
        if !is_value(value) {
            return Err(Error::invalid(
                format!("{field}[{key}]"),
                "a label's value has at most 63 of A-Z, a-z, 0-9, '.', '_' and '-'",
            ));
        }
    }
    Ok(())
}

/// Checks annotations: keys as for labels, 64 KiB in all.
pub fn check_annotations(field: &str, annotations: &Labels) -> Result<(), Error> {
    let total: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if total > 64 * 1024 || annotations.len() > MAX_ENTRIES {
        return Err(Error::invalid(field, "annotations: at most 64 entries and 64 KiB in all"));
    }
    match annotations.keys().find(|key| !is_key(key)) {
        Some(key) => Err(Error::invalid(
            format!("{field}[{key}]"),
            "an annotation's key has 1 to 63 of A-Z, a-z, 0-9, '.', '_', '/' and '-'",
        )),
        None => Ok(()),
    }
}

fn is_key(key: &str) -> bool {
    (1..=63).contains(&key.len()) && key.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c))
}

fn is_value(value: &str) -> bool {
    value.len() <= 63 && value.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

/// A condition on labels: `key=value`, `key!=value`, `key` and `!key`, joined by commas. Empty selects everything.
///
/// ```
/// use hv_core::{Labels, Selector};
/// let labels = Labels::from([("tier".to_owned(), "web".to_owned())]);
/// assert!(Selector::parse("label_selector", "tier=web,!legacy").unwrap().matches(&labels));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Term>);

impl Selector {
    /// Parses a selector; an error names `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Error> {
        let term = |part: &str| {
            let checked = |key: &str, value: &str| {
                if is_key(key) && is_value(value) {
                    Ok((key.to_owned(), value.to_owned()))
                } else {
                    Err(Error::invalid(
                        field,
                        format!("`{part}` is none of key=value, key!=value, key and !key"),
                    ))
                }
            };
            if let Some((key, value)) = part.split_once("!=") {
                checked(key, value).map(|(key, value)| Term::IsNot(key, value))
            } else if let Some((key, value)) = part.split_once('=') {
                checked(key, value).map(|(key, value)| Term::Is(key, value))
            } else if let Some(key) = part.strip_prefix('!') {
                checked(key, "").map(|(key, _)| Term::HasNot(key))
            } else {
                checked(part, "").map(|(key, _)| Term::Has(key))
            }
        };
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(term)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|term| match term {
            Term::Is(key, value) => labels.get(key) == Some(value),
            Term::IsNot(key, value) => labels.get(key) != Some(value),
            Term::Has(key) => labels.contains_key(key),
            Term::HasNot(key) => !labels.contains_key(key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let labels = Labels::from([("tier".into(), "web".into()), ("zone".into(), "a".into())]);
        for (text, expected) in [
            ("", true),
            ("tier", true),
            ("tier=web", true),
            ("tier=web, zone=a", true),
            ("tier=db", false),
            ("tier!=db", true),
            ("gone!=x", true),
            ("!gone", true),
            ("!tier", false),
            ("gone", false),
        ] {
            assert_eq!(Selector::parse("s", text).unwrap().matches(&labels), expected, "{text}");
        }
        for bad in ["=", "a b", "!", "a=b=c", "a==b"] {
            assert_eq!(Selector::parse("s", bad).unwrap_err().field.as_deref(), Some("s"), "{bad}");
        }
    }

    #[test]
    fn labels_are_checked() {
        assert!(check_labels("labels", &Labels::from([("a/b.c".into(), "x_1".into())])).is_ok());
        let error = check_labels("labels", &Labels::from([("a b".into(), String::new())])).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("labels[a b]"));
    }
}
