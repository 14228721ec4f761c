//! What pictures show, pixel by pixel.

use flate2::read::ZlibDecoder;
use std::io::Read;

/// Width and height, and the pixels from the top left on.
pub(crate) type Pixels = ([usize; 2], Vec<[u8; 3]>);

/// A portable pixmap of 8 bits.
pub(crate) fn ppm(bytes: &[u8]) -> Pixels {
    let (head, rest) = bytes.split_at(bytes.windows(4).position(|end| end == b"255\n").unwrap() + 4);
    let head = std::str::from_utf8(head).unwrap();
    let words: Vec<&str> = head.split_ascii_whitespace().collect();
    let ["P6", width, height, "255"] = words[..] else { panic!("{head}") };
    pixels([width, height].map(|number| number.parse().unwrap()), rest)
}

/// A PNG of 8 bits a colour, in colours, not interlaced (ISO/IEC 15948).
pub(crate) fn png(bytes: &[u8]) -> Pixels {
    let mut rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap();
    let (mut header, mut packed, mut is_whole) = (None, Vec::new(), false);
    // Length, type, data, checksum (5.3).
    while let [a, b, c, d, kind @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (kind, data) = kind.split_at(4);
        let (data, after) = data.split_at(length);
        match kind {
            b"IHDR" => header = Some(data),
            b"IDAT" => packed.extend_from_slice(data),
            b"IEND" => is_whole = true,
            _ => {}
        }
        rest = &after[4..];
    }
    assert!(is_whole && rest.is_empty());
    // Width, height, depth, colours, compression, filters, interlace (11.2.2).
    let [size @ .., 8, 2, 0, 0, 0] = header.unwrap() else { panic!("{header:?}") };
    let number = |at: usize| u32::from_be_bytes(size[at..at + 4].try_into().unwrap()) as usize;
    let [width, height] = [number(0), number(4)];
    let mut filtered = Vec::new();
    ZlibDecoder::new(&packed[..]).read_to_end(&mut filtered).unwrap();
    let line = width * 3;
    assert_eq!(filtered.len(), (line + 1) * height);
    let mut plain: Vec<u8> = Vec::new();
    for (row, filtered) in filtered.chunks(line + 1).enumerate() {
        let (filter, filtered) = filtered.split_first().unwrap();
        for (column, byte) in filtered.iter().enumerate() {
            let here = row * line + column;
            let left = if column < 3 { 0 } else { plain[here - 3] };
            let above = if row == 0 { 0 } else { plain[here - line] };
            let corner = if row == 0 || column < 3 { 0 } else { plain[here - line - 3] };
            // What was taken off (9.2).
            let guess = match filter {
                0 => 0,
                1 => left,
                2 => above,
                3 => u8::midpoint(left, above),
                4 => nearest(left, above, corner),
                _ => panic!("filter {filter}"),
            };
            plain.push(byte.wrapping_add(guess));
        }
    }
    pixels([width, height], &plain)
}

/// Of three neighbours the one that is nearest to where they point (Paeth, 9.4).
fn nearest(left: u8, above: u8, corner: u8) -> u8 {
    let aim = i16::from(left) + i16::from(above) - i16::from(corner);
    let far = |it: u8| (aim - i16::from(it)).abs();
    [left, above, corner].into_iter().min_by_key(|it| far(*it)).unwrap()
}

fn pixels([width, height]: [usize; 2], bytes: &[u8]) -> Pixels {
    assert_eq!(bytes.len(), width * height * 3, "{width} by {height}");
    ([width, height], bytes.chunks(3).map(|pixel| pixel.try_into().unwrap()).collect())
}
