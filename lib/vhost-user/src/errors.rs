//! Errors as people read them.

use std::error::Error;

/// What happened, and what that came of: an error of ours says what it was doing, and has its cause as [`Error::source`].
///
/// ```
/// let refused = vhost_user::frontend::CallError::Socket {
///     request: "GET_FEATURES",
///     error: vhost_user::socket::SocketError::Closed,
/// };
/// assert_eq!(vhost_user::with_causes(&refused), "GET_FEATURES: the peer closed the connection");
/// ```
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
