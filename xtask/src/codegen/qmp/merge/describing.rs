//! What the named classes are, in the form of the description.

use super::{Classes, Found, Part, Place};
use crate::codegen::qmp::{
    model::{
        Alternate, Arm, At, Command, Description, EMPTY, Enumeration, Event, Feature, Member, Optional,
        Structure, Value, Variant,
    },
    recording::{Entry, Meta},
};
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) fn describe(classes: &mut Classes<'_>, named: &HashMap<usize, String>) -> Result<Description> {
    let mut description = Description::default();
    let mut tops: BTreeMap<&str, Vec<(usize, &Entry)>> = BTreeMap::new();
    for (index, schema) in classes.schemas.iter().enumerate() {
        for entry in schema.values().filter(|entry| matches!(entry.meta_type, Meta::Command | Meta::Event)) {
            tops.entry(&entry.name).or_default().push((index, entry));
        }
    }
    for (name, entries) in tops {
        let at = at(&entries);
        let features = features(at, entries.iter().map(|(index, entry)| (*index, entry.features.as_slice())));
        let place = |pick: fn(&Entry) -> Option<&String>| -> Place {
            entries.iter().filter_map(|(index, entry)| Some((*index, pick(entry)?.clone()))).collect()
        };
        let arguments = place(|entry| entry.arg_type.as_ref());
        let arguments = text(classes, named, &arguments)?.0.filter(|name| name != EMPTY);
        let name = name.to_owned();
        if entries[0].1.meta_type == Meta::Event {
            description.events.push(Event { name, at, data: arguments, features });
            continue;
        }
        let reply = place(|entry| entry.ret_type.as_ref());
        let reply = text(classes, named, &reply)?.0.filter(|name| name != EMPTY);
        let oob = entries.iter().any(|(_, entry)| entry.allow_oob);
        description.commands.push(Command { name, at, arguments, reply, allow_oob: oob, features });
    }
    let mut ordered: Vec<_> = named.iter().map(|(root, name)| (name.clone(), *root)).collect();
    ordered.sort();
    for (name, root) in ordered {
        let entries = classes.members(root);
        let at = at(&entries).or(classes.empty[root]);
        match entries[0].1.meta_type {
            Meta::Enum => {
                let values = enumeration(at, &entries);
                description.enums.push(Enumeration { name, at, values });
            }
            Meta::Alternate => {
                let arms = alternate(classes, named, root, at)?;
                description.alternates.push(Alternate { name, at, arms });
            }
            _ => description.structs.push(structure(classes, named, root, name, at)?),
        }
    }
    Ok(description)
}

fn at(entries: &[(usize, &Entry)]) -> At {
    let mut at = At::default();
    entries.iter().for_each(|(index, _)| at.insert(*index));
    at
}

fn unless(at: At, whole: At) -> Option<At> {
    (at != whole).then_some(at)
}

fn features<'f>(whole: At, lists: impl Iterator<Item = (usize, &'f [String])>) -> Vec<Feature> {
    let mut seen: BTreeMap<&str, At> = BTreeMap::new();
    for (index, list) in lists {
        list.iter().for_each(|name| seen.entry(name).or_default().insert(index));
    }
    seen.into_iter().map(|(name, at)| Feature { name: name.to_owned(), at: unless(at, whole) }).collect()
}

/// The type at a place in the form of the description, and where it is a plain string.
fn text(
    classes: &mut Classes<'_>,
    named: &HashMap<usize, String>,
    place: &Place,
) -> Result<(Option<String>, At)> {
    if place.is_empty() {
        return Ok((None, At::default()));
    }
    let (found, strings) = classes.look(place)?;
    let text = match found {
        Found::Builtin(name) => name,
        Found::Empty => EMPTY.to_owned(),
        Found::Class(root) => named[&root].clone(),
        Found::List(inner) => {
            let (inner, _) = text(classes, named, &inner)?;
            format!("[{}]", inner.context("a list of nothing")?)
        }
    };
    Ok((Some(text), strings))
}

/// All names that a list of the entries has, in the order of the first entry, then what later ones add.
fn order<'e>(entries: &[(usize, &'e Entry)], list: fn(&'e Entry) -> Vec<&'e str>) -> Vec<&'e str> {
    let mut order = Vec::new();
    for (_, entry) in entries {
        for name in list(entry) {
            if !order.contains(&name) {
                order.push(name);
            }
        }
    }
    order
}

fn enumeration(whole: At, entries: &[(usize, &Entry)]) -> Vec<Value> {
    let value = |name: &str| {
        let has: Vec<_> = entries
            .iter()
            .filter_map(|(index, entry)| Some((*index, entry.members.iter().find(|m| m.name == name)?)))
            .collect();
        let mut at = At::default();
        has.iter().for_each(|(index, _)| at.insert(*index));
        let features = features(at, has.iter().map(|(index, member)| (*index, member.features.as_slice())));
        Value { name: name.to_owned(), at: unless(at, whole), features }
    };
    let names = order(entries, |entry| entry.members.iter().map(|member| member.name.as_str()).collect());
    names.into_iter().map(value).collect()
}

fn alternate(
    classes: &mut Classes<'_>,
    named: &HashMap<usize, String>,
    root: usize,
    whole: At,
) -> Result<Vec<Arm>> {
    let parts = classes.parts(root)?;
    parts
        .into_values()
        .map(|place| {
            let kind = text(classes, named, &place)?.0.context("an arm of nothing")?;
            let mut at = At::default();
            place.iter().for_each(|(index, _)| at.insert(*index));
            Ok(Arm { kind, at: unless(at, whole) })
        })
        .collect()
}

fn structure(
    classes: &mut Classes<'_>,
    named: &HashMap<usize, String>,
    root: usize,
    name: String,
    whole: At,
) -> Result<Structure> {
    let entries = classes.members(root);
    let parts = classes.parts(root)?;
    let tags: BTreeSet<_> = entries.iter().filter_map(|(_, entry)| entry.tag.as_ref()).collect();
    ensure!(tags.len() <= 1, "{name} has two tags: {tags:?}");
    let mut members = Vec::new();
    for member in order(&entries, |entry| entry.members.iter().map(|member| member.name.as_str()).collect()) {
        let place = &parts[&Part::Member(member.to_owned())];
        let (kind, strings) = text(classes, named, place)?;
        let has: Vec<_> = entries
            .iter()
            .map(|(index, entry)| (*index, entry.members.iter().find(|m| m.name == member)))
            .collect();
        let (mut at, mut optional) = (At::default(), classes.empty[root]);
        for (index, found) in &has {
            if found.is_some() {
                at.insert(*index);
            }
            if found.is_none_or(|found| found.default) {
                optional.insert(*index);
            }
        }
        let mut optional_at = At::default();
        at.iter().filter(|index| optional.has(*index)).for_each(|index| optional_at.insert(index));
        let optional = match optional_at {
            none if none.is_empty() => Optional::Never,
            all if all == at => Optional::Always,
            some => Optional::At(some),
        };
        let lists =
            has.iter().filter_map(|(index, found)| Some((*index, found.as_ref()?.features.as_slice())));
        members.push(Member {
            name: member.to_owned(),
            kind: kind.context("a member of nothing")?,
            at: unless(at, whole),
            optional,
            string_at: (!strings.is_empty()).then_some(strings),
            features: features(at, lists),
        });
    }
    let mut variants = Vec::new();
    for case in order(&entries, |entry| entry.variants.iter().map(|variant| variant.case.as_str()).collect())
    {
        let found = parts.iter().find_map(|(part, place)| match part {
            Part::Case { name, wrapped } if name == case => Some((*wrapped, place)),
            _ => None,
        });
        let (wrapped, place) = found.context("a case without a place")?;
        let kind = text(classes, named, place)?.0.context("a case of nothing")?;
        let mut at = At::default();
        place.iter().for_each(|(index, _)| at.insert(*index));
        variants.push(Variant { case: case.to_owned(), kind, at: unless(at, whole), wrapped });
    }
    let lists = entries.iter().map(|(index, entry)| (*index, entry.features.as_slice()));
    Ok(Structure {
        name,
        at: whole,
        features: features(whole, lists),
        tag: tags.first().map(|tag| (*tag).clone()),
        members,
        variants,
    })
}
