//! The block nodes of a disk, and images that are made beside it.
//!
//! ```text
//!   device --> root-cor --> root-throttle --> root-s1 --> root --> root-b1
//!              `-------- filters --------'    active      `-- below --'        each image X stands on its file, X-file
//! ```
//! A job that copies a disk puts a filter of QEMU's own, `#block123`, above the node that it was told of: the device's, so that it sees what the
//! guest writes. Some of these are in no list.

use super::{
    OperationError, figure,
    follow::Follow,
    fresh::Fresh,
    host,
    places::Reservation,
    plug::is_node_of,
    rollback::{Made, Rollback, remove},
};
use crate::{
    Vm,
    config::{Access, Cache, ConfigError, Format, Image, Source, utf8},
    proc_fs,
    stats::disk_id,
};
use qmp::commands::{
    BlockNode, BlockStats, BlockdevAdd, BlockdevCreate, BlockdevCreateOptions, BlockdevCreateOptionsLuks,
    BlockdevCreateOptionsQcow2, BlockdevDriver, BlockdevOptions, BlockdevOptionsCache,
    BlockdevOptionsDiscard, BlockdevOptionsFile, BlockdevOptionsLuks, BlockdevOptionsQcow2,
    BlockdevOptionsQcow2Encrypt, BlockdevOptionsQcow2EncryptLuks, BlockdevOptionsRaw, BlockdevOptionsVariant,
    BlockdevRef, BlockdevRefOrNull, QcowCreateEncryption, QcowCreateEncryptionLuks, QomGet, QueryBlockstats,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs::File,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// An image to be made.
pub(super) struct NewImage<'a> {
    /// The disk whose node names it gets.
    pub(super) disk: &'a str,
    /// The node that it is made like: as large, and cached alike.
    pub(super) like: &'a str,
    /// The new file.
    pub(super) path: &'a Path,
    pub(super) format: Format,
    /// How it is read and written; `None` for the same cache as the node that it is made like.
    pub(super) access: Option<Access>,
    pub(super) above: Above,
    /// Its node; `None` for one of the numbered ones.
    pub(super) node: Option<String>,
}

/// How a disk reaches the image that it writes to ([`Vm::way`]). It is nobody else's until this is dropped.
#[derive(Debug)]
pub(super) struct Way {
    /// The node that the device uses: the topmost filter.
    pub(super) top: String,
    /// The image.
    pub(super) active: String,
    _alone: Reservation,
}

impl Way {
    pub(super) fn new(top: String, active: String, alone: Reservation) -> Self {
        Self { top, active, _alone: alone }
    }
}

/// What lies below a new image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Above {
    /// Nothing.
    Nothing,
    /// The node that it is made like. It is attached only later; the file tells already what belongs below.
    Recorded,
}

impl Vm {
    /// The node that a disk writes to: its own, or the newest overlay; below filters.
    ///
    /// # Errors
    /// [`OperationError::Unknown`] for a disk that is not there.
    pub async fn active_node(&self, disk: &str) -> Result<String, OperationError> {
        let chain = self.chain(disk).await?;
        let active = chain.into_iter().find(|node| !is_filter(node, disk));
        active.ok_or_else(|| OperationError::Unknown { what: "disk", id: disk.to_owned() })
    }

    /// The node that the device of a disk uses: the topmost filter.
    pub(super) async fn top_node(&self, disk: &str) -> Result<String, OperationError> {
        let top = self.chain(disk).await?.into_iter().next();
        top.ok_or_else(|| OperationError::Unknown { what: "disk", id: disk.to_owned() })
    }

    /// The way from the device of a disk to the image that it writes to, where nobody else sees what is written. Who puts another node at its
    /// beginning takes the guest's writing from a job of QEMU's that sees it there: the job's copy is not the disk's any more, and nothing
    /// says so (QEMU 10.0; 7.2 ends).
    ///
    /// # Errors
    /// [`OperationError::InUse`].
    pub(super) async fn way(&self, disk: &str) -> Result<Way, OperationError> {
        self.way_without(disk, &[PULLED, JOB]).await
    }

    /// The same also beside a pulled backup, for who puts nothing at its beginning. Two pushed backups of one disk that end together end QEMU 7.2
    /// (`bdrv_a_allow_b`: permission conflict; `bdrv_node_refresh_perm`: read-only): 26 of 40 of a disk with limits.
    ///
    /// # Errors
    /// [`OperationError::InUse`].
    pub(super) async fn way_to_copy(&self, disk: &str) -> Result<Way, OperationError> {
        self.way_without(disk, &[JOB]).await
    }

    /// The same beside backups of either kind, for who leaves the image open: the bitmap of one is in it, and QEMU 7.2 ends where that is closed
    /// before the backup is over, as 10.0 does where the backup takes what has changed (`bdrv_release_dirty_bitmap_locked`: Assertion
    /// `!bdrv_dirty_bitmap_busy(bitmap)` failed). Of a disk with filters a job that mirrors or commits it forbids the nodes that it sees, and not
    /// the image below: with what is begun on that one QEMU 7.2 ends (`bdrv_close: Assertion 'QLIST_EMPTY(&bs->dirty_bitmaps)' failed`), and 10.0
    /// does not complete the mirror.
    ///
    /// # Errors
    /// [`OperationError::InUse`].
    pub(super) async fn way_below(&self, disk: &str) -> Result<Way, OperationError> {
        self.way_without(disk, &[]).await
    }

    async fn way_without(&self, disk: &str, unwanted: &[&str]) -> Result<Way, OperationError> {
        let in_use = |by| OperationError::InUse { disk: disk.to_owned(), by };
        let alone = self.reserve_name(format!("#way-{disk}")).ok_or_else(|| in_use("another call"))?;
        let active = self.active_node(disk).await?;
        let chain = self.chain(disk).await?;
        let filters = chain.iter().take_while(|node| **node != active);
        let mut backups = filters.filter_map(|filter| match filter {
            _ if filter.ends_with("-cbw") => Some(PULLED),
            _ if filter.starts_with('#') => Some(JOB),
            _ => None,
        });
        if let Some(by) = backups.find(|by| unwanted.contains(by)) {
            return Err(in_use(by));
        }
        let drive = QomGet { path: device(disk), property: "drive".to_owned() };
        let used = self.ask("look for a disk", &drive).await?;
        let top = chain.first().unwrap_or(&active).clone();
        // The filter of a mirror, a commit or a stream, which is in no list. A stick has no such name: its disk has taken it over.
        if used.as_str().is_some_and(|used| !used.is_empty() && used != top) {
            return Err(in_use(JOB));
        }
        Ok(Way::new(top, active, alone))
    }

    /// The image below the one that a disk writes to.
    pub(super) async fn below_active(&self, disk: &str) -> Result<String, OperationError> {
        let chain = self.chain(disk).await?;
        let below = chain.into_iter().filter(|node| !is_filter(node, disk)).nth(1);
        below.ok_or_else(|| OperationError::Unknown { what: "image below", id: disk.to_owned() })
    }

    /// The nodes of a disk from its device down to its lowest image, without the files.
    pub(super) async fn chain(&self, disk: &str) -> Result<Vec<String>, OperationError> {
        let blocks = self.ask("look for a disk", &QueryBlockstats::default()).await?;
        let is_it = |block: &BlockStats| block.qdev.as_deref().and_then(disk_id).as_deref() == Some(disk);
        let mut next = blocks.into_iter().find(is_it).map(Box::new);
        let mut chain = Vec::new();
        while let Some(node) = next {
            chain.extend(node.node_name);
            next = node.backing;
        }
        Ok(chain)
    }

    pub(super) async fn node(&self, name: &str) -> Result<BlockNode, OperationError> {
        let nodes = self.named_nodes().await?;
        let found = nodes.into_iter().find(|node| node.node_name.as_deref() == Some(name));
        found.ok_or_else(|| OperationError::Unknown { what: "image", id: name.to_owned() })
    }

    /// A name for another image of a disk that nobody has or is about to have.
    pub(super) async fn free_image_name(&self, disk: &str) -> Result<ImageName, OperationError> {
        let nodes = self.named_nodes().await?;
        let taken = |name: &str| nodes.iter().any(|node| node.node_name.as_deref() == Some(name));
        let mut names = (1u32..).map(|number| format!("{disk}-s{number}")).filter(|name| !taken(name));
        let name = names.find_map(|name| self.reserve_name(name));
        Ok(name.expect("there are more numbers than nodes"))
    }

    /// Makes an image and opens it; answers its node. On an error what was made is still to be taken back.
    ///
    /// Where the model is encrypted the image is, too, with the same secret: what the guest writes lies nowhere in the clear.
    pub(super) async fn make_image(
        &self,
        rollback: &mut Rollback,
        image: NewImage<'_>,
    ) -> Result<String, OperationError> {
        let NewImage { disk, like, path, format, access, above, node } = image;
        let action = || format!("make an image for {disk}");
        if let Some(access) = access {
            Image { access, ..Image::new(Source::Path(path.to_owned()), format) }
                .check(disk, &BTreeSet::new())?;
        }
        if !matches!(format, Format::Raw | Format::Qcow2) {
            return Err(ConfigError::conflict(disk, "a new image is raw or qcow2").into());
        }
        let filename = utf8("image", path)?;
        let model = self.node(like).await?;
        let key = key_of(&model).map_err(|reason| ConfigError::conflict(disk, reason))?;
        let reserved = if node.is_none() { Some(self.free_image_name(disk).await?) } else { None };
        let name = node.or_else(|| reserved.as_ref().map(ToString::to_string)).expect("one of the two");
        let file = format!("{name}-file");
        let size = model.image.virtual_size;
        // What holds more than the disk's bytes grows by itself.
        let plain_size = if format == Format::Raw && key.is_none() { figure(size) } else { 0 };
        let (place, process) = (path.to_owned(), self.process.pid());
        let make = move |_: &_| make_file(place, plain_size, process);
        let made = host(format!("make {}", path.display()), path, make).await?;
        let is_copy = above == Above::Nothing;
        rollback.also(Made::File { path: path.to_owned(), node: file.clone(), is_copy });
        made.keep();
        let (direct, no_flush) = match access.map(|access| access.cache) {
            None => (model.cache.direct, model.cache.no_flush),
            Some(cache) => (cache == Cache::None, cache == Cache::Unsafe),
        };
        let discard = access.map_or("unmap", |access| access.discard.as_str());
        let plain = |variant| BlockdevOptions {
            discard: Some(BlockdevOptionsDiscard::from(discard)),
            cache: Some(BlockdevOptionsCache { direct: Some(direct), no_flush: Some(no_flush) }),
            ..BlockdevOptions::new(variant)
        };
        let file_options = BlockdevOptionsFile {
            aio: access.and_then(|access| access.aio).map(|aio| aio.as_str().into()),
            locking: access.and_then(|access| access.lock).map(|lock| lock.as_str().into()),
            ..BlockdevOptionsFile::new(filename)
        };
        let opened = BlockdevOptions {
            node_name: Some(file.clone()),
            ..plain(BlockdevOptionsVariant::File(file_options))
        };
        rollback.make(action(), &BlockdevAdd(opened), Made::Node(file.clone())).await?;
        let below = (above == Above::Recorded).then_some(&model);
        let mut tries = 0;
        while let Some(formatted) = formatted(format, &file, size, key.as_deref(), below) {
            tries += 1;
            match self.create(rollback, action(), formatted).await {
                Err(OperationError::Job { message, .. }) if tries < KEY_TRIES && message.contains(COARSE) => {
                }
                created => {
                    created?;
                    break;
                }
            }
        }
        let opened = BlockdevOptions {
            node_name: Some(name.clone()),
            detect_zeroes: Some(match access {
                None => model.detect_zeroes.clone(),
                Some(access) => access.detect_zeroes.as_str().into(),
            }),
            ..plain(opened_as(format, file, key))
        };
        rollback.make(action(), &BlockdevAdd(opened), Made::Node(name.clone())).await?;
        Ok(name)
    }

    async fn create(
        &self,
        rollback: &mut Rollback,
        action: String,
        options: BlockdevCreateOptions,
    ) -> Result<(), OperationError> {
        let id = job_id("create");
        let made = Made::Job(id.clone());
        let making = self.makes_image(&id).await?;
        rollback.also(made.clone());
        let command = BlockdevCreate { job_id: id.clone(), options };
        let done = async { self.job(action, id, &command).await?.done().await }.await;
        making.over(&done);
        rollback.gone(&made);
        done
    }

    /// Closes an image with its file; what is closed already is passed over.
    pub(super) async fn close_image(&self, node: &str) -> Result<(), OperationError> {
        let what = format!("close {node}");
        let mut follow = Follow::new(self, &[]);
        remove(&mut follow, &what, &Made::Node(node.to_owned())).await?;
        remove(&mut follow, &what, &Made::Node(format!("{node}-file"))).await
    }

    /// Closes an image that no disk uses any more, with its file and a descriptor that was handed over for it.
    ///
    /// # Errors
    /// [`OperationError`]; QEMU refuses while it is in use.
    pub async fn forget_node(&self, node: &str) -> Result<(), OperationError> {
        self.close_image(node).await?;
        self.drop_files(|disk| is_node_of(node, disk)).await.map(drop)
    }
}

/// What a disk is in use by.
const PULLED: &str = "a pulled backup";
const JOB: &str = "a job";

/// Whether a node of a disk is a filter: see [`crate::argv`] for the names; QEMU's own have none of ours.
fn is_filter(node: &str, disk: &str) -> bool {
    node.starts_with('#') || matches!(node.strip_prefix(disk), Some("-throttle" | "-cor" | "-cbw"))
}

/// The device of a disk.
pub(super) fn device(disk: &str) -> String {
    format!("/machine/peripheral/{disk}")
}

/// Makes an empty file for a process, which may be another user's. One that is there is somebody's.
fn make_file(path: PathBuf, size: u64, process: u32) -> io::Result<Fresh> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    // Nobody has it yet.
    let fresh = Fresh::of(path);
    let (user, group) = proc_fs::owner(process)?;
    if file.metadata()?.uid() != user {
        std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
    }
    file.set_len(size)?;
    Ok(fresh)
}

/// What a file becomes before it is opened as an image; nothing for plain bytes.
fn formatted(
    format: Format,
    file: &str,
    size: i64,
    key: Option<&str>,
    below: Option<&BlockNode>,
) -> Option<BlockdevCreateOptions> {
    let file = BlockdevRef::String(file.to_owned());
    let key = key.map(str::to_owned);
    match (format, key) {
        (Format::Qcow2, key) => {
            let mut new = BlockdevCreateOptionsQcow2::new(file, size);
            new.encrypt = key.map(|key| {
                QcowCreateEncryption::Luks(QcowCreateEncryptionLuks {
                    key_secret: Some(key),
                    ..QcowCreateEncryptionLuks::default()
                })
            });
            // Outside of this machine the file tells by itself what it stands on.
            if let Some(below) = below
                && is_lasting(&below.image.filename)
            {
                new.backing_file = Some(below.image.filename.clone());
                new.backing_fmt = Some(BlockdevDriver::from(below.drv.as_str()));
            }
            Some(BlockdevCreateOptions::Qcow2(new))
        }
        (_, Some(key)) => Some(BlockdevCreateOptions::Luks(BlockdevCreateOptionsLuks {
            file: Some(file),
            key_secret: Some(key),
            ..BlockdevCreateOptionsLuks::new(size)
        })),
        (_, None) => None,
    }
}

fn opened_as(format: Format, file: String, key: Option<String>) -> BlockdevOptionsVariant {
    let file = BlockdevRef::String(file);
    match (format, key) {
        (Format::Qcow2, key) => {
            let mut options = BlockdevOptionsQcow2::new(file);
            options.backing = Some(BlockdevRefOrNull::Null);
            options.encrypt = key.map(|key| {
                BlockdevOptionsQcow2Encrypt::Luks(BlockdevOptionsQcow2EncryptLuks { key_secret: Some(key) })
            });
            BlockdevOptionsVariant::Qcow2(options)
        }
        (_, Some(key)) => BlockdevOptionsVariant::Luks(BlockdevOptionsLuks {
            key_secret: Some(key),
            ..BlockdevOptionsLuks::new(file)
        }),
        (_, None) => BlockdevOptionsVariant::Raw(BlockdevOptionsRaw::new(file)),
    }
}

/// Whether the name of an image means the same outside of its machine. What only QEMU understands does not, and the number of a
/// descriptor means another file to everybody else.
fn is_lasting(filename: &str) -> bool {
    !["json:", "/dev/fdset/", "/proc/", "/dev/fd/"].iter().any(|other| filename.starts_with(other))
}

/// The secret of an encrypted image: QEMU tells it within the name that has all that is needed to open it.
fn key_of(node: &BlockNode) -> Result<Option<String>, &'static str> {
    if !node.encrypted && node.image.encrypted != Some(true) {
        return Ok(None);
    }
    let options = node.image.filename.strip_prefix("json:");
    let options = options.and_then(|options| serde_json::from_str::<Value>(options).ok());
    let members = ["key-secret", "encrypt.key-secret"];
    let key = options.and_then(|options| {
        let flat = members.iter().find_map(|member| options.get(*member));
        let key = flat.or_else(|| options.pointer("/encrypt/key-secret"))?;
        key.as_str().map(str::to_owned)
    });
    key.map(Some).ok_or("its image is encrypted, and QEMU does not tell with which secret: what would lie beside it would not be")
}

/// QEMU measures how many rounds of hashing make a key slow to guess, and fails where the host's clock of CPU time has not moved meanwhile
/// (crypto/pbkdf.c, 7.2): by chance, on hosts that count in ticks.
const COARSE: &str = "Unable to get accurate CPU usage";
const KEY_TRIES: u32 = 50;

/// Names of jobs differ from all that are going on in the same QEMU, whoever started them: by a number that is drawn once for each process
/// of ours, as process ids repeat.
pub(super) fn job_id(verb: &str) -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{verb}-{:016x}-{}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The same for a job that copies a disk: whoever finds it knows what it writes to.
pub(super) fn copy_id(verb: &str, disk: &str, target: &str) -> String {
    format!("{}.{}.{disk}.{target}", job_id(verb), disk.len())
}

/// The node of a copy's connection to a server; it goes with the copy's.
pub(super) fn connection_of(target: &str) -> String {
    format!("{target}-file")
}

/// The disk and the copy's node of such a job.
pub(super) fn of_copy(id: &str) -> Option<(&str, &str)> {
    let (_, rest) = id.split_once('.')?;
    let (length, rest) = rest.split_once('.')?;
    let (disk, target) = rest.split_at_checked(length.parse().ok()?)?;
    Some((disk, target.strip_prefix('.')?))
}

pub(super) use super::places::Reservation as ImageName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_copies_is_read_from_its_name() {
        for disk in ["root", "a.b", "9.x"] {
            let id = copy_id("backup", disk, "the.copy-1");
            assert_eq!(of_copy(&id), Some((disk, "the.copy-1")));
        }
        for id in [job_id("stream"), "x.9.y.z".to_owned(), "x.1.ab".to_owned(), "backup.root".to_owned()] {
            assert_eq!(of_copy(&id), None, "{id}");
        }
    }

    #[test]
    fn the_number_of_a_descriptor_is_no_name_of_a_file() {
        for lasting in ["/srv/a.qcow2", "nbd://host:10809/x", "/dev/vg/root"] {
            assert!(is_lasting(lasting), "{lasting}");
        }
        for passing in ["/dev/fdset/3", "/proc/self/fd/7", "/dev/fd/7", "json:{\"driver\":\"qcow2\"}"] {
            assert!(!is_lasting(passing), "{passing}");
        }
    }

    #[test]
    fn a_file_that_is_there_is_nobody_elses_to_empty() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("new");
        make_file(path.clone(), 4096, std::process::id()).expect("made").keep();
        let made = std::fs::metadata(&path).expect("there");
        assert_eq!((made.len(), made.mode() & 0o777), (4096, 0o600));
        let refused = make_file(path.clone(), 0, std::process::id()).expect_err("refused");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 4096);
        // One that cannot be given to its process is not left.
        let other = directory.path().join("other");
        assert!(make_file(other.clone(), 0, u32::MAX).is_err() && !other.exists());
        // Nor one that nobody waits for any more.
        drop(make_file(other.clone(), 0, std::process::id()).expect("made"));
        assert!(!other.exists());
    }

    #[test]
    fn names_of_jobs_are_drawn_and_counted() {
        let (a, b) = (job_id("mirror"), job_id("mirror"));
        let process = |id: &str| id.rsplit_once('-').map(|(process, _)| process.to_owned());
        assert!(
            a != b && process(&a) == process(&b) && process(&a) != Some("mirror-0000000000000000".into())
        );
    }
}
