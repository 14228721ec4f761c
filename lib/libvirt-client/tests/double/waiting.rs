//! Threads that wait without an executor: alone, together, and for what does not come.

use libvirt_client::transport::{Privacy, Stream, Unix};
use libvirt_client::{Blocking, Connect, ErrorKind, Piece};
use libvirt_server::{Scope, Server};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::Notify;

/// A server with an executor of its own, which ends with this value.
struct Elsewhere {
    socket: PathBuf,
    /// From now on nothing of what clients say reaches it.
    deaf: Arc<Notify>,
    _runtime: tokio::runtime::Runtime,
    _directory: tempfile::TempDir,
}

impl Elsewhere {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("sock");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let deaf = Arc::new(Notify::new());
        runtime.block_on(async {
            let handle = super::start(Server::builder().scope(Scope::Complete));
            let direct = UnixListener::bind(&socket).unwrap();
            let relayed = UnixListener::bind(relay(&socket)).unwrap();
            let (near, deaf) = (handle.clone(), Arc::clone(&deaf));
            super::run(async move {
                while let Ok((stream, _)) = direct.accept().await {
                    near.attach(Unix::try_from(stream).unwrap());
                }
            });
            super::run(async move {
                while let Ok((mut stream, _)) = relayed.accept().await {
                    let (mut near, far) = tokio::io::duplex(65_536);
                    handle.attach(Stream::new(far, Privacy::Private));
                    let deaf = Arc::clone(&deaf);
                    super::run(async move {
                        tokio::select! {
                            _ = tokio::io::copy_bidirectional(&mut stream, &mut near) => {}
                            () = deaf.notified() => std::future::pending().await,
                        }
                    });
                }
            });
        });
        Self { socket, deaf, _runtime: runtime, _directory: directory }
    }
}

fn relay(socket: &Path) -> PathBuf {
    socket.with_extension("relay")
}

fn uri(socket: &Path) -> String {
    format!("test+unix:///default?socket={}", socket.display())
}

#[test]
fn everybody_gets_his_own_replies_alone_and_together() {
    let server = Elsewhere::new();
    let libvirt = Blocking::open(&uri(&server.socket)).unwrap();
    let domain = libvirt.wait(libvirt.connect().domain_by_name("test")).unwrap();
    // Calls of two lanes, one after the other, and two at once.
    let both = |libvirt: &Blocking| {
        assert_eq!(libvirt.wait(libvirt.connect().hostname()).unwrap(), "localhost");
        assert_eq!(libvirt.wait(domain.info()).unwrap().vcpus, 2);
        let together = async { futures::join!(libvirt.connect().hostname(), domain.info()) };
        let (hostname, info) = libvirt.wait(together);
        assert_eq!((hostname.unwrap().as_str(), info.unwrap().vcpus), ("localhost", 2));
    };
    for _ in 0..200 {
        both(&libvirt);
    }
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let libvirt = libvirt.clone();
            scope.spawn(move || (0..100).for_each(|_| both(&libvirt)));
        }
    });
    drop(server);
    let error = libvirt.wait(libvirt.connect().hostname()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed | ErrorKind::Transport(_)), "{error}");
}

#[test]
fn a_deadline_ends_a_wait_for_what_does_not_come() {
    let server = Elsewhere::new();
    let builder = Connect::builder(&uri(&relay(&server.socket))).deadline(Duration::from_millis(300));
    let libvirt = Blocking::open_with(builder).unwrap();
    for _ in 0..10 {
        libvirt.wait(libvirt.connect().hostname()).unwrap();
    }
    server.deaf.notify_one();
    // It may be on its way when the server becomes deaf.
    let error = loop {
        if let Err(error) = libvirt.wait(libvirt.connect().hostname()) {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::Timeout), "{error}");
}

#[test]
fn one_thread_reads_a_console_while_another_writes_to_it() {
    let server = Elsewhere::new();
    let libvirt = Blocking::open(&uri(&server.socket)).unwrap();
    let xml = "<domain type='test'><name>c</name><memory>1</memory><os><type>hvm</type></os>\
               <devices><console type='pty'/></devices></domain>";
    let guest = libvirt.wait(libvirt.connect().create_domain(xml, Default::default())).unwrap();
    let console = libvirt.wait(guest.open_console(None, Default::default())).unwrap();
    let (mut reader, mut writer) = console.split();
    let most = 100;
    let read = std::thread::spawn({
        let libvirt = libvirt.clone();
        move || {
            let mut echoed = 0;
            while echoed < most {
                let Some(Piece::Data(data)) = libvirt.wait(reader.receive()).unwrap() else {
                    panic!("the end")
                };
                echoed += data.len();
            }
            echoed
        }
    });
    for _ in 0..most {
        libvirt.wait(writer.send(b"x")).unwrap();
    }
    assert_eq!(read.join().unwrap(), most);
    libvirt.wait(writer.finish()).unwrap();
}
