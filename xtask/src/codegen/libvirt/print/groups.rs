//! Reasons that are said by hand, each of a group of names. Groups are compared with what there is, and may neither lack a name nor have
//! one too many.

use crate::codegen::libvirt::SCHEMA;
use crate::observed::is_like;
use crate::sh;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// One reason, and what it is of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    /// The reason.
    pub(super) text: String,
    /// Names, with `*` for anything.
    pub(super) of: Vec<String>,
}

impl Group {
    /// Whether it is of a name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.of.iter().any(|pattern| is_like(name, pattern))
    }
}

/// A file of the description that holds groups.
pub(super) fn read<T: DeserializeOwned>(file: &str) -> Result<T> {
    let path = sh::root().join(SCHEMA).join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("in {file}"))
}

/// Each group of a file with how many of these names it has: the first one that has a name counts it.
pub(super) fn counted<'g>(
    groups: &'g [Group],
    names: &[&str],
    file: &str,
    what: &str,
) -> Result<Vec<(&'g Group, usize)>> {
    let mut counts: Vec<(&Group, usize)> = groups.iter().map(|group| (group, 0)).collect();
    let mut missing = Vec::new();
    for name in names {
        match counts.iter_mut().find(|(group, _)| group.has(name)) {
            Some((_, count)) => *count += 1,
            None => missing.push(*name),
        }
    }
    if !missing.is_empty() {
        bail!("{} {what}, and {file} has no reason: {}", missing.len(), missing.join(", "));
    }
    for group in groups {
        let idle = group.of.iter().find(|pattern| !names.iter().any(|name| is_like(name, pattern)));
        if let Some(idle) = idle {
            bail!("{file} has `{idle}` among those of which it is said that {what}: none of them is");
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lack_no_name_and_have_none_too_many() {
        let group = |of: &str| vec![Group { text: "why".into(), of: vec![of.to_owned()] }];
        let counted = |group: &[Group], names: &[&str]| {
            let counts = super::counted(group, names, "flags.toml", "are refused")?;
            anyhow::Ok(counts.iter().map(|(_, count)| *count).collect::<Vec<_>>())
        };
        let all = ["r.a X", "r.b Y"];
        assert_eq!(counted(&group("r.*"), &all).unwrap(), [2]);
        assert!(counted(&group("r.a *"), &all).unwrap_err().to_string().contains("r.b Y"));
        assert!(counted(&group("r.c *"), &[]).unwrap_err().to_string().contains("r.c"));
    }
}
