//! `libvirt.conf` of the client: aliases of URIs, the URI that is meant when none is given, the way to daemons.

use crate::error::{Error, ErrorKind};
use std::collections::HashMap;

/// What the file says that concerns us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// `uri_aliases`: `name=URI`.
    pub(crate) aliases: HashMap<String, String>,
    /// `uri_default`.
    pub(crate) default: Option<String>,
    /// `remote_mode`, for URIs that do not say it.
    pub(crate) mode: Option<String>,
    /// `remote_proxy`, for URIs that do not say it.
    pub(crate) proxy: Option<String>,
    /// `tls_priority`, for URIs that do not say it.
    pub(crate) tls_priority: Option<String>,
}

#[derive(Debug)]
enum Value {
    Text(String),
    List(Vec<String>),
    Other,
}

impl std::str::FromStr for Config {
    type Err = Error;

    /// Reads `name = value` lines, in which a value is a number, a text in quotes, or a list of texts in brackets over several lines.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::new(ErrorKind::Uri(format!("libvirt.conf: {what}")));
        let mut config = Self::default();
        let mut rest = text;
        while let Some((name, value, next)) = setting(rest).map_err(|what| wrong(&what))? {
            rest = next;
            match (name, value) {
                ("uri_aliases", Value::List(aliases)) => {
                    for alias in aliases {
                        let (name, uri) = alias
                            .split_once('=')
                            .ok_or_else(|| wrong(&format!("the alias `{alias}` is not name=URI")))?;
                        config.aliases.insert(name.to_owned(), uri.to_owned());
                    }
                }
                ("uri_default", Value::Text(uri)) => config.default = Some(uri),
                ("remote_mode", Value::Text(mode)) => config.mode = Some(mode),
                ("remote_proxy", Value::Text(proxy)) => config.proxy = Some(proxy),
                ("tls_priority", Value::Text(priority)) => config.tls_priority = Some(priority),
                ("uri_aliases" | "uri_default" | "remote_mode" | "remote_proxy" | "tls_priority", _) => {
                    return Err(wrong(&format!("{name} has a value of another kind")));
                }
                // The file also serves others.
                _ => {}
            }
        }
        Ok(config)
    }
}

impl Config {
    /// What is meant by a name: an alias' URI, or the name itself. Only what looks like a plain word can be an alias.
    pub(crate) fn resolve<'a>(&'a self, name: &'a str) -> &'a str {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.chars().all(plain) { self.aliases.get(name).map_or(name, String::as_str) } else { name }
    }
}

/// Skips blanks, line ends and comments.
fn skip(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        match text.strip_prefix('#') {
            Some(comment) => text = comment.find('\n').map_or("", |end| &comment[end..]),
            None => return text,
        }
    }
}

fn setting(text: &str) -> Result<Option<(&str, Value, &str)>, String> {
    let text = skip(text);
    if text.is_empty() {
        return Ok(None);
    }
    let line = text.lines().next().unwrap_or_default();
    let (name, rest) = text.split_once('=').ok_or_else(|| format!("`{line}` has no value"))?;
    let name = name.trim();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(format!("`{line}` has no name"));
    }
    let rest = rest.trim_start_matches([' ', '\t']);
    let (value, rest) = if let Some(mut rest) = rest.strip_prefix('[') {
        let mut list = Vec::new();
        loop {
            rest = skip(rest);
            if let Some(end) = rest.strip_prefix(']') {
                break (Value::List(list), end);
            }
            let (item, next) = quoted(rest).ok_or_else(|| format!("the list of {name} does not end"))?;
            list.push(item.to_owned());
            rest = skip(next);
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
    } else if rest.starts_with(['"', '\'']) {
        let (text, rest) = quoted(rest).ok_or_else(|| format!("the text of {name} does not end"))?;
        (Value::Text(text.to_owned()), rest)
    } else {
        let end = rest.find('\n').unwrap_or(rest.len());
        (Value::Other, &rest[end..])
    };
    Ok(Some((name, value, rest)))
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    text[1..].split_once(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_libvirt_reads_it() {
        let config: Config = "# a comment\nuri_aliases = [\n  \"hail=qemu+ssh://root@hail.cloud/system\",\n  # inside\n  \
            'sleet=qemu+ssh://root@sleet/system',\n]\nlog_level = 3\n\nuri_default = \"qemu:///system\"\nremote_mode = 'legacy'\n"
            .parse()
            .unwrap();
        assert_eq!(config.resolve("hail"), "qemu+ssh://root@hail.cloud/system");
        assert_eq!(config.resolve("sleet"), "qemu+ssh://root@sleet/system");
        assert_eq!(config.resolve("rain"), "rain");
        assert_eq!(config.resolve("qemu:///session"), "qemu:///session");
        assert_eq!(config.default.as_deref(), Some("qemu:///system"));
        assert_eq!((config.mode.as_deref(), config.proxy), (Some("legacy"), None));
        for (bad, why) in [
            ("uri_aliases = [ \"x\" ]", "not name=URI"),
            ("uri_aliases = [ \"x=y\"", "does not end"),
            ("uri_default = 3", "another kind"),
            ("nonsense", "no value"),
            ("uri_default = \"x", "does not end"),
        ] {
            let error = bad.parse::<Config>().unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
