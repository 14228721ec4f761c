//! Network devices (section 5.1): what precedes a frame, configuration space, and the queues from the driver's side.

mod control;
mod frames;
mod offload;

pub use control::{ADDRESSES, Command, Control, Obeyed, Refused};
pub use frames::{ReceiveError, Receiver, Sender};
pub use offload::{SEGMENTS_TCP4, SEGMENTS_TCP6, Unfinished, finish};

use crate::bytes::u16_at;

bitflags::bitflags! {
    /// Features of network devices.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// The device takes partial checksums.
        const CSUM = 1 << 0;
        /// So does the driver.
        const GUEST_CSUM = 1 << 1;
        /// Offloads can be switched on the control queue.
        const CTRL_GUEST_OFFLOADS = 1 << 2;
        /// The MTU is told.
        const MTU = 1 << 3;
        /// The MAC address is told.
        const MAC = 1 << 5;
        /// The driver takes segments of TCP over IPv4 together.
        const GUEST_TSO4 = 1 << 7;
        /// Over IPv6.
        const GUEST_TSO6 = 1 << 8;
        /// With congestion marks.
        const GUEST_ECN = 1 << 9;
        /// Fragments of UDP together.
        const GUEST_UFO = 1 << 10;
        /// The device takes segments of TCP over IPv4 together.
        const HOST_TSO4 = 1 << 11;
        /// Over IPv6.
        const HOST_TSO6 = 1 << 12;
        /// With congestion marks.
        const HOST_ECN = 1 << 13;
        /// Fragments of UDP together.
        const HOST_UFO = 1 << 14;
        /// A frame may lie in several buffers.
        const MRG_RXBUF = 1 << 15;
        /// The state of the link is told.
        const STATUS = 1 << 16;
        /// There is a control queue.
        const CTRL_VQ = 1 << 17;
        /// It sets what is received.
        const CTRL_RX = 1 << 18;
        /// It filters VLANs.
        const CTRL_VLAN = 1 << 19;
        /// The driver can announce itself after a migration.
        const GUEST_ANNOUNCE = 1 << 21;
        /// Several pairs of queues.
        const MQ = 1 << 22;
        /// The control queue sets the MAC address.
        const CTRL_MAC_ADDR = 1 << 23;
        /// What a received frame was hashed to is told.
        const HASH_REPORT = 1 << 57;
        /// Frames are spread over the pairs by what they hash to.
        const RSS = 1 << 60;
        /// The speed is told.
        const SPEED_DUPLEX = 1 << 63;
    }
}

/// Bytes of the header before every frame where `VERSION_1` was negotiated (section 5.1.6).
pub const HEADER: usize = 12;

/// Of [`Header::flags`]: a checksum is to be filled in.
pub const NEEDS_CHECKSUM: u8 = 1;
/// Of [`Header::flags`]: the checksum was verified.
pub const IS_VALID: u8 = 2;

/// What precedes a frame. Without offloads all but the number of buffers is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// [`NEEDS_CHECKSUM`], [`IS_VALID`].
    pub flags: u8,
    /// How the frame is to be segmented: 0, [`SEGMENTS_TCP4`], [`SEGMENTS_TCP6`].
    pub segmentation: u8,
    /// Bytes of its own headers.
    pub header_bytes: u16,
    /// Bytes of a segment.
    pub segment_bytes: u16,
    /// Where the checksum begins.
    pub checksum_start: u16,
    /// Where it goes, from there.
    pub checksum_offset: u16,
    /// Of a received frame: the buffers that it lies in.
    pub buffers: u16,
}

impl Header {
    /// Its bytes.
    #[inline]
    pub fn bytes(self) -> [u8; HEADER] {
        let [f, s] = [self.flags, self.segmentation];
        let numbers =
            [self.header_bytes, self.segment_bytes, self.checksum_start, self.checksum_offset, self.buffers];
        let [[h0, h1], [g0, g1], [c0, c1], [o0, o1], [b0, b1]] = numbers.map(u16::to_le_bytes);
        [f, s, h0, h1, g0, g1, c0, c1, o0, o1, b0, b1]
    }

    /// From its bytes.
    pub fn parse(bytes: &[u8; HEADER]) -> Self {
        let number = |at| u16_at(bytes, at);
        Self {
            flags: bytes[0],
            segmentation: bytes[1],
            header_bytes: number(2),
            segment_bytes: number(4),
            checksum_start: number(6),
            checksum_offset: number(8),
            buffers: number(10),
        }
    }
}

/// Configuration space (section 5.1.4), as much of it as devices of ours have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// With [`Features::MAC`].
    pub mac: [u8; 6],
    /// Bit 0: the link is up; with [`Features::STATUS`].
    pub status: u16,
    /// With [`Features::MQ`].
    pub most_pairs: u16,
    /// With [`Features::MTU`].
    pub mtu: u16,
}

impl Config {
    /// Bytes of the part that is read here.
    pub const BYTES: usize = 12;

    /// Its bytes.
    pub fn bytes(&self) -> [u8; Self::BYTES] {
        let mut all = [0; Self::BYTES];
        all[..6].copy_from_slice(&self.mac);
        for (to, number) in all[6..].chunks_exact_mut(2).zip([self.status, self.most_pairs, self.mtu]) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        all
    }

    /// From its bytes; what is missing is 0.
    pub fn parse(bytes: &[u8]) -> Self {
        let number = |at| u16_at(bytes, at);
        let mac = bytes.first_chunk().copied().unwrap_or_default();
        Self { mac, status: number(6), most_pairs: number(8), mtu: number(10) }
    }
}

/// Where the queues of pair `pair` are: to receive, and to send.
pub const fn queues(pair: u16) -> [u16; 2] {
    [2 * pair, 2 * pair + 1]
}

/// Where the control queue is: behind all pairs that the device can have, be they in use or not (section 5.1.2).
pub const fn control_queue(most_pairs: u16) -> u16 {
    2 * most_pairs
}
