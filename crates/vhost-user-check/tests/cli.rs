//! The program, as who runs it sees it: on devices of its own, and on the back-ends that Debian has.
#![cfg(test)]

mod ran;
mod served;

use ran::{program, text};
use serde_json::{Value, json};
use served::{PROGRAM, Served};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use vhost_user::devices::DirectDisk;

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", text(&output.stdout), text(&output.stderr)))
}

fn failed(report: &Value) -> BTreeSet<&str> {
    let findings = report["findings"].as_array().unwrap();
    let failed = findings.iter().filter(|it| it["outcome"] == "failed");
    failed.map(|it| it["id"].as_str().unwrap()).collect()
}

#[test]
fn nothing_is_found_in_devices_of_our_own() {
    // On a disk: the directory for temporary files may be memory, where nothing goes around the page cache.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = directory.path().join("disk.raw");
    File::create(&file).unwrap().set_len(64 << 20).unwrap();
    let has_direct = DirectDisk::new(File::options().read(true).write(true).open(&file).unwrap(), 1);
    let file = ["--file", file.to_str().unwrap(), "--direct"];
    let more = ["--feature", "DEVICE_STATE", "--feature", "SHMEM", "--feature", "SHARED_OBJECT"];
    let kinds: [(&str, &[&str]); 7] = [
        ("blk", &[]),
        ("blk", &file),
        ("blk", &more),
        ("net", &[]),
        ("rng", &[]),
        ("console", &[]),
        ("balloon", &[]),
    ];
    for (kind, options) in kinds {
        if let (Err(error), true) = (&has_direct, options.contains(&"--direct")) {
            println!("not run: nothing_is_found_in_devices_of_our_own with --direct: {error}");
            continue;
        }
        let socket = directory.path().join(kind);
        let _served = Served::start(&socket, &[&["--type", kind], options].concat());
        let socket = socket.to_str().unwrap();
        let output = program(&[
            "check",
            "--socket",
            socket,
            "--type",
            kind,
            "--destructive",
            "--format",
            "json",
            "--fail-on",
            "robust",
            "--profile",
            "qemu",
            "--profile",
            "dpdk",
            "--profile",
            "cloud-hypervisor",
            "--profile",
            "libblkio",
            "--timeout",
            "20",
        ]);
        let report = parsed(&output);
        assert!(output.status.success(), "{kind}: {:?}", failed(&report));
        assert!(report["passed"].as_u64().unwrap() >= 200, "{kind}: {}", report["passed"]);
        assert_eq!(report["gone_before"], Value::Null);
    }
}

#[test]
fn a_report_is_written_in_every_format() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng");
    let _served = Served::start(&socket, &["--type", "rng"]);
    let socket = socket.to_str().unwrap();
    let check = |more: &[&str]| {
        program(&[&["check", "--socket", socket, "--type", "rng", "--only", "negotiation"], more].concat())
    };

    let table = check(&["--all"]);
    assert!(table.status.success());
    let table = text(&table.stdout);
    assert!(
        table.contains("negotiation.version-1") && table.ends_with("It does what was checked, all of it.\n"),
        "{table}"
    );

    let junit = check(&["--format", "junit"]);
    let mut reader = quick_xml::Reader::from_str(std::str::from_utf8(&junit.stdout).unwrap());
    let mut cases = 0;
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Eof => break,
            quick_xml::events::Event::Start(it) | quick_xml::events::Event::Empty(it)
                if it.name().as_ref() == "testcase" =>
            {
                cases += 1
            }
            _ => {}
        }
    }
    let report = parsed(&check(&["--format", "json"]));
    assert_eq!(cases, report["findings"].as_array().unwrap().len());

    let path = directory.path().join("report.sarif");
    let written = check(&["--format", "sarif", "--output", path.to_str().unwrap()]);
    assert!(written.status.success());
    let said = text(&written.stdout);
    let end = format!("It does what was checked, all of it.\nThe report is {}.\n", path.display());
    assert!(said.ends_with(&end) && said.lines().count() == 3, "{said}");
    let sarif: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().len(), cases);
    assert_eq!(sarif["runs"][0]["results"], Value::Array(Vec::new()));
}

/// Colour and progress are for who sits at a terminal: a file has neither.
#[test]
fn a_terminal_has_colour_and_progress_and_a_file_has_none() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng");
    let _served = Served::start(&socket, &["--type", "rng"]);
    let check = ["check", "--socket", socket.to_str().unwrap(), "--type", "rng", "--only", "negotiation"];
    let count = text(&program(&["list", "--type", "rng", "--only", "negotiation"]).stdout).lines().count();
    let file = program(&check);
    assert!(file.status.success() && file.stderr.is_empty(), "{}", text(&file.stderr));
    assert!(!file.stdout.contains(&0x1b), "{}", text(&file.stdout));
    // A terminal, of which what is shown is its output.
    let command = format!("{PROGRAM} {}", check.join(" "));
    let shown = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output();
    let shown = match shown {
        Ok(shown) => text(&shown.stdout),
        Err(error) => {
            return println!(
                "not run: a_terminal_has_colour_and_progress_and_a_file_has_none: script: {error}"
            );
        }
    };
    assert!(shown.contains("\u{1b}[32mIt does what was checked, all of it."), "{shown:?}");
    assert!((0..=count).any(|done| shown.contains(&format!("{done}/{count}"))), "{shown:?}");
}

#[test]
fn a_back_end_is_described() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("blk");
    let _served = Served::start(&socket, &["--type", "blk", "--size", "8", "--queues", "3"]);
    let probe = |more: &[&str]| program(&[&["probe", "--socket", socket.to_str().unwrap()], more].concat());
    let words = text(&probe(&["--type", "blk"]).stdout);
    for part in
        ["16384 sectors of 512 bytes (8 MiB)", "WRITE_ZEROES", "CONFIGURE_MEM_SLOTS", "queues             3"]
    {
        assert!(words.contains(part), "{part:?} is not in {words}");
    }
    assert!(!words.contains("does not look like"), "{words}");
    let value = parsed(&probe(&["--json"]));
    assert_eq!((&value["queues"], &value["memory_slots"]), (&Value::from(3), &Value::from(32)));
}

/// Though a disk passes every check of frames that a network does.
#[test]
fn a_disk_is_not_taken_for_something_else() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("blk");
    let _served = Served::start(&socket, &["--type", "blk", "--queues", "2"]);
    let of = |command: &str, kind: &str| {
        program(&[command, "--socket", socket.to_str().unwrap(), "--type", kind, "--timeout", "20"])
    };
    for kind in ["net", "console", "balloon"] {
        let checked = of("check", kind);
        let report = text(&checked.stdout);
        assert_eq!(checked.status.code(), Some(1), "{report}");
        assert!(report.ends_with("Is --type what it is?\n"), "{report}");
        let words = text(&of("probe", kind).stdout);
        assert!(words.contains(&format!("This does not look like a {kind}: ")), "{words}");
    }
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = directory.path().join("nobody");
    let nobody = nobody.to_str().unwrap();
    for command in ["probe", "check"] {
        let output = program(&[command, "--socket", nobody]);
        assert_eq!(output.status.code(), Some(3), "{command}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(nobody), "{}", text(&output.stderr));
    }
    let output = program(&["check", "--socket", nobody, "--only", "no-such-check"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(program(&["check", "--socket", nobody, "--type", "toaster"]).status.code(), Some(2));
    let short = directory.path().join("short");
    std::fs::write(&short, [0; 100]).unwrap();
    // Said at once, and not held against a front-end.
    for command in [&["serve"] as &[&str], &["front", "--as", "strict"]] {
        let device = ["--type", "blk", "--socket", nobody, "--file", short.to_str().unwrap()];
        let output = program(&[command, &device].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("shorter than a sector"), "{}", text(&output.stderr));
    }
    let output = program(&["check", "--socket", nobody, "--command", "false"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("ended before it listened"), "{}", text(&output.stderr));

    let socket = directory.path().join("wrong");
    let _served = Served::start(&socket, &["--type", "blk", "--fault", "rings.served"]);
    let of = ["--socket", socket.to_str().unwrap(), "--type", "blk"];
    // What is wrong with a report is not what was found.
    let report = directory.path().join("nowhere/report");
    let check = ["check", "--only", "framing.version.0", "--output", report.to_str().unwrap()];
    assert_eq!(program(&[&check, &of[..]].concat()).status.code(), Some(4));
    let bench = program(&[&["bench", "--seconds", "0.05"], &of[..]].concat());
    assert_eq!(bench.status.code(), Some(3), "{}", text(&bench.stderr));
}

/// Findings are findings, whoever reads them.
#[test]
fn a_reader_that_has_read_enough_changes_no_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("blk");
    let _served = Served::start(&socket, &["--type", "blk"]);
    let mut check = Command::new(PROGRAM)
        // Not what it is, so that there is something to be found.
        .args([
            "check",
            "--socket",
            socket.to_str().unwrap(),
            "--type",
            "net",
            "--only",
            "rings.traffic",
            "--timeout",
            "20",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(check.stdout.take());
    assert_eq!(check.wait().unwrap().code(), Some(1));
    let output = program(&["check", "--socket", socket.to_str().unwrap(), "--only", "rings.traffic"]);
    assert!(text(&output.stdout).contains("Nothing of this could be asked"), "{}", text(&output.stdout));
    let output = program(&["check", "--socket", socket.to_str().unwrap(), "--timeout", "0"]);
    assert_eq!(output.status.code(), Some(2));
    std::fs::write(directory.path().join("empty"), "").unwrap();
    let empty = directory.path().join("empty");
    let output = program(&["replay", "--socket", socket.to_str().unwrap(), empty.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn disks_and_networks_are_measured() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, options) in [("blk", &["--null"] as &[&str]), ("net", &[])] {
        let socket = directory.path().join(kind);
        let _served = Served::start(&socket, &[&["--type", kind], options].concat());
        for more in [&[] as &[&str], &["--packed"], &["--polled"], &["--depth", "1"]] {
            let all = [
                "bench",
                "--socket",
                socket.to_str().unwrap(),
                "--type",
                kind,
                "--seconds",
                "0.05",
                "--json",
            ];
            let output = program(&[&all, more].concat());
            assert!(parsed(&output)["requests"].as_u64().unwrap() > 0, "{kind} {more:?}");
        }
    }
}

#[test]
fn a_session_is_shown_written_down_and_played_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let _served = Served::start(Path::new(&path("blk")), &["--type", "blk"]);
    let proxy = Command::new(PROGRAM)
        .args([
            "proxy",
            "--listen",
            &path("proxy"),
            "--connect",
            &path("blk"),
            "--record",
            &path("recording"),
            "--sessions",
            "1",
        ])
        .args(["--pieces", "0.5", "--seed", "7"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while !Path::new(&path("proxy")).exists() {
        std::thread::yield_now();
    }
    let probe = program(&["probe", "--socket", &path("proxy"), "--type", "blk"]);
    assert!(probe.status.success(), "{}", text(&probe.stderr));
    let shown = text(&proxy.wait_with_output().unwrap().stdout);
    for line in [
        "-> GET_FEATURES\n",
        "INDIRECT_DESC, EVENT_IDX",
        "-> SET_PROTOCOL_FEATURES 0x8209: MQ, REPLY_ACK, CONFIG, CONFIGURE_MEM_SLOTS\n",
        "<- GET_QUEUE_NUM 1\n",
        "-> GET_CONFIG offset 0, size 60, flags 0, bytes 00",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
    assert!(shown.ends_with("1 ended: the front-end left\n"), "{shown}");

    let again = program(&["replay", "--socket", &path("blk"), &path("recording")]);
    assert!(again.status.success(), "{}", text(&again.stdout));
    assert!(text(&again.stdout).ends_with(" answers are the same, 0 are others\n"));
    // Where a ring stopped is not compared, which is said.
    let stops = path("stops");
    let mut recording = std::fs::read_to_string(path("recording")).unwrap();
    for (from, flags, payload) in [("front-end", 1, "0000000000000000"), ("back-end", 5, "0000000007000000")]
    {
        let message = json!({
            "session": 1, "seconds": 0, "channel": false, "from": from, "number": 11, "flags": flags, "payload": payload, "descriptors": 0,
        });
        recording += &format!("{message}\n");
    }
    std::fs::write(&stops, recording).unwrap();
    let again = program(&["replay", "--socket", &path("blk"), &stops]);
    let said = text(&again.stdout);
    assert!(again.status.success(), "{said}");
    assert!(
        said.ends_with(
            "of 1 that tell where a ring stopped only the ring was compared: rings are empty here\n"
        ),
        "{said}"
    );
    // Another disk answers otherwise.
    let _other = Served::start(Path::new(&path("other")), &["--type", "blk", "--queues", "2"]);
    let other = program(&["replay", "--socket", &path("other"), &path("recording")]);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stdout).contains("GET_QUEUE_NUM: it answered"), "{}", text(&other.stdout));
    assert_eq!(program(&["replay", "--socket", &path("other"), &path("nothing")]).status.code(), Some(2));
}

/// Runs all checks of a back-end that the command starts; `None` where it is missing.
fn others(test: &str, program_of_it: &str, command: &[&str], kind: &str) -> Option<Value> {
    if Command::new(program_of_it)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_err()
    {
        println!("not run: {test}: {program_of_it} is missing");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    // Some number their sockets.
    let socket = directory.path().join("other.sock0");
    let socket = socket.to_str().unwrap();
    let check =
        ["check", "--socket", socket, "--type", kind, "--format", "json", "--timeout", "4", "--command"];
    let output = program(&[&check, command].concat());
    let report = parsed(&output);
    let wrong: Vec<_> = failed(&report).into_iter().filter(|it| it.starts_with("type.")).collect();
    assert!(wrong.is_empty(), "it is what it is said to be: {wrong:?}");
    Some(report)
}

/// The page of known faults: each has a check, which failed in the reports that it names.
#[test]
fn every_known_fault_is_found_where_its_page_says() {
    let pages = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vhost-user"));
    let page = std::fs::read_to_string(pages.join("faults.md")).unwrap();
    let mut found = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, _, check, reports, _] = cells[..] else { panic!("{row}") };
        let name = check.trim_matches('`');
        let listed = text(&program(&["list", "--type", "blk", "--only", name]).stdout);
        assert!(listed.starts_with(name), "there is no check {name}");
        for report in reports.split(", ").filter(|_| !reports.starts_with("nowhere")) {
            let report = std::fs::read_to_string(pages.join(format!("reports/{report}.md"))).unwrap();
            let failed = report.split("## What could not be asked").next().unwrap();
            assert!(failed.contains(&format!("| {check} | ")), "{row}");
            found.insert(name);
        }
    }
    // Faults, in however many reports each is.
    assert!(found.len() >= 12, "{found:?}");
}

/// Those whose checks look into the process: each fails that one and no other. And one that dies is started again.
#[test]
fn a_device_that_is_wrong_on_purpose_fails_one_check() {
    let directory = tempfile::tempdir().unwrap();
    for check in ["memory.unmapped", "reconnection.resources", "framing.end.every-byte"] {
        let socket = directory.path().join(check);
        let socket = socket.to_str().unwrap();
        let command = format!("{PROGRAM} serve --type blk --queues 2 --socket {{socket}} --fault {check}");
        let output = program(&[
            "check",
            "--socket",
            socket,
            "--type",
            "blk",
            "--destructive",
            "--format",
            "json",
            "--timeout",
            "20",
            "--command",
            &command,
        ]);
        let report = parsed(&output);
        assert_eq!(failed(&report), BTreeSet::from([check]), "{}", text(&output.stderr));
    }
    let socket = directory.path().join("none");
    let socket = socket.to_str().unwrap();
    let output = program(&["serve", "--type", "rng", "--socket", socket, "--fault", "blk.write"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no check of a rng is called so"), "{}", text(&output.stderr));
}

/// A back-end that is started in the middle of a check has nothing of what that check gives its front-end.
#[test]
fn a_back_end_that_is_started_for_each_front_end_keeps_no_stray_descriptor() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng.sock");
    let command = format!("{PROGRAM} serve --type rng --socket {{socket}}");
    let of = ["check", "--single", "--command", &command, "--socket", socket.to_str().unwrap()];
    let only = ["--type", "rng", "--only", "framing.stray.SET_OWNER", "--fail-on", "robust"];
    let only = [&only[..], &["--only", "framing.stray.SET_FEATURES"]].concat();
    let output = program(&[&of[..], &only].concat());
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// What the storage daemon of Debian 12 is known to do wrong, and what it does right.
#[test]
fn faults_of_a_storage_daemon_are_found() {
    let test = "faults_of_a_storage_daemon_are_found";
    let command = "qemu-storage-daemon --blockdev driver=null-co,node-name=d,size=1073741824,read-zeroes=on \
        --export type=vhost-user-blk,id=e,node-name=d,writable=on,num-queues=2,addr.type=unix,addr.path={socket}";
    let Some(report) = others(test, "qemu-storage-daemon", &[command], "blk") else { return };
    let failed = failed(&report);
    let known = [
        // It dies.
        "rings.index.far.GET_VRING_BASE",
        "rings.size.0",
        "rings.size.65536",
        // Versions and reserved flags are not looked at, and come back in the answer.
        "framing.version.0",
        "framing.version.3",
        "framing.reserved.31",
        "framing.unknown.acknowledged",
        "framing.short.SET_VRING_NUM",
        "framing.stray.SET_VRING_NUM",
        "negotiation.protocol.unknown",
        "negotiation.features.unknown",
        // The offset is not looked at.
        "configuration.beyond",
        "memory.table.short",
        "memory.table.missing",
        "acknowledgements.not-negotiated",
    ];
    for known in known {
        assert!(failed.contains(known), "{known} is not found; found are {failed:?}");
    }
    for right in [
        "rings.traffic.plain",
        "rings.traffic.event-index",
        "rings.traffic.indirect",
        "framing.pieces.header",
        "reconnection.running",
    ] {
        assert!(!failed.contains(right), "{right} is found");
    }
    assert_eq!(report["gone_before"], Value::Null, "it was started again each time that it died");
}

/// QEMU's own virtiofsd serves one front-end and ends; it is started for each check.
#[test]
fn faults_of_a_file_system_daemon_are_found() {
    let test = "faults_of_a_file_system_daemon_are_found";
    let directory = tempfile::tempdir().unwrap();
    let shared = directory.path().to_str().unwrap();
    let program_of_it = "/usr/lib/qemu/virtiofsd";
    if !rustix::process::getuid().is_root() {
        return println!("not run: {test}: virtiofsd of QEMU 7.2 needs root");
    }
    let command = format!("{program_of_it} --socket-path={{socket}} -o source={shared} -o sandbox=chroot");
    let Some(report) = others(test, program_of_it, &[&command, "--single"], "fs") else { return };
    let failed = failed(&report);
    // It ends by an assertion where a ring never started, looks at no index and no version, and takes one front-end only.
    for known in
        ["rings.base.never", "framing.version.0", "rings.index.near.SET_VRING_NUM", "reconnection.second"]
    {
        assert!(failed.contains(known), "{known} is not found; found are {failed:?}");
    }
    assert!(!failed.contains("rings.traffic.plain"), "a FUSE session begins");
}

/// A device on the crate vhost-user-backend 0.10, which `cargo xtask test` builds.
#[test]
fn faults_of_a_device_on_a_framework_are_found() {
    let test = "faults_of_a_device_on_a_framework_are_found";
    let program_of_it = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers/bin/vhost-device-rng");
    let command = format!("path={{socket}}; exec {program_of_it} --socket-path ${{path%0}} 2>/dev/null");
    let Some(report) = others(test, program_of_it, &[&command], "rng") else { return };
    let failed = failed(&report);
    // It takes chains of one descriptor, begins the used ring anew at any base, and waits for kicks on the first descriptor only. That it
    // serves disabled rings, and loses kicks that come meanwhile, does not show in each run.
    let known = [
        "rng.pieces",
        "rings.traffic.indirect",
        "rings.traffic.wrap",
        "rings.kick.other",
        "rings.kick.none",
        "rings.enable.early",
        "negotiation.owner.twice",
    ];
    for known in known {
        assert!(failed.contains(known), "{known} is not found; found are {failed:?}");
    }
    for right in ["rings.served", "rings.traffic.plain", "rings.traffic.long", "rings.stop.base"] {
        assert!(!failed.contains(right), "{right} is found");
    }
}

/// DPDK's back-end, by a front-end of ours in every kind of ring; and what is known of it.
#[test]
fn faults_of_a_packet_generator_are_found() {
    let test = "faults_of_a_packet_generator_are_found";
    if !rustix::process::getuid().is_root() {
        return println!("not run: {test}: dpdk-testpmd needs root");
    }
    let prefix = format!("vhost-user-check-{}", std::process::id());
    let command = format!(
        "dpdk-testpmd --no-huge -m 256 --no-pci --no-telemetry --file-prefix={prefix} --vdev net_vhost0,iface={{socket}},queues=1 \
         -- --nb-cores=1 --forward-mode=rxonly --auto-start --no-mlockall --total-num-mbufs=8192 --stats-period=60"
    );
    let report = others(test, "dpdk-testpmd", &[&command], "net");
    // What it leaves behind when it is killed.
    let _ = std::fs::remove_dir_all(Path::new("/var/run/dpdk").join(prefix));
    let Some(report) = report else { return };
    let failed = failed(&report);
    // It tells of congestion in segments, and takes none.
    for known in
        ["framing.pieces.header", "framing.version.0", "acknowledgements.not-negotiated", "net.congestion"]
    {
        assert!(failed.contains(known), "{known} is not found; found are {failed:?}");
    }
    for right in [
        "rings.traffic.plain",
        "rings.traffic.packed",
        "rings.traffic.packed.event-index",
        "rings.traffic.packed.indirect",
        "rings.traffic.packed.in-order",
        "rings.traffic.wrap",
        "rings.restart",
        "state.status.set",
    ] {
        assert!(!failed.contains(right), "{right} is found");
    }
}
