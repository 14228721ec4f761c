//! The block nodes of a disk, and images that are made beside it.
//!
//! ```text
//!   device --> root-cor --> root-throttle --> root-s1 --> root --> root-b1
//!              `-------- filters --------'    active      `-- below --'        each image X stands on its file, X-file
//! ```

use super::{
    OperationError,
    rollback::{Made, Rollback},
};
use crate::{
    Vm,
    config::{Access, Cache, ConfigError, Format, Image, Source},
    stats::disk_id,
};
use qmp::commands::{
    BlockNode, BlockStats, BlockdevAdd, BlockdevCreate, BlockdevCreateOptions, BlockdevCreateOptionsFile,
    BlockdevCreateOptionsQcow2, BlockdevDel, BlockdevDriver, BlockdevOptions, BlockdevOptionsCache,
    BlockdevOptionsDiscard, BlockdevOptionsFile, BlockdevOptionsQcow2, BlockdevOptionsRaw,
    BlockdevOptionsVariant, BlockdevRef, BlockdevRefOrNull, QueryBlockstats, QueryNamedBlockNodes,
};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
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

    pub(super) async fn named_nodes(&self) -> Result<Vec<BlockNode>, OperationError> {
        self.ask("list the images", &QueryNamedBlockNodes { flat: Some(true) }).await
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
        let filename =
            path.to_str().ok_or_else(|| ConfigError::NotUtf8 { field: "image", path: path.to_owned() })?;
        let model = self.node(like).await?;
        let reserved = if node.is_none() { Some(self.free_image_name(disk).await?) } else { None };
        let name = node.or_else(|| reserved.as_ref().map(ToString::to_string)).expect("one of the two");
        let file = format!("{name}-file");
        let size = model.image.virtual_size;
        let file_size = if format == Format::Raw { size } else { 0 };
        let new = BlockdevCreateOptions::File(BlockdevCreateOptionsFile::new(filename, file_size));
        self.create(rollback, action(), new).await?;
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
        let variant = if format == Format::Qcow2 {
            let mut new = BlockdevCreateOptionsQcow2::new(BlockdevRef::String(file.clone()), size);
            // Outside of this machine the file tells by itself what it stands on; a name that only QEMU understands does not help there.
            if above == Above::Recorded && !model.image.filename.starts_with("json:") {
                new.backing_file = Some(model.image.filename.clone());
                new.backing_fmt = Some(BlockdevDriver::from(model.drv.as_str()));
            }
            self.create(rollback, action(), BlockdevCreateOptions::Qcow2(new)).await?;
            let mut options = BlockdevOptionsQcow2::new(BlockdevRef::String(file));
            options.backing = Some(BlockdevRefOrNull::Null);
            BlockdevOptionsVariant::Qcow2(options)
        } else {
            BlockdevOptionsVariant::Raw(BlockdevOptionsRaw::new(BlockdevRef::String(file)))
        };
        let opened = BlockdevOptions {
            node_name: Some(name.clone()),
            detect_zeroes: Some(match access {
                None => model.detect_zeroes.clone(),
                Some(access) => access.detect_zeroes.as_str().into(),
            }),
            ..plain(variant)
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
        rollback.also(made.clone());
        let command = BlockdevCreate { job_id: id.clone(), options };
        let done = async { self.job(action, id, &command).await?.done().await }.await;
        rollback.gone(&made);
        done
    }

    /// Closes an image with its file.
    pub(super) async fn close_image(&self, node: &str) -> Result<(), OperationError> {
        let action = || format!("close {node}");
        self.tell(action(), &BlockdevDel { node_name: node.to_owned() }).await?;
        let file = format!("{node}-file");
        if self.named_nodes().await?.iter().any(|it| it.node_name.as_deref() == Some(&file)) {
            self.tell(action(), &BlockdevDel { node_name: file }).await?;
        }
        Ok(())
    }

    /// Closes an image that no disk uses any more, with its file.
    ///
    /// # Errors
    /// [`OperationError`]; QEMU refuses while it is in use.
    pub async fn forget_node(&self, node: &str) -> Result<(), OperationError> {
        self.close_image(node).await
    }
}

/// Whether a node of a disk is a filter: see [`crate::argv`] for the names.
fn is_filter(node: &str, disk: &str) -> bool {
    matches!(node.strip_prefix(disk), Some("-throttle" | "-cor" | "-cbw"))
}

/// Names of jobs only have to differ from those that are going on in the same QEMU, whoever started them.
pub(super) fn job_id(verb: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{verb}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(super) use super::places::Reservation as ImageName;
