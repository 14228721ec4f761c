//! The agent's side of a session, as a value: frames and time in, frames and events out.
//!
//! Order of use: [`Link::open`] gives the first frame; then, whatever happens first: [`Link::receive`] for each frame from
//! the server, [`Link::report`] when reports changed, [`Link::tick`] at [`Link::deadline`]. An error ends the session; the
//! next one has a higher number and starts with full sets.

use crate::instance::Desired;
use crate::node::Reports;
use hv_api::convert::spec_read;
use hv_api::v1;
use hv_core::InstanceId;
use hv_core::instance::Epoch;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Instances in one frame of a full set: far below the default limit of 4 MiB for a gRPC message.
const CHUNK: usize = 64;

/// How long the server may take to answer a hello.
pub const WELCOME_WITHIN: Duration = Duration::from_secs(10);

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Frames are missing.
    #[error("frame {got} came after {last}: frames were lost")]
    Gap {
        /// The newest good one.
        last: u64,
        /// What came.
        got: u64,
    },
    /// The server sent something out of order.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// Nothing was heard for the grace period.
    #[error("the server was silent for {} ms", .0.as_millis())]
    Silent(Duration),
}

/// What a frame from the server means.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The session stands.
    Welcome(v1::Welcome),
    /// What the server wants, or a part of it.
    Desired(Vec<Desired>),
    /// All of the full set has come: these.
    FullSet(BTreeSet<InstanceId>),
    /// Figures are asked for.
    Stats(v1::StatsRequest),
    /// A console is asked for.
    OpenConsole(v1::OpenConsole),
    /// The server gave up this node; the session is over.
    Abandoned,
}

/// One session.
#[derive(Debug)]
pub struct Link {
    sent: u64,
    received: u64,
    welcome: Option<v1::Welcome>,
    full_set: Option<BTreeSet<InstanceId>>,
    /// The node's uid, as the hello said or the welcome gave it.
    node_uid: String,
    /// Numbers of the reports that were sent.
    reported: BTreeMap<InstanceId, u64>,
    send_all: bool,
    /// The full set of reports is under way: it is over when the reports are complete.
    full: bool,
    last_heard: Duration,
    next_beat: Duration,
    beats: u64,
}

impl Link {
    /// Opens a session: the first frame is the hello.
    pub fn open(hello: v1::Hello, now: Duration) -> (Self, v1::AgentMessage) {
        let mut link = Self {
            sent: 0,
            received: 0,
            welcome: None,
            full_set: Some(BTreeSet::new()),
            node_uid: hello.node_uid.clone(),
            reported: BTreeMap::new(),
            send_all: true,
            full: true,
            last_heard: now,
            next_beat: now,
            beats: 0,
        };
        let frame = link.frame(v1::agent_message::Message::Hello(hello));
        (link, frame)
    }

    /// Numbers a frame.
    pub fn frame(&mut self, message: v1::agent_message::Message) -> v1::AgentMessage {
        self.sent += 1;
        v1::AgentMessage { sequence: self.sent, message: Some(message) }
    }

    /// Takes a frame from the server.
    pub fn receive(&mut self, frame: v1::ServerMessage, now: Duration) -> Result<Vec<Event>, LinkError> {
        use v1::server_message::Message;
        if frame.sequence <= self.received {
            return Ok(Vec::new());
        }
        if frame.sequence != self.received + 1 {
            return Err(LinkError::Gap { last: self.received, got: frame.sequence });
        }
        self.received = frame.sequence;
        self.last_heard = now;
        match (frame.message, &self.welcome) {
            (Some(Message::Welcome(welcome)), None) => {
                self.next_beat = now + interval(&welcome);
                self.node_uid.clone_from(&welcome.node_uid);
                self.welcome = Some(welcome.clone());
                Ok(vec![Event::Welcome(welcome)])
            }
            (Some(Message::Abandoned(abandoned)), _) if abandoned.node_uid == self.node_uid => {
                Ok(vec![Event::Abandoned])
            }
            // Guests end for nobody else's sake.
            (Some(Message::Abandoned(abandoned)), _) => Err(LinkError::Protocol(format!(
                "it gave up the node `{}`, and this one is `{}`",
                abandoned.node_uid, self.node_uid
            ))),
            (_, None) => Err(LinkError::Protocol("the first frame is not a welcome".into())),
            (Some(Message::Welcome(_)), Some(_)) => Err(LinkError::Protocol("a second welcome".into())),
            (Some(Message::Heartbeat(_)) | None, _) => Ok(Vec::new()),
            (Some(Message::Desired(desired)), _) => self.desired(desired),
            (Some(Message::Stats(request)), _) => Ok(vec![Event::Stats(request)]),
            (Some(Message::OpenConsole(open)), _) => Ok(vec![Event::OpenConsole(open)]),
            (Some(Message::Report(_)), _) => {
                self.send_all = true;
                self.full = true;
                Ok(Vec::new())
            }
        }
    }

    fn desired(&mut self, frame: v1::Desired) -> Result<Vec<Event>, LinkError> {
        let desired = frame.instances.iter().map(desired_from).collect::<Result<Vec<_>, _>>()?;
        let mut events = Vec::new();
        match &mut self.full_set {
            Some(set) if frame.full => set.extend(desired.iter().map(|desired| desired.id)),
            Some(_) => return Err(LinkError::Protocol("a delta before the full set".into())),
            None if frame.full => return Err(LinkError::Protocol("a second full set".into())),
            None => {}
        }
        if !desired.is_empty() {
            events.push(Event::Desired(desired));
        }
        if frame.full && frame.complete {
            events.extend(self.full_set.take().map(Event::FullSet));
        }
        Ok(events)
    }

    /// Frames for reports that the server has not had. Nothing before the welcome. They belong to the full set until the reports
    /// are complete: what is missing in a full set is not on the node.
    pub fn report(&mut self, reports: &Reports) -> Vec<v1::AgentMessage> {
        if self.welcome.is_none() {
            return Vec::new();
        }
        let (all, full) = (std::mem::take(&mut self.send_all), self.full);
        let new: Vec<_> = reports
            .instances
            .iter()
            .filter(|(id, (number, _))| all || self.reported.get(id) != Some(number))
            .map(|(id, (number, report))| (*id, *number, report.to_wire()))
            .collect();
        self.reported.extend(new.iter().map(|(id, number, _)| (*id, *number)));
        let over = full && reports.complete;
        self.full &= !over;
        if new.is_empty() && !over {
            return Vec::new();
        }
        let chunks = new.len().div_ceil(CHUNK).max(1);
        (0..chunks)
            .map(|index| {
                let instances =
                    new.iter().skip(index * CHUNK).take(CHUNK).map(|(.., wire)| wire.clone()).collect();
                let complete = index + 1 == chunks && (!full || over);
                self.frame(v1::agent_message::Message::Observed(v1::Observed { full, complete, instances }))
            })
            .collect()
    }

    /// Beats, or ends a silent session.
    pub fn tick(&mut self, now: Duration) -> Result<Option<v1::AgentMessage>, LinkError> {
        let patience =
            self.welcome.as_ref().map_or(WELCOME_WITHIN, |welcome| Duration::from_millis(welcome.grace_ms));
        if now.saturating_sub(self.last_heard) >= patience {
            return Err(LinkError::Silent(patience));
        }
        match &self.welcome {
            Some(welcome) if now >= self.next_beat => {
                self.next_beat = now + interval(welcome);
                self.beats += 1;
                let beat = v1::Heartbeat { sequence: self.beats };
                Ok(Some(self.frame(v1::agent_message::Message::Heartbeat(beat))))
            }
            _ => Ok(None),
        }
    }

    /// When to tick next.
    pub fn deadline(&self) -> Duration {
        match &self.welcome {
            None => self.last_heard + WELCOME_WITHIN,
            Some(welcome) => self.next_beat.min(self.last_heard + Duration::from_millis(welcome.grace_ms)),
        }
    }
}

fn interval(welcome: &v1::Welcome) -> Duration {
    Duration::from_millis(welcome.heartbeat_interval_ms.max(10))
}

fn desired_from(wire: &v1::DesiredInstance) -> Result<Desired, LinkError> {
    let wrong = |error: String| LinkError::Protocol(format!("desired instance `{}`: {error}", wire.uid));
    Ok(Desired {
        id: wire.uid.parse().map_err(|_| wrong("not a uid".into()))?,
        name: wire.name.clone(),
        project: wire.project.clone(),
        epoch: Epoch(wire.epoch),
        generation: wire.generation,
        spec: spec_read(&wire.spec.clone().unwrap_or_default()).map_err(|error| wrong(error.to_string()))?,
        deleted: wire.deleted,
        force: wire.force,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Report;
    use hv_api::convert::spec_to;
    use hv_core::instance::{InstanceSpec, InstanceStatus};
    use std::sync::Arc;
    use v1::agent_message::Message as Up;
    use v1::server_message::Message as Down;

    fn id(number: u64) -> InstanceId {
        format!("018f4e2a-0000-7000-8000-{number:012}").parse().expect("a uid")
    }

    fn down(sequence: u64, message: Down) -> v1::ServerMessage {
        v1::ServerMessage { sequence, message: Some(message) }
    }

    fn welcomed() -> Link {
        let (mut link, hello) = Link::open(v1::Hello::default(), Duration::ZERO);
        assert_eq!(hello.sequence, 1);
        let welcome = v1::Welcome { heartbeat_interval_ms: 1000, grace_ms: 12_000, ..Default::default() };
        link.receive(down(1, Down::Welcome(welcome)), Duration::ZERO).expect("welcome");
        link
    }

    fn instance(number: u64, deleted: bool) -> v1::DesiredInstance {
        let spec = InstanceSpec { image: Some("/i".into()), ..InstanceSpec::default() };
        v1::DesiredInstance {
            uid: id(number).to_string(),
            epoch: 1,
            spec: Some(spec_to(&spec)),
            deleted,
            ..Default::default()
        }
    }

    fn reports(numbers: impl IntoIterator<Item = (u64, u64)>) -> Arc<Reports> {
        let one = |(instance, number)| {
            let status = InstanceStatus::default();
            let report = Report {
                id: id(instance),
                epoch: Epoch(1),
                status,
                gone: false,
                rejected: false,
                orphan: false,
                revoked: false,
            };
            (id(instance), (number, report))
        };
        Arc::new(Reports { instances: numbers.into_iter().map(one).collect(), looked: true, complete: true })
    }

    /// Of each frame of reports: whether it belongs to a full set, whether that is over, and how many it has.
    fn shape(frames: &[v1::AgentMessage]) -> Vec<(bool, bool, usize)> {
        let one = |frame: &v1::AgentMessage| match &frame.message {
            Some(Up::Observed(observed)) => (observed.full, observed.complete, observed.instances.len()),
            other => panic!("{other:?}"),
        };
        frames.iter().map(one).collect()
    }

    #[test]
    fn only_the_end_of_its_own_node_is_obeyed() {
        let uid = id(7).to_string();
        let abandoned = |n, uid: &str| down(n, Down::Abandoned(v1::Abandoned { node_uid: uid.to_owned() }));
        let open = || Link::open(v1::Hello { node_uid: uid.clone(), ..Default::default() }, Duration::ZERO).0;
        assert_eq!(open().receive(abandoned(1, &uid), Duration::ZERO), Ok(vec![Event::Abandoned]));
        for other in [id(8).to_string().as_str(), ""] {
            let answer = open().receive(abandoned(1, other), Duration::ZERO);
            assert!(matches!(&answer, Err(LinkError::Protocol(why)) if why.contains(&uid)), "{answer:?}");
        }
        // The server may have given it another uid.
        let mut link = open();
        let welcome = v1::Welcome { node_uid: id(8).to_string(), ..Default::default() };
        link.receive(down(1, Down::Welcome(welcome)), Duration::ZERO).expect("welcome");
        assert_eq!(
            link.receive(abandoned(2, &id(8).to_string()), Duration::ZERO),
            Ok(vec![Event::Abandoned])
        );
    }

    #[test]
    fn repeated_frames_are_dropped_and_a_gap_ends_the_session() {
        let mut link = welcomed();
        let beat = |n| down(n, Down::Heartbeat(v1::Heartbeat::default()));
        assert_eq!(link.receive(beat(2), Duration::ZERO), Ok(vec![]));
        let again = down(2, Down::Desired(v1::Desired { full: true, complete: true, instances: vec![] }));
        assert_eq!(link.receive(again, Duration::ZERO), Ok(vec![]));
        assert_eq!(link.receive(beat(4), Duration::ZERO), Err(LinkError::Gap { last: 2, got: 4 }));
    }

    #[test]
    fn a_full_set_comes_in_parts_and_deltas_after_it() {
        let mut link = welcomed();
        let part = |complete, n| v1::Desired { full: true, complete, instances: vec![instance(n, false)] };
        assert_eq!(link.receive(down(2, Down::Desired(part(false, 1))), Duration::ZERO).unwrap().len(), 1);
        let events = link.receive(down(3, Down::Desired(part(true, 2))), Duration::ZERO).unwrap();
        assert_eq!(events[1], Event::FullSet([id(1), id(2)].into()));
        let delta = v1::Desired { full: false, complete: true, instances: vec![instance(3, true)] };
        let events = link.receive(down(4, Down::Desired(delta)), Duration::ZERO).unwrap();
        assert!(matches!(&events[..], [Event::Desired(desired)] if desired[0].deleted));
    }

    #[test]
    fn reports_go_in_full_once_then_only_what_changed() {
        let (mut link, _) = Link::open(v1::Hello::default(), Duration::ZERO);
        assert!(link.report(&reports([(1, 1)])).is_empty(), "nothing before the welcome");
        let mut link = welcomed();
        let many = reports((0..100).map(|n| (n, 1)));
        let frames = link.report(&many);
        assert_eq!(shape(&frames), [(true, false, 64), (true, true, 36)]);
        assert!(link.report(&many).is_empty());
        let frames = link.report(&reports((0..100).map(|n| (n, if n == 7 { 2 } else { 1 }))));
        assert!(matches!(&frames[0].message, Some(Up::Observed(o)) if !o.full && o.instances.len() == 1));
    }

    #[test]
    fn an_empty_node_still_sends_its_full_set() {
        let frames = welcomed().report(&reports([]));
        assert_eq!(shape(&frames), [(true, true, 0)]);
    }

    #[test]
    fn a_full_set_is_not_over_before_the_node_has_been_looked_at() {
        let mut link = welcomed();
        let some = |numbers: &[(u64, u64)], complete| {
            let all = reports(numbers.iter().copied());
            Reports { instances: all.instances.clone(), looked: true, complete }
        };
        assert!(link.report(&some(&[], false)).is_empty());
        assert_eq!(shape(&link.report(&some(&[(1, 1)], false))), [(true, false, 1)]);
        assert_eq!(shape(&link.report(&some(&[(1, 1), (2, 2)], true))), [(true, true, 1)]);
        assert_eq!(shape(&link.report(&some(&[(1, 3), (2, 2)], true))), [(false, true, 1)]);
        // Asked for once more, all of it is sent again.
        link.receive(down(2, Down::Report(v1::ReportRequest::default())), Duration::ZERO).expect("in order");
        assert_eq!(shape(&link.report(&some(&[(1, 3), (2, 2)], true))), [(true, true, 2)]);
    }

    #[test]
    fn it_beats_at_the_interval_and_gives_up_on_silence() {
        let mut link = welcomed();
        assert_eq!(link.deadline(), Duration::from_secs(1));
        assert_eq!(link.tick(Duration::from_millis(999)), Ok(None));
        assert!(link.tick(Duration::from_secs(1)).unwrap().is_some());
        assert_eq!(link.deadline(), Duration::from_secs(2));
        assert_eq!(link.tick(Duration::from_secs(12)), Err(LinkError::Silent(Duration::from_secs(12))));
    }
}
