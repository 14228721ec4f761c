//! A snapshot of the store as a stream: written by a thread of its own, never further ahead than the caller reads.

use hv_api::v1::SnapshotPart;
use hv_store::{Snapshot, snapshot_file};
use std::io::{self, BufWriter, ErrorKind, Write};
use tokio::sync::mpsc;
use tonic::Status;

/// Bytes of one part.
const PART: usize = 256 << 10;
/// Parts that wait for the caller.
const AHEAD: usize = 4;

/// What is read of a snapshot's file.
pub(super) type Read = mpsc::Receiver<Result<SnapshotPart, Status>>;

/// The parts of a snapshot's file, and the blocking work that writes them. It ends when nobody reads any more.
pub(super) fn of(incarnation: String, snapshot: Snapshot) -> (Read, impl FnOnce() + Send + 'static) {
    let (send, read) = mpsc::channel(AHEAD);
    let work = move || {
        let parts = Parts { send: send.clone(), revision: snapshot.revision.0 };
        let written = snapshot_file::encode(&incarnation, &snapshot, BufWriter::with_capacity(PART, parts));
        let last = match written {
            Ok(()) => Ok(SnapshotPart { data: Vec::new(), revision: snapshot.revision.0, last: true }),
            Err(error) => Err(Status::internal(format!("cannot write the snapshot: {error}"))),
        };
        // Nobody hears it who has gone away.
        let _ = send.blocking_send(last);
    };
    (read, work)
}

struct Parts {
    send: mpsc::Sender<Result<SnapshotPart, Status>>,
    revision: u64,
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(PART)];
        let part = SnapshotPart { data: bytes.to_vec(), revision: self.revision, last: false };
        self.send.blocking_send(Ok(part)).map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_store::{KeyValue, Revision};

    fn snapshot() -> Snapshot {
        let item = |number: u64| KeyValue {
            key: format!("/hv1/instance/default/{number:04}"),
            value: vec![number as u8; 100 << 10].into(),
            create_revision: Revision(number),
            mod_revision: Revision(number),
            version: 1,
            lease: None,
        };
        Snapshot { revision: Revision(50), items: (1..=50).map(item).collect(), leases: Vec::new() }
    }

    #[test]
    fn the_parts_are_the_file() {
        let (mut read, work) = of("here".to_owned(), snapshot());
        let thread = std::thread::spawn(work);
        let mut bytes = Vec::new();
        let (mut count, mut last) = (0, false);
        while let Some(part) = read.blocking_recv() {
            let part = part.unwrap();
            assert!(part.data.len() <= PART && part.revision == 50 && !last);
            last = part.last;
            bytes.extend(part.data);
            count += 1;
        }
        thread.join().unwrap();
        assert!(last && count >= (5 << 20) / PART, "{count}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(snapshot_file::read(&file).unwrap().snapshot, snapshot());
    }

    #[test]
    fn a_caller_that_goes_away_ends_the_work() {
        let (mut read, work) = of("here".to_owned(), snapshot());
        let thread = std::thread::spawn(work);
        assert!(read.blocking_recv().is_some());
        drop(read);
        thread.join().unwrap();
    }
}
