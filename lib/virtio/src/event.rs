//! When the other side wants to hear of what was published.

/// Whether somebody who asked to be told at `event` must be told, now that an index went from `old` to `new` (section 2.7.7.2). All three
/// count modulo 2^16.
///
/// ```
/// use virtio::event::passed;
/// assert!(passed(3, 4, 3), "the entry at 3 was published");
/// assert!(!passed(4, 4, 3), "the one at 4 was not");
/// assert!(passed(65535, 2, 65530), "across the end of the count");
/// ```
#[inline]
pub const fn passed(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::passed;
    use proptest::prelude::*;

    proptest! {
        /// The formula against what it means: one of the published entries is the one that was asked for.
        #[test]
        fn told_exactly_when_the_entry_is_among_the_published(event: u16, old: u16, count in 0..3000_u16) {
            let among = (0..count).any(|i| old.wrapping_add(i) == event);
            prop_assert_eq!(passed(event, old.wrapping_add(count), old), among);
        }
    }
}
