//! A name for every class of types: that of the table, or that of its only place.

use super::{Classes, Names, Part, Place};
use crate::codegen::qmp::words;
use anyhow::{Result, ensure};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Finds a name for every class.
pub(super) fn name(
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
