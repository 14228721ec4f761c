//! The server's side of one agent's stream: numbering, duplicates, gaps.

use hv_api::v1;

/// Frames are missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame {got} came after {last}: frames were lost")]
pub(super) struct Gap {
    last: u64,
    got: u64,
}

/// Counters of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    sent: u64,
    received: u64,
}

impl Link {
    /// The number of the newest frame that came.
    #[cfg(test)]
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Numbers a frame.
    pub(super) fn frame(&mut self, message: v1::server_message::Message) -> v1::ServerMessage {
        self.sent += 1;
        v1::ServerMessage { sequence: self.sent, message: Some(message) }
    }

    /// Takes a frame: `None` for one that was taken before.
    pub(super) fn receive(
        &mut self,
        frame: v1::AgentMessage,
    ) -> Result<Option<v1::agent_message::Message>, Gap> {
        if frame.sequence <= self.received {
            return Ok(None);
        }
        if frame.sequence != self.received + 1 {
            return Err(Gap { last: self.received, got: frame.sequence });
        }
        self.received = frame.sequence;
        Ok(frame.message)
    }
}
