//! Messages and their order, without anybody behind them.

use super::steps::{Input, Step};
use std::fmt::Debug;
use std::os::fd::OwnedFd;
use vhost_user::framing::Raw;
use vhost_user::front::Request;
use vhost_user::session::{Acknowledges, Answering, Asking, Wants};
use vhost_user::wire::{Header, Message};
use vhost_user::{ProtocolFeatures, back};
use virtio::features::Features;

fn none(_: u32, _: usize) -> Vec<OwnedFd> {
    Vec::new()
}

fn files(_: u32, count: usize) -> Vec<OwnedFd> {
    let file = || std::fs::File::open("/dev/null").ok().map(Into::into);
    (0..count).filter_map(|_| file()).collect()
}

/// What is decoded is encoded as what it was.
pub fn codec(bytes: &[u8]) {
    fn comes_back<M: Message + PartialEq + Debug>(message: &Raw) {
        let (number, payload) = (message.header.request, &message.payload);
        if let Ok(request) = M::get(number, payload) {
            let mut again = Vec::new();
            request.put(&mut again);
            assert_eq!(request.number(), number);
            assert_eq!(M::get(number, &again), Ok(request), "request {number}");
        }
        if let Ok(reply) = M::get_reply(number, payload) {
            let mut again = Vec::new();
            reply.put(&mut again);
            assert_eq!(M::get_reply(number, &again), Ok(reply), "an answer to request {number}");
        }
    }
    let mut input = Input::new(bytes, none);
    while let Some(step) = input.next() {
        let (Step::Message(message) | Step::Asked(message)) = step else { continue };
        assert_eq!(message.payload.len(), message.header.size as usize);
        comes_back::<Request>(&message);
        comes_back::<back::Request>(&message);
    }
}

/// Both ends that ask, and both that answer: whatever comes, the answers that are taken are those to what was asked, in order, and of the form
/// that belongs to it.
pub fn front(bytes: &[u8]) {
    let mut asking = Asking::<Request>::default();
    asking.negotiated.offered = Features::PROTOCOL_FEATURES;
    asking.negotiated.features = Features::ACCESS_PLATFORM;
    asking.negotiated.protocol = ProtocolFeatures::all();
    let mut answering = Answering::<back::Request>::default();
    let mut asked = std::collections::VecDeque::new();
    let mut input = Input::new(bytes, files);
    while let Some(step) = input.next() {
        let message = match step {
            Step::Message(message) => message,
            Step::Asked(message) => {
                let Header { request: number, need_reply, .. } = message.header;
                if let Ok(question) = answering.asked(message, Acknowledges::Yes) {
                    assert_eq!(question.request.number(), number);
                    assert_eq!(
                        question.wants == Wants::Nothing,
                        !need_reply && question.request.facts().reply.is_none()
                    );
                }
                continue;
            }
            Step::Kick(_) | Step::Write { .. } | Step::Turn => continue,
        };
        let number = message.header.request;
        if !message.header.reply {
            // Asked by us where it can be, and heard on the channel.
            if let Ok(request) = Request::get(number, &message.payload)
                && let Ok((bytes, true)) = asking.ask(&request, message.descriptors.len())
            {
                assert_eq!(bytes.len(), 12 + message.payload.len());
                asked.push_back(request.facts());
            }
            let _ = answering.asked(message, Acknowledges::Yes);
            continue;
        }
        assert_eq!(asking.waiting(), asked.len());
        match (asking.answered(message), asked.pop_front()) {
            (Ok(answer), Some(facts)) => {
                assert_eq!((answer.number, number), (facts.number, facts.number));
                assert_eq!(answer.acknowledges, facts.reply.is_none());
                let (least, most) = facts.reply_descriptors;
                let count = answer.descriptors.len();
                assert!(count >= least.into() && count <= most.into());
            }
            (Ok(_), None) => panic!("an answer to nothing was taken"),
            (Err(_), _) => return,
        }
    }
}
