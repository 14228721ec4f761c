//! What a back-end says on its channel.

use super::{Trouble, failed};
use crate::frontend::{Asked, Channel, ChannelError};
use crate::socket::SocketError;
use std::time::Duration;

/// What it says next, within so long; `None`: nothing. Who waits for an acknowledgement has it.
pub(super) fn heard(channel: &mut Channel, time: Duration) -> Result<Option<Asked>, Trouble> {
    let asked = match channel.next(time) {
        Ok(asked) => asked,
        Err(ChannelError::Socket(SocketError::TimedOut)) => return Ok(None),
        Err(error) => {
            return failed(format!("what it says on its channel: {}", crate::with_causes(&error)));
        }
    };
    if asked.waits {
        channel
            .answer(&asked.request, 0, &[])
            .map_err(|error| Trouble::Failed(crate::with_causes(&error)))?;
    }
    Ok(Some(asked))
}
