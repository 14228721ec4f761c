//! Streams as tokio's readers and writers, and contents of volumes in files.

use crate::streams::Daemon;
use libvirt_client::protocol::enums::ErrorNumber;
use libvirt_client::protocol::flags::{StorageVolDownloadFlags, StorageVolUploadFlags};
use libvirt_client::protocol::procedure::Procedure;
use libvirt_client::protocol::remote::{
    self, DomainOpenConsole, StorageVolDownload, StorageVolDownloadArgs, StorageVolUpload,
    StorageVolUploadArgs,
};
use libvirt_client::protocol::session::{CallId, Request, ServerSession};
use libvirt_client::protocol::types;
use libvirt_client::transport::{Privacy, Stream};
use libvirt_client::{Blocking, ByteStream, Connect, Error, Holes, Options, Piece, StorageVol};
use libvirt_server::{Scope, Server};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::os::unix::fs::FileExt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MIB: usize = 1 << 20;

async fn volume(size: usize) -> StorageVol {
    let handle = super::start(Server::builder().scope(Scope::Complete));
    let connect = Connect::builder("test:///default")
        .open_on(super::end(&handle, Privacy::Private), super::run)
        .await
        .unwrap();
    made(&connect, size).await
}

async fn made(connect: &Connect, size: usize) -> StorageVol {
    let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
    let xml = format!("<volume><name>v</name><capacity>{size}</capacity><allocation>0</allocation></volume>");
    pool.create_volume(&xml, Default::default()).await.unwrap()
}

/// Bytes that tell where they are.
fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 251 + at) as u8).collect()
}

#[tokio::test]
async fn a_stream_is_written_and_read_as_any_other() {
    let content = content(3 * MIB + 17);
    let volume = volume(content.len()).await;
    let mut up = volume.upload(.., Default::default()).await.unwrap();
    tokio::io::copy(&mut content.as_slice(), &mut up).await.unwrap();
    up.flush().await.unwrap();
    up.shutdown().await.unwrap();
    // It has been said already.
    up.shutdown().await.unwrap();
    up.finish().await.unwrap();
    let mut down = volume.download(.., Default::default()).await.unwrap();
    let mut back = Vec::new();
    down.read_to_end(&mut back).await.unwrap();
    assert!(back == content);
    assert_eq!(down.read(&mut [0; 8]).await.unwrap(), 0);
    down.finish().await.unwrap();
    // In parts, of which the rest comes as a piece.
    let mut down = volume.download(.., Default::default()).await.unwrap();
    let mut begin = [0; 10];
    down.read_exact(&mut begin).await.unwrap();
    assert_eq!(begin, content[..10]);
    let Some(Piece::Data(rest)) = down.receive().await.unwrap() else { panic!("no data") };
    assert!(!rest.is_empty() && rest == content[10..10 + rest.len()]);
}

#[tokio::test]
async fn holes_are_read_as_zeros() {
    let volume = volume(MIB).await;
    let mut up = volume.upload(.., StorageVolUploadFlags::SPARSE_STREAM).await.unwrap();
    up.write_all(b"begin").await.unwrap();
    up.send_hole(300_000).await.unwrap();
    up.write_all(b"end").await.unwrap();
    up.send_hole(7).await.unwrap();
    up.shutdown().await.unwrap();
    let expected = [b"begin".as_slice(), &vec![0; 300_000], b"end", &[0; 7]].concat();
    let mut down = volume.download(.., StorageVolDownloadFlags::SPARSE_STREAM).await.unwrap();
    let mut back = Vec::new();
    down.read_to_end(&mut back).await.unwrap();
    assert!(back.starts_with(&expected), "{} bytes", back.len());
    assert!(back[expected.len()..].iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn errors_are_those_of_input_and_output_with_ours_inside() {
    let volume = volume(MIB).await;
    let mut up = volume.upload(0..10, Default::default()).await.unwrap();
    up.write_all(&[1; 10]).await.unwrap();
    let error = up.write_all(&[1; 10]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let inner = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(inner.call().map(|call| call.name), Some(StorageVolUpload::INFO.name));
}

/// A stream of a procedure's to a daemon that does what a test says.
async fn opened<P: Procedure>(args: &P::Args<'_>, options: Options) -> (Daemon, CallId, ByteStream)
where
    for<'a> P::Ret<'a>: Default,
{
    let (ours, theirs) = tokio::io::duplex(65_536);
    let (connection, driver) = libvirt_client::connection(Stream::new(ours, Privacy::Private), options);
    super::run(driver);
    let mut daemon = Daemon { session: ServerSession::default(), stream: theirs };
    let answered = async {
        let call = daemon.call().await;
        daemon.session.reply::<P>(call, &Default::default(), Vec::new()).unwrap();
        daemon.flush().await;
        call
    };
    let (opened, call) = tokio::join!(connection.open::<P>(args), answered);
    (daemon, call, opened.unwrap().1)
}

/// The next that a daemon hears on a stream, but for data: `true` when it is an end in good order.
async fn ended(daemon: &mut Daemon) -> bool {
    loop {
        match daemon.session.next().unwrap() {
            Some(Request::Finish { .. }) => return true,
            Some(Request::Abort { .. }) => return false,
            Some(_) => continue,
            None => {}
        }
        let bytes = daemon.stream.read(daemon.session.space()).await.unwrap();
        daemon.session.filled(bytes, []);
    }
}

#[tokio::test]
async fn the_end_of_data_is_the_end_when_the_daemon_says_so() {
    for fails in [false, true] {
        let args = StorageVolDownloadArgs::default();
        let (mut daemon, call, mut stream) = opened::<StorageVolDownload>(&args, Options::default()).await;
        let answers = async {
            daemon.session.stream_data(call, b"all");
            daemon.session.stream_end(call);
            daemon.flush().await;
            assert!(ended(&mut daemon).await);
            if fails {
                let error = types::Error { code: ErrorNumber::OperationFailed, ..Default::default() };
                daemon.session.stream_break(call, &error).unwrap();
            } else {
                daemon.session.stream_finish(call);
            }
            daemon.flush().await;
        };
        let mut read = Vec::new();
        let (result, ()) = tokio::join!(stream.read_to_end(&mut read), answers);
        assert_eq!((result.is_err(), read.as_slice()), (fails, b"all".as_slice()));
    }
}

#[tokio::test]
async fn what_is_dropped_is_aborted_and_what_is_shut_down_is_not() {
    for shut in [false, true] {
        let args = StorageVolUploadArgs::default();
        let (mut daemon, call, mut stream) = opened::<StorageVolUpload>(&args, Options::default()).await;
        stream.write_all(b"a part").await.unwrap();
        if shut {
            let confirms = async {
                let finished = ended(&mut daemon).await;
                daemon.session.stream_finish(call);
                daemon.flush().await;
                finished
            };
            let (shut, finished) = tokio::join!(stream.shutdown(), confirms);
            shut.unwrap();
            assert!(finished);
            drop(stream);
        } else {
            drop(stream);
            assert!(!ended(&mut daemon).await);
        }
    }
}

#[tokio::test]
async fn what_does_not_come_in_time_is_told() {
    let options = Options { deadline: Some(Duration::from_millis(50)), ..Options::default() };
    let args = StorageVolDownloadArgs::default();
    let (_daemon, _, mut down) = opened::<StorageVolDownload>(&args, options).await;
    let error = down.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    let args = StorageVolUploadArgs::default();
    let (_daemon, _, mut up) = opened::<StorageVolUpload>(&args, options).await;
    assert_eq!(up.shutdown().await.unwrap_err().kind(), ErrorKind::TimedOut);
    // A console may be silent.
    let (mut daemon, call, mut console) =
        opened::<DomainOpenConsole>(&remote::DomainOpenConsoleArgs::default(), options).await;
    let mut room = [0; 8];
    let mut read = Box::pin(console.read(&mut room));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut read).await.is_err());
    daemon.session.stream_data(call, b"login:");
    daemon.flush().await;
    assert_eq!(read.await.unwrap(), 6);
}

/// A file with two MiB of data, and holes before, between and behind it.
fn sparse() -> (File, Vec<u8>) {
    let file = tempfile::tempfile().unwrap();
    let mut whole = vec![0; 10 * MIB + 3];
    for at in [MIB, 5 * MIB] {
        whole[at..at + MIB].copy_from_slice(&content(MIB));
        file.write_all_at(&whole[at..at + MIB], at as u64).unwrap();
    }
    file.set_len(whole.len() as u64).unwrap();
    (file, whole)
}

/// Where a file has data: where it begins and ends, by turns.
pub(crate) fn map(file: &File) -> Vec<u64> {
    let mut map = Vec::new();
    let mut place = 0;
    while let Ok(data) = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(place)) {
        place = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(data)).unwrap();
        map.extend([data, place]);
    }
    map
}

fn whole(file: &mut File) -> Vec<u8> {
    let mut all = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut all).unwrap();
    all
}

#[tokio::test]
async fn a_files_holes_go_up_and_come_down() {
    for holes in [Holes::Keep, Holes::Fill] {
        let (mut from, content) = sparse();
        let (before, length) = (map(&from), content.len() as u64);
        let volume = volume(content.len()).await;
        from.rewind().unwrap();
        assert_eq!(volume.upload_file(&from, .., holes).await.unwrap(), length);
        let mut to = tempfile::tempfile().unwrap();
        assert_eq!(volume.download_file(&to, .., holes).await.unwrap(), length);
        assert_eq!(map(&to) == before, holes == Holes::Keep, "{before:?}");
        assert!(whole(&mut to) == content);
        assert!(whole(&mut from) == content);
        // A part, behind what is there already.
        let mut part = tempfile::tempfile().unwrap();
        part.write_all_at(b"head", 0).unwrap();
        part.seek(std::io::SeekFrom::Start(4)).unwrap();
        let range = MIB as u64 - 10..MIB as u64 + 10;
        assert_eq!(volume.download_file(&part, range, holes).await.unwrap(), 20);
        assert!(whole(&mut part) == [b"head", &content[MIB - 10..MIB + 10]].concat());
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_told() {
    let volume = volume(MIB).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, [7; 100]).unwrap();
    let writable = File::options().write(true).open(&path).unwrap();
    let is_files = |error: Error| {
        assert!(matches!(error.kind(), libvirt_client::ErrorKind::File(_)), "{error:?}");
        assert!(std::error::Error::source(&error).is_some());
    };
    is_files(volume.upload_file(&writable, .., Holes::Fill).await.unwrap_err());
    let readable = File::open(&path).unwrap();
    is_files(volume.download_file(&readable, .., Holes::Fill).await.unwrap_err());
    let error = volume.upload_file(&readable, 0..10, Holes::Fill).await.unwrap_err();
    assert!(matches!(error.kind(), libvirt_client::ErrorKind::Misuse(_)), "{error}");
    assert_eq!(volume.connect().hostname().await.unwrap(), "localhost");
}

#[test]
fn a_program_that_waits_has_files_too() {
    let elsewhere =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sock");
    elsewhere.block_on(async {
        let server = Server::builder().scope(Scope::Complete).build();
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        super::run(async move { server.serve(Some(listener)).await.is_ok() });
    });
    let libvirt = Blocking::open(&format!("test+unix:///default?socket={}", socket.display())).unwrap();
    let (from, content) = sparse();
    let volume = libvirt.wait(made(libvirt.connect(), content.len()));
    let before = map(&from);
    rustix::fs::seek(&from, rustix::fs::SeekFrom::Start(0)).unwrap();
    libvirt.wait(volume.upload_file(&from, .., Holes::Keep)).unwrap();
    let mut to = tempfile::tempfile().unwrap();
    libvirt.wait(volume.download_file(&to, .., Holes::Keep)).unwrap();
    assert_eq!(map(&to), before);
    assert!(whole(&mut to) == content);
}
