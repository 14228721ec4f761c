//! What the user guide says is done as it says it: recipes for CI, the report that it shows, and back-ends that connect.
#![cfg(test)]

mod ran;
mod served;

use ran::{program, text};
use served::{PROGRAM, Served};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use vhost_user::backend::serve;
use vhost_user::clock::monotonic;
use vhost_user::devices::Entropy;
use vhost_user::socket::Canceller;

fn guide() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vhost-user/README.md");
    std::fs::read_to_string(path).unwrap()
}

/// What follows a heading, until the next.
fn section<'g>(guide: &'g str, title: &str) -> &'g str {
    let (_, rest) =
        guide.split_once(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
    rest.split("\n## ").next().unwrap_or(rest)
}

/// What is between the fences of this kind.
fn blocks<'g>(text: &'g str, kind: &str) -> Vec<&'g str> {
    let fence = format!("```{kind}\n");
    let parts = text.split(fence.as_str()).skip(1);
    parts.map(|part| part.split("```").next().unwrap_or(part)).collect()
}

/// A line of a job's script, in a directory with a back-end in it, as a shell of CI runs it.
fn job(directory: &Path, line: &str, back_end: &str) -> Output {
    let script = directory.join("my-back-end");
    std::fs::write(&script, format!("#!/bin/sh\nexec {PROGRAM} serve --socket \"$1\" {back_end}\n")).unwrap();
    // Who starts another program meanwhile has it open for writing for a moment, and such a file cannot be executed: a shell reads it.
    let as_it_stands = "./my-back-end ";
    assert!(line.contains(as_it_stands), "{line}");
    let line = line.replace(as_it_stands, "sh ./my-back-end ");
    let programs = Path::new(PROGRAM).parent().unwrap().display();
    Command::new("/bin/sh")
        .args(["-ec", &format!("PATH={programs}:$PATH\n{line}")])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Each recipe is run as it stands, with a back-end that is right and with one that is wrong, and leaves the file that it hands on.
#[test]
fn recipes_for_ci_do_what_they_say() {
    let guide = guide();
    let recipes = blocks(section(&guide, "In CI"), "yaml");
    assert!(recipes.len() >= 2, "{recipes:?}");
    for recipe in recipes {
        let lines = recipe.lines().map(|line| line.trim_start_matches([' ', '-']));
        let line =
            lines.clone().find_map(|line| line.strip_prefix("run: ").or(line.strip_prefix("script: ")));
        let line = line.unwrap_or_else(|| panic!("nothing is run in {recipe}"));
        let after = |option: &str| line.split(option).nth(1).unwrap().split(' ').next().unwrap();
        let (kind, output) = (after("--type "), after("--output "));
        // What is handed on is what is written.
        assert_eq!(recipe.matches(output).count(), 2, "{recipe}");
        for (fault, code) in [("", 0), (" --fault framing.version.0", 0), (" --fault rings.stop.base", 1)] {
            let directory = tempfile::tempdir().unwrap();
            let ran = job(directory.path(), line, &format!("--type {kind}{fault}"));
            let said = text(&ran.stdout);
            assert_eq!(ran.status.code(), Some(code), "{line}{fault}: {said}{}", text(&ran.stderr));
            assert!(
                said.contains(" checks in ") && said.contains(&format!("The report is {output}.")),
                "{said}"
            );
            let report = std::fs::read_to_string(directory.path().join(output)).unwrap();
            if output.ends_with(".xml") {
                // A weakness does not count where nobody said that it does.
                assert_eq!(report.contains("<failure "), code == 1, "{report}");
                assert_eq!(
                    report.contains("failed, which does not count"),
                    fault.contains("version"),
                    "{report}"
                );
            } else {
                let report: serde_json::Value = serde_json::from_str(&report).unwrap();
                assert_eq!(report["runs"][0]["results"].as_array().unwrap().is_empty(), fault.is_empty());
                assert_eq!(report["runs"][0]["invocations"][0]["executionSuccessful"], true);
            }
        }
    }
}

/// Numbers of seconds are others each time.
fn timeless(report: &str) -> String {
    let mut words = report.split(" s: ");
    let head = words.next().unwrap_or_default();
    let rest: Vec<_> = words.collect();
    let end = head.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').to_owned();
    [&[end.as_str()], &rest[..]].concat().join(" s: ")
}

#[test]
fn the_report_in_the_guide_is_what_is_printed() {
    let guide = guide();
    let part = section(&guide, "What a failing report looks like");
    let [commands] = blocks(part, "")[..1] else { panic!("no commands in {part}") };
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("wrong.sock");
    let commands = commands.replace("/tmp/wrong.sock", socket.to_str().unwrap());
    let mut lines = commands.lines().map(|line| line.trim_end_matches(" &").split(' ').skip(1));
    let serve: Vec<_> = lines.next().unwrap().skip(1).collect();
    let at = serve.iter().position(|word| *word == "--socket").unwrap();
    let _served = Served::start(&socket, &[&serve[..at], &serve[at + 2..]].concat());
    let check: Vec<_> = lines.next().unwrap().collect();
    let output = program(&check);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(timeless(&text(&output.stdout)), timeless(blocks(part, "text")[0]));
}

/// One that comes by itself, again and again, is checked as one that listens is.
#[test]
fn a_back_end_that_connects_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("disk.sock");
    let command = format!("{PROGRAM} serve --type blk --connect {{socket}}");
    let of = ["--listen", socket.to_str().unwrap(), "--type", "blk", "--timeout", "20"];
    let only =
        ["--only", "type", "--only", "negotiation", "--only", "memory", "--only", "reconnection", "--all"];
    let output = program(&[&["check", "--command", &command][..], &of, &only].concat());
    let report = text(&output.stdout);
    assert!(output.status.success(), "{report}{}", text(&output.stderr));
    assert!(
        report.contains("it connects to one front-end at a time") && report.contains("0 failed"),
        "{report}"
    );
    assert!(!socket.exists(), "what was made for it is gone");

    // One that nobody here started, and that stays when its front-end has left. It is there before anybody listens.
    let mut served = Command::new(PROGRAM)
        .args(["serve", "--type", "blk", "--connect", socket.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for command in [&["probe"] as &[&str], &["bench", "--seconds", "0.05"]] {
        let output = program(&[command, &of].concat());
        assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    }
    let wrong = program(&[&["check", "--single"][..], &of].concat());
    assert_eq!(wrong.status.code(), Some(2), "both at once mean nothing");
    let pid = rustix::process::Pid::from_raw(i32::try_from(served.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(served.wait().unwrap().success());

    // One that ends is a finding, and is started again.
    let command = format!("{command} --fault framing.end.every-byte");
    let only = [
        "--only",
        "framing.end",
        "--only",
        "negotiation.version-1",
        "--fail-on",
        "robust",
        "--format",
        "json",
    ];
    let output = program(&[&["check", "--command", &command][..], &of, &only].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["failed"]["robust"]), (Some(1), &1.into()), "{report:#}");
    assert_eq!(report["gone_before"], serde_json::Value::Null);
}

/// Only who may listen yet is waited for. Somebody who takes it and leaves at once, again and again, does not keep it busy.
#[test]
fn a_back_end_that_connects_waits_for_nobody_who_cannot_come() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("file"), "").unwrap();
    let _datagrams = UnixDatagram::bind(path("datagrams")).unwrap();
    for (name, why) in [
        ("file", "Connection refused"),
        ("nowhere/socket", "No such file or directory"),
        ("datagrams", "Protocol wrong type"),
    ] {
        // It would wait for ever.
        let output = Command::new("timeout")
            .args(["60", PROGRAM, "serve", "--type", "rng", "--connect", path(name).to_str().unwrap()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(4) && said.contains(why), "{name}: {:?} {said}", output.status);
    }
    let listener = UnixListener::bind(path("socket")).unwrap();
    let mut served = Command::new(PROGRAM)
        .args(["serve", "--type", "rng", "--connect", path("socket").to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(listener.accept().unwrap());
    let begin = monotonic();
    for _ in 0..20 {
        drop(listener.accept().unwrap());
    }
    let time = monotonic() - begin;
    served.kill().unwrap();
    served.wait().unwrap();
    // The first may have left before the time was looked at.
    assert!(time >= Duration::from_millis(19 * 10), "20 times in {time:?}");
}

/// As programs on rust-vmm's framework do it: a socket for each front-end, which is there a little longer than the front-end, and takes nobody
/// else.
#[test]
fn a_back_end_that_listens_anew_for_each_front_end_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng.sock");
    let (path, ends) = (socket.clone(), Canceller::new().unwrap());
    let canceller = ends.clone();
    let mut listener = UnixListener::bind(&path).unwrap();
    let serving = std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut device = Entropy::new(std::fs::File::open("/dev/urandom").unwrap());
            // Front-ends that do wrong end their session.
            let _ = serve(&mut device, stream, &canceller);
            std::thread::sleep(std::time::Duration::from_millis(5));
            drop(listener);
            if canceller.is_cancelled() {
                return;
            }
            std::fs::remove_file(&path).unwrap();
            listener = UnixListener::bind(&path).unwrap();
        }
    });
    let of =
        ["--socket", socket.to_str().unwrap(), "--type", "rng", "--timeout", "20", "--fail-on", "robust"];
    let only = ["--only", "negotiation", "--only", "acknowledgements", "--only", "reconnection.step"];
    let output = program(&[&["check"][..], &of, &only].concat());
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    ends.cancel();
    // It may be about to listen anew.
    while !serving.is_finished() {
        let _ = UnixStream::connect(&socket);
        std::thread::sleep(Duration::from_millis(1));
    }
    serving.join().unwrap();
}

/// What is served has an example, and so has what is measured; of the rest it is said that it is not, as the guide has it.
#[test]
fn the_guide_has_an_example_of_every_type() {
    let guide = guide();
    let [serves, benches] =
        ["Devices to try front-ends with", "Measuring"].map(|title| section(&guide, title));
    let directory = tempfile::tempdir().unwrap();
    for (kind, is_measured) in
        [("net", true), ("blk", true), ("rng", true), ("console", false), ("balloon", false)]
    {
        assert!(serves.contains(&format!("\nvhost-user-check serve --type {kind} --socket ")), "{kind}");
        assert_eq!(benches.contains(&format!(" --type {kind} ")), is_measured, "{kind}");
        let socket = directory.path().join(kind);
        let _served = Served::start(&socket, &["--type", kind]);
        let of = ["bench", "--socket", socket.to_str().unwrap(), "--type", kind, "--seconds", "0.05"];
        let output = program(&of);
        assert_eq!(output.status.code(), Some(if is_measured { 0 } else { 2 }), "{}", text(&output.stderr));
    }
}

/// Every command shows how it is used.
#[test]
fn help_has_an_example_of_every_command() {
    let all = text(&program(&["--help"]).stdout);
    let commands = all.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    // What is further to the right goes on with the line before.
    let names = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<_> = names.filter(|name| !matches!(*name, "" | "help")).collect();
    assert!(names.len() >= 11, "{names:?}");
    for name in names {
        let help = text(&program(&[name, "--help"]).stdout);
        assert!(help.contains(&format!("Example: vhost-user-check {name} ")), "{help}");
    }
}
