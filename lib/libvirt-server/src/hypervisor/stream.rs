//! Streams: contents of volumes both ways, pictures, consoles that echo.

use super::storage::Run;
use super::{Caller, Client, Effect, Hypervisor, Refusal};
use libvirt_protocol::enums::{ErrorDomain, ErrorNumber};
use libvirt_protocol::packet::STREAM_CHUNK;
use libvirt_protocol::session::{CallId, HoleError};
use libvirt_protocol::types;
use libvirt_protocol::xdr::Uuid;

/// A stream of a client: the serial of the call that opened it.
pub(super) type Key = u32;

/// Whether holes may travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holes {
    Never,
    Allowed,
}

/// A stream that is open.
#[derive(Debug)]
pub(super) struct Stream {
    call: CallId,
    way: Way,
}

/// What a stream is for.
#[derive(Debug)]
enum Way {
    /// What is left to be sent.
    Down { source: Source, holes: Holes, ended: bool },
    /// Where the next byte goes, and where none goes any more.
    Up { vol: types::StorageVol<'static>, place: u64, end: u64, holes: Holes },
    /// Everything comes back; of a domain's device, which one stream at a time has.
    Echo { of: (Uuid, String) },
    /// What comes is the memory of a guest, which is nobody's: the migration's steps say what becomes of the domain.
    Sink,
}

/// Where the data of a stream comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// What is left of these bytes.
    Bytes(&'static [u8]),
    /// What is left of a volume.
    Volume { vol: types::StorageVol<'static>, place: u64, end: u64 },
}

impl Hypervisor {
    fn open_stream(&mut self, way: Way) -> Result<(), Refusal> {
        let Caller { client, call } = self.caller;
        let Some(call) = call else { return Err(Refusal::internal("no call opens this stream")) };
        let readable = matches!(way, Way::Down { .. });
        self.client()?.streams.insert(call.serial(), Stream { call, way });
        if readable {
            self.effects.push_back((client, Effect::Readable(call)));
        }
        Ok(())
    }

    /// The call under way opens a stream that sends this.
    pub(super) fn open_download(&mut self, source: Source, holes: Holes) -> Result<(), Refusal> {
        self.open_stream(Way::Down { source, holes, ended: false })
    }

    /// The call under way opens a stream that fills a volume.
    pub(super) fn open_upload(
        &mut self,
        vol: types::StorageVol<'static>,
        place: u64,
        end: u64,
        holes: Holes,
    ) -> Result<(), Refusal> {
        self.open_stream(Way::Up { vol, place, end, holes })
    }

    /// The call under way opens a stream that sends back what it gets. Who has the device already keeps it, or is cut off by force.
    pub(super) fn open_echo(&mut self, of: (Uuid, String), force: bool) -> Result<(), Refusal> {
        let has = |stream: &&Stream| matches!(&stream.way, Way::Echo { of: other } if *other == of);
        let owner = self.clients.iter().find_map(|(client, connected)| {
            connected.streams.values().find(has).map(|stream| (*client, stream.call))
        });
        match owner {
            Some(_) if !force => {
                let text = "Active console session exists for this domain";
                return Err(Refusal::new(ErrorNumber::OperationFailed, text).of(ErrorDomain::Qemu));
            }
            Some((client, call)) => {
                let text = "the console was opened by somebody else";
                let refusal = Refusal::new(ErrorNumber::OperationAborted, text).of(ErrorDomain::Streams);
                self.broken(client, call, Err(refusal));
            }
            None => {}
        }
        self.open_stream(Way::Echo { of })
    }

    /// The call under way opens a stream whose data go nowhere.
    pub(super) fn open_sink(&mut self) -> Result<(), Refusal> {
        self.open_stream(Way::Sink)
    }

    /// There is room for more of a stream.
    pub fn pull(&mut self, client: Client, call: CallId) {
        // Taken out, so that its volume can be read.
        let Some(mut stream) = self.forget(client, call) else { return };
        let run = match &mut stream.way {
            Way::Down { source, holes, ended: false } => self.next_run(source, *holes),
            Way::Down { .. } | Way::Up { .. } | Way::Echo { .. } | Way::Sink => {
                return self.keep(client, stream);
            }
        };
        let effect = match run {
            Err(refusal) => return self.effects.push_back((client, Effect::Break { call, refusal })),
            Ok(Some(Run::Zeros(length))) => Effect::Hole(call, i64::try_from(length).unwrap_or(i64::MAX)),
            Ok(Some(Run::Data(data))) => Effect::Data(call, data),
            Ok(None) => {
                if let Way::Down { ended, .. } = &mut stream.way {
                    *ended = true;
                }
                Effect::End(call)
            }
        };
        self.keep(client, stream);
        let more = !matches!(effect, Effect::End(_));
        self.effects.push_back((client, effect));
        if more {
            self.effects.push_back((client, Effect::Readable(call)));
        }
    }

    fn keep(&mut self, client: Client, stream: Stream) {
        if let Some(connected) = self.clients.get_mut(&client) {
            connected.streams.insert(stream.call.serial(), stream);
        }
    }

    /// What a download sends next; zeros only where holes may travel.
    fn next_run(&mut self, source: &mut Source, holes: Holes) -> Result<Option<Run>, Refusal> {
        const CHUNK: u64 = STREAM_CHUNK as u64;
        match source {
            Source::Bytes([]) => Ok(None),
            Source::Bytes(bytes) => Ok(Some(Run::Data(std::mem::take(bytes).to_vec()))),
            Source::Volume { place, end, .. } if *place >= *end => Ok(None),
            Source::Volume { vol, place, end } => {
                let run = match self.volume_mut(vol)?.content.read(*place, *end, CHUNK) {
                    Run::Zeros(length) if holes == Holes::Never => {
                        Run::Data(vec![0; usize::try_from(length.min(CHUNK)).unwrap_or(STREAM_CHUNK)])
                    }
                    // A hole's length has a sign.
                    Run::Zeros(length) => Run::Zeros(length.min(i64::MAX.unsigned_abs())),
                    data => data,
                };
                *place += match &run {
                    Run::Zeros(length) => *length,
                    Run::Data(data) => data.len() as u64,
                };
                Ok(Some(run))
            }
        }
    }

    fn stream(&mut self, client: Client, call: CallId) -> Option<&mut Stream> {
        self.clients.get_mut(&client)?.streams.get_mut(&call.serial())
    }

    /// Data has come for a stream. For one that is no more it means nothing.
    pub fn data(&mut self, client: Client, call: CallId, data: &[u8]) {
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let result = match self.advance(client, call, length) {
            Some(Advance::Write { vol, from }) => self.write(&vol, from, data),
            Some(Advance::Echo) => {
                self.effects.push_back((client, Effect::Data(call, data.to_vec())));
                Ok(())
            }
            Some(Advance::Refused(refusal)) => Err(refusal),
            None => Ok(()),
        };
        self.broken(client, call, result);
    }

    /// A hole has come for a stream; what lay there is zeros now. Only an upload that was opened for them takes holes.
    pub fn hole(&mut self, client: Client, call: CallId, length: u64) {
        match self.stream(client, call) {
            None => return,
            Some(Stream { way: Way::Up { holes: Holes::Allowed, .. }, .. }) => {}
            Some(_) => {
                let refusal = Refusal::rpc("Unexpected stream hole".to_owned());
                return self.broken(client, call, Err(refusal));
            }
        }
        let result = match self.advance(client, call, length) {
            Some(Advance::Write { vol, from }) => self.clear(&vol, from, length),
            Some(Advance::Refused(refusal)) => Err(refusal),
            Some(Advance::Echo) | None => Ok(()),
        };
        self.broken(client, call, result);
    }

    /// What should be a hole has come for a stream, and is none: what came behind it would lie at another place.
    pub fn broken_hole(&mut self, client: Client, call: CallId, error: &HoleError) {
        if self.stream(client, call).is_some() {
            let refusal = Refusal::rpc(error.to_string()).of(ErrorDomain::Streams);
            self.broken(client, call, Err(refusal));
        }
    }

    fn advance(&mut self, client: Client, call: CallId, length: u64) -> Option<Advance> {
        match &mut self.stream(client, call)?.way {
            Way::Down { .. } | Way::Sink => None,
            Way::Echo { .. } => Some(Advance::Echo),
            Way::Up { vol, place, end, .. } => {
                if length > end.saturating_sub(*place) {
                    // libvirt's iohelper: what does not fit is the disk's end.
                    let text = "cannot write to stream: No space left on device";
                    let refusal =
                        Refusal { form: "%s".into(), ..Refusal::new(ErrorNumber::SystemError, text) };
                    return Some(Advance::Refused(refusal.of(ErrorDomain::Streams)));
                }
                let from = *place;
                *place += length;
                Some(Advance::Write { vol: vol.clone(), from })
            }
        }
    }

    fn write(&mut self, vol: &types::StorageVol<'_>, from: u64, data: &[u8]) -> Result<(), Refusal> {
        self.volume_mut(vol)?.content.write(from, data);
        Ok(())
    }

    fn clear(&mut self, vol: &types::StorageVol<'_>, from: u64, length: u64) -> Result<(), Refusal> {
        self.volume_mut(vol)?.content.clear(from, length);
        Ok(())
    }

    fn broken(&mut self, client: Client, call: CallId, result: Result<(), Refusal>) {
        if let Err(refusal) = result {
            self.forget(client, call);
            self.effects.push_back((client, Effect::Break { call, refusal }));
        }
    }

    fn forget(&mut self, client: Client, call: CallId) -> Option<Stream> {
        self.clients.get_mut(&client)?.streams.remove(&call.serial())
    }

    /// A client sends no more on a stream.
    pub fn finish(&mut self, client: Client, call: CallId) {
        if let Some(stream) = self.forget(client, call) {
            self.effects.push_back((client, Effect::Finish(stream.call)));
        }
    }

    /// A client has broken a stream off.
    pub fn abort(&mut self, client: Client, call: CallId) {
        if let Some(stream) = self.forget(client, call) {
            self.effects.push_back((client, Effect::Aborted(stream.call)));
        }
    }
}

/// What data for a stream leads to.
enum Advance {
    Write { vol: types::StorageVol<'static>, from: u64 },
    Echo,
    Refused(Refusal),
}
