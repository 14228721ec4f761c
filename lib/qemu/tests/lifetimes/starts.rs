//! Starts that come to nothing, in every way and at every moment.

use crate::polled::polled;
use crate::{BINARY, LONG, a_uuid, missing, open_descriptors, spec, turn};
use qemu::{
    Config, StartError, StartSpec,
    config::{Disk, Image},
    start,
};
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, WaitId, WaitIdOptions, getrlimit, setrlimit, waitid},
};
use seeded::Random;
use std::{
    fs,
    future::Future,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Plays QEMU up to some moment: its file is named after what happens then. The monitor's listening socket is among its arguments.
const PLAYER: &str = r#"#!/usr/bin/perl
my ($how) = $0 =~ m{([^/]+)$};
my ($fd) = join(" ", @ARGV) =~ /id=qmp,fd=(\d+)/;
sub end { exit 3 if $how =~ /exits/; kill 9, $$ if $how =~ /dies/; kill 19, $$ if $how =~ /stops/; sleep 1000; }
if ($how =~ /speaks/) { print STDERR "qemu: no luck today\n"; }
replace() if $how =~ /replaces-before/;
end() if $how =~ /early/;
open(my $listener, "+<&=", $fd) or die;
accept(my $monitor, $listener) or die;
$| = 1; select($monitor); $| = 1;
sub replace {
  my ($at) = $0 =~ m{(.*)/}; rename("$at/run", "$at/gone") or die; mkdir("$at/run", 0700) or die;
  for my $name ("lock", "qmp.sock", "console.sock", "record.json") { open(my $it, ">", "$at/run/$name") or die; }
}
sub hear { sysread($monitor, my $line, 4096); my ($id) = $line =~ /"id":("[^"]*"|\d+)/; return $id; }
replace() if $how =~ /replaces-after/;
end() if $how =~ /accepted/;
if ($how =~ /garbage/) { print "HTTP/1.1 400 Bad Request\r\n"; end(); }
my $greeting = '{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":0},"package":""},"capabilities":["oob"]}}';
if ($how =~ /half/) { print substr($greeting, 0, 40); end(); }
print "$greeting\r\n";
end() if $how =~ /greeted/;
my $id = hear();
end() if $how =~ /asked/;
print "{\"return\":{},\"id\":$id}\r\n";
end() if $how =~ /negotiated/;
$id = hear();
print "{\"return\":{\"status\":\"prelaunch\",\"running\":false,\"singlestep\":false},\"id\":$id}\r\n";
sleep 1000;
"#;

const WHERE: [&str; 7] = ["early", "accepted", "garbage", "half", "greeted", "asked", "negotiated"];
const HOW: [&str; 5] = ["exits", "dies", "stops", "is-silent", "exits-speaks"];

fn players(directory: &Path) -> Vec<PathBuf> {
    let names = WHERE.iter().flat_map(|place| HOW.map(|how| format!("{how}-{place}")));
    // After a monitor that closed the end of the process is awaited for two seconds: long in a great number.
    let names = names.filter(|name| !["stops-garbage", "is-silent-garbage"].contains(&name.as_str()));
    names.chain(["lives".to_owned()]).map(|name| player(directory, &name)).collect()
}

fn player(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, PLAYER).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// Nothing of a start that failed is left.
fn nothing_is_left(run: &Path, descriptors: usize, of: &str) {
    let nothing = Left { threads: Vec::new(), children: Err(Errno::CHILD), descriptors };
    // What was given up ends in threads of its own. The look that is waited for is the one that is judged.
    let mut left = Left::now();
    for _ in 0..LONG.as_millis() {
        if left == nothing {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
        left = Left::now();
    }
    assert_eq!(left, nothing, "{of}");
    let names = fs::read_dir(run).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> =
        names.filter(|name| !["lock", "qemu.log", "console.log"].iter().any(|it| name == it)).collect();
    assert!(names.is_empty(), "{of}: {names:?}");
}

/// What there is of this process at one look.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    threads: Vec<String>,
    /// Whether one of them has ended.
    children: Result<bool, Errno>,
    descriptors: usize,
}

impl Left {
    fn now() -> Self {
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Self {
            threads: threads_of_ours(),
            children: waitid(WaitId::All, ended).map(|status| status.is_some()),
            descriptors: open_descriptors(),
        }
    }
}

/// Threads that ask the host, or wait for a process that was killed; one that has just begun has the name of who began it, which is
/// the first fifteen letters of a test's: no two here begin alike.
fn threads_of_ours() -> Vec<String> {
    let (own, this) =
        (fs::read_to_string("/proc/thread-self/comm").unwrap(), fs::read_link("/proc/thread-self").unwrap());
    let others = all_threads().into_iter().filter(|thread| Some(&*thread.file_name()) != this.file_name());
    let told = |thread: fs::DirEntry| {
        let read = |of: &str| fs::read_to_string(thread.path().join(of)).ok();
        let name = read("comm").filter(|name| *name == own || ["host", "reaper"].contains(&name.trim()))?;
        // What it waits for, if the kernel tells.
        let (call, stack) = (read("syscall").unwrap_or_default(), read("stack").unwrap_or_default());
        Some(format!("{}: {call}{stack}", name.trim()))
    };
    others.filter_map(told).collect()
}

/// Linux ends a list of threads early at one that ends while it is listed (fs/proc/base.c, `next_tid`): a list counts when it has as many
/// as there are, before and after.
fn all_threads() -> Vec<fs::DirEntry> {
    let count = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok()).unwrap()
    };
    loop {
        let before: usize = count();
        let threads: Vec<_> = fs::read_dir("/proc/self/task").unwrap().flatten().collect();
        if threads.len() == before && count() == before {
            return threads;
        }
    }
}

/// Runs something with hardly any descriptors left.
async fn with_few_descriptors<F: Future>(few: u64, future: F) -> F::Output {
    let before = getrlimit(Resource::Nofile);
    let highest = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let highest =
        highest.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok()).max().unwrap_or(0);
    setrlimit(Resource::Nofile, Rlimit { current: Some(highest + few), ..before }).unwrap();
    let output = future.await;
    setrlimit(Resource::Nofile, before).unwrap();
    output
}

#[test]
fn a_start_that_fails_in_any_way_leaves_nothing_behind() {
    fail("a_start_that_fails_in_any_way_leaves_nothing_behind", 300);
}

#[test]
#[ignore = "takes minutes: make test-long"]
fn ten_thousand_starts_that_fail_leave_nothing_behind() {
    fail("ten_thousand_starts_that_fail_leave_nothing_behind", 10_000);
}

fn fail(test: &str, rounds: usize) {
    let _turn = turn();
    if missing(test, "/usr/bin/perl", "perl-base") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let players = players(directory.path());
    let mut lots = Random::new(0x9e37_79b9_7f4a_7c15);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut failed, mut dropped, mut started) = (0, 0, 0);
    for round in 0..rounds {
        let player = &players[usize::try_from(lots.below(players.len() as u64)).unwrap()];
        let run = directory.path().join("run");
        let of = format!("round {round}, {}", player.display());
        let spec =
            StartSpec { deadline: Duration::from_millis(40), ..spec(player.clone(), a_uuid(), run.clone()) };
        let begin = async || match lots.below(4) {
            0 => polled(lots.below(16), start(spec)).await,
            1 => with_few_descriptors(lots.below(16), async { Some(start(spec).await) }).await,
            _ => Some(start(spec).await),
        };
        let descriptors = open_descriptors();
        match runtime.block_on(begin()) {
            None => dropped += 1,
            Some(Err(error)) => {
                let known = matches!(
                    error,
                    StartError::Ended { .. }
                        | StartError::Silent { .. }
                        | StartError::Prepare { .. }
                        | StartError::Unanswered(_)
                );
                assert!(known, "{of}: {error:?}");
                failed += 1;
            }
            Some(Ok((vm, supervisor))) => {
                runtime.block_on(async {
                    let (exit, _) = tokio::join!(vm.kill(), supervisor);
                    exit.unwrap();
                });
                fs::remove_dir_all(&run).unwrap();
                started += 1;
            }
        }
        nothing_is_left(&run, descriptors, &of);
    }
    println!("{failed} failed, {dropped} were dropped, {started} started");
    assert!(failed > 0 && dropped > 0 && started > 0);
}

/// The directory of a start is moved away and made anew while it goes on, before its QEMU is connected to and after: what is in it then is
/// somebody else's.
#[test]
fn what_replaces_the_directory_of_a_start_is_left_alone() {
    let _turn = turn();
    if missing("what_replaces_the_directory_of_a_start_is_left_alone", "/usr/bin/perl", "perl-base") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, is_connected) in [("exits-early-replaces-before", false), ("lives-replaces-after", true)] {
        let directory = tempfile::tempdir().unwrap();
        let (run, gone) = (directory.path().join("run"), directory.path().join("gone"));
        let spec = spec(player(directory.path(), name), a_uuid(), run.clone());
        let descriptors = open_descriptors();
        let error = runtime.block_on(start(spec)).map(drop).unwrap_err();
        if is_connected {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            assert!(cause.is_some_and(|cause| cause.contains("replaced")), "{name}: {error:?}");
        } else {
            assert!(matches!(error, StartError::Ended { .. }), "{name}: {error:?}");
        }
        for file in ["lock", "qmp.sock", "console.sock", "record.json"] {
            assert!(run.join(file).exists(), "{name}: {file}");
        }
        nothing_is_left(&gone, descriptors, name);
    }
}

#[test]
fn a_real_start_that_fails_or_is_dropped_leaves_nothing_behind() {
    let test = "a_real_start_that_fails_or_is_dropped_leaves_nothing_behind";
    let _turn = turn();
    if missing(test, BINARY, "qemu-system-x86") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    let mut lots = Random::new(0x2545_f491_4f6c_dd1d);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut failed, mut dropped) = (0, 0);
    let mut round = 0;
    while failed + dropped < 200 {
        round += 1;
        let good = spec(BINARY.into(), a_uuid(), run.clone());
        let faulty = |config: Config| StartSpec { config, ..spec(BINARY.into(), a_uuid(), run.clone()) };
        let config = good.config.clone();
        let descriptors = open_descriptors();
        let fault = lots.below(5);
        let outcome = runtime.block_on(async {
            match fault {
                0 => Some(start(faulty(Config { machine: "pc-q35-99.9".into(), ..config })).await),
                1 => {
                    let absent = Disk::new("root", Image::raw(directory.path().join("absent")));
                    Some(start(faulty(config.disk(absent))).await)
                }
                2 => with_few_descriptors(lots.below(20), async { Some(start(good).await) }).await,
                3 => Some(start(StartSpec { deadline: Duration::from_millis(lots.below(12)), ..good }).await),
                _ => polled(lots.below(14), start(good)).await,
            }
        });
        match outcome {
            None => dropped += 1,
            Some(Err(_)) => failed += 1,
            Some(Ok((vm, supervisor))) => {
                runtime.block_on(async {
                    let ended = tokio::time::timeout(LONG, async { tokio::join!(vm.kill(), supervisor) });
                    ended.await.unwrap().0.unwrap();
                });
                fs::remove_dir_all(&run).unwrap();
            }
        }
        nothing_is_left(&run, descriptors, &format!("round {round}, fault {fault}"));
    }
    println!("{failed} failed and {dropped} were dropped in {round} starts");
    assert!(failed > 50 && dropped > 0, "{failed} {dropped}");
}
