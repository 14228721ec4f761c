//! Guests that count: whoever moves one sees whether it ever goes back.

use crate::guest::{Guest, LONG};
use qemu::{
    Config,
    config::{Serial, SerialKind, Stream},
};
use std::{fs, path::Path, time::Duration};

/// Every number goes out on the second serial port, and is then in a file of the guest's.
const COUNT: &str = "(exec 3>/dev/ttyS1; i=0; while :; do i=$((i+1)); echo $i >&3; echo $i >/run/new; mv /run/new /run/count; sleep 0.02; done) & true";

/// What is heard on the second serial port at one end, in the directory of that end.
const HEARD: &str = "counted";

/// A machine whose guest can count. What it says is written down in this directory, anew with each process.
pub(crate) fn heard(mut machine: Config, end: &Path) -> Config {
    let chardev = Stream::File(end.join(HEARD)).into();
    machine.serials.push(Serial { id: "count".into(), kind: SerialKind::Isa(1), chardev });
    machine
}

/// Begins to count.
pub(crate) async fn count(guest: &mut Guest) {
    guest.run(COUNT).await;
    guest.run_until("[ -s /run/count ]").await;
}

/// Where the guest has come to.
pub(crate) async fn counted(guest: &mut Guest) -> u64 {
    guest.run("cat /run/count").await.parse().unwrap()
}

/// The guest is further than it was, and goes on.
pub(crate) async fn counts_on(guest: &mut Guest, before: u64) {
    let after = counted(guest).await;
    assert!(after >= before, "{before} then {after}");
    guest.run_until(&format!("[ $(cat /run/count) -gt {after} ]")).await;
}

/// What the guest has said at one end and then at the other, where it still runs, is every number once and in order. Numbers that it had said
/// already when it moved, and says again, would be those of a guest that went back; a number may be said half here and half there.
pub(crate) async fn never_went_back(directory: &Path) {
    let said = |end: &str| fs::read_to_string(directory.join(end).join(HEARD)).unwrap();
    let speaks = async {
        while said("destination").lines().count() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, speaks).await.unwrap();
    let [here, there] = ["source", "destination"].map(said);
    assert!(here.contains('\n'), "{here:?} then {there:?}");
    let all = format!("{here}{there}");
    // The last may be half a number.
    let (whole, _) = all.rsplit_once('\n').unwrap();
    for (expected, said) in (1u64..).zip(whole.lines()) {
        assert_eq!(said.trim_end().parse(), Ok(expected), "{here:?} then {there:?}");
    }
}
