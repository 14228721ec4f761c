//! Defining, starting, stopping, saving.

use super::{Config, Domain, Hypervisor, Placement};
use crate::hypervisor::flags::exclusive;
use crate::hypervisor::job::{AfterDump, Work};
use crate::hypervisor::{Refusal, Reply, Scope};
use libvirt_protocol::enums::{
    DomainEventDefinedDetailType, DomainEventResumedDetailType, DomainEventStartedDetailType,
    DomainEventStoppedDetailType, DomainEventSuspendedDetailType, DomainEventType,
    DomainEventUndefinedDetailType, DomainPausedReason, DomainRunningReason, DomainShutoffReason,
    DomainState, ErrorDomain, ErrorNumber,
};
use libvirt_protocol::flags::{
    DomainCoreDumpFlags, DomainCreateFlags, DomainRebootFlags, DomainShutdownFlags, DomainUndefineFlags,
};
use libvirt_protocol::xdr::{Text, Uuid};
use libvirt_protocol::{remote, types};
use serde_json::json;

impl Hypervisor {
    /// The configuration in a document.
    pub(crate) fn read_domain(&mut self, xml: &str) -> Result<Config, Refusal> {
        let document = self.document(xml, "domain", "domain_definition")?;
        let named = document.text_of("name").unwrap_or_default();
        // A definition of a domain that is known by name keeps its UUID.
        let known = self.domains.values().find(|domain| domain.config.name == named);
        let uuid = match known {
            Some(known) if document.find("uuid").is_none() => known.config.uuid,
            _ => self.uuid_of(&document, ErrorDomain::Domain)?,
        };
        let ids = &mut self.ids;
        Config::read(&document, uuid, || ids.mac())
    }

    fn define(&mut self, xml: &str) -> Result<types::Domain<'static>, Refusal> {
        let config = self.read_domain(xml)?;
        let known = self.domains.contains_key(&config.uuid);
        let uuid = self.place(config, Placement::Defined)?;
        let Some(domain) = self.domains.get_mut(&uuid) else { return Err(Refusal::internal("lost")) };
        if !domain.persistent && domain.is_active() && domain.next.is_none() {
            domain.next = Some(domain.config.clone());
        }
        domain.persistent = true;
        let dom = domain.wire();
        let detail = match known {
            true => DomainEventDefinedDetailType::Updated,
            false => DomainEventDefinedDetailType::Added,
        };
        self.tell_defined(uuid, detail);
        Ok(dom)
    }

    pub(crate) fn domain_define_xml(
        &mut self,
        args: remote::DomainDefineXmlArgs<'_>,
    ) -> Reply<remote::DomainDefineXml> {
        let dom = self.define(&args.xml.to_str_lossy())?;
        Ok(remote::DomainDefineXmlRet { dom })
    }

    pub(crate) fn domain_define_xml_flags(
        &mut self,
        args: remote::DomainDefineXmlFlagsArgs<'_>,
    ) -> Reply<remote::DomainDefineXmlFlags> {
        self.only(args.flags.bits(), 1, "testDomainDefineXMLFlags")?;
        self.validate(args.flags.bits(), 1, &args.xml)?;
        let dom = self.define(&args.xml.to_str_lossy())?;
        Ok(remote::DomainDefineXmlFlagsRet { dom })
    }

    pub(crate) fn domain_create_xml(
        &mut self,
        args: remote::DomainCreateXmlArgs<'_>,
    ) -> Reply<remote::DomainCreateXml> {
        let dom = self.create(&args.xml_desc, args.flags)?;
        Ok(remote::DomainCreateXmlRet { dom })
    }

    /// A domain that is not kept, started.
    pub(crate) fn create(
        &mut self,
        xml: &Text<'_>,
        flags: DomainCreateFlags,
    ) -> Result<types::Domain<'static>, Refusal> {
        let validate = DomainCreateFlags::START_VALIDATE.bits();
        self.only(flags.bits(), validate, "testDomainCreateXML")?;
        self.validate(flags.bits(), validate, xml)?;
        let config = self.read_domain(&xml.to_str_lossy())?;
        let uuid = self.place(config, Placement::New)?;
        self.start(uuid, DomainRunningReason::Booted, DomainEventStartedDetailType::Booted);
        Ok(self.started(uuid, flags))
    }

    /// A domain that is kept, started.
    pub(crate) fn boot_with(
        &mut self,
        dom: &types::Domain<'_>,
        flags: DomainCreateFlags,
    ) -> Result<types::Domain<'static>, Refusal> {
        self.only(flags.bits(), 0, "testDomainCreateWithFlags")?;
        if flags.contains(DomainCreateFlags::START_FORCE_BOOT) {
            // What was saved of it is given up.
            let domain = self.domain_mut(dom)?;
            (domain.managed_save, domain.managed) = (false, None);
        }
        self.boot(dom)?;
        Ok(self.started(dom.uuid, flags))
    }

    /// What the flags of a start have to say of a domain that runs now.
    fn started(&mut self, uuid: Uuid, flags: DomainCreateFlags) -> types::Domain<'static> {
        let client = self.caller.client;
        let Some(domain) = self.domains.get_mut(&uuid) else { return types::Domain::default() };
        domain.owner = flags.contains(DomainCreateFlags::START_AUTODESTROY).then_some(client);
        let dom = domain.wire();
        if flags.contains(DomainCreateFlags::START_PAUSED) {
            self.pause(uuid);
        }
        dom
    }

    /// A domain that runs waits.
    pub(super) fn pause(&mut self, uuid: Uuid) {
        let Some(domain) = self.domains.get_mut(&uuid) else { return };
        domain.set_state(DomainState::Paused, DomainPausedReason::User);
        let dom = domain.wire();
        let detail = DomainEventSuspendedDetailType::Paused;
        self.tell_lifecycle(&dom, DomainEventType::Suspended, detail.into());
    }

    pub(crate) fn domain_create(
        &mut self,
        args: remote::DomainCreateArgs<'_>,
    ) -> Reply<remote::DomainCreate> {
        self.boot(&args.dom).map(drop)
    }

    pub(crate) fn domain_create_with_flags(
        &mut self,
        args: remote::DomainCreateWithFlagsArgs<'_>,
    ) -> Reply<remote::DomainCreateWithFlags> {
        let dom = self.boot_with(&args.dom, args.flags)?;
        Ok(remote::DomainCreateWithFlagsRet { dom })
    }

    fn boot(&mut self, dom: &types::Domain<'_>) -> Result<types::Domain<'static>, Refusal> {
        let domain = self.domain(dom)?;
        if domain.is_active() {
            return Err(Refusal::internal(format!("Domain '{}' is already running", domain.config.name)));
        }
        let (uuid, saved) = (domain.config.uuid, domain.managed_save);
        let image = self.domain_mut(dom)?.managed.take();
        match saved {
            true => {
                if let Some(image) = &image {
                    self.domain_mut(dom)?.config = image.config.clone();
                }
                self.start(uuid, DomainRunningReason::Restored, DomainEventStartedDetailType::Restored);
                if image.is_some_and(|image| image.paused) {
                    self.pause(uuid);
                }
            }
            false => self.start(uuid, DomainRunningReason::Booted, DomainEventStartedDetailType::Booted),
        }
        Ok(self.domain(dom)?.wire())
    }

    pub(crate) fn domain_suspend(
        &mut self,
        args: remote::DomainSuspendArgs<'_>,
    ) -> Reply<remote::DomainSuspend> {
        let domain = self.domain_mut(&args.dom)?;
        if domain.state != DomainState::Running {
            return Err(Refusal::internal(format!("domain '{}' not running", domain.config.name)));
        }
        domain.set_state(DomainState::Paused, DomainPausedReason::User);
        let dom = domain.wire();
        let detail = DomainEventSuspendedDetailType::Paused;
        self.tell_lifecycle(&dom, DomainEventType::Suspended, detail.into());
        Ok(())
    }

    pub(crate) fn domain_resume(
        &mut self,
        args: remote::DomainResumeArgs<'_>,
    ) -> Reply<remote::DomainResume> {
        let domain = self.domain_mut(&args.dom)?;
        if domain.state != DomainState::Paused {
            return Err(Refusal::internal(format!("domain '{}' not paused", domain.config.name)));
        }
        domain.set_state(DomainState::Running, DomainRunningReason::Unpaused);
        let dom = domain.wire();
        let detail = DomainEventResumedDetailType::Unpaused;
        self.tell_lifecycle(&dom, DomainEventType::Resumed, detail.into());
        Ok(())
    }

    pub(crate) fn domain_shutdown(
        &mut self,
        args: remote::DomainShutdownArgs<'_>,
    ) -> Reply<remote::DomainShutdown> {
        self.shut_down(&args.dom)
    }

    pub(crate) fn domain_shutdown_flags(
        &mut self,
        args: remote::DomainShutdownFlagsArgs<'_>,
    ) -> Reply<remote::DomainShutdownFlags> {
        self.only(args.flags.bits(), 0, "testDomainShutdownFlags")?;
        if args.flags.contains(DomainShutdownFlags::GUEST_AGENT) {
            self.ask_agent(
                &args.dom,
                &json!({ "execute": "guest-shutdown", "arguments": { "mode": "powerdown" } }),
            )?;
        }
        self.shut_down(&args.dom)
    }

    fn shut_down(&mut self, dom: &types::Domain<'_>) -> Result<(), Refusal> {
        let domain = self.domain(dom)?;
        if !domain.is_active() {
            return Err(Refusal::internal(format!("domain '{}' not running", domain.config.name)));
        }
        self.stop(dom.uuid, DomainShutoffReason::Shutdown, DomainEventStoppedDetailType::Shutdown);
        Ok(())
    }

    pub(crate) fn domain_reboot(
        &mut self,
        args: remote::DomainRebootArgs<'_>,
    ) -> Reply<remote::DomainReboot> {
        self.only(args.flags.bits(), 0, "testDomainReboot")?;
        if args.flags.contains(DomainRebootFlags::GUEST_AGENT) {
            self.ask_agent(
                &args.dom,
                &json!({ "execute": "guest-shutdown", "arguments": { "mode": "reboot" } }),
            )?;
        }
        // The test driver's guest is down for an instant that nobody sees.
        let domain = self.active_mut(&args.dom)?;
        domain.set_state(DomainState::Running, DomainRunningReason::Booted);
        let dom = domain.wire();
        self.tell_reboot(&dom);
        Ok(())
    }

    pub(crate) fn domain_reset(&mut self, args: remote::DomainResetArgs<'_>) -> Reply<remote::DomainReset> {
        let dom = self.active(&args.dom)?.wire();
        self.tell_reboot(&dom);
        Ok(())
    }

    pub(crate) fn domain_destroy(
        &mut self,
        args: remote::DomainDestroyArgs<'_>,
    ) -> Reply<remote::DomainDestroy> {
        self.kill(&args.dom)
    }

    pub(crate) fn domain_destroy_flags(
        &mut self,
        args: remote::DomainDestroyFlagsArgs<'_>,
    ) -> Reply<remote::DomainDestroyFlags> {
        self.only(args.flags.bits(), 1, "testDomainDestroyFlags")?;
        self.kill(&args.dom)
    }

    fn kill(&mut self, dom: &types::Domain<'_>) -> Result<(), Refusal> {
        self.active(dom)?;
        self.stop(dom.uuid, DomainShutoffReason::Destroyed, DomainEventStoppedDetailType::Destroyed);
        Ok(())
    }

    pub(crate) fn domain_undefine(
        &mut self,
        args: remote::DomainUndefineArgs<'_>,
    ) -> Reply<remote::DomainUndefine> {
        self.undefine(&args.dom, DomainUndefineFlags::empty())
    }

    pub(crate) fn domain_undefine_flags(
        &mut self,
        args: remote::DomainUndefineFlagsArgs<'_>,
    ) -> Reply<remote::DomainUndefineFlags> {
        use DomainUndefineFlags as F;
        let known = F::MANAGED_SAVE | F::SNAPSHOTS_METADATA;
        self.only(args.flags.bits(), known.bits(), "testDomainUndefineFlags")?;
        self.undefine(&args.dom, args.flags)
    }

    fn undefine(&mut self, dom: &types::Domain<'_>, flags: DomainUndefineFlags) -> Result<(), Refusal> {
        let scope = self.scope;
        let domain = self.domain_mut(dom)?;
        if domain.managed_save && !flags.contains(DomainUndefineFlags::MANAGED_SAVE) {
            return Err(Refusal::invalid("Refusing to undefine while domain managed save image exists"));
        }
        if !domain.is_active() {
            let count = domain.snapshots.len();
            if count > 0 && !flags.contains(DomainUndefineFlags::SNAPSHOTS_METADATA) {
                return Err(Refusal::invalid(format!(
                    "cannot delete inactive domain with {count} snapshots"
                )));
            }
        }
        if scope == Scope::Complete {
            domain.may_be_undefined(flags)?;
        }
        let was = domain.wire();
        (domain.managed_save, domain.managed) = (false, None);
        if domain.is_active() {
            domain.persistent = false;
            domain.autostart = false;
            domain.next = None;
        } else {
            self.domains.remove(&dom.uuid);
        }
        let detail = DomainEventUndefinedDetailType::Removed;
        self.tell_lifecycle(&was, DomainEventType::Undefined, detail.into());
        Ok(())
    }

    pub(crate) fn domain_rename(
        &mut self,
        args: remote::DomainRenameArgs<'_>,
    ) -> Reply<remote::DomainRename> {
        let new = args.new_name.as_ref().map(|name| name.to_string()).unwrap_or_default();
        let domain = self.domain(&args.dom)?;
        if domain.is_active() {
            return Err(Refusal::invalid("cannot rename active domain"));
        }
        if !domain.persistent {
            return Err(Refusal::invalid("cannot rename a transient domain"));
        }
        if domain.config.name == new {
            return Err(Refusal::argument("Can't rename domain to itself"));
        }
        if self.domains.values().any(|other| other.config.name == new) {
            let text = format!("domain with name '{new}' already exists");
            return Err(Refusal::new(ErrorNumber::OperationInvalid, text));
        }
        let old = self.domain(&args.dom)?.wire();
        self.domain_mut(&args.dom)?.config.name = new;
        let undefined = DomainEventUndefinedDetailType::Renamed;
        self.tell_lifecycle(&old, DomainEventType::Undefined, undefined.into());
        self.tell_defined(args.dom.uuid, DomainEventDefinedDetailType::Renamed);
        Ok(remote::DomainRenameRet { retcode: 0 })
    }

    pub(crate) fn domain_core_dump(
        &mut self,
        args: remote::DomainCoreDumpArgs<'_>,
    ) -> Reply<remote::DomainCoreDump> {
        self.dump(&args.dom, args.flags)
    }

    pub(crate) fn domain_core_dump_with_format(
        &mut self,
        args: remote::DomainCoreDumpWithFormatArgs<'_>,
    ) -> Reply<remote::DomainCoreDumpWithFormat> {
        self.dump(&args.dom, args.flags)
    }

    fn dump(&mut self, dom: &types::Domain<'_>, flags: DomainCoreDumpFlags) -> Result<(), Refusal> {
        use DomainCoreDumpFlags as F;
        self.only(flags.bits(), F::CRASH.bits(), "testDomainCoreDumpWithFormat")?;
        let [crash, live, reset] = [
            (F::CRASH.bits(), "VIR_DUMP_CRASH"),
            (F::LIVE.bits(), "VIR_DUMP_LIVE"),
            (F::RESET.bits(), "VIR_DUMP_RESET"),
        ];
        for (one, other) in [(crash, live), (crash, reset), (live, reset)] {
            exclusive(flags.bits(), one, other)?;
        }
        let then = match flags {
            _ if flags.contains(F::CRASH) => AfterDump::Crash,
            _ if flags.contains(F::RESET) => AfterDump::Reset,
            _ => AfterDump::GoOn,
        };
        // Only under this flag a guest goes on while its memory is written down.
        let halt = !flags.contains(F::LIVE) && self.scope == Scope::Complete;
        let domain = self.active_mut(dom)?;
        let running = domain.state == DomainState::Running;
        self.work(dom, Work::Dump { then, resume: halt && running })?;
        if halt && running && self.deferred {
            self.domain_mut(dom)?.set_state(DomainState::Paused, DomainPausedReason::Dump);
        }
        Ok(())
    }

    pub(crate) fn domain_set_autostart(
        &mut self,
        args: remote::DomainSetAutostartArgs<'_>,
    ) -> Reply<remote::DomainSetAutostart> {
        self.domain_mut(&args.dom)?.autostart = args.autostart != 0;
        Ok(())
    }
}

impl Domain {
    /// What else of a domain would be left behind must be named, to be kept or to go.
    fn may_be_undefined(&self, flags: DomainUndefineFlags) -> Result<(), Refusal> {
        use DomainUndefineFlags as F;
        let named = |flag: F, name| (flag.bits(), name);
        let nvram = [
            named(F::NVRAM, "VIR_DOMAIN_UNDEFINE_NVRAM"),
            named(F::KEEP_NVRAM, "VIR_DOMAIN_UNDEFINE_KEEP_NVRAM"),
        ];
        exclusive(flags.bits(), nvram[0], nvram[1])?;
        let tpm =
            [named(F::TPM, "VIR_DOMAIN_UNDEFINE_TPM"), named(F::KEEP_TPM, "VIR_DOMAIN_UNDEFINE_KEEP_TPM")];
        exclusive(flags.bits(), tpm[0], tpm[1])?;
        if self.is_active() {
            return Ok(());
        }
        let count = self.checkpoints.len();
        if count > 0 && !flags.contains(F::CHECKPOINTS_METADATA) {
            return Err(Refusal::invalid(format!("cannot delete inactive domain with {count} checkpoints")));
        }
        let os = self.config.others.iter().find(|element| element.name == "os");
        let has_nvram = os.is_some_and(|os| os.find("nvram").is_some());
        if has_nvram && !flags.intersects(F::NVRAM | F::KEEP_NVRAM) {
            return Err(Refusal::invalid("cannot undefine domain with nvram"));
        }
        Ok(())
    }
}
