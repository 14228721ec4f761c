//! A guest that sleeps (ACPI S3, [`RunState::Suspended`]).

use super::{
    Vm,
    ops::{OperationError, undone},
};
use qmp::{
    CallError,
    commands::{QueryVersion, RunState, SystemWakeup},
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
    pub(super) async fn stirs(&self) {
        if self.status().run_state == RunState::Suspended {
            // It may have woken by itself.
            if self.wake().await.is_err() {
                let _ = self.read_again().await;
            }
        }
    }

    /// Wakes a guest that sleeps before its state is sent, saved or replaced, where QEMU does not keep with a state that its guest sleeps (before
    /// 9.0: `vm_was_suspended` of its global state). It wakes the guest itself while it sends it, and mostly sends the CPUs before they are
    /// reset (`migration_completion`): they arrive halted, in a machine that counts as running and that nothing wakes any more. A snapshot of a
    /// guest that sleeps ends in the same, and a snapshot that is loaded into one is reset with the next wake.
    ///
    /// # Errors
    /// [`OperationError`] of one that sleeps on.
    pub(super) async fn wakes_for_its_state(&self) -> Result<(), OperationError> {
        let awake = async {
            if self.read_again().await?.run_state != RunState::Suspended {
                return Ok(());
            }
            // No command or event tells it.
            if self.qmp().call(&QueryVersion {}).await?.qemu.major >= 9 {
                return Ok(());
            }
            match self.wake().await {
                // It may have woken by itself.
                Err(error) if self.read_again().await?.run_state == RunState::Suspended => Err(error),
                _ => Ok(()),
            }
        };
        awake.await.map_err(undone("wake the guest"))
    }
}
