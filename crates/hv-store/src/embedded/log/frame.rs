//! The bytes of a segment: a header, then frames, each on a multiple of 8 bytes. Numbers are little-endian.
//!
//! ```text
//!   header   magic [8], incarnation u128, first number u64, revision before u64, salt u64, crc32c u32, zeros up to 64
//!   frame    crc32c u32, payload's length u32, number u64, revision after u64, payload, zeros up to a multiple of 8
//! ```
//!
//! Frames are numbered without gaps through all segments. The checksum of a frame also covers its segment's salt, which is
//! random: what an earlier use of the file has left behind is no frame, nor is anything that a client put into a value.

/// Bytes of a segment's header; the first frame follows.
pub(in super::super) const HEADER_BYTES: u64 = 64;

/// Bytes of a frame in front of its payload.
pub(in super::super) const FRAME_HEADER_BYTES: usize = 24;

const MAGIC: [u8; 8] = *b"hv-log\0\x01";

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The incarnation of the store it belongs to.
    pub(super) incarnation: u128,
    /// The number of its first frame.
    pub(super) first: u64,
    /// The store's revision before its first frame.
    pub(super) revision: u64,
    pub(super) salt: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&self.incarnation.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.revision.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..48]);
        bytes[48..52].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES as usize)?;
        let sound = bytes[..8] == MAGIC && u32_at(bytes, 48)? == crc32c::crc32c(&bytes[..48]);
        sound.then_some(Self {
            incarnation: u128::from(u64_at(bytes, 16)?) << 64 | u128::from(u64_at(bytes, 8)?),
            first: u64_at(bytes, 24)?,
            revision: u64_at(bytes, 32)?,
            salt: u64_at(bytes, 40)?,
        })
    }
}

/// Room for a frame's head; the payload is to be appended to it.
pub(in super::super) fn start(frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(FRAME_HEADER_BYTES, 0);
}

/// Fills in the head of a frame whose payload is complete, and pads it.
pub(super) fn finish(frame: &mut Vec<u8>, salt: u64, number: u64, revision: u64) {
    let length = u32::try_from(frame.len() - FRAME_HEADER_BYTES).expect("groups are bounded in bytes");
    frame[4..8].copy_from_slice(&length.to_le_bytes());
    frame[8..16].copy_from_slice(&number.to_le_bytes());
    frame[16..24].copy_from_slice(&revision.to_le_bytes());
    let crc = checksum(salt, &frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
    frame.resize(frame.len().next_multiple_of(8), 0);
}

/// Bytes that a frame with such a payload takes in its segment.
pub(super) fn span(payload: usize) -> usize {
    (FRAME_HEADER_BYTES + payload).next_multiple_of(8)
}

/// The revision and the payload of frame `number` at the start of `bytes`, if it is whole.
pub(super) fn parse(bytes: &[u8], salt: u64, number: u64) -> Option<(u64, &[u8])> {
    let (found, payload) = peek(bytes)?;
    let whole = bytes.get(..FRAME_HEADER_BYTES + payload)?;
    let sound = found == number && u32_at(bytes, 0)? == checksum(salt, &whole[4..]);
    if !sound {
        return None;
    }
    Some((u64_at(bytes, 16)?, &whole[FRAME_HEADER_BYTES..]))
}

/// The number and the payload's length that the head of a frame claims.
pub(super) fn peek(bytes: &[u8]) -> Option<(u64, usize)> {
    let payload = usize::try_from(u32_at(bytes, 4)?).ok()?;
    let number = u64_at(bytes, 8)?;
    (payload > 0).then_some((number, payload))
}

/// Whether a whole frame with a number above `number` is anywhere in `bytes`: then something before it was damaged after it
/// had been written, since a frame is only written when the one before is durable.
pub(super) fn later_frame(bytes: &[u8], salt: u64, number: u64) -> bool {
    let most = number + bytes.len() as u64 / 8;
    (0..bytes.len()).step_by(8).any(|at| {
        let bytes = &bytes[at..];
        peek(bytes)
            .is_some_and(|(found, _)| found > number && found <= most && parse(bytes, salt, found).is_some())
    })
}

fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8], salt: u64, number: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        start(&mut frame);
        frame.extend_from_slice(payload);
        finish(&mut frame, salt, number, 2 * number);
        frame
    }

    #[test]
    fn a_frame_is_read_back_only_whole_in_its_place_and_under_its_salt() {
        let bytes = frame(b"payload", 7, 3);
        assert_eq!(bytes.len(), span(7));
        assert_eq!(parse(&bytes, 7, 3), Some((6, &b"payload"[..])));
        assert_eq!(parse(&bytes, 8, 3), None);
        assert_eq!(parse(&bytes, 7, 4), None);
        assert_eq!(parse(&bytes[..bytes.len() - 8], 7, 3), None);
        for at in 0..FRAME_HEADER_BYTES + 7 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(parse(&bytes, 7, 3), None, "byte {at}");
        }
        assert_eq!(parse(&[0; 64], 7, 0), None, "empty space is no frame");
    }

    #[test]
    fn a_header_is_read_back_only_whole() {
        let header = Header { incarnation: u128::MAX / 3, first: 5, revision: 9, salt: 11 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for at in 0..52 {
            let mut bytes = bytes;
            bytes[at] ^= 1;
            assert_eq!(Header::decode(&bytes), None, "byte {at}");
        }
    }

    #[test]
    fn frames_behind_a_hole_are_found_and_frames_of_another_life_are_not() {
        let mut bytes = vec![0xff; 24];
        bytes.extend(frame(b"later", 7, 9));
        assert!(later_frame(&bytes, 7, 8));
        assert!(!later_frame(&bytes, 7, 9));
        assert!(!later_frame(&bytes, 6, 8));
    }
}
