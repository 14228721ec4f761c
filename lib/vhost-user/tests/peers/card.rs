//! Frames out of a card, and into it.

use crate::{Client, SIZE, TIMEOUT, observed};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use vhost_user::frontend::FrontEnd;
use virtio::features::Features;
use virtio::net::{Header, Receiver, Sender};

/// A type of frames that nobody else uses.
const FRAME: [u8; 2] = [0x88, 0xb5];

/// A network card: our front-end's side of somebody's port.
pub(crate) struct Card {
    client: Client,
    receiver: Receiver,
    sender: Sender,
}

impl Card {
    /// A port of this program's.
    pub(crate) fn new(stream: UnixStream, by: &'static str, features: Features) -> Self {
        observed::device("net", by);
        let mut client = Client::new(stream, by, features, 2);
        assert!(client.front.negotiated().features.contains(features), "the other side has them all");
        let mut part = |each: usize| {
            let part = client.part(usize::from(SIZE) * each);
            let address = part.host_address();
            (part, address)
        };
        let [(small, first), (large, second)] = [part(512), part(2048)];
        let mut receiver = Receiver::new(SIZE, 512, small, first).unwrap();
        let sender = Sender::new(SIZE, 2048, large, second).unwrap();
        receiver.offer(&mut client.queues[0].ring).unwrap();
        client.queues[0].submit().unwrap();
        Self { client, receiver, sender }
    }

    pub(crate) fn front(&mut self) -> &mut FrontEnd {
        &mut self.client.front
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        let Self { client, sender, .. } = self;
        sender.send(&mut client.queues[1].ring, Header::default(), frame).unwrap();
        client.wait(1, |queue| Some(sender.taken(&mut queue.ring).unwrap()).filter(|count| *count > 0));
    }

    /// The next frame of a type, if one comes in `time`; others may come too.
    pub(crate) fn hear(&mut self, kind: [u8; 2], time: Duration) -> Option<Vec<u8>> {
        let Self { client, receiver, .. } = self;
        let queue = &mut client.queues[0];
        let mut frame = Vec::new();
        loop {
            receiver.offer(&mut queue.ring).unwrap();
            queue.submit().unwrap();
            match receiver.next(&mut queue.ring, &mut frame).unwrap() {
                Some(_) if frame[12..14] == kind => return Some(frame),
                Some(_) => {}
                None if queue.wait(time).unwrap() => {}
                None => return None,
            }
        }
    }

    pub(crate) fn receive(&mut self) -> Vec<u8> {
        self.hear(FRAME, TIMEOUT).expect("nothing comes")
    }
}

/// One of this type, from one card to another, of so many bytes.
pub(crate) fn frame(from: u8, to: u8, bytes: usize) -> Vec<u8> {
    let content = (14..bytes).map(|at| (at as u8).wrapping_mul(from));
    [2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, FRAME[0], FRAME[1]].into_iter().chain(content).collect()
}
