//! Whole sessions that were recorded with libvirtd 9.0.0 and 11.3.0, from the first byte to the last, and are kept in `testdata`: each is
//! played again to the client that spoke then, which must say the same again, byte by byte, and understand the same.
//!
//! They are recorded anew by this test under `HV_LIBVIRT_SESSIONS`, which names a directory, and `HV_LIBVIRTD_ROOT`, which names a root
//! file system with another libvirtd in it.

use crate::daemon::{self, Libvirtd, documents, virsh_in};
use crate::running::run;
use libvirt_client::protocol::enums::{DomainEventType, DomainState, ErrorNumber};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::procedure::Release;
use libvirt_client::transport::Unix;
use libvirt_client::{Connect, Item, Options, Piece};
use libvirt_server::proxy::{Direction, Message, Recorder, Recording, relay, replay};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

const SCRIPT: &str = include_str!("scripts/session.virsh");

/// Each with the daemon's release: what virsh 9.0.0 and what our client said to it.
const KEPT: [(Release, &str, &str); 2] = [
    (
        Release(9, 0, 0),
        include_str!("../../testdata/virsh-9.0.0.txt"),
        include_str!("../../testdata/client-9.0.0.txt"),
    ),
    (
        Release(11, 3, 0),
        include_str!("../../testdata/virsh-11.3.0.txt"),
        include_str!("../../testdata/client-11.3.0.txt"),
    ),
];

/// What our client does in a session, and what it must see.
async fn session(socket: &Path, release: Option<Release>) {
    let uri = format!("test+unix:///default?socket={}", socket.display());
    // On one connection, and without anything that is said only when time has passed.
    let quiet = Options { keepalive: None, ..Options::default() };
    let connect = Connect::builder(&uri).lanes(0).options(quiet).open_with(run).await.unwrap();
    assert!(
        release.is_none_or(|release| connect.daemon_version() == release),
        "{:?}",
        connect.daemon_version()
    );
    let mut events = connect.subscribe(Kind::DomainLifecycle).await.unwrap();
    let guest = connect.domain_by_name("test").await.unwrap();
    guest.suspend().await.unwrap();
    assert_eq!(guest.state().await.unwrap().state, DomainState::Paused);
    guest.resume().await.unwrap();
    for expected in [DomainEventType::Suspended, DomainEventType::Resumed] {
        let Item::Event(Event::DomainLifecycle(event)) = events.next().await.unwrap() else {
            panic!("another event")
        };
        assert_eq!(event.event, expected);
    }
    assert!(guest.xml(Default::default()).await.unwrap().starts_with("<domain type='test' id='1'>"));
    let (kind, mut picture) = guest.screenshot(0).await.unwrap();
    assert_eq!(kind.as_deref(), Some("image/png"));
    let mut bytes = Vec::new();
    while let Some(piece) = picture.receive().await.unwrap() {
        let Piece::Data(data) = piece else { panic!("a hole") };
        bytes.extend(data);
    }
    assert!(bytes.starts_with(b"\x89PNG") && bytes.ends_with(b"IEND\xaeB`\x82"));
    picture.finish().await.unwrap();
    let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
    let volume = "<volume><name>v</name><capacity>1048576</capacity></volume>";
    let volume = pool.create_volume(volume, Default::default()).await.unwrap();
    assert_eq!(volume.info().await.unwrap().capacity, 1_048_576);
    volume.delete(Default::default()).await.unwrap();
    let missing = connect.domain_by_name("nothing").await.unwrap_err();
    assert_eq!(missing.refusal().unwrap().code, ErrorNumber::NoDomain);
    connect.close().await.unwrap();
    drop(events);
}

/// Who talks to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Virsh,
    Client,
}

impl Who {
    /// Talks; gives what virsh printed.
    async fn talk(self, socket: PathBuf, directory: PathBuf, release: Option<Release>) -> String {
        match self {
            Self::Client => {
                session(&socket, release).await;
                String::new()
            }
            Self::Virsh => {
                let virsh = tokio::task::spawn_blocking(move || virsh_in(&socket, &directory, SCRIPT));
                virsh.await.unwrap().expect("virsh hangs")
            }
        }
    }
}

/// Plays a session to who spoke then.
async fn play(who: Who, release: Release, text: &str) {
    let recording: Recording = text.parse().unwrap();
    assert!(recording.messages.len() > 40, "{who:?} {release:?}");
    let directory = documents();
    let socket = directory.path().join("replay");
    let listener = UnixListener::bind(&socket).unwrap();
    let played = async {
        let (client, _) = listener.accept().await.unwrap();
        replay(&recording, Unix::try_from(client).unwrap()).await
    };
    let (played, printed) =
        tokio::join!(played, who.talk(socket.clone(), directory.path().to_owned(), Some(release)));
    played.unwrap_or_else(|mismatch| panic!("{who:?} {release:?}: {mismatch}"));
    if who == Who::Virsh {
        let Release(major, minor, micro) = release;
        for expected in [
            format!("Running against daemon: {major}.{minor}.{micro}"),
            "paused (user)".to_owned(),
            "Domain snapshot first created".to_owned(),
            "Vol v deleted".to_owned(),
            "failed to get domain 'nothing'".to_owned(),
        ] {
            assert!(printed.contains(&expected), "{expected}: {printed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn kept_sessions_are_played_to_our_client() {
    for (release, _, client) in KEPT {
        play(Who::Client, release, client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn kept_sessions_are_played_to_virsh() {
    if daemon::is_missing("kept_sessions_are_played_to_virsh") {
        return;
    }
    for (release, virsh, _) in KEPT {
        play(Who::Virsh, release, virsh).await;
    }
}

/// Records the sessions with the daemon that is there; on demand only.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sessions_are_recorded_on_demand() {
    #[expect(clippy::disallowed_methods, reason = "only on demand, by hand")]
    let (place, root) = (std::env::var_os("HV_LIBVIRT_SESSIONS"), std::env::var_os("HV_LIBVIRTD_ROOT"));
    let Some(place) = place else { return };
    for who in [Who::Virsh, Who::Client] {
        let real = Libvirtd::start_in(root.as_ref().map(Path::new));
        let socket = real.directory().join("recorder");
        let listener = UnixListener::bind(&socket).unwrap();
        let recorded = async {
            let (client, _) = listener.accept().await.unwrap();
            let daemon = UnixStream::connect(real.socket()).await.unwrap();
            let mut recorder = Recorder::default();
            // Who hangs up first may leave something unread; all that was said is kept.
            let _ =
                relay(Unix::try_from(client).unwrap(), Unix::try_from(daemon).unwrap(), &mut recorder).await;
            recorder.finish().0
        };
        let talk = who.talk(socket.clone(), real.directory().to_owned(), None);
        let (recording, _) = tokio::join!(recorded, talk);
        let release = release(&recording);
        let name = format!("{who:?}-{release}.txt").to_lowercase();
        let head = format!(
            "# A whole session between {} and libvirtd {release}, test:///default.\n",
            match who {
                Who::Virsh => "virsh 9.0.0",
                Who::Client => "libvirt-client",
            }
        );
        std::fs::write(Path::new(&place).join(name), head + &recording.to_string()).unwrap();
    }
}

/// What the daemon said of itself (`connect_get_lib_version`, 157): a number of eight bytes behind the header.
fn release(recording: &Recording) -> String {
    let is_version = |message: &&Message| {
        message.direction == Direction::FromDaemon
            && message.bytes.len() == 36
            && message.bytes[12..16] == [0, 0, 0, 157]
    };
    let found = recording.messages.iter().find(is_version).expect("somebody asks for the version");
    let number = u64::from_be_bytes(*found.bytes[28..].first_chunk().unwrap());
    format!("{}.{}.{}", number / 1_000_000, number / 1000 % 1000, number % 1000)
}
