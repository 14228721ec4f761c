//! What is known of procedures.

use crate::xdr::{self, DecodeError, IntoOwned, Wire};
use std::fmt;

/// A procedure that can be called, as a type: its arguments and its result belong to it.
///
/// ```
/// use libvirt_protocol::procedure::Procedure;
/// use libvirt_protocol::remote::DomainCreate;
/// assert_eq!(DomainCreate::INFO.function, Some("virDomainCreate"));
/// ```
pub trait Procedure: 'static {
    /// What is known of it.
    const INFO: &'static Info;
    /// What it takes.
    type Args<'a>: Wire<'a> + IntoOwned<Owned: Wire<'static>>;
    /// What it returns.
    type Ret<'a>: Wire<'a> + IntoOwned<Owned: Wire<'static>>;
    /// The bits of its argument `flags`; 0 of one that has no such argument.
    #[must_use]
    fn flags(_args: &Self::Args<'_>) -> u32 {
        0
    }
}

/// What is known of a procedure.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Info {
    /// Its program.
    pub program: Program,
    /// Its number in that program.
    pub number: i32,
    /// Its name, as in the protocol, in small letters and without the program's prefix.
    pub name: &'static str,
    /// The C function that it stands for; `None` for steps of the protocol itself and for events.
    pub function: Option<&'static str>,
    /// The release of libvirt that brought it.
    pub since: Release,
    /// Whether the daemon keeps workers for it that long calls cannot occupy.
    pub urgent: bool,
    /// The stream that it opens.
    pub stream: Option<Direction>,
    /// The bit of its `flags` that allows holes in the stream.
    pub sparse: Option<u32>,
    /// Where file descriptors travel with it.
    pub descriptors: Option<Descriptors>,
    /// Whether the daemon sends it, and nobody calls it.
    pub event: bool,
    /// Permissions that the daemon's access control asks for: `object:permission`, with a third part where a flag demands it.
    pub acl: &'static [&'static str],
    /// How its arguments and its result are decoded and encoded again; `None` of an event, see [`crate::event::recode`].
    pub recode: Option<Recode>,
}

/// Decodes and encodes again, as [`xdr::recode`] does, and what else can be done when only the number of a procedure is known.
#[derive(Clone, Copy)]
pub struct Recode {
    /// Arguments.
    pub args: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
    /// The result.
    pub ret: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
    /// The bits of the argument `flags` among encoded arguments, see [`Procedure::flags`].
    pub flags: fn(&[u8]) -> Result<u32, DecodeError>,
}

impl Recode {
    pub(crate) const fn of<P: Procedure>() -> Self {
        Self {
            args: |bytes| xdr::recode::<P::Args<'_>>(bytes),
            ret: |bytes| xdr::recode::<P::Ret<'_>>(bytes),
            flags: |bytes| Ok(P::flags(&xdr::decode(bytes)?)),
        }
    }
}

impl fmt::Debug for Recode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recode")
    }
}

/// Procedures are the same when their numbers are.
impl PartialEq for Info {
    fn eq(&self, other: &Self) -> bool {
        (self.program, self.number) == (other.program, other.number)
    }
}

impl Eq for Info {}

impl Info {
    /// A call that takes part in none of the special things.
    pub(crate) const fn new(program: Program, number: i32, name: &'static str, since: Release) -> Self {
        Self {
            program,
            number,
            name,
            function: None,
            since,
            urgent: false,
            stream: None,
            sparse: None,
            descriptors: None,
            event: false,
            acl: &[],
            recode: None,
        }
    }

    pub(crate) const fn function(self, function: &'static str) -> Self {
        Self { function: Some(function), ..self }
    }

    pub(crate) const fn urgent(self) -> Self {
        Self { urgent: true, ..self }
    }

    pub(crate) const fn stream(self, direction: Direction) -> Self {
        Self { stream: Some(direction), ..self }
    }

    pub(crate) const fn sparse(self, bit: u32) -> Self {
        Self { sparse: Some(bit), ..self }
    }

    pub(crate) const fn descriptors(self, direction: Descriptors) -> Self {
        Self { descriptors: Some(direction), ..self }
    }

    pub(crate) const fn event(self) -> Self {
        Self { event: true, ..self }
    }

    pub(crate) const fn recode<P: Procedure>(self) -> Self {
        Self { recode: Some(Recode::of::<P>()), ..self }
    }

    pub(crate) const fn acl(self, acl: &'static [&'static str]) -> Self {
        Self { acl, ..self }
    }
}

/// Declares a procedure as a type.
macro_rules! procedure {
    ($(#[$meta:meta])* $name:ident($args:ty) -> $ret:ty = $info:expr $(, bits of $($flags:ident).+)?) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl $crate::procedure::Procedure for $name {
            const INFO: &'static Info = &$info.recode::<Self>();
            type Args<'a> = $args;
            type Ret<'a> = $ret;
            $(fn flags(args: &Self::Args<'_>) -> u32 {
                args.$($flags).+.bits()
            })?
        }
    };
}
pub(crate) use procedure;

/// A program: a namespace of procedures on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Program {
    /// The hypervisor-independent interface.
    Remote,
    /// What only QEMU has.
    Qemu,
    /// What only LXC has.
    Lxc,
    /// Administration of the daemon itself, on its own socket.
    Admin,
}

/// Direction of a stream, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the daemon.
    Read,
    /// To the daemon.
    Write,
    /// Both ways.
    Both,
}

/// Direction of file descriptors, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Descriptors {
    /// With the call.
    Send,
    /// With the reply.
    Receive,
    /// With both.
    Both,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Remote, Self::Qemu, Self::Lxc, Self::Admin];

    /// The program with a number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.number() == number)
    }

    /// What is known of the procedure with a number.
    #[must_use]
    pub fn procedure(self, number: i32) -> Option<&'static Info> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.procedures().get(index).copied()
    }
}

/// A release of libvirt: major, minor, micro.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release(pub u16, pub u16, pub u16);

impl Release {
    /// From libvirt's own number: major * 1,000,000 + minor * 1,000 + micro (`virGetVersion`).
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        let part = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        Self(part(number / 1_000_000), part(number / 1_000 % 1_000), part(number % 1_000))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
