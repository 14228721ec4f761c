//! What is set of the test driver's objects is read back.

use crate::support::Daemon;
use libvirt_client::protocol::enums::NetworkMetadataType;
use libvirt_client::protocol::event::Kind;
use libvirt_client::protocol::flags::{DomainModificationImpact as Impact, NetworkUpdateFlags};
use libvirt_client::protocol::procedure::Release;
use libvirt_client::protocol::remote;
use libvirt_client::protocol::xdr::IntoOwned;
use libvirt_client::{
    BandwidthParameters, BlkioParameters, ErrorKind, Item, NumaParameters, Params, SchedulerParameters,
};

#[tokio::test]
async fn a_domains_limits_are_what_they_were_set_to() {
    let Some(daemon) = Daemon::start("a_domains_limits_are_what_they_were_set_to") else { return };
    let connect = daemon.test().await;
    let test = connect.domain_by_name("test").await.unwrap();
    // The test driver takes this alone, and forgets it.
    let weight = SchedulerParameters { extra: Params::new().with("weight", 75_u32), ..Default::default() };
    test.set_scheduler(&weight, Impact::CURRENT).await.unwrap();
    let quota = SchedulerParameters { vcpu_quota: Some(50_000), ..Default::default() };
    let error = test.set_scheduler(&quota, Impact::CURRENT).await.unwrap_err();
    assert!(error.to_string().contains("vcpu_quota"), "{error}");
    let weight = Params::from(&weight);
    let args = remote::DomainSetSchedulerParametersArgs {
        dom: test.wire().into_owned(),
        params: weight.as_slice().into(),
    };
    connect.call::<remote::DomainSetSchedulerParameters>(&args).await.unwrap();
    assert!(test.scheduler(Impact::CURRENT).await.unwrap().extra.get("weight").is_some());
    let blkio = BlkioParameters { weight: Some(300), ..Default::default() };
    test.set_blkio_parameters(&blkio, Impact::LIVE).await.unwrap();
    assert_eq!(test.blkio_parameters(Impact::LIVE).await.unwrap().weight, Some(300));
    let numa = NumaParameters { nodeset: Some("0-1".into()), mode: Some(0), ..Default::default() };
    test.set_numa_parameters(&numa, Impact::LIVE).await.unwrap();
    assert_eq!(test.numa_parameters(Impact::LIVE).await.unwrap().nodeset.as_deref(), Some("0-1"));
    let bandwidth = BandwidthParameters { in_average: Some(1000), ..Default::default() };
    test.set_interface_bandwidth("testnet0", &bandwidth, Impact::LIVE).await.unwrap();
    assert_eq!(test.interface_bandwidth("testnet0", Impact::LIVE).await.unwrap().in_average, Some(1000));
    let perf = Params::new().with("cmt", true);
    test.set_perf_events(&perf, Impact::LIVE).await.unwrap();
    assert_eq!(test.perf_events(Impact::LIVE).await.unwrap().bool("cmt"), Some(true));
    assert!(!test.memory_stats().await.unwrap().is_empty());
    let args = remote::DomainGetCpuStatsArgs {
        dom: test.wire().into_owned(),
        nparams: 3,
        start_cpu: -1,
        ncpus: 1,
        ..Default::default()
    };
    let reply = connect.call::<remote::DomainGetCpuStats>(&args).await.unwrap();
    let told: Params = reply.result().unwrap().params.iter().collect();
    let [time, user, system] = ["cpu_time", "user_time", "system_time"].map(|name| told.u64(name).unwrap());
    assert!(time >= user + system && user > 0, "{told:?}");
    connect.close().await.unwrap();
}

#[tokio::test]
async fn interfaces_of_the_host_change_between_beginning_and_commit() {
    let Some(daemon) = Daemon::start("interfaces_of_the_host_change_between_beginning_and_commit") else {
        return;
    };
    let connect = daemon.test().await;
    let xml = "<interface type='ethernet' name='eth2'><start mode='onboot'/><mac address='aa:bb:cc:dd:ee:02'/></interface>";
    connect.begin_interface_change().await.unwrap();
    let interface = connect.define_interface(xml, Default::default()).await.unwrap();
    interface.start().await.unwrap();
    connect.commit_interface_change().await.unwrap();
    assert!(connect.roll_back_interface_change().await.is_err(), "there is nothing to go back to");
    let found = connect.interface_by_mac("aa:bb:cc:dd:ee:02").await.unwrap();
    assert!(found.is_active().await.unwrap());
    assert!(found.xml().await.unwrap().contains("eth2"));
    connect.close().await.unwrap();
}

#[tokio::test]
async fn a_networks_words_of_its_own_are_kept_and_told_by_newer_daemons() {
    let test = "a_networks_words_of_its_own_are_kept_and_told_by_newer_daemons";
    let Some(daemon) = Daemon::start(test) else { return };
    let connect = daemon.test().await;
    let network = connect.network_by_name("default").await.unwrap();
    let title = NetworkMetadataType::Title;
    let flags = NetworkUpdateFlags::LIVE;
    if connect.daemon_version() < Release(9, 7, 0) {
        let error = network.set_metadata(title, Some("named"), None, None, flags).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { since: Release(9, 7, 0), .. }), "{error}");
        return;
    }
    let mut events = connect.subscribe(Kind::NetworkMetadataChange).await.unwrap();
    network.set_metadata(title, Some("named"), None, None, flags).await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Item::Event(_)));
    assert_eq!(network.metadata(title, None, flags).await.unwrap(), "named");
}
