//! A daemon that dies at a call: a server in memory behind a relay that knows where packets begin.

use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::transport::{Privacy, Stream};
use libvirt_server::Handle;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// When it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Before it has heard the call.
    Before,
    /// When it has done it, before anybody hears of that.
    After,
}

/// Whether it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    AtOnce,
    Never,
}

struct Plot {
    /// The call at which it dies, once.
    at: Mutex<Option<(i32, When)>>,
    back: Back,
    /// How often it has died.
    deaths: watch::Sender<u32>,
    /// Connections to it that are open.
    connections: watch::Sender<usize>,
    /// How many there have been.
    count: AtomicUsize,
    /// The procedure whose calls it takes and does not answer.
    silent: Mutex<Option<i32>>,
    /// What it sends without being asked is cut behind its first word.
    garbled: AtomicBool,
    /// Calls that it has heard: on which connection, and their arguments.
    heard: Mutex<Vec<(usize, i32, Vec<u8>)>>,
}

/// A server with a socket, of which connections are cut.
pub(crate) struct Mortal {
    plot: Arc<Plot>,
    directory: tempfile::TempDir,
}

impl Mortal {
    pub(crate) fn new(handle: Handle, at: Option<(i32, When)>, back: Back) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("sock")).unwrap();
        let plot = Arc::new(Plot {
            at: Mutex::new(at),
            back,
            deaths: watch::channel(0).0,
            connections: watch::channel(0).0,
            count: AtomicUsize::new(0),
            silent: Mutex::default(),
            garbled: AtomicBool::new(false),
            heard: Mutex::default(),
        });
        let knows = Arc::clone(&plot);
        super::run(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if knows.back == Back::Never && *knows.deaths.borrow() > 0 {
                    continue;
                }
                let (near, far) = tokio::io::duplex(65_536);
                handle.attach(Stream::new(far, Privacy::Private));
                let plot = Arc::clone(&knows);
                plot.connections.send_modify(|connections| *connections += 1);
                super::run(async move {
                    let ended = relay(stream, near, &plot).await;
                    plot.connections.send_modify(|connections| *connections -= 1);
                    ended
                });
            }
        });
        Self { plot, directory }
    }

    pub(crate) fn uri(&self) -> String {
        format!("test+unix:///default?socket={}", self.directory.path().join("sock").display())
    }

    /// Dies now.
    pub(crate) fn kill(&self) {
        self.plot.deaths.send_modify(|deaths| *deaths += 1);
    }

    /// From now on its events cannot be understood, or they can again.
    pub(crate) fn garble(&self, garbled: bool) {
        self.plot.garbled.store(garbled, Ordering::SeqCst);
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        *self.plot.connections.borrow()
    }

    /// When no connection is open any more.
    pub(crate) async fn alone(&self) {
        self.plot.connections.subscribe().wait_for(|connections| *connections == 0).await.unwrap();
    }

    /// From now on calls of a procedure are not answered, or they are again.
    pub(crate) fn silence<P: Procedure>(&self, silent: bool) {
        *self.plot.silent.lock().unwrap() = silent.then_some(P::INFO.number);
    }

    /// When it has died.
    pub(crate) async fn dead(&self) {
        self.plot.deaths.subscribe().wait_for(|deaths| *deaths > 0).await.unwrap();
    }

    /// Arguments of all calls of a procedure that it has heard.
    pub(crate) fn heard<P: Procedure>(&self) -> Vec<Vec<u8>> {
        let heard = self.sequence().into_iter();
        heard.filter(|(_, number, _)| *number == P::INFO.number).map(|(_, _, args)| args).collect()
    }

    /// All calls that it has heard: the connection's number, the procedure's, the arguments.
    pub(crate) fn sequence(&self) -> Vec<(usize, i32, Vec<u8>)> {
        self.plot.heard.lock().unwrap().clone()
    }
}

/// One packet, without its length: the header's 24 bytes, and the rest.
async fn packet(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut packet = vec![0; usize::try_from(length).unwrap() - 4];
    from.read_exact(&mut packet).await?;
    Ok(packet)
}

async fn pass(packet: &[u8], to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.write_u32(u32::try_from(packet.len() + 4).unwrap()).await?;
    to.write_all(packet).await
}

/// Program, procedure and kind.
fn header(packet: &[u8]) -> (u32, i32, i32) {
    let word = |at: usize| i32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    (word(0).cast_unsigned(), word(8), word(12))
}

const REMOTE: u32 = 0x2000_8086;
const CALL: i32 = 0;
const REPLY: i32 = 1;
const MESSAGE: i32 = 2;

impl Plot {
    /// Whether this is its end.
    fn ends(&self, packet: &[u8], kind: i32, now: When) -> bool {
        let (program, procedure, found) = header(packet);
        let mut at = self.at.lock().unwrap();
        let ends = program == REMOTE && found == kind && *at == Some((procedure, now));
        if ends {
            *at = None;
        }
        ends
    }
}

async fn relay(client: UnixStream, server: tokio::io::DuplexStream, plot: &Plot) -> io::Result<()> {
    let mut deaths = plot.deaths.subscribe();
    let connection = plot.count.fetch_add(1, Ordering::SeqCst);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = async {
        loop {
            let packet = packet(&mut from_client).await?;
            if plot.ends(&packet, CALL, When::Before) {
                return io::Result::Ok(true);
            }
            if let (REMOTE, procedure, CALL) = header(&packet) {
                plot.heard.lock().unwrap().push((connection, procedure, packet[24..].to_vec()));
                if *plot.silent.lock().unwrap() == Some(procedure) {
                    continue;
                }
            }
            pass(&packet, &mut to_server).await?;
        }
    };
    let down = async {
        loop {
            let mut packet = packet(&mut from_server).await?;
            if header(&packet).2 == MESSAGE && plot.garbled.load(Ordering::SeqCst) {
                packet.truncate(28);
            }
            if plot.ends(&packet, REPLY, When::After) {
                return io::Result::Ok(true);
            }
            pass(&packet, &mut to_client).await?;
        }
    };
    let dies = tokio::select! {
        ended = up => ended?,
        ended = down => ended?,
        _ = deaths.changed() => false,
    };
    if dies {
        plot.deaths.send_modify(|deaths| *deaths += 1);
    }
    Ok(())
}
