//! The hypervisor as a value: no socket, no clock.

use super::*;
use crate::proxy::Packet;
use libvirt_protocol::packet::{Header, Kind, Status};
use libvirt_protocol::remote;
use libvirt_protocol::session::{Request, ServerSession};
use seeded::Random;

/// A client's side, without a connection.
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
        // By the name of nothing: a word that there is one, its length, the flags.
        caller.call(remote::ConnectOpen::INFO, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        caller
    }

    /// Calls, and gives what comes of it.
    fn call(&mut self, info: &Info, payload: &[u8]) -> Vec<Effect> {
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
        match self.session.next().unwrap() {
            Some(Request::Call { call, info, payload, descriptors }) => {
                self.hypervisor.call(Client(1), call, info, payload, descriptors, Duration::from_secs(1));
            }
            other => panic!("{other:?}"),
        }
        std::iter::from_fn(|| self.hypervisor.pop()).map(|(_, effect)| effect).collect()
    }
}

fn text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Bytes that often are arguments: an object that there is, then words and names.
fn arguments(random: &mut Random) -> Vec<u8> {
    let names =
        ["test", "default", "default-pool", "eth1", "scsi_host1", "vda", "testnet0", "<domain/>", "/x"];
    let name = |random: &mut Random| names[usize::try_from(random.below(names.len() as u64)).unwrap()];
    let mut bytes = Vec::new();
    let objects = [
        ("test", "6695eb01f6a4830479aa97f2502e193f", &[0, 0, 0, 1][..]),
        ("default", "dd8fe8846c02601e7551cca97df1c5df", &[]),
        ("default-pool", "dfe224cb28fb8dd0c4b264eb3f0f4566", &[]),
    ];
    match random.below(6) {
        0 => {}
        1 => text(name(random), &mut bytes),
        object => {
            let (name, uuid, id) = objects[usize::try_from(object).unwrap().saturating_sub(3)];
            text(name, &mut bytes);
            bytes.extend_from_slice(&uuid.parse::<Uuid>().unwrap().0);
            bytes.extend_from_slice(id);
        }
    }
    for _ in 0..random.below(6) {
        match random.below(6) {
            0 => text(name(random), &mut bytes),
            1 => bytes.extend_from_slice(&random.number().to_be_bytes()),
            _ => bytes.extend_from_slice(&u32::try_from(random.below(4)).unwrap().to_be_bytes()),
        }
    }
    bytes
}

#[test]
fn every_procedure_answers_whatever_it_is_given_once() {
    for scope in [Scope::TestDriver, Scope::Complete] {
        let mut random = Random::new(1);
        let mut served = 0;
        for round in 0..60 {
            // Anew, for soon nothing is left of the default state.
            let mut caller = Caller::new(scope);
            for program in Program::ALL {
                for info in program.procedures().iter().filter(|info| !info.event) {
                    if [remote::ConnectOpen::INFO, remote::ConnectClose::INFO].contains(info) {
                        continue;
                    }
                    // Most bytes are no arguments; those that are go further. Every third time it is what comes first.
                    let decodes = |payload: &Vec<u8>| {
                        round % 3 == 0 || info.recode.is_some_and(|recode| (recode.args)(payload).is_ok())
                    };
                    let tries = (0..50).map(|_| arguments(&mut random));
                    let payload = tries.into_iter().find(decodes).unwrap_or_default();
                    let effects = caller.call(info, &payload);
                    let answers = effects
                        .iter()
                        .filter(|effect| matches!(effect, Effect::Reply { .. } | Effect::Refuse { .. }));
                    assert_eq!(answers.count(), 1, "{} in round {round}", info.name);
                    served += usize::from(matches!(effects[0], Effect::Reply { .. }));
                }
            }
        }
        assert!(served > 2000, "only {served} calls made sense");
    }
}

#[test]
fn the_same_calls_give_the_same_answers() {
    let run = || {
        let mut caller = Caller::new(Scope::Complete);
        let xml = "<domain type='test'><name>a</name><memory>1</memory><os><type>hvm</type></os><devices>\
                   <interface type='bridge'><source bridge='b'/></interface></devices></domain>";
        let args = remote::DomainCreateXmlArgs { xml_desc: xml.into(), ..Default::default() };
        let args = libvirt_protocol::xdr::encode(&args).unwrap();
        format!("{:?}", caller.call(remote::DomainCreateXml::INFO, &args))
    };
    assert_eq!(run(), run());
    assert!(run().starts_with("[Reply"), "{}", run());
}

#[test]
fn a_volume_larger_than_memory_is_read_in_pieces() {
    let mut caller = Caller::new(Scope::Complete);
    let pool = libvirt_protocol::types::StoragePool {
        name: "default-pool".into(),
        uuid: "dfe224cb28fb8dd0c4b264eb3f0f4566".parse().unwrap(),
    };
    let xml = "<volume><name>v</name><capacity unit='P'>1000</capacity><allocation>0</allocation></volume>";
    let args = remote::StorageVolCreateXmlArgs { pool, xml: xml.into(), ..Default::default() };
    caller.call(remote::StorageVolCreateXml::INFO, &libvirt_protocol::xdr::encode(&args).unwrap());
    let vol = libvirt_protocol::types::StorageVol {
        pool: "default-pool".into(),
        name: "v".into(),
        key: "/default-pool/v".into(),
    };
    let args = remote::StorageVolDownloadArgs { vol, ..Default::default() };
    let effects =
        caller.call(remote::StorageVolDownload::INFO, &libvirt_protocol::xdr::encode(&args).unwrap());
    let [Effect::Reply { .. }, Effect::Readable(call)] = effects[..] else { panic!("{effects:?}") };
    for _ in 0..10 {
        caller.hypervisor.pull(Client(1), call);
        match caller.hypervisor.pop() {
            Some((_, Effect::Data(_, data))) => assert!(data.len() <= 262_120),
            other => panic!("{other:?}"),
        }
        assert!(matches!(caller.hypervisor.pop(), Some((_, Effect::Readable(_)))));
    }
}

/// The messages that came of it, by the names of their procedures.
fn told(effects: Vec<(Client, Effect)>) -> Vec<&'static str> {
    let names = effects.into_iter().filter_map(|(_, effect)| match effect {
        Effect::Event { info, payload } => {
            libvirt_protocol::event::decode(info.program, info.number, &payload).unwrap().unwrap();
            Some(info.name)
        }
        _ => None,
    });
    names.collect()
}

/// What happens in a domain reaches who subscribed to it, in the form that it subscribed to: as a number of its own, or in the old way.
#[test]
fn what_happens_is_told_in_the_form_that_was_asked_for() {
    use libvirt_protocol::enums::*;
    let new = "domain_event_callback_";
    let cases: Vec<(DomainEventId, Happening, String, Option<&str>)> = vec![
        (
            DomainEventId::RtcChange,
            Happening::RtcChange(5),
            format!("{new}rtc_change"),
            Some("domain_event_rtc_change"),
        ),
        (
            DomainEventId::Watchdog,
            Happening::Watchdog(DomainEventWatchdogAction::Pause),
            format!("{new}watchdog"),
            Some("domain_event_watchdog"),
        ),
        (DomainEventId::IoError, io_error(), format!("{new}io_error"), Some("domain_event_io_error")),
        (
            DomainEventId::IoErrorReason,
            io_error(),
            format!("{new}io_error_reason"),
            Some("domain_event_io_error_reason"),
        ),
        (
            DomainEventId::Graphics,
            Happening::Graphics(DomainEventGraphicsPhase::Connect),
            format!("{new}graphics"),
            Some("domain_event_graphics"),
        ),
        (
            DomainEventId::ControlError,
            Happening::ControlError,
            format!("{new}control_error"),
            Some("domain_event_control_error"),
        ),
        (
            DomainEventId::DiskChange,
            Happening::DiskChange { path: "/cd".into(), alias: "cdrom".into() },
            format!("{new}disk_change"),
            Some("domain_event_disk_change"),
        ),
        (
            DomainEventId::AgentLifecycle,
            Happening::AgentLifecycle(ConnectDomainEventAgentLifecycleState::Connected),
            format!("{new}agent_lifecycle"),
            None,
        ),
        (
            DomainEventId::DeviceRemovalFailed,
            Happening::DeviceRemovalFailed("disk".into()),
            format!("{new}device_removal_failed"),
            None,
        ),
        (
            DomainEventId::MemoryFailure,
            Happening::MemoryFailure(DomainMemoryFailureActionType::Ignore),
            "domain_event_memory_failure".to_owned(),
            None,
        ),
        (
            DomainEventId::MemoryDeviceSizeChange,
            Happening::MemoryDeviceSizeChange("dimm0".into(), 7),
            "domain_event_memory_device_size_change".to_owned(),
            None,
        ),
        (
            DomainEventId::NicMacChange,
            Happening::NicMacChange("net0".into(), "old".into(), "new".into()),
            "domain_event_nic_mac_change".to_owned(),
            None,
        ),
        (
            DomainEventId::ChannelLifecycle,
            Happening::ChannelLifecycle("org.qemu".into(), 1),
            format!("{new}channel_lifecycle"),
            None,
        ),
        (
            DomainEventId::MigrationIteration,
            Happening::MigrationIteration(2),
            format!("{new}migration_iteration"),
            None,
        ),
    ];
    for (id, what, name, old) in cases {
        let mut caller = Caller::new(Scope::Complete);
        let drain = |caller: &mut Caller| std::iter::from_fn(|| caller.hypervisor.pop()).collect::<Vec<_>>();
        caller.hypervisor.happen("test", what.clone());
        assert!(told(drain(&mut caller)).is_empty(), "nobody asked for {name}");
        let number = i32::from(id).to_be_bytes();
        caller.call(remote::ConnectDomainEventCallbackRegisterAny::INFO, &[number, [0; 4]].concat());
        caller.hypervisor.happen("test", what.clone());
        assert_eq!(told(drain(&mut caller)), [name.as_str()]);
        if let Some(old) = old {
            caller.call(remote::ConnectDomainEventCallbackDeregisterAny::INFO, &0_i32.to_be_bytes());
            caller.call(remote::ConnectDomainEventRegisterAny::INFO, &number);
            caller.hypervisor.happen("test", what.clone());
            assert_eq!(told(drain(&mut caller)), [old]);
            caller.call(remote::ConnectDomainEventDeregisterAny::INFO, &number);
        }
        caller.hypervisor.happen("nobody", what.clone());
        assert!(told(drain(&mut caller)).is_empty());
    }
}

fn io_error() -> Happening {
    Happening::IoError {
        path: "/disk".into(),
        alias: "vda".into(),
        action: libvirt_protocol::enums::DomainEventIoErrorAction::Pause,
        reason: "enospc".into(),
    }
}
