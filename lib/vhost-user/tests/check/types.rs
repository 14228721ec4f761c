//! Whether a device is what it is said to be.

use super::{AtPath, checked, options, ours};
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use vhost_user::backend::{Device, Guest};
use vhost_user::check::{Backend, Kind, Options, Verdict, doubts, probe};
use vhost_user::devices::{Balloon, Console, Disk, Entropy, InMemory, Loopback, Network};
use vhost_user::payload::Config;
use vhost_user::proxy::{Chaos, From, relay};
use vhost_user::socket::Canceller;
use vhost_user::wire::Wire as _;
use virtio::features::Features;

/// As much of a file system as its checks ask for: a session of FUSE begins.
pub(crate) struct Files([u8; 40]);

impl Files {
    pub(crate) fn new() -> Self {
        let mut config = [0; 40];
        config[..5].copy_from_slice(b"files");
        config[36] = 1;
        Self(config)
    }
}

impl Device for Files {
    fn features(&self) -> Features {
        Features::empty()
    }
    fn queues(&self) -> u16 {
        2
    }
    fn config(&self) -> &[u8] {
        &self.0
    }
    fn run(&mut self, queue: u16, guest: &mut Guest<'_>) {
        guest.each(queue, |chain| {
            let mut head = [0; 8];
            let asked = chain.reader().read(&mut head);
            // FUSE_INIT, and nothing else.
            if asked < 8 || head[4..] != [26, 0, 0, 0] {
                return 0;
            }
            let mut answer = [0; 80];
            answer[0] = 80;
            chain.writer().write(&answer) as u32
        });
    }
}

pub(crate) fn console() -> Console {
    let output = std::fs::File::options().write(true).open("/dev/null").unwrap();
    Console::new(rustix::pipe::pipe().unwrap().0, output.into(), 80, 25).unwrap()
}

fn served(kind: Kind) -> AtPath {
    match kind {
        Kind::Net => ours(|| Network::new(Loopback::default(), [2, 0, 0, 0, 0, 1])),
        Kind::Blk => ours(|| Disk::new(InMemory::new(4096), 2)),
        Kind::Console => ours(console),
        Kind::Rng => ours(|| Entropy::new(std::fs::File::open("/dev/urandom").unwrap())),
        Kind::Balloon => ours(|| Balloon::new().unwrap()),
        Kind::Fs => ours(Files::new),
    }
}

/// Every type said of every other fails, mostly by what is offered alone, which is what `probe` doubts.
#[test]
fn a_device_of_another_type_is_found_out() {
    let only = ["type", "rings.served", "net.congestion"].map(str::to_owned).to_vec();
    for (is, name) in Kind::ALL {
        let mut backend = served(is);
        let offer = probe(&mut backend, Duration::from_secs(10)).unwrap();
        for (said, _) in Kind::ALL {
            let options = Options { only: only.clone(), timeout: Duration::from_secs(1), ..options(said) };
            let report = checked(&mut backend, &options);
            let failed: Vec<_> =
                report.findings.iter().filter(|it| matches!(it.verdict, Verdict::Failed(_))).collect();
            assert_eq!(failed.is_empty(), said == is, "a {name} as {said}: {failed:#?}");
            let doubts = doubts(said, &offer);
            if said == is {
                assert!(doubts.is_empty(), "{doubts:?}");
                continue;
            }
            // A console's one bit is a balloon's, and was a disk's once; sources of entropy and file systems
            // need not offer any, and a network of one pair may say that it has one.
            let is_silent = matches!(
                (is, said),
                (Kind::Console, Kind::Blk | Kind::Balloon)
                    | (Kind::Rng, Kind::Net)
                    | (Kind::Fs, Kind::Blk | Kind::Rng | Kind::Balloon)
            );
            assert_eq!(doubts.is_empty(), is_silent, "a {name} as {said}: {doubts:?}");
        }
    }
}

/// How a back-end answers who asks for some of its configuration space.
#[derive(Clone, Copy, Debug)]
enum Answers {
    /// With its whole structure of so many bytes, however many were asked for.
    Whole(u32),
    /// Only who asks for so many; the connection of others ends.
    Only(u32),
    /// Only who asks for so many; others hear nothing more.
    OnlySilent(u32),
}

/// A relay in front of a device that makes it answer so.
struct Answering(AtPath, Answers);

impl Backend for Answering {
    fn connect(&mut self) -> io::Result<UnixStream> {
        let (back, answers) = (self.0.connect()?, self.1);
        let (ours, its) = UnixStream::pair()?;
        std::thread::spawn(move || {
            let canceller = Canceller::new().unwrap();
            let ends = canceller.clone();
            let _ = relay(its, back, Chaos::default(), &canceller, |passed| {
                if passed.name() != "GET_CONFIG" || passed.from == From::BackEnd {
                    return;
                }
                match answers {
                    Answers::Whole(size) => {
                        let asked = Config { offset: 0, size, flags: 0, bytes: vec![0; size as usize] };
                        passed.payload.clear();
                        asked.put(&mut passed.payload);
                    }
                    Answers::Only(size) | Answers::OnlySilent(size)
                        if passed.payload.get(4..8) == Some(&size.to_ne_bytes()) => {}
                    Answers::OnlySilent(_) => loop {
                        std::thread::park();
                    },
                    // Nothing that is served: the session ends.
                    Answers::Only(_) => {
                        passed.number = 0;
                        ends.cancel();
                    }
                }
            });
        });
        Ok(ours)
    }
}

/// Front-ends ask for all that there is; back-ends that know no other question are not taken for such that have none of it.
#[test]
fn a_configuration_space_that_has_one_length_is_judged() {
    for answers in [Answers::Whole(60), Answers::Only(60), Answers::Only(57)] {
        let mut backend = Answering(served(Kind::Blk), answers);
        let only = vec!["type.blk".to_owned()];
        let report = checked(&mut backend, &Options { only, ..options(Kind::Blk) });
        let others: Vec<_> = report.findings.iter().filter(|it| it.verdict != Verdict::Passed).collect();
        assert!(others.is_empty(), "{answers:?}: {others:#?}");
        assert!(report.findings.iter().any(|it| it.id == "type.blk.configuration.sizes"));
    }
    // Who says nothing to another length is asked for the one that was found.
    let mut backend = Answering(served(Kind::Blk), Answers::OnlySilent(60));
    let (only, timeout) = (vec!["type.blk".to_owned()], Duration::from_secs(1));
    let report = checked(&mut backend, &Options { only, timeout, ..options(Kind::Blk) });
    let others: Vec<_> = report.findings.iter().filter(|it| it.verdict != Verdict::Passed).collect();
    assert!(others.is_empty(), "{others:#?}");
    // Fewer bytes than its features speak of are not enough, whoever asks.
    let mut backend = Answering(served(Kind::Blk), Answers::Only(8));
    let only = vec!["type.blk.configuration.length".to_owned()];
    let report = checked(&mut backend, &Options { only, ..options(Kind::Blk) });
    assert!(matches!(report.findings[0].verdict, Verdict::Failed(_)), "{:?}", report.findings);
}
