//! Guests that answer: Linux with a shell on its console, and programs of one sector.

use crate::release;
use qemu::{
    Config, Exit, Incoming, StartSpec, Supervision, Vm,
    config::{DirectKernel, Disk, Image},
    start,
};
use qmp::commands::{BlockNode, QueryNamedBlockNodes, QueryStatus};
use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinSet,
};
use uuid::Uuid;

/// Far more than anything here takes; reached only when something hangs.
pub(crate) const LONG: Duration = Duration::from_secs(180);

/// The demo guest's kernel and RAM disk.
pub(crate) fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/demo").join(name)
}

/// Whether a test that needs these cannot be run; says so.
pub(crate) fn missing(test: &str, linux: bool) -> bool {
    crate::observed::observe();
    let needed = [(release::program(), release::origin()), (demo("vmlinuz"), "cargo xtask demo-image")];
    let missing = needed.iter().take(1 + usize::from(linux)).find(|(path, _)| !path.exists());
    if let Some((path, from)) = missing {
        println!("not run: {test}: {} ({from})", path.display());
    }
    missing.is_some()
}

pub(crate) fn config() -> Config {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    Config::new("test", Uuid::parse_str(text.trim()).unwrap(), &release::machine("q35"), 1, 192)
}

/// The same with a disk of 1 MiB, all zeroes, in this directory: `root`.
pub(crate) fn with_disk(directory: &Path) -> Config {
    let image = directory.join("disk.raw");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    config().disk(Disk::new("root", Image::raw(image)))
}

/// A running machine with its console.
pub(crate) struct Guest {
    pub(crate) vm: Vm,
    console: UnixStream,
    tasks: JoinSet<Exit>,
    /// What was read from the console and not used.
    seen: String,
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Supervision ends with its tasks; the process would not.
        let pid = i32::try_from(self.vm.record().pid).ok().and_then(rustix::process::Pid::from_raw);
        if self.vm.status().exit.is_none() {
            pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
        self.tasks.abort_all();
    }
}

impl Guest {
    /// Starts a machine, which runs on return.
    pub(crate) async fn start(directory: &Path, config: Config) -> Self {
        let guest = Self::paused(directory, config).await;
        guest.vm.resume().await.unwrap();
        guest
    }

    pub(crate) async fn paused(directory: &Path, config: Config) -> Self {
        Self::of(directory, config, Incoming::Nothing, BTreeMap::new()).await
    }

    /// Starts Linux in a machine that has these descriptors from its start.
    pub(crate) async fn handed(
        directory: &Path,
        config: Config,
        descriptors: BTreeMap<String, OwnedFd>,
    ) -> Self {
        let config = Self::with_linux(config);
        let guest = Self::of(directory, config, Incoming::Nothing, descriptors).await;
        guest.vm.resume().await.unwrap();
        guest.at_its_shell().await
    }

    /// Starts a machine that waits for a state.
    pub(crate) async fn incoming(directory: &Path, config: Config) -> Self {
        Self::of(directory, config, Incoming::State, BTreeMap::new()).await
    }

    async fn of(
        directory: &Path,
        config: Config,
        incoming: Incoming,
        descriptors: BTreeMap<String, OwnedFd>,
    ) -> Self {
        let supervision = Supervision { interval: Duration::from_secs(5), patience: LONG };
        let spec = StartSpec {
            supervision,
            incoming,
            descriptors,
            deadline: LONG,
            ..StartSpec::new(release::program(), config, directory.join("run"))
        };
        let (vm, supervisor) = start(spec).await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
        let mut tasks = JoinSet::new();
        tasks.spawn(supervisor);
        let console = qemu::socket::connect(&vm.record().console_socket).await.unwrap();
        Self { vm, console, tasks, seen: String::new() }
    }

    /// A machine that starts Linux.
    pub(crate) fn with_linux(mut config: Config) -> Config {
        config.boot.kernel = Some(DirectKernel {
            kernel: demo("vmlinuz"),
            initrd: Some(demo("initrd.img")),
            cmdline: "console=ttyS0 quiet panic=-1 rdinit=/bin/sh".into(),
        });
        config
    }

    /// Starts Linux with a shell and the drivers of virtio.
    pub(crate) async fn linux(directory: &Path, config: Config) -> Self {
        Self::linux_of(directory, Self::with_linux(config)).await
    }

    /// The same for a machine that starts Linux in its own way.
    pub(crate) async fn linux_of(directory: &Path, config: Config) -> Self {
        Self::start(directory, config).await.at_its_shell().await
    }

    async fn at_its_shell(mut self) -> Self {
        let guest = &mut self;
        guest.until("# ").await;
        // A loop edits no lines, shows no prompt and echoes nothing.
        guest.type_in("stty -echo; echo rea\"\"dy; while IFS= read -r l; do eval \"$l\"; done\n").await;
        // From here on the line keeps what is typed until the loop reads it.
        guest.until("ready").await;
        guest.run("mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmpfs /run").await;
        guest
            .run("while read -r m; do insmod /lib/modules/$m 2>/dev/null; done </lib/modules/order; true")
            .await;
        self
    }

    /// Runs a command in the shell; answers what it wrote. It must succeed.
    pub(crate) async fn run(&mut self, command: &str) -> String {
        self.type_in(&format!("{command}; echo \"<$?>\"\n")).await;
        let output = self.until(">").await.replace('\r', "");
        let (output, status) =
            output.trim_end_matches('>').rsplit_once('<').unwrap_or_else(|| panic!("{output:?}"));
        assert_eq!(status, "0", "{command}: {output}");
        output.trim().to_owned()
    }

    /// Runs a command until it succeeds.
    pub(crate) async fn run_until(&mut self, condition: &str) {
        self.run(&format!("while ! {condition}; do sleep 0.05; done")).await;
    }

    pub(crate) async fn type_in(&mut self, text: &str) {
        if let Err(error) = self.console.write_all(text.as_bytes()).await {
            panic!("the console takes nothing: {error}: {}", self.log());
        }
    }

    /// What QEMU said, and how it ended if supervision knows by now.
    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(&self.vm.record().qemu_log).unwrap_or_default();
        format!("{:?}: {log}", self.vm.status().exit)
    }

    /// Reads the console up to this text.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(text) {
                let end = at + text.len();
                let rest = self.seen.split_off(end);
                return std::mem::replace(&mut self.seen, rest);
            }
            let mut chunk = [0; 1024];
            let Ok(count) = tokio::time::timeout(LONG, self.console.read(&mut chunk)).await else {
                panic!("no {text:?} in {:?}", self.seen);
            };
            let count = count.unwrap();
            assert_ne!(count, 0, "the console closed after {:?}: {}", self.seen, self.log());
            self.seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    }

    /// Ends supervision, and the connection with it.
    pub(crate) async fn unsupervised(&mut self) {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Goes on with another manager.
    pub(crate) fn supervised(&mut self, vm: Vm, supervisor: impl Future<Output = Exit> + Send + 'static) {
        self.vm = vm;
        self.tasks.spawn(supervisor);
    }

    /// Waits until the machine answers again after its connection broke: the old one answers nothing.
    pub(crate) async fn answers(&self) {
        let mut status = self.vm.watch();
        while self.vm.qmp().call(&QueryStatus {}).await.is_err() {
            tokio::time::timeout(LONG, status.changed()).await.unwrap().unwrap();
        }
    }

    /// The images that are open.
    pub(crate) async fn nodes(&self) -> Vec<BlockNode> {
        self.vm.qmp().call(&QueryNamedBlockNodes { flat: Some(true) }).await.unwrap()
    }

    /// Their names, in order.
    pub(crate) async fn node_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.nodes().await.into_iter().filter_map(|node| node.node_name).collect();
        names.sort();
        names
    }

    pub(crate) async fn quit(self) {
        let exit = self.vm.quit(LONG).await.unwrap();
        // QEMU 10.0 does that now and then under TCG, after all that the test asked of it was answered.
        if release::is_newer() && exit == Exit::Signal(11) {
            return println!("QEMU crashed at its end");
        }
        assert_eq!(exit, Exit::Code(0));
    }
}

/// A disk that starts with this program, which then finds its data segment at 0 and 0x3f8 in dx.
pub(crate) fn boot_disk(directory: &Path, program: &[u8]) -> Disk {
    let path = directory.join("boot.raw");
    let mut sector = vec![0; 1 << 20];
    // xor ax, ax; mov ds, ax; mov dx, 0x3f8
    let code = [&[0x31, 0xc0, 0x8e, 0xd8, 0xba, 0xf8, 0x03], program].concat();
    sector[..code.len()].copy_from_slice(&code);
    (sector[510], sector[511]) = (0x55, 0xaa);
    fs::write(&path, sector).unwrap();
    Disk::new("root", Image::raw(path))
}
