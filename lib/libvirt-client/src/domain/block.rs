//! Block devices of domains, and the jobs on them.

use super::Domain;
use crate::error::Error;
use crate::events::{Filter, Item, Subscription};
use crate::handle::methods;
use crate::params::Params;
use libvirt_protocol::NoFlags;
use libvirt_protocol::enums::{
    ConnectDomainEventBlockJobStatus, DomainBlockJobType, DomainDiskErrorCode, DomainEventType,
};
use libvirt_protocol::event::{Event, Kind};
use libvirt_protocol::flags::{
    DomainBlockCommitFlags, DomainBlockCopyFlags, DomainBlockJobAbortFlags, DomainBlockJobInfoFlags,
    DomainBlockJobSetSpeedFlags, DomainBlockPullFlags, DomainBlockRebaseFlags, DomainBlockResizeFlags,
    DomainXmlFlags,
};
use libvirt_protocol::procedure::Procedure;
use libvirt_protocol::remote::{self, *};

/// Sizes of a block device, in bytes (`virDomainBlockInfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// What the guest sees.
    pub capacity: u64,
    /// The highest place that the guest has written to, or what is taken.
    pub allocation: u64,
    /// The container's size on the host.
    pub physical: u64,
}

/// How far a block job is (`virDomainBlockJobInfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockJobInfo {
    /// What it does.
    pub kind: DomainBlockJobType,
    /// Its limit, in MiB a second, or in bytes a second when the flags ask for that; 0 is none.
    pub bandwidth: u64,
    /// Where it is.
    pub current: u64,
    /// Where it will have ended; this may grow.
    pub end: u64,
}

/// Where a block job has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockJobState {
    /// It has caught up and follows what the guest writes, until it is aborted, with or without a pivot.
    Ready,
    /// It has ended well.
    Completed,
}

/// Which image a block job goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockTarget<'a> {
    /// The lowest image that takes part; `None` leaves it to the daemon.
    pub base: Option<&'a str>,
    /// The highest one; `None` is the active one.
    pub top: Option<&'a str>,
    /// Its limit, in MiB a second unless the flags say bytes; 0 is none.
    pub bandwidth: u64,
}

/// A job on one block device. It goes on when this is dropped.
#[derive(Debug)]
pub struct BlockJob {
    domain: Domain,
    /// The disk's name in the guest: events bear that, and it stays when the file becomes another.
    disk: String,
    /// What it may be: the end of an earlier job on the same disk is not this one's.
    kinds: &'static [DomainBlockJobType],
    events: Subscription,
}

impl BlockJob {
    /// How far it is; `None` when there is none any more (`virDomainGetBlockJobInfo`).
    ///
    /// # Errors
    /// As every call.
    pub async fn progress(&self) -> Result<Option<BlockJobInfo>, Error> {
        self.domain.block_job(&self.disk, DomainBlockJobInfoFlags::empty()).await
    }

    /// Changes its limit (`virDomainBlockJobSetSpeed`).
    ///
    /// # Errors
    /// As every call.
    pub async fn set_speed(&self, bandwidth: u64, flags: DomainBlockJobSetSpeedFlags) -> Result<(), Error> {
        let args = DomainBlockJobSetSpeedArgs {
            dom: self.domain.wire(),
            path: self.disk.as_str().into(),
            bandwidth,
            flags,
        };
        self.domain.connect().call::<remote::DomainBlockJobSetSpeed>(&args).await.map(drop)
    }

    /// Ends it; a copy or an active commit that is ready ends well with `PIVOT` (`virDomainBlockJobAbort`).
    ///
    /// # Errors
    /// As every call.
    pub async fn abort(&self, flags: DomainBlockJobAbortFlags) -> Result<(), Error> {
        let args =
            DomainBlockJobAbortArgs { dom: self.domain.wire(), path: self.disk.as_str().into(), flags };
        self.domain.connect().call::<remote::DomainBlockJobAbort>(&args).await.map(drop)
    }

    /// Waits until it is ready or has ended.
    ///
    /// # Errors
    /// When it failed or was cancelled, or the guest has stopped, and when the connection is lost; [`crate::ErrorKind::Job`] also when it has
    /// ended and the event that tells how is among those that were lost: then the disk's images tell.
    pub async fn wait(&mut self) -> Result<BlockJobState, Error> {
        loop {
            let item = self.events.next().await?;
            if let Some(end) = self.told(&item) {
                return end;
            }
            // libvirt tells nobody of a job that goes with its guest.
            if let Item::Event(Event::DomainLifecycle(event)) = &item
                && matches!(event.event, DomainEventType::Stopped | DomainEventType::Crashed)
            {
                return self.last_word().unwrap_or_else(|| Err(self.stopped()));
            }
            // Its end may be among what was not seen.
            if matches!(item, Item::Lagged(_) | Item::Resynchronised) {
                match self.progress().await? {
                    None => return self.last_word().unwrap_or_else(|| Err(self.unseen())),
                    Some(info) if info.is_ready() => {
                        return self.last_word().unwrap_or(Ok(BlockJobState::Ready));
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// What an item says of this job's end.
    fn told(&self, item: &Item) -> Option<Result<BlockJobState, Error>> {
        use ConnectDomainEventBlockJobStatus as S;
        match item {
            Item::Event(Event::DomainBlockJob2(event))
                if event.dst == self.disk.as_str() && self.kinds.contains(&event.kind) =>
            {
                Some(match event.status {
                    S::Ready => Ok(BlockJobState::Ready),
                    S::Completed => Ok(BlockJobState::Completed),
                    other => Err(Error::job(format!("the job on {} has ended: {other:?}", self.disk))),
                })
            }
            _ => None,
        }
    }

    /// The last that has come of it, which may wait behind what tells that others were lost.
    fn last_word(&mut self) -> Option<Result<BlockJobState, Error>> {
        let mut last = None;
        while let Some(Ok(item)) = self.events.now() {
            last = self.told(&item).or(last);
        }
        last
    }

    fn stopped(&self) -> Error {
        let disk = &self.disk;
        Error::job(format!("the guest has stopped, and the job on {disk} with it: look at its images"))
    }

    fn unseen(&self) -> Error {
        Error::job(format!(
            "the job on {} has ended, and how is not known: the event that tells was lost. Look at its images",
            self.disk
        ))
    }
}

impl BlockJobInfo {
    /// Whether it has caught up, and waits to be ended. Other kinds end by themselves, even if they are for a moment where their end is.
    fn is_ready(&self) -> bool {
        let waits = matches!(self.kind, DomainBlockJobType::Copy | DomainBlockJobType::ActiveCommit);
        waits && self.end > 0 && self.current == self.end
    }
}

/// The name in the guest of the disk that has this file, in a definition as libvirt prints it.
fn target_of<'x>(xml: &'x str, file: &str) -> Option<&'x str> {
    // What a program keeps with the definition stands before its devices, and may look like anything.
    let devices = xml.rsplit_once("</metadata>").map_or(xml, |(_, rest)| rest);
    devices.split("<disk ").skip(1).find_map(|disk| {
        let disk = disk.split("</disk>").next()?;
        // Its own file comes first; those that it stands on follow inside of it.
        let source = element(disk, "<source ")?;
        let files = ["file", "dev", "dir"].into_iter().filter_map(|name| attribute(source, name));
        files.map(unescaped).any(|known| known == file).then_some(())?;
        attribute(element(disk, "<target ")?, "dev")
    })
}

/// What stands in an element's first tag.
fn element<'x>(xml: &'x str, begin: &str) -> Option<&'x str> {
    let (_, rest) = xml.split_once(begin)?;
    rest.split('>').next()
}

fn attribute<'x>(tag: &'x str, name: &str) -> Option<&'x str> {
    let (_, rest) = tag.split_once(&format!("{name}='"))?;
    rest.split('\'').next()
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&amp;", "&")
}

impl Domain {
    async fn block_begin<P: Procedure>(
        &self,
        disk: &str,
        args: &P::Args<'_>,
        kinds: &'static [DomainBlockJobType],
    ) -> Result<BlockJob, Error> {
        // Before it begins: a small one has ended before its call comes back.
        let filters = [Kind::DomainBlockJob2, Kind::DomainLifecycle].map(|kind| Filter::domain(kind, self));
        let events = self.connect().subscribe_to(filters).await?;
        let disk = self.target_named(disk).await?;
        self.connect().call::<P>(args).await?;
        Ok(BlockJob { domain: self.clone(), disk, kinds, events })
    }

    /// A disk's name in the guest. Only an absolute path is anything else (libvirt's `domain_conf.c`).
    async fn target_named(&self, disk: &str) -> Result<String, Error> {
        if !disk.starts_with('/') {
            return Ok(disk.to_owned());
        }
        let xml = self.xml(DomainXmlFlags::empty()).await?;
        let target = target_of(&xml, disk).map(unescaped);
        target.ok_or_else(|| Error::misuse(format!("no disk of {} has the file {disk}", self.name())))
    }

    /// Pulls what lies below into the active image; with `base` only down to that one (`virDomainBlockPull`, `virDomainBlockRebase`).
    ///
    /// # Errors
    /// As every call.
    pub async fn block_pull(
        &self,
        disk: &str,
        target: BlockTarget<'_>,
        flags: DomainBlockPullFlags,
    ) -> Result<BlockJob, Error> {
        if target.base.is_some() {
            let flags = DomainBlockRebaseFlags::from_bits_retain(flags.bits());
            return self.block_rebase(disk, target, flags).await;
        }
        let args =
            DomainBlockPullArgs { dom: self.wire(), path: disk.into(), bandwidth: target.bandwidth, flags };
        self.block_begin::<remote::DomainBlockPull>(disk, &args, &[DomainBlockJobType::Pull]).await
    }

    /// Pulls, or copies, as the flags say; `base` is the image or the copy's place (`virDomainBlockRebase`).
    ///
    /// # Errors
    /// As every call.
    pub async fn block_rebase(
        &self,
        disk: &str,
        target: BlockTarget<'_>,
        flags: DomainBlockRebaseFlags,
    ) -> Result<BlockJob, Error> {
        let args = DomainBlockRebaseArgs {
            dom: self.wire(),
            path: disk.into(),
            base: target.base.map(Into::into),
            bandwidth: target.bandwidth,
            flags,
        };
        self.block_begin::<remote::DomainBlockRebase>(
            disk,
            &args,
            &[DomainBlockJobType::Pull, DomainBlockJobType::Copy],
        )
        .await
    }

    /// Writes what lies above down into `base` (`virDomainBlockCommit`).
    ///
    /// # Errors
    /// As every call.
    pub async fn block_commit(
        &self,
        disk: &str,
        target: BlockTarget<'_>,
        flags: DomainBlockCommitFlags,
    ) -> Result<BlockJob, Error> {
        let args = DomainBlockCommitArgs {
            dom: self.wire(),
            disk: disk.into(),
            base: target.base.map(Into::into),
            top: target.top.map(Into::into),
            bandwidth: target.bandwidth,
            flags,
        };
        self.block_begin::<remote::DomainBlockCommit>(
            disk,
            &args,
            &[DomainBlockJobType::Commit, DomainBlockJobType::ActiveCommit],
        )
        .await
    }

    /// Copies it to what the XML of a disk says; parameters are named `DOMAIN_BLOCK_COPY_*` (`virDomainBlockCopy`).
    ///
    /// # Errors
    /// As every call.
    pub async fn block_copy(
        &self,
        disk: &str,
        to: &str,
        parameters: &Params,
        flags: DomainBlockCopyFlags,
    ) -> Result<BlockJob, Error> {
        let args = DomainBlockCopyArgs {
            dom: self.wire(),
            path: disk.into(),
            destxml: to.into(),
            params: parameters.as_slice().into(),
            flags,
        };
        self.block_begin::<remote::DomainBlockCopy>(disk, &args, &[DomainBlockJobType::Copy]).await
    }
}

methods! { Domain(this) {
    /// The job on a block device, if there is one (`virDomainGetBlockJobInfo`).
    block_job(disk: &str, flags: DomainBlockJobInfoFlags) -> Option<BlockJobInfo>
        = remote::DomainGetBlockJobInfo(DomainGetBlockJobInfoArgs { dom: this.wire(), path: disk.into(), flags })
        => |found| (found.found != 0).then_some(BlockJobInfo {
            kind: found.kind, bandwidth: found.bandwidth, current: found.cur, end: found.end,
        });
    /// Sizes of a block device (`virDomainGetBlockInfo`).
    block_info(disk: &str) -> BlockInfo
        = remote::DomainGetBlockInfo(DomainGetBlockInfoArgs {
            dom: this.wire(), path: disk.into(), flags: NoFlags::empty(),
        }) => |found| BlockInfo {
            capacity: found.capacity, allocation: found.allocation, physical: found.physical,
        };
    /// Changes the size of a block device: in KiB, or in bytes when the flags say so (`virDomainBlockResize`).
    block_resize(disk: &str, size: u64, flags: DomainBlockResizeFlags)
        = remote::DomainBlockResize(DomainBlockResizeArgs { dom: this.wire(), disk: disk.into(), size, flags });
    /// Counts of a block device: names `DOMAIN_BLOCK_STATS_*`; an empty name means all of them (`virDomainBlockStatsFlags`).
    block_stats(disk: &str) -> Params
        = remote::DomainBlockStatsFlags(DomainBlockStatsFlagsArgs {
            dom: this.wire(), path: disk.into(), nparams: 16, flags: libvirt_protocol::flags::TypedParameterFlags::PARAM_STRING_OKAY,
        }) => |found| found.params.iter().collect();
    /// Reads from a block device, as the guest sees it (`virDomainBlockPeek`).
    peek_block(disk: &str, offset: u64, size: u32) -> Vec<u8>
        = remote::DomainBlockPeek(DomainBlockPeekArgs {
            dom: this.wire(), path: disk.into(), offset, size, flags: NoFlags::empty(),
        }) => |found| found.buffer.0.into_owned();
    /// Asks for an event when more than so many bytes are taken (`virDomainSetBlockThreshold`).
    set_block_threshold(device: &str, bytes: u64)
        = remote::DomainSetBlockThreshold(DomainSetBlockThresholdArgs {
            dom: this.wire(), dev: device.into(), threshold: bytes, flags: NoFlags::empty(),
        });
    /// Block devices with errors (`virDomainGetDiskErrors`).
    disk_errors() -> Vec<(String, DomainDiskErrorCode)>
        = remote::DomainGetDiskErrors(DomainGetDiskErrorsArgs {
            dom: this.wire(), maxerrors: 256, flags: NoFlags::empty(),
        }) => |found| found.errors.iter().map(|error| (error.disk.into(), error.error)).collect();
} }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_found_by_its_own_file() {
        let xml = "<domain type='qemu'>
  <metadata>
    <x:y xmlns:x='z'><disk type='file'><source file='/a'/><target dev='no'/></disk></x:y>
  </metadata>
  <devices>
    <disk type='file' device='cdrom'>
      <target dev='sda' bus='sata'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/a&amp;b' index='1'/>
      <backingStore type='file'>
        <format type='raw'/>
        <source file='/a'/>
        <backingStore/>
      </backingStore>
      <mirror type='file' file='/copy'><source file='/copy'/></mirror>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='block' device='disk'>
      <source dev='/a'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
  </devices>
</domain>";
        for (file, target) in
            [("/a&b", Some("vda")), ("/a", Some("vdb")), ("/copy", None), ("/a&amp;b", None), ("", None)]
        {
            assert_eq!(target_of(xml, file), target, "{file}");
        }
    }

    #[test]
    fn only_what_waits_to_be_ended_is_ready() {
        let at = |kind, current, end| BlockJobInfo { kind, bandwidth: 0, current, end }.is_ready();
        for kind in [DomainBlockJobType::Copy, DomainBlockJobType::ActiveCommit] {
            assert!(at(kind, 9, 9) && !at(kind, 8, 9) && !at(kind, 0, 0));
        }
        for kind in [DomainBlockJobType::Pull, DomainBlockJobType::Commit, DomainBlockJobType::Backup] {
            assert!(!at(kind, 9, 9), "{kind:?}");
        }
    }
}
