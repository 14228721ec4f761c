//! The drivers of this agent, made from its settings.

use crate::StartError;
use crate::config::AgentConfig;
use hv_driver::Driver;
use hv_driver_qemu::{Accel, Config, QemuDriver};
use hv_runtime::tasks::Tasks;
use std::sync::Arc;
use std::time::Duration;

/// The QEMU driver with the tasks that watch its guests: they end after the agent's own, which still need them.
pub struct Qemu {
    /// The driver.
    pub driver: Arc<dyn Driver>,
    tasks: Tasks,
}

impl Qemu {
    /// Makes the driver. That QEMU is missing is no error here: the node's report says so, with what to install.
    pub fn new(config: &AgentConfig) -> Result<Self, StartError> {
        let settings = &config.qemu;
        let accel = match settings.accel.as_str() {
            "auto" => Accel::Auto,
            "kvm" => Accel::Kvm,
            "tcg" => Accel::Tcg,
            other => {
                return Err(StartError::Config(format!("qemu.accel `{other}` is none of auto, kvm and tcg")));
            }
        };
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let driver = Config {
            accel,
            binary: some(&settings.binary).map(Into::into),
            user: some(&settings.user),
            ..Config::new(&config.state_dir)
        };
        let tasks = Tasks::new();
        let driver = QemuDriver::new(driver, tasks.clone())
            .map_err(|source| StartError::StateDir { path: config.state_dir.clone(), source })?;
        Ok(Self { driver: Arc::new(driver), tasks })
    }

    /// Stops watching; guests run on.
    pub async fn drain(self, deadline: Duration) {
        drop(self.driver);
        if let Err(error) = self.tasks.drain(deadline).await {
            tracing::warn!(%error, "tasks of the QEMU driver did not end");
        }
    }
}
