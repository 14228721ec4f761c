//! What is wrong with messages.

use super::known::Heard;
use super::{Aftermath, Deed, End, Fault, at_end, spoil, upon, when};
use crate::wire::PayloadError;

pub(super) fn fault(name: &str) -> Option<Fault> {
    let features = |numbers: &'static [u32], deed| {
        upon("GET_FEATURES", move |known, _| known.numbers() == numbers, deed)
    };
    Some(match name {
        "answer.flags" => upon("GET_FEATURES", |_, it| it.asks(), spoil(|_, answer| answer.flags |= 1 << 3)),
        "answer.size" => features(
            &[1],
            spoil(|_, answer| answer.descriptors.extend(std::fs::File::open("/dev/null").map(Into::into))),
        ),
        "pieces.header" => when(|_, it| it.header_in_pieces, Deed::Close),
        "pieces.payload" => when(|_, it| it.payload_in_pieces, Deed::Close),
        "pipelined" => features(&[1, 3], Deed::Close),
        "pressure" => upon(
            "GET_FEATURES",
            |known, _| known.count("GET_FEATURES") == 150 && known.numbers().len() == 150,
            Deed::Close,
        ),
        "half-close" => features(&[1], Deed::CloseIfEnded),
        "reply-flag" => when(|_, it| it.flags & 1 << 2 != 0, Deed::Answer(0)),
        "unknown.plain" => when(|_, it| it.number == 200 && !it.asks(), Deed::Answer(1)),
        "unknown.acknowledged" => when(|_, it| it.number == 200 && it.asks(), Deed::Answer(0)),
        "unknown.zero" => when(|_, it| it.number == 0, Deed::Answer(0)),
        "end.every-byte" => at_end(|_, end| end == End::Within, Aftermath::Die),
        "descriptors.many" => when(|_, it| it.descriptors.len() == 8 && it.asks(), Deed::Answer(0)),
        "descriptors.late" => when(|_, it| it.late, Deed::Die).alone(),
        _ => return family(name),
    })
}

/// Checks of which there are several.
fn family(name: &str) -> Option<Fault> {
    let (kind, which) = name.split_once('.')?;
    let which = which.to_owned();
    let number = which.parse::<u32>();
    Some(match (kind, number) {
        ("version", Ok(version)) => when(move |_, it| it.flags & 3 == version, Deed::Answer(0)),
        ("reserved", Ok(bit)) => when(move |_, it| it.flags & 1 << bit != 0, Deed::Answer(0)),
        ("size", Ok(size)) => when(move |_, it| it.announced == size, Deed::Answer(0)),
        ("short", _) => when(
            move |_, it| {
                let is_whole = it.payload.len() == it.announced as usize;
                is_whole && it.is(&which) && matches!(it.request(), Err(PayloadError::Short { .. }))
            },
            Deed::Answer(0),
        ),
        ("long", _) => when(
            move |_, it| it.is(&which) && matches!(it.request(), Err(PayloadError::Long { .. })),
            Deed::Answer(0),
        ),
        // One that refuses may keep what came with it all the same.
        ("stray", _) if which == "SET_VRING_BASE" => {
            upon("SET_VRING_BASE", |_, it| is_stray(it), Deed::RefuseAndKeep)
        }
        ("stray", _) => when(move |_, it| it.is(&which) && is_stray(it), Deed::Answer(0)),
        _ => return None,
    })
}

/// It comes with a descriptor, and takes none.
fn is_stray(it: &Heard) -> bool {
    use crate::wire::Message as _;
    let facts = crate::front::Request::facts_of(it.number);
    facts.is_some_and(|facts| facts.descriptors == (0, 0)) && !it.descriptors.is_empty()
}
