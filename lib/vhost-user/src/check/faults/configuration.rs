//! What is wrong with configuration space.

use super::known::Known;
use super::{Deed, Fault, spoil, upon};

/// Bytes before those of the configuration space.
pub(super) const HEAD: usize = 12;

pub(super) fn fault(name: &str) -> Option<Fault> {
    let read = |offset, size, deed| {
        upon("GET_CONFIG", move |_, it| (it.word(0), it.word(1)) == (Some(offset), Some(size)), deed)
    };
    let last_byte = || {
        spoil(|_, answer| {
            if let Some(last) = answer.payload.get_mut(HEAD..).and_then(<[u8]>::last_mut) {
                *last ^= 1;
            }
        })
    };
    // So many bytes as were asked for, wherever they are from.
    let bytes = |count: usize| spoil(move |_, answer| answer.payload = vec![0; HEAD + count]);
    let written = |known: &Known| known.count("SET_CONFIG") > 0;
    Some(match name {
        "whole" => upon(
            "GET_CONFIG",
            move |known, it| {
                let is_whole = it.word(1).is_some_and(|size| size > 16);
                is_whole && known.count("GET_CONFIG") == 0 && !written(known)
            },
            last_byte(),
        ),
        "parts" => read(2, 2, last_byte()),
        "echo" => upon(
            "GET_CONFIG",
            |_, _| true,
            spoil(|_, answer| {
                if let Some(head) = answer.payload.get_mut(..8) {
                    head.fill(0);
                }
            }),
        ),
        "beyond" => read(4092, 4, bytes(4)),
        "far" => read(u32::MAX - 3, 4, bytes(4)),
        "size" => read(0, 200, bytes(200)),
        "write.beyond" => upon("SET_CONFIG", |_, it| it.word(0) == Some(4092), Deed::Acknowledge(0)),
        "write.flags" => upon("SET_CONFIG", |_, it| it.word(2) == Some(0x80), Deed::Acknowledge(0)),
        "write.same" => upon("GET_CONFIG", move |known, _| written(known), last_byte()),
        _ => return None,
    })
}

/// What is wrong with a device's own.
pub(super) fn device(check: &str) -> Option<Fault> {
    (check == "blk.capacity").then(|| {
        // The first eight bytes, in whichever parts they are asked for.
        let none = spoil(|_, answer| {
            let offset = answer.payload.first_chunk().map_or(0, |it| u32::from_ne_bytes(*it));
            let here = 8_usize.saturating_sub(offset as usize);
            answer.payload.iter_mut().skip(HEAD).take(here).for_each(|byte| *byte = 0);
        });
        upon("GET_CONFIG", |_, _| true, none)
    })
}
