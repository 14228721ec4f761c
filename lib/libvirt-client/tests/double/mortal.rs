//! A daemon that dies at a call: a server in memory behind a relay that knows where packets begin.

use libvirt_client::protocol::enums::{ErrorDomain, ErrorLevel, ErrorNumber};
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::{types, xdr};
use libvirt_client::transport::{Privacy, Stream, Unix};
use libvirt_client::{Builder, Connect};
use libvirt_server::Handle;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::UnixListener;
use tokio::sync::watch;

/// When it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Before it has heard the call.
    Before,
    /// When it has done it, before anybody hears of that.
    After,
}

/// A death: at which call of which procedure, and whose. It is its own if nobody else is named.
#[derive(Clone)]
pub(crate) struct Death {
    procedure: i32,
    when: When,
    whose: Option<Arc<Plot>>,
}

impl Death {
    pub(crate) fn at(procedure: i32, when: When) -> Self {
        Self { procedure, when, whose: None }
    }

    /// It is another's.
    pub(crate) fn of(self, other: &Mortal) -> Self {
        Self { whose: Some(Arc::clone(&other.plot)), ..self }
    }
}

/// Whether it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    AtOnce,
    Never,
}

pub(crate) struct Plot {
    /// What dies when, one after the other.
    fate: Mutex<VecDeque<Death>>,
    back: Back,
    /// How often it has died.
    deaths: watch::Sender<u32>,
    /// Nobody is let in.
    barred: watch::Sender<bool>,
    /// Connections to it that are open, by their numbers: until the client has seen that they are not any more.
    connections: watch::Sender<BTreeSet<usize>>,
    /// How many there have been.
    count: AtomicUsize,
    /// The procedure whose calls it takes and does not answer.
    silent: Mutex<Option<i32>>,
    /// The procedure whose calls it refuses, and with what.
    refused: Mutex<Option<(i32, types::Error<'static>)>>,
    /// What it sends without being asked is cut behind its first word.
    garbled: AtomicBool,
    /// Calls that it has heard: on which connection, and their arguments.
    heard: Mutex<Vec<(usize, i32, Vec<u8>)>>,
}

/// A server with a socket, of which connections are cut.
pub(crate) struct Mortal {
    plot: Arc<Plot>,
    handle: Handle,
    directory: tempfile::TempDir,
}

impl Mortal {
    pub(crate) fn new(handle: Handle, back: Back) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("sock")).unwrap();
        let plot = Arc::new(Plot {
            fate: Mutex::default(),
            back,
            deaths: watch::channel(0).0,
            barred: watch::channel(false).0,
            connections: watch::channel(BTreeSet::new()).0,
            count: AtomicUsize::new(0),
            silent: Mutex::default(),
            refused: Mutex::default(),
            garbled: AtomicBool::new(false),
            heard: Mutex::default(),
        });
        let (knows, kept) = (Arc::clone(&plot), handle.clone());
        super::run(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = knows.barred.subscribe().wait_for(|barred| !barred).await;
                if knows.back == Back::Never && *knows.deaths.borrow() > 0 {
                    continue;
                }
                serve(&handle, &knows, stream);
            }
        });
        Self { plot, handle: kept, directory }
    }

    /// A connection to it that has no socket.
    pub(crate) fn end(&self) -> Stream<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(65_536);
        serve(&self.handle, &self.plot, theirs);
        Stream::new(ours, Privacy::Private)
    }

    pub(crate) fn uri(&self) -> String {
        format!("test+unix:///default?socket={}", self.socket().display())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("sock")
    }

    /// The same by a function that connects.
    pub(crate) fn dialled(&self) -> Builder {
        let socket = self.socket();
        let dial = move || {
            let socket = socket.clone();
            async move { Unix::connect(&socket).await }
        };
        Connect::builder("test:///default").dial(dial)
    }

    /// Dies now.
    pub(crate) fn kill(&self) {
        self.plot.die();
    }

    /// What dies when, behind what was said before.
    pub(crate) fn fated(&self, deaths: impl IntoIterator<Item = Death>) {
        self.plot.fate.lock().unwrap().extend(deaths);
    }

    /// From now on nobody comes in, or whoever waits does.
    pub(crate) fn bar(&self, barred: bool) {
        self.plot.barred.send_replace(barred);
    }

    /// From now on calls of a procedure are refused.
    pub(crate) fn refuse<P: Procedure>(&self, domain: ErrorDomain, code: ErrorNumber) {
        let error = types::Error { code, domain, level: ErrorLevel::Error, ..Default::default() };
        *self.plot.refused.lock().unwrap() = Some((P::INFO.number, error));
    }

    /// From now on its events cannot be understood, or they can again.
    pub(crate) fn garble(&self, garbled: bool) {
        self.plot.garbled.store(garbled, Ordering::SeqCst);
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.plot.connections.borrow().len()
    }

    /// When so many connections are open.
    pub(crate) async fn left_with(&self, count: usize) {
        self.plot.connections.subscribe().wait_for(|open| open.len() == count).await.unwrap();
    }

    /// When no connection is open any more.
    pub(crate) async fn alone(&self) {
        self.left_with(0).await;
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

/// Serves one client.
fn serve(handle: &Handle, plot: &Arc<Plot>, client: impl AsyncRead + AsyncWrite + Send + 'static) {
    let (near, far) = tokio::io::duplex(65_536);
    handle.attach(Stream::new(far, Privacy::Private));
    let plot = Arc::clone(plot);
    let number = plot.count.fetch_add(1, Ordering::SeqCst);
    plot.connections.send_modify(|connections| connections.extend([number]));
    super::run(async move {
        let ended = relay(client, near, number, &plot).await;
        plot.connections.send_modify(|connections| connections.retain(|open| *open != number));
        ended
    });
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
/// The status of a reply that refuses.
const ERROR: i32 = 1;

impl Plot {
    fn die(&self) {
        self.deaths.send_modify(|deaths| *deaths += 1);
    }

    /// What it answers a call with that it refuses.
    fn refusal(&self, call: &[u8], procedure: i32) -> Option<Vec<u8>> {
        let refused = self.refused.lock().unwrap();
        let (_, error) = refused.as_ref().filter(|(refused, _)| *refused == procedure)?;
        let mut reply = call[..24].to_vec();
        reply[12..16].copy_from_slice(&REPLY.to_be_bytes());
        reply[20..24].copy_from_slice(&ERROR.to_be_bytes());
        reply.extend(xdr::encode(error).unwrap());
        Some(reply)
    }

    /// The death that a packet brings.
    fn death(&self, packet: &[u8], kind: i32, now: When) -> Option<Death> {
        let (program, procedure, found) = header(packet);
        let mut fate = self.fate.lock().unwrap();
        let is_next = |next: &Death| (next.procedure, next.when) == (procedure, now);
        if program == REMOTE && found == kind && fate.front().is_some_and(is_next) {
            fate.pop_front()
        } else {
            None
        }
    }

    /// Whether a packet is the end of who relays it. Another's end has been seen by everybody when this returns.
    async fn ends(&self, packet: &[u8], kind: i32, now: When) -> bool {
        let Some(death) = self.death(packet, kind, now) else { return false };
        let Some(other) = death.whose.filter(|other| !std::ptr::eq(Arc::as_ptr(other), self)) else {
            return true;
        };
        let open = other.connections.borrow().clone();
        other.die();
        let _ = other.connections.subscribe().wait_for(|now| now.is_disjoint(&open)).await;
        false
    }
}

async fn relay(
    client: impl AsyncRead + AsyncWrite,
    server: DuplexStream,
    connection: usize,
    plot: &Plot,
) -> io::Result<()> {
    let mut deaths = plot.deaths.subscribe();
    let (mut from_client, to_client) = tokio::io::split(client);
    let to_client = tokio::sync::Mutex::new(to_client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = async {
        loop {
            let packet = packet(&mut from_client).await?;
            if plot.ends(&packet, CALL, When::Before).await {
                return io::Result::Ok(true);
            }
            if let (REMOTE, procedure, CALL) = header(&packet) {
                plot.heard.lock().unwrap().push((connection, procedure, packet[24..].to_vec()));
                if *plot.silent.lock().unwrap() == Some(procedure) {
                    continue;
                }
                if let Some(refusal) = plot.refusal(&packet, procedure) {
                    pass(&refusal, &mut *to_client.lock().await).await?;
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
            if plot.ends(&packet, REPLY, When::After).await {
                return io::Result::Ok(true);
            }
            pass(&packet, &mut *to_client.lock().await).await?;
        }
    };
    let dies = tokio::select! {
        ended = up => ended?,
        ended = down => ended?,
        _ = deaths.changed() => false,
    };
    if dies {
        plot.die();
    }
    // The server sees at once that its client is gone, and the client that its daemon is.
    drop((from_server, to_server));
    to_client.into_inner().shutdown().await?;
    let mut rest = [0; 4096];
    while from_client.read(&mut rest).await? > 0 {}
    Ok(())
}
