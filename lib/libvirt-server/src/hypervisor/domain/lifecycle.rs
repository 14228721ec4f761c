//! Defining, starting, stopping, saving.

use super::{Config, Hypervisor, Image, Placement};
use crate::hypervisor::job::Work;
use crate::hypervisor::{Refusal, Reply, Scope, only};
use libvirt_protocol::enums::{
    DomainEventDefinedDetailType, DomainEventResumedDetailType, DomainEventStartedDetailType,
    DomainEventStoppedDetailType, DomainEventSuspendedDetailType, DomainEventType,
    DomainEventUndefinedDetailType, DomainPausedReason, DomainRunningReason, DomainShutoffReason,
    DomainState, ErrorDomain, ErrorNumber,
};
use libvirt_protocol::flags::{DomainCoreDumpFlags, DomainCreateFlags, DomainUndefineFlags};
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::xdr::List;
use libvirt_protocol::xdr::Uuid;
use libvirt_protocol::{parameters, remote, types};

/// A text among parameters.
fn text<'a>(params: &List<'a, TypedParam<'a>, 64>, name: &str) -> Option<String> {
    let found = params.iter().find(|param| param.field == name)?;
    found.value.as_text().map(|text| text.to_string())
}

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
        only(args.flags.bits(), 1, "testDomainDefineXMLFlags")?;
        let dom = self.define(&args.xml.to_str_lossy())?;
        Ok(remote::DomainDefineXmlFlagsRet { dom })
    }

    pub(crate) fn domain_create_xml(
        &mut self,
        args: remote::DomainCreateXmlArgs<'_>,
    ) -> Reply<remote::DomainCreateXml> {
        let dom = self.create(&args.xml_desc.to_str_lossy(), args.flags)?;
        Ok(remote::DomainCreateXmlRet { dom })
    }

    /// A domain that is not kept, started.
    pub(crate) fn create(
        &mut self,
        xml: &str,
        flags: DomainCreateFlags,
    ) -> Result<types::Domain<'static>, Refusal> {
        let known = match self.scope {
            Scope::TestDriver => DomainCreateFlags::START_VALIDATE,
            Scope::Complete => DomainCreateFlags::all(),
        };
        only(flags.bits(), known.bits(), "testDomainCreateXML")?;
        let config = self.read_domain(xml)?;
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
        let known = match self.scope {
            Scope::TestDriver => DomainCreateFlags::empty(),
            Scope::Complete => DomainCreateFlags::all(),
        };
        only(flags.bits(), known.bits(), "testDomainCreateWithFlags")?;
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
            domain.set_state(DomainState::Paused, DomainPausedReason::User);
            let detail = DomainEventSuspendedDetailType::Paused;
            self.tell_lifecycle(&dom, DomainEventType::Suspended, detail.into());
        }
        dom
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
        match saved {
            true => self.start(uuid, DomainRunningReason::Restored, DomainEventStartedDetailType::Restored),
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
        only(args.flags.bits(), 0, "testDomainShutdownFlags")?;
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
        only(args.flags.bits(), 0, "testDomainReboot")?;
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
        only(args.flags.bits(), 1, "testDomainDestroyFlags")?;
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
        only(args.flags.bits(), known.bits(), "testDomainUndefineFlags")?;
        self.undefine(&args.dom, args.flags)
    }

    fn undefine(&mut self, dom: &types::Domain<'_>, flags: DomainUndefineFlags) -> Result<(), Refusal> {
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
        let was = domain.wire();
        domain.managed_save = false;
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

    pub(crate) fn domain_save(&mut self, args: remote::DomainSaveArgs<'_>) -> Reply<remote::DomainSave> {
        self.save(&args.dom, &args.to.to_str_lossy())
    }

    pub(crate) fn domain_save_flags(
        &mut self,
        args: remote::DomainSaveFlagsArgs<'_>,
    ) -> Reply<remote::DomainSaveFlags> {
        only(args.flags.bits(), 0, "testDomainSaveFlags")?;
        if args.dxml.is_some() {
            return Err(Refusal::new(ErrorNumber::ArgumentUnsupported, "xml modification unsupported"));
        }
        self.save(&args.dom, &args.to.to_str_lossy())
    }

    fn save(&mut self, dom: &types::Domain<'_>, path: &str) -> Result<(), Refusal> {
        self.work(dom, Work::Save { path: path.to_owned() })
    }

    pub(crate) fn domain_restore(
        &mut self,
        args: remote::DomainRestoreArgs<'_>,
    ) -> Reply<remote::DomainRestore> {
        self.restore(&args.from.to_str_lossy())
    }

    pub(crate) fn domain_restore_flags(
        &mut self,
        args: remote::DomainRestoreFlagsArgs<'_>,
    ) -> Reply<remote::DomainRestoreFlags> {
        only(args.flags.bits(), 0, "testDomainRestoreFlags")?;
        self.restore(&args.from.to_str_lossy())
    }

    fn image(&self, path: &str) -> Result<&Image, Refusal> {
        self.images.get(path).ok_or_else(|| {
            let text = format!("cannot read domain image '{path}': No such file or directory");
            const ENOENT: i32 = 2;
            Refusal::system(ENOENT, text)
        })
    }

    fn restore(&mut self, path: &str) -> Result<(), Refusal> {
        let config = self.image(path)?.config.clone();
        let uuid: Uuid = self.place(config, Placement::New)?;
        self.start(uuid, DomainRunningReason::Restored, DomainEventStartedDetailType::Restored);
        Ok(())
    }

    pub(crate) fn domain_save_image_get_xml_desc(
        &mut self,
        args: remote::DomainSaveImageGetXmlDescArgs<'_>,
    ) -> Reply<remote::DomainSaveImageGetXmlDesc> {
        only(args.flags.bits(), 1, "testDomainSaveImageGetXMLDesc")?;
        let image = self.image(&args.file.to_str_lossy())?;
        Ok(remote::DomainSaveImageGetXmlDescRet { xml: image.config.document(None).print().into() })
    }

    pub(crate) fn domain_save_image_define_xml(
        &mut self,
        args: remote::DomainSaveImageDefineXmlArgs<'_>,
    ) -> Reply<remote::DomainSaveImageDefineXml> {
        let path = args.file.to_str_lossy().into_owned();
        let old = self.image(&path)?.config.uuid;
        let mut config = self.read_domain(&args.dxml.to_str_lossy())?;
        config.uuid = old;
        self.images.insert(path, Image { config });
        Ok(())
    }

    pub(crate) fn domain_save_params(
        &mut self,
        args: remote::DomainSaveParamsArgs<'_>,
    ) -> Reply<remote::DomainSaveParams> {
        match text(&args.params, parameters::DOMAIN_SAVE_PARAM_FILE) {
            Some(path) => self.save(&args.dom, &path),
            // Without a file it is the hypervisor that keeps it.
            None => self.work(&args.dom, Work::ManagedSave),
        }
    }

    pub(crate) fn domain_restore_params(
        &mut self,
        args: remote::DomainRestoreParamsArgs<'_>,
    ) -> Reply<remote::DomainRestoreParams> {
        let Some(path) = text(&args.params, parameters::DOMAIN_SAVE_PARAM_FILE) else {
            return Err(Refusal::argument("missing path to restore from"));
        };
        if let Some(xml) = text(&args.params, parameters::DOMAIN_SAVE_PARAM_DXML) {
            let uuid = self.image(&path)?.config.uuid;
            let mut config = self.read_domain(&xml)?;
            config.uuid = uuid;
            self.images.insert(path.clone(), Image { config });
        }
        self.restore(&path)
    }

    pub(crate) fn domain_managed_save(
        &mut self,
        args: remote::DomainManagedSaveArgs<'_>,
    ) -> Reply<remote::DomainManagedSave> {
        only(args.flags.bits(), 1 | 2 | 4, "testDomainManagedSave")?;
        let domain = self.active_mut(&args.dom)?;
        if !domain.persistent {
            return Err(Refusal::invalid("cannot do managed save for transient domain"));
        }
        self.work(&args.dom, Work::ManagedSave)
    }

    pub(crate) fn domain_has_managed_save_image(
        &mut self,
        args: remote::DomainHasManagedSaveImageArgs<'_>,
    ) -> Reply<remote::DomainHasManagedSaveImage> {
        let result = self.domain(&args.dom)?.managed_save.into();
        Ok(remote::DomainHasManagedSaveImageRet { result })
    }

    pub(crate) fn domain_managed_save_remove(
        &mut self,
        args: remote::DomainManagedSaveRemoveArgs<'_>,
    ) -> Reply<remote::DomainManagedSaveRemove> {
        self.domain_mut(&args.dom)?.managed_save = false;
        Ok(())
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
        let crash = DomainCoreDumpFlags::CRASH;
        only(flags.bits(), crash.bits(), "testDomainCoreDumpWithFormat")?;
        self.work(dom, Work::Dump { crash: flags.contains(crash) })
    }

    pub(crate) fn domain_set_autostart(
        &mut self,
        args: remote::DomainSetAutostartArgs<'_>,
    ) -> Reply<remote::DomainSetAutostart> {
        self.domain_mut(&args.dom)?.autostart = args.autostart != 0;
        Ok(())
    }
}
