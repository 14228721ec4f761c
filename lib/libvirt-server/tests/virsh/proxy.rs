//! A recorder between virsh and libvirtd: every message is decoded, encoded again and passed on as this library writes it. What was
//! recorded is played to virsh again, and its calls are put to the server of this crate, whose replies must be the same bytes.

use crate::daemon::{self, Libvirtd, OurServer, documents, virsh_in};
use crate::transcript::Transcript;
use libvirt_client::transport::{Privacy, Stream, Unix};
use libvirt_protocol::packet::{Header, Kind, Status};
use libvirt_protocol::procedure::Program;
use libvirt_protocol::xdr::Uuid;
use libvirt_server::Server;
use libvirt_server::proxy::{Direction, Packet, Packets, Recorder, Recording, Summary, relay, replay};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Runs a script through the recorder, against libvirtd; again when virsh hangs.
async fn record(script: &str) -> (String, Recording, Summary) {
    loop {
        let (text, recording, summary) = attempt(script).await;
        match text {
            Some(text) => return (text, recording, summary),
            None => println!("virsh hangs; once more"),
        }
    }
}

async fn attempt(script: &str) -> (Option<String>, Recording, Summary) {
    let real = Libvirtd::start();
    let socket = real.directory().join("recorder");
    let listener = UnixListener::bind(&socket).unwrap();
    let (script, directory) = (script.to_owned(), real.directory().to_owned());
    let virsh = tokio::task::spawn_blocking(move || virsh_in(&socket, &directory, &script));
    let (client, _) = listener.accept().await.unwrap();
    let daemon = UnixStream::connect(real.socket()).await.unwrap();
    let mut recorder = Recorder::default();
    relay(Unix::try_from(client).unwrap(), Unix::try_from(daemon).unwrap(), &mut recorder).await.unwrap();
    let (recording, summary) = recorder.finish();
    (virsh.await.unwrap(), recording, summary)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_message_between_virsh_and_libvirtd_is_written_alike() {
    if daemon::is_missing("every_message_between_virsh_and_libvirtd_is_written_alike") {
        return;
    }
    let mut all = Summary::default();
    let mut procedures = BTreeSet::new();
    let mut samples = Samples::default();
    for script in crate::SCRIPTS {
        let (text, recording, summary) = record(script).await;
        assert_eq!(Transcript::of(script, text.clone()).commands.len(), script.lines().count(), "{text}");
        assert_eq!(summary.different, Vec::<String>::new());
        all.identical += summary.identical;
        all.raw += summary.raw;
        all.unknown += summary.unknown;
        for packet in packets(&recording).map(|(_, packet)| packet) {
            procedures.insert((packet.header.program, packet.header.procedure));
        }
        assert_eq!(recording.to_string().parse::<Recording>().unwrap(), recording);
        samples.add(recording);
    }
    samples.write();
    println!(
        "{} messages of {} procedures identical, {} without structure, {} unknown",
        all.identical,
        procedures.len(),
        all.raw,
        all.unknown
    );
    assert!(all.identical > 1000 && all.unknown == 0, "{all:?}");
}

/// One message of each procedure and direction: what the fuzz targets of libvirt-protocol begin with.
#[derive(Default)]
struct Samples(BTreeMap<(u32, i32, bool), libvirt_server::proxy::Message>);

impl Samples {
    /// Longer ones hold the same structures more often.
    const LONGEST: usize = 700;

    fn add(&mut self, recording: Recording) {
        let host = rustix::system::uname();
        let host = host.nodename().to_bytes();
        for message in recording.messages {
            let header = message.bytes[4..28].first_chunk().and_then(|header| Header::decode(header).ok());
            let Some(Header {
                program, procedure, kind: Kind::Call | Kind::Reply, status: Status::Ok, ..
            }) = header
            else {
                continue;
            };
            let named = message.bytes.windows(host.len()).any(|bytes| bytes == host);
            if message.bytes.len() <= Self::LONGEST && !named {
                let up = message.direction == Direction::ToDaemon;
                self.0.entry((program, procedure, up)).or_insert(message);
            }
        }
    }

    /// Into the file that the variable names, which is how the checked-in one was made.
    fn write(self) {
        #[expect(clippy::disallowed_methods, reason = "only on demand, by hand")]
        let Some(path) = std::env::var_os("HV_LIBVIRT_SAMPLES") else { return };
        let messages = self.0.into_values().collect();
        let text = format!(
            "# Between virsh and libvirtd 9.0.0, test:///default: one call and one reply of each procedure.\n{}",
            Recording { messages }
        );
        std::fs::write(path, text).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_recording_is_played_to_virsh_again() {
    if daemon::is_missing("a_recording_is_played_to_virsh_again") {
        return;
    }
    let (before, recording, _) = record(crate::HOST).await;
    let directory = documents();
    let socket = directory.path().join("replay");
    let listener = UnixListener::bind(&socket).unwrap();
    let at = directory.path().to_owned();
    let virsh = tokio::task::spawn_blocking(move || virsh_in(&socket, &at, crate::HOST));
    let (client, _) = listener.accept().await.unwrap();
    replay(&recording, Unix::try_from(client).unwrap()).await.unwrap();
    let after = virsh.await.unwrap().expect("virsh hangs");
    assert_eq!(Transcript::of(crate::HOST, after).commands, Transcript::of(crate::HOST, before).commands);
}

fn packets(recording: &Recording) -> impl Iterator<Item = (Direction, Packet)> {
    recording.messages.iter().map(|message| {
        let mut packets = Packets::default();
        packets.feed(&message.bytes, []);
        (message.direction, packets.next_packet().unwrap().unwrap())
    })
}

/// What a daemon answered to every call, by the call's number.
type Answers = BTreeMap<u32, Answer>;

/// An answer to a call.
#[derive(Debug, PartialEq)]
struct Answer {
    procedure: i32,
    status: Status,
    payload: Vec<u8>,
}

fn keep(answers: &mut Answers, packet: Packet) {
    if packet.header.kind == Kind::Reply {
        let Packet { header, payload, .. } = packet;
        let answer = Answer { procedure: header.procedure, status: header.status, payload };
        answers.insert(header.serial, answer);
    }
}

/// UUIDs and addresses that both daemons drew, in the same places: theirs, ours.
#[derive(Default)]
struct Drawn(Vec<(Vec<u8>, Vec<u8>)>);

impl Drawn {
    /// Learns what was drawn from two answers to one call.
    fn learn(&mut self, theirs: &Answer, ours: &Answer) {
        if theirs.payload.len() != ours.payload.len() || theirs.status != Status::Ok {
            return;
        }
        let name = Program::Remote.procedure(theirs.procedure).map_or("", |info| info.name);
        let makes = [
            "domain_create_xml",
            "domain_define_xml",
            "domain_define_xml_flags",
            "network_create_xml",
            "storage_pool_create_xml",
            "storage_pool_define_xml",
        ];
        if makes.contains(&name) {
            // A name, then a UUID.
            let length = u32::from_be_bytes(*theirs.payload.first_chunk().unwrap()) as usize;
            let at = 4 + length.next_multiple_of(4);
            let pair = [theirs, ours].map(|answer| answer.payload[at..at + 16].to_vec());
            let text = |bytes: &[u8]| Uuid(bytes.try_into().unwrap()).to_string().into_bytes();
            self.add(text(&pair[0]), text(&pair[1]));
            let [theirs, ours] = pair;
            self.add(theirs, ours);
        }
        let start = b"52:54:00:";
        for at in 0..theirs.payload.len().saturating_sub(17) {
            let pair = [theirs, ours].map(|answer| &answer.payload[at..at + 17]);
            if pair.iter().all(|text| text.starts_with(start)) {
                self.add(pair[0].to_vec(), pair[1].to_vec());
            }
        }
    }

    fn add(&mut self, theirs: Vec<u8>, ours: Vec<u8>) {
        if theirs != ours {
            self.0.push((theirs, ours));
        }
    }

    /// Puts our values in place of theirs.
    fn to_ours(&self, bytes: &mut [u8]) {
        self.0.iter().for_each(|(theirs, ours)| exchange(bytes, theirs, ours));
    }

    /// Puts their values in place of ours.
    fn to_theirs(&self, bytes: &mut [u8]) {
        self.0.iter().for_each(|(theirs, ours)| exchange(bytes, ours, theirs));
    }
}

fn exchange(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    for at in 0..=bytes.len().saturating_sub(old.len()) {
        if bytes[at..].starts_with(old) {
            bytes[at..at + old.len()].copy_from_slice(new);
        }
    }
}

/// Puts the calls of a recording to our server, one after the other, and gives both sides' answers.
async fn put(recording: &Recording) -> (Answers, Answers) {
    let mut theirs = Answers::new();
    packets(recording)
        .filter(|(direction, _)| *direction == Direction::FromDaemon)
        .for_each(|(_, packet)| keep(&mut theirs, packet));
    let server = Server::builder().hostname(&hostname()).build();
    let handle = server.handle();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { server.serve(None).await });
    let (mut near, far) = tokio::io::duplex(1 << 20);
    handle.attach(Stream::new(far, Privacy::Private));
    let (mut ours, mut drawn, mut arrived) = (Answers::new(), Drawn::default(), Packets::default());
    for (direction, mut call) in packets(recording) {
        let serial = call.header.serial;
        if direction == Direction::FromDaemon || call.header.kind != Kind::Call {
            continue;
        }
        drawn.to_ours(&mut call.payload);
        near.write_all(&call.encode()).await.unwrap();
        let mut room = vec![0; 65_536];
        while !ours.contains_key(&serial) {
            let read = near.read(&mut room).await.unwrap();
            assert!(read > 0, "the server closed after {:?}", call.header);
            arrived.feed(&room[..read], []);
            while let Some(packet) = arrived.next_packet().unwrap() {
                keep(&mut ours, packet);
            }
        }
        if let (Some(theirs), Some(ours)) = (theirs.get(&serial), ours.get_mut(&serial)) {
            drawn.learn(theirs, ours);
            drawn.to_theirs(&mut ours.payload);
        }
    }
    (theirs, ours)
}

/// Replies that may differ, and why.
const VARYING: &[(&str, &str)] = &[
    ("domain_block_stats", "out of the time of day"),
    ("domain_checkpoint_get_xml_desc", "the time of its creation"),
    ("domain_get_info", "the time of day"),
    ("domain_get_vcpus", "out of the time of day"),
    ("domain_interface_stats", "out of the time of day"),
    ("domain_snapshot_get_xml_desc", "the time of its creation"),
    ("connect_list_all_domains", "the order is that of a hash table"),
    ("connect_list_all_interfaces", "the order is that of a hash table"),
    ("connect_list_all_networks", "the order is that of a hash table"),
    ("connect_list_all_storage_pools", "the order is that of a hash table"),
    ("domain_list_all_checkpoints", "the order is that of a hash table"),
    ("domain_list_all_snapshots", "the order is that of a hash table"),
    ("storage_pool_list_all_volumes", "the order is that of a hash table"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn our_server_answers_virshs_calls_with_the_bytes_of_libvirtd() {
    if daemon::is_missing("our_server_answers_virshs_calls_with_the_bytes_of_libvirtd") {
        return;
    }
    let (mut same, mut varying, mut wrong) = (0, 0, Vec::new());
    for script in crate::SCRIPTS {
        let (_, recording, _) = record(script).await;
        let (theirs, ours) = put(&recording).await;
        for (serial, expected) in &theirs {
            let known = Program::ALL.iter().filter_map(|program| program.procedure(expected.procedure));
            let name = known.map(|info| info.name).next().unwrap();
            let answer = &ours[serial];
            let may_vary = VARYING.iter().any(|(varying, _)| *varying == name)
                && answer.status == expected.status
                && answer.payload.len() == expected.payload.len();
            if answer == expected {
                same += 1;
            } else if may_vary {
                varying += 1;
            } else {
                wrong.push(format!("{name}: {} instead of {}", shown(answer), shown(expected)));
            }
        }
    }
    println!("{same} replies identical, {varying} that vary by nature");
    assert!(wrong.is_empty(), "{} of {same}: {:#?}", wrong.len(), wrong);
}

fn shown(answer: &Answer) -> String {
    format!("{:?} {:?}", answer.status, String::from_utf8_lossy(&answer.payload))
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_str().unwrap().to_owned()
}

/// What a daemon answers to calls that make no sense, one after the other on one connection.
async fn nonsense(socket: &Path) -> Vec<Answer> {
    const REMOTE: u32 = 0x2000_8086;
    let open =
        [0, 0, 0, 1, 0, 0, 0, 15, b't', b'e', b's', b't', b':', b'/', b'/', b'/', b'd', b'e', b'f', b'a'];
    let open = [&open[..], b"ult\0", &[0; 4]].concat();
    let calls: [(u32, u32, i32, &[u8]); 8] = [
        // Before anything: a call that needs a connection.
        (REMOTE, 1, 59, &[]),
        (REMOTE, 1, 66, &[]),
        (REMOTE, 1, 1, &open),
        // A program, a version, a procedure that do not exist; arguments that are none; an event is no call.
        (0x1234_5678, 1, 1, &[]),
        (REMOTE, 9, 59, &[]),
        (REMOTE, 1, 9999, &[]),
        (REMOTE, 1, 23, &[0, 0, 0, 200]),
        (REMOTE, 1, 318, &[]),
    ];
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let (mut packets, mut answers) = (Packets::default(), Vec::new());
    for (serial, (program, version, procedure, payload)) in (1..).zip(calls) {
        let header = Header { program, version, procedure, kind: Kind::Call, serial, status: Status::Ok };
        let call = Packet { header, payload: payload.to_vec(), descriptors: Vec::new() };
        stream.write_all(&call.encode()).await.unwrap();
        let packet = loop {
            if let Some(packet) = packets.next_packet().unwrap() {
                break packet;
            }
            let mut room = vec![0; 4096];
            let read = stream.read(&mut room).await.unwrap();
            if read == 0 {
                return answers;
            }
            packets.feed(&room[..read], []);
        };
        assert_eq!(packet.header.serial, serial);
        let Packet { header, payload, .. } = packet;
        answers.push(Answer { procedure: header.procedure, status: header.status, payload });
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_that_make_no_sense_are_refused_alike() {
    if daemon::is_missing("calls_that_make_no_sense_are_refused_alike") {
        return;
    }
    let real = Libvirtd::start();
    let theirs = nonsense(&real.socket()).await;
    let server = tokio::task::spawn_blocking(OurServer::start).await.unwrap();
    let ours = nonsense(server.socket()).await;
    tokio::task::spawn_blocking(|| drop(server)).await.unwrap();
    let shown = |answers: &[Answer]| answers.iter().map(shown).collect::<Vec<_>>();
    assert_eq!(theirs.len(), 8, "libvirtd closed early: {:?}", shown(&theirs));
    assert_eq!(shown(&ours), shown(&theirs));
    assert_eq!(ours, theirs);
}
