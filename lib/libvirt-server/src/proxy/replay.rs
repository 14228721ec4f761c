//! Plays the daemon's side of a recording to a client that says the same again.

use super::{Direction, Message, Packet, Packets, Recording};
use libvirt_protocol::packet::PacketError;
use libvirt_protocol::session::Transmit;
use libvirt_transport::Transport;
use std::io;
use std::task::Poll;

/// A client said something else than was recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// Another message came than was expected.
    #[error("message {number} of the recording is {expected}, and {came} came")]
    Other {
        /// Which message, from 0.
        number: usize,
        /// What was recorded.
        expected: String,
        /// What came.
        came: String,
    },
    /// The client closed before the end.
    #[error("the client closed before message {number} of the recording")]
    Closed {
        /// Which message, from 0.
        number: usize,
    },
    /// The connection broke, or brought what is no packet.
    #[error("the connection broke")]
    Broken(#[from] io::Error),
}

impl From<PacketError> for Mismatch {
    fn from(error: PacketError) -> Self {
        Self::Broken(io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// Plays the daemon of a recording. Every message of the client must be what it was, byte by byte.
///
/// # Errors
/// With the first difference.
pub async fn replay(recording: &Recording, mut client: impl Transport) -> Result<(), Mismatch> {
    let mut packets = Packets::default();
    for (number, Message { direction, bytes }) in recording.messages.iter().enumerate() {
        match direction {
            Direction::FromDaemon => send(&mut client, bytes).await?,
            Direction::ToDaemon => {
                let came = receive(&mut client, &mut packets).await?.ok_or(Mismatch::Closed { number })?;
                if came.encode() != *bytes {
                    let mut expected = Packets::default();
                    expected.feed(bytes, []);
                    let expected = expected.next_packet()?.map(|packet| name(&packet)).unwrap_or_default();
                    return Err(Mismatch::Other { number, expected, came: name(&came) });
                }
            }
        }
    }
    Ok(())
}

fn name(packet: &Packet) -> String {
    format!("{:?} with {} bytes", packet.header, packet.payload.len())
}

async fn send(client: &mut impl Transport, bytes: &[u8]) -> io::Result<()> {
    let mut left = bytes;
    std::future::poll_fn(|context| {
        while !left.is_empty() {
            match client.poll_write(context, &Transmit::Bytes(left)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(written) => left = &left[written?..],
            }
        }
        client.poll_flush(context)
    })
    .await
}

async fn receive(client: &mut impl Transport, packets: &mut Packets) -> Result<Option<Packet>, Mismatch> {
    let mut room = vec![0; 65_536];
    loop {
        if let Some(packet) = packets.next_packet()? {
            return Ok(Some(packet));
        }
        let mut descriptors = Vec::new();
        let read =
            std::future::poll_fn(|context| client.poll_read(context, &mut room, &mut descriptors)).await?;
        if read == 0 {
            return Ok(None);
        }
        packets.feed(&room[..read], descriptors);
    }
}
