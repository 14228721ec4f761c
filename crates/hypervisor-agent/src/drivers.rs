//! The drivers of this agent, made from its settings.

use crate::StartError;
use crate::config::AgentConfig;
use hv_driver::Driver;
use hv_driver_qemu::{Accel, Cgroups, Config, QemuDriver};
use hv_runtime::tasks::Tasks;
use std::ops::RangeInclusive;
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
        let driver = driver_config(config)?;
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

/// The driver's settings, from the agent's.
fn driver_config(config: &AgentConfig) -> Result<Config, StartError> {
    let settings = &config.qemu;
    let accel = match settings.accel.as_str() {
        "auto" => Accel::Auto,
        "kvm" => Accel::Kvm,
        "tcg" => Accel::Tcg,
        other => {
            return Err(StartError::Config(format!("qemu.accel `{other}` is none of auto, kvm and tcg")));
        }
    };
    let cgroups = match settings.cgroups.as_str() {
        "auto" => Cgroups::Auto,
        "off" => Cgroups::Off,
        path if path.starts_with('/') => Cgroups::Below(path.into()),
        other => {
            let message = format!("qemu.cgroups `{other}` is none of auto, off and an absolute path");
            return Err(StartError::Config(message));
        }
    };
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    Ok(Config {
        accel,
        binary: some(&settings.binary).map(Into::into),
        user: some(&settings.user),
        uids: uid_range(&settings.uid_range)?,
        cgroups,
        allow_unconfined: settings.allow_unconfined,
        ..Config::new(&config.state_dir)
    })
}

/// `FIRST-LAST`. 0 is root, and the highest number is the kernel's word for "none".
fn uid_range(text: &str) -> Result<RangeInclusive<u32>, StartError> {
    let parse = || {
        let (first, last) = text.split_once('-')?;
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (0 < first && first <= last && last < u32::MAX).then_some(first..=last)
    };
    parse().ok_or_else(|| {
        StartError::Config(format!(
            "qemu.uid_range `{text}` is no range FIRST-LAST of user numbers between 1 and {}",
            u32::MAX - 1
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEYS;
    use hv_runtime::config::{Sources, load};

    fn from_environment(settings: &[(&str, &str)]) -> Result<Config, StartError> {
        let environment = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let sources = Sources { environment: environment.collect(), ..Sources::default() };
        let (config, _) = load::<AgentConfig>(KEYS, &sources).unwrap();
        driver_config(&config)
    }

    #[test]
    fn settings_reach_the_driver_and_nothing_is_unconfined_unless_that_was_said() {
        assert!(!from_environment(&[]).unwrap().allow_unconfined);
        let config = from_environment(&[
            ("HYPERVISOR_QEMU_ALLOW_UNCONFINED", "true"),
            ("HYPERVISOR_QEMU_USER", "guests"),
            ("HYPERVISOR_QEMU_BINARY", "/opt/qemu"),
            ("HYPERVISOR_QEMU_ACCEL", "tcg"),
        ])
        .unwrap();
        assert!(config.allow_unconfined);
        assert_eq!(config.user.as_deref(), Some("guests"));
        assert_eq!(config.binary.as_deref(), Some("/opt/qemu".as_ref()));
        assert_eq!(config.accel, Accel::Tcg);
        assert_eq!((config.uids, config.cgroups), (hv_driver_qemu::DEFAULT_UIDS, Cgroups::Auto));
        let config = from_environment(&[
            ("HYPERVISOR_QEMU_UID_RANGE", "7000-7999"),
            ("HYPERVISOR_QEMU_CGROUPS", "/sys/fs/cgroup/guests"),
        ])
        .unwrap();
        assert_eq!(
            (config.uids, config.cgroups),
            (7000..=7999, Cgroups::Below("/sys/fs/cgroup/guests".into()))
        );
        for wrong in ["", "7000", "0-5", "8-7", "1-4294967295", "a-b"] {
            assert!(from_environment(&[("HYPERVISOR_QEMU_UID_RANGE", wrong)]).is_err(), "{wrong}");
        }
        assert!(from_environment(&[("HYPERVISOR_QEMU_CGROUPS", "below")]).is_err());
        assert!(matches!(from_environment(&[("HYPERVISOR_QEMU_ACCEL", "xen")]), Err(StartError::Config(_))));
    }
}
