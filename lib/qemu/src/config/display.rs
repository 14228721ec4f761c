//! What the guest shows and how people see it.

use super::{
    chardev::Address,
    error::{ConfigError, range},
};
use std::{net::IpAddr, path::PathBuf};

/// A graphics card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gpu {
    /// Plain VGA with VESA modes (`VGA`).
    Std,
    /// No VGA, only a frame buffer: for UEFI and modern guests (`bochs-display`).
    Bochs,
    /// Cirrus Logic: known to very old guests.
    Cirrus,
    /// VMware's.
    Vmware,
    /// SPICE's own with VGA.
    Qxl,
    /// virtio with VGA.
    VirtioVga,
    /// virtio without VGA.
    Virtio,
    /// A frame buffer that firmware sets up (`ramfb`).
    Ramfb,
}

/// Graphics of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Display {
    /// Graphics cards; the first is the one the firmware uses.
    pub gpus: Vec<Gpu>,
    /// Memory of VGA-like cards in MiB.
    pub vram_mib: Option<u16>,
    /// Preferred size that the guest is told, in pixels.
    pub size: Option<(u16, u16)>,
    /// Screens of virtio and qxl cards.
    pub heads: Option<u8>,
    /// VNC.
    pub vnc: Option<Vnc>,
    /// SPICE.
    pub spice: Option<Spice>,
    /// D-Bus.
    pub dbus: Option<Dbus>,
}

/// A VNC server. Its password is set through the monitor or named as a secret, never given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vnc {
    /// Where it listens; a TCP port counts from 5900.
    pub listen: Address,
    /// What clients must know.
    pub password: Password,
    /// WebSocket port, for browsers.
    pub websocket: Option<u16>,
    /// How several clients share it.
    pub share: VncShare,
    /// TLS credentials by name ([`super::Config::tls`]).
    pub tls: Option<String>,
    /// Lossy compression.
    pub lossy: bool,
}

/// What clients must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Password {
    /// Nothing: who can connect may.
    #[default]
    None,
    /// A secret of [`super::Config::secrets`].
    Secret(String),
    /// One that is set later through the monitor; until then nobody comes in.
    Later,
}

/// How several VNC clients share a display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VncShare {
    /// A client may ask to be alone.
    #[default]
    AllowExclusive,
    /// All share.
    ForceShared,
    /// Whatever clients ask.
    Ignore,
}

/// A SPICE server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spice {
    /// Where it listens.
    pub listen: Address,
    /// What clients must know.
    pub password: Password,
    /// A TLS port with the directory of its certificates.
    pub tls: Option<(u16, PathBuf)>,
    /// How pictures are compressed; `None` for QEMU's default.
    pub compression: Option<ImageCompression>,
    /// Copying between guest and client.
    pub clipboard: super::Switch,
    /// Sending files from the client.
    pub file_transfer: super::Switch,
}

/// How SPICE compresses pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageCompression {
    /// Chosen by picture.
    AutoGlz,
    /// Chosen by picture, without a global dictionary.
    AutoLz,
    /// For photographs.
    Quic,
    /// Global dictionary.
    Glz,
    /// Dictionary.
    Lz,
    /// None: for the same host.
    Off,
}

impl ImageCompression {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AutoGlz => "auto_glz",
            Self::AutoLz => "auto_lz",
            Self::Quic => "quic",
            Self::Glz => "glz",
            Self::Lz => "lz",
            Self::Off => "off",
        }
    }
}

/// A display on D-Bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dbus {
    /// On the bus with this address.
    Bus(String),
    /// Clients are handed over one by one through the monitor (`add_client`).
    PeerToPeer,
}

impl Display {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if let Some(vram) = self.vram_mib {
            range(
                "display.vram_mib",
                vram,
                vram.is_power_of_two() && vram <= 256,
                "powers of two up to 256",
            )?;
        }
        if let (Some(vram), true) = (self.vram_mib, self.gpus.contains(&Gpu::Cirrus)) {
            range("display.vram_mib", vram, [4, 8, 16].contains(&vram), "4, 8 and 16 with a Cirrus card")?;
        }
        if let Some(heads) = self.heads {
            range("display.heads", heads, (1..=16).contains(&heads), "1 to 16")?;
        }
        range("number of graphics cards", self.gpus.len() as u64, self.gpus.len() <= 8, "0 to 8")?;
        let vga = |gpu: &Gpu| matches!(gpu, Gpu::Std | Gpu::Cirrus | Gpu::Vmware | Gpu::Qxl | Gpu::VirtioVga);
        if self.gpus.iter().skip(1).any(vga) {
            return Err(ConfigError::conflict(
                "display.gpus",
                "only the first card can be a VGA; take Bochs or Virtio for the others",
            ));
        }
        if let Some(Vnc { listen, .. }) = &self.vnc {
            listen.check("display.vnc")?;
            if let Address::Tcp(_, port) = listen {
                range("display.vnc.listen", *port, *port >= 5900, "5900 to 65535")?;
            }
        }
        match &self.spice {
            Some(Spice { listen, tls, .. }) => {
                listen.check("display.spice")?;
                match (listen, tls) {
                    (Address::Unix(_), Some(_)) => {
                        Err(ConfigError::conflict("display.spice", "TLS needs a TCP port"))
                    }
                    (Address::Tcp(host, _), _) if host.parse::<IpAddr>().is_err() => {
                        Err(ConfigError::conflict("display.spice", "the host is an IP address"))
                    }
                    _ => Ok(()),
                }
            }
            None => Ok(()),
        }
    }
}
