//! File systems that stand still, for a snapshot, and always thaw again.

use super::{
    Agent, AgentError,
    commands::{Command, FreezeStatus, FsfreezeFreeze, FsfreezeFreezeList, FsfreezeStatus, FsfreezeThaw},
    driver::Input,
};
use crate::{session::CallId, wire::Object as _};
use serde_json::Map;
use std::time::Duration;

/// The guest's file systems are frozen. They are thawed by [`Frozen::thaw`], when this is dropped, and when the limit of the freeze
/// has passed; thawing is repeated until the agent has confirmed it, also when every [`Agent`] is gone.
#[derive(Debug)]
pub struct Frozen {
    agent: Agent,
    /// The call that froze: it tells this freeze from others.
    freeze: CallId,
    count: u64,
    held: bool,
}

impl Frozen {
    /// How many file systems are frozen. None means that nothing protects what is done now.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Thaws; answers how many file systems were.
    ///
    /// # Errors
    /// [`AgentError::FreezeOver`] when they had been thawed before: what was done meanwhile is not consistent. After other errors it
    /// goes on being tried.
    pub async fn thaw(mut self) -> Result<u64, AgentError> {
        self.held = false;
        let freeze = self.freeze;
        let count =
            self.agent.ask(FsfreezeThaw::FACTS, None, |reply| Input::Thaw { freeze, reply: Some(reply) });
        Ok(count.await?.as_u64().unwrap_or_default())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if self.held {
            // With the connection the channel is gone; whoever connects next thaws the guest ([`super::Leftovers::Thaw`]).
            let _ = self.agent.calls.send(Input::Thaw { freeze: self.freeze, reply: None });
        }
    }
}

impl Agent {
    /// Freezes file systems: all, or those at some mount points. Until they thaw, all commands that could wait for them are refused
    /// here ([`AgentError::Frozen`]). After `limit` they thaw by themselves, since a guest that cannot write is a guest that hangs.
    ///
    /// A call that is dropped or fails after it was sent has them thawed as well.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn freeze(
        &self,
        mountpoints: Option<Vec<String>>,
        limit: Duration,
    ) -> Result<Frozen, AgentError> {
        let id = self.shared.new_id();
        let mut arguments = Map::new();
        let facts = match mountpoints {
            None => FsfreezeFreeze::FACTS,
            Some(_) => {
                FsfreezeFreezeList { mountpoints }.put(&mut arguments);
                FsfreezeFreezeList::FACTS
            }
        };
        let freeze = |reply| Input::Freeze { id, facts, arguments, limit, reply };
        let count = self.ask(facts, Some(id), freeze).await?;
        Ok(Frozen { agent: self.clone(), freeze: id, count: count.as_u64().unwrap_or_default(), held: true })
    }

    /// Thaws what an earlier connection left frozen, if it did; answers how many file systems. For whoever takes a guest over.
    ///
    /// # Errors
    /// [`AgentError`]; [`AgentError::Frozen`] when it is this connection that has frozen them.
    pub async fn thaw_leftover(&self) -> Result<u64, AgentError> {
        match self.call(&FsfreezeStatus {}).await? {
            FreezeStatus::Thawed => Ok(0),
            FreezeStatus::Frozen | FreezeStatus::Unknown(_) => {
                Ok(u64::try_from(self.call_unguarded(&FsfreezeThaw {}).await?).unwrap_or_default())
            }
        }
    }
}
