//! What came after libvirt 11.3.0, with the daemon that `cargo xtask libvirtd --testing` installs. Older ones leave it out, and say so.

use crate::agent::guest_with;
use crate::guests::{definition, disk};
use crate::support::{Daemon, present};
use libvirt_client::protocol::event::{Event, Kind};
use libvirt_client::protocol::flags::DomainRebootFlags;
use libvirt_client::protocol::procedure::{Procedure, Release};
use libvirt_client::protocol::remote;
use libvirt_client::{Connect, Filter, Item, Params, Subscription};
use std::net::UdpSocket;
use std::time::Duration;

/// Whether the daemon is new enough, or a line that says that it is not.
fn knows(test: &str, connect: &Connect, since: Release) -> bool {
    let release = connect.daemon_version();
    if release < since {
        println!(
            "not run: {test}: the daemon of {release} does not know it, that of {since} is the first to"
        );
    }
    release >= since
}

async fn next(events: &mut Subscription) -> Event<'static> {
    match tokio::time::timeout(Duration::from_secs(120), events.next()).await.expect("an event").unwrap() {
        Item::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_program_that_opens_a_channel_in_a_guest_is_told() {
    let test = "a_program_that_opens_a_channel_in_a_guest_is_told";
    let Some((_daemon, connect, guest)) = guest_with(test, |_, xml| xml).await else { return };
    if !knows(test, &connect, Kind::DomainChannelLifecycle.since()) {
        return;
    }
    let filter = Filter::domain(Kind::DomainChannelLifecycle, &guest);
    let mut events = connect.subscribe_to([filter]).await.unwrap();
    // Its programs end, and begin anew: disconnected (2), connected (1), each because of the channel itself (2).
    guest.reboot(DomainRebootFlags::GUEST_AGENT).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 2 {
        let Event::DomainChannelLifecycle(event) = next(&mut events).await else { panic!("another event") };
        if event.channel_name == "org.example.channel" {
            told.push((event.state, event.reason));
        }
    }
    assert_eq!(told, [(2, 2), (1, 2)]);
}

#[tokio::test]
async fn an_interface_that_is_announced_is_heard() {
    let test = "an_interface_that_is_announced_is_heard";
    let Some(daemon) = Daemon::start(test) else { return };
    if !present(test, &[("/usr/bin/qemu-system-x86_64", "qemu-system-x86")]) {
        return;
    }
    let connect = daemon.open("qemu:///session").await;
    if !knows(test, &connect, remote::DomainAnnounceInterface::INFO.since) {
        return;
    }
    // Its wire ends here, where every frame comes as a datagram.
    let wire = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let [here, there] = [&wire, &other].map(|socket| socket.local_addr().unwrap().port());
    drop(other);
    let interface = format!(
        "<interface type='udp'><mac address='52:54:00:00:00:07'/><source address='127.0.0.1' port='{here}'>\
         <local address='127.0.0.1' port='{there}'/></source><model type='e1000'/></interface></devices>"
    );
    let xml = definition(&daemon, &format!("<source file='{}'/>", disk(&daemon, "disk")))
        .replace("</devices>", &interface);
    let guest = connect.create_domain(&xml, Default::default()).await.unwrap();
    guest.announce_interface(None, &Params::new()).await.unwrap();
    wire.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut frame = [0; 2048];
    let length = wire.recv(&mut frame).unwrap();
    // To everybody, from its card, RARP (RFC 903: ethertype 0x8035).
    let mac = [0x52, 0x54, 0, 0, 0, 7];
    assert_eq!(frame[..14], [&[0xff; 6], &mac[..], &[0x80, 0x35]].concat(), "{:?}", &frame[..length]);
    guest.destroy(Default::default()).await.unwrap();
}
