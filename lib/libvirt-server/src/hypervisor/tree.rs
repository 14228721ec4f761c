//! Snapshots and checkpoints of a domain: a forest in which every name occurs once and one may be current.

/// A forest of named items, in the order in which they came.
#[derive(Clone, Debug)]
pub(super) struct Tree<T> {
    nodes: Vec<Node<T>>,
    current: Option<String>,
}

/// An item and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node<T> {
    pub(super) name: String,
    pub(super) parent: Option<String>,
    pub(super) item: T,
}

/// What of a branch is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Branch {
    /// The item; its children take its place.
    Item,
    /// The item and all below it.
    Whole,
    /// All below the item.
    Below,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { nodes: Vec::new(), current: None }
    }
}

impl<T> Tree<T> {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node<T>> {
        self.nodes.iter()
    }

    pub(super) fn find(&self, name: &str) -> Option<&Node<T>> {
        self.nodes.iter().find(|node| node.name == name)
    }

    pub(super) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    pub(super) fn set_current(&mut self, name: &str) {
        self.current = Some(name.to_owned());
    }

    /// Adds an item below the current one, and makes it current.
    pub(super) fn add(&mut self, name: &str, item: T) {
        let parent = self.current.replace(name.to_owned());
        self.nodes.push(Node { name: name.to_owned(), parent, item });
    }

    /// Adds an item below another, or none; the current one stays.
    pub(super) fn add_below(&mut self, name: &str, parent: Option<&str>, item: T) {
        self.nodes.push(Node { name: name.to_owned(), parent: parent.map(str::to_owned), item });
    }

    pub(super) fn is_leaf(&self, name: &str) -> bool {
        self.nodes.iter().all(|node| node.parent.as_deref() != Some(name))
    }

    /// Whether an item stands below another.
    pub(super) fn is_below(&self, node: &Node<T>, ancestor: &str) -> bool {
        let mut parent = node.parent.as_deref();
        while let Some(name) = parent {
            if name == ancestor {
                return true;
            }
            parent = self.find(name).and_then(|node| node.parent.as_deref());
        }
        false
    }

    /// Removes an item, or what stands below it, or both. If the current one goes, its nearest ancestor that stays is current.
    pub(super) fn remove(&mut self, name: &str, branch: Branch) {
        let parent = self.find(name).and_then(|node| node.parent.clone());
        let doomed: Vec<String> = self
            .nodes
            .iter()
            .filter(|node| match branch {
                Branch::Item => node.name == name,
                Branch::Whole => node.name == name || self.is_below(node, name),
                Branch::Below => self.is_below(node, name),
            })
            .map(|node| node.name.clone())
            .collect();
        self.nodes.retain(|node| !doomed.contains(&node.name));
        if branch == Branch::Item {
            for node in self.nodes.iter_mut().filter(|node| node.parent.as_deref() == Some(name)) {
                node.parent.clone_from(&parent);
            }
        }
        if self.current.as_ref().is_some_and(|current| doomed.contains(current)) {
            self.current = match branch {
                Branch::Below => Some(name.to_owned()),
                Branch::Item | Branch::Whole => parent,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree<()> {
        let mut tree = Tree::default();
        ["a", "b", "c"].iter().for_each(|name| tree.add(name, ()));
        tree.set_current("a");
        tree.add("d", ());
        tree
    }

    fn names(tree: &Tree<()>) -> Vec<(&str, Option<&str>)> {
        tree.iter().map(|node| (node.name.as_str(), node.parent.as_deref())).collect()
    }

    #[test]
    fn what_is_removed_leaves_no_child_behind() {
        let all = [("a", None), ("b", Some("a")), ("c", Some("b")), ("d", Some("a"))];
        assert_eq!(names(&tree()), all);
        let mut one = tree();
        one.remove("b", Branch::Item);
        assert_eq!(names(&one), [("a", None), ("c", Some("a")), ("d", Some("a"))]);
        assert_eq!(one.current(), Some("d"));
        let mut below = tree();
        below.remove("a", Branch::Below);
        assert_eq!((names(&below), below.current()), (vec![("a", None)], Some("a")));
        let mut whole = tree();
        whole.remove("a", Branch::Whole);
        assert_eq!((whole.len(), whole.current()), (0, None));
    }
}
