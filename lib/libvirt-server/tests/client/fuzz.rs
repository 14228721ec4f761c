//! The fuzzer's targets without a fuzzer: documents and a recording, changed by a generator with a seed.

#[path = "../../fuzz/targets.rs"]
mod targets;

use seeded::Random;
use targets::TARGETS;

/// Each begins with which call takes it.
const DOCUMENTS: [(u8, &str); 14] = [
    (
        0,
        "<domain type='test'><name>a</name><memory unit='MiB'>64</memory><vcpu current='1'>2</vcpu><os><type>hvm</type></os><devices>\
         <disk type='file'><source file='/d'/><target dev='vda'/></disk></devices></domain>",
    ),
    (
        1,
        "<domain type='test'><name>b</name><memory>1024</memory><os><type>hvm</type></os><metadata><x:y xmlns:x='z'>&lt;&#65;</x:y></metadata></domain>",
    ),
    (
        2,
        "<network><name>n</name><bridge name='b'/><ip address='10.1.2.1' netmask='255.255.255.0'><dhcp><range start='10.1.2.10' end='10.1.2.99'/></dhcp></ip></network>",
    ),
    (3, "<pool type='dir'><name>p</name><target><path>/p</path></target></pool>"),
    (
        4,
        "<volume><name>v</name><capacity unit='MiB'>1</capacity><target><format type='qcow2'/></target></volume>",
    ),
    (
        5,
        "<interface type='ethernet' name='e'><start mode='none'/><mac address='aa:bb:cc:dd:ee:02'/></interface>",
    ),
    (6, "<secret ephemeral='no' private='yes'><usage type='volume'><volume>/v</volume></usage></secret>"),
    (7, "<filter name='f'><rule action='drop' direction='in'><tcp dstportstart='22'/></rule></filter>"),
    (
        8,
        "<device><parent>scsi_host1</parent><capability type='scsi_host'><capability type='fc_host'><wwnn>2000000012341234</wwnn>\
         <wwpn>1000000012341234</wwpn></capability></capability></device>",
    ),
    (9, "<domainsnapshot><name>s</name><description>d</description></domainsnapshot>"),
    (
        10,
        "<domaincheckpoint><name>c</name><disks><disk name='vda' checkpoint='bitmap'/></disks></domaincheckpoint>",
    ),
    (11, "<disk type='file'><source file='/e'/><target dev='vdb'/></disk>"),
    (
        12,
        "<domainbackup mode='push'><disks><disk name='vda' type='file'><target file='/t'/></disk></disks></domainbackup>",
    ),
    (
        0,
        "<domain type='test'><name>t</name><memory>1024</memory><vcpu current='1'>4</vcpu><iothreads>3</iothreads>\
         <iothreadids><iothread id='7'/></iothreadids><cputune><vcpupin vcpu='1' cpuset='0-3,8,^2'/>\
         <emulatorpin cpuset='0'/><iothreadpin iothread='7' cpuset='0-16383'/></cputune><os><type>hvm</type></os></domain>",
    ),
];

fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let documents =
        DOCUMENTS.iter().map(|(which, text)| ("documents", [&[*which], text.as_bytes()].concat()));
    let recorded = include_str!("../../testdata/virsh-9.0.0.txt").lines().filter(|line| line.len() < 2_000);
    let recorded: Vec<&str> = recorded.take(20).collect();
    documents.chain([("recordings", recorded.join("\n").into_bytes())]).collect()
}

#[test]
fn documents_and_recordings_are_understood_or_refused() {
    let inputs = inputs();
    let mut random = Random::new(1);
    for round in 0..4_000 {
        let mut one = || &inputs[usize::try_from(random.below(inputs.len() as u64)).unwrap()];
        let ((name, input), (_, other)) = (one(), one());
        let (_, target) = TARGETS.iter().find(|(known, _)| known == name).unwrap();
        // Each document for each call that takes one, and as it stands first.
        let changed = random.mutated(input, other, &[0, u32::MAX]);
        target(if round < 200 { input } else { &changed });
    }
}
