//! Calls without a handle.

use crate::every::{Objects, calls};
use crate::support::{Daemon, run};
use libvirt_client::protocol::enums::ErrorNumber;
use libvirt_client::protocol::remote::{DomainGetXmlDescArgs, DomainLookupByNameArgs, DomainScreenshotArgs};
use libvirt_client::protocol::xdr::IntoOwned;
use libvirt_client::{Connect, ErrorKind, Piece, raw};

#[tokio::test]
async fn every_call_has_a_function_of_its_name() {
    let Some(daemon) = Daemon::start("every_call_has_a_function_of_its_name") else { return };
    let connect = daemon.test().await;
    assert_eq!(raw::connect::get_type(&connect).await.unwrap().result().unwrap().kind, "TEST");
    let args = DomainLookupByNameArgs { name: "test".into() };
    let reply = raw::domain::lookup_by_name(&connect, &args).await.unwrap();
    let dom = reply.result().unwrap().dom;
    let args = DomainGetXmlDescArgs { dom: dom.clone(), ..Default::default() };
    let reply = raw::domain::get_xml_desc(&connect, &args).await.unwrap();
    assert!(reply.result().unwrap().xml.to_string().contains("<domain type='test'"));
    let args = DomainScreenshotArgs { dom, ..Default::default() };
    let (reply, mut stream) = raw::domain::screenshot(&connect, &args).await.unwrap();
    assert_eq!(reply.result().unwrap().mime.unwrap(), "image/png");
    let Some(Piece::Data(first)) = stream.receive().await.unwrap() else { panic!("no picture") };
    assert!(first.starts_with(b"\x89PNG"));
    while stream.receive().await.unwrap().is_some() {}
    stream.finish().await.unwrap();
}

/// A host of the test driver. Each connection to the file has one for itself; those to `/default` share theirs.
const HOST: &str = "<node>
  <domain type='test'><name>test</name><memory>1024</memory><os><type>hvm</type></os></domain>
  <network><name>default</name><forward/><ip address='192.168.122.1' netmask='255.255.255.0'/></network>
  <interface type='ethernet' name='eth1'><start mode='onboot'/><mac address='aa:bb:cc:dd:ee:ff'/></interface>
  <pool type='dir'>
    <name>default-pool</name><target><path>/default-pool</path></target>
    <volume type='file'><name>v</name><capacity>1048576</capacity><target><path>/default-pool/v</path></target></volume>
  </pool>
</node>";

async fn objects(connect: &Connect) -> Objects {
    let pool = connect.storage_pool_by_name("default-pool").await.unwrap();
    Objects {
        domain: connect.domain_by_name("test").await.unwrap().wire().into_owned(),
        network: connect.network_by_name("default").await.unwrap().wire().into_owned(),
        volume: pool.volume_by_name("v").await.unwrap().wire().into_owned(),
        pool: pool.wire().into_owned(),
        interface: connect.interface_by_name("eth1").await.unwrap().wire().into_owned(),
    }
}

/// Each on a connection of its own, and so on a host of its own: nothing that one of them does is seen by the next.
#[tokio::test]
async fn every_call_is_understood_and_answered() {
    let Some(daemon) = Daemon::start("every_call_is_understood_and_answered") else { return };
    std::fs::write(daemon.path("host.xml"), HOST).unwrap();
    let uri = format!("test+unix://{}", daemon.path("host.xml").display());
    let (mut done, mut refused, mut missing, mut wrong) = (0, 0, 0, Vec::new());
    for (info, flags, call) in calls() {
        let connect = daemon.builder(&uri).lanes(0).open_with(run).await.unwrap();
        let objects = objects(&connect).await;
        match call(&connect, &objects, flags).await {
            Ok(()) => done += 1,
            Err(error) => match error.kind() {
                ErrorKind::Unsupported { since, .. } if *since > connect.daemon_version() => missing += 1,
                // What cannot be decoded is refused with this code (`virNetServerProgramDispatchCall`).
                ErrorKind::Libvirt(refusal) if refusal.code != ErrorNumber::Rpc => refused += 1,
                _ => wrong.push(format!("{} with {flags:#x}: {error}", info.name)),
            },
        }
        // One of the calls has closed it already.
        let _ = connect.close().await;
    }
    println!("{done} done, {refused} refused, {missing} too new for this daemon");
    assert_eq!(wrong, Vec::<String>::new());
    assert!(done > 130, "{done} done, {refused} refused");
}
