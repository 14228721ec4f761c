//! Values for tests: any from a seed, or those whose lengths lie at their limits.

use seeded::Random;

/// What values are made of.
#[derive(Clone, Debug)]
pub struct Sampler {
    random: Random,
    edge: Option<Edge>,
}

/// The way through a value that passes each of its bounded parts once: optional parts are there, lists have one element, and the
/// value of a typed parameter is a text.
#[derive(Clone, Debug, Default)]
struct Edge {
    /// Limits of the bounded parts so far, in the order of the wire.
    limits: Vec<u32>,
    /// Which of them has another length than one, and which.
    chosen: Option<(usize, usize)>,
    /// Inside of elements behind the first of a list, which has been through everything.
    aside: bool,
}

impl Sampler {
    /// The same seed gives the same values.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), edge: None }
    }

    /// Every bounded part has length one, but for the chosen one (counted in the order of the wire).
    pub fn at_edge(chosen: Option<(usize, usize)>) -> Self {
        Self { random: Random::new(0), edge: Some(Edge { chosen, ..Edge::default() }) }
    }

    /// The limits of all bounded parts that were made at the edge.
    pub fn limits(&self) -> &[u32] {
        self.edge.as_ref().map_or(&[], |edge| &edge.limits)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.random.number()
    }

    /// One of so many alternatives; at the edge the last one.
    pub fn choice(&mut self, alternatives: u64) -> usize {
        let chosen = if self.edge.is_some() { alternatives - 1 } else { self.random.below(alternatives) };
        usize::try_from(chosen).expect("few alternatives")
    }

    /// The length of a part that has a limit: usually at most `usual`.
    pub fn length(&mut self, limit: u32, usual: u32) -> usize {
        let Some(edge) = &mut self.edge else {
            let bound = u64::from(limit.min(usual)) + 1;
            return usize::try_from(self.random.below(bound)).expect("a small bound");
        };
        if edge.aside {
            return 0;
        }
        let place = edge.limits.len();
        edge.limits.push(limit);
        edge.chosen.filter(|(chosen, _)| *chosen == place).map_or(1, |(_, length)| length)
    }

    /// The element of a list that stands at `index`.
    pub fn element<T>(&mut self, index: usize, sample: impl Fn(&mut Self) -> T) -> T {
        let before = self.aside(|aside| aside || index > 0);
        let element = sample(self);
        self.aside(|_| before);
        element
    }

    /// Goes aside, or comes back; tells where it was before.
    fn aside(&mut self, change: impl Fn(bool) -> bool) -> bool {
        let Some(edge) = &mut self.edge else { return false };
        let before = edge.aside;
        edge.aside = change(before);
        before
    }

    /// So many bytes, many of them zero, as lengths are.
    pub fn noise(&mut self, length: usize) -> Vec<u8> {
        if self.edge.is_some() {
            return vec![b'x'; length];
        }
        (0..length)
            .map(|_| if self.number().is_multiple_of(3) { self.number().to_le_bytes()[0] } else { 0 })
            .collect()
    }
}
