//! Names that are said by hand, many at once.

/// Whether a name is what a pattern with `*` means.
#[must_use]
pub fn is_like(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).any(|at| tail.is_char_boundary(at) && is_like(&tail[at..], rest))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_what_lies_between_its_stars() {
        assert!(is_like("remote.domain_save X_PAUSED", "remote.domain_save* *_PAUSED"));
        assert!(is_like("a", "*") && is_like("a", "a") && !is_like("a", "b") && !is_like("ab", "a"));
        assert!(!is_like("remote.domain_save X_RUNNING", "remote.domain_save* *_PAUSED"));
    }
}
