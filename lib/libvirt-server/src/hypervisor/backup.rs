//! Backups: work of a domain that goes on after its call. One that is pushed ends by itself; one that is pulled stays until it is
//! aborted. libvirt's test driver has none, so this follows its QEMU driver.

use super::events::{Object, Topic};
use super::{Hypervisor, Refusal, Reply};
use crate::xml::Element;
use libvirt_protocol::enums::{DomainEventId, DomainJobOperation, ErrorDomain, ErrorNumber};
use libvirt_protocol::flags::DomainCheckpointCreateFlags;
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::xdr::Uuid;
use libvirt_protocol::{parameters, remote};
use std::time::Duration;

/// A backup at work.
#[derive(Clone, Debug)]
pub(super) struct Backup {
    pub(super) started: Duration,
    /// When it has copied everything; `None` of one that is pulled.
    pub(super) ends: Option<Duration>,
    document: Element,
}

impl Backup {
    /// Whether it ends when all is copied, and not only when somebody says so.
    pub(super) fn ends_by_itself(&self) -> bool {
        self.ends.is_some()
    }
}

impl Hypervisor {
    /// When the next backup ends.
    pub(super) fn backup_deadline(&self) -> Option<Duration> {
        self.backups.values().filter_map(|backup| backup.ends).min()
    }

    pub(super) fn tick_backups(&mut self) {
        let now = self.now;
        let due = |backup: &Backup| backup.ends.is_some_and(|ends| ends <= now);
        let due: Vec<Uuid> =
            self.backups.iter().filter(|(_, backup)| due(backup)).map(|(uuid, _)| *uuid).collect();
        for uuid in due {
            self.end_backup(uuid, None);
        }
    }

    /// A backup is over; tells whether there was one.
    pub(super) fn end_backup(&mut self, uuid: Uuid, error: Option<&str>) -> bool {
        let Some(backup) = self.backups.remove(&uuid) else { return false };
        let elapsed = self.now.saturating_sub(backup.started);
        let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let mut params = vec![
            TypedParam::new(parameters::DOMAIN_JOB_OPERATION, i32::from(DomainJobOperation::Backup)),
            TypedParam::new(parameters::DOMAIN_JOB_TIME_ELAPSED, elapsed),
            TypedParam::new(parameters::DOMAIN_JOB_SUCCESS, error.is_none()),
        ];
        params.extend(error.map(|text| TypedParam::new(parameters::DOMAIN_JOB_ERRMSG, text.to_owned())));
        let Some(domain) = self.domains.get_mut(&uuid) else { return true };
        domain.last_job = params.clone();
        let dom = domain.wire();
        let topic = Topic::Domain(DomainEventId::JobCompleted);
        self.tell(topic, &Object::Uuid(uuid), "domain_event_callback_job_completed", |callback_id| {
            remote::DomainEventCallbackJobCompletedMsg {
                callback_id,
                dom: dom.clone(),
                params: params.clone().into(),
            }
        });
        true
    }

    pub(super) fn domain_backup_begin(
        &mut self,
        args: remote::DomainBackupBeginArgs<'_>,
    ) -> Reply<remote::DomainBackupBegin> {
        let given = self.document(&args.backup_xml.to_str_lossy(), "domainbackup", "domain_backup")?;
        let domain = self.active(&args.dom)?;
        let pull = match given.attribute("mode") {
            None | Some("push") => false,
            Some("pull") => true,
            Some(other) => {
                let text =
                    format!("Invalid value for attribute 'mode' in element 'domainbackup': '{other}'.");
                return Err(Refusal::xml(text).of(ErrorDomain::Domain));
            }
        };
        if pull && given.find("server").is_none() {
            let text = "must specify TLS/NBD server for pull mode";
            return Err(Refusal::xml(text).of(ErrorDomain::Domain));
        }
        if self.backups.contains_key(&args.dom.uuid) || self.is_at_work(args.dom.uuid) {
            let text = "another job is already running";
            return Err(Refusal::invalid(text).of(ErrorDomain::Qemu));
        }
        let known: Vec<String> = domain.config.disks().map(str::to_owned).collect();
        let mut document = Element::new("domainbackup").with("mode", if pull { "pull" } else { "push" });
        document.children.extend(given.children.iter().filter(|child| child.name != "disks").cloned());
        let named = given.find("disks").map(|disks| disks.children.as_slice()).unwrap_or_default();
        if let Some(stranger) = named
            .iter()
            .find(|disk| disk.attribute("name").is_none_or(|name| !known.iter().any(|known| known == name)))
        {
            let text = format!("no disk named '{}'", stranger.attribute("name").unwrap_or_default());
            return Err(Refusal::argument(text).of(ErrorDomain::Domain));
        }
        // Without a list all of them are copied; with one, those that it names.
        let disks = known.iter().map(|name| {
            let given = named.iter().find(|disk| disk.attribute("name") == Some(name));
            let wanted = match given {
                Some(disk) => disk.attribute("backup") != Some("no"),
                None => named.is_empty(),
            };
            let disk = Element::new("disk").with("name", name);
            if !wanted {
                return disk.with("backup", "no");
            }
            let kind = given.and_then(|disk| disk.attribute("type")).unwrap_or("file");
            let disk = disk.with("backup", "yes").with("type", kind).with("backupmode", "full");
            disk.children(given.into_iter().flat_map(|disk| disk.children.iter().cloned()))
        });
        document.children.push(Element::new("disks").children(disks));
        if let Some(checkpoint) = args.checkpoint_xml {
            let args = remote::DomainCheckpointCreateXmlArgs {
                dom: args.dom.clone(),
                xml_desc: checkpoint,
                flags: DomainCheckpointCreateFlags::empty(),
            };
            self.checkpoint_create_xml(args)?;
        }
        let ends = (!pull).then(|| self.now + self.job_duration);
        self.backups.insert(args.dom.uuid, Backup { started: self.now, ends, document });
        Ok(())
    }

    pub(super) fn domain_backup_get_xml_desc(
        &mut self,
        args: remote::DomainBackupGetXmlDescArgs<'_>,
    ) -> Reply<remote::DomainBackupGetXmlDesc> {
        self.domain(&args.dom)?;
        match self.backups.get(&args.dom.uuid) {
            Some(backup) => Ok(remote::DomainBackupGetXmlDescRet { xml: backup.document.print().into() }),
            None => {
                let text = "Domain backup job id not found: no domain backup job present";
                let none = Refusal::new(ErrorNumber::NoDomainBackup, text).of(ErrorDomain::Qemu);
                Err(Refusal { form: "Domain backup job id not found: %s".into(), ..none })
            }
        }
    }
}
