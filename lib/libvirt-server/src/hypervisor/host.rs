//! The host beyond what libvirt's test driver tells of it: pages of memory, the merging of equal ones, kinds of pools, sleep.

use super::{Hypervisor, Refusal, Reply};
use crate::xml::Element;
use libvirt_protocol::enums::ErrorNumber;
use libvirt_protocol::flags::NodeAllocPagesFlags;
use libvirt_protocol::params::{TypedParam, TypedValue};
use libvirt_protocol::xdr::IntoOwned;
use libvirt_protocol::{parameters as names, remote, types};
use std::collections::BTreeMap;

/// Cells of the host.
const CELLS: u32 = 2;
/// Sizes of pages in KiB, and how many of each are free in a cell that nobody has changed.
const PAGES: [(u32, u64); 3] = [(4, 524_288), (2048, 0), (1_048_576, 0)];
/// The smallest time that a host may sleep, in seconds (`MIN_TIME_REQ_FOR_SUSPEND` of libvirt's `virnodesuspend.c`).
const SHORTEST_SLEEP_S: u64 = 60;

/// What can be changed of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// By cell and size in KiB, where somebody has changed it.
    pages: BTreeMap<(u32, u32), u64>,
    /// How equal pages are merged, by the name of the parameter.
    merging: BTreeMap<&'static str, TypedValue<'static>>,
    /// How often somebody has put it to sleep.
    pub(super) sleeps: u64,
}

/// Parameters of the merging of pages, and which of them can be set.
fn merging() -> [(&'static str, TypedValue<'static>, bool); 4] {
    [
        (names::NODE_MEMORY_SHARED_PAGES_TO_SCAN, TypedValue::UInt(100), true),
        (names::NODE_MEMORY_SHARED_SLEEP_MILLISECS, TypedValue::UInt(20), true),
        (names::NODE_MEMORY_SHARED_PAGES_SHARED, TypedValue::ULLong(0), false),
        (names::NODE_MEMORY_SHARED_MERGE_ACROSS_NODES, TypedValue::UInt(1), true),
    ]
}

impl Host {
    fn free(&self, cell: u32, size: u32) -> Result<u64, Refusal> {
        let known = PAGES.iter().find(|(known, _)| *known == size);
        let (_, count) = known.ok_or_else(|| {
            Refusal::new(
                ErrorNumber::OperationFailed,
                format!("page size {size} is not available on node {cell}"),
            )
        })?;
        Ok(self.pages.get(&(cell, size)).copied().unwrap_or(*count))
    }
}

/// The cells from one on, so many of them.
fn cells(start: i32, count: u32) -> Result<std::ops::Range<u32>, Refusal> {
    let start = u32::try_from(start).unwrap_or(0);
    match start.checked_add(count) {
        Some(end) if end <= CELLS && count > 0 => Ok(start..end),
        _ => Err(Refusal::internal(format!("start cell {start} out of range (0-{})", CELLS - 1))),
    }
}

impl Hypervisor {
    pub(super) fn free_pages(
        &self,
        args: &remote::NodeGetFreePagesArgs<'_>,
    ) -> Reply<remote::NodeGetFreePages> {
        let mut counts = Vec::new();
        for cell in cells(args.start_cell, args.cell_count)? {
            for size in args.pages.iter() {
                counts.push(self.host.free(cell, size)?);
            }
        }
        Ok(remote::NodeGetFreePagesRet { counts: counts.into() })
    }

    pub(super) fn alloc_pages(
        &mut self,
        args: remote::NodeAllocPagesArgs<'_>,
    ) -> Reply<remote::NodeAllocPages> {
        let set = args.flags.contains(NodeAllocPagesFlags::SET);
        let mut ret = 0;
        for cell in cells(args.start_cell, args.cell_count)? {
            for (size, count) in args.page_sizes.iter().zip(args.page_counts.iter()) {
                let before = self.host.free(cell, size)?;
                let count = if set { count } else { before.saturating_add(count) };
                self.host.pages.insert((cell, size), count);
                ret += 1;
            }
        }
        Ok(remote::NodeAllocPagesRet { ret })
    }

    pub(super) fn memory_parameters(
        &mut self,
        args: remote::NodeGetMemoryParametersArgs,
    ) -> Reply<remote::NodeGetMemoryParameters> {
        let all = merging().map(|(name, default, _)| {
            TypedParam::new(name, self.host.merging.get(name).cloned().unwrap_or(default))
        });
        if args.nparams == 0 {
            let nparams = super::count(all.len()).cast_signed();
            return Ok(remote::NodeGetMemoryParametersRet { params: Default::default(), nparams });
        }
        let most = usize::try_from(args.nparams).unwrap_or(0);
        Ok(remote::NodeGetMemoryParametersRet { params: all.into_iter().take(most).collect(), nparams: 0 })
    }

    pub(super) fn set_memory_parameters(
        &mut self,
        args: remote::NodeSetMemoryParametersArgs<'_>,
    ) -> Reply<remote::NodeSetMemoryParameters> {
        let known = merging();
        let mut changes = Vec::new();
        for param in args.params.iter() {
            let found = known.iter().find(|(name, _, settable)| *settable && param.field == *name);
            let Some((name, ..)) = found else {
                return Err(Refusal::argument(format!("parameter '{}' not supported", param.field)));
            };
            changes.push((*name, param.value.into_owned()));
        }
        self.host.merging.extend(changes);
        Ok(())
    }

    pub(super) fn memory_stats(
        &mut self,
        args: remote::NodeGetMemoryStatsArgs,
    ) -> Reply<remote::NodeGetMemoryStats> {
        // All cells, or one.
        let shares = if args.cell_num < 0 { 1 } else { u64::from(CELLS) };
        if args.cell_num >= CELLS.cast_signed() {
            return Err(Refusal::argument(format!(
                "cellNum in virNodeGetMemoryStats must be less than or equal to {}",
                CELLS - 1
            )));
        }
        const TOTAL_KIB: u64 = 3_145_728;
        let all = [("total", TOTAL_KIB), ("free", TOTAL_KIB / 2), ("buffers", 0), ("cached", TOTAL_KIB / 4)];
        if args.nparams == 0 {
            let nparams = super::count(all.len()).cast_signed();
            return Ok(remote::NodeGetMemoryStatsRet { params: Default::default(), nparams });
        }
        let most = usize::try_from(args.nparams).unwrap_or(0);
        let one = |(field, value): (&'static str, u64)| types::NodeGetMemoryStatsEntry {
            field: field.into(),
            value: value / shares,
        };
        Ok(remote::NodeGetMemoryStatsRet {
            params: all.into_iter().take(most).map(one).collect(),
            nparams: 0,
        })
    }

    pub(super) fn sev_info(&mut self, args: remote::NodeGetSevInfoArgs) -> Reply<remote::NodeGetSevInfo> {
        let all = vec![
            TypedParam::new(names::NODE_SEV_PDH, "cGRo"),
            TypedParam::new(names::NODE_SEV_CERT_CHAIN, "Y2VydA=="),
            TypedParam::new(names::NODE_SEV_CBITPOS, 47_u32),
            TypedParam::new(names::NODE_SEV_REDUCED_PHYS_BITS, 1_u32),
        ];
        let most = usize::try_from(args.nparams).unwrap_or(0);
        let nparams = super::count(all.len()).cast_signed();
        Ok(remote::NodeGetSevInfoRet { params: all.into_iter().take(most).collect(), nparams })
    }

    pub(super) fn suspend_host(
        &mut self,
        args: remote::NodeSuspendForDurationArgs,
    ) -> Reply<remote::NodeSuspendForDuration> {
        if args.duration < SHORTEST_SLEEP_S {
            return Err(Refusal::argument("Suspend duration is too short"));
        }
        // Nobody would notice: a host in memory wakes at once.
        self.host.sleeps += 1;
        Ok(())
    }

    pub(super) fn storage_capabilities(
        &mut self,
        _args: remote::ConnectGetStoragePoolCapabilitiesArgs,
    ) -> Reply<remote::ConnectGetStoragePoolCapabilities> {
        let pool = |kind: &&str| Element::new("pool").with("type", kind).with("supported", "yes");
        let document =
            Element::new("storagepoolCapabilities").children(super::storage::KINDS.iter().map(pool));
        Ok(remote::ConnectGetStoragePoolCapabilitiesRet { capabilities: document.print().into() })
    }

    pub(super) fn set_identity(
        &mut self,
        args: remote::ConnectSetIdentityArgs<'_>,
    ) -> Reply<remote::ConnectSetIdentity> {
        let mut user = None;
        for param in args.params.iter() {
            match param.field.to_string().as_str() {
                names::CONNECT_IDENTITY_SASL_USER_NAME => {
                    user = param.value.as_text().map(|text| text.to_string())
                }
                names::CONNECT_IDENTITY_USER_NAME
                | names::CONNECT_IDENTITY_GROUP_NAME
                | names::CONNECT_IDENTITY_UNIX_USER_ID
                | names::CONNECT_IDENTITY_UNIX_GROUP_ID
                | names::CONNECT_IDENTITY_PROCESS_ID
                | names::CONNECT_IDENTITY_PROCESS_TIME
                | names::CONNECT_IDENTITY_SELINUX_CONTEXT
                | names::CONNECT_IDENTITY_X509_DISTINGUISHED_NAME => {}
                other => return Err(Refusal::argument(format!("parameter '{other}' not supported"))),
            }
        }
        // A client speaks for another: the administrator sees for whom.
        let client = self.client()?;
        if user.is_some() {
            client.user = user;
        }
        Ok(())
    }
}
