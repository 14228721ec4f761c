//! Every structure, encoded and decoded.

mod limits;

use crate::generated::all::for_each_structure;
use crate::xdr::{self, DecodeError, Flaw, Input, LimitError, Limited, Sampler, Text, Wire};

/// Encodes samples of a type, decodes them, and demands the same value and the same bytes; then cuts the bytes at every place.
fn round_trip<T: Wire<'static> + PartialEq + std::fmt::Debug>(name: &str) {
    for seed in 0..24 {
        let sample = T::sample(&mut Sampler::new(seed));
        // Leaked, so that one type stands for the sample and for what borrows from its bytes.
        let bytes: &'static [u8] = xdr::encode(&sample).unwrap().leak();
        assert_eq!(bytes.len(), sample.measure().unwrap(), "{name}, seed {seed}");
        assert!(bytes.len() >= T::MIN, "{name}");
        let back = xdr::decode::<T>(bytes).unwrap_or_else(|error| panic!("{name}, seed {seed}: {error}"));
        assert_eq!(back, sample, "{name}, seed {seed}");
        assert_eq!(xdr::encode(&back).unwrap(), bytes, "{name}, seed {seed}");
        let mut input = Input::new(bytes);
        T::skip(&mut input).unwrap();
        assert_eq!(input.rest(), b"", "{name}: skip and take differ");
        for cut in 0..bytes.len() {
            assert!(xdr::decode::<T>(&bytes[..cut]).is_err(), "{name} from {cut} of {} bytes", bytes.len());
        }
    }
}

/// Whatever comes of bytes that are no encoding: no panic, no loop.
fn any_bytes<T: Wire<'static>>() {
    for seed in 0..8 {
        let noise = Sampler::new(seed).noise(200).leak();
        let _ = xdr::decode::<T>(noise);
    }
}

#[test]
fn every_structure_comes_back_as_it_went_and_any_bytes_are_decoded_or_refused() {
    let mut count = 0;
    macro_rules! check {
        ($type:ty, $bounds:tt) => {{
            round_trip::<$type>(stringify!($type));
            any_bytes::<$type>();
            count += 1;
        }};
    }
    for_each_structure!(check);
    assert!(count > 700, "{count} structures");
}

#[test]
fn limits_hold_both_ways() {
    let long: xdr::List<'_, u32, 3> = vec![1, 2, 3, 4].into();
    assert_eq!(xdr::encode(&long), Err(LimitError { length: 4, limit: 3, of: Limited::Value }));
    let bytes = [0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
    let refused = xdr::decode::<xdr::List<'_, u32, 3>>(&bytes).unwrap_err();
    assert_eq!(refused, DecodeError { offset: 0, flaw: Flaw::TooLong { length: 4, limit: 3 } });
    let text = Text::from(vec![b'x'; 4_194_305]);
    assert_eq!(text.measure().unwrap_err().limit, 4_194_304);
}

#[test]
fn a_count_beyond_the_message_is_refused_before_the_walk() {
    let bytes = [0, 0, 0x40, 0];
    let refused = xdr::decode::<xdr::List<'_, crate::types::Domain<'_>, 16_384>>(&bytes).unwrap_err();
    assert_eq!(refused.flaw, Flaw::Truncated { wanted: 16_384 * 24, left: 0 });
}

/// The bytes are those that virnetmessagetest of libvirt and RFC 4506 demand: computed by hand, not by this library.
#[test]
fn known_bytes() {
    let domain = crate::types::Domain { name: "web".into(), uuid: xdr::Uuid([7; 16]), id: -1 };
    let mut expected = b"\0\0\0\x03web\0".to_vec();
    expected.extend([7; 16]);
    expected.extend([0xff; 4]);
    assert_eq!(xdr::encode(&domain).unwrap(), expected);
    // A char array spends a word on each char.
    let label = crate::remote::NodeGetInfoRet { model: "x86".into(), ..Default::default() };
    let bytes = xdr::encode(&label).unwrap();
    assert_eq!(bytes.len(), 128 + 8 + 6 * 4);
    assert_eq!(bytes[..16], *b"\x00\x00\x00x\x00\x00\x008\x00\x00\x006\x00\x00\x00\x00");
    let open = crate::remote::ConnectOpenArgs { name: None, flags: crate::flags::ConnectFlags::RO };
    assert_eq!(xdr::encode(&open).unwrap(), [0, 0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn unknown_bits_and_values_are_kept() {
    let state = crate::enums::DomainState::from(99);
    assert_eq!(state, crate::enums::DomainState::Unknown(99));
    assert_eq!(xdr::encode(&state).unwrap(), [0, 0, 0, 99]);
    let flags: crate::flags::DomainXmlFlags = xdr::decode(&[0x80, 0, 0, 1]).unwrap();
    assert_eq!(xdr::encode(&flags).unwrap(), [0x80, 0, 0, 1]);
    assert!(flags.contains(crate::flags::DomainXmlFlags::SECURE));
}

/// `domain_event_callback_block_job_2`, or the name of a structure that it carries, as the kind of event is called.
fn kind_by_name(name: &str) -> String {
    let camel: String = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
    let kind = camel.trim_end_matches("Msg").replacen("Event", "", 1).replacen("Callback", "", 1);
    match kind.as_str() {
        // Of the connection itself, and of QEMU's program: their procedures are named after neither.
        "ConnectConnectionClosed" => "ConnectionClosed".into(),
        "DomainMonitor" => "QemuMonitor".into(),
        _ => kind,
    }
}

/// The name of a structure alone, out of a path with lifetimes.
fn structure_name(path: &str) -> &str {
    path.split('<').next().unwrap().rsplit("::").next().unwrap().trim()
}

/// Sends a message with values of its own through the decoder of events; tells which procedure carries it.
fn carried<T: Wire<'static> + std::fmt::Debug>(structure: &str, seed: u64) -> &'static str {
    use crate::procedure::Program;
    let structure = structure_name(structure);
    let plain = |name: &str| name.replace('_', "").to_lowercase();
    let mut events = Program::ALL.iter().flat_map(|program| program.procedures()).filter(|info| info.event);
    let info = events.find(|info| plain(info.name) + "msg" == plain(structure));
    let info = info.unwrap_or_else(|| panic!("no event is called {structure}"));
    let sample = T::sample(&mut Sampler::new(seed));
    let bytes = xdr::encode(&sample).unwrap();
    let decoded = crate::event::decode(info.program, info.number, &bytes).unwrap().unwrap();
    let kind = kind_by_name(info.name);
    assert_eq!(kind_by_name(structure), kind, "{}", info.name);
    assert_eq!(format!("{:?}", decoded.event.kind()), kind, "{}", info.name);
    // What came out is what went in, but for the number of the subscription.
    let (event, sample) = (format!("{:?}", decoded.event), format!("{sample:?}"));
    let body = event.strip_prefix(&format!("{kind}(")).and_then(|rest| rest.strip_suffix(')')).unwrap();
    let number = decoded.callback_id.map(|id| format!("{structure} {{ callback_id: {id},"));
    assert!(number.is_none_or(|number| sample.starts_with(&number)), "{structure}: {sample}");
    assert_eq!(decoded.callback_id.is_some(), sample.contains("{ callback_id: "), "{structure}");
    let held = |outer: &str, inner: &str| outer == inner || outer.ends_with(&format!(", msg: {inner} }}"));
    // Where only the newer message has a reason, the older one is made such a message.
    assert!(held(&sample, body) || held(body, &sample), "{sample}: {body}");
    info.name
}

#[test]
fn every_message_of_an_event_is_decoded_to_its_kind() {
    let mut carriers = std::collections::BTreeSet::new();
    macro_rules! check {
        ($type:ty, $bounds:tt) => {
            if structure_name(stringify!($type)).ends_with("Msg") {
                for seed in 0..8 {
                    carriers.insert(carried::<$type>(stringify!($type), seed));
                }
            }
        };
    }
    for_each_structure!(check);
    let all = crate::procedure::Program::ALL.iter().flat_map(|program| program.procedures());
    let all: std::collections::BTreeSet<_> = all.filter(|info| info.event).map(|info| info.name).collect();
    assert_eq!(carriers, all);
    assert_eq!(all.len(), 56, "55 of the main program and QEMU's monitor event");
}

#[test]
fn the_table_holds_every_procedure_under_its_number() {
    use crate::procedure::{Program, Release};
    let counts = Program::ALL.map(|program| program.procedures().len());
    assert_eq!(counts, [456, 7, 1, 20]);
    for program in Program::ALL {
        for (info, number) in program.procedures().iter().zip(1..) {
            assert_eq!((info.number, info.program), (number, program));
        }
    }
    let screenshot = Program::Remote.procedure(211).unwrap();
    assert_eq!((screenshot.name, screenshot.since), ("domain_screenshot", Release(0, 9, 2)));
    assert_eq!(Program::Remote.procedure(0), None);
    assert_eq!(Program::Remote.procedure(457), None);
}
