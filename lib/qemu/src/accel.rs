//! Which accelerator to use, and why.
//!
//! A /dev/kvm that opens proves nothing: some hosts offer KVM without virtualization hardware, create machines, run small
//! real-mode programs and fail at the first stock kernel. So KVM is believed when the processor has the flag **and** a
//! small guest ran to its end in time ([`probe`]). [`decide`] is pure; gathering facts is apart.
//!
//! In time means: within so much processor time of the thread that runs the guest. How long that takes by the clock says more about
//! what else the host does than about KVM, so a guest that the clock ran out on has shown nothing, and is tried again.

mod guest;
mod sys;

use crate::{Accelerator, proc_fs};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use thiserror::Error;

pub use guest::Stage;

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// KVM where it can be believed, else translation.
    #[default]
    Auto,
    /// KVM or an error. The processor flag is not asked for, the probe is.
    Kvm,
    /// Translation.
    Tcg,
}

/// What is known about a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The processor has virtualization hardware (`vmx` or `svm` in /proc/cpuinfo).
    pub cpu_flag: bool,
    /// Whether /dev/kvm can be opened for reading and writing.
    pub device: Device,
    /// What a guest did, if one could be tried.
    pub probe: Option<Probe>,
    /// The file in which the probe's answer is remembered until the host reboots ([`cached_facts`]).
    #[serde(skip)]
    pub remembered: Option<PathBuf>,
}

impl Facts {
    /// Whether gathering them again would come to the same.
    #[must_use]
    pub fn is_conclusive(&self) -> bool {
        self.probe.as_ref().is_none_or(Probe::is_conclusive)
    }
}

/// State of /dev/kvm for this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Device {
    /// It opens.
    Openable,
    /// It does not, for this reason.
    NotOpenable(String),
}

/// What the test guest did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// It ran to its end.
    Passed,
    /// KVM gave up while it was in this stage.
    Failed {
        /// The last stage that the guest reported.
        stage: Stage,
        /// What KVM or the guest said.
        detail: String,
    },
    /// It was still in this stage when the time was up.
    TooSlow {
        /// The last stage that the guest reported.
        stage: Stage,
        /// What it ran into.
        limit: Limit,
    },
    /// The guest could not even be set up.
    NotSetUp(String),
    /// The host could not do it just then: it was out of memory or descriptors, or another hypervisor had the processor.
    Hindered(String),
}

impl Probe {
    /// Whether another try would come to the same.
    #[must_use]
    pub const fn is_conclusive(&self) -> bool {
        !matches!(self, Self::TooSlow { limit: Limit::Clock(_), .. } | Self::Hindered(_))
    }

    /// Of a guest that could not be set up.
    fn not_set_up(error: &io::Error) -> Self {
        let why = error.to_string();
        if is_transient(error) { Self::Hindered(why) } else { Self::NotSetUp(why) }
    }
}

/// Whether the same call may succeed a little later: what it says of the host's state says nothing of KVM.
fn is_transient(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code.is_some_and(|code| {
        [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::EBUSY, libc::EINTR].contains(&code)
    })
}

/// How long the test guest may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Processor time of the thread that runs it, time in the guest included. Default 10 s: a processor needs milliseconds, one
    /// that is translated some hundred, an instruction emulator more than this.
    pub processor: Duration,
    /// Time by the clock; reached by a thread that hardly ever runs, or that the kernel does not let go. Default 60 s.
    pub clock: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { processor: Duration::from_secs(10), clock: Duration::from_secs(60) }
    }
}

/// The limit that a test guest ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// It had this much processor time.
    Processor(Duration),
    /// It had not used its processor time, but this much time had passed: nothing is known of KVM.
    Clock(Duration),
}

/// The accelerator to use and why, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What to use.
    pub accelerator: Accelerator,
    /// Why.
    pub reason: String,
}

/// KVM was demanded and cannot be believed here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("KVM was demanded and cannot be used: {0}; choose auto or tcg")]
pub struct KvmUnusable(pub String);

/// Chooses the accelerator.
///
/// # Errors
/// [`KvmUnusable`] when KVM was demanded; `auto` and `tcg` always have an answer.
pub fn decide(choice: Choice, facts: &Facts) -> Result<Decision, KvmUnusable> {
    let chosen = |accelerator, reason: &str| Ok(Decision { accelerator, reason: reason.to_owned() });
    match (choice, believable(facts)) {
        (Choice::Tcg, _) => chosen(Accelerator::Tcg, "tcg was demanded"),
        (Choice::Kvm, Ok(())) => chosen(Accelerator::Kvm, "kvm was demanded and a test guest ran"),
        (Choice::Kvm, Err(why)) => Err(KvmUnusable(why)),
        (Choice::Auto, Ok(())) if facts.cpu_flag => {
            chosen(Accelerator::Kvm, "the processor has virtualization hardware and a test guest ran")
        }
        (Choice::Auto, Ok(())) => {
            chosen(Accelerator::Tcg, "/dev/kvm opens, but the processor has neither the vmx nor the svm flag")
        }
        (Choice::Auto, Err(why)) => chosen(Accelerator::Tcg, &why),
    }
}

/// The rule without the processor flag: what a guest showed, and where that is written down.
fn believable(facts: &Facts) -> Result<(), String> {
    shown(facts).map_err(|why| match (&facts.device, &facts.remembered) {
        (Device::Openable, Some(file)) => {
            format!("{why} (remembered in {} until the host reboots; without that file it is tried again at the next start)", file.display())
        }
        _ => why,
    })
}

fn shown(facts: &Facts) -> Result<(), String> {
    match (&facts.device, &facts.probe) {
        (Device::NotOpenable(why), _) => Err(format!("/dev/kvm cannot be opened: {why}")),
        (Device::Openable, None) => Err("no test guest was run".to_owned()),
        (Device::Openable, Some(Probe::Passed)) => Ok(()),
        (Device::Openable, Some(Probe::Failed { stage, detail })) => {
            Err(format!("/dev/kvm opens, but KVM cannot run a 64-bit guest: it failed at {stage} ({detail})"))
        }
        (Device::Openable, Some(Probe::TooSlow { stage, limit: Limit::Processor(time) })) => Err(format!(
            "/dev/kvm opens, but a 64-bit guest makes no useful progress: still at {stage} after {time:?} of processor time"
        )),
        (Device::Openable, Some(Probe::TooSlow { stage, limit: Limit::Clock(time) })) => Err(format!(
            "/dev/kvm opens, but the host gave a 64-bit guest too little time to show that it works: still at {stage} after \
             {time:?}; it is tried again"
        )),
        (Device::Openable, Some(Probe::NotSetUp(why))) => {
            Err(format!("/dev/kvm opens, but no guest can be set up: {why}"))
        }
        (Device::Openable, Some(Probe::Hindered(why))) => Err(format!(
            "/dev/kvm opens, but the host could not try a guest just then: {why}; it is tried again"
        )),
    }
}

/// Why /dev/kvm does not open, and what to do about it.
fn not_openable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "{error}: this user is not in its group; `sudo usermod --append --groups kvm USER`, then log in anew"
        ),
        io::ErrorKind::NotFound => format!(
            "{error}: virtualization is off in the firmware, or the module kvm_intel or kvm_amd is not loaded; in a virtual machine \
             its host must pass it on"
        ),
        _ => error.to_string(),
    }
}

/// Gathers the facts of this host. Blocks for at most `limits.clock` and a little; call it from a thread that may.
#[must_use]
pub fn facts(limits: Limits) -> Facts {
    let opened = File::options().read(true).write(true).open("/dev/kvm");
    let (device, probe) = match opened {
        Ok(_) => (Device::Openable, Some(probe(limits))),
        Err(error) => {
            let hindered = is_transient(&error).then(|| Probe::Hindered(error.to_string()));
            (Device::NotOpenable(not_openable(&error)), hindered)
        }
    };
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Facts { cpu_flag: has_flag(&cpuinfo), device, probe, remembered: None }
}

/// Like [`facts`], remembered in `cache` until the host reboots, unless the probe was not conclusive. A cache that cannot be read
/// or written is ignored: it only saves time.
#[must_use]
pub fn cached_facts(cache: &Path, limits: Limits) -> Facts {
    cached(cache, || facts(limits))
}

fn cached(cache: &Path, gather: impl FnOnce() -> Facts) -> Facts {
    #[derive(Serialize, Deserialize)]
    struct Cached {
        boot_id: String,
        facts: Facts,
    }
    let boot_id = proc_fs::boot_id().unwrap_or_default();
    let read = || -> io::Result<Cached> { Ok(serde_json::from_slice(&fs::read(cache)?)?) };
    if let Ok(cached) = read()
        && cached.boot_id == boot_id
        && !boot_id.is_empty()
        && cached.facts.probe.is_some()
    {
        return Facts { remembered: Some(cache.to_owned()), ..cached.facts };
    }
    let facts = gather();
    if !facts.is_conclusive() {
        return facts;
    }
    let mut cached = Cached { boot_id, facts };
    let write = || -> io::Result<()> {
        let temporary = cache.with_extension("new");
        fs::write(&temporary, serde_json::to_vec_pretty(&cached)?)?;
        fs::rename(temporary, cache)
    };
    match write() {
        // Without a probe they are gathered anew next time.
        Ok(()) => cached.facts.remembered = cached.facts.probe.is_some().then(|| cache.to_owned()),
        Err(error) => tracing::debug!(path = %cache.display(), %error, "cannot keep the facts about KVM"),
    }
    cached.facts
}

/// Runs the test guest: 64-bit code under paging that uses `cmpxchg16b`, `xsave`, `xrstor`, `int3` and a counted loop.
/// Blocks for at most `limits.clock` and a little.
#[must_use]
pub fn probe(limits: Limits) -> Probe {
    sys::run(limits)
}

fn has_flag(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    flags.split_ascii_whitespace().any(|flag| flag == "vmx" || flag == "svm")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts_of(cpu_flag: bool, probe: Option<Probe>) -> Facts {
        Facts { cpu_flag, device: Device::Openable, probe, remembered: None }
    }

    #[test]
    fn auto_takes_kvm_only_with_flag_and_a_guest_that_ran() {
        let stage = Stage::Cmpxchg16b;
        let failed = Probe::Failed { stage, detail: "internal error".into() };
        let slow = |limit| Some(Probe::TooSlow { stage: Stage::Loop, limit });
        let time = Duration::from_secs(1);
        let cases = [
            (facts_of(true, Some(Probe::Passed)), Accelerator::Kvm, "test guest ran"),
            (facts_of(false, Some(Probe::Passed)), Accelerator::Tcg, "neither the vmx nor the svm flag"),
            (facts_of(true, Some(failed)), Accelerator::Tcg, "cmpxchg16b (internal error)"),
            (facts_of(true, slow(Limit::Processor(time))), Accelerator::Tcg, "no useful progress"),
            (facts_of(true, slow(Limit::Clock(time))), Accelerator::Tcg, "it is tried again"),
            (
                facts_of(true, Some(Probe::Hindered("no memory".into()))),
                Accelerator::Tcg,
                "it is tried again",
            ),
            (facts_of(true, None), Accelerator::Tcg, "no test guest"),
            (
                Facts {
                    device: Device::NotOpenable(not_openable(&io::ErrorKind::PermissionDenied.into())),
                    ..facts_of(true, None)
                },
                Accelerator::Tcg,
                "--groups kvm",
            ),
            (
                Facts {
                    device: Device::NotOpenable(not_openable(&io::ErrorKind::NotFound.into())),
                    ..facts_of(true, None)
                },
                Accelerator::Tcg,
                "kvm_intel",
            ),
        ];
        for (facts, accelerator, words) in cases {
            let decision = decide(Choice::Auto, &facts).unwrap();
            assert_eq!(decision.accelerator, accelerator, "{facts:?}");
            assert!(decision.reason.contains(words), "{decision:?}");
            assert_eq!(decide(Choice::Tcg, &facts).unwrap().accelerator, Accelerator::Tcg);
            let demanded = decide(Choice::Kvm, &facts).map(|decision| decision.accelerator);
            assert_eq!(demanded.is_ok(), facts.probe == Some(Probe::Passed), "{facts:?}");
        }
    }

    #[test]
    fn the_flag_is_a_whole_word_of_the_flags_line() {
        assert!(has_flag("model name\t: x\nflags\t\t: fpu vmx sse\n"));
        assert!(has_flag("flags\t\t: svm\n"));
        assert!(!has_flag("model name : vmx\nflags\t\t: fpu svm_lock\n"));
    }

    /// Where the flag is missing, KVM is software; the guest alone must find that out.
    #[test]
    fn the_guest_alone_rejects_kvm_without_hardware() {
        let facts = facts(Limits::default());
        println!("{facts:?}");
        match (&facts.device, facts.cpu_flag) {
            (Device::NotOpenable(why), _) => {
                println!("not run: the_guest_alone_rejects_kvm_without_hardware: /dev/kvm: {why}");
            }
            (Device::Openable, true) => assert_eq!(facts.probe, Some(Probe::Passed)),
            (Device::Openable, false) => {
                assert_ne!(facts.probe, Some(Probe::Passed));
                assert!(believable(&facts).is_err());
            }
        }
    }

    /// The guest's own correctness, shown where neither KVM nor hardware is needed: QEMU's translator runs it to its end.
    #[tokio::test]
    async fn the_guest_runs_to_its_end_on_a_correct_processor() {
        use tokio::io::AsyncReadExt;
        let binary = Path::new("/usr/bin/qemu-system-x86_64");
        if !binary.exists() {
            println!("not run: the_guest_runs_to_its_end_on_a_correct_processor: {}", binary.display());
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("boot.raw");
        fs::write(&disk, guest::boot_disk()).unwrap();
        let mut qemu = tokio::process::Command::new(binary)
            .args([
                "-nodefaults",
                "-display",
                "none",
                "-machine",
                "q35",
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-m",
                "64",
            ])
            .args(["-blockdev", &format!("driver=file,node-name=boot,filename={}", disk.display())])
            .args(["-device", "virtio-blk-pci,drive=boot", "-chardev", "stdio,id=ports,mux=on,signal=off"])
            .args(["-device", "isa-debugcon,chardev=ports,iobase=0xf0"])
            .args(["-device", "isa-debugcon,chardev=ports,iobase=0xf1"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut reported = [0; 5];
        let output = qemu.stdout.as_mut().unwrap();
        let read = tokio::time::timeout(Duration::from_secs(60), output.read_exact(&mut reported)).await;
        assert!(read.is_ok_and(|read| read.is_ok()), "the guest stopped after {reported:?}");
        let stages = reported.map(|number| Stage::of(number).unwrap());
        assert_eq!(stages, [Stage::Cmpxchg16b, Stage::Xsave, Stage::Int3, Stage::Loop, Stage::Done]);
        qemu.kill().await.unwrap();
    }

    #[test]
    fn facts_are_remembered_for_this_boot_only() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("kvm.json");
        let boot_id = proc_fs::boot_id().unwrap();
        let remembered = facts_of(true, Some(Probe::NotSetUp("from the cache".into())));
        let write = |boot_id: &str| {
            let text = serde_json::json!({"boot_id": boot_id, "facts": remembered}).to_string();
            fs::write(&cache, text).unwrap();
        };
        let never = || -> Facts { panic!("they are remembered") };
        let kept = |facts: &Facts| Facts { remembered: Some(cache.clone()), ..facts.clone() };
        write(&boot_id);
        assert_eq!(cached(&cache, never), kept(&remembered));
        write("an earlier boot");
        let fresh = facts_of(true, Some(Probe::Passed));
        assert_eq!(cached(&cache, || fresh.clone()), kept(&fresh));
        assert_eq!(cached(&cache, never), kept(&fresh));
    }

    #[test]
    fn who_may_not_use_kvm_is_told_where_that_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("kvm.json");
        let facts = cached(&cache, || facts_of(true, Some(Probe::NotSetUp("no".into()))));
        let refused = decide(Choice::Kvm, &facts).unwrap_err().to_string();
        let reason = decide(Choice::Auto, &facts).unwrap().reason;
        for text in [refused, reason] {
            assert!(text.contains(cache.to_str().unwrap()), "{text}");
        }
        let absent = directory.path().join("absent/kvm.json");
        let facts = cached(&absent, || facts_of(true, Some(Probe::NotSetUp("no".into()))));
        assert!(!decide(Choice::Auto, &facts).unwrap().reason.contains("remembered"));
    }

    #[test]
    fn what_the_host_could_not_do_just_then_is_not_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("kvm.json");
        let failed = |code| facts_of(true, Some(Probe::not_set_up(&io::Error::from_raw_os_error(code))));
        for code in [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::EBUSY, libc::EINTR] {
            assert_eq!(cached(&cache, || failed(code)), failed(code));
            assert!(!cache.exists(), "{code}");
        }
        cached(&cache, || failed(libc::ENODEV));
        assert!(cache.exists());
    }

    #[test]
    fn what_a_busy_host_showed_is_not_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("kvm.json");
        let slow = |limit| facts_of(true, Some(Probe::TooSlow { stage: Stage::Loop, limit }));
        let (busy, emulated) = (slow(Limit::Clock(Duration::ZERO)), slow(Limit::Processor(Duration::ZERO)));
        assert_eq!(cached(&cache, || busy.clone()), busy);
        let kept = Facts { remembered: Some(cache.clone()), ..emulated.clone() };
        assert_eq!(cached(&cache, || emulated.clone()), kept);
        assert_eq!(cached(&cache, || busy.clone()), kept);
    }
}
