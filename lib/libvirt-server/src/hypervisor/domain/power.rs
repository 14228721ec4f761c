//! Sleep, and looks into a guest's memory and disks. libvirt's test driver has none of it, so this follows its QEMU driver.

use super::Hypervisor;
use crate::hypervisor::events::{Object, Topic};
use crate::hypervisor::flags::exclusive;
use crate::hypervisor::{Refusal, Reply};
use libvirt_protocol::enums::{
    DomainEventId, DomainEventPmSuspendedDetailType, DomainEventResumedDetailType, DomainEventType,
    DomainRunningReason, DomainState, NodeSuspendTarget,
};
use libvirt_protocol::flags::DomainMemoryFlags;
use libvirt_protocol::xdr::{self, Bytes};
use libvirt_protocol::{remote, types};

/// Why a guest sleeps or wakes: nobody says (`virDomainPMSuspendedReason`).
const REASON: i32 = 0;

impl Hypervisor {
    pub(crate) fn pm_suspend(
        &mut self,
        args: remote::DomainPmSuspendForDurationArgs<'_>,
    ) -> Reply<remote::DomainPmSuspendForDuration> {
        let domain = self.active_mut(&args.dom)?;
        if domain.state != DomainState::Running {
            return Err(Refusal::invalid("domain is not running"));
        }
        let dom = domain.wire();
        domain.set_state(DomainState::Pmsuspended, REASON);
        let disk = args.target == NodeSuspendTarget::Disk;
        let detail = match disk {
            true => DomainEventPmSuspendedDetailType::Disk,
            false => DomainEventPmSuspendedDetailType::Memory,
        };
        self.tell_lifecycle(&dom, DomainEventType::Pmsuspended, detail.into());
        self.tell_sleep(&dom, if disk { Sleep::Disk } else { Sleep::Memory });
        Ok(())
    }

    pub(crate) fn pm_wakeup(
        &mut self,
        args: remote::DomainPmWakeupArgs<'_>,
    ) -> Reply<remote::DomainPmWakeup> {
        let domain = self.active_mut(&args.dom)?;
        if domain.state != DomainState::Pmsuspended {
            return Err(Refusal::invalid("Unable to wake up domain"));
        }
        domain.set_state(DomainState::Running, DomainRunningReason::Wakeup);
        let dom = domain.wire();
        let detail = DomainEventResumedDetailType::Unpaused;
        self.tell_lifecycle(&dom, DomainEventType::Resumed, detail.into());
        self.tell_sleep(&dom, Sleep::Over);
        Ok(())
    }

    fn tell_sleep(&mut self, dom: &types::Domain<'static>, sleep: Sleep) {
        let object = Object::Uuid(dom.uuid);
        let dom = || dom.clone();
        match sleep {
            Sleep::Memory => {
                let names = ("domain_event_callback_pmsuspend", "domain_event_pmsuspend");
                let msg = remote::DomainEventPmsuspendMsg { dom: dom() };
                self.tell_both(Topic::Domain(DomainEventId::Pmsuspend), &object, names, |id| match id {
                    Some(callback_id) => xdr::encode(&remote::DomainEventCallbackPmsuspendMsg {
                        callback_id,
                        reason: REASON,
                        msg: msg.clone(),
                    }),
                    None => xdr::encode(&msg),
                });
            }
            Sleep::Disk => {
                let names = ("domain_event_callback_pmsuspend_disk", "domain_event_pmsuspend_disk");
                let msg = remote::DomainEventPmsuspendDiskMsg { dom: dom() };
                self.tell_both(Topic::Domain(DomainEventId::PmsuspendDisk), &object, names, |id| match id {
                    Some(callback_id) => xdr::encode(&remote::DomainEventCallbackPmsuspendDiskMsg {
                        callback_id,
                        reason: REASON,
                        msg: msg.clone(),
                    }),
                    None => xdr::encode(&msg),
                });
            }
            Sleep::Over => {
                let names = ("domain_event_callback_pmwakeup", "domain_event_pmwakeup");
                let msg = remote::DomainEventPmwakeupMsg { dom: dom() };
                self.tell_both(Topic::Domain(DomainEventId::Pmwakeup), &object, names, |id| match id {
                    Some(callback_id) => xdr::encode(&remote::DomainEventCallbackPmwakeupMsg {
                        callback_id,
                        reason: REASON,
                        msg: msg.clone(),
                    }),
                    None => xdr::encode(&msg),
                });
            }
        }
    }

    pub(crate) fn domain_memory_peek(
        &mut self,
        args: remote::DomainMemoryPeekArgs<'_>,
    ) -> Reply<remote::DomainMemoryPeek> {
        use DomainMemoryFlags as F;
        exclusive(
            args.flags.bits(),
            (F::VIRTUAL.bits(), "VIR_MEMORY_VIRTUAL"),
            (F::PHYSICAL.bits(), "VIR_MEMORY_PHYSICAL"),
        )?;
        if !args.flags.intersects(F::VIRTUAL | F::PHYSICAL) {
            let text = "flags in virDomainMemoryPeek must include VIR_MEMORY_VIRTUAL or VIR_MEMORY_PHYSICAL";
            return Err(Refusal::argument(text));
        }
        self.active(&args.dom)?;
        Ok(remote::DomainMemoryPeekRet { buffer: zeros(args.size)? })
    }

    pub(crate) fn domain_block_peek(
        &mut self,
        args: remote::DomainBlockPeekArgs<'_>,
    ) -> Reply<remote::DomainBlockPeek> {
        let path = args.path.to_str_lossy();
        if !self.domain(&args.dom)?.config.disks().any(|disk| disk == path) {
            return Err(Refusal::argument(format!("invalid disk or path '{path}'")));
        }
        Ok(remote::DomainBlockPeekRet { buffer: zeros(args.size)? })
    }

    pub(crate) fn domain_get_autostart_once(
        &mut self,
        args: remote::DomainGetAutostartOnceArgs<'_>,
    ) -> Reply<remote::DomainGetAutostartOnce> {
        Ok(remote::DomainGetAutostartOnceRet { autostart: self.domain(&args.dom)?.autostart_once.into() })
    }

    pub(crate) fn domain_set_autostart_once(
        &mut self,
        args: remote::DomainSetAutostartOnceArgs<'_>,
    ) -> Reply<remote::DomainSetAutostartOnce> {
        let domain = self.domain_mut(&args.dom)?;
        if !domain.persistent {
            return Err(Refusal::invalid("cannot set autostart for transient domain"));
        }
        domain.autostart_once = args.autostart != 0;
        Ok(())
    }
}

/// What a guest does.
#[derive(Clone, Copy, Debug)]
enum Sleep {
    Memory,
    Disk,
    Over,
}

/// What memory and disks of guests hold that do not run: zeros.
fn zeros<const MAX: u32>(size: u32) -> Result<Bytes<'static, MAX>, Refusal> {
    if size > MAX {
        return Err(Refusal::internal("size too large"));
    }
    Ok(vec![0; size as usize].into())
}
