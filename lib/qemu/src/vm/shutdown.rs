//! Ending a machine, from the friendliest way to the surest.
//!
//! ```text
//!  button --> agent --> quit --> SIGTERM --> SIGKILL
//!    guest's own doing    '------- '-- the guest is not asked; each rung has a deadline of its own, the last one, too: the kernel may hold
//!                                      a process that waits for a disk
//! ```

use super::{ENDS, Exit, Powerdown, Vm};
use qmp::{
    CallError,
    commands::{Quit, RunState, SystemPowerdown},
};
use rustix::process::Signal;
use std::{convert::Infallible, fmt, future::Future, io, pin::Pin, time::Duration};
use tokio::sync::RwLockReadGuard;

/// Asks the guest by another way, usually its agent ([`by_agent`]); its outcome is seen by the guest's reaction.
pub type Ask<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Has the guest's agent power it off.
#[must_use]
pub fn by_agent(agent: &qmp::agent::Agent) -> Ask<'static> {
    let agent = agent.clone();
    Box::pin(async move {
        // The guest may be quicker than its agent's answer, and one that refuses is seen by what does not happen.
        let _ = agent.call(&qmp::agent::commands::Shutdown { mode: None }).await;
    })
}

/// How long each way of ending a machine may take before the next is tried; a rung with no time is left out.
pub struct Ladder<'a> {
    /// For the guest to power itself off after its button was pressed, which is pressed again every few seconds: one that is booting does not
    /// hear it. One that sleeps is woken for it and for its agent; both are left out for a guest that stands.
    pub button: Duration,
    /// What asks the guest once more, and how long it may take then.
    pub agent: Option<(Ask<'a>, Duration)>,
    /// For QEMU to flush its disks and end.
    pub quit: Duration,
    /// The same after a signal, for one that does not read its monitor; all in all, as the rung before: an image that is being made is waited
    /// for for half of it.
    pub terminate: Duration,
    /// For the kernel to let go of a process that was killed; never left out.
    pub kill: Duration,
}

impl fmt::Debug for Ladder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agent = self.agent.as_ref().map(|(_, wait)| wait);
        let Self { button, quit, terminate, kill, .. } = self;
        f.debug_struct("Ladder")
            .field("button", button)
            .field("agent", &agent)
            .field("quit", quit)
            .field("terminate", terminate)
            .field("kill", kill)
            .finish()
    }
}

impl Default for Ladder<'_> {
    /// A minute for the guest, no agent, ten seconds for QEMU, five more after a signal, half a minute for the kernel.
    fn default() -> Self {
        Self {
            button: Duration::from_secs(60),
            agent: None,
            quit: Duration::from_secs(10),
            terminate: Duration::from_secs(5),
            kill: ENDS,
        }
    }
}

/// What ended a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// The guest, after its button.
    Button,
    /// The guest, after its agent was asked.
    Agent,
    /// QEMU, asked through its monitor.
    Quit,
    /// QEMU, after SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

impl Vm {
    /// Ends the machine by the first rung that does, and says which. Always ends it, however it fares: a rung that fails is a
    /// reason for the next one.
    ///
    /// # Errors
    /// Missing rights to send a signal; [`crate::process::Held`] as of [`Vm::kill`].
    pub async fn shutdown(&self, ladder: Ladder<'_>) -> io::Result<(Rung, Exit)> {
        let Ladder { button, agent, quit, terminate, kill } = ladder;
        let mut by = Rung::Quit;
        if !button.is_zero() && self.heeds(button, self.pressed(), self.keeps_pressing()).await {
            by = Rung::Button;
        } else if let Some((ask, wait)) = agent {
            let asked = async {
                ask.await;
                true
            };
            if self.heeds(wait, asked, std::future::pending()).await {
                by = Rung::Agent;
            }
        }
        // A guest that is off leaves its process for us to end.
        if let Some(exit) = self.quits(quit).await {
            self.left.removed().await;
            return Ok((by, exit));
        }
        self.ended_by_signal(terminate, kill, by).await
    }

    /// Asks QEMU to end; on the next connection, too, where one has just broken. `None` when it has not ended in time, or refused.
    pub(super) async fn quits(&self, within: Duration) -> Option<Exit> {
        let asked = async {
            let _none_is_made = self.no_image_is_made(within / 2).await;
            let mut clients = self.client.clone();
            loop {
                let client = clients.borrow_and_update().clone();
                match client.with_deadline(Some(within)).call(&Quit {}).await {
                    Err(CallError::Closed { .. }) => {}
                    Err(CallError::Refused { .. } | CallError::Deadline { .. }) => return None,
                    // Whatever it answered, it has heard.
                    Ok(_) | Err(_) => return Some(self.process.exited().await),
                }
                // Cancel safety: neither loses anything when dropped.
                tokio::select! {
                    biased;
                    exit = self.process.exited() => return Some(exit),
                    opened = clients.changed() => if opened.is_err() { return None },
                }
            }
        };
        tokio::time::timeout(within, asked).await.ok().flatten()
    }

    /// Ends the process by SIGTERM, at which QEMU flushes its disks, or by SIGKILL when that is not heeded in time.
    pub(super) async fn ended_by_signal(
        &self,
        terminate: Duration,
        kill: Duration,
        by: Rung,
    ) -> io::Result<(Rung, Exit)> {
        let is_stopped = matches!(self.process.state(), Some('T' | 't'));
        if !terminate.is_zero() && !is_stopped {
            let ends = async {
                let _none_is_made = self.no_image_is_made(terminate / 2).await;
                // One that cannot be sent is no reason to stop here.
                if let Err(error) = self.process.signal(Signal::TERM) {
                    tracing::debug!(%error, "cannot ask the process to end");
                }
                self.process.exited().await
            };
            if let Ok(exit) = tokio::time::timeout(terminate, ends).await {
                self.left.removed().await;
                return Ok((by.max(Rung::Terminate), exit));
            }
        }
        let exit = self.process.killed(kill).await?;
        self.left.removed().await;
        Ok((by.max(Rung::Kill), exit))
    }

    /// Waits until no job makes an image, in whose middle QEMU 7.2 ends by an assertion or not at all (`bdrv_do_drained_begin_quiesce:
    /// Assertion '!qemu_in_coroutine()' failed`, block/io.c), and keeps the next from beginning. One that takes longer is not waited for:
    /// half of a rung's time is the process's in any case.
    async fn no_image_is_made(&self, within: Duration) -> Option<RwLockReadGuard<'_, ()>> {
        tokio::time::timeout(within, self.images.read()).await.ok()
    }

    /// Presses the power button; on the next connection, too, where one has just broken. Whether there is anything to wait for: QEMU may have
    /// refused.
    async fn pressed(&self) -> bool {
        self.stirs().await;
        let mut clients = self.client.clone();
        loop {
            let client = clients.borrow_and_update().clone();
            match client.call(&SystemPowerdown {}).await {
                Err(CallError::Closed { .. }) => {}
                Err(CallError::Refused { .. }) => return false,
                // Late or not understood, an answer says that it has heard, or will.
                Ok(_) | Err(_) => return true,
            }
            if clients.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Presses the power button every few seconds, until dropped, for who has pressed it and does not wait: a guest that is booting does not hear
    /// it, and one that is going off by now does not mind.
    pub async fn keeps_pressing(&self) -> Infallible {
        loop {
            tokio::time::sleep(PRESS_AGAIN).await;
            self.pressed().await;
        }
    }

    /// Whether the guest can do something about it: it runs, or does now.
    async fn can_heed(&self) -> bool {
        // One that is known to stand may have been let go in the meantime.
        if self.status().run_state != RunState::Running && self.read_again().await.is_err() {
            return false;
        }
        self.stirs().await;
        self.status().run_state == RunState::Running
    }

    /// Whether a guest that can is off in time after it was asked, and meanwhile `again`.
    async fn heeds(
        &self,
        wait: Duration,
        ask: impl Future<Output = bool>,
        again: impl Future<Output = Infallible>,
    ) -> bool {
        let asked = async {
            if !self.can_heed().await {
                return false;
            }
            let off = self.off(wait);
            tokio::pin!(off);
            // A guest that goes off may not answer any more. Cancel safety: all are kept, or of no more interest.
            let off = tokio::select! {
                off = &mut off => off,
                asked = ask => {
                    // One that cannot be asked is not waited for.
                    if !asked {
                        return false;
                    }
                    tokio::select! {
                        off = &mut off => off,
                        never = again => match never {},
                    }
                }
            };
            matches!(off, Powerdown::Off(_) | Powerdown::Exited(_))
        };
        tokio::time::timeout(wait, asked).await.unwrap_or(false)
    }
}

/// A guest needs some seconds from its first instruction to its driver of the button.
const PRESS_AGAIN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::supervisor::tests::{Reader, Writer, answer_in, answer_to, event, known_as, state, with};
    use serde_json::json;
    use tokio::{io::AsyncWriteExt, task::JoinSet};

    const LONG: Duration = Duration::from_secs(60);

    async fn is_off(reader: &mut Reader, writer: &mut Writer) {
        let off = event("SHUTDOWN", json!({"guest": true, "reason": "guest-shutdown"}));
        writer.write_all(off.as_bytes()).await.unwrap();
        answer_to("query-status", reader, writer, state("shutdown")).await;
    }

    #[tokio::test]
    async fn a_guest_that_was_let_go_unseen_has_its_button_pressed() {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, mut reader, mut writer) = known_as("paused", directory.path(), &mut tasks).await;
        let monitor = async {
            answer_to("query-status", &mut reader, &mut writer, state("running")).await;
            answer_to("system_powerdown", &mut reader, &mut writer, json!({})).await;
            is_off(&mut reader, &mut writer).await;
        };
        assert!(with(vm.heeds(LONG, vm.pressed(), vm.keeps_pressing()), monitor).await);
    }

    #[tokio::test]
    async fn a_guest_that_stands_is_not_asked() {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, mut reader, mut writer) = known_as("paused", directory.path(), &mut tasks).await;
        let monitor = answer_to("query-status", &mut reader, &mut writer, state("paused"));
        assert!(!with(vm.heeds(LONG, vm.pressed(), vm.keeps_pressing()), monitor).await);
    }

    #[tokio::test]
    async fn a_guest_that_falls_asleep_instead_is_woken_for_the_next_press() {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, mut reader, mut writer) = known_as("running", directory.path(), &mut tasks).await;
        let monitor = async {
            answer_to("system_powerdown", &mut reader, &mut writer, json!({})).await;
            writer.write_all(event("SUSPEND", json!({})).as_bytes()).await.unwrap();
            answer_to("query-status", &mut reader, &mut writer, state("suspended")).await;
            answer_to("system_wakeup", &mut reader, &mut writer, json!({})).await;
            writer.write_all(event("WAKEUP", json!({})).as_bytes()).await.unwrap();
            answer_in("running", "system_powerdown", &mut reader, &mut writer).await;
            is_off(&mut reader, &mut writer).await;
        };
        assert!(with(vm.heeds(LONG, vm.pressed(), vm.keeps_pressing()), monitor).await);
    }

    #[tokio::test]
    async fn a_guest_that_sleeps_is_woken_before_the_first_press() {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, mut reader, mut writer) = known_as("suspended", directory.path(), &mut tasks).await;
        let monitor = async {
            answer_to("system_wakeup", &mut reader, &mut writer, json!({})).await;
            writer.write_all(event("WAKEUP", json!({})).as_bytes()).await.unwrap();
            answer_in("running", "system_powerdown", &mut reader, &mut writer).await;
            is_off(&mut reader, &mut writer).await;
        };
        let off = with(vm.powerdown(LONG), monitor).await.unwrap();
        assert!(matches!(off, Powerdown::Off(_)), "{off:?}");
    }
}
