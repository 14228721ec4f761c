//! What may come next in a line, by the schema.

use crate::line::{member, words};
use qmp::schema::{Member, Schema};

/// Words of the shell itself.
pub const OWN: [&str; 3] = ["exit", "help", "oob"];

/// Where the word begins that is completed, and what it may become. `line` ends where the completion is asked for.
#[must_use]
pub fn complete(schema: &Schema, line: &str) -> (usize, Vec<String>) {
    let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let (before, word) = line.split_at(start);
    // An open quote belongs to a value that nobody can know.
    let Ok(before) = words(before) else { return (line.len(), Vec::new()) };
    let command = match before.as_slice() {
        [own, rest @ ..] if OWN.contains(&own.as_str()) => rest,
        rest => rest,
    };
    let [command, given @ ..] = command else { return (start, commands(schema, word, before.is_empty())) };
    let members = schema.command(command).map(|command| command.arguments()).unwrap_or_default();
    if let Some((name, value)) = word.split_once('=') {
        let values = member(&members, name).map(|member| values(&member)).unwrap_or_default();
        let fitting = values.into_iter().filter(|known| known.starts_with(value));
        return (start + name.len() + 1, fitting.collect());
    }
    let (outer, inner) = word.rsplit_once('.').map_or(("", word), |(outer, inner)| (outer, inner));
    let members = if outer.is_empty() {
        members
    } else {
        member(&members, outer).map(|member| member.members()).unwrap_or_default()
    };
    let prefix = if outer.is_empty() { String::new() } else { format!("{outer}.") };
    let mut names: Vec<String> = Vec::new();
    for member in members.iter().filter(|member| member.name.starts_with(inner)) {
        let name = format!("{prefix}{}", member.name);
        let is_given = given.iter().any(|word| word.split('=').next() == Some(name.as_str()));
        if !is_given {
            names.push(format!("{name}="));
            if !member.members().is_empty() {
                names.push(format!("{name}."));
            }
        }
    }
    names.sort();
    names.dedup();
    (start, names)
}

fn commands(schema: &Schema, word: &str, own: bool) -> Vec<String> {
    let known = schema.commands().map(|command| command.name());
    let own = OWN.iter().copied().filter(|_| own);
    let mut names: Vec<String> =
        known.chain(own).filter(|name| name.starts_with(word)).map(str::to_owned).collect();
    names.sort();
    names
}

fn values(member: &Member<'_>) -> Vec<String> {
    if member.form() == "bool" {
        return ["false", "true"].map(str::to_owned).to_vec();
    }
    member.values().into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::tests::schema;

    #[test]
    fn commands_arguments_inner_arguments_and_values() {
        let schema = schema();
        let complete = |line: &str| complete(&schema, line);
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(complete(""), (0, list(&["disk-add", "disk-del", "exit", "help", "oob", "query-disks"])));
        assert_eq!(complete("disk-"), (0, list(&["disk-add", "disk-del"])));
        assert_eq!(complete("oob q"), (4, list(&["query-disks"])));
        assert_eq!(complete("disk-add f"), (9, list(&["fast=", "file.", "file="])));
        assert_eq!(complete("disk-add id=x file.path='a b' i"), (30, list(&[])));
        assert_eq!(complete("disk-add file."), (9, list(&["file.locking=", "file.path="])));
        assert_eq!(complete("disk-add driver="), (16, list(&["qcow2", "raw"])));
        assert_eq!(complete("disk-add file.locking=r"), (22, list(&["raw"])));
        assert_eq!(complete("disk-add fast=t"), (14, list(&["true"])));
        assert_eq!(complete("disk-add id='x "), (15, list(&[])));
        assert_eq!(complete("nonsense a").1, list(&[]));
    }
}
