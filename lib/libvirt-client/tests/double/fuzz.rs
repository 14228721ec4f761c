//! The fuzzer's targets without a fuzzer: what stands in files and what QEMU answers, changed by a generator with a seed.

#[path = "../../fuzz/targets.rs"]
mod targets;

use seeded::Random;
use targets::TARGETS;

/// What each target takes.
const INPUTS: [(&str, &str); 9] = [
    ("uris", "qemu+ssh://root@[fe80::1%25eth0]:22/system?keyfile=a&foo=b%20c"),
    (
        "uris",
        "test+tls://host:16514/default?pkipath=/x&tls_priority=SECURE128:-VERS-TLS1.2:%25FORCE_SESSION_HASH&no_verify=1",
    ),
    (
        "config",
        "# a comment\nuri_aliases = [\n  \"a=qemu+ssh://root@host/system\",\n  'b=test:///default',\n]\nuri_default = \"a\"\n",
    ),
    (
        "config",
        "remote_mode = 'legacy'\nremote_proxy = \"netcat\"\ntls_priority = \"NORMAL\"\nlog_level = 3\n",
    ),
    ("auth", "[credentials-x]\nauthname=fred\npassword=geheimnis\n[auth-libvirt-host]\ncredentials=x\n"),
    (
        "auth",
        "# nobody\n[auth-libvirt-default]\ncredentials=defgrp\n\n[credentials-defgrp]\nusername=admin\npassword=123456\n",
    ),
    ("replies", r#"{"return": {"running": true, "status": "running"}, "id": "libvirt-17"}"#),
    (
        "replies",
        r#"{"id": "libvirt-9", "error": {"class": "CommandNotFound", "desc": "The command x has not been found"}}"#,
    ),
    ("replies", r#"{"return": []}"#),
];

#[test]
fn what_is_read_is_understood_or_refused() {
    let mut random = Random::new(1);
    let one = |random: &mut Random| INPUTS[usize::try_from(random.below(INPUTS.len() as u64)).unwrap()];
    for round in 0..20_000 {
        let ((name, input), (_, other)) = (one(&mut random), one(&mut random));
        let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
        let changed = random.mutated(input.as_bytes(), other.as_bytes(), &[0, u32::MAX]);
        target(if round < 100 { input.as_bytes() } else { &changed });
    }
}
