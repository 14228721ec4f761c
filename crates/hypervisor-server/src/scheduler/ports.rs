//! Ports of a node: to which instance they lead, and for how long.

use hv_core::NodeId;
use hv_core::instance::{Instance, Phase, PublishedPort, RunState};

/// A port of a node that leads to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken<'a> {
    /// Whose it is.
    pub instance: &'a str,
    /// The port.
    pub port: PublishedPort,
    /// For how long.
    pub hold: Hold,
}

/// For how long an instance has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// As long as nobody stops it.
    Kept,
    /// Its specification has it no more, and its guest was started with it.
    UntilRestart,
    /// It is to be stopped, or deleted, and its guest has yet to end.
    Ending,
}

/// Which ports of a node that an instance wants lead to others of these, which are there or are to come. One that is to be stopped wants none.
pub fn taken<'a>(
    instance: &Instance,
    node: NodeId,
    others: impl Iterator<Item = &'a Instance>,
) -> Vec<Taken<'a>> {
    let wanted: Vec<_> = instance.spec.published().collect();
    if wanted.is_empty() || instance.spec.run_state == RunState::Stopped {
        return Vec::new();
    }
    let others = others.filter(|other| other.id != instance.id);
    let of = |other: &'a Instance| {
        let name = other.metadata.name.as_str();
        held(other, node).into_iter().map(move |(port, hold)| Taken { instance: name, port, hold })
    };
    others.flat_map(of).filter(|taken| wanted.iter().any(|port| port.overlaps(&taken.port))).collect()
}

/// The ports of a node that an instance has: those of its specification, which it has or is to have, and those that its guest was started with.
/// One that is to be stopped has none when its guest has ended.
fn held(instance: &Instance, node: NodeId) -> Vec<(PublishedPort, Hold)> {
    let is_to_end = instance.spec.run_state == RunState::Stopped || instance.is_deleting();
    let has_guest = may_have_guest(instance, node);
    let (of_spec, of_guest) = match (is_to_end, has_guest) {
        (true, false) => return Vec::new(),
        // Of one that was just started it is not known yet what it was started with: probably this.
        (true, true) => (Hold::Ending, Hold::Ending),
        (false, _) => (Hold::Kept, Hold::UntilRestart),
    };
    let specified = || instance.spec.published();
    let started = instance.status.published_ports.iter().filter(|_| has_guest);
    let only_started = started.filter(|port| !specified().any(|specified| specified == *port));
    specified().map(|port| (*port, of_spec)).chain(only_started.map(|port| (*port, of_guest))).collect()
}

/// Whether a guest of it may be on this node.
fn may_have_guest(instance: &Instance, node: NodeId) -> bool {
    let is_here = instance.placement.is_some_and(|placement| placement.node == node);
    // Its node has not said yet what it made of the last word: it may have begun with one before that.
    let is_unheard = instance.status.observed_generation < instance.metadata.generation;
    let was_seen = matches!(
        instance.status.phase,
        Phase::Starting
            | Phase::Running
            | Phase::Paused
            | Phase::Stopping
            | Phase::Migrating
            | Phase::Unknown
            | Phase::Deleting
    );
    is_here && (is_unheard || was_seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hv_core::instance::{
        Attachment, Epoch, InstanceSpec, InstanceStatus, InterfaceSpec, Placement, Protocol,
    };
    use hv_core::{InstanceId, Labels, Metadata, Name, Timestamp};

    fn node(number: u32) -> NodeId {
        format!("018f4e2a-0000-7000-8000-00000000000{number}").parse().unwrap()
    }

    fn port(host_port: u16) -> PublishedPort {
        PublishedPort {
            protocol: Protocol::Tcp,
            host_address: "127.0.0.1".parse().unwrap(),
            host_port,
            guest_port: 22,
        }
    }

    /// One that runs on the first node, whose guest has the ports of its specification.
    fn web() -> Instance {
        let metadata = Metadata {
            name: Name::parse("name", "web").unwrap(),
            project: Name::parse("name", "default").unwrap(),
            labels: Labels::new(),
            annotations: Labels::new(),
            generation: 2,
            created_at: Timestamp(1),
            deletion_requested_at: None,
            finalizers: vec![],
        };
        Instance {
            id: "018f4e2a-0000-7000-8000-00000000aaaa".parse().unwrap(),
            metadata,
            spec: publishing(&[80]),
            status: InstanceStatus {
                phase: Phase::Running,
                observed_generation: 2,
                published_ports: vec![port(80)],
                ..InstanceStatus::default()
            },
            placement: Some(Placement { node: node(1), epoch: Epoch(1) }),
        }
    }

    fn publishing(ports: &[u16]) -> InstanceSpec {
        let publish = ports.iter().copied().map(port).collect();
        let attachment = Attachment::User { publish };
        let interface = InterfaceSpec { name: Name::parse("name", "net0").unwrap(), mac: None, attachment };
        InstanceSpec { interfaces: vec![interface], ..InstanceSpec::default() }
    }

    #[test]
    fn a_port_is_held_by_who_wants_it_and_by_a_guest_that_was_started_with_it() {
        use Hold::{Ending, Kept, UntilRestart};
        let held_on = |on: u32, change: fn(&mut Instance)| {
            let mut instance = web();
            change(&mut instance);
            let ports = held(&instance, node(on)).into_iter();
            ports.map(|(port, hold)| (port.host_port, hold)).collect::<Vec<_>>()
        };
        let held = |change| held_on(1, change);
        assert_eq!(held(|_| {}), [(80, Kept)]);
        assert_eq!(held(|it| it.spec = publishing(&[81])), [(81, Kept), (80, UntilRestart)]);
        assert_eq!(held(|it| it.spec = publishing(&[])), [(80, UntilRestart)]);
        assert_eq!(held(|it| it.spec.run_state = RunState::Stopped), [(80, Ending)]);
        assert_eq!(held(|it| it.metadata.deletion_requested_at = Some(Timestamp(2))), [(80, Ending)]);
        let stops_with_others = |it: &mut Instance| {
            it.spec = InstanceSpec { run_state: RunState::Stopped, ..publishing(&[81]) };
        };
        assert_eq!(held(stops_with_others), [(81, Ending), (80, Ending)]);
        // A guest that has ended has none, whatever it was started with; who is to run again wants its own.
        assert_eq!(
            held(|it| {
                it.spec.run_state = RunState::Stopped;
                it.status.phase = Phase::Stopped;
            }),
            []
        );
        assert_eq!(
            held(|it| {
                it.spec = publishing(&[81]);
                it.status.phase = Phase::Failed;
            }),
            [(81, Kept)]
        );
        // Started a moment ago, by what its node has yet to say.
        assert_eq!(
            held(|it| {
                it.spec.run_state = RunState::Stopped;
                it.metadata.generation = 3;
                it.status = InstanceStatus { phase: Phase::Stopped, ..InstanceStatus::default() };
            }),
            [(80, Ending)]
        );
        // Its guest is not where room is kept for it; what it wants, it wants there too.
        assert_eq!(held_on(2, |it| it.spec = publishing(&[81])), [(81, Kept)]);
        assert_eq!(held_on(2, |it| it.spec.run_state = RunState::Stopped), []);
    }

    #[test]
    fn only_what_meets_a_port_that_is_wanted_is_in_the_way() {
        let mut web = web();
        web.spec = publishing(&[81]);
        let wants = |ports: &[u16]| {
            let id: InstanceId = "018f4e2a-0000-7000-8000-00000000bbbb".parse().unwrap();
            Instance {
                id,
                spec: publishing(ports),
                status: InstanceStatus::default(),
                placement: None,
                ..self::web()
            }
        };
        let ports = |instance: &Instance| {
            let taken = taken(instance, node(1), [&web].into_iter());
            taken.iter().map(|taken| (taken.instance, taken.port.host_port)).collect::<Vec<_>>()
        };
        assert_eq!(ports(&wants(&[79, 82])), []);
        assert_eq!(ports(&wants(&[80, 81])), [("web", 81), ("web", 80)]);
        // Nobody is in their own way, and what is to be stopped wants nothing.
        assert_eq!(ports(&web.clone()), []);
        let stopped = InstanceSpec { run_state: RunState::Stopped, ..publishing(&[80]) };
        assert_eq!(ports(&Instance { spec: stopped, ..wants(&[]) }), []);
    }
}
