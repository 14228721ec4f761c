//! What went wrong, in the terms a caller can act on.

use std::fmt;

/// What a caller can do about an error. One mapping leads to gRPC status codes (hv-api), one to exit codes (ctl).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A field of the request is wrong; the same request never succeeds.
    Invalid,
    /// There is no such object.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// Not in this state; something else has to be done first.
    FailedPrecondition,
    /// The object changed meanwhile, or an idempotency key was used for something else.
    Conflict,
    /// A resume token is too old or of another incarnation: list anew.
    Expired,
    /// There is no room.
    Exhausted,
    /// The caller is not known.
    Unauthenticated,
    /// The caller may not.
    PermissionDenied,
    /// The capability does not exist here, or not yet.
    Unsupported,
    /// A part of the system is away; the same request may succeed later.
    Unavailable,
    /// The caller's deadline passed.
    Timeout,
    /// A bug or damage on our side.
    Internal,
}

impl ErrorKind {
    /// Whether the same request may succeed later without any change.
    pub const fn retryable(self) -> bool {
        match self {
            Self::Unavailable | Self::Exhausted | Self::Timeout => true,
            Self::Invalid
            | Self::NotFound
            | Self::AlreadyExists
            | Self::FailedPrecondition
            | Self::Conflict
            | Self::Expired
            | Self::Unauthenticated
            | Self::PermissionDenied
            | Self::Unsupported
            | Self::Internal => false,
        }
    }

    /// The CamelCase word for programs.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::Conflict => "Conflict",
            Self::Expired => "Expired",
            Self::Exhausted => "Exhausted",
            Self::Unauthenticated => "Unauthenticated",
            Self::PermissionDenied => "PermissionDenied",
            Self::Unsupported => "Unsupported",
            Self::Unavailable => "Unavailable",
            Self::Timeout => "Timeout",
            Self::Internal => "Internal",
        }
    }
}

/// An error that crosses the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// What the caller can do.
    pub kind: ErrorKind,
    /// What was wrong, in one sentence.
    pub message: String,
    /// The request field at fault, as a path such as `spec.memory_bytes`.
    pub field: Option<String>,
    /// The object the error is about.
    pub uid: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Error {
    /// An error of a kind with its message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), field: None, uid: None, hint: None }
    }

    /// A wrong field: names it and says what is allowed.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(ErrorKind::Invalid, message) }
    }

    /// Adds the object.
    #[must_use]
    pub fn with_uid(mut self, uid: impl fmt::Display) -> Self {
        self.uid = Some(uid.to_string());
        self
    }

    /// Adds the next step.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}
