//! The client's session against bytes that a daemon could send.

use super::*;
use crate::packet::{self, Frame, Header, Kind, STREAM_CHUNK, Status};
use crate::procedure::Procedure;
use crate::xdr::{self, Wire};
use crate::{enums, flags, remote, types};
use std::time::{Duration, Instant};

struct Daemon {
    session: ClientSession,
    now: Instant,
}

/// What has arrived, in words.
type Log = Vec<String>;

impl Daemon {
    #[expect(clippy::disallowed_methods, reason = "any instant will do: the session gets its time from here")]
    fn new(limits: Limits, keepalive: Option<Keepalive>) -> Self {
        let now = Instant::now();
        Self { session: ClientSession::new(limits, keepalive, now), now }
    }

    /// The packets that the client has sent: header and payload.
    fn received(&mut self) -> Vec<(Header, Vec<u8>)> {
        let mut bytes = Vec::new();
        while let Some(Transmit::Bytes(next)) = self.session.transmit() {
            let length = next.len();
            bytes.extend_from_slice(next);
            self.session.sent(length);
        }
        let mut packets = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some(frame) = Frame::begin(rest).unwrap() {
            packets.push((frame.header, rest[frame.payload.clone()].to_vec()));
            rest = &rest[frame.size()..];
        }
        packets
    }

    fn packet(header: &Header, payload: &[u8]) -> Vec<u8> {
        packet::encode(header, 0, payload)
    }

    /// Sends bytes to the client, in pieces of a size, and tells what arrived.
    fn send(&mut self, bytes: &[u8], piece: usize) -> Result<Log, SessionError> {
        let mut log = Vec::new();
        for piece in bytes.chunks(piece) {
            let mut left = piece;
            while !left.is_empty() {
                let space = self.session.space();
                let fitting = space.len().min(left.len());
                space[..fitting].copy_from_slice(&left[..fitting]);
                self.session.filled(fitting, [], self.now);
                left = &left[fitting..];
                while let Some(incoming) = self.session.next()? {
                    log.push(words(&incoming));
                }
            }
        }
        Ok(log)
    }

    fn answer(&mut self, call: &Header, status: Status, payload: &[u8]) -> Log {
        let header = Header { kind: Kind::Reply, status, ..*call };
        self.send(&Self::packet(&header, payload), usize::MAX).unwrap()
    }

    fn stream(&mut self, call: &Header, status: Status, payload: &[u8]) -> Log {
        let header = Header { kind: Kind::Stream, status, ..*call };
        self.send(&Self::packet(&header, payload), usize::MAX).unwrap()
    }
}

#[test]
fn a_daemon_that_no_longer_reads_costs_no_memory() {
    let mut daemon = Daemon::new(Limits::default(), None);
    let ping = Header {
        program: keepalive::PROGRAM,
        version: 1,
        procedure: keepalive::PING,
        kind: Kind::Message,
        serial: 0,
        status: Status::Ok,
    };
    for _ in 0..1000 {
        // Asks, and does not read the answers.
        assert_eq!(daemon.send(&Daemon::packet(&ping, &[]), usize::MAX).unwrap(), Log::new());
        // Each call is given up after a while.
        let call = create(&mut daemon);
        daemon.session.abandon(call);
    }
    assert_eq!(daemon.session.load(), 3, "the places are taken, and nobody waits for one");
    let sent = daemon.received();
    let kinds: Vec<_> = sent.iter().map(|(header, _)| header.kind).collect();
    assert_eq!(kinds, [Kind::Message, Kind::Call, Kind::Call, Kind::Call]);
    assert_eq!(sent[0].0.procedure, keepalive::PONG);
    // Once it reads again, it is answered again.
    daemon.send(&Daemon::packet(&ping, &[]), usize::MAX).unwrap();
    assert_eq!(daemon.received().len(), 1);
}

fn words(incoming: &Incoming<'_>) -> String {
    match incoming {
        Incoming::Reply { payload, .. } => format!("reply {}", payload.len()),
        Incoming::Failed { failure: Failure::Daemon(error), .. } => {
            format!("failed {:?} {}", error.code, error.message.as_ref().unwrap())
        }
        Incoming::Failed { failure, .. } => format!("failed {failure:?}"),
        Incoming::Event { procedure, payload, .. } => format!("event {procedure} {}", payload.len()),
        Incoming::Data { data, .. } => format!("data {}", data.len()),
        Incoming::Hole { length, .. } => format!("hole {length}"),
        Incoming::End { .. } => "end".into(),
        Incoming::Finished { .. } => "finished".into(),
        Incoming::Broken { failure: Failure::Daemon(error), .. } => format!("broken {:?}", error.code),
        Incoming::Broken { failure, .. } => format!("broken {failure:?}"),
        Incoming::Stray(header) => format!("stray {}", header.serial),
    }
}

fn error(code: enums::ErrorNumber, message: &str) -> Vec<u8> {
    xdr::encode(&types::Error { code, message: Some(message.into()), ..Default::default() }).unwrap()
}

fn version(daemon: &mut Daemon) -> Serial {
    daemon.session.call::<remote::ConnectGetLibVersion>(&(), Vec::new()).unwrap()
}

/// Not urgent: it may ask the monitor.
fn create(daemon: &mut Daemon) -> Serial {
    let dom = types::Domain { name: "web".into(), ..Default::default() };
    daemon.session.call::<remote::DomainCreate>(&remote::DomainCreateArgs { dom }, Vec::new()).unwrap()
}

fn download(daemon: &mut Daemon) -> (Serial, Header) {
    let args = remote::StorageVolDownloadArgs {
        flags: flags::StorageVolDownloadFlags::SPARSE_STREAM,
        ..Default::default()
    };
    let serial = daemon.session.call::<remote::StorageVolDownload>(&args, Vec::new()).unwrap();
    let (call, _) = daemon.received().pop().unwrap();
    assert_eq!(daemon.answer(&call, Status::Ok, &[]), ["reply 0"]);
    (serial, call)
}

fn plain() -> Daemon {
    Daemon::new(Limits::default(), None)
}

#[test]
fn a_call_goes_out_and_its_reply_comes_in() {
    let mut daemon = plain();
    version(&mut daemon);
    let sent = daemon.received();
    let (call, payload) = &sent[0];
    assert_eq!((call.program, call.procedure, call.serial, payload.len()), (0x2000_8086, 157, 1, 0));
    let reply = xdr::encode(&remote::ConnectGetLibVersionRet { lib_ver: 9_000_000 }).unwrap();
    assert_eq!(daemon.answer(call, Status::Ok, &reply), ["reply 8"]);
    assert!(!daemon.session.is_busy());
    assert_eq!(daemon.answer(call, Status::Ok, &reply), ["stray 1"]);
}

#[test]
fn a_reply_to_what_was_never_sent_ends_the_connection() {
    for serial in [0, 5, u32::MAX] {
        let mut daemon = plain();
        // Three are sent, and the fourth waits for a place.
        for _ in 0..4 {
            create(&mut daemon);
        }
        let call = daemon.received()[0].0;
        let answer = Header { kind: Kind::Reply, serial, ..call };
        let ended = daemon.send(&Daemon::packet(&answer, &[]), usize::MAX);
        assert_eq!(ended, Err(SessionError::Unasked(serial)));
    }
    let mut daemon = plain();
    let calls: Vec<_> = (0..4).map(|_| create(&mut daemon)).collect();
    let call = daemon.received()[0].0;
    let answer = Daemon::packet(&Header { kind: Kind::Reply, serial: 4, ..call }, &[]);
    assert_eq!(daemon.send(&answer, usize::MAX), Err(SessionError::Unasked(4)), "it waits for a place");
    // Nobody waits for it any more, so what comes for it harms nobody.
    assert_eq!(daemon.session.abandon(calls[3]), Abandoned::NotSent);
    assert_eq!(daemon.send(&answer, usize::MAX).unwrap(), ["stray 4"]);
}

#[test]
fn errors_come_with_everything_the_daemon_says() {
    let mut daemon = plain();
    create(&mut daemon);
    let (call, _) = daemon.received().pop().unwrap();
    let body = error(enums::ErrorNumber::NoDomain, "no domain 'web'");
    assert_eq!(daemon.answer(&call, Status::Error, &body), ["failed NoDomain no domain 'web'"]);
}

#[test]
fn a_reply_of_another_procedure_fails_its_call_only() {
    let mut daemon = plain();
    version(&mut daemon);
    create(&mut daemon);
    let calls = daemon.received();
    let other = Header { procedure: 7, ..calls[0].0 };
    assert_eq!(daemon.answer(&other, Status::Ok, &[]), ["failed Mismatch { procedure: 7 }"]);
    assert_eq!(daemon.answer(&calls[1].0, Status::Ok, &[]), ["reply 0"]);
}

#[test]
fn no_more_calls_are_under_way_than_the_daemon_reads_on_with() {
    let mut daemon = plain();
    for _ in 0..6 {
        create(&mut daemon);
    }
    let first = daemon.received();
    assert_eq!(first.len(), 3);
    // An urgent call overtakes what waits, and takes the reserved place.
    version(&mut daemon);
    let urgent = daemon.received();
    assert_eq!((urgent.len(), urgent[0].0.procedure), (1, 157));
    // A second urgent one waits.
    version(&mut daemon);
    assert_eq!(daemon.received().len(), 0);
    assert_eq!(daemon.answer(&urgent[0].0, Status::Ok, &[0; 8]), ["reply 8"]);
    assert_eq!(daemon.received()[0].0.procedure, 157);
    assert_eq!(daemon.answer(&first[1].0, Status::Ok, &[]), ["reply 0"]);
    assert_eq!(daemon.received()[0].0.serial, 4);
}

#[test]
fn an_abandoned_call_tells_whether_the_daemon_knows_it() {
    let mut daemon = plain();
    let serials: Vec<_> = (0..4).map(|_| create(&mut daemon)).collect();
    assert_eq!(daemon.session.abandon(serials[3]), Abandoned::NotSent);
    assert_eq!(daemon.session.abandon(serials[0]), Abandoned::Sent);
    let sent = daemon.received();
    assert_eq!(sent.len(), 3);
    // Its place is taken until the reply comes, which nobody hears of.
    create(&mut daemon);
    assert_eq!(daemon.received().len(), 0);
    assert_eq!(daemon.answer(&sent[0].0, Status::Ok, &[]), Log::new());
    assert_eq!(daemon.received().len(), 1);
    assert_eq!(daemon.session.abandon(serials[0]), Abandoned::Gone);
}

#[test]
fn places_that_nobody_waits_for_are_counted_until_they_are_free() {
    let mut daemon = plain();
    let serials: Vec<_> = (0..4).map(|_| create(&mut daemon)).collect();
    let sent = daemon.received();
    let counted = |daemon: &Daemon| (daemon.session.load(), daemon.session.abandoned());
    // The last one has no place.
    for serial in &serials {
        assert!(!daemon.session.is_clogged());
        daemon.session.abandon(*serial);
        // Said twice it counts once.
        daemon.session.abandon(*serial);
        if *serial == serials[2] {
            break;
        }
    }
    assert_eq!((counted(&daemon), daemon.session.is_clogged()), ((4, 3), true));
    daemon.session.abandon(serials[3]);
    assert_eq!(counted(&daemon), (3, 3));
    for (answered, call) in sent.iter().enumerate() {
        assert_eq!(counted(&daemon), (3 - answered, 3 - answered));
        daemon.answer(&call.0, Status::Ok, &[]);
    }
    assert_eq!((counted(&daemon), daemon.session.is_clogged()), ((0, 0), false));
}

#[test]
fn arguments_beyond_their_limit_are_not_sent() {
    let mut daemon = plain();
    let args = remote::DomainSetVcpusArgs::default();
    daemon.session.call::<remote::DomainSetVcpus>(&args, Vec::new()).unwrap();
    daemon.received();
    let cpumap = xdr::Bytes::from(vec![0; 2049]);
    let args = remote::DomainPinVcpuArgs { cpumap, ..Default::default() };
    let refused = daemon.session.call::<remote::DomainPinVcpu>(&args, Vec::new()).unwrap_err();
    assert_eq!((refused.length, refused.limit), (2049, 2048));
    assert_eq!(daemon.received(), []);
}

#[test]
fn a_download_ends_with_an_empty_packet_and_an_echo() {
    let mut daemon = plain();
    let (serial, call) = download(&mut daemon);
    assert_eq!(daemon.stream(&call, Status::Continue, &[1; 24]), ["data 24"]);
    let hole = Header { kind: Kind::StreamHole, status: Status::Continue, ..call };
    let body = [1_i64 << 40].map(i64::to_be_bytes).concat();
    let body = [body, vec![0; 4]].concat();
    assert_eq!(daemon.send(&Daemon::packet(&hole, &body), 5).unwrap(), ["hole 1099511627776"]);
    assert_eq!(daemon.stream(&call, Status::Continue, &[]), ["end"]);
    daemon.session.stream_finish(serial).unwrap();
    let (finish, payload) = daemon.received().pop().unwrap();
    assert_eq!(
        (finish.kind, finish.status, finish.serial, payload.len()),
        (Kind::Stream, Status::Ok, call.serial, 0)
    );
    assert_eq!(daemon.session.stream_finish(serial), Err(StreamError::Finished));
    assert_eq!(daemon.stream(&call, Status::Ok, &[]), ["finished"]);
    // Late packets of a closed stream are nobody's fault.
    assert_eq!(daemon.stream(&call, Status::Continue, &[1]), Log::new());
    assert_eq!(daemon.session.stream_send(serial, b"x"), Err(StreamError::Closed));
}

/// Seen on libvirtd 9.0.0: the first hole of a download came before the reply of its call.
#[test]
fn a_stream_may_begin_before_the_reply_of_its_call() {
    let mut daemon = plain();
    let args = remote::StorageVolDownloadArgs::default();
    let serial = daemon.session.call::<remote::StorageVolDownload>(&args, Vec::new()).unwrap();
    let (call, _) = daemon.received().pop().unwrap();
    assert_eq!(daemon.stream(&call, Status::Continue, &[1; 8]), ["data 8"]);
    assert_eq!(daemon.answer(&call, Status::Ok, &[]), ["reply 0"]);
    assert_eq!(daemon.stream(&call, Status::Continue, &[1; 8]), ["data 8"]);
    daemon.session.stream_finish(serial).unwrap();
    assert_eq!(daemon.stream(&call, Status::Ok, &[]), ["finished"]);
    // It may also end before.
    daemon.session.call::<remote::StorageVolDownload>(&args, Vec::new()).unwrap();
    let (call, _) = daemon.received().pop().unwrap();
    let body = error(enums::ErrorNumber::OperationFailed, "gone");
    assert_eq!(daemon.stream(&call, Status::Error, &body), ["broken OperationFailed"]);
    assert_eq!(daemon.answer(&call, Status::Ok, &[]), ["reply 0"]);
    assert!(!daemon.session.is_busy());
    // A call that opens none has none.
    create(&mut daemon);
    let (call, _) = daemon.received().pop().unwrap();
    assert_eq!(daemon.stream(&call, Status::Continue, &[1; 8]), Log::new());
}

#[test]
fn an_upload_is_cut_into_the_usual_pieces() {
    let mut daemon = plain();
    let args = remote::StorageVolUploadArgs::default();
    let serial = daemon.session.call::<remote::StorageVolUpload>(&args, Vec::new()).unwrap();
    let (call, _) = daemon.received().pop().unwrap();
    // Data before the daemon has agreed is refused here, not there.
    assert_eq!(daemon.session.stream_send(serial, b"x"), Err(StreamError::Closed));
    daemon.answer(&call, Status::Ok, &[]);
    daemon.session.stream_send(serial, &vec![3; STREAM_CHUNK + 24]).unwrap();
    daemon.session.stream_hole(serial, 4096).unwrap();
    let sent = daemon.received();
    assert_eq!(sent.iter().map(|(_, payload)| payload.len()).collect::<Vec<_>>(), [STREAM_CHUNK, 24, 12]);
    assert_eq!(sent[2].0.kind, Kind::StreamHole);
    let body = error(enums::ErrorNumber::OperationFailed, "disk full");
    assert_eq!(daemon.stream(&call, Status::Error, &body), ["broken OperationFailed"]);
    assert!(!daemon.session.is_busy());
}

#[test]
fn an_abandoned_stream_is_aborted_also_when_it_opens_later() {
    let mut daemon = plain();
    let (serial, call) = download(&mut daemon);
    assert_eq!(daemon.session.abandon(serial), Abandoned::Sent);
    assert_eq!(daemon.received()[0].0.status, Status::Error);
    assert_eq!(daemon.stream(&call, Status::Continue, &[1; 100]), Log::new());
    assert_eq!(daemon.stream(&call, Status::Error, &[]), Log::new());
    assert!(!daemon.session.is_busy());
    let args = remote::StorageVolDownloadArgs::default();
    let serial = daemon.session.call::<remote::StorageVolDownload>(&args, Vec::new()).unwrap();
    let (call, _) = daemon.received().pop().unwrap();
    assert_eq!(daemon.session.abandon(serial), Abandoned::Sent);
    assert_eq!(daemon.answer(&call, Status::Ok, &[]), Log::new());
    assert_eq!(daemon.received()[0].0.status, Status::Error);
}

/// Who was told neither that a stream ends nor that it is broken off has nothing to confirm: else a part would pass for the whole.
#[test]
fn an_end_that_nobody_asked_for_is_no_success() {
    for status in [Status::Error, Status::Ok] {
        let mut daemon = plain();
        let (_, call) = download(&mut daemon);
        assert_eq!(daemon.stream(&call, Status::Continue, &[1; 8]), ["data 8"]);
        assert_eq!(daemon.stream(&call, status, &[]), ["broken Unasked"]);
        assert!(!daemon.session.is_busy());
    }
    // An end that was said is not confirmed by what confirms an abort.
    let mut daemon = plain();
    let (serial, call) = download(&mut daemon);
    daemon.session.stream_finish(serial).unwrap();
    assert_eq!(daemon.stream(&call, Status::Error, &[]), ["broken Unasked"]);
    let (serial, call) = download(&mut daemon);
    daemon.session.stream_abort(serial).unwrap();
    assert_eq!(daemon.stream(&call, Status::Error, &[]), ["finished"]);
    // Nor is a hole of less than nothing.
    let (_, call) = download(&mut daemon);
    let hole = Header { kind: Kind::StreamHole, status: Status::Continue, ..call };
    let body = [(-1_i64).to_be_bytes().to_vec(), vec![0; 4]].concat();
    daemon.received();
    assert_eq!(daemon.send(&Daemon::packet(&hole, &body), 5).unwrap(), ["broken Hole(Negative(-1))"]);
    // It is told to stop, and what it has sent meanwhile is passed over, until it has heard.
    assert_eq!(
        daemon.received(),
        [(Header { kind: Kind::Stream, status: Status::Error, ..call }, Vec::new())]
    );
    assert_eq!(daemon.stream(&call, Status::Continue, &[1; 8]), Log::new());
    assert_eq!(daemon.send(&Daemon::packet(&hole, &body), 5).unwrap(), Log::new());
    assert!(daemon.session.is_busy());
    assert_eq!(daemon.stream(&call, Status::Error, &[]), Log::new());
    assert!(!daemon.session.is_busy());
}

#[test]
fn a_stream_that_is_of_no_use_before_its_reply_is_aborted_with_it() {
    let bad = [(-1_i64).to_be_bytes().to_vec(), vec![0; 4]].concat();
    // The daemon may have ended it by itself meanwhile, and then hears no more of it.
    for ends in [false, true] {
        let mut daemon = plain();
        let args = remote::StorageVolDownloadArgs::default();
        let serial = daemon.session.call::<remote::StorageVolDownload>(&args, Vec::new()).unwrap();
        let (call, _) = daemon.received().pop().unwrap();
        let hole = Daemon::packet(&Header { kind: Kind::StreamHole, status: Status::Continue, ..call }, &bad);
        assert_eq!(daemon.send(&hole, 5).unwrap(), ["broken Hole(Negative(-1))"]);
        assert_eq!(daemon.send(&hole, 5).unwrap(), Log::new());
        assert_eq!(daemon.stream(&call, Status::Continue, &[1; 8]), Log::new());
        if ends {
            let body = error(enums::ErrorNumber::OperationFailed, "gone");
            assert_eq!(daemon.stream(&call, Status::Error, &body), Log::new());
        }
        assert!(daemon.received().is_empty(), "there is nothing yet that could be aborted");
        assert_eq!(daemon.answer(&call, Status::Ok, &[]), ["reply 0"]);
        let abort = (Header { kind: Kind::Stream, status: Status::Error, ..call }, Vec::new());
        assert_eq!(daemon.received(), if ends { vec![] } else { vec![abort] });
        assert_eq!(daemon.stream(&call, Status::Continue, &[1; 8]), Log::new());
        assert!(daemon.session.stream_finish(serial).is_err());
        if !ends {
            assert_eq!(daemon.stream(&call, Status::Error, &[]), Log::new());
        }
        assert!(!daemon.session.is_busy());
    }
}

#[test]
fn keepalive_goes_both_ways_and_ends_in_an_error() {
    let keepalive = Keepalive { interval: Duration::from_secs(5), count: 2 };
    let mut daemon = Daemon::new(Limits::default(), Some(keepalive));
    let message = |procedure| Header {
        program: 0x6b65_6570,
        version: 1,
        procedure,
        kind: Kind::Message,
        serial: 0,
        status: Status::Ok,
    };
    assert_eq!(daemon.send(&Daemon::packet(&message(1), &[]), 3).unwrap(), Log::new());
    assert_eq!(daemon.received(), [(message(2), Vec::new())]);
    let start = daemon.now;
    let at = |seconds| start + Duration::from_secs(seconds);
    daemon.session.tick(at(4)).unwrap();
    assert_eq!(daemon.received(), []);
    daemon.session.tick(at(5)).unwrap();
    assert_eq!(daemon.received(), [(message(1), Vec::new())]);
    assert_eq!(daemon.session.deadline(), Some(at(10)));
    // Anything that comes is an answer.
    daemon.now = at(6);
    daemon.send(&Daemon::packet(&message(2), &[]), 28).unwrap();
    daemon.session.tick(at(11)).unwrap();
    daemon.session.tick(at(16)).unwrap();
    assert_eq!(daemon.received().len(), 2);
    assert_eq!(daemon.session.tick(at(21)), Err(SessionError::Silent(Duration::from_secs(15))));
}

#[test]
fn nobody_is_asked_for_a_sign_of_life_before_the_login() {
    let mut daemon = plain();
    let at = |daemon: &Daemon, seconds| daemon.now + Duration::from_secs(seconds);
    assert_eq!(daemon.session.deadline(), None);
    daemon.session.tick(at(&daemon, 1000)).unwrap();
    assert!(daemon.received().is_empty());
    let keepalive = Keepalive { interval: Duration::from_secs(5), count: 1 };
    daemon.session.keep_alive(Some(keepalive), at(&daemon, 1000));
    assert_eq!(daemon.session.deadline(), Some(at(&daemon, 1005)), "all its time begins then");
    daemon.session.tick(at(&daemon, 1005)).unwrap();
    assert_eq!(daemon.received().len(), 1);
    daemon.session.tick(at(&daemon, 1010)).unwrap_err();
}

#[test]
fn silence_means_nothing_while_nothing_is_read() {
    let keepalive = Keepalive { interval: Duration::from_secs(5), count: 2 };
    let mut daemon = Daemon::new(Limits::default(), Some(keepalive));
    let start = daemon.now;
    let at = |seconds| start + Duration::from_secs(seconds);
    daemon.session.pause(at(1));
    // The daemon is told that we live, and not asked whether it does.
    for second in [6, 11, 16, 600] {
        daemon.session.tick(at(second)).unwrap();
        let told = daemon.received();
        assert_eq!(told.iter().map(|(header, _)| header.procedure).collect::<Vec<_>>(), [keepalive::PONG]);
        daemon.session.pause(at(second));
        assert_eq!(daemon.session.deadline(), Some(at(second + 5)));
    }
    // A daemon that does not read either is told once.
    for second in [610, 620, 630] {
        daemon.session.tick(at(second)).unwrap();
    }
    assert_eq!(daemon.received().len(), 1);
    // Read again, it has its time to show that it lives.
    daemon.session.resume(at(1000));
    assert_eq!(daemon.session.deadline(), Some(at(1005)));
    daemon.session.tick(at(1005)).unwrap();
    daemon.session.tick(at(1010)).unwrap();
    assert_eq!(daemon.received().len(), 2, "asked twice");
    assert_eq!(daemon.session.tick(at(1015)), Err(SessionError::Silent(Duration::from_secs(15))));
}

#[test]
fn a_daemon_that_takes_what_had_to_wait_lives() {
    let keepalive = Keepalive { interval: Duration::from_secs(5), count: 2 };
    let mut daemon = Daemon::new(Limits::default(), Some(keepalive));
    let start = daemon.now;
    let at = |seconds| start + Duration::from_secs(seconds);
    daemon.session.tick(at(5)).unwrap();
    daemon.session.tick(at(10)).unwrap();
    daemon.session.heard(at(14));
    daemon.session.tick(at(19)).unwrap();
    daemon.session.tick(at(24)).unwrap();
    assert_eq!(daemon.session.tick(at(29)), Err(SessionError::Silent(Duration::from_secs(15))));
}

#[test]
fn who_stood_still_asks_before_a_connection_is_given_up() {
    let keepalive = Keepalive { interval: Duration::from_secs(5), count: 2 };
    let mut daemon = Daemon::new(Limits::default(), Some(keepalive));
    let start = daemon.now;
    let at = |seconds| start + Duration::from_secs(seconds);
    // Nothing ran for an hour: the daemon was not asked meanwhile, and has its time from now on.
    daemon.session.tick(at(3600)).unwrap();
    assert_eq!(daemon.received().len(), 1);
    assert_eq!(daemon.session.deadline(), Some(at(3605)));
    daemon.session.tick(at(3605)).unwrap();
    assert_eq!(daemon.received().len(), 1);
    assert_eq!(daemon.session.tick(at(3610)), Err(SessionError::Silent(Duration::from_secs(3610))));
}

#[test]
fn events_come_without_a_call_and_unknown_ones_come_too() {
    let mut daemon = plain();
    let event = Header {
        program: 0x2000_8086,
        version: 1,
        procedure: 999,
        kind: Kind::Message,
        serial: 0,
        status: Status::Ok,
    };
    assert_eq!(daemon.send(&Daemon::packet(&event, &[0; 4]), 1).unwrap(), ["event 999 4"]);
    assert!(crate::event::decode(crate::procedure::Program::Remote, 999, &[0; 4]).is_none());
    let foreign = Header { program: 77, ..event };
    assert_eq!(daemon.send(&Daemon::packet(&foreign, &[]), 1).unwrap(), Log::new());
}

#[test]
fn what_is_no_packet_ends_the_session() {
    let mut daemon = plain();
    assert!(daemon.send(&[0xff; 28], 28).is_err());
    let header =
        Header { program: 1, version: 1, procedure: 1, kind: Kind::Reply, serial: 1, status: Status::Ok };
    let mut bytes = Daemon::packet(&header, &[]);
    bytes[19] = 9;
    assert!(plain().send(&bytes, 28).unwrap_err().to_string().contains("type 9"));
    let mut bytes = Daemon::packet(&header, &[]);
    bytes[27] = 9;
    assert!(plain().send(&bytes, 28).unwrap_err().to_string().contains("status 9"));
}

#[test]
fn an_urgent_procedure_is_marked() {
    assert!(remote::ConnectGetLibVersion::INFO.urgent);
    assert!(!remote::DomainCreate::INFO.urgent);
    assert_eq!(<() as Wire<'_>>::MIN, 0);
}
