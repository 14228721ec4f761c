//! Streams of bytes between the host and serial ports, channels and devices of other processes.

use super::{
    block::Source,
    check_id,
    error::{ConfigError, absolute, range},
};
use std::path::PathBuf;

/// The host's end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Nothing: what the guest writes is gone.
    Null,
    /// A place where clients come in, one at a time.
    Listen(Address),
    /// A listening socket handed over under this key.
    ListenOn(String),
    /// A server that QEMU connects to, again after this many seconds when the connection is lost (0: never).
    Connect {
        /// The server.
        to: Address,
        /// Seconds between attempts.
        again_s: u32,
    },
    /// A connected socket handed over under this key.
    Connected(String),
    /// A file that is written; reading gives nothing.
    File(PathBuf),
    /// A terminal that QEMU makes; its name is asked through the monitor.
    Pty,
    /// A buffer in memory that is read through the monitor; size in bytes, a power of two.
    Ring {
        /// Size.
        bytes: u32,
    },
    /// A pair of named pipes, `<path>.in` and `<path>.out`, or one for both.
    Pipe(PathBuf),
    /// UDP: sent to and received from this peer.
    Udp {
        /// Host and port that are sent to.
        to: (String, u16),
        /// Host and port that are received on.
        on: (String, u16),
    },
    /// A channel of the SPICE display with this name, e.g. `vdagent`.
    SpiceChannel(String),
    /// A port of the SPICE display with this name, for clients to pick.
    SpicePort(String),
    /// QEMU's own clipboard and mouse agent for VNC and D-Bus displays.
    Agent,
}

/// How the program at hand spells the pause before another connection ([`Stream::Connect`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reconnect {
    /// `reconnect`, in seconds: until QEMU 9.1, and deprecated since.
    #[default]
    Seconds,
    /// `reconnect-ms`: from QEMU 9.2 on.
    Milliseconds,
}

impl Reconnect {
    /// As the program's own schema says.
    #[must_use]
    pub fn of(schema: &qmp::schema::Schema) -> Self {
        if schema.has("chardev-add.backend<socket>.data.reconnect-ms") {
            Self::Milliseconds
        } else {
            Self::Seconds
        }
    }

    /// The option or member and its value.
    pub(crate) fn spelt(self, again_s: u32) -> (&'static str, u64) {
        match self {
            Self::Seconds => ("reconnect", again_s.into()),
            Self::Milliseconds => ("reconnect-ms", u64::from(again_s) * 1000),
        }
    }
}

/// An address of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system, at most 107 bytes; [`crate::socket`] makes longer ones reachable by descriptor.
    Unix(PathBuf),
    /// TCP: name or address, and port.
    Tcp(String, u16),
}

/// A stream with the file that logs what the guest writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chardev {
    /// The host's end.
    pub stream: Stream,
    /// Log, appended to; it goes on without any client.
    pub log: Option<Source>,
}

impl From<Stream> for Chardev {
    fn from(stream: Stream) -> Self {
        Self { stream, log: None }
    }
}

/// A serial port in addition to the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Name of the device; see [`check_id`].
    pub id: String,
    /// What kind.
    pub kind: SerialKind,
    /// Host side.
    pub chardev: Chardev,
}

/// A kind of serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialKind {
    /// A port of the PC: `COM2` to `COM4`, by number 1 to 3. 0 is the console.
    Isa(u8),
    /// A port on PCI.
    Pci,
    /// A port on USB.
    Usb,
    /// A console of virtio-serial: `hvc0`, `hvc1` and so on.
    Virtio,
    /// Port 0xe9 or another one that firmware and kernels write debugging text to.
    Debug(u16),
}

/// A named channel of virtio-serial to an agent in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Name of the device; see [`check_id`].
    pub id: String,
    /// Name in the guest, e.g. `org.qemu.guest_agent.0`: `/dev/virtio-ports/NAME`.
    pub name: String,
    /// Host side.
    pub chardev: Chardev,
}

impl Channel {
    /// The channel of QEMU's guest agent.
    #[must_use]
    pub fn guest_agent(id: &str, stream: Stream) -> Self {
        Self { id: id.to_owned(), name: "org.qemu.guest_agent.0".to_owned(), chardev: stream.into() }
    }
}

impl Stream {
    pub(crate) fn check(&self, id: &str) -> Result<(), ConfigError> {
        match self {
            Self::Ring { bytes } => range("ring.bytes", *bytes, bytes.is_power_of_two(), "powers of two"),
            Self::Listen(address) | Self::Connect { to: address, .. } => address.check(id),
            Self::File(path) | Self::Pipe(path) => absolute("chardev", path).map(drop),
            _ => Ok(()),
        }
    }

    /// Of a back end that maps the guest's memory: descriptors go over sockets that QEMU has opened by a path, and over no other.
    pub(crate) fn check_vhost_user(&self, id: &str) -> Result<(), ConfigError> {
        self.check(id)?;
        match self {
            Self::Listen(Address::Unix(_)) | Self::Connect { to: Address::Unix(_), .. } => Ok(()),
            _ => Err(ConfigError::conflict(
                id,
                "QEMU hands the guest's memory over at the path of a Unix socket only",
            )),
        }
    }

    pub(crate) fn needs_spice(&self) -> bool {
        matches!(self, Self::SpiceChannel(_) | Self::SpicePort(_))
    }
}

impl Address {
    pub(crate) fn check(&self, id: &str) -> Result<(), ConfigError> {
        use std::os::unix::ffi::OsStrExt;
        match self {
            Self::Unix(path) if path.as_os_str().as_bytes().len() > MAX_SOCKET_PATH => {
                Err(ConfigError::conflict(
                    id,
                    format!(
                        "the socket path {} is longer than {MAX_SOCKET_PATH} bytes; hand the socket over as a descriptor",
                        path.display()
                    ),
                ))
            }
            Self::Unix(path) => absolute("socket", path).map(drop),
            Self::Tcp(..) => Ok(()),
        }
    }
}

impl Serial {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_id(&self.id)?;
        if let SerialKind::Isa(index) = self.kind {
            range("serial.kind", index, (1..=3).contains(&index), "1 to 3; 0 is the console")?;
        }
        self.chardev.stream.check(&self.id)
    }
}

/// `sun_path` less its terminating NUL.
const MAX_SOCKET_PATH: usize = 107;
