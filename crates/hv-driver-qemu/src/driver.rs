//! The contract's calls.

use crate::{
    accelerator::{Chooser, Chosen},
    admit,
    cgroup::{self, Limits},
    config::Config,
    confined::Confined,
    console,
    convert::{self, GuestRights},
    error,
    guest::{Around, Known, Live, Slot},
    layout::{self, Facts, GuestFacts, InstanceFacts, Layout, Port},
    prepare,
    users::Users,
};
use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use hv_core::InstanceId;
use hv_core::instance::InstanceKind;
use hv_core::node::DriverStatus;
use hv_driver::{
    Assignment, Capability, Console, DiskStats, Driver, DriverError, DriverErrorKind, Guest, Handle,
    Observation, StartMode, Stats,
};
use hv_runtime::{
    clock,
    tasks::{Tasks, blocking},
};
use qemu::{Accelerator, Binary, BinaryCache, StartSpec, binary};
use qmp::commands::SystemPowerdown;
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::MetadataExt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};
use tokio::sync::{OwnedMutexGuard, broadcast};
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};
use tokio_util::sync::DropGuard;

/// Runs virtual machines by QEMU. Dropping it leaves them running.
pub struct QemuDriver {
    config: Arc<Config>,
    users: Arc<Users>,
    cgroups: Arc<OnceLock<cgroup::Place>>,
    confined: Confined,
    binaries: BinaryCache,
    accelerator: Chooser,
    /// Held for short sections without await.
    slots: Arc<Mutex<HashMap<InstanceId, Arc<Slot>>>>,
    around: Around,
    _stop: DropGuard,
}

impl std::fmt::Debug for QemuDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QemuDriver").field("config", &self.config).finish_non_exhaustive()
    }
}

impl QemuDriver {
    /// A driver on a state directory, which no other driver may use at the same time. Guests are watched by `tasks`.
    ///
    /// # Errors
    /// The directory cannot be made, or the configured user does not exist.
    pub fn new(config: Config, tasks: Tasks) -> io::Result<Self> {
        hv_runtime::files::private_dir(&layout::instances(&config.state_dir))?;
        let users = Users::decide(&config)?;
        let own = rustix::process::geteuid().as_raw();
        let confined =
            Confined::decide(own, &users, qemu::Confinement::is_available(), config.allow_unconfined);
        let stop = tasks.stop_token().child_token();
        let around = Around {
            tasks,
            events: broadcast::Sender::new(EVENTS),
            stop: stop.clone(),
            supervision: config.supervision,
        };
        let accelerator = Chooser::new(config.accel, config.state_dir.join("kvm.json"));
        Ok(Self {
            config: Arc::new(config),
            users: Arc::new(users),
            cgroups: Arc::default(),
            confined,
            binaries: BinaryCache::default(),
            accelerator,
            slots: Arc::default(),
            around,
            _stop: stop.drop_guard(),
        })
    }

    fn slot(&self, id: InstanceId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Slot::new(id, Layout::new(&self.config.state_dir, id), self.around.clone()));
        slots.entry(id).or_insert_with(new).clone()
    }

    async fn binary(&self, operation: &'static str) -> Result<Arc<Binary>, DriverError> {
        let config = self.config.clone();
        let path = blocking(move || binary::find(config.binary.as_deref(), &config.search_path)).await;
        let path = path.map_err(|error| error::binary(operation, &error))?;
        self.binaries.inspect(&path).await.map_err(|error| error::binary(operation, &error))
    }

    async fn accelerator(&self, operation: &'static str) -> Result<Chosen, DriverError> {
        let may_open = || self.rights() != GuestRights::None || kvm_group().is_some();
        self.accelerator.choose(operation, may_open).await
    }

    /// Starts the process and lets it run. The caller holds the slot's work.
    async fn launch(
        &self,
        slot: &Arc<Slot>,
        assignment: &Assignment,
        mode: StartMode,
    ) -> Result<(), DriverError> {
        self.confined.check("start")?;
        let broken = |what: &'static str| move |error: io::Error| error::io("start", what, &error);
        let layout = slot.layout.clone();
        let lengths = move || {
            let lengths = (layout::length(&layout.console_log()), layout::length(&layout.qemu_log()));
            InstanceFacts::load(&layout.dir).map(|facts| (facts, lengths))
        };
        let (facts, (console_start, log_start)) =
            blocking(lengths).await.map_err(broken("cannot read the instance's facts"))?;
        let Some(mut facts) = facts else {
            let message = format!("the instance {} was not prepared", assignment.handle.id);
            return Err(DriverError::new(DriverErrorKind::NotFound, "start", message));
        };
        let (binary, decision) = (self.binary("start").await?, self.accelerator("start").await?.for_start()?);
        // A machine keeps its type as long as QEMU knows it: the guest's hardware does not change with QEMU.
        let machine = match &facts.machine {
            Some(machine) if binary.machines.contains(machine) => machine.clone(),
            _ => binary.q35.clone(),
        };
        let is_new = facts.machine.replace(machine.clone()).as_ref() != Some(&machine);
        let starting = slot.starting();
        let ports: Vec<_> = assignment.spec.published().copied().collect();
        let mut guest = GuestFacts {
            started_at: clock::wall().0,
            accelerator: decision.accelerator.as_str().to_owned(),
            accelerator_reason: decision.reason.clone(),
            machine: machine.clone(),
            qemu_version: version(&binary),
            console_start,
            log_start,
            ports: ports.iter().copied().map(Port::from).collect(),
            disks: assignment.spec.disks.iter().map(|disk| disk.name.to_string()).collect(),
            uid: None,
            cgroup: Vec::new(),
            memory_kills: 0,
        };
        let (described, (identity, held), cgroups, guest) = {
            let (layout, assignment, config) = (slot.layout.clone(), assignment.clone(), self.config.clone());
            let (rights, users, place) = (self.rights(), self.users.clone(), self.cgroups.clone());
            blocking(move || {
                let id = assignment.handle.id;
                let (mut identity, held) = users.of(id, facts.uid)?;
                let uid = users.recorded(identity.as_ref());
                if is_new || facts.uid != uid {
                    facts.uid = uid;
                    facts.save(&layout.dir).map_err(broken("cannot write the instance's facts"))?;
                }
                let (accelerator, uefi) = (decision.accelerator, &config.uefi);
                if let Some(identity) = &mut identity
                    && accelerator == Accelerator::Kvm
                {
                    identity.groups.extend(kvm_group().flatten());
                }
                let machine =
                    convert::machine(&layout, &assignment, &facts, (&machine, accelerator), uefi, rights)?;
                let place = place.get_or_init(|| cgroup::Place::find(&config.cgroups));
                let limits = Limits::of(assignment.spec.memory_bytes, assignment.spec.cpus, accelerator);
                let group = place.make(id, limits).unwrap_or_else(|error| {
                    // Counting and limiting it is worth less than the guest itself.
                    tracing::warn!(instance = %id, %place, %error, "the guest gets no control group of its own");
                    None
                });
                let (cgroup, doors) = group.map(|group| (group.paths, group.doors)).unwrap_or_default();
                guest.uid = identity.as_ref().map(|identity| identity.uid);
                (guest.memory_kills, guest.cgroup) = (cgroup::memory_kills(&cgroup), cgroup);
                let written = hv_runtime::files::private_dir(&layout.run())
                    .and_then(|()| layout.forget_guest())
                    .and_then(|()| guest.save(&layout.run()))
                    .map_err(broken("cannot write the guest's facts"))
                    .and_then(|()| convert::check_ports(&ports));
                if let Err(error) = written {
                    cgroup::remove(&guest.cgroup);
                    return Err(error);
                }
                Ok::<_, DriverError>((machine, (identity, held), doors, guest))
            })
            .await?
        };
        let spec = StartSpec {
            descriptors: described.descriptors,
            held: held.into_iter().map(Into::into).collect(),
            identity,
            cgroups,
            confinement: self.confined.landlock().then_some(described.confinement),
            deadline: self.config.start_deadline,
            supervision: self.config.supervision,
            ..StartSpec::new(binary.path.clone(), described.config, slot.layout.run())
        };
        let started = qemu::start(spec).await.map_err(|error| error::start(&error));
        let (vm, supervisor) = match started {
            Ok(started) => started,
            Err(error) => {
                let (layout, guest) = (slot.layout.clone(), guest);
                let clear = move || {
                    cgroup::remove(&guest.cgroup);
                    layout.forget_guest()
                };
                // The error that matters is the first one.
                let _ = blocking(clear).await;
                return Err(error.with("log", slot.layout.qemu_log().display()));
            }
        };
        let live = starting.begin(vm, Box::pin(supervisor), guest);
        tracing::info!(
            instance = %slot.id, pid = live.vm.record().pid, accelerator = decision.accelerator.as_str(),
            reason = decision.reason, "started a guest"
        );
        if mode == StartMode::Running
            && let Err(error) = live.vm.resume().await
        {
            let error = error::call("start", &error);
            slot.end().await?;
            return Err(error);
        }
        Ok(())
    }

    fn rights(&self) -> GuestRights {
        if matches!(*self.users, Users::Own) { GuestRights::Own } else { GuestRights::None }
    }

    /// Runs blocking work of one instance. Should this future be dropped, the work goes on and keeps its turn until it is
    /// done.
    async fn work<T: Send + 'static>(
        &self,
        turn: OwnedMutexGuard<()>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    }
}

#[async_trait]
impl Driver for QemuDriver {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn capabilities(&self) -> Vec<Capability> {
        vec![
            Capability::Pause,
            Capability::PowerDown,
            Capability::Console,
            Capability::Stats,
            Capability::Adopt,
        ]
    }

    async fn fingerprint(&self) -> DriverStatus {
        let mut status = DriverStatus {
            name: self.name().to_owned(),
            instance_types: vec![InstanceKind::Vm.as_str().to_owned()],
            healthy: true,
            message: String::new(),
            version: String::new(),
            capabilities: self.capabilities().iter().map(|one| one.as_str().to_owned()).collect(),
            attributes: BTreeMap::new(),
        };
        let mut problems = Vec::new();
        match self.binary("fingerprint").await {
            Ok(binary) => {
                status.version = version(&binary);
                status.attributes.insert("binary".into(), binary.path.display().to_string());
                status.attributes.insert("machine".into(), binary.q35.clone());
            }
            Err(error) => problems.push(error.message),
        }
        match self.accelerator("fingerprint").await {
            Ok(Chosen { decision, .. }) => {
                status.attributes.insert("accelerator".into(), decision.accelerator.as_str().to_owned());
                status.attributes.insert("accelerator_reason".into(), decision.reason.clone());
            }
            Err(error) => problems.push(error.message),
        }
        status.attributes.insert("confinement".into(), self.confined.to_string());
        let (place, config) = (self.cgroups.clone(), self.config.clone());
        let find = move || place.get_or_init(|| cgroup::Place::find(&config.cgroups)).to_string();
        status.attributes.insert("cgroups".into(), blocking(find).await);
        problems.extend(self.confined.check("fingerprint").err().map(|error| error.message));
        let config = self.config.clone();
        if blocking(move || admit::find_program("qemu-img", &config.search_path)).await.is_none() {
            problems.push("there is no qemu-img; install the Debian package qemu-utils".to_owned());
        }
        status.healthy = problems.is_empty();
        status.message = problems.join("; ");
        status
    }

    async fn admit(&self, assignment: &Assignment) -> Result<(), DriverError> {
        self.confined.check("admit")?;
        self.binary("admit").await?;
        self.accelerator("admit").await?;
        let (spec, config) = (assignment.spec.clone(), self.config.clone());
        blocking(move || admit::check(&spec, &config.state_dir, &config.uefi)).await
    }

    async fn prepare(&self, assignment: &Assignment) -> Result<(), DriverError> {
        let slot = self.slot(assignment.handle.id);
        let turn = slot.work.clone().lock_owned().await;
        if matches!(slot.find("prepare").await?, Known::Live(_) | Known::Silent(_)) {
            // Its disks are in use; what changed is made before its next start.
            return Ok(());
        }
        let (layout, assignment, config) = (slot.layout.clone(), assignment.clone(), self.config.clone());
        let work = move || prepare::prepare(&config.state_dir, &layout, &assignment, &config.uefi);
        self.work(turn, work).await
    }

    async fn start(&self, assignment: &Assignment, mode: StartMode) -> Result<(), DriverError> {
        let slot = self.slot(assignment.handle.id);
        let _turn = slot.work.clone().lock_owned().await;
        match slot.find("start").await? {
            Known::Live(live) => match convert::guest_of(&live.vm.status()) {
                Some(Guest::Running | Guest::Paused) => return Ok(()),
                _ => slot.end().await?,
            },
            Known::Silent(_) => return Ok(()),
            Known::Unknown | Known::Starting | Known::Gone(_) => {}
        }
        self.launch(&slot, assignment, mode).await
    }

    async fn power_down(&self, handle: Handle) -> Result<(), DriverError> {
        let live = self.slot(handle.id).live("power-down").await?;
        live.vm.qmp().call(&SystemPowerdown {}).await.map_err(|error| error::call("power-down", &error))?;
        live.button.notify_one();
        Ok(())
    }

    async fn kill(&self, handle: Handle) -> Result<(), DriverError> {
        let slot = self.slot(handle.id);
        let _turn = slot.work.clone().lock_owned().await;
        slot.end().await
    }

    async fn pause(&self, handle: Handle) -> Result<(), DriverError> {
        let live = self.slot(handle.id).live("pause").await?;
        live.vm.pause().await.map_err(|error| error::call("pause", &error))
    }

    async fn resume(&self, handle: Handle) -> Result<(), DriverError> {
        let live = self.slot(handle.id).live("resume").await?;
        live.vm.resume().await.map_err(|error| error::call("resume", &error))
    }

    async fn delete(&self, handle: Handle) -> Result<(), DriverError> {
        let slot = self.slot(handle.id);
        let turn = slot.work.clone().lock_owned().await;
        match slot.find("delete").await? {
            Known::Live(live) => match convert::guest_of(&live.vm.status()) {
                Some(Guest::Running | Guest::Paused) => return Err(has_guest(handle)),
                _ => slot.end().await?,
            },
            Known::Silent(_) => return Err(has_guest(handle)),
            Known::Unknown | Known::Starting | Known::Gone(_) => {}
        }
        let directory = slot.layout.dir.clone();
        let removed = self.work(turn, move || match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error::io("delete", &format!("cannot remove {}", directory.display()), &error))
            }
            Ok(()) | Err(_) => Ok(()),
        });
        removed.await?;
        self.users.release(handle.id);
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle.id);
        Ok(())
    }

    async fn observe(&self, handle: Handle) -> Result<Observation, DriverError> {
        self.slot(handle.id).observe().await
    }

    async fn list_owned(&self) -> Result<Vec<InstanceId>, DriverError> {
        let directory = layout::instances(&self.config.state_dir);
        blocking(move || {
            let list = || -> io::Result<Vec<InstanceId>> {
                let mut ids = Vec::new();
                for entry in fs::read_dir(&directory)? {
                    ids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<InstanceId>().ok()));
                }
                Ok(ids)
            };
            list().map_err(|error| {
                error::io("list-owned", &format!("cannot list {}", directory.display()), &error)
            })
        })
        .await
    }

    fn events(&self) -> BoxStream<'static, InstanceId> {
        let slots = self.slots.clone();
        let events = BroadcastStream::new(self.around.events.subscribe());
        // Who was too slow is told that everything known may have changed: an event may be repeated, not lost.
        events
            .flat_map(move |event| {
                futures::stream::iter(match event {
                    Ok(id) => vec![id],
                    Err(BroadcastStreamRecvError::Lagged(_)) => {
                        slots.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
                    }
                })
            })
            .boxed()
    }

    async fn stats(&self, handle: Handle) -> Result<Stats, DriverError> {
        let live = self.slot(handle.id).live("stats").await?;
        let stats = live.vm.stats().await.map_err(|error| {
            let kind = match error {
                qemu::stats::StatsError::Qmp(_) => DriverErrorKind::Unresponsive,
                _ => DriverErrorKind::Failed,
            };
            DriverError::new(kind, "stats", error::chain(&error))
        })?;
        Ok(Stats {
            cpu_time_ns: u64::try_from(stats.cpu_time.as_nanos()).ok(),
            memory_used_bytes: Some(stats.rss_bytes),
            network_bytes: None,
            disks: disk_stats(&live, &stats),
        })
    }

    async fn console(&self, handle: Handle, replay_bytes: u64) -> Result<Console, DriverError> {
        let slot = self.slot(handle.id);
        let live = slot.live("console").await?;
        let (log, start) = (slot.layout.console_log(), live.facts.console_start);
        let output = console::output(log.clone(), start, replay_bytes, live.vm.watch())
            .await
            .map_err(|error| error::io("console", &format!("cannot follow {}", log.display()), &error))?;
        Ok(Console { output: output.boxed(), input: live.keyboard.writer() })
    }

    /// A serial line has no size; the guest's terminal keeps its own.
    async fn resize_console(&self, handle: Handle, _: u16, _: u16) -> Result<(), DriverError> {
        self.slot(handle.id).live("resize-console").await.map(drop)
    }
}

fn disk_stats(live: &Live, stats: &qemu::stats::Stats) -> Vec<DiskStats> {
    let further = live.facts.disks.iter().enumerate();
    let names = [("root".to_owned(), "root".to_owned())]
        .into_iter()
        .chain(further.map(|(index, name)| (convert::disk_id(index), name.clone())));
    let of = |(id, name)| {
        let disk = stats.disks.get::<String>(&id)?;
        Some(DiskStats {
            name,
            read_bytes: disk.rd_bytes,
            write_bytes: disk.wr_bytes,
            read_requests: disk.rd_operations,
            write_requests: disk.wr_operations,
        })
    };
    names.filter_map(of).collect()
}

fn has_guest(handle: Handle) -> DriverError {
    let message = format!("the instance {} has a guest; end it first", handle.id);
    DriverError::new(DriverErrorKind::Conflict, "delete", message)
}

fn version(binary: &Binary) -> String {
    let version = binary.version;
    format!("{}.{}.{}", version.major, version.minor, version.micro)
}

/// Whether a process of another user can open /dev/kvm: `None` if not, else the group it needs for that, if any.
fn kvm_group() -> Option<Option<u32>> {
    let device = fs::metadata("/dev/kvm").ok()?;
    match device.mode() {
        mode if mode & 0o006 == 0o006 => Some(None),
        mode if mode & 0o060 == 0o060 => Some(Some(device.gid())),
        _ => None,
    }
}

/// Changes that a slow subscriber may fall behind.
const EVENTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use hv_core::instance::{Epoch, InstanceSpec};

    #[tokio::test]
    async fn a_driver_that_cannot_confine_guests_says_so_and_starts_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut driver = QemuDriver::new(Config::new(directory.path()), Tasks::new()).unwrap();
        driver.confined = Confined::decide(1000, &Users::Own, false, false);
        let status = driver.fingerprint().await;
        assert_eq!(status.attributes["confinement"], "none");
        assert!(!status.healthy && status.message.contains("allow_unconfined"), "{status:?}");
        let assignment = Assignment {
            handle: Handle { id: InstanceId::new(hv_runtime::ids::uuid()), epoch: Epoch(1) },
            name: "guest".into(),
            project: "default".into(),
            spec: InstanceSpec::default(),
        };
        let refused = |error: DriverError| error.message.contains("allow_unconfined");
        assert!(refused(driver.admit(&assignment).await.unwrap_err()));
        assert!(refused(driver.start(&assignment, StartMode::Running).await.unwrap_err()));
    }
}
