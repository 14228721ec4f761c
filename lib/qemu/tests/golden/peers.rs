//! What a configuration names: files, descriptors, and the other ends of sockets.

use crate::huge_pages::HugePages;
use crate::{loop_device::LoopDevice, sys, vhost_user};
use qemu::{
    Config,
    config::{Accelerator, Backing, Input, NicBackend, SoundBackend},
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// Files that configurations name, made once and copied.
pub(crate) struct Templates {
    directory: PathBuf,
}

impl Templates {
    pub(crate) fn make(directory: &Path) -> Self {
        fs::create_dir(directory).unwrap();
        let at = |name: &str| directory.join(name);
        fs::write(at("kernel, 1"), kernel()).unwrap();
        for name in ["disk.raw", "seed.iso", "initrd, 1"] {
            fs::write(at(name), vec![0; 1 << 20]).unwrap();
        }
        for name in
            ["odd a, b=c", "odd d\"e\\f", "odd g\nh", "odd \u{e4} \u{4e16}", "odd 'i' %s {j}", "odd k:l"]
        {
            fs::write(at(name), vec![0; 1 << 20]).unwrap();
        }
        fs::write(at("key, 1"), "a key").unwrap();
        fs::write(at("password, 1"), "a word").unwrap();
        fs::write(at("password.b64"), "YSB3b3Jk").unwrap();
        let image = |name: &str, format: &str, options: &[&str]| {
            let mut command = Command::new("qemu-img");
            command.args(["create", "-q", "-f", format]).args(options).arg(at(name)).arg("1M");
            // For a key QEMU measures its own processor time, and gives up where the kernel's clock is too coarse for that: on some hosts two
            // times in three.
            for _ in 0..MOST_TRIES {
                // Without qemu-img the configurations with such files are not run.
                let Ok(made) = command.output() else { return };
                if !String::from_utf8_lossy(&made.stderr).contains("accurate CPU usage") {
                    return;
                }
            }
        };
        for format in ["qcow2", "vmdk", "vdi", "vpc", "vhdx"] {
            image(&format!("disk.{format}"), format, &[]);
        }
        image("base.qcow2", "qcow2", &[]);
        let secret =
            format!("secret,id=key,file={}", at("key, 1").display().to_string().replace("key, 1", "key,, 1"));
        let quick = "iter-time=10";
        image("luks", "luks", &["--object", &secret, "-o", &format!("key-secret=key,{quick}")]);
        let inside = format!("encrypt.format=luks,encrypt.key-secret=key,encrypt.{quick}");
        image("encrypted.qcow2", "qcow2", &["--object", &secret, "-o", &inside]);
        for (name, original) in [("vars, 1.fd", "OVMF_VARS_4M.fd"), ("vars.ms.fd", "OVMF_VARS_4M.ms.fd")] {
            let _ = fs::copy(Path::new("/usr/share/OVMF").join(original), at(name));
        }
        certificates(&at("tls, 1"));
        certificates(&at("tls-spice, 1"));
        for name in ["memory", "shared, 1"] {
            fs::create_dir(at(name)).unwrap();
        }
        Self { directory: directory.to_owned() }
    }

    /// Copies what the arguments name below `place`; the error is a name that is not there.
    fn copy(&self, args: &[OsString], place: &Path) -> Result<(), String> {
        let prefix = place.to_str().unwrap();
        let named = |name: &str| {
            let path = format!("{prefix}/{name}");
            let json = serde_json::to_string(&path).unwrap();
            let forms = [path.clone(), path.replace(',', ",,"), json[1..json.len() - 1].to_owned()];
            args.iter().any(|arg| forms.iter().any(|form| arg.to_str().unwrap().contains(form)))
        };
        for name in DISKS {
            if named(name) && !self.directory.join(name).exists() {
                return Err(format!("{name} (packages qemu-utils, ovmf)"));
            }
        }
        for entry in fs::read_dir(&self.directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !named(name) {
                continue;
            }
            if path.is_dir() {
                fs::create_dir(place.join(name)).unwrap();
                for entry in fs::read_dir(&path).unwrap() {
                    let file = entry.unwrap().path();
                    fs::copy(&file, place.join(name).join(file.file_name().unwrap())).unwrap();
                }
            } else {
                fs::copy(&path, place.join(name)).unwrap();
            }
        }
        if named("pipe, 1") {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, place.join("pipe, 1"), kind, mode, 0).unwrap();
        }
        Ok(())
    }
}

/// Files that need a program of another package to be made.
const DISKS: &[&str] = &[
    "disk.qcow2",
    "base.qcow2",
    "disk.vmdk",
    "disk.vdi",
    "disk.vpc",
    "disk.vhdx",
    "luks",
    "encrypted.qcow2",
    "vars, 1.fd",
    "vars.ms.fd",
];

/// An image that is not made in so many tries is not made.
const MOST_TRIES: u32 = 30;

/// What has the header of a Linux kernel with a place for a RAM disk (the kernel's Documentation/arch/x86/boot.rst), and
/// does nothing.
fn kernel() -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0x1f1, &[1]);
    put(0x202, b"HdrS");
    put(0x206, &0x020c_u16.to_le_bytes());
    put(0x211, &[1]);
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
    bytes
}

/// An authority, and a server that it vouches for.
fn certificates(directory: &Path) {
    fs::create_dir(directory).unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256)
        .unwrap_or_else(|_| rcgen::KeyPair::generate().unwrap());
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    let certificate = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let own_key = rcgen::KeyPair::generate().unwrap();
    let mut own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    own.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature, rcgen::KeyUsagePurpose::KeyEncipherment];
    own.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    own.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    let own = own.signed_by(&own_key, &issuer).unwrap();
    fs::write(directory.join("ca-cert.pem"), certificate.pem()).unwrap();
    fs::write(directory.join("server-cert.pem"), own.pem()).unwrap();
    fs::write(directory.join("server-key.pem"), own_key.serialize_pem()).unwrap();
}

/// The other ends; they end with this.
#[derive(Default)]
pub(crate) struct Peers {
    programs: Vec<Child>,
    held: Vec<UnixListener>,
    connected: Vec<UnixStream>,
    devices: Vec<LoopDevice>,
}

impl Drop for Peers {
    fn drop(&mut self) {
        for program in &mut self.programs {
            // Fails only for one that has ended already.
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

type Found = (Peers, BTreeMap<String, OwnedFd>);

impl Peers {
    /// Makes what the configuration needs; the error is what this host lacks.
    pub(crate) fn of(
        config: &Config,
        args: &[OsString],
        place: &Path,
        templates: &Templates,
    ) -> Result<Found, String> {
        host_has(config)?;
        templates.copy(args, place)?;
        let mut peers = Self::default();
        let mentions = |what: &str| args.iter().any(|arg| arg.to_str().unwrap().contains(what));
        if mentions("peer.sock") {
            peers.held.push(UnixListener::bind(place.join("peer.sock")).unwrap());
        }
        if mentions("block device") {
            let file = place.join("behind the block device");
            File::create_new(&file).unwrap().set_len(1 << 20).unwrap();
            let device = LoopDevice::of(&file)?;
            std::os::unix::fs::symlink(&device.path, place.join("block device")).unwrap();
            peers.devices.push(device);
        }
        if mentions("vhost-user.sock") {
            vhost_user::serve(&place.join("vhost-user.sock")).unwrap();
        }
        if mentions("swtpm.sock") {
            fs::create_dir(place.join("tpm")).unwrap();
            let state = format!("dir={}", place.join("tpm").display());
            let control = format!("type=unixio,path={}", place.join("swtpm.sock").display());
            peers.program(
                "swtpm",
                &["socket", "--tpm2", "--tpmstate", &state, "--ctrl", &control],
                &place.join("swtpm.sock"),
            )?;
        }
        if mentions("virtiofsd.sock") {
            let socket = place.join("virtiofsd.sock");
            fs::create_dir(place.join("home")).unwrap();
            let (at, source) = (
                format!("--socket-path={}", socket.display()),
                format!("source={}", place.join("home").display()),
            );
            let program = "/usr/lib/qemu/virtiofsd";
            let args = [&at, "-o", &source, "-o", "sandbox=chroot"];
            if rustix::process::getuid().is_root() {
                peers.program(program, &args, &socket)?;
            } else {
                // It wants to be root, and to note below /run that it runs.
                let apart = ["--user", "--map-root-user", "--mount", "sh", "-c"];
                let script = "mount -t tmpfs none /run && exec \"$0\" \"$@\"";
                peers.program("unshare", &[&apart[..], &[script, program], &args].concat(), &socket)?;
            }
        }
        if mentions("nbd.sock") {
            let socket = place.join("nbd.sock");
            let server = format!("addr.type=unix,addr.path={}", socket.display());
            let null = |id: &str| format!("null-co,node-name={id},size=1048576");
            let export =
                |id: &str, name: &str| format!("type=nbd,id={id},node-name={id},name={name},writable=on");
            let (a, b) = (export("a", "first"), export("b", "second,, of 2"));
            let args = [
                "--blockdev",
                &null("a"),
                "--blockdev",
                &null("b"),
                "--nbd-server",
                &server,
                "--export",
                &a,
                "--export",
                &b,
            ];
            peers.program("qemu-storage-daemon", &args, &socket)?;
        }
        if mentions("bus.sock") {
            let socket = place.join("bus.sock");
            let address = format!("--address=unix:path={}", socket.display());
            peers.program("dbus-daemon", &["--session", "--nofork", &address], &socket)?;
        }
        let descriptors = peers.descriptors(config, place)?;
        Ok((peers, descriptors))
    }

    /// Starts a program and waits for its socket.
    fn program(&mut self, name: &str, args: &[&str], socket: &Path) -> Result<(), String> {
        let child = Command::new(name)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.map_err(|error| format!("{name}: {error}"))?;
        while !socket.exists() {
            if let Some(status) = child.try_wait().unwrap() {
                return Err(format!("{name} does not start here: {status}"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.programs.push(child);
        Ok(())
    }

    fn descriptors(&mut self, config: &Config, place: &Path) -> Result<BTreeMap<String, OwnedFd>, String> {
        let mut descriptors = BTreeMap::new();
        let keys = format!("{config:?}");
        let used = |key: &str| keys.contains(&format!("\"{key}\""));
        let file = |name: &str| -> OwnedFd {
            let path = place.join(name);
            let options = File::options().read(true).write(true).create(true).truncate(false).open(path);
            let file = options.unwrap();
            file.set_len(1 << 20).unwrap();
            file.into()
        };
        // A set's descriptors are used for what they were opened for.
        if used("base") {
            drop(file("handed over base"));
            descriptors.insert("base".into(), File::open(place.join("handed over base")).unwrap().into());
        }
        if used("log") {
            let log = File::options().append(true).create(true).open(place.join("log")).unwrap();
            descriptors.insert("log".into(), log.into());
        }
        for (key, name) in [("disk", "handed over"), ("key", "handed over key")] {
            if used(key) {
                descriptors.insert(key.to_owned(), file(name));
            }
        }
        if used("key") {
            fs::write(place.join("handed over key"), "a key").unwrap();
        }
        if used("vars") {
            let vars = place.join("handed over vars");
            fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &vars)
                .map_err(|error| format!("OVMF (package ovmf): {error}"))?;
            descriptors
                .insert("vars".into(), File::options().read(true).write(true).open(vars).unwrap().into());
        }
        if used("listening") {
            descriptors
                .insert("listening".into(), UnixListener::bind(place.join("listening")).unwrap().into());
        }
        if used("connected") {
            let (ours, theirs) = UnixStream::pair().unwrap();
            self.connected.push(ours);
            descriptors.insert("connected".into(), theirs.into());
        }
        let taps = ["tap", "tap-2"].iter().filter(|key| used(key)).count();
        // Named after the place: several of these may exist at once.
        let name =
            format!("hvg{}-{}", std::process::id() % 100_000, place.file_name().unwrap().to_str().unwrap());
        for key in ["tap", "tap-2"].iter().take(taps) {
            let tap =
                sys::tap(&name, taps).map_err(|error| format!("a tap interface (CAP_NET_ADMIN): {error}"))?;
            descriptors.insert((*key).to_owned(), tap);
        }
        if used("vdpa") {
            // Opened as one would be; that it is none is found out by QEMU.
            descriptors.insert("vdpa".into(), File::open("/dev/null").unwrap().into());
        }
        for (key, device) in
            [("vhost", "/dev/vhost-net"), ("vhost-2", "/dev/vhost-net"), ("vhost-vsock", "/dev/vhost-vsock")]
        {
            if used(key) {
                let device = File::options()
                    .read(true)
                    .write(true)
                    .open(device)
                    .map_err(|error| format!("{device}: {error}"))?;
                descriptors.insert(key.to_owned(), device.into());
            }
        }
        Ok(descriptors)
    }
}

/// The program of a machine on a bridge: in a network of its own that has this bridge, with a file of its own that allows it.
pub(crate) fn bridged(config: &Config, place: &Path, program: &Path) -> PathBuf {
    let mut bridges = config.nics.iter().filter_map(|nic| match &nic.backend {
        NicBackend::Bridge { bridge, .. } => Some(bridge),
        _ => None,
    });
    let Some(bridge) = bridges.next() else { return program.to_owned() };
    let script = format!(
        "#!/bin/sh\n[ $(id -u) = 0 ] || apart='--user --map-root-user'\n\
         [ -n \"$HV_APART\" ] || HV_APART=1 exec unshare $apart -n -m \"$0\" \"$@\"\n\
         mount -t tmpfs apart /mnt && mkdir /mnt/upper /mnt/work || exit 9\n\
         mount -t overlay apart -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc || exit 9\n\
         mkdir -p /etc/qemu && echo allow {bridge} >/etc/qemu/bridge.conf && ip link add {bridge} type bridge || exit 9\n\
         exec {} \"$@\"\n",
        program.display()
    );
    let path = place.join("bridged");
    fs::write(&path, script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&path, executable).unwrap();
    path
}

/// Whether this user may have a network of his own.
fn may_be_apart() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--net", "--mount", "true"]).stderr(Stdio::null());
    rustix::process::getuid().is_root() || unshare.status().is_ok_and(|status| status.success())
}

/// Devices and rights of the host.
fn host_has(config: &Config) -> Result<(), String> {
    let openable = |path: &str| {
        File::options()
            .read(true)
            .write(true)
            .open(path)
            .map(drop)
            .map_err(|error| format!("{path}: {error}"))
    };
    if config.accelerator == Accelerator::Kvm {
        openable("/dev/kvm")?;
    }
    if matches!(config.memory.backing, Backing::HugePages { .. }) && HugePages::count("free") == 0 {
        return Err("huge pages (none is free, and only root can add some)".to_owned());
    }
    if config.vsock.is_some() {
        openable("/dev/vhost-vsock")?;
    }
    for input in &config.inputs {
        if let Input::Host(path) = input {
            openable(path.to_str().unwrap())?;
        }
    }
    if let Some(SoundBackend::Pulse(_)) = config.sound.as_ref().map(|sound| &sound.backend) {
        return Err("a PulseAudio server".to_owned());
    }
    for nic in &config.nics {
        match &nic.backend {
            NicBackend::Bridge { .. } if !may_be_apart() => {
                return Err("a bridge of its own (root, or user namespaces)".to_owned());
            }
            NicBackend::Tap { ifname } => {
                sys::tap(ifname, nic.queues.into())
                    .map_err(|error| format!("a tap interface (CAP_NET_ADMIN): {error}"))?;
            }
            _ => {}
        }
    }
    Ok(())
}
