//! From recorded schemas to one description.
//!
//! Introspection hides the names of types, so two recordings have nothing in common but commands, events and members. A place is
//! what is reached from a command on the same way in every recording (`query-status=`, then `.status`); the types found at one
//! place are one type, and so are then the types of their members. What is left are classes of types, each of which gets a name:
//! of the table where it is used at several places, else of its only place.

mod describing;
mod naming;

use super::model::{At, BUILTIN, Description, Names, RECORDINGS};
use super::recording::{Entry, Meta, Schema};
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
    let named = naming::name(&mut classes, &roots, names)?;
    describing::describe(&mut classes, &named)
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
