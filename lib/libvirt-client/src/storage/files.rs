//! Contents of volumes, from files and to files, with their holes.
//!
//! ```text
//!   upload     file ── a thread reads data, passes over holes ──> a few pieces ──> stream
//!   download   stream ──> a few pieces ──> a thread writes data, makes holes ──> file
//! ```
//!
//! The thread is there because files make their readers wait, which an executor's threads must not. It ends with the transfer: when that is
//! dropped, behind the piece that it is at.

use super::{StorageVol, span};
use crate::connection::Piece;
use crate::error::{Error, ErrorKind};
use libvirt_protocol::enums::StorageVolType;
use libvirt_protocol::flags::{StorageVolDownloadFlags, StorageVolInfoFlags, StorageVolUploadFlags};
use libvirt_protocol::packet::STREAM_CHUNK;
use libvirt_protocol::procedure::Release;
use rustix::fs::{FallocateFlags, OFlags, SeekFrom, fallocate, fcntl_getfl, seek};
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::RangeBounds;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// What becomes of what a file or a volume does not hold, and reads as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holes {
    /// It does not travel, and takes no place at the other end. To and from daemons before libvirt 3.4.0 it travels, as they know of no holes.
    Keep,
    /// Zeros travel like everything else.
    Fill,
}

/// Streams have holes since then (`VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM`).
const SPARSE: Release = Release(3, 4, 0);
/// Pieces that wait between the file and the stream, each of a chunk at most: some 1 MiB.
const WAITING: usize = 4;

/// What a volume was before holes came into it.
#[derive(Clone, Copy, Default)]
struct Before {
    /// Where it ended, if it is to end there again.
    end: u64,
    /// It ends behind the first byte of what is written now, and that byte is as it was.
    is_cut: bool,
}

impl StorageVol {
    /// Writes a file's content into its bytes in a range, from the file's position to its end; tells how long that is, in bytes, with holes
    /// (`virStorageVolUpload`, `virStreamSparseSendAll`). It has arrived when this is done. `range` is that of [`StorageVol::upload`].
    ///
    /// The file's holes are found without reading them (`SEEK_DATA`), where its file system knows of them. They are kept where the range has no
    /// end: then the volume holds the file's content from there on, and zeros behind it. Into a range with an end they travel as zeros, for
    /// what is behind it is to stay, and a daemon that makes a hole ends the volume with it.
    ///
    /// # Errors
    /// As [`StorageVol::upload`] and [`crate::ByteStream::finish`]; [`ErrorKind::File`] when the file cannot be read,
    /// [`ErrorKind::Misuse`] when it is longer than the range. The volume holds a part then.
    pub async fn upload_file(
        &self,
        file: &File,
        range: impl RangeBounds<u64>,
        holes: Holes,
    ) -> Result<u64, Error> {
        let file = file.try_clone().map_err(local)?;
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        let (start, promised) = span(range)?;
        let holes = if promised.is_some() { Holes::Fill } else { self.holes(holes) };
        let (before, flags) = match holes {
            Holes::Keep => (self.before(start).await?, StorageVolUploadFlags::SPARSE_STREAM),
            Holes::Fill => (Before::default(), StorageVolUploadFlags::empty()),
        };
        let mut stream = self.upload(range, flags).await?;
        let (sender, mut pieces) = mpsc::channel(WAITING);
        aside(move || read(&file, holes, &sender))?;
        let mut length = 0;
        while let Some(piece) = pieces.recv().await {
            match piece.map_err(local)? {
                Piece::Data(data) => {
                    stream.send(&data).await?;
                    length += data.len() as u64;
                }
                Piece::Hole(mut hole) => {
                    if length == 0 && before.is_cut {
                        stream.send(&[0]).await?;
                        (length, hole) = (1, hole - 1);
                    }
                    stream.send_hole(hole).await?;
                    length += hole;
                }
            }
        }
        stream.send_hole(before.end.saturating_sub(start + length)).await?;
        stream.finish().await?;
        Ok(length)
    }

    /// Makes a volume ready for holes: a daemon steps over the first one, and what was there stays (seen with libvirt 9.0.0 and 11.3.0); it
    /// also ends a volume that is a file with each hole, so that nothing is in the place of further ones. So one of a byte ends the
    /// volume first, if it holds anything.
    async fn before(&self, start: u64) -> Result<Before, Error> {
        let info = self.info().await?;
        if info.kind != StorageVolType::File {
            // Zeros are written there.
            return Ok(Before::default());
        }
        let end = self.info_with(StorageVolInfoFlags::GET_PHYSICAL).await?.allocation;
        let is_cut = info.allocation > 0 && end > start;
        if is_cut {
            let mut stream = self.upload(start.., StorageVolUploadFlags::SPARSE_STREAM).await?;
            stream.send_hole(1).await?;
            stream.finish().await?;
        }
        Ok(Before { end, is_cut })
    }

    /// Writes its bytes in a range to a file, from the file's position on; tells how many these are, with holes (`virStorageVolDownload`,
    /// `virStreamSparseRecvAll`). What the file holds elsewhere stays; whether it is safe on its disk is its owner's matter
    /// ([`File::sync_all`]). Dropped before its end it may write a last piece a moment later.
    ///
    /// # Errors
    /// As [`StorageVol::download`] and [`crate::ByteStream::finish`]; [`ErrorKind::File`] when the file cannot be written. It holds a part then.
    pub async fn download_file(
        &self,
        file: &File,
        range: impl RangeBounds<u64>,
        holes: Holes,
    ) -> Result<u64, Error> {
        let flags = match self.holes(holes) {
            Holes::Keep => StorageVolDownloadFlags::SPARSE_STREAM,
            Holes::Fill => StorageVolDownloadFlags::empty(),
        };
        let file = file.try_clone().map_err(local)?;
        let mut stream = self.download(range, flags).await?;
        let (sender, pieces) = mpsc::channel(WAITING);
        let (said, written) = oneshot::channel();
        aside(move || {
            let written = write(&file, pieces, || !said.is_closed());
            drop(said.send(written));
        })?;
        while let Some(piece) = stream.receive().await? {
            // It has ended when it could not write, and says so below.
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        drop(sender);
        let length =
            written.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())).map_err(local)?;
        stream.finish().await?;
        Ok(length)
    }

    /// What the daemon makes of holes.
    fn holes(&self, wished: Holes) -> Holes {
        if self.connect().daemon_version() < SPARSE { Holes::Fill } else { wished }
    }
}

fn local(error: io::Error) -> Error {
    Error::new(ErrorKind::File(Arc::new(error)))
}

/// Does something in a thread of its own.
fn aside(work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    std::thread::Builder::new().name("libvirt-file".to_owned()).spawn(work).map(drop).map_err(local)
}

/// Sends what a file holds from its position on, until nobody takes it.
fn read(file: &File, holes: Holes, pieces: &mpsc::Sender<io::Result<Piece>>) {
    let mut send = |piece| pieces.blocking_send(Ok(piece)).is_ok();
    let read = match holes {
        Holes::Keep => read_extents(file, &mut send),
        Holes::Fill => read_data(file, u64::MAX, &mut send).map(drop),
    };
    if let Err(error) = read {
        let _ = pieces.blocking_send(Err(error));
    }
}

/// Data and holes, as the file system has them.
fn read_extents(mut file: &File, send: &mut impl FnMut(Piece) -> bool) -> io::Result<()> {
    let Ok(mut place) = seek(file, SeekFrom::Current(0)) else {
        // Not a file with places: a pipe, whose bytes come one after the other.
        return read_data(file, u64::MAX, send).map(drop);
    };
    loop {
        let data = match seek(file, SeekFrom::Data(place)) {
            Ok(data) => data,
            // There is no more data; what is left is a hole.
            Err(rustix::io::Errno::NXIO) => {
                let end = seek(file, SeekFrom::End(0))?;
                if let Some(hole) = end.checked_sub(place).filter(|hole| *hole > 0) {
                    send(Piece::Hole(hole));
                }
                return Ok(());
            }
            // A device, or a file system that knows of no holes.
            Err(_) => {
                io::Seek::seek(&mut file, io::SeekFrom::Start(place))?;
                return read_data(file, u64::MAX, send).map(drop);
            }
        };
        if data > place && !send(Piece::Hole(data - place)) {
            return Ok(());
        }
        let hole = seek(file, SeekFrom::Hole(data))?;
        seek(file, SeekFrom::Start(data))?;
        place = match read_data(file, hole - data, send)? {
            // It became shorter while it was read, or nobody takes it any more.
            Taken::Less => return Ok(()),
            Taken::All => hole,
        };
    }
}

/// How much of what was to be read has been.
#[derive(PartialEq, Eq)]
enum Taken {
    All,
    Less,
}

/// So much data from the file's position on, or to its end.
fn read_data(file: &File, mut left: u64, send: &mut impl FnMut(Piece) -> bool) -> io::Result<Taken> {
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(STREAM_CHUNK);
        let mut data = Vec::with_capacity(most);
        // Whole pieces, however little a pipe has at once.
        file.take(most as u64).read_to_end(&mut data)?;
        let count = data.len();
        left -= count as u64;
        if count > 0 && !send(Piece::Data(data)) {
            return Ok(Taken::Less);
        }
        if count < most {
            return Ok(if left == 0 { Taken::All } else { Taken::Less });
        }
    }
    Ok(Taken::All)
}

/// Writes what comes from the file's position on, while somebody waits for it; tells how much it was.
fn write(
    mut file: &File,
    mut pieces: mpsc::Receiver<Piece>,
    is_awaited: impl Fn() -> bool,
) -> io::Result<u64> {
    let metadata = file.metadata()?;
    let appends = fcntl_getfl(file)?.contains(OFlags::APPEND);
    // Behind its end a file holds nothing. Of what is no regular file nobody knows what is where nothing is written.
    let is_file = metadata.is_file() && !appends;
    let end = if is_file { metadata.len() } else { u64::MAX };
    let begin = seek(file, SeekFrom::Current(0)).unwrap_or(0);
    let mut place = begin;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Data(data) => {
                file.write_all(&data)?;
                place += data.len() as u64;
            }
            Piece::Hole(length) => {
                let held = length.min(end.saturating_sub(place));
                if held > 0 && (appends || punch(file, place, held).is_err()) {
                    write_zeros(file, held, &is_awaited)?;
                }
                place += length;
                if is_file {
                    seek(file, SeekFrom::Start(place))?;
                }
            }
        }
    }
    // A hole at the end is nowhere else.
    if is_file && file.metadata()?.len() < place {
        file.set_len(place)?;
    }
    Ok(place - begin)
}

/// Writes zeros, as many as a daemon says: which may be more than anybody waits for.
fn write_zeros(mut file: &File, mut left: u64, is_awaited: impl Fn() -> bool) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while left > 0 {
        if !is_awaited() {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody waits for this any more"));
        }
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all(&ZEROS[..count])?;
        left -= count as u64;
    }
    Ok(())
}

/// Makes zeros of what a file or a device holds in a place, without writing them, and goes on behind it.
fn punch(file: &File, place: u64, length: u64) -> io::Result<()> {
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, place, length)?;
    seek(file, SeekFrom::Start(place + length))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    const MIB: u64 = 1 << 20;

    fn pieces_of(file: &File, holes: Holes) -> Vec<Piece> {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let reader = file.try_clone().unwrap();
        let thread = std::thread::spawn(move || read(&reader, holes, &sender));
        let mut pieces = Vec::new();
        while let Some(piece) = receiver.blocking_recv() {
            pieces.push(piece.unwrap());
        }
        thread.join().unwrap();
        pieces
    }

    fn joined(pieces: &[Piece]) -> Vec<u8> {
        let mut all = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Data(data) => all.extend(data),
                Piece::Hole(length) => all.resize(all.len() + usize::try_from(*length).unwrap(), 0),
            }
        }
        all
    }

    /// Data, a hole, data, and a hole at the end, of a MiB each but the last, which is odd.
    fn sparse() -> File {
        let file = tempfile::tempfile().unwrap();
        for at in [0, 2 * MIB] {
            file.write_all_at(&vec![7; usize::try_from(MIB).unwrap()], at).unwrap();
        }
        file.set_len(4 * MIB + 5).unwrap();
        file
    }

    #[test]
    fn a_files_holes_are_passed_over_from_its_position_on() {
        let mut file = sparse();
        let pieces = pieces_of(&file, Holes::Keep);
        let mut whole = Vec::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_end(&mut whole).unwrap();
        assert!(joined(&pieces) == whole);
        let holes: Vec<_> = pieces.iter().filter(|piece| matches!(piece, Piece::Hole(_))).collect();
        assert_eq!(holes, [&Piece::Hole(MIB), &Piece::Hole(MIB + 5)]);
        io::Seek::rewind(&mut file).unwrap();
        assert!(pieces_of(&file, Holes::Fill).iter().all(|piece| matches!(piece, Piece::Data(_))));
        io::Seek::seek(&mut file, io::SeekFrom::Start(MIB + 1)).unwrap();
        let rest = pieces_of(&file, Holes::Keep);
        assert_eq!(rest[0], Piece::Hole(MIB - 1));
        assert!(joined(&rest) == whole[usize::try_from(MIB + 1).unwrap()..]);
    }

    #[test]
    fn what_has_no_places_is_read_as_it_comes() {
        let (from, mut to) = io::pipe().unwrap();
        let writer = std::thread::spawn(move || to.write_all(&[5; 300_000]));
        let pieces = pieces_of(&File::from(std::os::fd::OwnedFd::from(from)), Holes::Keep);
        writer.join().unwrap().unwrap();
        assert!(joined(&pieces) == [5; 300_000]);
        assert_eq!(pieces.len(), 2, "whole pieces");
    }

    fn written(file: &File, pieces: Vec<Piece>) -> u64 {
        let (sender, receiver) = mpsc::channel(WAITING);
        let writer = file.try_clone().unwrap();
        let thread = std::thread::spawn(move || write(&writer, receiver, || true));
        for piece in pieces {
            sender.blocking_send(piece).unwrap();
        }
        drop(sender);
        thread.join().unwrap().unwrap()
    }

    #[test]
    fn a_hole_reads_as_zeros_whatever_was_there_before() {
        let (five, ten) = (usize::try_from(5 * MIB).unwrap(), usize::try_from(10 * MIB).unwrap());
        let pieces = || vec![Piece::Hole(2 * MIB), Piece::Data(vec![7; 3]), Piece::Hole(4 * MIB)];
        let whole = joined(&pieces());
        // Over nothing, over less, over more.
        for before in [0, five, ten] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![9; before]).unwrap();
            io::Seek::rewind(&mut file).unwrap();
            assert_eq!(written(&file, pieces()), whole.len() as u64);
            let mut now = Vec::new();
            io::Seek::rewind(&mut file).unwrap();
            file.read_to_end(&mut now).unwrap();
            assert!(now[..whole.len()] == whole, "over {before} bytes");
            assert!(now[whole.len()..].iter().all(|byte| *byte == 9));
            assert_eq!(now.len(), before.max(whole.len()));
        }
    }

    #[test]
    fn what_has_no_places_is_written_with_its_zeros() {
        let (mut from, to) = io::pipe().unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            from.read_to_end(&mut all).map(|_| all)
        });
        let pieces = || vec![Piece::Data(vec![1]), Piece::Hole(100_000), Piece::Data(vec![2])];
        assert_eq!(written(&File::from(std::os::fd::OwnedFd::from(to)), pieces()), 100_002);
        assert!(reader.join().unwrap().unwrap() == joined(&pieces()));
        // What is written to this one goes to its end, wherever it is.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "before").unwrap();
        written(&File::options().append(true).open(&path).unwrap(), pieces());
        assert!(std::fs::read(&path).unwrap() == [b"before".as_slice(), &joined(&pieces())].concat());
    }

    #[test]
    fn a_hole_of_any_length_is_given_up_with_who_waits_for_it() {
        let (from, to) = io::pipe().unwrap();
        let (sender, receiver) = mpsc::channel(WAITING);
        let (said, awaited) = oneshot::channel::<()>();
        let to = File::from(std::os::fd::OwnedFd::from(to));
        let thread = std::thread::spawn(move || write(&to, receiver, || !said.is_closed()));
        sender.blocking_send(Piece::Hole(u64::MAX >> 1)).unwrap();
        let mut first = vec![1; usize::try_from(MIB).unwrap()];
        (&from).read_exact(&mut first).unwrap();
        assert!(first.iter().all(|byte| *byte == 0));
        drop(awaited);
        let rest = io::copy(&mut from.take(16 * MIB), &mut io::sink()).unwrap();
        assert!(rest < MIB, "{rest} bytes more");
        assert_eq!(thread.join().unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
