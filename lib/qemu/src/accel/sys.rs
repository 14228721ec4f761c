//! Runs the test guest on KVM, in a thread that can be interrupted.
#![expect(unsafe_code, reason = "guest memory, and signal calls that have no safe form")]

use super::{
    Limit, Limits, Probe, Stage,
    guest::{self, FAULT_PORT, MEMORY_BYTES, STAGE_PORT, WRONG_RESULT},
    is_transient,
};
use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use std::{
    io, mem,
    os::{fd::AsRawFd, unix::thread::JoinHandleExt},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Runs the guest within `limits`.
pub(super) fn run(limits: Limits) -> Probe {
    supervise(limits, |reached| match uninterrupted(set_up) {
        Ok(mut guest) => guest.run(reached),
        Err(error) => Probe::not_set_up(&error),
    })
}

/// Once more after a signal, of which a process may get many.
fn uninterrupted<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut interruptions = 0..INTERRUPTIONS;
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted && interruptions.next().is_some() => {}
            done => return done,
        }
    }
}

/// How many are gone over. The signal that ends the run stays, and interrupts all of them.
const INTERRUPTIONS: u32 = 100;

/// Runs `guest`, which says what stage it has reached, in a thread of its own.
///
/// The thread blocks one signal, and KVM unblocks it while the guest runs: a signal to the thread ends the run without
/// any handler, also when it comes early. A thread that the kernel will not let go is left behind; the answer does not
/// wait for it.
fn supervise(limits: Limits, guest: impl FnOnce(&AtomicU8) -> Probe + Send + 'static) -> Probe {
    let stage = Arc::new(AtomicU8::new(Stage::Entry as u8));
    let (done, result) = mpsc::channel();
    let (blocked, interruptible) = mpsc::channel();
    let reached = stage.clone();
    let spawned = thread::Builder::new().name("kvm-probe".to_owned()).spawn(move || {
        // Whoever started this thread waits for the answer.
        let _ = blocked.send(block_signal().and_then(|()| own_clock()));
        // The receiver may have given up.
        let _ = done.send(guest(&reached));
    });
    let handle = match spawned {
        Ok(handle) => handle,
        Err(error) => return Probe::not_set_up(&error),
    };
    // Before that the signal would end the whole process.
    let clock = match interruptible.recv() {
        Ok(Ok(clock)) => clock,
        Ok(Err(error)) => return Probe::not_set_up(&error),
        Err(_) => return Probe::NotSetUp("the probing thread ended".to_owned()),
    };
    let outcome = wait(&result, clock, limits).unwrap_or_else(|limit| {
        // SAFETY: the thread is not joined, so its handle is valid even if it has just ended; the signal is blocked
        // there, so it interrupts KVM_RUN and nothing else.
        unsafe { libc::pthread_kill(handle.as_pthread_t(), interrupt_signal()) };
        let stage = Stage::of(stage.load(Ordering::Relaxed)).unwrap_or(Stage::Entry);
        Probe::TooSlow { stage, limit }
    });
    // Ended or about to end; give it a moment so that its handle is joined and its memory returned.
    if result.recv_timeout(Duration::from_millis(100)).is_ok() || handle.is_finished() {
        let _ = handle.join();
    }
    outcome
}

/// Waits for the thread's answer, or until it has used up its processor time: no sooner than that much time has passed, so it is
/// looked at once then, and again after what it has left.
fn wait(result: &mpsc::Receiver<Probe>, clock: libc::clockid_t, limits: Limits) -> Result<Probe, Limit> {
    let mut waited = Duration::ZERO;
    loop {
        let left = limits.processor.saturating_sub(processor_time(clock));
        if left.is_zero() {
            return Err(Limit::Processor(limits.processor));
        }
        if waited >= limits.clock {
            return Err(Limit::Clock(limits.clock));
        }
        let pause = left.min(limits.clock - waited).max(SHORTEST_PAUSE);
        match result.recv_timeout(pause) {
            Ok(probe) => return Ok(probe),
            Err(mpsc::RecvTimeoutError::Timeout) => waited += pause,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Ok(Probe::NotSetUp("the probing thread ended".to_owned()));
            }
        }
    }
}

/// The clock of this thread's processor time; it counts time in a guest too.
fn own_clock() -> io::Result<libc::clockid_t> {
    let mut clock = 0;
    // SAFETY: a running thread's own handle is valid, and the clock is written to a place of its type.
    match unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) } {
        0 => Ok(clock),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// What a thread has used; nothing once it has ended, when its answer is there.
fn processor_time(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is a number, which the kernel refuses once its thread is gone; the time is written to a place of its type.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Duration::ZERO;
    }
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

/// Between two looks at a thread that has nearly used up its time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Members are dropped in this order: the machine's descriptors before its memory.
struct Guest {
    vcpu: VcpuFd,
    _vm: kvm_ioctls::VmFd,
    memory: Memory,
}

fn set_up() -> io::Result<Guest> {
    let kvm = Kvm::new()?;
    let vm = kvm.create_vm()?;
    let mut memory = Memory::new()?;
    guest::load(memory.bytes());
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY_BYTES as u64,
        userspace_addr: memory.address.addr() as u64,
    };
    // SAFETY: the region lies in a mapping that outlives the machine (order of members in `Guest`).
    unsafe { vm.set_user_memory_region(region) }?;
    let vcpu = vm.create_vcpu(0)?;
    vcpu.set_cpuid2(&kvm.get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES)?)?;
    let mut sregs = vcpu.get_sregs()?;
    sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_PG;
    sregs.cr3 = guest::PML4;
    sregs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE;
    sregs.efer = EFER_LME | EFER_LMA;
    sregs.gdt = kvm_dtable { base: guest::GDT, limit: guest::GDT_LIMIT, ..kvm_dtable::default() };
    sregs.idt = kvm_dtable { base: guest::IDT, limit: guest::IDT_LIMIT, ..kvm_dtable::default() };
    let flat = kvm_segment { limit: u32::MAX, present: 1, s: 1, g: 1, ..kvm_segment::default() };
    sregs.cs = kvm_segment { selector: guest::CODE_SELECTOR, type_: 11, l: 1, ..flat };
    let data = kvm_segment { selector: guest::DATA_SELECTOR, type_: 3, db: 1, ..flat };
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&kvm_regs { rip: guest::CODE, rsp: guest::STACK_TOP, rflags: 2, ..kvm_regs::default() })?;
    unblock_while_running(&vcpu)?;
    Ok(Guest { vcpu, _vm: vm, memory })
}

impl Guest {
    fn run(&mut self, reached: &AtomicU8) -> Probe {
        let mut interruptions = 0..INTERRUPTIONS;
        loop {
            let stage = Stage::of(reached.load(Ordering::Relaxed)).unwrap_or(Stage::Entry);
            let detail = match self.vcpu.run() {
                Ok(VcpuExit::IoOut(STAGE_PORT, [number])) => {
                    reached.store(*number, Ordering::Relaxed);
                    continue;
                }
                Ok(VcpuExit::Hlt) if stage == Stage::Done => return Probe::Passed,
                Ok(VcpuExit::IoOut(FAULT_PORT, [WRONG_RESULT])) => "the result is wrong".to_owned(),
                Ok(VcpuExit::IoOut(FAULT_PORT, [vector])) => format!("exception {vector} in the guest"),
                Ok(exit) => {
                    let exit = format!("KVM exit {exit:?}");
                    format!("{exit}{}", self.place())
                }
                Err(error) => match io::Error::from(error) {
                    error if error.kind() == io::ErrorKind::Interrupted && interruptions.next().is_some() => {
                        continue;
                    }
                    error if is_transient(&error) => return Probe::Hindered(format!("KVM_RUN: {error}")),
                    error => format!("KVM_RUN: {error}"),
                },
            };
            return Probe::Failed { stage, detail };
        }
    }

    /// The instruction KVM stumbled over.
    fn place(&mut self) -> String {
        let Ok(regs) = self.vcpu.get_regs() else { return String::new() };
        let at = usize::try_from(regs.rip).unwrap_or(usize::MAX);
        let Some(bytes) = self.memory.bytes().get(at..at.saturating_add(8)) else {
            return format!(" at {at:#x}");
        };
        let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(" at {at:#x}: {}", bytes.join(" "))
    }
}

/// Blocks the signal in this thread.
fn block_signal() -> io::Result<()> {
    // SAFETY: the set is initialised by sigemptyset before use.
    let result = unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, interrupt_signal());
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// Unblocks every signal inside KVM_RUN: one that is pending ends it, and is blocked again before it could be acted on.
fn unblock_while_running(vcpu: &VcpuFd) -> io::Result<()> {
    /// `struct kvm_signal_mask` of linux/kvm.h with the kernel's 8-byte signal set.
    #[repr(C, packed)]
    struct SignalMask {
        len: u32,
        set: u64,
    }
    // _IOW(KVMIO, 0x8b, struct kvm_signal_mask), whose set counts as empty.
    const KVM_SET_SIGNAL_MASK: libc::c_ulong = 0x4004_ae8b;
    let mask = SignalMask { len: 8, set: 0 };
    // SAFETY: the mask outlives the ioctl, which only reads it.
    let result = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_SET_SIGNAL_MASK, &raw const mask) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn interrupt_signal() -> libc::c_int {
    libc::SIGRTMIN() + 5
}

struct Memory {
    address: *mut u8,
}

impl Memory {
    fn new() -> io::Result<Self> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
        let address = unsafe { libc::mmap(ptr::null_mut(), MEMORY_BYTES, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { address: address.cast() })
    }

    /// Not to be held while the guest runs; `&mut self` and the single thread see to that.
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is that long, lives as long as `self` and is reached through `self` only.
        unsafe { std::slice::from_raw_parts_mut(self.address, MEMORY_BYTES) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` and nothing refers to it any more.
        unsafe { libc::munmap(self.address.cast(), MEMORY_BYTES) };
    }
}

// Control register bits (Intel SDM volume 3, 2.5) and IA32_EFER (2.2.1).
const CR0_PE: u64 = 1;
const CR0_MP: u64 = 1 << 1;
const CR0_ET: u64 = 1 << 4;
const CR0_NE: u64 = 1 << 5;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXSAVE: u64 = 1 << 18;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn time_off_the_processor_does_not_count() {
        // As on a host that is so busy that the thread waits four times as long as it may run.
        let outcome = supervise(Limits { processor: SHORT, clock: LONG }, |_| {
            thread::sleep(4 * SHORT);
            Probe::Passed
        });
        assert_eq!(outcome, Probe::Passed);
    }

    #[test]
    fn time_on_the_processor_does() {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let outcome = supervise(Limits { processor: SHORT, clock: LONG }, move |reached| {
            reached.store(Stage::Loop as u8, Ordering::Relaxed);
            while !stopped.load(Ordering::Relaxed) {}
            Probe::Passed
        });
        stop.store(true, Ordering::Relaxed);
        assert_eq!(outcome, Probe::TooSlow { stage: Stage::Loop, limit: Limit::Processor(SHORT) });
    }

    #[test]
    fn a_thread_that_does_not_run_is_not_waited_for_without_end() {
        let (go_on, held) = mpsc::channel::<()>();
        let outcome = supervise(Limits { processor: LONG, clock: SHORT }, move |_| {
            let _ = held.recv();
            Probe::Passed
        });
        drop(go_on);
        assert_eq!(outcome, Probe::TooSlow { stage: Stage::Entry, limit: Limit::Clock(SHORT) });
        assert!(!outcome.is_conclusive());
    }

    #[test]
    fn a_signal_is_gone_over_and_one_that_stays_is_no_verdict() {
        let interrupted = || io::Error::from_raw_os_error(libc::EINTR);
        let mut left = 3;
        let set_up = uninterrupted(|| {
            left -= 1;
            if left > 0 { Err(interrupted()) } else { Ok(()) }
        });
        assert!(set_up.is_ok());
        let mut attempts = 0;
        let never: io::Result<()> = uninterrupted(|| {
            attempts += 1;
            Err(interrupted())
        });
        assert_eq!(attempts, INTERRUPTIONS + 1);
        assert!(!Probe::not_set_up(&never.unwrap_err()).is_conclusive());
    }

    #[test]
    fn a_guest_that_a_signal_holds_up_has_not_failed() {
        let mut guest = match set_up() {
            Ok(guest) => guest,
            Err(error) => {
                return println!("not run: a_guest_that_a_signal_holds_up_has_not_failed: KVM: {error}");
            }
        };
        block_signal().unwrap();
        // SAFETY: the signal is blocked in this thread, where it waits; KVM_RUN sees it.
        unsafe { libc::pthread_kill(libc::pthread_self(), interrupt_signal()) };
        let outcome = guest.run(&AtomicU8::new(Stage::Entry as u8));
        assert!(matches!(outcome, Probe::Hindered(_)), "{outcome:?}");
    }

    #[test]
    fn a_thread_that_ends_without_an_answer_is_no_verdict_on_time() {
        let outcome = supervise(Limits::default(), |_| panic!("for a test"));
        assert_eq!(outcome, Probe::NotSetUp("the probing thread ended".to_owned()));
    }
}
