//! What no connection may cost others: messages that are too long, descriptors that nobody announced, holes that are none, clients that
//! are too many. Clients here speak in packets, so that they can say what ours would not.

use super::guests::connect_unix;
use super::{complete, connect, run, start};
use crate::authority::{Authority, Expired};
use libvirt_client::protocol::enums::ErrorNumber;
use libvirt_client::protocol::flags::{DomainFdAssociateFlags, StorageVolUploadFlags};
use libvirt_client::protocol::packet::{self, Frame, Header, Kind, Status};
use libvirt_client::protocol::parameters::{
    SERVER_CLIENTS_CURRENT, SERVER_CLIENTS_MAX, SERVER_CLIENTS_UNAUTH_MAX,
};
use libvirt_client::protocol::params::TypedParam;
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::session::Transmit;
use libvirt_client::protocol::xdr::{self, Limited};
use libvirt_client::protocol::{lxc, remote, types};
use libvirt_client::transport::{Privacy, Stream, Traits, Transport, Unix};
use libvirt_client::{Admin, Connect, Error, ErrorKind, Options, Params};
use libvirt_server::{Clients, Guest, Peer, Server, Service, Tls};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long an answer may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client that says what it is told to.
struct Wire<S> {
    stream: S,
    serial: u32,
    came: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    fn new(stream: S) -> Self {
        Self { stream, serial: 0, came: Vec::new() }
    }

    /// Sends a packet that belongs to the last call of a procedure, or begins one.
    async fn say<P: Procedure>(&mut self, kind: Kind, status: Status, payload: &[u8]) {
        self.serial += u32::from(kind == Kind::Call);
        let (program, procedure) = (P::INFO.program, P::INFO.number);
        let (version, serial) = (program.version(), self.serial);
        let header = Header { program: program.number(), version, procedure, kind, serial, status };
        self.stream.write_all(&packet::encode(&header, 0, payload)).await.unwrap();
    }

    /// The next packet; `None` when the server has closed the connection.
    async fn hear(&mut self) -> Option<(Header, Vec<u8>)> {
        loop {
            match Frame::begin(&self.came).unwrap() {
                Some(frame) if self.came.len() >= frame.size() => {
                    let payload = self.came[frame.payload.clone()].to_vec();
                    self.came.drain(..frame.size());
                    return Some((frame.header, payload));
                }
                _ => {}
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.came)).await;
            // A connection that is reset is closed too.
            if read.expect("nothing comes").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn call<P: Procedure>(&mut self, args: &P::Args<'_>) -> (Header, Vec<u8>) {
        self.say::<P>(Kind::Call, Status::Ok, &xdr::encode(args).unwrap()).await;
        self.hear().await.expect("the server has closed the connection")
    }

    async fn open(mut self) -> Self {
        assert_eq!(self.call::<remote::AuthList>(&()).await.0.status, Status::Ok);
        let open = remote::ConnectOpenArgs { name: Some("test:///default".into()), ..Default::default() };
        let opened = self.call::<remote::ConnectOpen>(&open).await;
        assert_eq!(opened.0.status, Status::Ok);
        self
    }
}

fn descriptors(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| std::io::pipe().unwrap().0.into()).collect()
}

async fn lives(connect: &Connect) {
    assert_eq!(connect.hostname().await.unwrap(), "localhost");
}

/// Waits until something is so.
async fn within(is_so: impl AsyncFn() -> bool) {
    let wait = async { while !is_so().await {} };
    tokio::time::timeout(PATIENCE, wait).await.expect("it never is");
}

fn limit(error: &Error) -> (Limited, usize, u32) {
    match error.kind() {
        ErrorKind::Limit(limit) => (limit.of, limit.length, limit.limit),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_that_no_message_carries_is_refused_by_the_client_alone() {
    let connect = connect_unix(&start(complete())).await;
    let domain = connect.domain_by_name("test").await.unwrap();
    let flags = DomainFdAssociateFlags::empty();
    let error = domain.associate_files("disk", descriptors(33), flags).await.unwrap_err();
    assert_eq!(limit(&error), (Limited::Descriptors, 33, 32));
    assert!(format!("{error:#}").contains("33 file descriptors with one message, where"), "{error:#}");
    domain.associate_files("disk", descriptors(32), flags).await.unwrap();
    // Each text is within its own limit.
    let text = "x".repeat(4_000_000);
    let params = vec![TypedParam::new("text", text.as_str()); 9].into();
    let args = remote::DomainSetMemoryParametersArgs { dom: domain.wire(), params, ..Default::default() };
    let error = connect.call::<remote::DomainSetMemoryParameters>(&args).await.unwrap_err();
    let (of, length, most) = limit(&error);
    assert!(of == Limited::Message && length > 36_000_000 && most == 33_554_436, "{error}");
    assert_eq!(error.execution(), libvirt_client::Execution::No);
    lives(&connect).await;
}

/// A container with more name spaces than a message carries.
#[derive(Debug)]
struct Spacious;

impl Guest for Spacious {
    fn name_spaces(&mut self, _domain: &str) -> Vec<OwnedFd> {
        descriptors(33)
    }
}

#[tokio::test]
async fn a_reply_that_no_message_carries_is_an_error_of_its_call_alone() {
    let handle = start(complete());
    handle.with(|hypervisor| hypervisor.set_guest(Spacious)).await.unwrap();
    let connect = connect_unix(&handle).await;
    for at in 0..9 {
        let name = at.to_string().repeat(4_000_000);
        connect
            .define_network(&format!("<network><name>{name}</name></network>"), Default::default())
            .await
            .unwrap();
    }
    let refused = |error: Error, words: &str| {
        let refusal = error.refusal().unwrap_or_else(|| panic!("{error}"));
        assert_eq!(refusal.code, ErrorNumber::Rpc);
        let text = &refusal.message;
        assert!(text.starts_with("Unable to encode message payload: ") && text.contains(words), "{text}");
    };
    refused(connect.networks(Default::default()).await.unwrap_err(), "a message of 36");
    let dom = connect.domain_by_name("test").await.unwrap();
    let args = lxc::DomainOpenNamespaceArgs { dom: dom.wire(), ..Default::default() };
    refused(connect.call::<lxc::DomainOpenNamespace>(&args).await.unwrap_err(), "33 file descriptors");
    // What a refusal quotes is no longer than a text may be either.
    let error = connect.domain_by_name(&"y".repeat(4_194_304)).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, ErrorNumber::NoDomain);
    lives(&connect).await;
}

#[tokio::test]
async fn descriptors_that_nothing_announced_end_their_connection_and_no_other() {
    let handle = start(complete());
    let other = connect_unix(&handle).await;
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    handle.attach(Unix::try_from(theirs).unwrap());
    let mut ours = Unix::try_from(ours).unwrap();
    let (mut kept, given) = std::io::pipe().unwrap();
    let given = OwnedFd::from(given);
    let mut came = Vec::new();
    // The beginning of a packet without any, as long as there may be, so that each byte that brings one is a byte of it.
    let info = remote::ConnectGetHostname::INFO;
    let header = Header {
        program: info.program.number(),
        version: info.program.version(),
        procedure: info.number,
        kind: Kind::Call,
        serial: 1,
        status: Status::Ok,
    };
    let mut begun = packet::encode(&header, 0, &[]);
    begun[..4].copy_from_slice(&u32::try_from(packet::PACKET_MAX).unwrap().to_be_bytes());
    let written = std::future::poll_fn(|context| ours.poll_write(context, &Transmit::Bytes(&begun)));
    assert_eq!(written.await.unwrap(), begun.len());
    // As many as it takes. Whatever was given is closed with the connection: a reader of the pipe sees its end.
    let closed = std::future::poll_fn(|context| {
        // At most so many at once: the server's turn must come.
        let taken = (0..64).all(|_| {
            let descriptor = Transmit::Descriptor(given.as_fd());
            matches!(ours.poll_write(context, &descriptor), Poll::Ready(Ok(_)))
        });
        if taken {
            context.waker().wake_by_ref();
        }
        ours.poll_read(context, &mut [0; 64], &mut came)
    });
    let closed = tokio::time::timeout(PATIENCE, closed).await.expect("they are taken for ever");
    assert!(!matches!(closed, Ok(1..)), "an answer");
    drop(given);
    let ended = tokio::task::spawn_blocking(move || std::io::Read::read(&mut kept, &mut [0; 1]));
    assert_eq!(ended.await.unwrap().unwrap(), 0);
    lives(&other).await;
}

#[tokio::test]
async fn a_hole_that_is_none_breaks_its_stream_and_nothing_else() {
    let handle = start(complete());
    let (ours, theirs) = tokio::io::duplex(65_536);
    handle.attach(Stream::new(theirs, Privacy::Private));
    let volume = super::volume(&connect(&handle).await, super::MIB).await;
    let mut wire = Wire::new(ours).open().await;
    let (mut negative, mut flagged) = ([0; 12], [0; 12]);
    negative[..8].copy_from_slice(&(-4096_i64).to_be_bytes());
    flagged[8..].copy_from_slice(&1_u32.to_be_bytes());
    let holes = [
        (&negative[..], "a hole of -4096 bytes"),
        (&flagged[..], "a hole with flags 0x1"),
        (&[0; 8][..], "a hole that cannot be decoded"),
        (&[0; 16][..], "a hole that cannot be decoded"),
    ];
    for (hole, words) in holes {
        let vol = volume.wire();
        let flags = StorageVolUploadFlags::SPARSE_STREAM;
        let args = remote::StorageVolUploadArgs { vol, flags, ..Default::default() };
        assert_eq!(wire.call::<remote::StorageVolUpload>(&args).await.0.status, Status::Ok);
        wire.say::<remote::StorageVolUpload>(Kind::StreamHole, Status::Continue, hole).await;
        // It comes too late, and means nothing.
        wire.say::<remote::StorageVolUpload>(Kind::StreamHole, Status::Continue, hole).await;
        let (header, payload) = wire.hear().await.unwrap();
        assert_eq!((header.kind, header.status), (Kind::Stream, Status::Error), "{words}");
        let error: types::Error<'_> = xdr::decode(&payload).unwrap();
        assert_eq!(error.code, ErrorNumber::Rpc);
        assert!(error.message.as_ref().unwrap().to_string().starts_with(words), "{error:?}");
    }
    let (header, _) = wire.call::<remote::ConnectGetHostname>(&()).await;
    assert_eq!((header.kind, header.status), (Kind::Reply, Status::Ok));
}

#[tokio::test]
async fn a_serial_that_is_used_twice_leaves_the_stream_that_has_it() {
    let handle = start(complete());
    let (ours, theirs) = tokio::io::duplex(65_536);
    handle.attach(Stream::new(theirs, Privacy::Private));
    let volume = super::volume(&connect(&handle).await, super::MIB).await;
    let mut wire = Wire::new(ours).open().await;
    let upload = |vol| remote::StorageVolUploadArgs { vol, ..Default::default() };
    assert_eq!(wire.call::<remote::StorageVolUpload>(&upload(volume.wire())).await.0.status, Status::Ok);
    for _ in 0..2 {
        wire.serial -= 1;
        let (header, payload) = wire.call::<remote::StorageVolUpload>(&upload(volume.wire())).await;
        assert_eq!((header.kind, header.status), (Kind::Reply, Status::Error));
        let error: types::Error<'_> = xdr::decode(&payload).unwrap();
        assert!(error.message.unwrap().to_string().starts_with("a stream is open with serial "));
        wire.serial -= 1;
        let (header, _) = wire.call::<remote::ConnectGetHostname>(&()).await;
        assert_eq!((header.kind, header.status), (Kind::Reply, Status::Error));
    }
    // What the first call opened goes on, and the serial is free when it has ended.
    wire.say::<remote::StorageVolUpload>(Kind::Stream, Status::Continue, b"first").await;
    wire.say::<remote::StorageVolUpload>(Kind::Stream, Status::Ok, &[]).await;
    let (header, _) = wire.hear().await.unwrap();
    assert_eq!((header.kind, header.status), (Kind::Stream, Status::Ok));
    wire.serial -= 1;
    assert_eq!(wire.call::<remote::ConnectGetHostname>(&()).await.0.status, Status::Ok);
    let mut down = volume.download(.., Default::default()).await.unwrap();
    let Some(libvirt_client::Piece::Data(data)) = down.receive().await.unwrap() else { panic!("no data") };
    assert!(data.starts_with(b"first"));
}

/// What no client can do, but a fault of ours could.
struct Faulty;

impl Transport for Faulty {
    fn poll_read(
        &mut self,
        _: &mut Context<'_>,
        _: &mut [u8],
        _: &mut Vec<OwnedFd>,
    ) -> Poll<io::Result<usize>> {
        panic!("a fault in what serves one client");
    }

    fn poll_write(&mut self, _: &mut Context<'_>, _: &Transmit<'_>) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn traits(&self) -> Traits {
        Traits::new(Privacy::Private)
    }
}

#[tokio::test]
async fn a_client_whose_connection_panics_leaves_its_place() {
    let handle = start(complete());
    let (ours, theirs) = tokio::io::duplex(65_536);
    handle.attach_as(
        Stream::new(theirs, Privacy::Private),
        Peer { service: Service::Admin, ..Peer::default() },
    );
    let admin = Admin::open_on(Stream::new(ours, Privacy::Private), Options::default(), run).await.unwrap();
    let server = admin.server("libvirtd").await.unwrap();
    let other = connect(&handle).await;
    let last = server.clients().await.unwrap().iter().map(|client| client.id()).max().unwrap();
    handle.attach(Faulty);
    // One that comes after it is counted after it.
    let _third = connect(&handle).await;
    within(async || server.clients().await.unwrap().len() == 2).await;
    assert!(server.clients().await.unwrap().iter().all(|client| client.id() != last + 1));
    lives(&other).await;
}

/// Nobody else comes in while there are as many clients as there may be, however they come; who waits comes in when one goes.
#[tokio::test]
async fn clients_over_tcp_and_tls_are_counted() {
    let (handle, directory) = (start(Server::builder()), tempfile::tempdir().unwrap());
    let at = |name: &str| directory.path().join(name);
    let authority = Authority::new("ours");
    std::fs::write(at("cacert.pem"), &authority.pem).unwrap();
    authority.issue(&["localhost"], "it", &at("servercert.pem"), &at("serverkey.pem"), Expired::No);
    let listen = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let (tcp, tls) = (listen().await, listen().await);
    let (open, encrypted) = (tcp.local_addr().unwrap(), tls.local_addr().unwrap());
    let (plain, secure) = (handle.clone(), handle.clone());
    let files = Tls::in_directory(directory.path(), Clients::Anybody).unwrap();
    run(async move { plain.serve_tcp(tcp).await.is_ok() });
    run(async move { secure.serve_tls(tls, files).await.is_ok() });

    let (ours, theirs) = tokio::io::duplex(65_536);
    let peer = Peer { service: Service::Admin, ..Peer::default() };
    handle.attach_as(Stream::new(theirs, Privacy::Private), peer);
    let admin = Admin::open_on(Stream::new(ours, Privacy::Private), Options::default(), run).await.unwrap();
    let server = admin.server("libvirtd").await.unwrap();
    let most = Params::new().with(SERVER_CLIENTS_MAX, 2_u32).with(SERVER_CLIENTS_UNAUTH_MAX, 2_u32);
    server.set_client_limits(&most).await.unwrap();
    let count = async || server.client_limits().await.unwrap().u64(SERVER_CLIENTS_CURRENT).unwrap();

    let mut first = Wire::new(TcpStream::connect(open).await.unwrap()).open().await;
    // Who has only begun with TLS has a place too.
    let second = TcpStream::connect(encrypted).await.unwrap();
    within(async || count().await == 2).await;
    // The system lets two more in, and they wait.
    let mut third = Wire::new(TcpStream::connect(open).await.unwrap());
    third.say::<remote::AuthList>(Kind::Call, Status::Ok, &[]).await;
    let fourth = TcpStream::connect(encrypted).await.unwrap();
    for _ in 0..200 {
        first.call::<remote::ConnectGetHostname>(&()).await;
        assert_eq!(count().await, 2);
    }
    // Of the two that wait one comes in for each that goes.
    drop(second);
    for _ in 0..200 {
        first.call::<remote::ConnectGetHostname>(&()).await;
        assert!(count().await <= 2);
    }
    drop(fourth);
    assert_eq!(third.hear().await.unwrap().0.status, Status::Ok);
    assert_eq!(count().await, 2);
}
