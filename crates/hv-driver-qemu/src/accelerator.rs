//! Which accelerator guests get: decided once. A host that is too busy to show whether its KVM works is asked again, by one probe at
//! a time and not all the time; meanwhile guests whose processor could have KVM wait, for one that starts without stays slow.

use crate::error;
use hv_driver::{DriverError, DriverErrorKind};
use hv_runtime::{clock, tasks::blocking};
use qemu::{
    Accelerator,
    accel::{self, Choice, Decision, Device, Facts},
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::OnceCell;

/// How long an answer for now is given before the host is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The decision of a driver.
pub(crate) struct Chooser {
    choice: Choice,
    gather: Arc<dyn Fn() -> Facts + Send + Sync>,
    settled: OnceCell<Chosen>,
    for_now: Mutex<Option<(Duration, Result<Chosen, DriverError>)>>,
}

/// What was decided.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// The accelerator, and why.
    pub(crate) decision: Decision,
    /// Whether guests may start by it. Not while the processor has what KVM needs and the host has yet to show that it works.
    settled: bool,
}

impl Chosen {
    /// The accelerator of a guest that starts now.
    pub(crate) fn for_start(self) -> Result<Decision, DriverError> {
        if self.settled {
            return Ok(self.decision);
        }
        let message = format!(
            "{}; a guest that starts without KVM would stay slow: it starts when that is known, or at once where the agent's settings \
             say `qemu.accel = \"tcg\"`",
            self.decision.reason
        );
        Err(DriverError::new(DriverErrorKind::Unresponsive, "start", message))
    }
}

impl Chooser {
    /// Facts are remembered in `cache` until the host reboots.
    pub(crate) fn new(choice: Choice, cache: PathBuf) -> Self {
        Self::with(choice, move || accel::cached_facts(&cache, accel::Limits::default()))
    }

    fn with(choice: Choice, gather: impl Fn() -> Facts + Send + Sync + 'static) -> Self {
        Self { choice, gather: Arc::new(gather), settled: OnceCell::new(), for_now: Mutex::default() }
    }

    /// The decision; `may_open` says whether guests, as the users that they run as, may open /dev/kvm.
    pub(crate) async fn choose(
        &self,
        operation: &'static str,
        may_open: impl Fn() -> bool,
    ) -> Result<Chosen, DriverError> {
        enum Unsettled {
            Error(DriverError),
            ForNow(Result<Chosen, DriverError>),
        }
        let settled = |decision| Chosen { decision, settled: true };
        let settle = || async {
            if self.choice == Choice::Tcg {
                let reason = "tcg was demanded".to_owned();
                return Ok(settled(Decision { accelerator: Accelerator::Tcg, reason }));
            }
            if let Some(kept) = self.kept() {
                return Err(Unsettled::ForNow(kept));
            }
            let gather = self.gather.clone();
            let mut facts = blocking(move || gather()).await;
            let decide = |facts: &Facts| {
                accel::decide(self.choice, facts).map_err(|error| error::kvm(operation, &error))
            };
            if !facts.is_conclusive() {
                let answer = match decide(&facts) {
                    // Without the processor's part it is TCG whatever KVM shows.
                    Ok(decision) => Ok(Chosen { decision, settled: !facts.cpu_flag }),
                    Err(error) => {
                        Err(DriverError::new(DriverErrorKind::Unresponsive, operation, error.message))
                    }
                };
                let mut for_now = self.for_now.lock().unwrap_or_else(PoisonError::into_inner);
                *for_now = Some((clock::since_boot(), answer.clone()));
                return Err(Unsettled::ForNow(answer));
            }
            let decision = decide(&facts).map_err(Unsettled::Error)?;
            // What KVM itself cannot do is the better reason: its mode only matters where it works.
            if decision.accelerator == Accelerator::Kvm && !may_open() {
                let why = "guests run as a user of their own, to whom its mode gives no access";
                facts.device = Device::NotOpenable(why.to_owned());
                return decide(&facts).map(settled).map_err(Unsettled::Error);
            }
            Ok(settled(decision))
        };
        match self.settled.get_or_try_init(settle).await {
            Ok(chosen) => Ok(chosen.clone()),
            Err(Unsettled::ForNow(answer)) => answer,
            Err(Unsettled::Error(error)) => Err(error),
        }
    }

    /// An answer that was given a short while ago: those who waited for the same probe do not run their own.
    fn kept(&self) -> Option<Result<Chosen, DriverError>> {
        let for_now = self.for_now.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = for_now.as_ref()?;
        (clock::since_boot().saturating_sub(*at) < ASK_AGAIN_AFTER).then(|| answer.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accel::{Limit, Probe, Stage};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn facts(cpu_flag: bool, probe: Probe) -> Facts {
        Facts { cpu_flag, device: Device::Openable, probe: Some(probe), remembered: None }
    }

    fn too_busy() -> Probe {
        Probe::TooSlow { stage: Stage::Loop, limit: Limit::Clock(Duration::from_secs(1)) }
    }

    #[tokio::test]
    async fn while_a_host_is_too_busy_to_show_its_kvm_guests_wait_and_one_probe_serves_all() {
        let probes = Arc::new(AtomicUsize::new(0));
        let count = probes.clone();
        let chooser = Chooser::with(Choice::Auto, move || {
            count.fetch_add(1, Ordering::Relaxed);
            facts(true, too_busy())
        });
        for _ in 0..3 {
            let chosen = chooser.choose("start", || true).await.unwrap();
            assert_eq!(chosen.decision.accelerator, Accelerator::Tcg, "what is reported for now");
            let error = chosen.for_start().unwrap_err();
            assert_eq!(error.permanence, hv_driver::Permanence::Temporary);
            assert!(error.message.contains("qemu.accel"), "{error}");
        }
        assert_eq!(probes.load(Ordering::Relaxed), 1);
        // Its time is over, and the host has come to rest.
        chooser.for_now.lock().unwrap().take();
        let rested = Chooser { gather: Arc::new(|| facts(true, Probe::Passed)), ..chooser };
        let chosen = rested.choose("start", || true).await.unwrap();
        assert_eq!(chosen.for_start().unwrap().accelerator, Accelerator::Kvm);
    }

    #[tokio::test]
    async fn a_processor_without_hardware_waits_for_nothing_and_demanded_kvm_is_tried_again() {
        let busy = |cpu_flag| move || facts(cpu_flag, too_busy());
        let chosen = Chooser::with(Choice::Auto, busy(false)).choose("start", || true).await.unwrap();
        assert_eq!(chosen.for_start().unwrap().accelerator, Accelerator::Tcg);
        let demanded = Chooser::with(Choice::Kvm, busy(true)).choose("start", || true).await.unwrap_err();
        assert_eq!(demanded.permanence, hv_driver::Permanence::Temporary);
    }

    #[tokio::test]
    async fn kvm_that_guests_may_not_open_is_none() {
        let works = || facts(true, Probe::Passed);
        let chosen = Chooser::with(Choice::Auto, works).choose("start", || false).await.unwrap();
        let decision = chosen.for_start().unwrap();
        assert_eq!(decision.accelerator, Accelerator::Tcg);
        assert!(decision.reason.contains("no access"), "{}", decision.reason);
    }
}
