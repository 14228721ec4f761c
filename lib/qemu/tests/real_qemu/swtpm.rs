//! A TPM that comes and goes with its machine.

use super::*;
use qemu::{
    Swtpm,
    config::{Stream, Tpm, TpmModel},
    swtpm::TpmVersion,
};
use qmp::commands::QueryTpm;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

fn with_tpm(directory: &Path, version: TpmVersion) -> StartSpec {
    // No option of its own could name this.
    let state = directory.join("state, 1");
    let _ = fs::create_dir(&state);
    let mut machine = config();
    machine.tpm = Some(Tpm { model: TpmModel::Tis, control: Stream::Connected("tpm".into()) });
    let swtpm = Swtpm { program: "/usr/bin/swtpm".into(), state, version };
    StartSpec { swtpm: Some(swtpm), ..spec(directory, machine) }
}

fn missing(test: &str) -> bool {
    let program = Path::new("/usr/bin/swtpm");
    if !program.exists() {
        println!("not run: {test}: {} (Debian package swtpm)", program.display());
    }
    qemu_missing(test) || !program.exists()
}

fn tpm_of(vm: &Vm) -> Pid {
    let pid = vm.record().swtpm.unwrap().pid;
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

#[tokio::test]
async fn a_tpm_ends_with_its_machine_and_keeps_its_state() {
    if missing("a_tpm_ends_with_its_machine_and_keeps_its_state") {
        return;
    }
    for version in [TpmVersion::V12, TpmVersion::V20] {
        let directory = scratch();
        for _ in 0..2 {
            let (vm, mut tasks) = started(with_tpm(directory.path(), version)).await;
            assert_eq!(vm.qmp().call(&QueryTpm {}).await.unwrap().len(), 1);
            let tpm = tpm_of(&vm);
            assert_eq!(vm.quit(LONG).await.unwrap(), Exit::Code(0));
            tasks.join_next().await.unwrap().unwrap();
            assert!(test_kill_process(tpm).is_err(), "it has ended and is reaped");
            assert_eq!(vm.status().tpm_exit, None, "it ended with the machine, not before");
            assert!(fs::read_dir(directory.path().join("state, 1")).unwrap().count() > 0);
        }
    }
}

#[tokio::test]
async fn the_death_of_a_tpm_is_told_also_to_a_later_manager() {
    if missing("the_death_of_a_tpm_is_told_also_to_a_later_manager") {
        return;
    }
    let directory = scratch();
    let (vm, mut tasks) = started(with_tpm(directory.path(), TpmVersion::V20)).await;
    kill_process(tpm_of(&vm), Signal::KILL).unwrap();
    until(&vm, "the end of the TPM", |status| status.tpm_exit == Some(Exit::Signal(9))).await;
    // The machine goes on.
    vm.resume().await.unwrap();
    let record = vm.record().clone();
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
    drop(vm);
    let Adoption::Adopted(vm, supervisor) = adopt(record, LONG, Supervision::default()).await.unwrap() else {
        panic!("not adopted");
    };
    tasks.spawn(supervisor);
    assert_eq!(vm.status().tpm_exit, Some(Exit::Gone));
    vm.quit(LONG).await.unwrap();
    // One that lives is taken over with its machine, whatever a newer library has written of it in addition.
    let spec = with_tpm(directory.path(), TpmVersion::V20);
    let run_dir = spec.run_dir.clone();
    let (vm, mut tasks) = started(spec).await;
    let mut newer = serde_json::to_value(vm.record()).unwrap();
    newer["swtpm"]["more"] = true.into();
    fs::write(run_dir.join(qemu::Record::FILE), newer.to_string()).unwrap();
    let record = qemu::Record::load(&run_dir).unwrap().unwrap();
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
    drop(vm);
    let Adoption::Adopted(vm, supervisor) = adopt(record, LONG, Supervision::default()).await.unwrap() else {
        panic!("not adopted");
    };
    tasks.spawn(supervisor);
    assert_eq!(vm.status().tpm_exit, None);
    kill_process(tpm_of(&vm), Signal::KILL).unwrap();
    until(&vm, "the end of the TPM", |status| status.tpm_exit.is_some()).await;
    vm.quit(LONG).await.unwrap();
}

#[tokio::test]
async fn no_tpm_is_left_of_a_machine_that_does_not_start() {
    if missing("no_tpm_is_left_of_a_machine_that_does_not_start") {
        return;
    }
    let directory = scratch();
    let spec = with_tpm(directory.path(), TpmVersion::V20);
    // It tells who its TPM is, and ends.
    let binary = program(directory.path(), "grep -lsz tpmstate /proc/[0-9]*/cmdline >&2; exit 3");
    let Err(StartError::Ended { message, .. }) = start(StartSpec { binary, ..spec }).await.map(drop) else {
        panic!("it ends")
    };
    let state = fs::canonicalize(directory.path().join("state, 1")).unwrap();
    let of_ours = |pid: &str| {
        let held = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        held.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|path| path == state)
    };
    assert!(message.contains("/proc/"), "there was one: {message}");
    // This process holds nothing of it either; what another test forks just now has copies until it executes.
    let nobody_has_it = async {
        while fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .any(|entry| of_ours(entry.file_name().to_str().unwrap()))
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, nobody_has_it).await.unwrap();
    let without = StartSpec { config: config(), ..with_tpm(directory.path(), TpmVersion::V20) };
    let refused = start(without).await.map(drop);
    assert!(matches!(refused, Err(StartError::Config(_))), "{refused:?}");
}
