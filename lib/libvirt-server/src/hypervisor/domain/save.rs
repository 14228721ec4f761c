//! Saving a domain with its memory, and bringing it back: to a file, or where the hypervisor keeps it.
//!
//! ```text
//!   running ──save, managed save──> shut off, and an image ──restore, start──> as it was, or as a flag says
//! ```

use super::{Hypervisor, Image, Placement};
use crate::hypervisor::flags::exclusive;
use crate::hypervisor::job::Work;
use crate::hypervisor::{Refusal, Reply, text};
use libvirt_protocol::enums::{DomainEventStartedDetailType, DomainRunningReason, DomainState, ErrorNumber};
use libvirt_protocol::flags::{DomainSaveImageXmlFlags, DomainSaveRestoreFlags as F};
use libvirt_protocol::xdr::{Text, Uuid};
use libvirt_protocol::{parameters, remote, types};

/// Whether flags say that a domain runs, or waits, when it is back.
fn paused(flags: F) -> Result<Option<bool>, Refusal> {
    let (running, paused) = (F::RUNNING, F::PAUSED);
    let names = ((running.bits(), "VIR_DOMAIN_SAVE_RUNNING"), (paused.bits(), "VIR_DOMAIN_SAVE_PAUSED"));
    exclusive(flags.bits(), names.0, names.1)?;
    Ok(flags.intersects(running | paused).then(|| flags.contains(paused)))
}

impl Hypervisor {
    pub(crate) fn domain_save(&mut self, args: remote::DomainSaveArgs<'_>) -> Reply<remote::DomainSave> {
        self.save(&args.dom, Some(args.to.to_string()), F::empty())
    }

    pub(crate) fn domain_save_flags(
        &mut self,
        args: remote::DomainSaveFlagsArgs<'_>,
    ) -> Reply<remote::DomainSaveFlags> {
        self.only(args.flags.bits(), 0, "testDomainSaveFlags")?;
        if args.dxml.is_some() {
            return Err(Refusal::new(ErrorNumber::ArgumentUnsupported, "xml modification unsupported"));
        }
        self.save(&args.dom, Some(args.to.to_string()), args.flags)
    }

    /// To a file, or without a path where the hypervisor keeps it.
    fn save(&mut self, dom: &types::Domain<'_>, path: Option<String>, flags: F) -> Result<(), Refusal> {
        let asked = paused(flags)?;
        let paused = asked.unwrap_or(self.active(dom)?.state == DomainState::Paused);
        self.work(dom, Work::Save { path, paused })
    }

    pub(crate) fn domain_restore(
        &mut self,
        args: remote::DomainRestoreArgs<'_>,
    ) -> Reply<remote::DomainRestore> {
        self.restore(&args.from.to_str_lossy(), F::empty())
    }

    pub(crate) fn domain_restore_flags(
        &mut self,
        args: remote::DomainRestoreFlagsArgs<'_>,
    ) -> Reply<remote::DomainRestoreFlags> {
        self.only(args.flags.bits(), 0, "testDomainRestoreFlags")?;
        self.restore(&args.from.to_str_lossy(), args.flags)
    }

    fn image(&self, path: &str) -> Result<&Image, Refusal> {
        self.images.get(path).ok_or_else(|| {
            let text = format!("cannot read domain image '{path}': No such file or directory");
            const ENOENT: i32 = 2;
            Refusal::system(ENOENT, text)
        })
    }

    fn restore(&mut self, path: &str, flags: F) -> Result<(), Refusal> {
        let asked = paused(flags)?;
        let Image { config, paused } = self.image(path)?.clone();
        let uuid: Uuid = self.place(config, Placement::New)?;
        self.start(uuid, DomainRunningReason::Restored, DomainEventStartedDetailType::Restored);
        if asked.unwrap_or(paused) {
            self.pause(uuid);
        }
        Ok(())
    }

    pub(crate) fn domain_save_image_get_xml_desc(
        &mut self,
        args: remote::DomainSaveImageGetXmlDescArgs<'_>,
    ) -> Reply<remote::DomainSaveImageGetXmlDesc> {
        self.only(args.flags.bits(), 1, "testDomainSaveImageGetXMLDesc")?;
        let secure = args.flags.contains(DomainSaveImageXmlFlags::SECURE);
        let image = self.image(&args.file.to_str_lossy())?;
        Ok(remote::DomainSaveImageGetXmlDescRet { xml: image.config.shown(secure).print().into() })
    }

    /// The image with another definition, which keeps its UUID, and perhaps another state for when it is back.
    fn edited(&mut self, old: &Image, xml: &Text<'_>, flags: F) -> Result<Image, Refusal> {
        let paused = paused(flags)?.unwrap_or(old.paused);
        let mut config = self.read_domain(&xml.to_str_lossy())?;
        config.uuid = old.config.uuid;
        Ok(Image { config, paused })
    }

    pub(crate) fn domain_save_image_define_xml(
        &mut self,
        args: remote::DomainSaveImageDefineXmlArgs<'_>,
    ) -> Reply<remote::DomainSaveImageDefineXml> {
        let path = args.file.to_str_lossy().into_owned();
        let old = self.image(&path)?.clone();
        let image = self.edited(&old, &args.dxml, args.flags)?;
        self.images.insert(path, image);
        Ok(())
    }

    pub(crate) fn domain_save_params(
        &mut self,
        args: remote::DomainSaveParamsArgs<'_>,
    ) -> Reply<remote::DomainSaveParams> {
        // Without a file it is the hypervisor that keeps it.
        let path = text(&args.params, parameters::DOMAIN_SAVE_PARAM_FILE);
        self.save(&args.dom, path, args.flags)
    }

    pub(crate) fn domain_restore_params(
        &mut self,
        args: remote::DomainRestoreParamsArgs<'_>,
    ) -> Reply<remote::DomainRestoreParams> {
        let Some(path) = text(&args.params, parameters::DOMAIN_SAVE_PARAM_FILE) else {
            return Err(Refusal::argument("missing path to restore from"));
        };
        if let Some(xml) = text(&args.params, parameters::DOMAIN_SAVE_PARAM_DXML) {
            let old = self.image(&path)?.clone();
            let image = self.edited(&old, &Text::from(xml), F::empty())?;
            self.images.insert(path.clone(), image);
        }
        self.restore(&path, args.flags)
    }

    pub(crate) fn domain_managed_save(
        &mut self,
        args: remote::DomainManagedSaveArgs<'_>,
    ) -> Reply<remote::DomainManagedSave> {
        self.only(args.flags.bits(), 1 | 2 | 4, "testDomainManagedSave")?;
        let domain = self.active_mut(&args.dom)?;
        if !domain.persistent {
            return Err(Refusal::invalid("cannot do managed save for transient domain"));
        }
        self.save(&args.dom, None, args.flags)
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
        let domain = self.domain_mut(&args.dom)?;
        (domain.managed_save, domain.managed) = (false, None);
        Ok(())
    }

    fn managed(&self, dom: &types::Domain<'_>) -> Result<&Image, Refusal> {
        let found = self.domain(dom)?.managed.as_ref();
        found.ok_or_else(|| Refusal::invalid("domain does not have managed save image"))
    }

    pub(crate) fn managed_save_get_xml_desc(
        &mut self,
        args: remote::DomainManagedSaveGetXmlDescArgs<'_>,
    ) -> Reply<remote::DomainManagedSaveGetXmlDesc> {
        let secure = args.flags.contains(DomainSaveImageXmlFlags::SECURE);
        let xml = self.managed(&args.dom)?.config.shown(secure).print();
        Ok(remote::DomainManagedSaveGetXmlDescRet { xml: xml.into() })
    }

    pub(crate) fn managed_save_define_xml(
        &mut self,
        args: remote::DomainManagedSaveDefineXmlArgs<'_>,
    ) -> Reply<remote::DomainManagedSaveDefineXml> {
        let old = self.managed(&args.dom)?.clone();
        let image = match &args.dxml {
            Some(xml) => self.edited(&old, xml, args.flags)?,
            None => Image { paused: paused(args.flags)?.unwrap_or(old.paused), ..old },
        };
        self.domain_mut(&args.dom)?.managed = Some(image);
        Ok(())
    }
}
