use super::*;
use crate::message::ErrorClass;

const GREETING: &[u8] =
    b"{\"QMP\":{\"version\":{\"qemu\":{\"major\":7,\"minor\":2,\"micro\":22},\"package\":\"\"},\"capabilities\":[\"oob\"]}}\r\n";
const EVENT: &[u8] = b"{\"event\":\"STOP\",\"timestamp\":{\"seconds\":1,\"microseconds\":2}}\r\n";

fn sent(session: &mut Session) -> Vec<Value> {
    let lines = session.transmit().split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let requests = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    session.transmitted(session.transmit().len());
    requests
}

fn outputs(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll_output()).collect()
}

fn running() -> Session {
    let mut session = Session::new(Limits::default());
    session.handle_bytes(GREETING).unwrap();
    sent(&mut session);
    session.handle_bytes(b"{\"return\":{},\"id\":\"negotiation\"}\r\n").unwrap();
    outputs(&mut session);
    session
}

fn submit(session: &mut Session, ids: std::ops::Range<u64>) {
    ids.for_each(|id| session.submit(CallId(id), "query-status", Map::new(), Execution::InBand));
}

fn reply(id: u64) -> Vec<u8> {
    format!("{{\"return\":{{}},\"id\":{id}}}\r\n").into_bytes()
}

#[test]
fn calls_wait_for_negotiation_and_events_do_not() {
    let mut session = Session::new(Limits::default());
    submit(&mut session, 0..1);
    session.handle_bytes(EVENT).unwrap();
    assert!(matches!(outputs(&mut session)[..], [Output::Event(_)]));
    session.handle_bytes(GREETING).unwrap();
    let negotiation = sent(&mut session);
    assert_eq!(negotiation.len(), 1);
    assert_eq!(negotiation[0]["execute"], "qmp_capabilities");
    assert_eq!(negotiation[0]["arguments"]["enable"][0], "oob");
    session.handle_bytes(EVENT).unwrap();
    assert!(matches!(outputs(&mut session)[..], [Output::Event(_)]));
    session.handle_bytes(b"{\"return\":{},\"id\":\"negotiation\"}\r\n").unwrap();
    assert!(matches!(outputs(&mut session)[..], [Output::Running(_)]));
    assert_eq!(sent(&mut session)[0], serde_json::json!({"execute": "query-status", "id": 0}));
}

#[test]
fn no_more_than_eight_in_band_calls_are_in_flight_and_oob_overtakes() {
    let mut session = running();
    submit(&mut session, 0..20);
    assert_eq!(sent(&mut session).len(), 8);
    session.submit(CallId(100), "yank", Map::new(), Execution::OutOfBand);
    assert_eq!(sent(&mut session)[0]["exec-oob"], "yank");
    session.handle_bytes(&reply(0)).unwrap();
    assert_eq!(sent(&mut session)[0]["id"], 8);
}

#[test]
fn out_of_band_without_the_capability_is_answered_not_sent() {
    let mut session = Session::new(Limits::default());
    session
        .handle_bytes(
            b"{\"QMP\":{\"version\":{\"qemu\":{\"major\":9,\"minor\":0,\"micro\":0}},\"capabilities\":[]}}\r\n",
        )
        .unwrap();
    assert_eq!(sent(&mut session)[0]["arguments"]["enable"], serde_json::json!([]));
    session.handle_bytes(b"{\"return\":{},\"id\":\"negotiation\"}\r\n").unwrap();
    session.submit(CallId(1), "yank", Map::new(), Execution::OutOfBand);
    assert!(outputs(&mut session).contains(&Output::Unsupported(CallId(1))));
    assert_eq!(session.transmit(), b"");
}

#[test]
fn the_reply_to_an_abandoned_call_is_counted_and_frees_its_slot() {
    let mut session = running();
    submit(&mut session, 0..9);
    sent(&mut session);
    session.abandon(CallId(0));
    session.abandon(CallId(77));
    session.handle_bytes(&reply(0)).unwrap();
    assert_eq!(outputs(&mut session), []);
    assert_eq!(session.counters().late_replies, 1);
    assert_eq!(sent(&mut session)[0]["id"], 8);
}

#[test]
fn an_abandoned_call_that_was_not_written_never_is() {
    let mut session = running();
    submit(&mut session, 0..9);
    sent(&mut session);
    session.abandon(CallId(8));
    session.handle_bytes(&reply(0)).unwrap();
    assert_eq!(sent(&mut session), Vec::<Value>::new());
}

#[test]
fn strangers_are_counted_and_harm_nothing() {
    let mut session = running();
    submit(&mut session, 5..6);
    let strange = b"{\"return\":{},\"id\":99}\r\n{\"return\":{},\"id\":\"x\"}\r\n{\"novel\":1}\r\n\
        {\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON parse error\"}}\r\n";
    session.handle_bytes(strange).unwrap();
    let refused = b"{\"id\":5,\"error\":{\"class\":\"DeviceNotFound\",\"desc\":\"none\"}}\r\n";
    session.handle_bytes(refused).unwrap();
    let refusal = Refusal { class: ErrorClass::DeviceNotFound, desc: "none".into() };
    assert_eq!(outputs(&mut session), [Output::Reply(CallId(5), Err(refusal))]);
    let counters = session.counters();
    assert_eq!(
        (counters.unknown_replies, counters.unattributed_errors, counters.unknown_messages),
        (2, 1, 1)
    );
}

#[test]
fn a_refused_negotiation_ends_the_session() {
    let mut session = Session::new(Limits::default());
    session.handle_bytes(GREETING).unwrap();
    let refused = b"{\"id\":\"negotiation\",\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}}\r\n";
    assert!(matches!(session.handle_bytes(refused), Err(Violation::Negotiation(_))));
}
