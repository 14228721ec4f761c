//! The limit of every bounded part of every structure, both ways.

use crate::generated::all::for_each_structure;
use crate::xdr::{self, DecodeError, Flaw, Input, LimitError, Limited, Sampler, Wire};

/// What was encoded, and the limits of its bounded parts as their types have them.
type Written = (Result<Vec<u8>, LimitError>, Vec<u32>);

/// A structure of the table: its name, and its bounded parts with their limits as the description has them.
struct Case {
    name: &'static str,
    bounds: &'static [(&'static str, u32)],
    /// Encodes a value with one part of another length than one.
    write: fn(Option<(usize, usize)>) -> Written,
    /// Decodes, and encodes what came out.
    read: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
    /// Moves over it.
    skip: fn(&[u8]) -> Result<(), DecodeError>,
}

impl Case {
    fn encoded(&self, part: usize, length: usize) -> Vec<u8> {
        let (bytes, _) = (self.write)(Some((part, length)));
        bytes.unwrap_or_else(|error| panic!("{}.{} of {length}: {error}", self.name, self.bounds[part].0))
    }

    /// Both ways of going through the bytes refuse them at the same place for the same reason.
    fn refusal(&self, bytes: &[u8]) -> DecodeError {
        let refused = (self.read)(bytes).expect_err(self.name);
        assert_eq!((self.skip)(bytes), Err(refused), "{}: skip and take differ", self.name);
        refused
    }

    /// Where the word stands that says how long a part is: the first that differs when the part has another length.
    fn length_word(&self, part: usize, one: &[u8]) -> usize {
        let two = self.encoded(part, 2);
        let differs = one.iter().zip(&two).position(|(one, two)| one != two).expect("the lengths differ");
        differs / 4 * 4
    }

    fn check(&self) {
        let (bytes, limits) = (self.write)(None);
        let described: Vec<u32> = self.bounds.iter().map(|(_, limit)| *limit).collect();
        assert_eq!(limits, described, "{}: the types' limits and the description's", self.name);
        let one = bytes.unwrap();
        assert_eq!((self.read)(&one).as_ref(), Ok(&one), "{}", self.name);
        for (part, (field, limit)) in self.bounds.iter().enumerate() {
            let place = format!("{}.{field}", self.name);
            let length = *limit as usize;
            let full = self.encoded(part, length);
            assert!((self.read)(&full).is_ok_and(|again| again == full), "{place}: exactly at its limit");
            assert_eq!((self.skip)(&full), Ok(()), "{place}: exactly at its limit");
            let (beyond, _) = (self.write)(Some((part, length + 1)));
            let refused = LimitError { length: length + 1, limit: *limit, of: Limited::Value };
            assert_eq!(beyond, Err(refused), "{place}");
            // A length that may be, and nothing behind it: what is missing is told, not made room for.
            let word = self.length_word(part, &one);
            let flaw = self.refusal(&full[..word + 4]).flaw;
            assert!(matches!(flaw, Flaw::Truncated { .. }), "{place}: {flaw:?}");
            for length in [limit + 1, u32::MAX] {
                let mut claim = one.clone();
                claim[word..word + 4].copy_from_slice(&length.to_be_bytes());
                let refused = DecodeError { offset: word, flaw: Flaw::TooLong { length, limit: *limit } };
                assert_eq!(self.refusal(&claim), refused, "{place}");
            }
        }
    }
}

fn written<'a, T: Wire<'a>>(chosen: Option<(usize, usize)>) -> Written {
    let mut sampler = Sampler::at_edge(chosen);
    let value = T::sample(&mut sampler);
    (xdr::encode(&value), sampler.limits().to_vec())
}

fn read<'a, T: Wire<'a>>(bytes: &'a [u8]) -> Result<Vec<u8>, DecodeError> {
    xdr::decode::<T>(bytes).map(|value| xdr::encode(&value).expect("what was decoded is within its limits"))
}

fn skip<'a, T: Wire<'a>>(bytes: &'a [u8]) -> Result<(), DecodeError> {
    T::skip(&mut Input::new(bytes))
}

#[test]
fn every_limit_of_every_structure_holds_both_ways() {
    let (mut structures, mut parts) = (0, 0);
    macro_rules! check {
        ($type:ty, $bounds:tt) => {{
            let case = Case {
                name: stringify!($type),
                bounds: &$bounds,
                write: |chosen| written::<$type>(chosen),
                read: |bytes| read::<$type>(bytes),
                skip: |bytes| skip::<$type>(bytes),
            };
            case.check();
            structures += usize::from(!case.bounds.is_empty());
            parts += case.bounds.len();
        }};
    }
    for_each_structure!(check);
    // Counted in the description by themselves: a part that falls out of the table is missed here.
    assert_eq!((structures, parts), (615, 1_096));
}
