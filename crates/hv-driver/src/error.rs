//! Errors of drivers.

use std::collections::BTreeMap;
use std::fmt;

/// What a driver's error means to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DriverErrorKind {
    /// The specification cannot be made anywhere.
    Invalid,
    /// Something that the specification names does not exist on this node.
    Missing,
    /// There is no such instance, or no guest of it.
    NotFound,
    /// Something else holds what it needs: a port, a disk lock, an interface.
    Conflict,
    /// The disk is full, or memory is short.
    NoSpace,
    /// The guest or its monitor does not answer.
    Unresponsive,
    /// The driver cannot do this.
    Unsupported,
    /// Anything else.
    Failed,
}

/// Whether trying again may help. The retry layer reads this and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permanence {
    /// The same call may succeed later.
    Temporary,
    /// It will not, unless somebody changes something.
    Permanent,
}

/// Why a driver could not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverError {
    /// What it means.
    pub kind: DriverErrorKind,
    /// Whether trying again may help.
    pub permanence: Permanence,
    /// What the driver was doing, such as `start`.
    pub operation: &'static str,
    /// What went wrong, for people; the cause's own words included.
    pub message: String,
    /// More for operators.
    pub context: BTreeMap<&'static str, String>,
}

impl DriverError {
    /// An error with the permanence that its kind usually has.
    pub fn new(kind: DriverErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        let permanence = match kind {
            DriverErrorKind::Invalid
            | DriverErrorKind::Missing
            | DriverErrorKind::NotFound
            | DriverErrorKind::Unsupported => Permanence::Permanent,
            DriverErrorKind::Conflict
            | DriverErrorKind::NoSpace
            | DriverErrorKind::Unresponsive
            | DriverErrorKind::Failed => Permanence::Temporary,
        };
        Self { kind, permanence, operation, message: message.into(), context: BTreeMap::new() }
    }

    /// Adds a fact for operators.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.context.insert(key, value.to_string());
        self
    }

    /// Marks an error that trying again does not mend.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.permanence = Permanence::Permanent;
        self
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DriverError {}
