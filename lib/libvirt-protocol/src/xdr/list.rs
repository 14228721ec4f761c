//! Lists with a limit.

use super::{DecodeError, Flaw, Input, IntoOwned, LimitError, Wire, put_length, within};
use std::borrow::Cow;
use std::fmt;

/// At most `MAX` values.
///
/// A list that came out of a message stays encoded: it has been checked, and is decoded element by element while it is iterated.
/// A list to be sent is made from a slice or a vector.
///
/// ```
/// use libvirt_protocol::xdr::{self, List};
/// let pages: List<'_, u32, 8> = [4, 2048].as_slice().into();
/// let bytes = xdr::encode(&pages).unwrap();
/// let back: List<'_, u32, 8> = xdr::decode(&bytes).unwrap();
/// assert_eq!(back.iter().collect::<Vec<_>>(), [4, 2048]);
/// ```
#[derive(Clone)]
pub struct List<'a, T: Clone, const MAX: u32>(Held<'a, T>);

#[derive(Clone)]
enum Held<'a, T: Clone> {
    /// `count` elements, known to be well-formed.
    Encoded {
        count: usize,
        bytes: &'a [u8],
    },
    Values(Cow<'a, [T]>),
}

impl<'a, T: Wire<'a> + Clone, const MAX: u32> List<'a, T, MAX> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Held::Encoded { count, .. } => *count,
            Held::Values(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One after the other.
    #[must_use]
    pub fn iter(&self) -> ListIter<'a, '_, T> {
        ListIter(match &self.0 {
            Held::Encoded { bytes, count } => Source::Encoded { input: Input::new(bytes), left: *count },
            Held::Values(values) => Source::Values(values.iter()),
        })
    }

    /// All of them as they travel, one after the other, without the number of them in front.
    #[must_use]
    pub fn encoded(&self) -> Cow<'_, [u8]> {
        match &self.0 {
            Held::Encoded { bytes, .. } => Cow::Borrowed(bytes),
            Held::Values(values) => {
                let mut out = Vec::new();
                values.iter().for_each(|value| value.put(&mut out));
                Cow::Owned(out)
            }
        }
    }

    /// All of them.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        match self.0 {
            Held::Values(values) => values.into_owned(),
            encoded @ Held::Encoded { .. } => Self(encoded).iter().collect(),
        }
    }
}

impl<T: Clone, const MAX: u32> Default for List<'_, T, MAX> {
    fn default() -> Self {
        Self(Held::Values(Cow::Owned(Vec::new())))
    }
}

impl<T: Clone, const MAX: u32> From<Vec<T>> for List<'_, T, MAX> {
    fn from(values: Vec<T>) -> Self {
        Self(Held::Values(Cow::Owned(values)))
    }
}

impl<'a, T: Clone, const MAX: u32> From<&'a [T]> for List<'a, T, MAX> {
    fn from(values: &'a [T]) -> Self {
        Self(Held::Values(Cow::Borrowed(values)))
    }
}

impl<T: Clone, const MAX: u32> FromIterator<T> for List<'_, T, MAX> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(Held::Values(Cow::Owned(values.into_iter().collect())))
    }
}

/// Lists are equal when their elements are, encoded or not.
impl<'a, T: Wire<'a> + Clone + PartialEq, const MAX: u32> PartialEq for List<'a, T, MAX> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a, T: Wire<'a> + Clone + fmt::Debug, const MAX: u32> fmt::Debug for List<'a, T, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T, const MAX: u32> IntoOwned for List<'a, T, MAX>
where
    T: Wire<'a> + Clone + IntoOwned<Owned: Clone>,
{
    type Owned = List<'static, T::Owned, MAX>;

    fn into_owned(self) -> Self::Owned {
        self.into_vec().into_iter().map(T::into_owned).collect()
    }
}

impl<'a, T: Wire<'a> + Clone, const MAX: u32> Wire<'a> for List<'a, T, MAX> {
    const MIN: usize = 4;

    fn measure(&self) -> Result<usize, LimitError> {
        within(self.len(), MAX)?;
        match &self.0 {
            Held::Encoded { bytes, .. } => Ok(4 + bytes.len()),
            Held::Values(values) => values.iter().try_fold(4, |sum, value| Ok(sum + value.measure()?)),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        match &self.0 {
            Held::Encoded { bytes, .. } => out.extend_from_slice(bytes),
            Held::Values(values) => values.iter().for_each(|value| value.put(out)),
        }
    }

    fn take(input: &mut Input<'a>) -> Result<Self, DecodeError> {
        let count = input.length(MAX)?;
        // Refused before the walk, so that a short message cannot make it long.
        if count * T::MIN > input.rest.len() {
            return Err(input.error(Flaw::Truncated { wanted: count * T::MIN, left: input.rest.len() }));
        }
        let start = input.rest;
        for _ in 0..count {
            T::skip(input)?;
        }
        let bytes = &start[..start.len() - input.rest.len()];
        Ok(Self(Held::Encoded { count, bytes }))
    }

    #[cfg(test)]
    fn sample(sampler: &mut super::Sampler) -> Self {
        let length = sampler.length(MAX, 3);
        (0..length).map(|index| sampler.element(index, T::sample)).collect()
    }
}

/// Iterates over a [`List`].
#[derive(Clone)]
pub struct ListIter<'a, 'l, T>(Source<'a, 'l, T>);

#[derive(Clone)]
enum Source<'a, 'l, T> {
    Encoded { input: Input<'a>, left: usize },
    Values(std::slice::Iter<'l, T>),
}

impl<T> fmt::Debug for ListIter<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListIter")
    }
}

impl<'a, T: Wire<'a> + Clone> Iterator for ListIter<'a, '_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Source::Encoded { left: 0, .. } => None,
            Source::Encoded { input, left } => {
                *left -= 1;
                Some(T::take(input).expect("the list was checked when it was taken from its message"))
            }
            Source::Values(values) => values.next().cloned(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Source::Encoded { left, .. } => *left,
            Source::Values(values) => values.len(),
        };
        (left, Some(left))
    }
}

impl<'a, T: Wire<'a> + Clone> ExactSizeIterator for ListIter<'a, '_, T> {}
