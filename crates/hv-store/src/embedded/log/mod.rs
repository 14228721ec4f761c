//! The write-ahead log: one frame per group of transactions, in segment files of their own.
//!
//! ```text
//!   store.redb.log/   ┌──────────────────┐ ┌──────────────────┐ ┌──────────────────┐
//!                     │ head | 1 | .. | 7│ │ head | 8 | .. |15│ │ head |16 |17| 000│ <── one write, one fdatasync per group
//!                     └──────────────────┘ └──────────────────┘ └──────────────────┘
//!                      folded: recycled                          in use, filled with zeros beforehand
//! ```
//!
//! A segment is written full of zeros and synced before it gets its name, so that syncing a frame moves no file size and
//! no block map, and costs no journal commit. Frames that the base has taken in are dropped by whole segments; one of those
//! is kept for its blocks.
//!
//! At open, the log ends at the first frame that is not whole. That is what a power failure leaves of the last group, which
//! nobody has been told of. If a whole frame follows somewhere, or the log ends before a place that is known to have been
//! durable, then it is damage, and refused.

mod directory;
mod frame;

pub(super) use directory::{Directory, OsDirectory};
pub(super) use frame::start;

use super::failure::Failure;
use bytes::Bytes;
use frame::{HEADER_BYTES, Header};
use redb::StorageBackend;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// A segment is as large as the log before it, within these: a small store stays small, a busy one changes files
/// seldom. In tests little is much.
const SMALLEST: u64 = if cfg!(test) { 4 << 10 } else { 256 << 10 };
const LARGEST: u64 = if cfg!(test) { 32 << 10 } else { 8 << 20 };

/// The place of a frame is remembered once in this many bytes; what is between is read through.
const MARK_EVERY: u64 = 32 << 10;

/// How much of a segment is read in one go.
const READ_BYTES: u64 = 64 << 10;

/// A segment in the making, and one that waits to be used again.
const DRAFT: &str = "draft";
const SPARE: &str = "spare";
const SUFFIX: &str = ".log";

#[derive(Debug)]
pub(super) struct Log {
    directory: Box<dyn Directory>,
    incarnation: u128,
    /// Oldest first; never empty. Only the writer adds, only folding removes, and never the last.
    segments: RwLock<Vec<Segment>>,
    /// A write or a sync has failed, so what the file holds is not known.
    broken: AtomicBool,
}

#[derive(Clone, Debug)]
struct Segment {
    name: String,
    file: Arc<dyn StorageBackend>,
    header: Header,
    /// Size of the file.
    size: u64,
    /// Where the next frame goes.
    end: u64,
    /// Number of the next frame, and the revision it comes after.
    next: u64,
    revision: u64,
    marks: Vec<Mark>,
}

/// Where a frame starts.
#[derive(Clone, Copy, Debug)]
struct Mark {
    number: u64,
    /// The revision before it.
    revision: u64,
    offset: u64,
}

/// A frame as it is read back.
pub(super) struct Frame {
    pub(super) number: u64,
    /// The store's revision after it.
    pub(super) revision: u64,
    pub(super) payload: Bytes,
}

impl Log {
    /// Makes the first segment of a store's log, in place of whatever is in the directory.
    pub(super) fn create(
        directory: Box<dyn Directory>,
        incarnation: u128,
        revision: u64,
    ) -> io::Result<Self> {
        for name in directory.names()? {
            if is_segment(&name) || name == DRAFT || name == SPARE {
                directory.remove(&name)?;
            }
        }
        let log =
            Self { directory, incarnation, segments: RwLock::default(), broken: AtomicBool::new(false) };
        let first = log.new_segment(1, revision, SMALLEST)?;
        log.segments.write().unwrap_or_else(PoisonError::into_inner).push(first);
        Ok(log)
    }

    /// Whether the directory holds frames, or what may have been some.
    pub(super) fn holds_frames(directory: &dyn Directory) -> io::Result<bool> {
        let segments: Vec<_> = directory.names()?.into_iter().filter(|name| is_segment(name)).collect();
        let [only] = segments.as_slice() else { return Ok(!segments.is_empty()) };
        let file = directory.open(only)?;
        let bytes = read_at(&*file, 0, file.len()?)?;
        let Some(header) = Header::decode(&bytes) else { return Ok(true) };
        Ok(bytes[HEADER_BYTES as usize..].iter().any(|byte| *byte != 0) || header.first != 1)
    }

    /// Reads the log and shows every frame after number `folded` in order. Nothing is changed on disk; what was read may be
    /// in the page cache alone, so [`Log::persist`] comes before anything is made of it.
    ///
    /// # Errors
    /// [`Failure::Damaged`] when a frame up to `durable` is missing, or one before the last is not whole.
    pub(super) fn open(
        directory: Box<dyn Directory>,
        incarnation: u128,
        folded: u64,
        durable: u64,
        mut visit: impl FnMut(Frame) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let mut names: Vec<_> = directory.names()?.into_iter().filter(|name| is_segment(name)).collect();
        // Their names are numbers of equal length.
        names.sort();
        let mut segments: Vec<Segment> = Vec::new();
        for segment in names {
            let file: Arc<dyn StorageBackend> = directory.open(&segment)?.into();
            let bytes = Bytes::from(read_at(&*file, 0, file.len()?)?);
            let damaged = |what: &str| Failure::Damaged(format!("its log file {segment} {what}"));
            let header = Header::decode(&bytes).ok_or_else(|| damaged("has no sound head"))?;
            if header.incarnation != incarnation {
                return Err(damaged("belongs to another store, or to this one before a restore"));
            }
            let expected = segments.last().map_or(header.first.min(folded + 1), |before| before.next);
            if header.first != expected || segment != segment_name(header.first) {
                return Err(damaged(&format!("starts with record {}, not {expected}", header.first)));
            }
            let size = bytes.len() as u64;
            let mut read = Segment::new(segment.clone(), file, header, size);
            let rest = |end: u64| bytes.get(end as usize..).unwrap_or_default();
            while let Some((revision, payload)) = frame::parse(rest(read.end), header.salt, read.next) {
                let number = read.next;
                if number > folded {
                    visit(Frame { number, revision, payload: bytes.slice_ref(payload) })?;
                }
                read.took(frame::span(payload.len()) as u64, revision);
            }
            if frame::later_frame(rest(read.end), header.salt, read.next) {
                let at = read.end;
                return Err(damaged(&format!("is damaged at byte {at}, in front of sound records")));
            }
            segments.push(read);
        }
        let newest = segments.last().map_or(0, |segment| segment.next - 1);
        if segments.is_empty() || newest < durable.max(folded) {
            let durable = durable.max(folded);
            return Err(Failure::Damaged(format!(
                "its log ends at record {newest}, and {durable} were written"
            )));
        }
        Ok(Self { directory, incarnation, segments: RwLock::new(segments), broken: AtomicBool::new(false) })
    }

    /// Makes durable what [`Log::open`] has read. The process before may have died between a write and its sync, or its sync
    /// has failed, after which the page cache takes for written what the disk does not have: so it is written again. That
    /// concerns the last segment alone, since none is begun before all frames in front of it are durable.
    pub(super) fn persist(&self) -> io::Result<()> {
        let segments = self.segments();
        if let Some(last) = segments.last() {
            last.file.write(0, &read_at(&*last.file, 0, last.end)?)?;
        }
        for segment in segments.iter() {
            segment.file.sync_data()?;
        }
        self.directory.sync()
    }

    /// Writes one frame, durable once this returns. `frame` begins with [`start`] and holds the payload; `revision` is the
    /// store's after it. Called by the writer alone.
    ///
    /// # Errors
    /// [`Failure::Io`] of kind `StorageFull` when there was no room, and nothing has changed; after any other error every
    /// later call fails too, since it cannot be told what the disk holds.
    pub(super) fn append(&self, frame: &mut Vec<u8>, revision: u64) -> Result<(), Failure> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(Failure::Unknown);
        }
        let span = frame::span(frame.len() - frame::FRAME_HEADER_BYTES) as u64;
        let Place { file, salt, end, next } = self.place(span)?;
        frame::finish(frame, salt, next, revision);
        if let Err(error) = file.write(end, frame) {
            // A frame that found no room was cut short, and is no frame.
            self.broken.store(!is_full(&error), Ordering::Relaxed);
            return Err(error.into());
        }
        if let Err(error) = file.sync_data() {
            self.broken.store(true, Ordering::Relaxed);
            return Err(error.into());
        }
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(active) = segments.last_mut() {
            active.took(span, revision);
        }
        Ok(())
    }

    /// Where the next frame goes, after making a new segment if this one has no room for `span` bytes.
    fn place(&self, span: u64) -> io::Result<Place> {
        let (first, revision, total) = {
            let segments = self.segments();
            let active = segments.last().ok_or(ErrorKind::NotFound)?;
            if active.end + span <= active.size {
                return Ok(active.place());
            }
            (active.next, active.revision, segments.iter().map(|segment| segment.size).sum::<u64>())
        };
        let size = total.clamp(SMALLEST, LARGEST).max(HEADER_BYTES + span).next_multiple_of(4096);
        let new = self.new_segment(first, revision, size)?;
        let place = new.place();
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        // One without frames was too small for this one; the new one has taken its name.
        segments.pop_if(|active| active.next == active.header.first);
        segments.push(new);
        Ok(place)
    }

    /// Makes an empty segment of at least `size` bytes, durable under its name.
    fn new_segment(&self, first: u64, revision: u64, size: u64) -> io::Result<Segment> {
        let salt = uuid::Uuid::new_v4().as_u64_pair().1;
        let header = Header { incarnation: self.incarnation, first, revision, salt };
        let name = segment_name(first);
        let (source, file) = match self.directory.open(SPARE) {
            Ok(file) if file.len()? >= size => {
                // Lest a power failure bring its old name back, with the new head in it.
                self.directory.sync()?;
                (SPARE, file)
            }
            found => {
                if found.is_ok() {
                    self.directory.remove(SPARE)?;
                }
                let file = self.directory.create(DRAFT)?;
                if let Err(error) = fill(&*file, size) {
                    drop(file);
                    // Only a draft; the error to report is the first one.
                    let _ = self.directory.remove(DRAFT);
                    return Err(error);
                }
                (DRAFT, file)
            }
        };
        file.write(0, &header.encode())?;
        file.sync_data()?;
        let size = file.len()?;
        // From here on the new segment may be there after a restart, and it may have replaced the last one.
        let named = self.directory.rename(source, &name).and_then(|()| self.directory.sync());
        named.inspect_err(|_| self.broken.store(true, Ordering::Relaxed))?;
        Ok(Segment::new(name, file.into(), header, size))
    }

    /// Shows the frames after number `after` in order, until `visit` answers false.
    ///
    /// # Errors
    /// [`Failure::Gone`] when they have been dropped.
    pub(super) fn frames_after(
        &self,
        after: u64,
        visit: impl FnMut(Frame) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        self.read(|mark| mark.number <= after + 1, after + 1, visit)
    }

    /// Shows frames in order until `visit` answers false; the first ones may come before revision `revision`.
    ///
    /// # Errors
    /// [`Failure::Gone`] when it has been dropped.
    pub(super) fn frames_around(
        &self,
        revision: u64,
        visit: impl FnMut(Frame) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        self.read(|mark| mark.revision < revision, 0, visit)
    }

    /// Shows frames from number `first`, reading from the last mark that is `before` what is wanted.
    fn read(
        &self,
        before: impl Fn(&Mark) -> bool,
        first: u64,
        mut visit: impl FnMut(Frame) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mark = {
            let segments = self.segments();
            let segment = segments.partition_point(|segment| before(&segment.marks[0])).checked_sub(1);
            let marks = &segments[segment.ok_or(Failure::Gone)?].marks;
            marks[marks.partition_point(before) - 1]
        };
        let (mut number, mut offset) = (mark.number, mark.offset);
        while let Some(Place { file, salt, end, .. }) = self.holder_of(number) {
            let mut bytes = Bytes::new();
            while offset < end {
                let span = frame::peek(&bytes).map_or(0, |(_, payload)| frame::span(payload) as u64);
                if span == 0 || span > bytes.len() as u64 {
                    let want = span.max(READ_BYTES).min(end - offset);
                    if want <= bytes.len() as u64 {
                        // The file has been used again since.
                        return Err(Failure::Gone);
                    }
                    bytes = read_at(&*file, offset, want)?.into();
                    continue;
                }
                let (revision, payload) = frame::parse(&bytes, salt, number).ok_or(Failure::Gone)?;
                let payload = bytes.slice_ref(payload);
                if number >= first && !visit(Frame { number, revision, payload })? {
                    return Ok(());
                }
                bytes = bytes.slice(span as usize..);
                offset += span;
                number += 1;
            }
            offset = HEADER_BYTES;
        }
        Ok(())
    }

    /// The segment that holds a frame.
    fn holder_of(&self, number: u64) -> Option<Place> {
        let segments = self.segments();
        let segment =
            segments.iter().find(|segment| (segment.header.first..segment.next).contains(&number))?;
        Some(segment.place())
    }

    /// Drops the segments that hold nothing above frame `folded`, which must be durable in the base.
    pub(super) fn drop_up_to(&self, folded: u64) -> io::Result<()> {
        loop {
            let name = match self.segments().as_slice() {
                [oldest, _, ..] if oldest.next <= folded + 1 => oldest.name.clone(),
                _ => return Ok(()),
            };
            if self.directory.open(SPARE).is_err() {
                self.directory.rename(&name, SPARE)?;
            } else {
                self.directory.remove(&name)?;
            }
            // Only now, so that a failure leaves no hole between the files.
            self.segments.write().unwrap_or_else(PoisonError::into_inner).remove(0);
        }
    }

    /// The number of the newest frame, which is durable.
    pub(super) fn newest(&self) -> u64 {
        self.segments().last().map_or(0, |segment| segment.next - 1)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The revision that what is dropped must reach for the log to have at most `most` bytes; 0 if it has no more. The newest
    /// segment stays whatever its size.
    pub(super) fn revision_beyond(&self, most: u64) -> u64 {
        let segments = self.segments();
        let mut newer = 0;
        let kept = segments.iter().rev().take_while(|segment| {
            newer += segment.size;
            newer <= most
        });
        match kept.count() {
            count if count == segments.len() => 0,
            count => segments[segments.len() - count.max(1)].header.revision,
        }
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.size).sum()
    }

    fn segments(&self) -> RwLockReadGuard<'_, Vec<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A segment's file, and where its next frame goes.
struct Place {
    file: Arc<dyn StorageBackend>,
    salt: u64,
    end: u64,
    next: u64,
}

impl Segment {
    fn new(name: String, file: Arc<dyn StorageBackend>, header: Header, size: u64) -> Self {
        let Header { first, revision, .. } = header;
        let marks = vec![Mark { number: first, revision, offset: HEADER_BYTES }];
        Self { name, file, header, size, end: HEADER_BYTES, next: first, revision, marks }
    }

    /// Counts a frame that stands at the end.
    fn took(&mut self, span: u64, revision: u64) {
        self.end += span;
        self.next += 1;
        self.revision = revision;
        if self.marks.last().is_none_or(|mark| self.end - mark.offset >= MARK_EVERY) {
            self.marks.push(Mark { number: self.next, revision, offset: self.end });
        }
    }

    fn place(&self) -> Place {
        Place { file: self.file.clone(), salt: self.header.salt, end: self.end, next: self.next }
    }
}

fn segment_name(first: u64) -> String {
    format!("{first:016x}{SUFFIX}")
}

fn is_segment(name: &str) -> bool {
    name.strip_suffix(SUFFIX)
        .is_some_and(|number| number.len() == 16 && u64::from_str_radix(number, 16).is_ok())
}

/// Zeros, written and not only reserved: overwriting them changes nothing but their blocks.
fn fill(file: &dyn StorageBackend, size: u64) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 256 << 10];
    file.set_len(size)?;
    let mut at = 0;
    while at < size {
        let some = (size - at).min(ZEROS.len() as u64);
        file.write(at, &ZEROS[..some as usize])?;
        at += some;
    }
    Ok(())
}

fn read_at(file: &dyn StorageBackend, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| ErrorKind::FileTooLarge)?];
    file.read(at, &mut bytes)?;
    Ok(bytes)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
