//! A guest that sleeps (ACPI S3, [`RunState::Suspended`]).

use crate::Vm;
use qmp::{
    CallError,
    commands::{QueryStatus, QueryVersion, RunState, SystemWakeup},
};

impl Vm {
    /// Wakes a guest that sleeps, and waits until its machine is reset and its CPUs begin anew. [`Vm::status`] is newer than that on return.
    ///
    /// # Errors
    /// [`CallError`], as of [`Vm::reset`]; refused for a guest that does not sleep, and by a machine that cannot wake one
    /// (`query-current-machine`).
    pub async fn wake(&self) -> Result<(), CallError> {
        // QEMU announces it from its main loop, after the machine is reset.
        self.done_when(&SystemWakeup {}, |event| event.name == "WAKEUP").await
    }

    /// Wakes a guest that sleeps, for which a button that is pressed is nothing; one that cannot be woken is seen by what does not happen.
    pub(in crate::vm) async fn stirs(&self) {
        if self.status().run_state == RunState::Suspended {
            // It may have woken by itself.
            if self.wake().await.is_err() {
                let _ = self.read_again().await;
            }
        }
    }

    /// Wakes a guest that sleeps before its state is sent, saved or replaced, where QEMU does not keep with a state that its guest sleeps (before
    /// 9.0, which has `vm_was_suspended` in its global state). Such a QEMU wakes the guest itself while it sends it, and may send the CPUs
    /// before their reset (`migration_completion`): they arrive halted, in a machine that counts as running and that nothing wakes any more.
    /// What is saved inside an image of a guest that sleeps is no better, and what is loaded into one is reset with the next wake.
    ///
    /// # Errors
    /// [`CallError`] of one that sleeps on.
    pub(in crate::vm) async fn wakes_for_its_state(&self) -> Result<(), CallError> {
        if !self.sleeps().await? {
            return Ok(());
        }
        // No command or event tells it.
        if self.qmp().call(&QueryVersion {}).await?.qemu.major >= 9 {
            return Ok(());
        }
        self.wakes().await
    }

    /// Wakes a guest if it sleeps.
    ///
    /// # Errors
    /// [`CallError`] of one that sleeps on.
    pub(in crate::vm) async fn wakes(&self) -> Result<(), CallError> {
        if !self.sleeps().await? {
            return Ok(());
        }
        match self.wake().await {
            // It may have woken by itself.
            Err(error) if self.sleeps().await? => Err(error),
            _ => Ok(()),
        }
    }

    async fn sleeps(&self) -> Result<bool, CallError> {
        Ok(self.qmp().call(&QueryStatus {}).await?.status == RunState::Suspended)
    }
}

pub(super) const AWAKE: &str = "have the guest awake for its state";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::supervisor::tests::{answer_in, answer_to, event, known_as, state, with};
    use serde_json::json;
    use tokio::{io::AsyncWriteExt, task::JoinSet};

    /// QEMU before 9.0 says yes, and has it run as soon as it wakes.
    #[tokio::test]
    async fn a_guest_that_is_not_known_to_sleep_is_woken_to_be_paused() {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, mut reader, mut writer) = known_as("running", directory.path(), &mut tasks).await;
        let monitor = async {
            answer_to("stop", &mut reader, &mut writer, json!({})).await;
            answer_in("suspended", "system_wakeup", &mut reader, &mut writer).await;
            writer.write_all(event("WAKEUP", json!({})).as_bytes()).await.unwrap();
            answer_in("running", "stop", &mut reader, &mut writer).await;
            answer_to("query-status", &mut reader, &mut writer, state("paused")).await;
        };
        with(vm.pause(), monitor).await.unwrap();
        assert_eq!(vm.status().run_state, RunState::Paused);
    }

    #[tokio::test]
    async fn a_guest_that_falls_asleep_just_before_it_is_reset_runs_after_it() {
        let (directory, mut tasks) = (tempfile::tempdir().unwrap(), JoinSet::new());
        let (vm, mut reader, mut writer) = known_as("running", directory.path(), &mut tasks).await;
        let monitor = async {
            answer_to("query-status", &mut reader, &mut writer, state("running")).await;
            writer.write_all(event("SUSPEND", json!({})).as_bytes()).await.unwrap();
            answer_in("suspended", "system_reset", &mut reader, &mut writer).await;
            let reset = event("RESET", json!({"guest": false, "reason": "host-qmp-system-reset"}));
            writer.write_all(reset.as_bytes()).await.unwrap();
            answer_in("prelaunch", "cont", &mut reader, &mut writer).await;
            answer_to("query-status", &mut reader, &mut writer, state("running")).await;
        };
        with(vm.reset(), monitor).await.unwrap();
        assert_eq!(vm.status().run_state, RunState::Running);
    }
}
