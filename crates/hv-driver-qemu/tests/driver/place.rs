//! A place for tests: a directory, the demo guest, drivers, and a look at what is left.

use futures::StreamExt;
use hv_core::InstanceId;
use hv_core::instance::{BootSpec, Epoch, InstanceSpec, MIB, RestartPolicy};
use hv_driver::{Assignment, Driver, Handle, StartMode};
use hv_driver_qemu::{Accel, Config, QemuDriver};
use hv_runtime::tasks::Tasks;
use std::{fs, path::PathBuf, sync::OnceLock, time::Duration};

/// Far more than anything here takes; reached only when something hangs.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// A state directory; guests that a failed test leaves end with it.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) demo: PathBuf,
}

impl Place {
    /// With the demo guest, or a line that says why not.
    pub(crate) fn with_demo(test: &str) -> Option<Self> {
        static DEMO: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let demo = DEMO.get_or_init(|| {
            for tool in ["qemu-system-x86_64", "qemu-img"] {
                if xtask::sh::find(tool).is_none() {
                    return Err(format!("{tool} is missing"));
                }
            }
            let demo = xtask::sh::root().join("target/demo");
            xtask::demo_image::build(&demo).map_err(|error| format!("{error:#}"))?;
            Ok(demo)
        });
        match demo {
            Ok(demo) => Some(Self { directory: tempfile::tempdir().unwrap(), demo: demo.clone() }),
            Err(why) => {
                println!("not run: {test}: {why}");
                None
            }
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(self.state());
        config.accel = Accel::Tcg;
        // The host's own would make tests wait for each other's numbers.
        config.reservations = self.directory.path().join("users");
        config.supervision.interval = Duration::from_millis(200);
        config.supervision.patience = Duration::from_millis(500);
        config
    }

    pub(crate) fn driver(&self) -> QemuDriver {
        QemuDriver::new(self.config(), Tasks::new()).unwrap()
    }

    /// A new instance of the demo guest.
    pub(crate) fn demo(&self) -> Assignment {
        let spec = InstanceSpec {
            memory_bytes: 96 * MIB,
            image: Some(self.demo.join("demo.qcow2")),
            boot: BootSpec {
                kernel: Some(self.demo.join("vmlinuz")),
                initrd: Some(self.demo.join("initrd.img")),
                cmdline: "console=ttyS0 quiet panic=-1".into(),
                ..BootSpec::default()
            },
            restart_policy: RestartPolicy::Never,
            ..InstanceSpec::default()
        };
        let id = InstanceId::new(hv_runtime::ids::uuid());
        Assignment {
            handle: Handle { id, epoch: Epoch(1) },
            name: "guest".into(),
            project: "default".into(),
            spec,
        }
    }

    pub(crate) fn instance(&self, assignment: &Assignment) -> PathBuf {
        self.state().join("instances").join(assignment.handle.id.to_string())
    }

    /// No file of an instance, no process and no tap.
    pub(crate) fn assert_nothing_left(&self) {
        let left: Vec<_> = fs::read_dir(self.state().join("instances")).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(self.processes(), Vec::<u32>::new());
    }

    /// Processes with a lock, log or disk of this place open. What another test is just starting has all of ours between its fork and its
    /// exec, and still is this program.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        let program = fs::read_link("/proc/self/exe").unwrap();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
            let ours = |link: PathBuf| {
                fs::read_link(link).is_ok_and(|target| target.starts_with(self.directory.path()))
            };
            let holds = descriptors.flatten().any(|entry| ours(entry.path()));
            if holds && !fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program) {
                found.push(pid);
            }
        }
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for pid in self.processes() {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed());
            pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }
}

pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// Reads the console until the text is there; answers everything that was read.
pub(crate) async fn console_says(driver: &dyn Driver, assignment: &Assignment, text: &str) -> String {
    let mut console = driver.console(assignment.handle, 65536).await.unwrap();
    let mut read = Vec::new();
    patiently(&format!("{text:?} on the console"), async {
        while !String::from_utf8_lossy(&read).contains(text) {
            let chunk = console.output.next().await;
            let chunk = chunk.unwrap_or_else(|| panic!("ended: {}", String::from_utf8_lossy(&read)));
            read.extend_from_slice(&chunk.unwrap());
        }
    })
    .await;
    String::from_utf8_lossy(&read).into_owned()
}

pub(crate) async fn guest_is_up(driver: &dyn Driver, assignment: &Assignment) {
    console_says(driver, assignment, "hypervisor-demo: up ").await;
}

/// Waits, woken by events alone, until an observation is as wanted.
pub(crate) async fn observed(
    driver: &dyn Driver,
    assignment: &Assignment,
    what: &str,
    wanted: impl Fn(&hv_driver::Observation) -> bool,
) -> hv_driver::Observation {
    let mut events = driver.events();
    patiently(what, async {
        loop {
            let seen = driver.observe(assignment.handle).await.unwrap();
            if wanted(&seen) {
                return seen;
            }
            while events.next().await.is_some_and(|id| id != assignment.handle.id) {}
        }
    })
    .await
}

pub(crate) async fn started(driver: &dyn Driver, assignment: &Assignment) {
    driver.admit(assignment).await.unwrap();
    driver.prepare(assignment).await.unwrap();
    driver.start(assignment, StartMode::Running).await.unwrap();
}

pub(crate) async fn removed(driver: &dyn Driver, assignment: &Assignment) {
    driver.kill(assignment.handle).await.unwrap();
    driver.delete(assignment.handle).await.unwrap();
}
