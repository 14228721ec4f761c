//! What the fuzzer feeds: each target takes bytes, and panics when something that must hold does not.

use qmp::{
    agent,
    codec::Splitter,
    commands::{QueryBlock, QueryMigrate, QueryQmpSchema},
    events::EventData,
    schema::Schema,
    session::{CallId, Execution, Limits, Oob, Opening, Output, Session},
    share::{Input, Parser},
    wire::Decode,
};
use serde_json::{Map, Value};

pub(crate) type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub(crate) const TARGETS: &[Target] =
    &[("framing", framing), ("replies", replies), ("events", events), ("agent", agent), ("user", user)];

/// The target of this name.
pub(crate) fn named(name: &str) -> fn(&[u8]) {
    let found = TARGETS.iter().find(|(of, _)| *of == name);
    found.unwrap_or_else(|| panic!("there is no target {name}")).1
}

/// Small, so that the fuzzer reaches it.
const LIMIT: usize = 4096;

fn limits() -> Limits {
    Limits { message_bytes: LIMIT }
}

/// The first bytes say how the rest is cut.
fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let Some((cuts, rest)) = bytes.split_first_chunk::<4>() else { return vec![bytes] };
    let (mut pieces, mut rest) = (Vec::new(), rest);
    for cut in cuts.iter().cycle().take(64) {
        let (piece, after) = rest.split_at(usize::from(*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// A splitter gives the same messages however the stream is cut, none over the limit.
fn framing(bytes: &[u8]) {
    let split = |pieces: &[&[u8]]| {
        let mut splitter = Splitter::new(LIMIT);
        let mut messages = Vec::new();
        for piece in pieces {
            splitter.push(piece);
            loop {
                match splitter.next_message() {
                    Ok(Some(message)) => messages.push(message.to_vec()),
                    Ok(None) => break,
                    Err(_) => return (messages, true),
                }
            }
        }
        (messages, false)
    };
    let pieces = pieces(bytes);
    let (cut, cut_over) = split(&pieces);
    let (whole, whole_over) = split(&[&pieces.concat()]);
    assert!(cut.iter().all(|message| message.len() <= LIMIT && !message.contains(&b'\n')));
    assert_eq!((cut, cut_over), (whole, whole_over));
}

/// A session answers each call at most once, and none that was not made or was given up.
fn replies(bytes: &[u8]) {
    for opening in [Opening::Greeted, Opening::Resumed { oob: Oob::Enabled }] {
        let mut session = Session::open(limits(), opening);
        for id in 0..12 {
            let execution = if id % 4 == 3 { Execution::OutOfBand } else { Execution::InBand };
            session.submit(CallId(id), "query-status", Map::new(), execution);
        }
        session.abandon(CallId(1));
        let mut answered = Vec::new();
        for piece in pieces(bytes) {
            let outcome = session.handle_bytes(piece);
            while let Some(output) = session.poll_output() {
                match output {
                    Output::Reply(id, result) => {
                        assert!(id.0 < 12 && id.0 != 1 && !answered.contains(&id), "{id:?}");
                        answered.push(id);
                        if let Ok(value) = result {
                            typed(value);
                        }
                    }
                    Output::Unreadable(id, _) => {
                        assert!(id.0 < 12 && id.0 != 1 && !answered.contains(&id), "{id:?}");
                        answered.push(id);
                    }
                    Output::Unsupported(id) => {
                        assert!(id.0 % 4 == 3 && !answered.contains(&id), "{id:?}");
                        answered.push(id);
                    }
                    Output::Illegible(id, why) => panic!("{id:?}: {why}"),
                    Output::Running(_) | Output::Event(_) | Output::Text(..) => {}
                }
            }
            if outcome.is_err() {
                break;
            }
            let count = session.transmit().bytes.len();
            session.transmitted(count);
        }
    }
}

fn typed(value: Value) {
    if let Ok(entries) = Vec::decode(value.clone()) {
        let schema = Schema::new(entries);
        for place in ["a.b", "blockdev-add<file>.aio=native", "1:reply.x"] {
            let _ = schema.has(place);
        }
        schema.commands().for_each(|command| drop(command.arguments()));
    }
    fn reply<C: qmp::commands::Command>(value: Value) {
        let _ = C::Reply::decode(value);
    }
    reply::<QueryQmpSchema>(value.clone());
    reply::<QueryBlock>(value.clone());
    reply::<QueryMigrate>(value);
}

/// Any event is typed, kept or refused with its place.
fn events(bytes: &[u8]) {
    let mut session = Session::new(limits());
    for piece in pieces(bytes) {
        if session.handle_bytes(piece).is_err() {
            return;
        }
        while let Some(output) = session.poll_output() {
            if let Output::Event(event) = output
                && let Ok(data) = EventData::of(&event)
            {
                assert_eq!(data.name(), event.name);
            }
        }
    }
}

/// Whatever a guest sends, each call has at most one outcome, and none is sent before the agent has answered.
fn agent(bytes: &[u8]) {
    use agent::commands::{Command, Ping, Shutdown};
    let mut session = agent::session::Session::new(limits(), 1);
    session.submit(CallId(0), Ping::FACTS, &Map::new());
    session.submit(CallId(1), Shutdown::FACTS, &Map::new());
    session.submit(CallId(2), Ping::FACTS, &Map::new());
    let mut settled = Vec::new();
    for (turn, piece) in pieces(bytes).into_iter().enumerate() {
        // The number that is asked for, so that the fuzzer need not guess it.
        let sent = session.transmit().to_vec();
        session.transmitted(sent.len());
        if turn % 2 == 0
            && let Some(at) = sent.windows(5).rposition(|window| window == b"\"id\":")
        {
            let digits: Vec<u8> = sent[at + 5..].iter().copied().take_while(u8::is_ascii_digit).collect();
            let answer = [b"\xff{\"return\":", &digits[..], b"}\n"].concat();
            if session.handle_bytes(&answer).is_err() {
                return;
            }
        }
        if session.handle_bytes(piece).is_err() {
            return;
        }
        if turn % 7 == 6 {
            session.expired();
        }
        while let Some(output) = session.poll_output() {
            use agent::session::Output;
            let (Output::Reply(id, _) | Output::Absent(id) | Output::Late(id) | Output::Garbled(id, _)) =
                output;
            assert!(id.0 < 3 && !settled.contains(&id), "{id:?}");
            settled.push(id);
        }
    }
}

/// What users of a shared monitor send is read the same however it is cut.
fn user(bytes: &[u8]) {
    let parse = |pieces: &[&[u8]]| -> Vec<Input> {
        let mut parser = Parser::new(LIMIT);
        pieces.iter().for_each(|piece| parser.push(piece));
        std::iter::from_fn(|| parser.next_input()).collect()
    };
    let pieces = pieces(bytes);
    assert_eq!(parse(&pieces), parse(&[&pieces.concat()]));
}
