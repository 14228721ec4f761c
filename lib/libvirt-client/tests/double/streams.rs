//! What waits for a reader who does not read.

use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::remote::{self, DomainOpenConsoleArgs};
use libvirt_client::protocol::session::{CallId, Request, ServerSession, Transmit};
use libvirt_client::transport::{Privacy, Stream};
use libvirt_client::{ByteStream, Options, Piece};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// What may wait.
const BUFFER: usize = 256 * 1024;

/// A daemon that does what a test says.
pub(crate) struct Daemon {
    pub(crate) session: ServerSession,
    pub(crate) stream: DuplexStream,
}

impl Daemon {
    /// The next call.
    pub(crate) async fn call(&mut self) -> CallId {
        loop {
            if let Some(Request::Call { call, .. }) = self.session.next().unwrap() {
                return call;
            }
            let bytes = self.stream.read(self.session.space()).await.unwrap();
            assert!(bytes > 0, "the client has gone");
            self.session.filled(bytes, []);
        }
    }

    /// The next call, which opens a console.
    pub(crate) async fn opened(&mut self) -> CallId {
        let call = self.call().await;
        self.session.reply::<remote::DomainOpenConsole>(call, &(), Vec::new()).unwrap();
        self.flush().await;
        call
    }

    pub(crate) async fn flush(&mut self) {
        while let Some(Transmit::Bytes(bytes)) = self.session.transmit() {
            let length = bytes.len();
            self.stream.write_all(bytes).await.unwrap();
            self.session.sent(length);
        }
    }
}

/// A console on such a daemon.
async fn console() -> (Daemon, CallId, ByteStream) {
    let (ours, theirs) = tokio::io::duplex(65_536);
    let options = Options { stream_buffer: BUFFER, ..Options::default() };
    let (connection, driver) = libvirt_client::connection(Stream::new(ours, Privacy::Private), options);
    super::run(driver);
    let mut daemon = Daemon { session: ServerSession::default(), stream: theirs };
    let args = DomainOpenConsoleArgs::default();
    let (opened, call) = tokio::join!(connection.open::<remote::DomainOpenConsole>(&args), daemon.opened());
    assert_eq!(remote::DomainOpenConsole::INFO.number, call.procedure());
    (daemon, call, opened.unwrap().1)
}

/// Sends packets for as long as they are taken; tells how many were. Then there is the stream, to be read.
async fn flooded(send: fn(&mut ServerSession, CallId, usize), most: usize) -> (usize, ByteStream) {
    let (mut daemon, call, stream) = console().await;
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    super::run(async move {
        while count.load(Ordering::SeqCst) < most {
            send(&mut daemon.session, call, count.load(Ordering::SeqCst));
            daemon.flush().await;
            count.fetch_add(1, Ordering::SeqCst);
        }
        daemon.session.stream_end(call);
        daemon.flush().await;
        // It stays until the client goes.
        let _ = daemon.stream.read(&mut [0; 64]).await;
    });
    // As long as anything moves.
    let mut before = usize::MAX;
    while before != taken.load(Ordering::SeqCst) {
        before = taken.load(Ordering::SeqCst);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    (before, stream)
}

#[tokio::test]
async fn crumbs_are_put_together_and_bounded() {
    let most = 512 * 1024;
    let (taken, mut stream) =
        flooded(|session, call, at| session.stream_data(call, &[at.to_be_bytes()[7]]), most).await;
    let limit = BUFFER;
    assert!(taken <= limit + 65_536, "{taken} bytes in packets of their own, for a buffer of {limit}");
    let mut back = Vec::new();
    let mut pieces = 0;
    while let Some(piece) = stream.receive().await.unwrap() {
        let Piece::Data(piece) = piece else { panic!("there is no hole") };
        pieces += 1;
        back.extend(piece);
    }
    assert_eq!(back.len(), most);
    assert!(back.iter().enumerate().all(|(at, byte)| *byte == at.to_be_bytes()[7]));
    assert!(pieces < most / 32, "{pieces} pieces");
}

#[tokio::test]
async fn holes_are_put_together() {
    let most = 200_000;
    let (taken, mut stream) = flooded(|session, call, _| session.stream_hole(call, 4096), most).await;
    assert_eq!(taken, most, "however many, they are one");
    let Some(Piece::Hole(length)) = stream.receive().await.unwrap() else { panic!("no hole") };
    assert_eq!(length, 4096 * most as u64);
    assert_eq!(stream.receive().await.unwrap(), None);
}

#[tokio::test]
async fn holes_between_crumbs_are_bounded() {
    let most = 100_000;
    let send: fn(&mut ServerSession, CallId, usize) = |session, call, at| match at % 2 {
        0 => session.stream_data(call, b"x"),
        _ => session.stream_hole(call, 1),
    };
    let (taken, mut stream) = flooded(send, most).await;
    // Some hundred bytes for each pair is what they take.
    let limit = BUFFER;
    assert!(taken <= limit / 64 + 8192, "{taken} pieces for a buffer of {limit}");
    let mut back = 0;
    while let Some(piece) = stream.receive().await.unwrap() {
        assert_eq!(piece, if back % 2 == 0 { Piece::Data(b"x".to_vec()) } else { Piece::Hole(1) });
        back += 1;
    }
    assert_eq!(back, most);
}

#[tokio::test]
async fn halves_go_both_ways_at_once() {
    let (mut daemon, call, stream) = console().await;
    let (mut reader, mut writer) = stream.split();
    let most = 4 << 20;
    // A daemon that reads nothing before everything that it says was read.
    let daemon = async {
        for _ in 0..most / 65_536 {
            daemon.session.stream_data(call, &[7; 65_536]);
            daemon.flush().await;
        }
        let mut heard = 0;
        loop {
            let bytes = daemon.stream.read(daemon.session.space()).await.unwrap();
            daemon.session.filled(bytes, []);
            while let Some(request) = daemon.session.next().unwrap() {
                match request {
                    Request::Data { data, .. } => heard += data.len(),
                    Request::Finish { .. } => {
                        daemon.session.stream_finish(call);
                        daemon.flush().await;
                        return heard;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    };
    let said = async {
        writer.send(&vec![3; most]).await.unwrap();
        writer.finish().await.unwrap();
    };
    let read = async {
        let mut read = 0;
        while let Some(piece) = reader.receive().await.unwrap() {
            let Piece::Data(piece) = piece else { panic!("there is no hole") };
            read += piece.len();
        }
        read
    };
    assert_eq!(tokio::join!(daemon, said, read), (most, (), most));
}

#[tokio::test]
async fn what_came_of_streams_that_never_opened_stops_nobody() {
    let (ours, theirs) = tokio::io::duplex(65_536);
    let options = Options { stream_buffer: BUFFER, keepalive: None, ..Options::default() };
    let (connection, driver) = libvirt_client::connection(Stream::new(ours, Privacy::Private), options);
    super::run(driver);
    let mut daemon = Daemon { session: ServerSession::default(), stream: theirs };
    let refusal = libvirt_client::protocol::types::Error::default();
    for _ in 0..4 {
        let args = DomainOpenConsoleArgs::default();
        let refused = async {
            let call = daemon.call().await;
            // More than half of what may wait, before the reply: then there is none to read it.
            daemon.session.stream_data(call, &vec![7; BUFFER * 2 / 3]);
            daemon.session.refuse(call, &refusal).unwrap();
            daemon.flush().await;
        };
        let (opened, ()) = tokio::join!(connection.open::<remote::DomainOpenConsole>(&args), refused);
        assert!(opened.is_err());
    }
    let asked = connection.start::<remote::ConnectGetHostname>(&(), Vec::new());
    let call = daemon.call().await;
    let answer = remote::ConnectGetHostnameRet { hostname: "here".into() };
    daemon.session.reply::<remote::ConnectGetHostname>(call, &answer, Vec::new()).unwrap();
    daemon.flush().await;
    let reply =
        tokio::time::timeout(std::time::Duration::from_secs(30), asked).await.expect("it is not read");
    assert_eq!(reply.unwrap().result().unwrap().hostname, "here");
}
