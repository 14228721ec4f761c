//! Errors as gRPC statuses: the one mapping, both ways. The [`v1::ErrorInfo`] rides in the status details.

use crate::convert::{error_from, error_to};
use crate::v1;
use hv_core::{Error, ErrorKind};
use prost::Message;
use tonic::{Code, Status};

/// The code of an error kind.
pub const fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Expired => Code::OutOfRange,
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Internal => Code::Internal,
    }
}

/// An error as a status.
pub fn to_status(error: &Error) -> Status {
    Status::with_details(code(error.kind), error.message.clone(), error_to(error).encode_to_vec().into())
}

/// A status as an error; one that another program made has no details, and keeps code and message.
pub fn from_status(status: &Status) -> Error {
    if let Ok(info) = v1::ErrorInfo::decode(status.details())
        && !info.reason.is_empty()
    {
        return error_from(&info, status.message());
    }
    let kind = match status.code() {
        Code::InvalidArgument => ErrorKind::Invalid,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::FailedPrecondition => ErrorKind::FailedPrecondition,
        Code::Aborted => ErrorKind::Conflict,
        Code::OutOfRange => ErrorKind::Expired,
        Code::ResourceExhausted => ErrorKind::Exhausted,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::DeadlineExceeded | Code::Cancelled => ErrorKind::Timeout,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => ErrorKind::Internal,
    };
    Error::new(kind, status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_wire() {
        let error =
            Error::invalid("spec.cpus", "0 is not between 1 and 256").with_uid("u").with_hint("use 1");
        let status = to_status(&error);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(from_status(&status), error);
        assert_eq!(from_status(&Status::unavailable("gone")).kind, ErrorKind::Unavailable);
    }
}
