//! Runs the test guest on KVM, in a thread that can be interrupted.
#![expect(unsafe_code, reason = "guest memory, and signal calls that have no safe form")]

use super::{
    Probe, Stage,
    guest::{self, FAULT_PORT, MEMORY_BYTES, STAGE_PORT, WRONG_RESULT},
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

/// Runs the guest for at most `deadline`.
///
/// The thread blocks one signal, and KVM unblocks it while the guest runs: a signal to the thread ends the run without
/// any handler, also when it comes early. A thread that the kernel will not let go is left behind; the answer does not
/// wait for it.
pub(super) fn run(deadline: Duration) -> Probe {
    let stage = Arc::new(AtomicU8::new(Stage::Entry as u8));
    let (done, result) = mpsc::channel();
    let (blocked, interruptible) = mpsc::channel();
    let reached = stage.clone();
    let spawned = thread::Builder::new().name("kvm-probe".to_owned()).spawn(move || {
        // Whoever started this thread waits for the answer.
        let _ = blocked.send(block_signal());
        let outcome =
            set_up().map_or_else(|why| Probe::NotSetUp(why.to_string()), |mut guest| guest.run(&reached));
        // The receiver may have given up.
        let _ = done.send(outcome);
    });
    let handle = match spawned {
        Ok(handle) => handle,
        Err(error) => return Probe::NotSetUp(error.to_string()),
    };
    // Before that the signal would end the whole process.
    match interruptible.recv() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Probe::NotSetUp(error.to_string()),
        Err(_) => return Probe::NotSetUp("the probing thread ended".to_owned()),
    }
    let answer = result.recv_timeout(deadline);
    let outcome = answer.unwrap_or_else(|_| {
        // SAFETY: the thread is not joined, so its handle is valid even if it has just ended; the signal is blocked
        // there, so it interrupts KVM_RUN and nothing else.
        unsafe { libc::pthread_kill(handle.as_pthread_t(), interrupt_signal()) };
        let stage = Stage::of(stage.load(Ordering::Relaxed)).unwrap_or(Stage::Entry);
        Probe::TooSlow { stage, deadline }
    });
    // Ended or about to end; give it a moment so that its handle is joined and its memory returned.
    if result.recv_timeout(Duration::from_millis(100)).is_ok() || handle.is_finished() {
        let _ = handle.join();
    }
    outcome
}

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
                Err(error) => format!("KVM_RUN: {error}"),
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
