//! Any byte stream of tokio: TCP, TLS, the pipes of a program.

use crate::{Privacy, Traits, Transport};
use libvirt_protocol::session::Transmit;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream that somebody else has connected.
#[derive(Debug)]
pub struct Stream<S> {
    stream: S,
    traits: Traits,
    apart: Option<Apart>,
}

/// Where packets end, so that each has its own records of TLS.
///
/// A libvirtd takes one packet whenever its socket can be read, and does not ask GnuTLS whether more of the same record was decrypted already
/// (`virNetSocketHasCachedData` in `rpc/virnetsocket.c` knows of SASL and ssh alone): a packet behind another's end in one record lies there until
/// something else comes, be it the keepalive's question five seconds later. It is the same with libvirt's client,
/// which takes one packet each time its socket can be read.
#[derive(Debug, Default)]
struct Apart {
    /// What is left of the packet that was begun, in bytes.
    left: usize,
}

impl Apart {
    /// What of these bytes belongs to one packet.
    fn first<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.left == 0 {
            // A packet begins with its length. Whatever does not is no packet of ours, and goes as it is.
            let length = bytes.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize);
            self.left = length.unwrap_or(bytes.len()).max(1);
        }
        &bytes[..bytes.len().min(self.left)]
    }
}

impl<S> Stream<S> {
    /// A stream; who else may hear it decides what may be said on it.
    pub fn new(stream: S, privacy: Privacy) -> Self {
        Self { stream, traits: Traits::new(privacy), apart: None }
    }

    /// The same stream, which encrypts what it carries ([`Traits::encrypted`]). Each packet is written by itself.
    #[must_use]
    pub fn encrypting(self) -> Self {
        Self { traits: self.traits.with_encryption(), apart: Some(Apart::default()), ..self }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for Stream<S> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
        _descriptors: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(room);
        Pin::new(&mut self.stream).poll_read(context, &mut buffer).map_ok(|()| buffer.filled().len())
    }

    fn poll_write(&mut self, context: &mut Context<'_>, what: &Transmit<'_>) -> Poll<io::Result<usize>> {
        match what {
            Transmit::Bytes(bytes) => {
                let Some(apart) = &mut self.apart else {
                    return Pin::new(&mut self.stream).poll_write(context, bytes);
                };
                let sent = ready!(Pin::new(&mut self.stream).poll_write(context, apart.first(bytes)))?;
                apart.left -= sent;
                Poll::Ready(Ok(sent))
            }
            Transmit::Descriptor(_) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "file descriptors travel over unix sockets only",
            ))),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn carry_pieces(&mut self) {
        self.apart = None;
    }

    fn traits(&self) -> Traits {
        self.traits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Seal, Sealed};
    use std::sync::{Arc, Mutex};
    use std::task::Waker;

    /// Keeps what it is given, each time by itself.
    #[derive(Clone, Default)]
    struct Records(Arc<Mutex<Vec<Vec<u8>>>>);

    impl AsyncRead for Records {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Records {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.lock().unwrap().push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Leaves everything as it is.
    struct Open;

    impl Seal for Open {
        fn wrap(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
            Ok(bytes.to_vec())
        }

        fn unwrap(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
            Ok(piece.to_vec())
        }
    }

    /// The lengths of the records that two packets of 8 and 12 bytes, and one more, are written in.
    fn written(wrap: impl FnOnce(Stream<Records>) -> Box<dyn Transport>) -> Vec<usize> {
        let records = Records::default();
        let mut transport = wrap(Stream::new(records.clone(), Privacy::Private).encrypting());
        let mut context = Context::from_waker(Waker::noop());
        let packet = |length: u8| [&[0, 0, 0, length][..], &vec![1; usize::from(length) - 4]].concat();
        for bytes in [[packet(8), packet(12)].concat(), packet(16)] {
            let mut left = &bytes[..];
            while !left.is_empty() {
                let Poll::Ready(sent) = transport.poll_write(&mut context, &Transmit::Bytes(left)) else {
                    panic!("there is room");
                };
                left = &left[sent.unwrap()..];
            }
        }
        let records = records.0.lock().unwrap();
        records.iter().map(Vec::len).collect()
    }

    #[test]
    fn each_packet_has_its_own_records() {
        assert_eq!(written(|stream| Box::new(stream)), [8, 12, 16]);
    }

    #[test]
    fn sealed_pieces_are_not_taken_for_packets() {
        let sealed = written(|stream| Box::new(Sealed::new(Box::new(stream), Open, 1024)));
        assert_eq!(sealed, [4 + 20, 4 + 16], "as long as the pieces, with their lengths");
    }
}
