//! What an asynchronous program cannot do without: the bytes of a call on a bare socket of tokio's, by the task that waits for the reply,
//! and by two, of which one reads and wakes the other.

use crate::measure::packet;
use libvirt_client::protocol::packet::{Kind, LENGTH_SIZE, PACKET_MIN};
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::{remote, xdr};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// A connection that has said what it opens.
async fn opened(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.expect("the daemon listens");
    let open = remote::ConnectOpenArgs { name: Some("test:///default".into()), ..Default::default() };
    let open = xdr::encode(&open).expect("a short name");
    let mut buffer = Vec::new();
    for (procedure, payload) in
        [(remote::AuthList::INFO.number, &[][..]), (remote::ConnectOpen::INFO.number, &open[..])]
    {
        stream.write_all(&packet(procedure, Kind::Call, 1, payload)).await.expect("the daemon reads");
        next(&mut stream, &mut buffer).await.expect("the daemon answers");
    }
    stream
}

/// Reads until a packet is whole, each time as much as there is.
async fn next(stream: &mut (impl tokio::io::AsyncRead + Unpin), buffer: &mut Vec<u8>) -> std::io::Result<()> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let length = buffer.first_chunk::<LENGTH_SIZE>().map(|length| u32::from_be_bytes(*length) as usize);
        if buffer.len() >= PACKET_MIN && length.is_some_and(|length| buffer.len() >= length) {
            return Ok(());
        }
    }
}

/// One task writes and reads.
pub(crate) struct OneTask {
    stream: UnixStream,
    buffer: Vec<u8>,
    serial: u32,
}

impl OneTask {
    pub(crate) async fn open(socket: &Path) -> Self {
        Self { stream: opened(socket).await, buffer: Vec::with_capacity(1024), serial: 1 }
    }

    pub(crate) async fn call(&mut self) {
        self.serial += 1;
        let call = packet(remote::ConnectGetLibVersion::INFO.number, Kind::Call, self.serial, &[]);
        self.stream.write_all(&call).await.expect("the daemon reads");
        next(&mut self.stream, &mut self.buffer).await.expect("the daemon answers");
    }
}

/// Replies that have come, and who waits for one.
#[derive(Default)]
struct Hand {
    replies: VecDeque<Vec<u8>>,
    waiter: Option<Waker>,
}

/// One task writes, another one reads and hands over.
pub(crate) struct TwoTasks {
    stream: OwnedWriteHalf,
    hand: Arc<Mutex<Hand>>,
    reader: tokio::task::JoinHandle<()>,
    serial: u32,
}

impl TwoTasks {
    /// Within the runtime on which the other task is to run.
    pub(crate) async fn open(socket: &Path) -> Self {
        let (read, write) = opened(socket).await.into_split();
        let hand = Arc::<Mutex<Hand>>::default();
        #[expect(clippy::disallowed_methods, reason = "a benchmark has its own runtime")]
        let reader = tokio::spawn(hand_over(read, Arc::clone(&hand)));
        Self { stream: write, hand, reader, serial: 1 }
    }

    pub(crate) async fn call(&mut self) {
        self.serial += 1;
        let call = packet(remote::ConnectGetLibVersion::INFO.number, Kind::Call, self.serial, &[]);
        self.stream.write_all(&call).await.expect("the daemon reads");
        std::future::poll_fn(|context| {
            let mut hand = self.hand.lock().expect("nobody panics with it");
            match hand.replies.pop_front() {
                Some(reply) => Poll::Ready(reply),
                None => {
                    hand.waiter = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
    }
}

impl Drop for TwoTasks {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn hand_over(mut stream: OwnedReadHalf, hand: Arc<Mutex<Hand>>) {
    let mut buffer = Vec::with_capacity(1024);
    while next(&mut stream, &mut buffer).await.is_ok() {
        let mut hand = hand.lock().expect("nobody panics with it");
        hand.replies.push_back(buffer.clone());
        hand.waiter.take().into_iter().for_each(Waker::wake);
    }
}
