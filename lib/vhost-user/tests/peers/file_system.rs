//! virtiofsd: a directory is listed, and a file is read.

use crate::{Client, Peer, SIZE, bytes, observed, segment};
use std::collections::BTreeMap;
use std::process::Command;
use virtio::features::Features;
use virtio::fs::{self, Completed, Failure, Reply, Requests};
use virtio::memory::Shared;
use virtio::ring::{AddError, Driver};

/// Where Debian has the one in C, and where newer ones are.
const PROGRAM: &str = "/usr/lib/qemu/virtiofsd";

type Ring = Driver<virtio::memory::SplitMemory, virtio::memory::PackedMemory>;

struct Session {
    client: Client,
    requests: Requests,
    data: Shared,
}

impl Session {
    fn new(mut client: Client) -> Self {
        let slots = client.part(Requests::bytes(SIZE));
        let address = slots.host_address();
        let data = client.part(1 << 20);
        Self { client, requests: Requests::new(SIZE, slots, address).unwrap(), data }
    }

    fn ask(
        &mut self,
        add: impl FnOnce(&mut Requests, &mut Ring) -> Result<(), AddError>,
    ) -> Result<Reply, Failure> {
        let Self { client, requests, .. } = self;
        add(requests, &mut client.queues[usize::from(fs::REQUESTS)].ring).unwrap();
        client.wait(1, |queue| requests.reap(&mut queue.ring).unwrap()).result
    }

    fn open(&mut self, add: impl FnOnce(&mut Requests, &mut Ring) -> Result<(), AddError>) -> u64 {
        match self.ask(add) {
            Ok(Reply::Open { handle }) => handle,
            other => panic!("{other:?}"),
        }
    }

    fn names(&mut self) -> Vec<String> {
        let handle = self.open(|requests, ring| requests.open_directory(ring, fs::ROOT, 1));
        let mut names = Vec::new();
        let mut offset = 0;
        // Little room, so that it takes several requests.
        let data = self.data.piece(0, 512).unwrap();
        loop {
            let reply = self.ask(|requests, ring| {
                requests.read_directory(ring, (fs::ROOT, handle), offset, &[segment(&data)], 2)
            });
            let Ok(Reply::Data(count)) = reply else { panic!("{reply:?}") };
            let entries = fs::entries(&data.slice().part(0, count as usize).unwrap());
            let Some(last) = entries.last() else { break };
            offset = last.next;
            names.extend(entries.iter().map(|entry| String::from_utf8(entry.name.clone()).unwrap()));
        }
        let closed = self.ask(|requests, ring| requests.release_directory(ring, (fs::ROOT, handle), 3));
        assert_eq!(closed, Ok(Reply::Done));
        names.retain(|name| name != "." && name != "..");
        names.sort();
        names
    }

    fn read(&mut self, name: &str) -> Vec<u8> {
        let found = self.ask(|requests, ring| requests.look_up(ring, fs::ROOT, name.as_bytes(), 4));
        let Ok(Reply::Node { node, attributes }) = found else { panic!("{found:?}") };
        assert_eq!(
            self.ask(|requests, ring| requests.attributes(ring, node, 5)),
            Ok(Reply::Attributes(attributes))
        );
        let handle = self.open(|requests, ring| requests.open(ring, node, 6));
        let mut content = Vec::new();
        loop {
            let data = [self.data.piece(0, 100).unwrap(), self.data.piece(4096, 64 << 10).unwrap()];
            let segments = data.each_ref().map(segment);
            let reply = self.ask(|requests, ring| {
                requests.read(ring, (node, handle), content.len() as u64, &segments, 7)
            });
            match reply {
                Ok(Reply::Data(0)) => break,
                Ok(Reply::Data(count)) => {
                    let count = count as usize;
                    content.extend(bytes(&data[0], count.min(100)));
                    content.extend(bytes(&data[1], count.saturating_sub(100)));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(content.len() as u64, attributes.size);
        assert_eq!(self.ask(|requests, ring| requests.release(ring, (node, handle), 8)), Ok(Reply::Done));
        self.forget(node);
        content
    }

    /// On its own queue, and without an answer.
    fn forget(&mut self, node: u64) {
        let Self { client, requests, .. } = self;
        let queue = usize::from(fs::HIGH_PRIORITY);
        requests.forget(&mut client.queues[queue].ring, node, 1, 9).unwrap();
        let forgotten = client.wait(queue, |queue| requests.reap(&mut queue.ring).unwrap());
        assert_eq!(forgotten, Completed { tag: 9, result: Ok(Reply::Done) });
    }
}

#[test]
fn a_directory_is_listed_and_files_are_read() {
    let test = "a_directory_is_listed_and_files_are_read";
    if !rustix::process::geteuid().is_root() {
        return println!("not run: {test}: virtiofsd of QEMU 7.2 needs root");
    }
    let directory = tempfile::tempdir().unwrap();
    let shared = directory.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let mut files = BTreeMap::from([("empty".to_owned(), Vec::new())]);
    for number in 0..40_u32 {
        let content = (0..number * 5000).map(|at| (at * 7 + number) as u8).collect();
        files.insert(format!("file with a name {number}"), content);
    }
    for (name, content) in &files {
        std::fs::write(shared.join(name), content).unwrap();
    }

    for features in [Features::empty(), Features::EVENT_IDX | Features::INDIRECT_DESC] {
        // It serves one front-end, and ends.
        let socket = directory.path().join("fs.sock");
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new(PROGRAM);
        command
            .arg(format!("--socket-path={}", socket.display()))
            .args(["-o", &format!("source={},log_level=err", shared.display())]);
        let Some(mut daemon) = Peer::start(test, &mut command) else { return };
        let stream = daemon.connect(&socket);
        observed::device("fs", "virtiofsd");
        let mut session = Session::new(Client::new(stream, "virtiofsd", features, 2));
        assert_eq!(session.client.front.queues().unwrap(), 2);
        let reply = session.ask(|requests, ring| requests.init(ring, 0));
        assert!(matches!(reply, Ok(Reply::Session { version: (7, 31..), .. })), "{reply:?}");

        assert_eq!(session.names(), files.keys().cloned().collect::<Vec<_>>());
        for (name, content) in &files {
            assert!(session.read(name) == *content, "{name}");
        }
        let missing = session.ask(|requests, ring| requests.look_up(ring, fs::ROOT, b"missing", 1));
        assert_eq!(missing, Err(Failure::Errno(2)));
        let ended = session.ask(|requests, ring| requests.destroy(ring, 2));
        assert_eq!(ended, Ok(Reply::Done));
        drop(session);
        daemon.0.wait().unwrap();
    }
}
