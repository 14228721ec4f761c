//! Machines that a later manager takes over.

use super::*;

#[tokio::test]
async fn a_machine_is_adopted_after_its_manager_let_go() {
    if qemu_missing("a_machine_is_adopted_after_its_manager_let_go") {
        return;
    }
    let directory = scratch();
    let (vm, tasks) = started(spec(directory.path(), config())).await;
    vm.resume().await.unwrap();
    let pid = vm.record().pid;
    drop(vm);
    drop(tasks);
    let record = qemu::Record::load(&directory.path().join("run")).unwrap().unwrap();
    // A second machine cannot take the directory.
    let occupied = start(spec(directory.path(), config())).await.map(drop);
    assert!(matches!(occupied, Err(StartError::Occupied { .. })), "{occupied:?}");

    let Adoption::Adopted(vm, supervisor) =
        adopt(record.clone(), LONG, Supervision::default()).await.unwrap()
    else {
        panic!("not adopted");
    };
    assert_eq!((vm.status().run_state, vm.record().pid), (RunState::Running, pid));
    drop((vm, supervisor));

    let wrong = |change: fn(&mut qemu::Record)| {
        let mut record = record.clone();
        change(&mut record);
        adopt(record, LONG, Supervision::default())
    };
    assert!(matches!(wrong(|r| r.boot_id = "other".into()).await.unwrap(), Adoption::Gone(_)));
    assert!(matches!(wrong(|r| r.start_ticks += 1).await.unwrap(), Adoption::Gone(_)));
    assert!(matches!(wrong(|r| r.uuid = Uuid::nil()).await.unwrap(), Adoption::Gone(_)));
    // Another program is believed of the process that holds this directory's lock only.
    let elsewhere =
        |r: &mut qemu::Record| (r.exe.1, r.qmp_socket) = (r.exe.1 + 1, "/nowhere/qmp.sock".into());
    assert!(matches!(wrong(elsewhere).await.unwrap(), Adoption::Gone(_)));

    let process = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    let short = Duration::from_millis(200);
    let Adoption::Unresponsive(held) = adopt(record.clone(), short, Supervision::default()).await.unwrap()
    else {
        panic!("a stopped process answered");
    };
    assert!(held.reason().contains("stopped"), "{}", held.reason());
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    let Adoption::Adopted(vm, supervisor) = held.retry(LONG).await else { panic!("did not come back") };
    let mut tasks = JoinSet::new();
    tasks.spawn(supervisor);
    vm.quit(LONG).await.unwrap();
    assert!(matches!(adopt(record, LONG, Supervision::default()).await.unwrap(), Adoption::Gone(_)));
}

#[tokio::test]
async fn a_machine_whose_record_was_never_written_is_found_by_its_uuid() {
    if qemu_missing("a_machine_whose_record_was_never_written_is_found_by_its_uuid") {
        return;
    }
    let directory = scratch();
    let run = directory.path().join("run");
    let (vm, tasks) = started(spec(directory.path(), config())).await;
    let written = vm.record().clone();
    drop((vm, tasks));
    fs::remove_file(run.join(qemu::Record::FILE)).unwrap();
    let found = qemu::Record::find(written.uuid, &run).unwrap().unwrap();
    assert_eq!(found, written);
    assert_eq!(qemu::Record::find(Uuid::nil(), &run).unwrap(), None);
    let Adoption::Adopted(vm, supervisor) = adopt(found, LONG, Supervision::default()).await.unwrap() else {
        panic!("not adopted");
    };
    drop(supervisor);
    assert_eq!(vm.kill().await.unwrap(), Exit::Signal(9));
}

/// As while a machine migrates within a host.
#[tokio::test]
async fn of_two_processes_of_one_identity_each_is_found_by_its_directory() {
    if qemu_missing("of_two_processes_of_one_identity_each_is_found_by_its_directory") {
        return;
    }
    let (directories, machine) = ([scratch(), scratch()], config());
    let mut written = Vec::new();
    for directory in &directories {
        let (vm, _tasks) = started(spec(directory.path(), machine.clone())).await;
        written.push(vm.record().clone());
    }
    for (directory, written) in directories.iter().zip(&written) {
        let run = directory.path().join("run");
        assert_eq!(qemu::Record::find(machine.uuid, &run).unwrap().as_ref(), Some(written));
    }
    // A record that was put into another directory proves nothing there.
    let strange = qemu::Record { qmp_socket: written[1].qmp_socket.clone(), ..written[0].clone() };
    let adopted = adopt(strange, LONG, Supervision::default()).await.unwrap();
    assert!(matches!(&adopted, Adoption::Gone(why) if why.contains("directory")), "{adopted:?}");
    for written in written {
        let Adoption::Adopted(vm, _supervisor) = adopt(written, LONG, Supervision::default()).await.unwrap()
        else {
            panic!("not adopted");
        };
        vm.kill().await.unwrap();
    }
}
