//! What the agent in a guest does on call: keys of users, processors that the guest uses, what it tells of itself.

use super::{Hypervisor, guest};
use crate::hypervisor::flags::exclusive;
use crate::hypervisor::{Refusal, Reply};
use libvirt_protocol::enums::ErrorNumber;
use libvirt_protocol::flags::{DomainAuthorizedSshKeysSetFlags, DomainGuestInfoTypes};
use libvirt_protocol::params::{TypedParam, TypedValue};
use libvirt_protocol::{parameters as names, remote, types};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What it keeps.
#[derive(Clone, Debug, Default)]
pub(in crate::hypervisor) struct Agent {
    /// Keys by user.
    keys: BTreeMap<String, Vec<String>>,
    /// Virtual processors that the guest does not use.
    pub(super) idle: BTreeSet<u32>,
    /// How long it may take, in seconds; none: for ever.
    timeout_s: Option<i32>,
}

/// The user that every guest has.
const USER: &str = "root";

fn text(name: impl Into<String>, value: &str) -> TypedParam<'static> {
    TypedParam::new(name.into(), TypedValue::String(value.to_owned().into()))
}

impl Hypervisor {
    /// Gives a command to whoever plays the agent ([`crate::Guest::agent`]).
    pub(super) fn ask_agent(&mut self, dom: &types::Domain<'_>, command: &Value) -> Result<(), Refusal> {
        let name = self.active(dom)?.config.name.clone();
        match self.guest.agent(&name, &command.to_string()) {
            Some(_) => Ok(()),
            None => {
                let text = "Guest agent is not responding: QEMU guest agent is not connected";
                Err(Refusal { form: "%s".into(), ..Refusal::new(ErrorNumber::AgentUnresponsive, text) })
            }
        }
    }

    pub(crate) fn agent_set_response_timeout(
        &mut self,
        args: remote::DomainAgentSetResponseTimeoutArgs<'_>,
    ) -> Reply<remote::DomainAgentSetResponseTimeout> {
        // -2: for ever, -1: as long as the driver likes.
        if args.timeout < -2 {
            return Err(Refusal::argument(format!(
                "guest agent timeout '{}' is less than the minimum '-2'",
                args.timeout
            )));
        }
        self.domain_mut(&args.dom)?.agent.timeout_s = (args.timeout >= 0).then_some(args.timeout);
        Ok(remote::DomainAgentSetResponseTimeoutRet { result: 0 })
    }

    pub(crate) fn authorized_ssh_keys(
        &mut self,
        args: remote::DomainAuthorizedSshKeysGetArgs<'_>,
    ) -> Reply<remote::DomainAuthorizedSshKeysGet> {
        let keys =
            self.active(&args.dom)?.agent.keys.get(&args.user.to_string()).cloned().unwrap_or_default();
        Ok(remote::DomainAuthorizedSshKeysGetRet { keys: keys.into_iter().map(Into::into).collect() })
    }

    pub(crate) fn set_authorized_ssh_keys(
        &mut self,
        args: remote::DomainAuthorizedSshKeysSetArgs<'_>,
    ) -> Reply<remote::DomainAuthorizedSshKeysSet> {
        use DomainAuthorizedSshKeysSetFlags as F;
        exclusive(
            args.flags.bits(),
            (F::APPEND.bits(), "VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_APPEND"),
            (F::REMOVE.bits(), "VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_REMOVE"),
        )?;
        let given: Vec<String> = args.keys.iter().map(|key| key.to_string()).collect();
        if given.is_empty() && args.flags.intersects(F::APPEND | F::REMOVE) {
            return Err(Refusal::argument(
                "nkeys in virDomainAuthorizedSSHKeysSet must be greater than zero",
            ));
        }
        let keys = self.active_mut(&args.dom)?.agent.keys.entry(args.user.to_string()).or_default();
        if !args.flags.contains(F::APPEND) {
            let goes = |key: &String| !args.flags.contains(F::REMOVE) || given.contains(key);
            keys.retain(|key| !goes(key));
        }
        if !args.flags.contains(F::REMOVE) {
            keys.extend(given);
        }
        Ok(())
    }

    pub(crate) fn guest_info(
        &mut self,
        args: remote::DomainGetGuestInfoArgs<'_>,
    ) -> Reply<remote::DomainGetGuestInfo> {
        use DomainGuestInfoTypes as T;
        let domain = self.active(&args.dom)?;
        let wants = |kind| args.types.is_empty() || args.types.contains(kind);
        let count = |name, count: usize| TypedParam::new(name, crate::hypervisor::count(count));
        let mut params = Vec::new();
        if wants(T::USERS) {
            params.extend([count("user.count", 1), text("user.0.name", USER)]);
        }
        if wants(T::OS) {
            params.extend([
                text("os.id", "debian"),
                text("os.name", "Debian GNU/Linux"),
                text("os.version-id", "12"),
            ]);
        }
        if wants(T::TIMEZONE) {
            params.extend([text("timezone.name", "UTC"), TypedParam::new("timezone.offset", 0_i32)]);
        }
        if wants(T::HOSTNAME) {
            params.push(text(
                names::DOMAIN_GUEST_INFO_HOSTNAME_HOSTNAME,
                &format!("{}host", domain.config.name),
            ));
        }
        let disks: Vec<&str> = domain.config.disks().collect();
        if wants(T::FILESYSTEM) {
            let systems: &[(&str, &str)] = if disks.is_empty() { &[] } else { &guest::FILE_SYSTEMS };
            params.push(count(names::DOMAIN_GUEST_INFO_FS_COUNT, systems.len()));
            for (number, (mount, name)) in systems.iter().enumerate() {
                params.push(text(format!("fs.{number}.mountpoint"), mount));
                params.push(text(format!("fs.{number}.name"), name));
                params.push(text(format!("fs.{number}.fstype"), "ext4"));
            }
        }
        if wants(T::DISKS) {
            params.push(count(names::DOMAIN_GUEST_INFO_DISK_COUNT, disks.len()));
            for (number, disk) in disks.iter().enumerate() {
                params.push(text(format!("disk.{number}.name"), &format!("/dev/{disk}")));
                params.push(text(format!("disk.{number}.alias"), disk));
            }
        }
        if wants(T::INTERFACES) {
            let cards: Vec<_> =
                domain.config.devices.iter().filter(|device| device.name == "interface").collect();
            params.push(count(names::DOMAIN_GUEST_INFO_IF_COUNT, cards.len()));
            for (number, card) in cards.iter().enumerate() {
                params.push(text(format!("if.{number}.name"), &format!("eth{number}")));
                params
                    .push(text(format!("if.{number}.hwaddr"), card.path("mac/@address").unwrap_or_default()));
            }
        }
        if wants(T::LOAD) {
            params.extend(["1m", "5m", "15m"].map(|of| TypedParam::new(format!("load.{of}"), 0.0_f64)));
        }
        Ok(remote::DomainGetGuestInfoRet { params: params.into() })
    }

    pub(crate) fn guest_vcpus(
        &mut self,
        args: remote::DomainGetGuestVcpusArgs<'_>,
    ) -> Reply<remote::DomainGetGuestVcpus> {
        let domain = self.active(&args.dom)?;
        let all: Vec<u32> = (0..domain.config.vcpus).collect();
        let set = |of: &[u32]| super::config::Cpus(of.iter().copied().collect()).print();
        let used: Vec<u32> = all.iter().copied().filter(|cpu| !domain.agent.idle.contains(cpu)).collect();
        // The first one cannot be done without.
        let spare: Vec<u32> = all.iter().copied().filter(|cpu| *cpu != 0).collect();
        let params = [("vcpus", set(&all)), ("online", set(&used)), ("offlinable", set(&spare))];
        let params = params.iter().map(|(name, value)| text(*name, value)).collect();
        Ok(remote::DomainGetGuestVcpusRet { params })
    }

    pub(crate) fn set_guest_vcpus(
        &mut self,
        args: remote::DomainSetGuestVcpusArgs<'_>,
    ) -> Reply<remote::DomainSetGuestVcpus> {
        let cpus = super::config::Cpus::parse(&args.cpumap.to_str_lossy()).0;
        let domain = self.active_mut(&args.dom)?;
        if let Some(stranger) = cpus.iter().find(|cpu| **cpu >= domain.config.vcpus) {
            return Err(Refusal::argument(format!("guest is missing vCPUs '{stranger}'")));
        }
        match args.state {
            0 if cpus.contains(&0) => return Err(Refusal::argument("vCPU '0' is not offlinable")),
            0 => domain.agent.idle.extend(cpus),
            1 => domain.agent.idle.retain(|cpu| !cpus.contains(cpu)),
            _ => return Err(Refusal::argument("unsupported state value")),
        }
        Ok(())
    }

    pub(crate) fn announce_interface(
        &mut self,
        args: remote::DomainAnnounceInterfaceArgs<'_>,
    ) -> Reply<remote::DomainAnnounceInterface> {
        let domain = self.active(&args.dom)?;
        let device = args.device.map(|device| device.to_string());
        // Without a name all of them speak. Nobody in memory hears it.
        match device.filter(|device| domain.config.interface(device).is_none()) {
            Some(device) => {
                let text = format!("no interface matching name or MAC '{device}' found");
                Err(Refusal::new(ErrorNumber::OperationFailed, text))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn security_label_list(
        &mut self,
        args: remote::DomainGetSecurityLabelListArgs<'_>,
    ) -> Reply<remote::DomainGetSecurityLabelList> {
        let label = self.domain_get_security_label(remote::DomainGetSecurityLabelArgs { dom: args.dom })?;
        Ok(remote::DomainGetSecurityLabelListRet { labels: vec![label].into(), ret: 1 })
    }

    pub(crate) fn graphics_reload(
        &mut self,
        args: remote::DomainGraphicsReloadArgs<'_>,
    ) -> Reply<remote::DomainGraphicsReload> {
        let domain = self.active(&args.dom)?;
        let screens = domain.config.devices.iter().filter(|device| device.name == "graphics");
        // Certificates are read again; in memory there are none.
        match screens.filter(|screen| screen.attribute("type") == Some("vnc")).count() {
            0 => Err(Refusal::argument("no VNC graphics")),
            _ => Ok(()),
        }
    }
}
