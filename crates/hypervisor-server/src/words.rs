//! Lists in messages for people.

/// Names that a message shows.
const SHOWN: usize = 5;

/// The first few, and how many more there are; `None` of none.
pub(crate) fn first_few(all: impl IntoIterator<Item = impl Into<String>>, separator: &str) -> Option<String> {
    let mut all = all.into_iter().map(Into::into);
    let shown: Vec<String> = all.by_ref().take(SHOWN).collect();
    let shown = (!shown.is_empty()).then(|| shown.join(separator))?;
    Some(match all.count() {
        0 => shown,
        more => format!("{shown}{separator}and {more} more"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_named_and_the_rest_counted() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(first_few(names[..0].iter().copied(), ", ").as_deref(), None);
        assert_eq!(first_few(names[..2].iter().copied(), ", ").as_deref(), Some("a, b"));
        assert_eq!(first_few(names[..5].iter().copied(), ", ").as_deref(), Some("a, b, c, d, e"));
        assert_eq!(first_few(names, "; ").as_deref(), Some("a; b; c; d; e; and 2 more"));
    }
}
