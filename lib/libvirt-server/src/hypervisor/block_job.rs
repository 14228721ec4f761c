//! Work on disks that goes on after its call: pull, copy, commit. It takes as long as other jobs do, tells how far it is, and says with
//! events what became of it. libvirt's test driver has none, so this follows its QEMU driver.
//!
//! ```text
//!   pull, commit         ──────────────────────────────> completed, and gone
//!   copy, active commit  ──> ready: stays ── pivot ────> completed; the disk is the other one now
//!          └── abort ────────────┴───────────────────> cancelled
//! ```

use super::domain::Config;
use super::events::{Object, Topic};
use super::{Hypervisor, Refusal, Reply};
use crate::xml::Element;
use libvirt_protocol::enums::{
    ConnectDomainEventBlockJobStatus as Status, DomainBlockJobType as Kind, DomainEventId, ErrorDomain,
    ErrorNumber,
};
use libvirt_protocol::flags::{
    DomainBlockCommitFlags, DomainBlockCopyFlags, DomainBlockJobAbortFlags, DomainBlockRebaseFlags,
    DomainBlockResizeFlags,
};
use libvirt_protocol::xdr::{self, Uuid};
use libvirt_protocol::{remote, types};
use std::time::Duration;

/// A job on a disk.
#[derive(Clone, Debug)]
pub(super) struct BlockJob {
    domain: Uuid,
    disk: String,
    kind: Kind,
    started: Duration,
    ends: Duration,
    /// Bytes a second; 0 is as fast as it goes. Told, and otherwise of no effect.
    bandwidth: u64,
    /// Everything is copied, and what is written goes to both.
    ready: bool,
    /// What the disk is made of when it has ended.
    becomes: Chain,
}

/// What a disk is made of: its file, of which format, and what lies below.
#[derive(Clone, Debug, Default)]
struct Chain {
    /// `None`: the one that it has.
    source: Option<Element>,
    format: Option<&'static str>,
    below: Option<Element>,
}

/// The files below a disk's own, each with all that lies below it.
fn below(disk: &Element) -> impl Iterator<Item = &Element> {
    std::iter::successors(disk.find("backingStore"), |store| store.find("backingStore"))
        .filter(|store| store.find("source").is_some())
}

/// Whether a file of a chain is the one that a client names.
fn is_file(store: &Element, file: &str) -> bool {
    store.path("source/@file") == Some(file) || store.path("source/@dev") == Some(file)
}

/// How large a disk is that nobody has given another size.
const CAPACITY: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

impl BlockJob {
    /// Bytes done, of all.
    fn progress(&self, now: Duration, all: u64) -> u64 {
        let (elapsed, whole) = (now.saturating_sub(self.started), self.ends.saturating_sub(self.started));
        if self.ready || whole.is_zero() {
            return all;
        }
        let share = elapsed.as_secs_f64() / whole.as_secs_f64();
        (all as f64 * share.min(1.0)) as u64
    }

    /// Whether it waits for somebody to end it when everything is copied.
    fn stays(&self) -> bool {
        matches!(self.kind, Kind::Copy | Kind::ActiveCommit)
    }
}

fn busy(text: String) -> Refusal {
    Refusal::new(ErrorNumber::BlockCopyActive, text).of(ErrorDomain::Qemu)
}

/// A disk of a configuration, by its target or its source.
fn disk<'c>(config: &'c Config, path: &str) -> Result<&'c Element, Refusal> {
    let mut disks = config.devices.iter().filter(|device| device.name == "disk");
    let named =
        |disk: &&Element| disk.path("target/@dev") == Some(path) || disk.path("source/@file") == Some(path);
    disks.find(named).ok_or_else(|| {
        Refusal::argument(format!("invalid path '{path}' not assigned to domain")).of(ErrorDomain::Qemu)
    })
}

fn target(disk: &Element) -> String {
    disk.path("target/@dev").unwrap_or_default().to_owned()
}

impl Hypervisor {
    /// When the next job on a disk has copied everything.
    pub(super) fn block_job_deadline(&self) -> Option<Duration> {
        self.block_jobs.iter().filter(|job| !job.ready).map(|job| job.ends).min()
    }

    /// Ends, or makes ready, what is due. Jobs of domains that have stopped are gone.
    pub(super) fn tick_block_jobs(&mut self) {
        let now = self.now;
        let (due, left) = std::mem::take(&mut self.block_jobs)
            .into_iter()
            .partition(|job: &BlockJob| !job.ready && job.ends <= now);
        self.block_jobs = left;
        for mut job in due {
            if job.stays() {
                job.ready = true;
                self.tell_block_job(&job, Status::Ready);
                self.block_jobs.push(job);
            } else {
                self.complete(&job);
            }
        }
    }

    /// What was under way on the disks of a domain is no more.
    pub(super) fn forget_block_jobs(&mut self, domain: Uuid) {
        self.block_jobs.retain(|job| job.domain != domain);
    }

    /// The disk is what the job has made of it.
    fn complete(&mut self, job: &BlockJob) {
        if let Some(domain) = self.domains.get_mut(&job.domain) {
            let mut configs = vec![&mut domain.config];
            configs.extend(&mut domain.next);
            for config in configs {
                let found = config.devices.iter_mut().find(|device| {
                    device.name == "disk" && device.path("target/@dev") == Some(job.disk.as_str())
                });
                let Some(disk) = found else { continue };
                disk.children.retain(|child| child.name != "backingStore");
                if let Some(format) = job.becomes.format {
                    disk.children.retain(|child| child.name != "driver");
                    disk.children.insert(0, Element::new("driver").with("name", "qemu").with("type", format));
                }
                let at = usize::from(disk.find("driver").is_some());
                if let Some(source) = &job.becomes.source {
                    disk.children.retain(|child| child.name != "source");
                    disk.children.insert(at, source.clone());
                }
                if let Some(below) = &job.becomes.below {
                    disk.children.insert(at + 1, below.clone());
                }
            }
        }
        self.tell_block_job(job, Status::Completed);
    }

    fn tell_block_job(&mut self, job: &BlockJob, status: Status) {
        let Some(domain) = self.domains.get(&job.domain) else { return };
        let (dom, object, kind) = (domain.wire(), Object::Uuid(job.domain), job.kind);
        let path = disk(&domain.config, &job.disk).ok().and_then(|disk| disk.path("source/@file"));
        let path = path.unwrap_or(&job.disk).to_owned();
        let msg = remote::DomainEventBlockJobMsg { dom: dom.clone(), path: path.into(), kind, status };
        let names = ("domain_event_callback_block_job", "domain_event_block_job");
        self.tell_both(Topic::Domain(DomainEventId::BlockJob), &object, names, |id| match id {
            Some(callback_id) => {
                xdr::encode(&remote::DomainEventCallbackBlockJobMsg { callback_id, msg: msg.clone() })
            }
            None => xdr::encode(&msg),
        });
        let topic = Topic::Domain(DomainEventId::BlockJob2);
        self.tell(topic, &object, "domain_event_block_job_2", |callback_id| {
            remote::DomainEventBlockJob2Msg {
                callback_id,
                dom: dom.clone(),
                dst: job.disk.clone().into(),
                kind,
                status,
            }
        });
    }

    fn begin_block_job(
        &mut self,
        dom: &types::Domain<'_>,
        path: &str,
        kind: Kind,
        bandwidth: u64,
        becomes: Chain,
    ) -> Result<(), Refusal> {
        let found = disk(&self.active(dom)?.config, path)?;
        let job = BlockJob {
            domain: dom.uuid,
            disk: target(found),
            kind,
            started: self.now,
            ends: self.now + self.job_duration,
            bandwidth,
            ready: false,
            becomes,
        };
        if self.block_jobs.iter().any(|other| other.domain == job.domain && other.disk == job.disk) {
            return Err(busy(format!("disk '{}' already in active block job", job.disk)));
        }
        self.block_jobs.push(job);
        Ok(())
    }

    fn block_job_at(&self, dom: &types::Domain<'_>, path: &str) -> Result<Option<usize>, Refusal> {
        let name = target(disk(&self.active(dom)?.config, path)?);
        Ok(self.block_jobs.iter().position(|job| job.domain == dom.uuid && job.disk == name))
    }

    fn block_job_mut(&mut self, dom: &types::Domain<'_>, path: &str) -> Result<usize, Refusal> {
        self.block_job_at(dom, path)?.ok_or_else(|| {
            Refusal::invalid(format!("disk {path} does not have an active block job")).of(ErrorDomain::Qemu)
        })
    }

    pub(super) fn domain_block_pull(
        &mut self,
        args: remote::DomainBlockPullArgs<'_>,
    ) -> Reply<remote::DomainBlockPull> {
        // Without this bit it is in MiB.
        let bandwidth = bytes(args.bandwidth, args.flags.bits() & 0x40 != 0);
        self.begin_block_job(&args.dom, &args.path.to_str_lossy(), Kind::Pull, bandwidth, Chain::default())
    }

    pub(super) fn domain_block_rebase(
        &mut self,
        args: remote::DomainBlockRebaseArgs<'_>,
    ) -> Reply<remote::DomainBlockRebase> {
        use DomainBlockRebaseFlags as F;
        let bandwidth = bytes(args.bandwidth, args.flags.contains(F::BANDWIDTH_BYTES));
        let path = args.path.to_str_lossy();
        let base = args.base.map(|base| base.to_string());
        let found = disk(&self.active(&args.dom)?.config, &path)?;
        if !args.flags.contains(F::COPY) {
            let only_copies = F::SHALLOW | F::REUSE_EXT | F::COPY_RAW | F::COPY_DEV;
            if args.flags.intersects(only_copies) {
                let text = "Unsupported flags for a rebase that is no copy";
                return Err(Refusal::argument(text));
            }
            // From its own file down to the base everything is pulled in.
            let left = match &base {
                None if args.flags.contains(F::RELATIVE) => {
                    return Err(Refusal::argument(
                        "flag VIR_DOMAIN_BLOCK_REBASE_RELATIVE is valid only with non-null base",
                    ));
                }
                None => None,
                Some(base) => {
                    let left = below(found).find(|store| is_file(store, base)).cloned();
                    let text =
                        || format!("could not find base '{base}' below '{path}' in chain for '{path}'");
                    Some(left.ok_or_else(|| Refusal::argument(text()).of(ErrorDomain::Qemu))?)
                }
            };
            let becomes = Chain { below: left, ..Chain::default() };
            return self.begin_block_job(&args.dom, &path, Kind::Pull, bandwidth, becomes);
        }
        // The old form of a copy: what is the base otherwise is its target.
        let Some(base) = base else { return Err(Refusal::argument("a copy without a target")) };
        let kind = if args.flags.contains(F::COPY_DEV) { "dev" } else { "file" };
        let becomes = Chain {
            source: Some(Element::new("source").with(kind, base)),
            format: args.flags.contains(F::COPY_RAW).then_some("raw"),
            below: found.find("backingStore").filter(|_| args.flags.contains(F::SHALLOW)).cloned(),
        };
        self.begin_block_job(&args.dom, &path, Kind::Copy, bandwidth, becomes)
    }

    pub(super) fn domain_block_copy(
        &mut self,
        args: remote::DomainBlockCopyArgs<'_>,
    ) -> Reply<remote::DomainBlockCopy> {
        use DomainBlockCopyFlags as F;
        let document = self.document(&args.destxml.to_str_lossy(), "disk", "disk_definition")?;
        let Some(source) = document.find("source") else {
            return Err(Refusal::argument("a copy needs a target with a source"));
        };
        let bandwidth = args.params.iter().find(|param| param.field == "bandwidth");
        let bandwidth = bandwidth.and_then(|param| param.value.as_u64()).unwrap_or(0);
        let path = args.path.to_str_lossy();
        let found = disk(&self.active(&args.dom)?.config, &path)?;
        let becomes = Chain {
            source: Some(source.clone()),
            format: None,
            below: found.find("backingStore").filter(|_| args.flags.contains(F::SHALLOW)).cloned(),
        };
        self.begin_block_job(&args.dom, &path, Kind::Copy, bandwidth, becomes)
    }

    pub(super) fn domain_block_commit(
        &mut self,
        args: remote::DomainBlockCommitArgs<'_>,
    ) -> Reply<remote::DomainBlockCommit> {
        use DomainBlockCommitFlags as F;
        let path = args.disk.to_str_lossy();
        let bandwidth = bytes(args.bandwidth, args.flags.contains(F::BANDWIDTH_BYTES));
        let found = disk(&self.active(&args.dom)?.config, &path)?;
        let [base, top] = [args.base, args.top].map(|file| file.map(|file| file.to_string()));
        let own = found.path("source/@file").unwrap_or_default();
        let active = top.as_deref().is_none_or(|top| top == own || *top == *path);
        if active && !args.flags.contains(F::ACTIVE) {
            let text = format!("commit of '{path}' active layer requires active flag");
            return Err(Refusal::argument(text).of(ErrorDomain::Qemu));
        }
        let chain: Vec<&Element> = below(found).collect();
        let refuse = |text: String| Refusal::argument(text).of(ErrorDomain::Qemu);
        // Where the top stands: the disk itself is above the first.
        let first = match &top {
            Some(top) if !active => {
                let at = chain.iter().position(|store| is_file(store, top));
                at.ok_or_else(|| refuse(format!("no disk image '{top}' in chain for '{path}'")))? + 1
            }
            _ => 0,
        };
        if first >= chain.len() {
            return Err(refuse(format!("top '{path}' in chain for '{path}' has no backing file")));
        }
        // Down to the next one, to the one that is named, or to the last.
        let last = match &base {
            _ if args.flags.contains(F::SHALLOW) => first,
            Some(base) => {
                let at = chain.iter().skip(first).position(|store| is_file(store, base));
                first + at.ok_or_else(|| refuse(format!("base '{base}' is not below '{path}'")))?
            }
            None => chain.len() - 1,
        };
        let into = chain[last];
        let (kind, becomes) = if active {
            let below = into.find("backingStore").cloned();
            (Kind::ActiveCommit, Chain { source: into.find("source").cloned(), format: None, below })
        } else {
            // What lies above the top stays, and then comes what was committed into.
            let mut left = into.clone();
            for store in chain[..first - 1].iter().rev() {
                let mut store = (*store).clone();
                store.children.retain(|child| child.name != "backingStore");
                left = store.child(left);
            }
            (Kind::Commit, Chain { below: Some(left), ..Chain::default() })
        };
        self.begin_block_job(&args.dom, &path, kind, bandwidth, becomes)
    }

    pub(super) fn domain_block_job_abort(
        &mut self,
        args: remote::DomainBlockJobAbortArgs<'_>,
    ) -> Reply<remote::DomainBlockJobAbort> {
        let path = args.path.to_str_lossy();
        let at = self.block_job_mut(&args.dom, &path)?;
        if !args.flags.contains(DomainBlockJobAbortFlags::PIVOT) {
            let job = self.block_jobs.remove(at);
            self.tell_block_job(&job, Status::Canceled);
            return Ok(());
        }
        let job = &self.block_jobs[at];
        if !job.stays() {
            let text = format!("pivot of disk '{path}' requires an active copy job");
            return Err(Refusal::invalid(text).of(ErrorDomain::Qemu));
        }
        if !job.ready {
            return Err(busy(format!("disk '{path}' not ready for pivot yet")));
        }
        let job = self.block_jobs.remove(at);
        self.complete(&job);
        Ok(())
    }

    pub(super) fn domain_get_block_job_info(
        &mut self,
        args: remote::DomainGetBlockJobInfoArgs<'_>,
    ) -> Reply<remote::DomainGetBlockJobInfo> {
        let path = args.path.to_str_lossy();
        let Some(at) = self.block_job_at(&args.dom, &path)? else { return Ok(Default::default()) };
        let job = &self.block_jobs[at];
        let end = self.capacity(&args.dom, &job.disk);
        // Bytes, or MiB rounded up.
        let bandwidth = match args.flags.bits() & 1 {
            0 => job.bandwidth.div_ceil(MIB),
            _ => job.bandwidth,
        };
        let cur = job.progress(self.now, end);
        Ok(remote::DomainGetBlockJobInfoRet { found: 1, kind: job.kind, bandwidth, cur, end })
    }

    pub(super) fn domain_block_job_set_speed(
        &mut self,
        args: remote::DomainBlockJobSetSpeedArgs<'_>,
    ) -> Reply<remote::DomainBlockJobSetSpeed> {
        let at = self.block_job_mut(&args.dom, &args.path.to_str_lossy())?;
        self.block_jobs[at].bandwidth = bytes(args.bandwidth, args.flags.bits() & 1 != 0);
        Ok(())
    }

    /// How large a disk is, in bytes.
    pub(super) fn capacity(&self, dom: &types::Domain<'_>, disk: &str) -> u64 {
        let domain = self.domains.get(&dom.uuid);
        domain.and_then(|domain| domain.capacities.get(disk)).copied().unwrap_or(CAPACITY)
    }

    pub(super) fn domain_block_resize(
        &mut self,
        args: remote::DomainBlockResizeArgs<'_>,
    ) -> Reply<remote::DomainBlockResize> {
        let path = args.disk.to_str_lossy();
        let name = target(disk(&self.active(&args.dom)?.config, &path)?);
        let size = match args.flags {
            // As large as what it lies on, which has one size.
            flags if flags.contains(DomainBlockResizeFlags::CAPACITY) && args.size == 0 => Some(CAPACITY),
            flags if flags.contains(DomainBlockResizeFlags::CAPACITY) => {
                let text = format!("Requested resize to '{}' but device size is '{CAPACITY}'", args.size);
                return Err(Refusal::argument(text));
            }
            flags if flags.contains(DomainBlockResizeFlags::BYTES) => Some(args.size),
            _ => args.size.checked_mul(1024),
        };
        let Some(size) = size else {
            let text = format!("size must be less than {}", u64::MAX / 1024);
            return Err(Refusal::new(ErrorNumber::Overflow, text));
        };
        self.domain_mut(&args.dom)?.capacities.insert(name, size);
        Ok(())
    }
}

/// A speed in bytes.
fn bytes(bandwidth: u64, in_bytes: bool) -> u64 {
    if in_bytes { bandwidth } else { bandwidth.saturating_mul(MIB) }
}
