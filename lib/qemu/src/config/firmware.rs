//! How the guest starts.

use super::block::Source;
use std::path::PathBuf;

/// How the guest starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// Firmware.
    pub firmware: Firmware,
    /// A kernel that the firmware starts instead of a boot loader from disk.
    pub kernel: Option<DirectKernel>,
    /// The firmware offers a menu, and waits this many milliseconds for a key.
    pub menu_ms: Option<u16>,
    /// Start again this many milliseconds after nothing was found to start.
    pub retry_ms: Option<u16>,
}

/// Firmware of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's default for the board: SeaBIOS, or on microvm its own small one.
    #[default]
    Bios,
    /// Another BIOS image (`-bios`), e.g. qboot for microvm.
    Image(PathBuf),
    /// UEFI in flash memory.
    Uefi {
        /// The program, shared by all machines, e.g. `/usr/share/OVMF/OVMF_CODE_4M.fd`.
        code: PathBuf,
        /// This machine's own copy of the variables.
        vars: Source,
    },
    /// UEFI whose variables only the firmware itself can write, in system management mode: Secure Boot then means something.
    UefiSecure {
        /// A program made for it, e.g. `/usr/share/OVMF/OVMF_CODE_4M.secboot.fd`.
        code: PathBuf,
        /// This machine's own copy of variables with enrolled keys, e.g. of `/usr/share/OVMF/OVMF_VARS_4M.ms.fd`.
        vars: Source,
    },
}

impl Firmware {
    pub(crate) fn is_uefi(&self) -> bool {
        matches!(self, Self::Uefi { .. } | Self::UefiSecure { .. })
    }
}

/// A kernel started directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectKernel {
    /// bzImage, or vmlinux with a PVH note.
    pub kernel: PathBuf,
    /// Initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Command line of the kernel.
    pub cmdline: String,
}
