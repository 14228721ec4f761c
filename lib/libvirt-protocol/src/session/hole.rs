//! Holes in streams (`virNetStreamHole`): a length in bytes, and flags, of which there are none yet.

use crate::xdr::{self, DecodeError, Wire};

/// What cannot be a hole: whoever passed over it would have everything behind it at another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HoleError {
    /// No hole at all.
    #[error("a hole that cannot be decoded: {0}")]
    Undecodable(DecodeError),
    /// Less than nothing.
    #[error("a hole of {0} bytes")]
    Negative(i64),
    /// With flags, which nobody has given a meaning.
    #[error("a hole with flags {0:#x}, where there are none")]
    Flags(u32),
}

/// A hole of so many bytes, as it travels.
pub(super) fn encode(length: i64) -> Vec<u8> {
    let mut payload = Vec::with_capacity(12);
    length.put(&mut payload);
    0_u32.put(&mut payload);
    payload
}

/// The length of a hole in bytes.
pub(super) fn decode(payload: &[u8]) -> Result<u64, HoleError> {
    let mut input = xdr::Input::new(payload);
    let mut words = || {
        let found = (i64::take(&mut input)?, u32::take(&mut input)?);
        input.finish().map(|()| found)
    };
    match words().map_err(HoleError::Undecodable)? {
        (_, flags) if flags != 0 => Err(HoleError::Flags(flags)),
        (length, _) => u64::try_from(length).map_err(|_| HoleError::Negative(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_hole_is_told_apart() {
        assert_eq!(decode(&encode(4096)), Ok(4096));
        assert_eq!(decode(&encode(-1)), Err(HoleError::Negative(-1)));
        let mut flagged = encode(1);
        flagged[11] = 2;
        assert_eq!(decode(&flagged), Err(HoleError::Flags(2)));
        for length in [0, 4, 11, 13, 16] {
            let payload = vec![0; length];
            assert!(matches!(decode(&payload), Err(HoleError::Undecodable(_))), "{length} bytes");
        }
    }
}
