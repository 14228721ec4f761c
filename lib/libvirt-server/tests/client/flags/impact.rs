//! What runs, and what will run next time: each call that has the choice changes, or tells, the one that is asked for and not the other.

use super::*;
use libvirt_client::Params;
use libvirt_client::protocol::enums::{
    DomainLifecycle, DomainLifecycleAction, DomainMetadataType, NetworkMetadataType,
};
use libvirt_client::protocol::flags::{
    DomainDeviceModifyFlags as Modify, DomainMemoryModFlags as Memory, DomainModificationImpact as Impact,
    DomainVcpuFlags as Vcpus, NetworkUpdateFlags,
};
use libvirt_client::protocol::params::TypedParam;
use libvirt_client::protocol::xdr;

/// What a call tells, as text.
macro_rules! told {
    ($connect:expr, $procedure:ident, $args:expr) => {{
        let reply = done::<remote::$procedure>($connect, &$args).await;
        format!("{:?}", xdr::encode(&reply.result().unwrap()).unwrap())
    }};
}

/// The definition: of what runs, or of what will.
async fn document(connect: &Connect, flag: Impact) -> String {
    if flag == Impact::LIVE { live(connect).await } else { kept(connect).await }
}

/// Makes a change with each flag on a server of its own; `tell` must then tell it of the one that was changed, and of that alone.
async fn apart(
    what: &str,
    change: impl AsyncFn(&Connect, Impact),
    tell: impl AsyncFn(&Connect, Impact) -> String,
) {
    for (changed, other) in [(Impact::LIVE, Impact::CONFIG), (Impact::CONFIG, Impact::LIVE)] {
        let connect = fresh().await;
        // Two threads that both definitions know, for the calls that are about one.
        for id in [1, 2] {
            domain(&connect).await.add_iothread(id, Impact::LIVE | Impact::CONFIG).await.unwrap();
        }
        let before = (tell(&connect, changed).await, tell(&connect, other).await);
        change(&connect, changed).await;
        let after = (tell(&connect, changed).await, tell(&connect, other).await);
        assert_ne!(before.0, after.0, "{what}: {changed:?} changes nothing");
        assert_eq!(before.1, after.1, "{what}: {changed:?} changes the other too");
    }
}

fn one(name: &'static str, value: u64) -> Vec<TypedParam<'static>> {
    Params::new().with(name, value).as_slice().to_vec()
}

/// Names a call to set parameters, the one that tells them, and what is set.
macro_rules! parameters {
    ($set:ident($set_args:ident), $get:ident($get_args:ident), $params:expr $(, $field:ident: $set_value:expr, $get_value:expr)?) => {
        apart(
            stringify!($set),
            async |connect, flags| {
                let dom = dom(connect).await;
                let params = $params;
                let args = remote::$set_args { dom, params: params.into(), flags, $($field: $set_value.into(),)? };
                done::<remote::$set>(connect, &args).await;
            },
            async |connect, flags| {
                let dom = dom(connect).await;
                told!(connect, $get, remote::$get_args { dom, flags, nparams: 32, $($field: $get_value,)? })
            },
        )
        .await
    };
}

#[tokio::test]
async fn parameters_are_set_and_told_of_what_runs_and_of_what_will() {
    parameters!(
        DomainSetMemoryParameters(DomainSetMemoryParametersArgs),
        DomainGetMemoryParameters(DomainGetMemoryParametersArgs),
        one("hard_limit", 4096)
    );
    parameters!(
        DomainSetBlkioParameters(DomainSetBlkioParametersArgs),
        DomainGetBlkioParameters(DomainGetBlkioParametersArgs),
        Params::new().with("weight", 200_u32).as_slice().to_vec()
    );
    parameters!(
        DomainSetSchedulerParametersFlags(DomainSetSchedulerParametersFlagsArgs),
        DomainGetSchedulerParametersFlags(DomainGetSchedulerParametersFlagsArgs),
        Params::new().with("weight", 70_u32).as_slice().to_vec()
    );
    parameters!(
        DomainSetNumaParameters(DomainSetNumaParametersArgs),
        DomainGetNumaParameters(DomainGetNumaParametersArgs),
        vec![TypedParam::new("numa_nodeset", "0-1")]
    );
    parameters!(
        DomainSetBlockIoTune(DomainSetBlockIoTuneArgs),
        DomainGetBlockIoTune(DomainGetBlockIoTuneArgs),
        one("size_iops_sec", 5),
        disk: "vda", Some("vda".into())
    );
    parameters!(
        DomainSetInterfaceParameters(DomainSetInterfaceParametersArgs),
        DomainGetInterfaceParameters(DomainGetInterfaceParametersArgs),
        Params::new().with("inbound.average", 9_u32).as_slice().to_vec(),
        device: "testnet0", "testnet0".into()
    );
    apart(
        "perf",
        async |connect, flags| {
            let events = Params::new().with("cpu_cycles", true);
            domain(connect).await.set_perf_events(&events, flags).await.unwrap();
        },
        async |connect, flags| format!("{:?}", domain(connect).await.perf_events(flags).await.unwrap()),
    )
    .await;
    apart(
        "the parameters of a thread",
        async |connect, flags| {
            let params = one("poll_max_ns", 7).into();
            let args = remote::DomainSetIoThreadParamsArgs {
                dom: dom(connect).await,
                iothread_id: 1,
                params,
                flags,
            };
            done::<remote::DomainSetIoThreadParams>(connect, &args).await;
        },
        document,
    )
    .await;
}

#[tokio::test]
async fn processors_and_threads_are_bound_in_what_runs_and_in_what_will() {
    let map = || vec![0b10_u8];
    apart(
        "vcpu",
        async |connect, flags| {
            let args = remote::DomainPinVcpuFlagsArgs {
                dom: dom(connect).await,
                vcpu: 1,
                cpumap: map().into(),
                flags,
            };
            done::<remote::DomainPinVcpuFlags>(connect, &args).await;
        },
        async |connect, flags| {
            let dom = dom(connect).await;
            told!(
                connect,
                DomainGetVcpuPinInfo,
                remote::DomainGetVcpuPinInfoArgs { dom, ncpumaps: 2, maplen: 1, flags }
            )
        },
    )
    .await;
    apart(
        "emulator",
        async |connect, flags| {
            let args = remote::DomainPinEmulatorArgs { dom: dom(connect).await, cpumap: map().into(), flags };
            done::<remote::DomainPinEmulator>(connect, &args).await;
        },
        async |connect, flags| {
            let dom = dom(connect).await;
            told!(
                connect,
                DomainGetEmulatorPinInfo,
                remote::DomainGetEmulatorPinInfoArgs { dom, maplen: 1, flags }
            )
        },
    )
    .await;
    let threads = async |connect: &Connect, flags| {
        let dom = dom(connect).await;
        told!(connect, DomainGetIoThreadInfo, remote::DomainGetIoThreadInfoArgs { dom, flags })
    };
    apart(
        "a thread",
        async |connect, flags| {
            let (dom, cpumap) = (dom(connect).await, map().into());
            let args = remote::DomainPinIoThreadArgs { dom, iothreads_id: 1, cpumap, flags };
            done::<remote::DomainPinIoThread>(connect, &args).await;
        },
        threads,
    )
    .await;
    apart("add", async |connect, flags| domain(connect).await.add_iothread(9, flags).await.unwrap(), threads)
        .await;
    apart(
        "remove",
        async |connect, flags| domain(connect).await.remove_iothread(2, flags).await.unwrap(),
        threads,
    )
    .await;
    apart(
        "vcpu by number",
        async |connect, flags| domain(connect).await.set_vcpu("1", 0, flags).await.unwrap(),
        document,
    )
    .await;
    let count = async |connect: &Connect, flags: Impact| {
        let flags = Vcpus::from_bits_retain(flags.bits());
        domain(connect).await.vcpu_count(flags).await.unwrap().to_string()
    };
    apart(
        "count",
        async |connect, flags| {
            let flags = Vcpus::from_bits_retain(flags.bits());
            domain(connect).await.set_vcpu_count(1, flags).await.unwrap();
        },
        count,
    )
    .await;
}

#[tokio::test]
async fn what_else_there_is_changes_in_what_runs_or_in_what_will() {
    let action = async |connect: &Connect, flags| {
        let (kind, action) = (DomainLifecycle::Reboot, DomainLifecycleAction::Destroy);
        domain(connect).await.set_lifecycle_action(kind, action, flags).await.unwrap();
    };
    apart("lifecycle", action, document).await;
    let group = async |connect: &Connect, flags| {
        let (dom, params) = (dom(connect).await, one("total_bytes_sec", 9).into());
        let args = remote::DomainSetThrottleGroupArgs { dom, group: "slow".into(), params, flags };
        done::<remote::DomainSetThrottleGroup>(connect, &args).await;
    };
    apart("group", group, document).await;
    for flag in [Impact::LIVE, Impact::CONFIG] {
        let connect = fresh().await;
        domain(&connect).await.remove_throttle_group("slow", flag).await.unwrap_err();
        group(&connect, Impact::LIVE | Impact::CONFIG).await;
        domain(&connect).await.remove_throttle_group("slow", flag).await.unwrap();
        assert_eq!(live(&connect).await.contains("slow"), flag == Impact::CONFIG);
        assert_eq!(kept(&connect).await.contains("slow"), flag == Impact::LIVE);
    }
    let memory = |flags: Impact| Memory::from_bits_retain(flags.bits());
    let period = async |connect: &Connect, flags| {
        domain(connect).await.set_memory_stats_period(5, memory(flags)).await.unwrap();
    };
    apart("period", period, document).await;
    let size =
        async |connect: &Connect, flags| domain(connect).await.set_memory(4096, memory(flags)).await.unwrap();
    apart("memory", size, document).await;
    let most = async |connect: &Connect, flags| {
        // The most can be changed only of what will run.
        domain(connect).await.set_memory(9_000_000, memory(flags) | Memory::MAXIMUM).await
    };
    let connect = fresh().await;
    most(&connect, Impact::LIVE).await.unwrap_err();
    most(&connect, Impact::CONFIG).await.unwrap();
    assert!(kept(&connect).await.contains("9000000") && !live(&connect).await.contains("9000000"));
    let kind = DomainMetadataType::Title;
    apart(
        "title",
        async |connect, flags| {
            domain(connect).await.set_metadata(kind, Some("new"), None, None, flags).await.unwrap()
        },
        async |connect, flags| format!("{:?}", domain(connect).await.metadata(kind, None, flags).await.ok()),
    )
    .await;
}

#[tokio::test]
async fn devices_come_and_go_in_what_runs_or_in_what_will() {
    let modify = |flags: Impact| Modify::from_bits_retain(flags.bits());
    let disk = |file: &str| {
        format!(
            "<disk type='file' device='cdrom'><source file='{file}'/><target dev='vdb' bus='virtio'/></disk>"
        )
    };
    let attach = async |connect: &Connect, flags| {
        domain(connect).await.attach_device(&disk("/new"), modify(flags)).await.unwrap();
    };
    apart("attach", attach, document).await;
    for flag in [Impact::LIVE, Impact::CONFIG] {
        let both = Impact::LIVE | Impact::CONFIG;
        let there = async |connect: &Connect, what: &str| {
            (live(connect).await.contains(what), kept(connect).await.contains(what))
        };
        let only = |there: bool| ((flag == Impact::LIVE) == there, (flag == Impact::CONFIG) == there);
        let connect = fresh().await;
        attach(&connect, both).await;
        let guest = domain(&connect).await;
        guest.update_device(&disk("/other"), modify(flag)).await.unwrap();
        assert_eq!(there(&connect, "/other").await, only(true));
        // Who may not wait for the guest to let go of a medium takes it by force.
        guest.update_device(&disk("/forced"), modify(flag) | Modify::FORCE).await.unwrap();
        assert_eq!(there(&connect, "/forced").await, only(true));
        guest.detach_device(&disk("/forced"), modify(flag)).await.unwrap();
        assert_eq!(there(&connect, "dev='vdb'").await, only(false));
        let connect = fresh().await;
        attach(&connect, both).await;
        domain(&connect).await.detach_device_alias("virtio-disk-vdb", modify(flag)).await.unwrap();
        assert_eq!(there(&connect, "dev='vdb'").await, only(false));
        domain(&connect).await.detach_device_alias("nothing", modify(flag)).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_network_has_a_title_that_runs_and_one_that_will() {
    use NetworkUpdateFlags as F;
    let title = NetworkMetadataType::Title;
    for flag in [F::LIVE, F::CONFIG] {
        let connect = fresh().await;
        // Started again, so that it has both.
        let net = connect.network_by_name("default").await.unwrap();
        net.destroy().await.unwrap();
        net.start().await.unwrap();
        net.set_metadata(title, Some("new"), None, None, flag).await.unwrap();
        for told in [F::LIVE, F::CONFIG] {
            let found = net.metadata(title, None, told).await;
            assert_eq!(found.is_ok_and(|title| title == "new"), told == flag, "{flag:?} {told:?}");
        }
        use libvirt_client::protocol::flags::NetworkXmlFlags;
        assert_eq!(net.xml(NetworkXmlFlags::INACTIVE).await.unwrap().contains("new"), flag == F::CONFIG);
        assert_eq!(net.xml(NetworkXmlFlags::empty()).await.unwrap().contains("new"), flag == F::LIVE);
    }
}
