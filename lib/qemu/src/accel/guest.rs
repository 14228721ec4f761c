//! The test guest: its memory image and what it reports.
//!
//! ```text
//!  0x1000 PML4  0x2000 PDPT  0x3000 PD (one 2 MiB page, identity)   0x4000 GDT   0x5000 IDT
//!  0x6000 code  0x7000 handlers, 16 bytes each   0x9000 stack top   0xa000 xsave area   0xb000 data
//! ```
//!
//! It writes the number of each stage to [`STAGE_PORT`] before entering it, and the number of an unexpected exception, or
//! [`WRONG_RESULT`], to [`FAULT_PORT`].

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes of guest memory.
pub(super) const MEMORY_BYTES: usize = 0x10000;

pub(super) const PML4: u64 = 0x1000;
pub(super) const GDT: u64 = 0x4000;
pub(super) const GDT_LIMIT: u16 = 3 * 8 - 1;
pub(super) const IDT: u64 = 0x5000;
pub(super) const IDT_LIMIT: u16 = 32 * 16 - 1;
pub(super) const CODE: u64 = 0x6000;
pub(super) const STACK_TOP: u64 = 0x9000;
pub(super) const CODE_SELECTOR: u16 = 0x08;
pub(super) const DATA_SELECTOR: u16 = 0x10;

pub(super) const STAGE_PORT: u16 = 0xf0;
pub(super) const FAULT_PORT: u16 = 0xf1;
pub(super) const WRONG_RESULT: u8 = 0xff;

/// How far the test guest came. Each stage is what a stock kernel needs and software KVM lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Entering 64-bit code under paging.
    Entry,
    /// `lock cmpxchg16b`.
    Cmpxchg16b,
    /// `xsave` and `xrstor`.
    Xsave,
    /// `int3`, a handler and `iretq`.
    Int3,
    /// Ten million rounds of a loop: milliseconds on a processor, many seconds in an instruction emulator.
    Loop,
    /// Everything done.
    Done,
}

impl Stage {
    pub(super) fn of(number: u8) -> Option<Self> {
        [Self::Entry, Self::Cmpxchg16b, Self::Xsave, Self::Int3, Self::Loop, Self::Done]
            .get(usize::from(number))
            .copied()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entry => "the entry into 64-bit code",
            Self::Cmpxchg16b => "cmpxchg16b",
            Self::Xsave => "xsave/xrstor",
            Self::Int3 => "int3",
            Self::Loop => "a counted loop",
            Self::Done => "its end",
        })
    }
}

/// Fills guest memory.
pub(super) fn load(memory: &mut [u8]) {
    let mut put = |at: u64, bytes: &[u8]| {
        let at = usize::try_from(at).expect("the image lies below 64 KiB");
        memory[at..at + bytes.len()].copy_from_slice(bytes);
    };
    // Present and writable; the last one maps 2 MiB (Intel SDM volume 3, 4.5).
    put(PML4, &(0x2000u64 | 3).to_le_bytes());
    put(0x2000, &(0x3000u64 | 3).to_le_bytes());
    put(0x3000, &0x83u64.to_le_bytes());
    put(GDT + u64::from(CODE_SELECTOR), &0x00af_9b00_0000_ffffu64.to_le_bytes());
    put(GDT + u64::from(DATA_SELECTOR), &0x00cf_9300_0000_ffffu64.to_le_bytes());
    for vector in 0..32u8 {
        let handler = HANDLERS + u64::from(vector) * 16;
        put(IDT + u64::from(vector) * 16, &interrupt_gate(handler));
        if vector == BREAKPOINT {
            put(handler, &BREAKPOINT_HANDLER);
        } else {
            put(handler, &[0xb0, vector, 0xe6, FAULT_PORT as u8, 0xf4]); // mov al, vector; out; hlt
        }
    }
    put(CODE, &program());
}

/// A present 64-bit interrupt gate of privilege 0 (Intel SDM volume 3, 6.14.1).
fn interrupt_gate(handler: u64) -> [u8; 16] {
    let mut gate = [0; 16];
    gate[..2].copy_from_slice(&(handler as u16).to_le_bytes());
    gate[2..4].copy_from_slice(&CODE_SELECTOR.to_le_bytes());
    gate[5] = 0x8e;
    gate[6..8].copy_from_slice(&((handler >> 16) as u16).to_le_bytes());
    gate
}

fn program() -> Vec<u8> {
    let mut code = Vec::new();
    let stage = |code: &mut Vec<u8>, stage: Stage| {
        code.extend([0xb0, stage as u8, 0xe6, STAGE_PORT as u8]); // mov al, stage; out
    };
    // Falls through when equal, reports a wrong result otherwise.
    let demand_equal = |code: &mut Vec<u8>| {
        code.extend([0x74, 0x05, 0xb0, WRONG_RESULT, 0xe6, FAULT_PORT as u8, 0xf4]); // je +5; mov al; out; hlt
    };
    code.extend([0x31, 0xc9, 0xb8, 3, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x01, 0xd1]); // xsetbv(0, x87 and SSE)
    stage(&mut code, Stage::Cmpxchg16b);
    code.extend([0xbe, 0x00, 0xb0, 0, 0, 0x31, 0xc0, 0x31, 0xd2]); // mov esi, 0xb000; eax = edx = 0
    code.extend([0xbb, 1, 0, 0, 0, 0xb9, 2, 0, 0, 0]); // mov ebx, 1; mov ecx, 2
    code.extend([0xf0, 0x48, 0x0f, 0xc7, 0x0e]); // lock cmpxchg16b [rsi]
    demand_equal(&mut code);
    stage(&mut code, Stage::Xsave);
    code.extend([0xbe, 0x00, 0xa0, 0, 0, 0xb8, 3, 0, 0, 0, 0x31, 0xd2]); // mov esi, 0xa000; edx:eax = 3
    code.extend([0x48, 0x0f, 0xae, 0x26, 0x48, 0x0f, 0xae, 0x2e]); // xsave64 [rsi]; xrstor64 [rsi]
    stage(&mut code, Stage::Int3);
    code.extend([0xcc, 0x41, 0x81, 0xff, 0x0d, 0x60, 0, 0]); // int3; cmp r15d, 0x600d
    demand_equal(&mut code);
    stage(&mut code, Stage::Loop);
    code.push(0xb9); // mov ecx, rounds
    code.extend(LOOP_ROUNDS.to_le_bytes());
    code.extend([0xff, 0xc9, 0x75, 0xfc]); // dec ecx; jnz
    stage(&mut code, Stage::Done);
    code.push(0xf4); // hlt
    code
}

const HANDLERS: u64 = 0x7000;
const BREAKPOINT: u8 = 3;
/// mov r15d, 0x600d; iretq
const BREAKPOINT_HANDLER: [u8; 8] = [0x41, 0xbf, 0x0d, 0x60, 0, 0, 0x48, 0xcf];
const LOOP_ROUNDS: u32 = 10_000_000;

/// A disk that brings a PC into the state in which the probe starts, with the image in place: its boot sector reads
/// the image over itself, an equal copy, and enters 64-bit code.
#[cfg(test)]
pub(super) fn boot_disk() -> Vec<u8> {
    const SECTOR: usize = 512;
    const BOOT: usize = 0x7c00;
    const FROM: usize = 0x1000;
    // The stack lies below what is read: overwritten during the call, the firmware would return into nothing.
    let mut code = vec![0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x10]; // ds = es = ss = 0, sp = FROM
    code.extend([0xbe, 0xb0, 0x7c, 0xb4, 0x42, 0xcd, 0x13, 0xfa]); // int 13h, extended read by the packet at 0x7cb0; cli
    code.extend([0x0f, 0x01, 0x16, 0xa0, 0x7c]); // lgdt [0x7ca0]
    code.extend([0x0f, 0x01, 0x1e, 0xa8, 0x7c]); // lidt [0x7ca8]
    code.extend([0x66, 0xb8, 0x00, 0x10, 0, 0, 0x0f, 0x22, 0xd8]); // cr3 = PML4
    code.extend([0x66, 0xb8, 0x20, 0x02, 0x04, 0, 0x0f, 0x22, 0xe0]); // cr4 = PAE, OSFXSR, OSXSAVE
    code.extend([0x66, 0xb9, 0x80, 0, 0, 0xc0, 0x66, 0xb8, 0, 1, 0, 0, 0x66, 0x31, 0xd2, 0x0f, 0x30]); // EFER = LME
    code.extend([0x66, 0xb8, 0x33, 0, 0, 0x80, 0x0f, 0x22, 0xc0]); // cr0 = PG, NE, ET, MP, PE
    code.extend([0xea, 0x80, 0x7c, 0x08, 0x00]); // jmp 8:0x7c80
    code.resize(0x80, 0x90);
    code.extend([0xbc, 0x00, 0x90, 0, 0, 0x31, 0xc0, 0xb0, DATA_SELECTOR as u8]); // mov esp, 0x9000; eax = selector
    code.extend([0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0]); // ds = es = ss = ax
    code.extend([0xb8, 0x00, 0x60, 0, 0, 0xff, 0xe0]); // jmp CODE
    code.resize(0xa0, 0);
    for (limit, base) in [(GDT_LIMIT, GDT), (IDT_LIMIT, IDT)] {
        code.extend(limit.to_le_bytes());
        code.extend((base as u32).to_le_bytes());
        code.extend([0; 2]);
    }
    // Packet: 16 bytes, sector count, offset and segment of the buffer, first sector.
    let count = (MEMORY_BYTES - FROM) / SECTOR;
    code.extend([16, 0, count as u8, 0, 0x00, 0x10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    code.resize(SECTOR - 2, 0);
    code.extend([0x55, 0xaa]);
    let mut memory = vec![0; MEMORY_BYTES];
    load(&mut memory);
    memory[BOOT..BOOT + SECTOR].copy_from_slice(&code);
    let mut disk = code;
    disk.extend_from_slice(&memory[FROM..]);
    disk.resize(1 << 20, 0);
    disk
}
