//! Which request fits which state: the one place that decides, for server, agent, ctl and web.
//!
//! Requests are verbs; what is stored is a level. [`decide`] turns the one into the other.

use super::{Instance, Phase, RunState};
use crate::{Error, ErrorKind};

/// What a caller may ask of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words are those of the calls")]
pub enum Request {
    Start,
    Stop,
    ForceStop,
    Restart,
    ForceRestart,
    Pause,
    Resume,
    Update,
    Delete,
    Console,
    Stats,
}

impl Request {
    /// All requests, for tables and tests.
    pub const ALL: [Self; 11] = [
        Self::Start,
        Self::Stop,
        Self::ForceStop,
        Self::Restart,
        Self::ForceRestart,
        Self::Pause,
        Self::Resume,
        Self::Update,
        Self::Delete,
        Self::Console,
        Self::Stats,
    ];

    /// The verb people know, as it stands before a name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::ForceStop => "force off",
            Self::Restart => "restart",
            Self::ForceRestart => "force a restart of",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Console => "attach to the console of",
            Self::Stats => "get figures of",
        }
    }
}

/// What an accepted request means for the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Nothing: it is so already, or the request changes no level.
    Keep,
    /// A new level.
    Set {
        /// The wanted state.
        run_state: RunState,
        /// Raise the restart serial by one.
        bump_serial: bool,
        /// Do not ask the guest.
        force: bool,
    },
}

/// Whether a request is acceptable now, and what it then changes. A refusal says what to do first.
pub fn decide(instance: &Instance, request: Request) -> Result<Decision, Error> {
    let phase = instance.status.phase;
    let wanted = instance.spec.run_state;
    let set = |run_state, bump_serial, force| Ok(Decision::Set { run_state, bump_serial, force });
    let refuse = |why: &str, hint: &str| {
        Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("cannot {} `{}`: {why}", request.as_str(), instance.metadata.name),
        )
        .with_uid(instance.id)
        .with_hint(hint))
    };
    let has_guest = matches!(phase, Phase::Starting | Phase::Running | Phase::Paused | Phase::Stopping);

    if instance.is_deleting() && !matches!(request, Request::Delete | Request::Console | Request::Stats) {
        return refuse("it is being deleted", "create a new instance");
    }
    if phase == Phase::Migrating && !matches!(request, Request::Console | Request::Stats | Request::Delete) {
        return refuse("it is migrating", "wait until the migration has ended");
    }
    match request {
        Request::Start => match (wanted, phase) {
            (RunState::Paused, Phase::Running | Phase::Paused) => refuse("it is paused", "resume it instead"),
            // A guest that ended by itself, or was stopped, gets a fresh start. The raised serial makes a stop and a start
            // that the agent sees as one change a restart, not nothing.
            (RunState::Stopped, _) | (_, Phase::Stopped | Phase::Failed) => {
                set(RunState::Running, true, false)
            }
            (RunState::Paused, _) => set(RunState::Running, false, false),
            (RunState::Running, _) => Ok(Decision::Keep),
        },
        Request::Stop | Request::ForceStop => {
            let force = request == Request::ForceStop;
            match wanted {
                RunState::Stopped if !force || instance.spec.force_stop || phase == Phase::Stopped => {
                    Ok(Decision::Keep)
                }
                _ => set(RunState::Stopped, false, force),
            }
        }
        Request::Restart | Request::ForceRestart => match wanted {
            RunState::Stopped => refuse("it is stopped", "start it instead"),
            _ => set(RunState::Running, true, request == Request::ForceRestart),
        },
        Request::Pause => match (wanted, phase) {
            (RunState::Paused, _) => Ok(Decision::Keep),
            (RunState::Running, Phase::Running) => set(RunState::Paused, false, false),
            _ => refuse(&format!("it is {}", phase.as_str()), "only a running instance can be paused"),
        },
        Request::Resume => match wanted {
            RunState::Paused => set(RunState::Running, false, false),
            RunState::Running if phase == Phase::Running => Ok(Decision::Keep),
            _ => refuse(&format!("it is {}", phase.as_str()), "only a paused instance can be resumed"),
        },
        Request::Update | Request::Delete => Ok(Decision::Keep),
        Request::Console | Request::Stats if has_guest => Ok(Decision::Keep),
        Request::Console | Request::Stats => {
            refuse(&format!("it is {}", phase.as_str()), "start it, and wait until it runs")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::{InstanceSpec, InstanceStatus};
    use crate::{Metadata, Name, Timestamp};

    fn instance(wanted: RunState, phase: Phase) -> Instance {
        let name = Name::parse("name", "demo").unwrap();
        Instance {
            id: "018f4e2a-0000-7000-8000-000000000001".parse().unwrap(),
            metadata: Metadata {
                name: name.clone(),
                project: name,
                labels: Default::default(),
                annotations: Default::default(),
                generation: 1,
                created_at: Timestamp(1),
                deletion_requested_at: None,
                finalizers: vec![],
            },
            spec: InstanceSpec { run_state: wanted, ..InstanceSpec::default() },
            status: InstanceStatus { phase, ..InstanceStatus::default() },
            placement: None,
        }
    }

    /// One row a case: wanted, phase, request, and what comes of it ("-" keeps, "!" refuses).
    #[test]
    fn table() {
        use Phase as P;
        use Request as R;
        use RunState::{Paused, Running, Stopped};
        let rows = [
            (Stopped, P::Stopped, R::Start, "running+1"),
            (Stopped, P::Stopping, R::Start, "running+1"),
            (Running, P::Stopped, R::Start, "running+1"),
            (Running, P::Failed, R::Start, "running+1"),
            (Running, P::Running, R::Start, "-"),
            (Running, P::Pending, R::Start, "-"),
            (Running, P::Unknown, R::Start, "-"),
            (Paused, P::Paused, R::Start, "!"),
            (Running, P::Running, R::Stop, "stopped"),
            (Running, P::Pending, R::Stop, "stopped"),
            (Paused, P::Paused, R::Stop, "stopped"),
            (Stopped, P::Stopped, R::Stop, "-"),
            (Stopped, P::Stopping, R::ForceStop, "stopped!"),
            (Stopped, P::Stopped, R::ForceStop, "-"),
            (Running, P::Unknown, R::ForceStop, "stopped!"),
            (Running, P::Running, R::Restart, "running+1"),
            (Running, P::Failed, R::Restart, "running+1"),
            (Paused, P::Paused, R::ForceRestart, "running+1!"),
            (Stopped, P::Stopped, R::Restart, "!"),
            (Running, P::Running, R::Pause, "paused"),
            (Running, P::Starting, R::Pause, "!"),
            (Stopped, P::Stopped, R::Pause, "!"),
            (Paused, P::Paused, R::Pause, "-"),
            (Paused, P::Paused, R::Resume, "running"),
            (Running, P::Running, R::Resume, "-"),
            (Stopped, P::Stopped, R::Resume, "!"),
            (Running, P::Running, R::Console, "-"),
            (Stopped, P::Stopped, R::Console, "!"),
            (Running, P::Unknown, R::Stats, "!"),
            (Running, P::Migrating, R::Stop, "!"),
            (Running, P::Migrating, R::Update, "!"),
        ];
        for (wanted, phase, request, expected) in rows {
            let got = match decide(&instance(wanted, phase), request) {
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::FailedPrecondition);
                    assert!(error.hint.is_some());
                    "!".to_owned()
                }
                Ok(Decision::Keep) => "-".to_owned(),
                Ok(Decision::Set { run_state, bump_serial, force }) => {
                    let word = match run_state {
                        Running => "running",
                        Paused => "paused",
                        Stopped => "stopped",
                    };
                    format!("{word}{}{}", if bump_serial { "+1" } else { "" }, if force { "!" } else { "" })
                }
            };
            assert_eq!(got, expected, "{wanted:?} {phase:?} {request:?}");
        }
    }

    #[test]
    fn a_deleting_instance_takes_nothing_but_deletion() {
        for phase in Phase::ALL {
            let mut deleting = instance(RunState::Running, phase);
            deleting.metadata.deletion_requested_at = Some(Timestamp(2));
            for request in Request::ALL {
                let accepted = decide(&deleting, request).is_ok();
                match request {
                    Request::Delete => assert!(accepted),
                    Request::Console | Request::Stats => {}
                    _ => assert!(!accepted, "{phase:?} {request:?}"),
                }
            }
        }
    }
}
