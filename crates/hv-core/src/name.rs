//! Names of objects.

use crate::Error;
use std::fmt;

/// A name: 1 to 63 of `[a-z0-9-]`, starting with a letter, not ending with `-`. So it is a DNS label too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Checks a name; an error names `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Error> {
        let ok = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(
                field,
                format!(
                    "`{text}` is not a name: 1 to 63 of a-z, 0-9 and '-', starting with a letter and not ending with '-'"
                ),
            ))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "demo", "web-01", &"a".repeat(63)] {
            assert_eq!(Name::parse("name", good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "1a", "Demo", "a_b", "a.b", "ä", &"a".repeat(64)] {
            let error = Name::parse("name", bad).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("name"), "{bad}");
        }
    }
}
