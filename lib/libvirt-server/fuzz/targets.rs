//! What is done with bytes that could be anything: by the fuzzer, and by `tests/client/fuzz.rs` without one.
//!
//! ```text
//!   documents    which call takes it, and a document for that: the definition of a domain, network, pool ...
//!   recordings   the text of a recording, whose messages go through a recorder again
//! ```

use libvirt_protocol::packet::{Header, Kind, Status};
use libvirt_protocol::procedure::{Info, Procedure};
use libvirt_protocol::session::{Request, ServerSession};
use libvirt_protocol::xdr::{self, Text};
use libvirt_protocol::{remote, types};
use libvirt_server::hypervisor::{Client, Effect};
use libvirt_server::proxy::{Gate, Packet, Packets, Recorder, Recording};
use libvirt_server::{Hypervisor, Peer, Scope};
use std::time::Duration;

/// What takes any bytes, and panics when something is wrong.
pub(crate) type Target = fn(&[u8]);

/// By name.
pub(crate) const TARGETS: [(&str, Target); 2] = [("documents", documents), ("recordings", recordings)];

/// A client that is connected to a hypervisor.
struct Caller {
    hypervisor: Hypervisor,
    session: ServerSession,
    serial: u32,
}

impl Caller {
    fn new(scope: Scope) -> Self {
        let mut hypervisor = Hypervisor::new(scope, "host", 0);
        hypervisor.connect(Client(1), Peer::default(), Duration::ZERO);
        let mut caller = Self { hypervisor, session: ServerSession::default(), serial: 0 };
        caller.call::<remote::ConnectOpen>(&remote::ConnectOpenArgs {
            name: Some("test:///default".into()),
            ..Default::default()
        });
        caller
    }

    /// Calls; every call has one answer. The result, unless it is a refusal.
    fn call<P: Procedure>(&mut self, args: &P::Args<'_>) -> Option<Vec<u8>> {
        self.send(P::INFO, &xdr::encode(args).ok()?)
    }

    fn send(&mut self, info: &Info, payload: &[u8]) -> Option<Vec<u8>> {
        self.serial += 1;
        let header = Header {
            program: info.program.number(),
            version: info.program.version(),
            procedure: info.number,
            kind: Kind::Call,
            serial: self.serial,
            status: Status::Ok,
        };
        let bytes = Packet { header, payload: payload.to_vec(), descriptors: Vec::new() }.encode();
        let space = self.session.space();
        space[..bytes.len()].copy_from_slice(&bytes);
        self.session.filled(bytes.len(), []);
        match self.session.next().expect("it is a packet") {
            Some(Request::Call { call, info, payload, descriptors }) => {
                let client = Client(1);
                self.hypervisor.call(client, call, info, payload, descriptors, Duration::from_secs(1));
            }
            other => panic!("{other:?}"),
        }
        let (mut answers, mut found) = (0, None);
        while let Some((_, effect)) = self.hypervisor.pop() {
            match effect {
                Effect::Reply { result, .. } => (answers, found) = (answers + 1, Some(result)),
                Effect::Refuse { .. } => answers += 1,
                _ => {}
            }
        }
        assert_eq!(answers, 1, "{}", info.name);
        found
    }
}

/// Has a document taken or refused; what was taken is told, and that is taken by nobody but the same call.
pub(crate) fn documents(bytes: &[u8]) {
    let Some((which, document)) = bytes.split_first() else { return };
    let scope = if which & 0x80 == 0 { Scope::Complete } else { Scope::TestDriver };
    let mut caller = Caller::new(scope);
    let xml = || Text::from(document);
    let domain = types::Domain {
        name: "test".into(),
        uuid: "6695eb01-f6a4-8304-79aa-97f2502e193f".parse().expect("it is one"),
        id: 1,
    };
    let pool = types::StoragePool {
        name: "default-pool".into(),
        uuid: "dfe224cb-28fb-8dd0-c4b2-64eb3f0f4566".parse().expect("it is one"),
    };
    match which & 0x7f {
        0 => {
            let args = remote::DomainDefineXmlFlagsArgs { xml: xml(), ..Default::default() };
            if let Some(made) = caller.call::<remote::DomainDefineXmlFlags>(&args) {
                let made = xdr::decode::<remote::DomainDefineXmlFlagsRet<'_>>(&made).expect("what it says");
                let told = remote::DomainGetXmlDescArgs { dom: made.dom, ..Default::default() };
                assert!(caller.call::<remote::DomainGetXmlDesc>(&told).is_some());
            }
        }
        1 => drop(caller.call::<remote::DomainCreateXml>(&remote::DomainCreateXmlArgs {
            xml_desc: xml(),
            ..Default::default()
        })),
        2 => {
            let args = remote::NetworkDefineXmlFlagsArgs { xml: xml(), ..Default::default() };
            if let Some(made) = caller.call::<remote::NetworkDefineXmlFlags>(&args) {
                let made = xdr::decode::<remote::NetworkDefineXmlFlagsRet<'_>>(&made).expect("what it says");
                let told = remote::NetworkGetXmlDescArgs { net: made.net, ..Default::default() };
                assert!(caller.call::<remote::NetworkGetXmlDesc>(&told).is_some());
            }
        }
        3 => {
            let args = remote::StoragePoolDefineXmlArgs { xml: xml(), ..Default::default() };
            if let Some(made) = caller.call::<remote::StoragePoolDefineXml>(&args) {
                let made = xdr::decode::<remote::StoragePoolDefineXmlRet<'_>>(&made).expect("what it says");
                let told = remote::StoragePoolGetXmlDescArgs { pool: made.pool, ..Default::default() };
                assert!(caller.call::<remote::StoragePoolGetXmlDesc>(&told).is_some());
            }
        }
        4 => drop(caller.call::<remote::StorageVolCreateXml>(&remote::StorageVolCreateXmlArgs {
            pool,
            xml: xml(),
            ..Default::default()
        })),
        5 => drop(caller.call::<remote::InterfaceDefineXml>(&remote::InterfaceDefineXmlArgs {
            xml: xml(),
            ..Default::default()
        })),
        6 => drop(caller.call::<remote::SecretDefineXml>(&remote::SecretDefineXmlArgs {
            xml: xml(),
            ..Default::default()
        })),
        7 => drop(caller.call::<remote::NwFilterDefineXml>(&remote::NwFilterDefineXmlArgs { xml: xml() })),
        8 => drop(caller.call::<remote::NodeDeviceCreateXml>(&remote::NodeDeviceCreateXmlArgs {
            xml_desc: xml(),
            ..Default::default()
        })),
        9 => drop(caller.call::<remote::DomainSnapshotCreateXml>(&remote::DomainSnapshotCreateXmlArgs {
            dom: domain,
            xml_desc: xml(),
            ..Default::default()
        })),
        10 => {
            drop(caller.call::<remote::DomainCheckpointCreateXml>(&remote::DomainCheckpointCreateXmlArgs {
                dom: domain,
                xml_desc: xml(),
                ..Default::default()
            }))
        }
        11 => {
            drop(caller.call::<remote::DomainAttachDevice>(&remote::DomainAttachDeviceArgs {
                dom: domain,
                xml: xml(),
            }))
        }
        12 => drop(caller.call::<remote::DomainBackupBegin>(&remote::DomainBackupBeginArgs {
            dom: domain,
            backup_xml: xml(),
            ..Default::default()
        })),
        _ => drop(caller.call::<remote::ConnectBaselineCpu>(&remote::ConnectBaselineCpuArgs {
            xml_cpus: vec![xml()].into(),
            ..Default::default()
        })),
    }
}

/// Reads a text as a recording: what is one has one text. Its messages are packets, or are refused as such.
pub(crate) fn recordings(bytes: &[u8]) {
    let Ok(recording) = String::from_utf8_lossy(bytes).parse::<Recording>() else { return };
    assert_eq!(recording.to_string().parse(), Ok(recording.clone()));
    let mut recorder = Recorder::default();
    let mut passed = 0;
    for message in &recording.messages {
        let mut packets = Packets::default();
        packets.feed(&message.bytes, []);
        while let Ok(Some(packet)) = packets.next_packet() {
            recorder.pass(message.direction, packet);
            passed += 1;
        }
    }
    let (again, summary) = recorder.finish();
    assert_eq!(again.messages.len(), passed);
    assert!(
        summary.identical + summary.raw + summary.unknown + summary.different.len() == passed,
        "{summary:?}"
    );
}
