//! What a driver leaves to the device: the checksum of a frame, and cutting it into segments (section 5.1.6.2).

use super::{Header, NEEDS_CHECKSUM};
use alloc::vec::Vec;
use thiserror::Error;

/// Of [`Header::segmentation`]: TCP over IPv4.
pub const SEGMENTS_TCP4: u8 = 1;
/// Of [`Header::segmentation`]: TCP over IPv6.
pub const SEGMENTS_TCP6: u8 = 4;
/// Of [`Header::segmentation`]: with congestion marks.
const MARKS: u8 = 0x80;

/// Most segments of a frame: those of the longest are then as short as the shortest that Linux makes.
const MOST_SEGMENTS: usize = 2048;

/// Nothing can be made of a frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfinished {
    /// The checksum, or what it is of, lies outside.
    #[error("the checksum lies outside of the frame")]
    Checksum,
    /// It is to be cut into segments, and not such a packet, or one that is longer than what is known of it.
    #[error("the frame cannot be cut into segments")]
    Segments,
}

/// Does what is left to be done, and gives every frame that comes of it.
///
/// # Errors
/// [`Unfinished`]; nothing was given.
pub fn finish(header: &Header, frame: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), Unfinished> {
    let is_unfinished = header.flags & NEEDS_CHECKSUM != 0;
    match header.segmentation & !MARKS {
        0 if is_unfinished => {
            let mut whole = Vec::from(frame);
            let from = usize::from(header.checksum_start);
            let place = from + usize::from(header.checksum_offset);
            if place + 2 > whole.len() {
                return Err(Unfinished::Checksum);
            }
            // What stands there is the sum of what is no part of the frame.
            fill(&mut whole, place, from, 0);
            each(&whole);
        }
        0 => each(frame),
        SEGMENTS_TCP4 | SEGMENTS_TCP6 if is_unfinished => {
            let cut = Cut::of(header, frame).ok_or(Unfinished::Segments)?;
            cut.each(frame, &mut each);
        }
        _ => return Err(Unfinished::Segments),
    }
    Ok(())
}

/// Where the parts of a packet are that is to be cut.
struct Cut {
    is_v6: bool,
    ip: usize,
    tcp: usize,
    content: usize,
    segment: usize,
}

/// Flags of a segment that only the last of several has (RFC 9293), and that only the first has (RFC 3168).
const FIN_PSH: u8 = 1 | 8;
const CWR: u8 = 0x80;

impl Cut {
    fn of(header: &Header, frame: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
        // Behind the addresses, and any tags of VLANs.
        let mut kind = 12;
        while matches!(number(kind)?, 0x8100 | 0x88a8) {
            kind += 4;
        }
        let ip = kind + 2;
        let tcp = usize::from(header.checksum_start);
        let is_v6 = header.segmentation & !MARKS == SEGMENTS_TCP6;
        let first = *frame.get(ip)?;
        let (expected, behind, protocol) =
            if is_v6 { (0x86dd, 40, ip + 6) } else { (0x0800, usize::from(first & 15) * 4, ip + 9) };
        let is_it = number(kind)? == expected && first >> 4 == if is_v6 { 6 } else { 4 } && behind >= 20;
        let is_tcp = *frame.get(protocol)? == 6 && tcp == ip + behind && header.checksum_offset == 16;
        let words = usize::from(*frame.get(tcp + 12)? >> 4);
        let content = tcp + words * 4;
        let segment = usize::from(header.segment_bytes);
        let bytes = frame.len().checked_sub(content)?;
        // The length of a packet is said by 16 bits.
        let is_said = content.checked_sub(ip)? + bytes.min(segment) <= usize::from(u16::MAX);
        let fits = words >= 5 && segment > 0 && bytes.div_ceil(segment) <= MOST_SEGMENTS && is_said;
        (is_it && is_tcp && fits).then_some(Self { is_v6, ip, tcp, content, segment })
    }

    fn each(&self, frame: &[u8], each: &mut impl FnMut(&[u8])) {
        let Self { is_v6, ip, tcp, content, segment } = *self;
        let (head, all) = frame.split_at(content);
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let first = number(tcp + 4);
        let name = u16::from_be_bytes([head[ip + 4], head[ip + 5]]);
        let count = all.len().div_ceil(segment).max(1);
        let mut one = Vec::with_capacity(content + segment);
        for index in 0..count {
            let from = index * segment;
            let bytes = &all[from..all.len().min(from + segment)];
            one.clear();
            one.extend_from_slice(head);
            one.extend_from_slice(bytes);
            let mut set = |at: usize, value: &[u8]| one[at..at + value.len()].copy_from_slice(value);
            let length = (content - ip + bytes.len()) as u16;
            if is_v6 {
                set(ip + 4, &length.saturating_sub(40).to_be_bytes());
            } else {
                set(ip + 2, &length.to_be_bytes());
                set(ip + 4, &name.wrapping_add(index as u16).to_be_bytes());
            }
            set(tcp + 4, &first.wrapping_add(from as u32).to_be_bytes());
            let mut flags = head[tcp + 13];
            if index + 1 < count {
                flags &= !FIN_PSH;
            }
            if index > 0 {
                flags &= !CWR;
            }
            set(tcp + 13, &[flags]);
            set(tcp + 16, &[0; 2]);
            let addresses = if is_v6 { ip + 8..ip + 40 } else { ip + 12..ip + 20 };
            if !is_v6 {
                set(ip + 10, &[0; 2]);
                let check = !folded(sum(&one[ip..tcp]));
                one[ip + 10..ip + 12].copy_from_slice(&check.to_be_bytes());
            }
            let pseudo = sum(&one[addresses]) + 6 + (one.len() - tcp) as u32;
            fill(&mut one, tcp + 16, tcp, pseudo);
            each(&one);
        }
    }
}

/// The checksum of what is from `from` on, and of what sums up to `beside`.
fn fill(frame: &mut [u8], place: usize, from: usize, beside: u32) {
    let check = !folded(sum(&frame[from..]) + beside);
    // Nothing is no checksum (RFC 768), and the same number otherwise.
    let check = if check == 0 { u16::MAX } else { check };
    frame[place..place + 2].copy_from_slice(&check.to_be_bytes());
}

/// The sum of words, the last with a zero behind it where a byte is left (RFC 1071): of 64 KiB it fits.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|two| u16::from_be_bytes([two[0], two.get(1).copied().unwrap_or(0)]));
    u32::from(folded64(words.map(u64::from).sum()))
}

const fn folded(sum: u32) -> u16 {
    folded64(sum as u64)
}

const fn folded64(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// A frame of TCP whose checksum is left to the device, with tags of VLANs before the packet.
    fn tcp(is_v6: bool, tags: usize, content: &[u8]) -> (Header, Vec<u8>) {
        let mut frame = vec![2; 12];
        frame.extend([0x81, 0, 0, 7].repeat(tags));
        let length = (20 + content.len()) as u16;
        let pseudo = if is_v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([6, 64]);
            frame.extend(0..32);
            sum(&frame[frame.len() - 32..])
        } else {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((20 + length).to_be_bytes());
            frame.extend([0xff, 0xff, 0, 0, 64, 6, 0, 0, 10, 77, 0, 2, 10, 77, 0, 1]);
            sum(&frame[frame.len() - 8..])
        };
        let start = frame.len();
        frame.extend([0, 7, 0, 9, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 0, 5 << 4, 0x19 | CWR, 1, 1]);
        frame.extend(folded(pseudo + 6 + u32::from(length)).to_be_bytes());
        frame.extend([0; 2]);
        frame.extend(content);
        let header = Header {
            flags: NEEDS_CHECKSUM,
            checksum_start: start as u16,
            checksum_offset: 16,
            ..Header::default()
        };
        (header, frame)
    }

    fn finished(header: &Header, frame: &[u8]) -> Result<Vec<Vec<u8>>, Unfinished> {
        let mut all = Vec::new();
        finish(header, frame, |one| all.push(Vec::from(one)))?;
        Ok(all)
    }

    /// Whoever receives it sums up everything, and has all ones.
    fn is_right(frame: &[u8], is_v6: bool, ip: usize, tcp: usize) -> bool {
        let addresses = if is_v6 { ip + 8..ip + 40 } else { ip + 12..ip + 20 };
        let pseudo = sum(&frame[addresses]) + 6 + (frame.len() - tcp) as u32;
        let of_packet = is_v6 || folded(sum(&frame[ip..tcp])) == 0xffff;
        of_packet && folded(pseudo + sum(&frame[tcp..])) == 0xffff
    }

    #[test]
    fn a_checksum_is_filled_in() {
        for content in [&b""[..], b"odd", b"even"] {
            let (header, frame) = tcp(true, 0, content);
            let [one] = finished(&header, &frame).unwrap().try_into().unwrap();
            assert!(is_right(&one, true, 14, 54));
            assert_eq!((&one[..70], &one[74..]), (&frame[..70], &frame[74..]));
        }
        assert_eq!(finished(&Header::default(), b"whole"), Ok(vec![b"whole".to_vec()]));
        for (start, offset) in [(10, 0), (0, 9), (u16::MAX, u16::MAX)] {
            let header = Header {
                flags: NEEDS_CHECKSUM,
                checksum_start: start,
                checksum_offset: offset,
                ..Header::default()
            };
            assert_eq!(finished(&header, &[0; 10]), Err(Unfinished::Checksum), "{start}, {offset}");
        }
    }

    #[test]
    fn segments_are_whole_packets_and_together_what_was_sent() {
        let content: Vec<u8> = (0..5000_u32).map(|at| (at / 3) as u8).collect();
        for (is_v6, kind) in [(false, SEGMENTS_TCP4), (true, SEGMENTS_TCP6)] {
            for (tags, marks) in [(0, 0), (1, MARKS), (2, 0)] {
                let (header, frame) = tcp(is_v6, tags, &content);
                let header = Header { segmentation: kind | marks, segment_bytes: 1400, ..header };
                let all = finished(&header, &frame).unwrap();
                let (ip, tcp) = (14 + 4 * tags, usize::from(header.checksum_start));
                let mut came = Vec::new();
                for (index, one) in all.iter().enumerate() {
                    assert!(is_right(one, is_v6, ip, tcp), "segment {index}");
                    let length = u16::from_be_bytes([one[ip + 2], one[ip + 3]]);
                    let length6 = u16::from_be_bytes([one[ip + 4], one[ip + 5]]);
                    let (said, is) = if is_v6 { (length6, tcp) } else { (length, ip) };
                    assert_eq!(usize::from(said), one.len() - is);
                    if !is_v6 {
                        assert_eq!(length6, 0xffff_u16.wrapping_add(index as u16), "its name");
                    }
                    let number = u32::from_be_bytes([one[tcp + 4], one[tcp + 5], one[tcp + 6], one[tcp + 7]]);
                    assert_eq!(number, 0xffff_fff0_u32.wrapping_add(came.len() as u32));
                    let marks = if index == 0 { CWR } else { 0 };
                    let ends = if index + 1 == all.len() { FIN_PSH } else { 0 };
                    assert_eq!(one[tcp + 13], 0x10 | marks | ends);
                    came.extend_from_slice(&one[tcp + 20..]);
                }
                assert_eq!((all.len(), came == content), (4, true));
            }
        }
    }

    #[test]
    fn what_is_no_packet_is_not_cut() {
        let (header, frame) = tcp(false, 0, &[7; 4000]);
        let many = Header { segmentation: SEGMENTS_TCP4, segment_bytes: 1000, ..header };
        assert_eq!(finished(&many, &frame).unwrap().len(), 4);
        let wrong = [
            Header { segment_bytes: 0, ..many },
            Header { segment_bytes: 1, ..many },
            Header { segmentation: SEGMENTS_TCP6, ..many },
            Header { segmentation: 3, ..many },
            Header { segmentation: 5, ..many },
            Header { flags: 0, ..many },
            Header { checksum_start: 35, ..many },
            Header { checksum_start: u16::MAX, ..many },
            Header { checksum_offset: 6, ..many },
        ];
        for header in wrong {
            assert_eq!(finished(&header, &frame), Err(Unfinished::Segments), "{header:?}");
        }
        // Wherever the driver says that something lies.
        for (is_v6, kind) in [(false, SEGMENTS_TCP4), (true, SEGMENTS_TCP6)] {
            let (right, frame) = tcp(is_v6, 0, &[7; 4000]);
            for start in (0..120).chain(3990..4100).chain([u16::MAX - 1, u16::MAX]) {
                for offset in [0, 15, 16, 17, u16::MAX] {
                    let (segmentation, segment_bytes) = (kind, 1000);
                    let header = Header { segmentation, segment_bytes, checksum_start: start, ..right };
                    let header = Header { checksum_offset: offset, ..header };
                    let is_right = (start, offset) == (right.checksum_start, 16);
                    assert_eq!(finished(&header, &frame).is_ok(), is_right, "{header:?}");
                }
            }
        }
        // However much of it is there, and whatever is changed in it, nobody reaches beyond it.
        for end in 0..60.min(frame.len()) {
            let _ = finished(&many, &frame[..end]);
        }
        for at in 0..54 {
            for bit in 0..8 {
                let mut other = frame.clone();
                other[at] ^= 1 << bit;
                let _ = finished(&many, &other);
            }
        }
    }
}
