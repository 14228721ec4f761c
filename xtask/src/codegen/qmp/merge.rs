//! From recorded schemas to one description.
//!
//! Introspection hides the names of types, so two recordings have nothing in common but commands, events and members. A place is
//! what is reached from a command on the same way in every recording (`query-status=`, then `.status`); the types found at one
//! place are one type, and so are then the types of their members. What is left are classes of types, each of which gets a name:
//! of the table where it is used at several places, else of its only place.

use super::model::{
    Alternate, Arm, At, BUILTIN, Command, Description, EMPTY, Enumeration, Event, Feature, Member, Names,
    Optional, RECORDINGS, Structure, Value, Variant,
};
use super::recording::{Entry, Meta, Schema};
use super::words;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The types at one place: recording and name there.
type Place = BTreeSet<(usize, String)>;

/// Merges schemas, one for each of [`RECORDINGS`].
///
/// # Errors
/// With every type that has no name, every name that nothing uses, and what the recordings contradict each other in.
pub(super) fn merge(schemas: &[Schema], names: &Names) -> Result<Description> {
    let mut classes = Classes::new(schemas);
    let roots = roots(schemas);
    for (_, place) in &roots {
        classes.look(place)?;
    }
    classes.close()?;
    let named = name(&mut classes, &roots, names)?;
    describe(&mut classes, &named)
}

/// What commands and events take and answer, each with the name of its place.
fn roots(schemas: &[Schema]) -> Vec<(String, Place)> {
    let mut roots: BTreeMap<String, Place> = BTreeMap::new();
    for (index, schema) in schemas.iter().enumerate() {
        for entry in schema.values().filter(|entry| matches!(entry.meta_type, Meta::Command | Meta::Event)) {
            for (mark, kind) in [(':', &entry.arg_type), ('=', &entry.ret_type)] {
                if let Some(kind) = kind {
                    let place = roots.entry(format!("{}{mark}", entry.name)).or_default();
                    place.insert((index, kind.clone()));
                }
            }
        }
    }
    roots.into_iter().collect()
}

/// What is found at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Builtin(String),
    List(Place),
    Class(usize),
    Empty,
}

/// A part of a type that has a type of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Member(String),
    Case { name: String, wrapped: bool },
    Arm(String),
}

impl Part {
    fn place_in(&self, parent: &str) -> String {
        match self {
            Self::Member(name) => format!("{parent}.{name}"),
            Self::Case { name, .. } => format!("{parent}<{name}>"),
            Self::Arm(name) => format!("{parent}|{name}"),
        }
    }

    fn word(&self) -> &str {
        match self {
            Self::Member(name) | Self::Arm(name) | Self::Case { name, .. } => name,
        }
    }
}

/// Types that are one and the same, joined as it is found out.
struct Classes<'a> {
    schemas: &'a [Schema],
    numbers: HashMap<(usize, String), usize>,
    nodes: Vec<(usize, String)>,
    parents: Vec<usize>,
    /// Recordings in which an object without members stands where the class does.
    empty: Vec<At>,
    joined: usize,
}

impl<'a> Classes<'a> {
    fn new(schemas: &'a [Schema]) -> Self {
        Self {
            schemas,
            numbers: HashMap::new(),
            nodes: Vec::new(),
            parents: Vec::new(),
            empty: Vec::new(),
            joined: 0,
        }
    }

    fn entry(&self, (recording, name): &(usize, String)) -> Result<&'a Entry> {
        self.schemas[*recording]
            .get(name)
            .with_context(|| format!("{} has no entry {name}", RECORDINGS[*recording].name))
    }

    fn number(&mut self, node: &(usize, String)) -> usize {
        if let Some(number) = self.numbers.get(node) {
            return *number;
        }
        let number = self.nodes.len();
        self.numbers.insert(node.clone(), number);
        self.nodes.push(node.clone());
        self.parents.push(number);
        self.empty.push(At::default());
        number
    }

    fn root(&self, mut number: usize) -> usize {
        while self.parents[number] != number {
            number = self.parents[number];
        }
        number
    }

    /// Joins the types at a place and says what they are. The set says where the place holds a plain string instead.
    fn look(&mut self, place: &Place) -> Result<(Found, At)> {
        let mut strings = At::default();
        let mut empty = At::default();
        let mut rest = Vec::new();
        for node in place {
            let entry = self.entry(node)?;
            if entry.meta_type == Meta::Object && entry.members.is_empty() && entry.variants.is_empty() {
                empty.insert(node.0);
            } else {
                rest.push((node, entry));
            }
        }
        if rest.is_empty() {
            return Ok((Found::Empty, strings));
        }
        if rest.iter().any(|(_, entry)| entry.meta_type == Meta::Enum) {
            // An enumeration of ours takes any string.
            rest.retain(|(node, entry)| {
                let plain = entry.name == "str";
                if plain {
                    strings.insert(node.0);
                }
                !plain
            });
        }
        let kind = rest[0].1.meta_type;
        ensure!(
            rest.iter().all(|(_, entry)| entry.meta_type == kind),
            "the recordings differ in the kind of a type: {place:?}"
        );
        let found = match kind {
            Meta::Builtin => {
                let name = &rest[0].1.name;
                ensure!(
                    rest.iter().all(|(_, entry)| entry.name == *name),
                    "the recordings differ: {place:?}"
                );
                ensure!(BUILTIN.contains(&name.as_str()), "a builtin type that is new: {name}");
                Found::Builtin(name.clone())
            }
            Meta::Array => {
                let inner = rest.iter().map(|(node, entry)| {
                    let element = entry.element_type.clone().context("an array without elements")?;
                    Ok((node.0, element))
                });
                Found::List(inner.collect::<Result<_>>()?)
            }
            Meta::Object | Meta::Enum | Meta::Alternate => {
                let nodes: Vec<_> = rest.iter().map(|(node, _)| (*node).clone()).collect();
                let numbers: Vec<usize> = nodes.iter().map(|node| self.number(node)).collect();
                for number in &numbers[1..] {
                    self.join(numbers[0], *number);
                }
                let root = self.root(numbers[0]);
                self.empty[root] = self.empty[root].or(empty);
                Found::Class(root)
            }
            Meta::Command | Meta::Event => bail!("a type that is no type: {place:?}"),
        };
        if let Found::List(inner) = &found {
            let (inside, _) = self.look(inner)?;
            ensure!(!matches!(inside, Found::List(_)), "a list of lists is new: {place:?}");
        }
        Ok((found, strings))
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        if one != other {
            let (low, high) = (one.min(other), one.max(other));
            self.parents[high] = low;
            self.empty[low] = self.empty[low].or(self.empty[high]);
            self.joined += 1;
        }
    }

    /// Joins until nothing is left to join: what two joined types have in common are places again.
    fn close(&mut self) -> Result<()> {
        loop {
            let before = (self.joined, self.nodes.len());
            for root in self.roots() {
                for place in self.parts(root)?.into_values() {
                    self.look(&place)?;
                }
            }
            if before == (self.joined, self.nodes.len()) {
                return Ok(());
            }
        }
    }

    fn roots(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|number| self.parents[*number] == *number).collect()
    }

    /// The types of a class.
    fn members(&self, root: usize) -> Vec<(usize, &'a Entry)> {
        let of_class = (0..self.nodes.len()).filter(|number| self.root(*number) == root);
        let mut members: Vec<_> = of_class
            .map(|number| {
                let entry = self.entry(&self.nodes[number]).expect("only entries become nodes");
                (self.nodes[number].0, entry)
            })
            .collect();
        members.sort_by_key(|(recording, _)| *recording);
        members
    }

    /// The places inside a class.
    fn parts(&self, root: usize) -> Result<BTreeMap<Part, Place>> {
        let mut parts: BTreeMap<Part, Place> = BTreeMap::new();
        let mut cases: BTreeMap<&str, Place> = BTreeMap::new();
        for (recording, entry) in self.members(root) {
            for member in &entry.members {
                let part = match entry.meta_type {
                    Meta::Object => Part::Member(member.name.clone()),
                    Meta::Alternate => Part::Arm(self.arm(recording, &member.kind)?),
                    _ => continue,
                };
                parts.entry(part).or_default().insert((recording, member.kind.clone()));
            }
            for variant in &entry.variants {
                cases.entry(&variant.case).or_default().insert((recording, variant.kind.clone()));
            }
        }
        for (case, place) in cases {
            let inner = self.unwrapped(&place)?;
            let part = Part::Case { name: case.to_owned(), wrapped: inner.is_some() };
            parts.insert(part, inner.unwrap_or(place));
        }
        Ok(parts)
    }

    /// The types inside, when all types of the place are objects whose only member is called `data`.
    fn unwrapped(&self, place: &Place) -> Result<Option<Place>> {
        let mut inner = Place::new();
        for node in place {
            let entry = self.entry(node)?;
            match entry.members.as_slice() {
                [only] if only.name == "data" && !only.default && entry.variants.is_empty() => {
                    inner.insert((node.0, only.kind.clone()));
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(inner))
    }

    /// The kind of JSON value that an arm takes.
    fn arm(&self, recording: usize, kind: &str) -> Result<String> {
        let entry = self.entry(&(recording, kind.to_owned()))?;
        Ok(match entry.meta_type {
            Meta::Builtin => entry.name.clone(),
            Meta::Enum => "enum".to_owned(),
            Meta::Array => "list".to_owned(),
            Meta::Object => "object".to_owned(),
            _ => bail!("an arm of a new kind: {kind}"),
        })
    }

    fn inside(&mut self, place: &Place) -> Result<Option<usize>> {
        Ok(match self.look(place)?.0 {
            Found::Class(root) => Some(root),
            Found::List(inner) => self.inside(&inner)?,
            Found::Builtin(_) | Found::Empty => None,
        })
    }
}

/// Finds a name for every class.
fn name(
    classes: &mut Classes<'_>,
    roots: &[(String, Place)],
    names: &Names,
) -> Result<HashMap<usize, String>> {
    let mut edges: HashMap<usize, Vec<Edge>> = HashMap::new();
    for (place, types) in roots {
        if let Some(root) = classes.inside(types)? {
            edges.entry(root).or_default().push(Edge::Root(place.clone()));
        }
    }
    for parent in classes.roots() {
        for (part, place) in classes.parts(parent)? {
            if let Some(root) = classes.inside(&place)? {
                edges.entry(root).or_default().push(Edge::Part(parent, part));
            }
        }
    }
    let mut named: HashMap<usize, String> = HashMap::new();
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    loop {
        let mut progress = false;
        for root in classes.roots() {
            let Some(edges) = edges.get(&root) else { continue };
            if named.contains_key(&root) {
                continue;
            }
            let places: Vec<String> = edges.iter().filter_map(|edge| edge.place(&named)).collect();
            let given: Vec<_> = places.iter().filter_map(|place| names.types.get_key_value(place)).collect();
            let derived = match edges.as_slice() {
                [only] => only.derived(&named),
                _ => None,
            };
            let name = match given.as_slice() {
                [] => derived,
                [(place, name), rest @ ..] => {
                    if !rest.is_empty() {
                        wrong.push(format!("one type has two names: {given:?}"));
                    }
                    if derived.as_ref() == Some(name) {
                        wrong.push(format!("{place} is called {name} without the table"));
                    }
                    used.insert((*place).clone());
                    Some((*name).clone())
                }
            };
            if let Some(name) = name {
                named.insert(root, name);
                progress = true;
            }
        }
        if !progress {
            break;
        }
    }
    for root in classes.roots() {
        // A wrapper that is everywhere seen through is used nowhere.
        if let (None, Some(edges)) = (named.get(&root), edges.get(&root)) {
            let places: Vec<_> = edges.iter().filter_map(|edge| edge.place(&named)).collect();
            if !places.is_empty() {
                wrong.push(format!("no name for {}", places.join(", ")));
            }
        }
    }
    let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
    for name in named.values() {
        *owners.entry(name).or_default() += 1;
    }
    wrong.extend(
        owners
            .iter()
            .filter(|(_, count)| **count > 1)
            .map(|(name, _)| format!("two types are called {name}")),
    );
    if wrong.is_empty() {
        wrong.extend(
            names.types.keys().filter(|place| !used.contains(*place)).map(|p| format!("nothing is at {p}")),
        );
    }
    wrong.sort();
    ensure!(wrong.is_empty(), "names.toml:\n  {}", wrong.join("\n  "));
    Ok(named)
}

/// A place where a class is used.
#[derive(Debug)]
enum Edge {
    Root(String),
    Part(usize, Part),
}

impl Edge {
    fn place(&self, named: &HashMap<usize, String>) -> Option<String> {
        match self {
            Self::Root(place) => Some(place.clone()),
            Self::Part(parent, part) => Some(part.place_in(named.get(parent)?)),
        }
    }

    /// The name of a type that is used here alone.
    fn derived(&self, named: &HashMap<usize, String>) -> Option<String> {
        match self {
            Self::Root(place) => Some(words::of_root(place)),
            Self::Part(parent, part) => Some(format!("{}{}", named.get(parent)?, words::pascal(part.word()))),
        }
    }
}

fn describe(classes: &mut Classes<'_>, named: &HashMap<usize, String>) -> Result<Description> {
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
