//! Both sides of a connection, joined in memory.

use super::*;
use crate::procedure::Procedure;
use crate::xdr::{self, Limited, Wire};
use crate::{enums, event, flags, remote, types};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// Moves everything that either side has to say; pieces of this size.
struct Pair {
    client: ClientSession,
    server: ServerSession,
    piece: usize,
}

impl Pair {
    #[expect(clippy::disallowed_methods, reason = "no time passes in these tests")]
    fn new(piece: usize) -> Self {
        let client = ClientSession::new(Limits::default(), None, Instant::now());
        Self { client, server: ServerSession::default(), piece }
    }

    fn deliver_requests(&mut self) {
        while let Some(next) = self.client.transmit() {
            match next {
                Transmit::Bytes(bytes) => {
                    let space = self.server.space();
                    let count = bytes.len().min(space.len()).min(self.piece);
                    space[..count].copy_from_slice(&bytes[..count]);
                    self.server.filled(count, []);
                    self.client.sent(count);
                }
                Transmit::Descriptor(descriptor) => {
                    let descriptor: OwnedFd = descriptor.try_clone_to_owned().unwrap();
                    self.server.space()[0] = 0;
                    self.server.filled(1, [descriptor]);
                    self.client.descriptor_sent();
                }
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "no time passes in these tests")]
    fn deliver_answers(&mut self) {
        while let Some(next) = self.server.transmit() {
            match next {
                Transmit::Bytes(bytes) => {
                    let space = self.client.space();
                    let count = bytes.len().min(space.len()).min(self.piece);
                    space[..count].copy_from_slice(&bytes[..count]);
                    self.client.filled(count, [], Instant::now());
                    self.server.sent(count);
                }
                Transmit::Descriptor(descriptor) => {
                    let descriptor: OwnedFd = descriptor.try_clone_to_owned().unwrap();
                    self.client.space()[0] = 0;
                    self.client.filled(1, [descriptor], Instant::now());
                    self.server.descriptor_sent();
                }
            }
        }
    }

    fn call(&mut self) -> CallId {
        self.deliver_requests();
        match self.server.next().unwrap() {
            Some(Request::Call { call, .. }) => call,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_call_its_reply_and_its_refusal_cross_in_pieces_of_any_size() {
    for piece in [1, 3, 29, 1000] {
        let mut pair = Pair::new(piece);
        let args = remote::DomainLookupByNameArgs { name: "web".into() };
        let first = pair.client.call::<remote::DomainLookupByName>(&args, Vec::new()).unwrap();
        let second = pair.client.call::<remote::DomainLookupByName>(&args, Vec::new()).unwrap();
        pair.deliver_requests();
        let Some(Request::Call { call, info, payload, .. }) = pair.server.next().unwrap() else { panic!() };
        assert_eq!(info.unwrap().name, "domain_lookup_by_name");
        assert_eq!(xdr::decode::<remote::DomainLookupByNameArgs<'_>>(payload).unwrap(), args);
        let dom = types::Domain { name: "web".into(), uuid: xdr::Uuid([1; 16]), id: 4 };
        let result = remote::DomainLookupByNameRet { dom };
        pair.server.reply::<remote::DomainLookupByName>(call, &result, Vec::new()).unwrap();
        let Some(Request::Call { call, .. }) = pair.server.next().unwrap() else { panic!() };
        let error = types::Error { code: enums::ErrorNumber::NoDomain, ..Default::default() };
        pair.server.refuse(call, &error).unwrap();
        pair.deliver_answers();
        match pair.client.next().unwrap() {
            Some(Incoming::Reply { serial, payload, .. }) => {
                assert_eq!(serial, first);
                assert_eq!(xdr::decode::<remote::DomainLookupByNameRet<'_>>(payload).unwrap(), result);
            }
            other => panic!("{other:?}"),
        }
        match pair.client.next().unwrap() {
            Some(Incoming::Failed { serial, failure: Failure::Daemon(why) }) => {
                assert_eq!((serial, *why), (second, error));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn descriptors_cross_both_ways() {
    let mut pair = Pair::new(7);
    let (reader, writer) = std::io::pipe().unwrap();
    let args = remote::DomainFdAssociateArgs { name: "disk".into(), ..Default::default() };
    pair.client.call::<remote::DomainFdAssociate>(&args, vec![reader.into(), writer.into()]).unwrap();
    pair.deliver_requests();
    let Some(Request::Call { call, descriptors, payload, .. }) = pair.server.next().unwrap() else {
        panic!()
    };
    assert_eq!(xdr::decode::<remote::DomainFdAssociateArgs<'_>>(payload).unwrap(), args);
    assert_eq!(descriptors.len(), 2);
    pair.server.reply_encoded(call, &[], descriptors).unwrap();
    pair.deliver_answers();
    match pair.client.next().unwrap() {
        Some(Incoming::Reply { descriptors, .. }) => assert_eq!(descriptors.len(), 2),
        other => panic!("{other:?}"),
    }
    // What follows the descriptors' own bytes is a packet again.
    pair.client.call::<remote::ConnectGetLibVersion>(&(), Vec::new()).unwrap();
    assert_eq!(pair.call().procedure(), remote::ConnectGetLibVersion::INFO.number);
}

#[test]
fn descriptors_that_do_not_come_end_the_connection() {
    let mut pair = Pair::new(1000);
    let (reader, _writer) = std::io::pipe().unwrap();
    let args = remote::DomainFdAssociateArgs::default();
    pair.client.call::<remote::DomainFdAssociate>(&args, vec![reader.into()]).unwrap();
    while let Some(next) = pair.client.transmit() {
        match next {
            Transmit::Bytes(bytes) => {
                let count = bytes.len();
                pair.server.space()[..count].copy_from_slice(bytes);
                pair.server.filled(count, []);
                pair.client.sent(count);
            }
            Transmit::Descriptor(descriptor) => {
                let _ = descriptor.as_fd();
                pair.server.space()[0] = 0;
                pair.server.filled(1, []);
                pair.client.descriptor_sent();
            }
        }
    }
    assert!(pair.server.next().unwrap_err().to_string().contains("announced 1"));
}

#[test]
fn a_stream_goes_both_ways() {
    let mut pair = Pair::new(100_000);
    let args = remote::DomainOpenConsoleArgs::default();
    let serial = pair.client.call::<remote::DomainOpenConsole>(&args, Vec::new()).unwrap();
    let call = pair.call();
    pair.server.reply_encoded(call, &[], Vec::new()).unwrap();
    pair.server.stream_data(call, b"login: ");
    pair.deliver_answers();
    assert!(matches!(pair.client.next().unwrap(), Some(Incoming::Reply { .. })));
    assert!(matches!(pair.client.next().unwrap(), Some(Incoming::Data { data: b"login: ", .. })));
    pair.client.stream_send(serial, b"root\r").unwrap();
    pair.client.stream_hole(serial, 512).unwrap();
    pair.client.stream_finish(serial).unwrap();
    pair.deliver_requests();
    assert!(matches!(pair.server.next().unwrap(), Some(Request::Data { data: b"root\r", .. })));
    assert!(matches!(pair.server.next().unwrap(), Some(Request::Hole { length: 512, .. })));
    assert!(matches!(pair.server.next().unwrap(), Some(Request::Finish { .. })));
    pair.server.stream_hole(call, 4096);
    pair.server.stream_end(call);
    pair.server.stream_finish(call);
    pair.deliver_answers();
    assert!(matches!(pair.client.next().unwrap(), Some(Incoming::Hole { length: 4096, .. })));
    assert!(matches!(pair.client.next().unwrap(), Some(Incoming::End { .. })));
    assert!(matches!(pair.client.next().unwrap(), Some(Incoming::Finished { .. })));
    assert!(!pair.client.is_busy());
}

#[test]
fn events_and_questions_reach_the_other_side() {
    let mut pair = Pair::new(5);
    let info = crate::procedure::Program::Remote.procedure(318).unwrap();
    let msg =
        remote::DomainEventLifecycleMsg { event: enums::DomainEventType::Started, ..Default::default() };
    let message = remote::DomainEventCallbackLifecycleMsg { callback_id: 3, msg };
    pair.server.event(info, &xdr::encode(&message).unwrap()).unwrap();
    pair.server.ping();
    pair.deliver_answers();
    match pair.client.next().unwrap() {
        Some(Incoming::Event { program, procedure, payload }) => {
            let found = event::decode(program, procedure, payload).unwrap().unwrap();
            assert_eq!(found.callback_id, Some(3));
            assert_eq!(found.event, event::Event::DomainLifecycle(message.msg));
        }
        other => panic!("{other:?}"),
    }
    assert!(pair.client.next().unwrap().is_none());
    // The answer to the question is nothing to the server.
    pair.deliver_requests();
    assert!(pair.server.next().unwrap().is_none());
    assert_eq!(flags::DomainXmlFlags::empty().measure().unwrap(), 4);
}

#[test]
fn what_one_message_cannot_carry_is_refused_before_a_byte_of_it_goes() {
    let mut pair = Pair::new(usize::MAX);
    let descriptors =
        |count: usize| -> Vec<OwnedFd> { (0..count).map(|_| std::io::pipe().unwrap().0.into()).collect() };
    // Nine texts, each within its limit, and together beyond 32 MiB.
    let text = "x".repeat(4_000_000);
    let name = crate::types::Network { name: text.as_str().into(), ..Default::default() };
    let params = vec![crate::params::TypedParam::new("text", text.as_str()); 9];
    let long = remote::DomainSetMemoryParametersArgs { params: params.into(), ..Default::default() };
    let many = remote::DomainFdAssociateArgs::default();

    // Of the client.
    let error = pair.client.call::<remote::DomainSetMemoryParameters>(&long, Vec::new()).unwrap_err();
    assert!(
        error.of == Limited::Message && error.length > 36_000_000 && error.limit == 33_554_436,
        "{error}"
    );
    let error = pair.client.call::<remote::DomainFdAssociate>(&many, descriptors(33)).unwrap_err();
    assert_eq!((error.of, error.length, error.limit), (Limited::Descriptors, 33, 32));
    assert!(pair.client.transmit().is_none() && !pair.client.is_busy());
    // As many as there may be travel, and what is under way is not touched.
    pair.client.call::<remote::DomainFdAssociate>(&many, descriptors(32)).unwrap();
    let call = pair.call();

    // Of the daemon.
    let nets = vec![name; 9].into();
    let result = remote::ConnectListAllNetworksRet { nets, ret: 9 };
    let error = pair.server.reply::<remote::ConnectListAllNetworks>(call, &result, Vec::new()).unwrap_err();
    assert_eq!(error.of, Limited::Message);
    let encoded = vec![0; crate::packet::PAYLOAD_MAX + 1];
    assert_eq!(pair.server.reply_encoded(call, &encoded, Vec::new()).unwrap_err().of, Limited::Message);
    assert_eq!(pair.server.reply_encoded(call, &[], descriptors(33)).unwrap_err().of, Limited::Descriptors);
    let info = crate::procedure::Program::Remote.procedure(318).unwrap();
    assert_eq!(pair.server.event(info, &encoded).unwrap_err().of, Limited::Message);
    assert!(pair.server.transmit().is_none());
    // The call still gets its answer.
    pair.server.reply_encoded(call, &encoded[1..], Vec::new()).unwrap();
    pair.deliver_answers();
    match pair.client.next().unwrap() {
        Some(Incoming::Reply { payload, .. }) => assert_eq!(payload.len(), crate::packet::PAYLOAD_MAX),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hole_that_is_none_is_told_to_the_daemon() {
    let mut pair = Pair::new(100);
    let args = remote::StorageVolUploadArgs::default();
    let serial = pair.client.call::<remote::StorageVolUpload>(&args, Vec::new()).unwrap();
    let call = pair.call();
    pair.server.reply_encoded(call, &[], Vec::new()).unwrap();
    pair.deliver_answers();
    assert!(matches!(pair.client.next().unwrap(), Some(Incoming::Reply { .. })));
    pair.client.stream_hole(serial, -4096).unwrap();
    pair.client.stream_hole(serial, 4096).unwrap();
    pair.deliver_requests();
    match pair.server.next().unwrap() {
        Some(Request::BrokenHole { call: broken, error: HoleError::Negative(-4096) }) => {
            assert_eq!(broken, call);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(pair.server.next().unwrap(), Some(Request::Hole { length: 4096, .. })));
}
