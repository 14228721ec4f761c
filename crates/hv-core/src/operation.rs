//! Operations: what was asked for and how far it is.

use crate::{Error, InstanceId, Name, NodeId, OperationId, Timestamp};

/// Steps that one operation keeps; the oldest give way.
pub const MAX_STEPS: usize = 32;

/// What a call asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words are those of the calls")]
pub enum OperationKind {
    InstanceCreate,
    InstanceUpdate,
    InstanceDelete,
    InstanceStart,
    InstanceStop,
    InstanceRestart,
    InstancePause,
    InstanceResume,
    NodeRegister,
    NodeUpdate,
    NodeDeregister,
}

impl OperationKind {
    /// All kinds, for tests and for parsing.
    pub const ALL: [Self; 11] = [
        Self::InstanceCreate,
        Self::InstanceUpdate,
        Self::InstanceDelete,
        Self::InstanceStart,
        Self::InstanceStop,
        Self::InstanceRestart,
        Self::InstancePause,
        Self::InstanceResume,
        Self::NodeRegister,
        Self::NodeUpdate,
        Self::NodeDeregister,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InstanceCreate => "instance.create",
            Self::InstanceUpdate => "instance.update",
            Self::InstanceDelete => "instance.delete",
            Self::InstanceStart => "instance.start",
            Self::InstanceStop => "instance.stop",
            Self::InstanceRestart => "instance.restart",
            Self::InstancePause => "instance.pause",
            Self::InstanceResume => "instance.resume",
            Self::NodeRegister => "node.register",
            Self::NodeUpdate => "node.update",
            Self::NodeDeregister => "node.deregister",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationPhase {
    /// Recorded, not begun.
    Pending,
    /// Somebody works on it.
    Running,
    /// Done.
    Succeeded,
    /// Given up; the error says why.
    Failed,
    /// Stopped because its caller, or a newer call, asked for it.
    Cancelled,
}

impl OperationPhase {
    /// Whether nothing will change any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// What an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// An instance.
    Instance(InstanceId),
    /// A node.
    Node(NodeId),
}

/// One accepted mutating call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What was asked for.
    pub kind: OperationKind,
    /// What it works on.
    pub target: Target,
    /// The target's name when the call was made.
    pub target_name: Name,
    /// The target's project.
    pub project: Name,
    /// How far it is.
    pub phase: OperationPhase,
    /// 0 to 100.
    pub progress_percent: u8,
    /// The present step, for people.
    pub message: String,
    /// Why it failed.
    pub error: Option<Error>,
    /// Who asked.
    pub principal: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Whether somebody wants it stopped.
    pub cancel_requested: bool,
    /// The target's generation that it waits to see observed.
    pub target_generation: u64,
    /// The restart serial that it waits to see observed.
    pub target_restart_serial: u64,
    /// What was reached.
    pub steps: Vec<(Timestamp, String)>,
}

impl Operation {
    /// Notes a step, once, and makes it the present message. Says whether anything changed.
    pub fn step(&mut self, now: Timestamp, progress_percent: u8, message: impl Into<String>) -> bool {
        let message = message.into();
        if self.phase.is_final() || (self.message == message && self.phase == OperationPhase::Running) {
            return false;
        }
        self.phase = OperationPhase::Running;
        self.progress_percent = self.progress_percent.max(progress_percent.min(99));
        self.steps.push((now, message.clone()));
        if self.steps.len() > MAX_STEPS {
            self.steps.remove(0);
        }
        self.message = message;
        true
    }

    /// Ends the operation; an operation ends once. Says whether this was it.
    pub fn end(
        &mut self,
        now: Timestamp,
        phase: OperationPhase,
        message: impl Into<String>,
        error: Option<Error>,
    ) -> bool {
        if self.phase.is_final() || !phase.is_final() {
            return false;
        }
        self.phase = phase;
        self.ended_at = Some(now);
        self.message = message.into();
        self.error = error;
        if phase == OperationPhase::Succeeded {
            self.progress_percent = 100;
        }
        true
    }
}
