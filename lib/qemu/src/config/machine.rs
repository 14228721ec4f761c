//! The board, what executes the guest's code, the clock.

use super::error::ConfigError;

/// The board, as the name of the machine type tells.
///
/// | board | devices | plugging |
/// |---|---|---|
/// | q35 | PCIe, each on a root port of its own | into spare ports |
/// | i440fx | conventional PCI, each in a slot of its own | into free slots |
/// | microvm | eight virtio-mmio places | none |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Board {
    /// `pc-q35-*`: the default for machines of any kind.
    Q35,
    /// `pc-i440fx-*`: for guests that know no PCIe.
    I440fx,
    /// `microvm`: least to emulate; starts a kernel directly.
    Microvm,
}

impl Board {
    /// The board of a machine type.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`] for other machines.
    pub fn of(machine: &str) -> Result<Self, ConfigError> {
        let is = |prefix: &str| {
            machine.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        if is("pc-q35") || machine == "q35" {
            Ok(Self::Q35)
        } else if is("pc-i440fx") || machine == "pc" {
            Ok(Self::I440fx)
        } else if machine == "microvm" {
            Ok(Self::Microvm)
        } else {
            Err(ConfigError::Unknown {
                what: "board of the machine type",
                name: machine.to_owned(),
                user: "machine".into(),
            })
        }
    }
}

/// What executes the guest's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor, through /dev/kvm.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accelerator {
    /// Name as QEMU writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// A feature that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl Switch {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// Settings of board and accelerator that most machines leave alone. `None` is QEMU's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// TCG: one host thread per virtual CPU ([`Switch::On`]) or one for all.
    pub tcg_threads: Option<Switch>,
    /// TCG: cache of translated code in MiB.
    pub tcg_cache_mib: Option<u32>,
    /// KVM: ring of changed pages, for migrating large guests; a power of two.
    pub kvm_dirty_ring: Option<u32>,
    /// High precision timer; off saves host CPU time.
    pub hpet: Option<Switch>,
    /// Whether the host may merge equal pages.
    pub mem_merge: Option<Switch>,
    /// ACPI heterogeneous memory attributes.
    pub hmat: Option<Switch>,
    /// System management mode; Secure Boot turns it on by itself.
    pub smm: Option<Switch>,
    /// Old PC controllers (PIT and PIC) of the microvm board.
    pub legacy_timers: Option<Switch>,
    /// An IOMMU in the guest.
    pub iommu: Option<Iommu>,
}

/// An IOMMU in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iommu {
    /// Intel's, on q35; for guests that run guests with devices of their own.
    Intel,
    /// The para-virtual one.
    Virtio,
}

/// Battery-backed clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// What it starts at.
    pub base: ClockBase,
    /// What it follows; `None` for the host's wall clock.
    pub source: Option<ClockSource>,
    /// Ticks the guest missed are sent faster afterwards (`driftfix=slew`): for Windows.
    pub catch_up: bool,
}

/// What the clock starts at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockBase {
    /// Universal time: for everything but Windows.
    #[default]
    Utc,
    /// The host's local time: for Windows.
    LocalTime,
    /// This many seconds since 1970.
    Unix(u32),
}

/// What the clock follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// The host's wall clock.
    Host,
    /// The host's monotonic clock.
    Monotonic,
    /// The guest's own time: stands while the guest stands.
    Guest,
}

/// Seconds since 1970 as `YYYY-MM-DDTHH:MM:SS`, by the civil calendar's rule (years of 365.2425 days in eras of 400).
pub(crate) fn date(seconds: u32) -> String {
    let (days, rest) = (u64::from(seconds) / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (4_102_444_800, "2100-01-01T00:00:00"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn a_machine_type_names_its_board() {
        for (machine, board) in [
            ("pc-q35-7.2", Board::Q35),
            ("q35", Board::Q35),
            ("pc-i440fx-7.2", Board::I440fx),
            ("pc", Board::I440fx),
            ("microvm", Board::Microvm),
        ] {
            assert_eq!(Board::of(machine), Ok(board));
        }
        assert!(Board::of("pc-q35x").unwrap_err().to_string().contains("pc-q35x"));
        assert!(Board::of("isapc").is_err());
    }
}
