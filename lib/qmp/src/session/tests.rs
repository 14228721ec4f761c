use super::*;
use crate::message::ErrorClass;

const GREETING: &[u8] =
    b"{\"QMP\":{\"version\":{\"qemu\":{\"major\":7,\"minor\":2,\"micro\":22},\"package\":\"\"},\"capabilities\":[\"oob\"]}}\r\n";
const EVENT: &[u8] = b"{\"event\":\"STOP\",\"timestamp\":{\"seconds\":1,\"microseconds\":2}}\r\n";

fn sent(session: &mut Session) -> Vec<Value> {
    let mut bytes = Vec::new();
    while !session.transmit().bytes.is_empty() {
        bytes.extend_from_slice(session.transmit().bytes);
        session.transmitted(session.transmit().bytes.len());
    }
    let lines = bytes.split(|byte| [b'\n', RESYNCHRONISE].contains(byte)).filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
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
fn fewer_in_band_calls_than_the_server_queues_are_in_flight_and_oob_overtakes() {
    let mut session = running();
    submit(&mut session, 0..20);
    assert_eq!(sent(&mut session).len(), 7);
    session.submit(CallId(100), "yank", Map::new(), Execution::OutOfBand);
    assert_eq!(sent(&mut session)[0]["exec-oob"], "yank");
    session.handle_bytes(&reply(0)).unwrap();
    assert_eq!(sent(&mut session), [serde_json::json!({"execute": "query-status", "id": 0})]);
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
    assert_eq!(session.transmit().bytes, b"");
}

#[test]
fn the_reply_to_an_abandoned_call_is_counted_and_frees_its_slot() {
    let mut session = running();
    submit(&mut session, 0..8);
    sent(&mut session);
    session.abandon(CallId(0));
    session.abandon(CallId(77));
    session.handle_bytes(&reply(0)).unwrap();
    assert_eq!(outputs(&mut session), []);
    assert_eq!(session.counters().late_replies, 1);
    assert_eq!(sent(&mut session).len(), 1);
}

#[test]
fn a_number_is_taken_again_once_its_answer_has_come_and_not_before() {
    let mut session = running();
    let asked = |session: &mut Session| -> Vec<u64> {
        sent(session).iter().map(|command| command["id"].as_u64().unwrap()).collect()
    };
    submit(&mut session, 1000..1003);
    assert_eq!(asked(&mut session), [0, 1, 2]);
    session.abandon(CallId(1001));
    session.handle_bytes(&reply(2)).unwrap();
    assert_eq!(outputs(&mut session), [Output::Reply(CallId(1002), Ok(serde_json::json!({})))]);
    submit(&mut session, 1003..1005);
    assert_eq!(asked(&mut session), [2, 3], "nobody wants the answer to 1, but it is still to come");
    session.handle_bytes(&reply(1)).unwrap();
    assert_eq!(outputs(&mut session), []);
    submit(&mut session, 1005..1006);
    assert_eq!(asked(&mut session), [1]);
    session.handle_bytes(&reply(1)).unwrap();
    assert_eq!(outputs(&mut session), [Output::Reply(CallId(1005), Ok(serde_json::json!({})))]);
}

#[test]
fn an_abandoned_call_that_was_not_written_never_is() {
    let mut session = running();
    submit(&mut session, 0..8);
    sent(&mut session);
    session.abandon(CallId(7));
    session.handle_bytes(&reply(0)).unwrap();
    assert_eq!(sent(&mut session), Vec::<Value>::new());
}

/// Half of it would wedge the server's parser.
#[test]
fn a_call_that_is_abandoned_half_written_is_written_whole() {
    let mut session = running();
    submit(&mut session, 0..1);
    let mut bytes = session.transmit().bytes[..7].to_vec();
    session.transmitted(7);
    session.abandon(CallId(0));
    submit(&mut session, 1..2);
    while !session.transmit().bytes.is_empty() {
        bytes.extend_from_slice(session.transmit().bytes);
        session.transmitted(session.transmit().bytes.len());
    }
    let commands: Vec<Value> =
        bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(commands.iter().map(|command| &command["id"]).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn strangers_are_counted_and_harm_nothing() {
    let mut session = running();
    submit(&mut session, 5..6);
    let strange = b"{\"return\":{},\"id\":99}\r\n{\"return\":{},\"id\":\"x\"}\r\n{\"novel\":1}\r\n";
    session.handle_bytes(strange).unwrap();
    let refused = b"{\"id\":0,\"error\":{\"class\":\"DeviceNotFound\",\"desc\":\"none\"}}\r\n";
    session.handle_bytes(refused).unwrap();
    let refusal = Refusal { class: ErrorClass::DeviceNotFound, desc: "none".into() };
    assert_eq!(outputs(&mut session), [Output::Reply(CallId(5), Err(refusal))]);
    session.handle_bytes(NO_JSON).unwrap();
    let counters = session.counters();
    assert_eq!(
        (counters.unknown_replies, counters.unattributed_errors, counters.unknown_messages),
        (2, 1, 1)
    );
}

/// What QEMU says of a request that it cannot read.
const NO_JSON: &[u8] = b"{\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON parse error\"}}\r\n";

#[test]
fn an_error_without_an_id_is_the_answer_to_the_oldest_call_in_band() {
    let mut session = running();
    session.submit(CallId(20), "yank", Map::new(), Execution::OutOfBand);
    submit(&mut session, 0..9);
    session.abandon(CallId(0));
    assert_eq!(sent(&mut session).len(), 8, "two wait for a place");
    session.handle_bytes(NO_JSON).unwrap();
    assert_eq!((outputs(&mut session), session.counters().late_replies), (Vec::new(), 1));
    assert_eq!(sent(&mut session)[0]["id"], 8, "the place is free again, the number is not");
    // QEMU may take the rest of it for many.
    session.handle_bytes(&NO_JSON.repeat(70)).unwrap();
    assert_eq!((outputs(&mut session), session.counters().unattributed_errors), (Vec::new(), 70));
    session.handle_bytes(&reply(2)).unwrap();
    assert!(matches!(outputs(&mut session)[..], [Output::Reply(CallId(1), Ok(_))]));
    session.handle_bytes(NO_JSON).unwrap();
    assert!(matches!(outputs(&mut session)[..], [Output::Reply(CallId(2), Err(_))]));
    // Were it answered all the same, nobody else would get that.
    session.handle_bytes(&reply(3)).unwrap();
    assert_eq!((outputs(&mut session), session.counters().late_replies), (Vec::new(), 2));
    assert!(!session.in_flight.iter().any(|slot| slot.id == 3));
}

#[test]
fn a_call_that_the_server_would_not_read_is_not_written() {
    let mut session = running();
    let arguments = || Map::from_iter([("filename".to_owned(), Value::from("\u{ffff}"))]);
    session.submit(CallId(0), "blockdev-add", arguments(), Execution::InBand);
    session.submit(CallId(1), "blockdev-add", arguments(), Execution::OutOfBand);
    session.submit_with_descriptors(CallId(2), "add-fd", arguments(), vec![descriptor()]);
    let illegible = |id| {
        let member = "filename".to_owned();
        Output::Illegible(CallId(id), Illegible::Character { member, code: 0xffff })
    };
    assert_eq!(outputs(&mut session), [illegible(0), illegible(1), illegible(2)]);
    submit(&mut session, 3..4);
    assert_eq!(sent(&mut session).len(), 1, "nothing is in its way");
}

#[test]
fn a_call_is_taken_back_only_as_long_as_it_is_not_written() {
    let mut session = running();
    submit(&mut session, 0..1);
    session.submit_with_descriptors(CallId(1), "add-fd", Map::new(), vec![descriptor()]);
    assert!(!session.withdraw(CallId(0)) && session.withdraw(CallId(1)) && !session.withdraw(CallId(1)));
    session.handle_bytes(&reply(0)).unwrap();
    assert!(matches!(outputs(&mut session)[..], [Output::Reply(CallId(0), Ok(_))]));
}

#[test]
fn a_refused_negotiation_ends_the_session() {
    let mut session = Session::new(Limits::default());
    session.handle_bytes(GREETING).unwrap();
    let refused = b"{\"id\":\"negotiation\",\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}}\r\n";
    assert!(matches!(session.handle_bytes(refused), Err(Violation::Negotiation(_))));
}

fn descriptor() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

#[test]
fn a_call_with_descriptors_is_a_fence_for_in_band_calls() {
    let mut session = running();
    submit(&mut session, 0..2);
    session.submit_with_descriptors(CallId(2), "getfd", Map::new(), vec![descriptor()]);
    submit(&mut session, 3..5);
    assert_eq!(sent(&mut session).len(), 2, "those before it");
    session.handle_bytes(&reply(0)).unwrap();
    assert_eq!(sent(&mut session).len(), 0, "one of them is unanswered");
    session.handle_bytes(&reply(1)).unwrap();
    assert_eq!(session.transmit().descriptors.len(), 1);
    assert_eq!(sent(&mut session)[0]["execute"], "getfd");
    session.submit(CallId(50), "yank", Map::new(), Execution::OutOfBand);
    assert_eq!(sent(&mut session)[0]["exec-oob"], "yank", "a hanging main loop can always be helped");
    session.handle_bytes(&reply(0)).unwrap();
    assert_eq!(sent(&mut session).len(), 2, "those behind it");
}

#[test]
fn descriptors_go_with_the_first_byte_of_their_command_and_once() {
    let mut session = running();
    session.submit(CallId(1), "yank", Map::new(), Execution::OutOfBand);
    session.submit_with_descriptors(CallId(2), "add-fd", Map::new(), vec![descriptor(), descriptor()]);
    let yank = session.transmit().bytes.len();
    assert!(session.transmit().descriptors.is_empty(), "those bytes are another command's");
    session.transmitted(yank - 1);
    assert_eq!((session.transmit().bytes, session.transmit().descriptors.len()), (&b"\n"[..], 0));
    session.transmitted(1);
    assert_eq!(session.transmit().descriptors.len(), 2);
    session.transmitted(0);
    assert_eq!(session.transmit().descriptors.len(), 2, "nothing was sent");
    session.transmitted(3);
    assert!(session.transmit().descriptors.is_empty(), "they went with the first bytes");
    assert_eq!(session.transmit().bytes[0], b'x', "of execute");
}

#[test]
fn an_abandoned_fence_holds_up_nobody() {
    let mut session = running();
    submit(&mut session, 0..1);
    session.submit_with_descriptors(CallId(1), "getfd", Map::new(), vec![descriptor()]);
    submit(&mut session, 2..3);
    assert_eq!(sent(&mut session).len(), 1);
    session.abandon(CallId(1));
    assert_eq!(sent(&mut session), [serde_json::json!({"execute": "query-status", "id": 1})]);
}

#[test]
fn a_resumed_session_resynchronises_and_swallows_one_error() {
    let mut session = Session::open(Limits::default(), Opening::Resumed { oob: Oob::Enabled });
    submit(&mut session, 7..8);
    assert_eq!(session.transmit().bytes[0], 0xff);
    session.transmitted(1);
    assert_eq!(sent(&mut session)[0]["execute"], "qmp_capabilities");
    // The rest of an answer to the last user's call, the error that the byte raises, the refusal to negotiate twice.
    let answers = b"{\"return\":{},\"id\":3}\r\n{\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON parse error\"}}\r\n\
        {\"id\":\"negotiation\",\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"mode\"}}\r\n";
    session.handle_bytes(answers).unwrap();
    assert_eq!(sent(&mut session)[0]["execute"], "query-version");
    session
        .handle_bytes(
            b"{\"id\":\"negotiation\",\"return\":{\"qemu\":{\"major\":7,\"minor\":2,\"micro\":1},\"package\":\"p\"}}\r\n",
        )
        .unwrap();
    let [Output::Running(greeting)] = &outputs(&mut session)[..] else { panic!("not running") };
    assert_eq!((greeting.version.qemu.micro, greeting.version.package.as_str()), (1, "p"));
    assert_eq!(sent(&mut session)[0], serde_json::json!({"execute": "query-status", "id": 0}));
    assert_eq!(session.counters(), Counters { unknown_replies: 1, ..Counters::default() });
    session.submit(CallId(8), "yank", Map::new(), Execution::OutOfBand);
    assert_eq!(sent(&mut session)[0]["exec-oob"], "yank");
    // Errors after that one are news again.
    session.handle_bytes(NO_JSON).unwrap();
    assert!(matches!(outputs(&mut session)[..], [Output::Reply(CallId(7), Err(_))]));
}

/// The user before was one of ours, and died between half a line and the answer to its own negotiation.
#[test]
fn what_the_user_before_left_unread_is_not_taken_for_ours() {
    let mut session = Session::open(Limits::default(), Opening::Resumed { oob: Oob::Enabled });
    let left = b"ning\":true}}\r\n{\"return\":{},\"id\":\"negotiation\"}\r\n{\"event\":\"STOP\",\"timestamp\":{\"seconds\":1,\"microseconds\":2}}\r\n";
    session.handle_bytes(left).unwrap();
    assert!(matches!(outputs(&mut session)[..], [Output::Event(_)]));
    assert_eq!(sent(&mut session).len(), 1, "it still negotiates");
    let ours = b"{\"error\":{\"class\":\"GenericError\",\"desc\":\"JSON parse error\"}}\r\n\
        {\"id\":\"negotiation\",\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"mode\"}}\r\n\
        {\"id\":\"negotiation\",\"return\":{\"qemu\":{\"major\":7,\"minor\":2,\"micro\":1},\"package\":\"p\"}}\r\n";
    session.handle_bytes(ours).unwrap();
    let [Output::Running(greeting)] = &outputs(&mut session)[..] else { panic!("not running") };
    assert_eq!(greeting.capabilities, ["oob"], "who shares this monitor offers it on");
    // A line that is none ends the session as ever.
    assert!(session.handle_bytes(b"no JSON\r\n").is_err());
}

#[test]
fn an_answer_that_is_wanted_as_text_is_handed_over_unread() {
    let mut session = running();
    submit(&mut session, 0..1);
    session.submit_for_text(CallId(1), "query-qmp-schema");
    session.submit_for_text(CallId(2), "query-qmp-schema");
    assert_eq!(sent(&mut session)[1], serde_json::json!({"execute": "query-qmp-schema", "id": 1}));
    session.abandon(CallId(2));
    let answers =
        b"{\"return\": {}, \"id\": 0}\r\n{\"return\": [1], \"id\": 1}\r\n{\"return\": [2], \"id\": 2}\r\n";
    session.handle_bytes(answers).unwrap();
    let text = b"{\"return\": [1], \"id\": 1}".as_slice().into();
    let value = Output::Reply(CallId(0), Ok(serde_json::json!({})));
    assert_eq!(outputs(&mut session), [value, Output::Text(CallId(1), text)]);
    assert_eq!(session.counters().late_replies, 1);
    session.submit_for_text(CallId(3), "nonsense");
    session.handle_bytes(b"{\"id\":0,\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}}\r\n").unwrap();
    assert!(
        matches!(outputs(&mut session)[..], [Output::Reply(CallId(3), Err(_))]),
        "a refusal is a refusal"
    );
}
