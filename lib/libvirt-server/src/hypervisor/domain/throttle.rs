//! Bounds and measures that only QEMU's driver has: groups of limits that disks share, thresholds of disks, the rate at which a guest
//! writes to its memory, how often its balloon tells, a secret for a guest whose memory is encrypted.

use super::{Hypervisor, Impact};
use crate::hypervisor::flags::exclusive;
use crate::hypervisor::{Refusal, Reply};
use crate::xml::Element;
use libvirt_protocol::enums::ErrorNumber;
use libvirt_protocol::flags::{DomainDirtyRateCalcFlags, DomainModificationImpact};
use libvirt_protocol::{parameters as names, remote};

impl Hypervisor {
    pub(crate) fn set_throttle_group(
        &mut self,
        args: remote::DomainSetThrottleGroupArgs<'_>,
    ) -> Reply<remote::DomainSetThrottleGroup> {
        let name = args.group.to_string();
        let mut group = Element::new("throttlegroup").child(Element::text("group_name", &name));
        for param in args.params.iter() {
            let Some(value) = param.value.as_u64() else {
                return Err(Refusal::argument(format!("parameter '{}' not supported", param.field)));
            };
            group.children.push(Element::text(&param.field.to_string(), value));
        }
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        domain.change(impact, |config| {
            config.drop_throttle_group(&name);
            config.throttle_groups().children.push(group.clone());
        });
        Ok(())
    }

    pub(crate) fn del_throttle_group(
        &mut self,
        args: remote::DomainDelThrottleGroupArgs<'_>,
    ) -> Reply<remote::DomainDelThrottleGroup> {
        let name = args.group.map(|group| group.to_string()).unwrap_or_default();
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(args.flags)?;
        let known = |impact: Impact| domain.asked(impact).has_throttle_group(&name);
        let missing = impact.live && !known(Impact { live: true, config: false })
            || impact.config && !known(Impact { live: false, config: true });
        if missing {
            return Err(Refusal::argument(format!(
                "throttlegroup '{name}' was not found in the domain config"
            )));
        }
        domain.change(impact, |config| config.drop_throttle_group(&name));
        Ok(())
    }

    pub(crate) fn set_block_threshold(
        &mut self,
        args: remote::DomainSetBlockThresholdArgs<'_>,
    ) -> Reply<remote::DomainSetBlockThreshold> {
        let device = args.dev.to_string();
        let domain = self.active_mut(&args.dom)?;
        if !domain.config.disks().any(|disk| disk == device) {
            return Err(Refusal::argument(format!("block device '{device}' not found")));
        }
        // 0 takes it away.
        match args.threshold {
            0 => domain.thresholds.remove(&device),
            threshold => domain.thresholds.insert(device, threshold),
        };
        Ok(())
    }

    pub(crate) fn set_launch_security_state(
        &mut self,
        args: remote::DomainSetLaunchSecurityStateArgs<'_>,
    ) -> Reply<remote::DomainSetLaunchSecurityState> {
        let domain = self.active(&args.dom)?;
        if !domain.config.others.iter().any(|element| element.name == "launchSecurity") {
            return Err(Refusal::invalid("setting a launch secret is only supported in SEV-enabled domains"));
        }
        let known = [
            names::DOMAIN_LAUNCH_SECURITY_SEV_SECRET,
            names::DOMAIN_LAUNCH_SECURITY_SEV_SECRET_HEADER,
            names::DOMAIN_LAUNCH_SECURITY_SEV_SECRET_SET_ADDRESS,
        ];
        let given = |name: &str| args.params.iter().any(|param| param.field == name);
        match args.params.iter().find(|param| !known.iter().any(|known| param.field == *known)) {
            Some(stranger) => Err(Refusal::argument(format!("parameter '{}' not supported", stranger.field))),
            None if !given(known[0]) || !given(known[1]) => {
                Err(Refusal::argument("Both secret and the secret header are required"))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn set_memory_stats_period(
        &mut self,
        args: remote::DomainSetMemoryStatsPeriodArgs<'_>,
    ) -> Reply<remote::DomainSetMemoryStatsPeriod> {
        if args.period < 0 {
            return Err(Refusal::argument("memory stats period must be 0 or more seconds"));
        }
        let domain = self.domain_mut(&args.dom)?;
        let impact = domain.impact(DomainModificationImpact::from_bits_retain(args.flags.bits()))?;
        let has = |device: &Element| device.name == "memballoon" && device.attribute("model") != Some("none");
        if !domain.config.devices.iter().any(has) {
            let text = "Memory balloon model must be virtio to set the collection period";
            return Err(Refusal::new(ErrorNumber::OperationInvalid, text));
        }
        domain.change(impact, |config| {
            let Some(balloon) = config.devices.iter_mut().find(|device| has(device)) else { return };
            balloon.children.retain(|child| child.name != "stats");
            if args.period > 0 {
                balloon.children.insert(0, Element::new("stats").with("period", args.period));
            }
        });
        Ok(())
    }

    pub(crate) fn start_dirty_rate_calc(
        &mut self,
        args: remote::DomainStartDirtyRateCalcArgs<'_>,
    ) -> Reply<remote::DomainStartDirtyRateCalc> {
        use DomainDirtyRateCalcFlags as F;
        exclusive(
            args.flags.bits(),
            (F::DIRTY_BITMAP.bits(), "VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_BITMAP"),
            (F::DIRTY_RING.bits(), "VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_RING"),
        )?;
        // `MIN_DIRTYRATE_CALC_PERIOD` and `MAX_...` of libvirt's `qemu_driver.c`.
        if !(1..=60).contains(&args.seconds) {
            return Err(Refusal::argument(format!(
                "seconds={} is invalid, please choose value within [1, 60].",
                args.seconds
            )));
        }
        self.active_mut(&args.dom)?.dirty_rate = Some(match args.flags {
            _ if args.flags.contains(F::DIRTY_BITMAP) => "dirty-bitmap",
            _ if args.flags.contains(F::DIRTY_RING) => "dirty-ring",
            _ => "page-sampling",
        });
        Ok(())
    }
}

impl super::Config {
    fn throttle_groups(&mut self) -> &mut Element {
        let at = self.others.iter().position(|element| element.name == "throttlegroups");
        let at = at.unwrap_or_else(|| {
            self.others.push(Element::new("throttlegroups"));
            self.others.len() - 1
        });
        &mut self.others[at]
    }

    fn has_throttle_group(&self, name: &str) -> bool {
        let groups = self.others.iter().filter(|element| element.name == "throttlegroups");
        groups
            .flat_map(|groups| groups.children.iter())
            .any(|group| group.text_of("group_name") == Some(name))
    }

    fn drop_throttle_group(&mut self, name: &str) {
        let groups = self.throttle_groups();
        groups.children.retain(|group| group.text_of("group_name") != Some(name));
        self.others.retain(|element| element.name != "throttlegroups" || !element.children.is_empty());
    }
}
