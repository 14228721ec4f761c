//! What is done with bytes that could be anything: by the fuzzer, and by `tests/fuzz.rs` without one.
//!
//! ```text
//!   contents   one payload, as each structure that a packet can hold
//!   client     steps: what a program does with a client's session, and what comes from the daemon
//!   server     the same for the daemon's side
//!   scram      what a daemon answers to SCRAM, and its last word
//! ```
//!
//! A step is a byte that says what, and a few that say how; so that a fuzzer finds packets which belong to calls, some steps are packets
//! with a header that the session expects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use libvirt_protocol::packet::{self, Header, Kind, Status};
use libvirt_protocol::procedure::{Info, Program};
use libvirt_protocol::scram::{Begun, Hash, ScramError};
use libvirt_protocol::session::{
    ClientSession, Incoming, Keepalive, Limits, Request, Serial, ServerSession, Transmit,
};
use libvirt_protocol::xdr::{self, DecodeError};
use libvirt_protocol::{event, types};
use std::time::{Duration, Instant};

/// What takes any bytes, and panics when something is wrong.
pub(crate) type Target = fn(&[u8]);

/// By name.
pub(crate) const TARGETS: [(&str, Target); 4] =
    [("contents", contents), ("client", client), ("server", server), ("scram", scram)];

/// The keepalive program, which has no structures.
const KEEPALIVE: u32 = 0x6b65_6570;

/// Decodes a payload as what its first bytes say. What can be decoded has one form: that form is stable.
pub(crate) fn contents(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (program, number, what) = (input.program(), input.number(), input.byte());
    let payload = input.0;
    let recode = |payload: &[u8]| -> Option<Result<Vec<u8>, DecodeError>> {
        match what % 4 {
            0 => Some(xdr::recode::<types::Error<'_>>(payload)),
            1 => event::recode(program, number, payload),
            2 => procedure(program, number).recode.map(|recode| (recode.args)(payload)),
            _ => procedure(program, number).recode.map(|recode| (recode.ret)(payload)),
        }
    };
    if let Some(Ok(first)) = recode(payload) {
        let second = recode(&first);
        assert_eq!(second, Some(Ok(first)), "what was encoded is decoded to something else");
    }
    let _ = event::decode(program, number, payload);
}

/// A client's session between a program and a daemon that both do anything.
pub(crate) fn client(bytes: &[u8]) {
    let start = now();
    let mut elapsed = Duration::ZERO;
    let mut input = Input(bytes);
    let settings = input.byte();
    let limits = Limits { ordinary: usize::from(settings & 3) + 1, urgent: usize::from(settings >> 2 & 1) };
    let keepalive = (settings & 8 != 0).then_some(Keepalive { interval: Duration::from_secs(1), count: 2 });
    let mut session = ClientSession::new(limits, keepalive, start);
    let mut calls: Vec<(Serial, u32, &'static Info)> = Vec::new();
    let mut numbered = 0;
    while !input.0.is_empty() {
        let step = input.byte();
        match step % 12 {
            0 | 1 => {
                let info = procedure(input.program(), input.number());
                let payload = input.some();
                numbered += 1;
                let called = session.call_encoded(info, payload.to_vec(), Vec::new());
                let serial = called.expect("a short payload");
                calls.push((serial, numbered, info));
            }
            2 => {
                let _ = input.one(&calls).map(|(serial, ..)| session.abandon(*serial));
            }
            3 => {
                let call = input.one(&calls).map(|(serial, ..)| *serial);
                let data = input.some();
                let _ = call.map(|call| session.stream_send(call, data));
            }
            4 => {
                let _ = input.one(&calls).map(|(serial, ..)| session.stream_finish(*serial));
            }
            5 => {
                let _ = input.one(&calls).map(|(serial, ..)| session.stream_abort(*serial));
            }
            6 => {
                let _ = input.one(&calls).map(|(serial, ..)| session.stream_hole(*serial, i64::from(step)));
            }
            7 => {
                elapsed += Duration::from_millis(u64::from(input.byte()) * 10);
                if session.tick(start + elapsed).is_err() {
                    return;
                }
            }
            8 => {
                let room = usize::from(input.byte()) * 8;
                if let Some(Transmit::Bytes(next)) = session.transmit() {
                    let sent = next.len().min(room);
                    session.sent(sent);
                }
            }
            9 => {
                if from_daemon(&mut session, input.some(), start + elapsed).is_err() {
                    return;
                }
            }
            _ => {
                let call = input.one(&calls).map(|(_, serial, info)| (*serial, *info));
                let packet = input.packet(call);
                if from_daemon(&mut session, &packet, start + elapsed).is_err() {
                    return;
                }
            }
        }
    }
    // Whatever was sent, a daemon finds packets in it.
    let mut sent = Vec::new();
    while let Some(Transmit::Bytes(next)) = session.transmit() {
        let length = next.len();
        sent.extend_from_slice(next);
        session.sent(length);
    }
    assert_eq!(session.unsent(), 0);
}

fn from_daemon(session: &mut ClientSession, mut bytes: &[u8], now: Instant) -> Result<(), ()> {
    while !bytes.is_empty() {
        let space = session.space();
        let fitting = space.len().min(bytes.len());
        space[..fitting].copy_from_slice(&bytes[..fitting]);
        session.filled(fitting, [], now);
        bytes = &bytes[fitting..];
        while let Some(incoming) = session.next().map_err(drop)? {
            match incoming {
                Incoming::Event { program, procedure, payload } => {
                    let _ = event::decode(program, procedure, payload);
                }
                Incoming::Data { data, .. } => assert!(!data.is_empty(), "empty data means the end"),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The daemon's side between a client that does anything and a daemon that answers everything.
pub(crate) fn server(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut session = ServerSession::default();
    let mut calls = Vec::new();
    while !input.0.is_empty() {
        let step = input.byte();
        let from_client = match step % 8 {
            0 => input.some().to_vec(),
            1 | 2 => {
                let number = input.byte();
                let info = procedure(input.program(), input.number());
                input.packet(Some((u32::from(number), info)))
            }
            3 => {
                let call = calls.last().copied();
                let data = input.some();
                call.into_iter().for_each(|call| session.stream_data(call, data));
                continue;
            }
            4 => {
                calls.pop().into_iter().for_each(|call| session.stream_finish(call));
                continue;
            }
            5 => {
                let call = calls.pop();
                let result = input.some();
                if let Some(call) = call {
                    session.reply_encoded(call, result, Vec::new()).expect("a short result");
                }
                continue;
            }
            6 => {
                let error = types::Error { message: Some("no".into()), ..Default::default() };
                if let Some(call) = calls.pop() {
                    session.refuse(call, &error).expect("a short text");
                }
                continue;
            }
            _ => {
                while let Some(Transmit::Bytes(next)) = session.transmit() {
                    let length = next.len();
                    session.sent(length);
                }
                continue;
            }
        };
        let mut bytes = &from_client[..];
        while !bytes.is_empty() {
            let space = session.space();
            let fitting = space.len().min(bytes.len());
            space[..fitting].copy_from_slice(&bytes[..fitting]);
            session.filled(fitting, []);
            bytes = &bytes[fitting..];
            loop {
                match session.next() {
                    Err(_) => return,
                    Ok(None) => break,
                    Ok(Some(Request::Call { call, info, payload, .. })) => {
                        let _ = info.and_then(|info| info.recode).map(|recode| (recode.args)(payload));
                        calls.push(call);
                    }
                    Ok(Some(_)) => {}
                }
            }
        }
    }
}

/// A challenge is answered or refused, and only who knows the password is believed. The first byte says with which hash, and how much is
/// done; the second how long the challenge is, behind which the last word stands.
pub(crate) fn scram(bytes: &[u8]) {
    let [form, length, rest @ ..] = bytes else { return };
    let hash = if form & 1 == 0 { Hash::Sha256 } else { Hash::Sha1 };
    let begun = Begun::new(hash, "us=er,", PASSWORD, b"twenty four bytes or so.");
    let message = begun.message();
    let (_, ours) = message.split_once(",r=").expect("a nonce in the first message");
    let (challenge, last) = rest.split_at(usize::from(*length).min(rest.len()));
    // Otherwise next to none would go on from our nonce.
    let challenge =
        if form & 2 == 0 { challenge.to_vec() } else { [b"r=", ours.as_bytes(), challenge].concat() };
    let (Ok(challenge), Ok(last)) = (String::from_utf8(challenge), std::str::from_utf8(last)) else { return };
    let Ok(read) = begun.read(&challenge) else { return };
    let (rounds, salt) = (read.rounds(), read.salt().to_vec());
    assert!((4096..=1_000_000).contains(&rounds), "{rounds} rounds");
    // Each takes its time: most are only read.
    if form & 4 == 0 || rounds > 4200 {
        return;
    }
    let (answer, proved) = begun.answer(&read);
    let (signed, proof) = answer.rsplit_once(",p=").expect("a proof in the answer");
    assert!(signed.starts_with(&format!("c=biws,r={ours}")) && signed.matches(',').count() == 1, "{signed}");
    let signed = format!("{},{challenge},{signed}", message.trim_start_matches("n,,"));
    // What a server does that keeps the password.
    let salted = hash.salted(PASSWORD, &salt, rounds);
    let stored = hash.digest(&hash.hmac(&salted, b"Client Key"));
    let proof = BASE64.decode(proof).expect("base64");
    let key: Vec<u8> = proof.iter().zip(hash.hmac(&stored, signed.as_bytes())).map(|(a, b)| a ^ b).collect();
    assert_eq!(hash.digest(&key), stored, "a right server refuses the proof");
    let mut signature = hash.hmac(&hash.hmac(&salted, b"Server Key"), signed.as_bytes());
    let said = |signature: &[u8]| format!("v={}", BASE64.encode(signature));
    assert_eq!(proved.check(&said(&signature)), Ok(()));
    assert!(proved.check(last).is_err() || last.starts_with(&said(&signature)), "{last}");
    signature[usize::from(*length) % proof.len()] ^= 1;
    assert_eq!(proved.check(&said(&signature)), Err(ScramError::Unproven));
}

/// What both sides know in [`scram`].
const PASSWORD: &str = "pencil";

fn procedure(program: Program, number: i32) -> &'static Info {
    let all = program.procedures();
    all[usize::try_from(number).unwrap_or(0) % all.len()]
}

#[allow(clippy::disallowed_methods, reason = "any instant will do: the session gets its time from here")]
fn now() -> Instant {
    Instant::now()
}

/// Bytes that are taken from the front; zeros when there are none.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> i32 {
        i32::from(self.byte()) << 8 | i32::from(self.byte())
    }

    fn program(&mut self) -> Program {
        // Most calls are of the first.
        Program::ALL[usize::from(self.byte().saturating_sub(250)) % Program::ALL.len()]
    }

    /// Up to 4 KiB, as long as the next two bytes say.
    fn some(&mut self) -> &'a [u8] {
        let length = usize::try_from(self.number()).unwrap_or(0) % 4096;
        let (some, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        some
    }

    fn one<'c, T>(&mut self, all: &'c [T]) -> Option<&'c T> {
        let index = usize::from(self.byte());
        (!all.is_empty()).then(|| &all[index % all.len()])
    }

    /// A packet whose frame is right, for a call or for none.
    fn packet(&mut self, call: Option<(u32, &Info)>) -> Vec<u8> {
        let kind = match self.byte() % 8 {
            0 => Kind::Call,
            1 | 2 => Kind::Reply,
            3 => Kind::Message,
            4 | 5 => Kind::Stream,
            6 => Kind::StreamHole,
            _ => Kind::ReplyWithFds,
        };
        let status = match self.byte() % 4 {
            0 | 1 => Status::Ok,
            2 => Status::Error,
            _ => Status::Continue,
        };
        let (program, procedure, serial) = match (call, kind) {
            (_, Kind::Message) if self.byte().is_multiple_of(4) => (KEEPALIVE, self.number() % 4, 0),
            (Some((serial, info)), _) => (info.program.number(), info.number, serial),
            (None, _) => (self.program().number(), self.number(), u32::from(self.byte())),
        };
        let header = Header { program, version: 1, procedure, kind, serial, status };
        let payload = self.some();
        packet::encode(&header, 0, payload)
    }
}
