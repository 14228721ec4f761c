//! Disks of the host that do not answer.

use super::*;
use crate::{elsewhere::passes_elsewhere, hangs::hanging};
use qemu::{
    Ladder,
    manager::{Manager, ManagerError, State},
    process::Held,
};
use std::sync::{Arc, Mutex};

/// All on one thread, which a disk that hangs must not hold.
#[tokio::test]
async fn a_start_or_plug_whose_disk_hangs_holds_up_nobody_else() {
    let test = "a_start_or_plug_whose_disk_hangs_holds_up_nobody_else";
    if qemu_missing(test) || passes_elsewhere(test) {
        return;
    }
    let (directory, other) = (scratch(), scratch());
    let Some(hangs) = hanging(test, directory.path(), LONG) else { return };
    let (vm, _tasks) = started(spec(other.path(), config())).await;
    let absent = other.path().join("absent.qcow2");
    let overlay = Image::qcow2(&absent).on(Image::raw(hangs.file()));
    for image in [Image::raw(hangs.file()), Image::qcow2(hangs.file()), overlay] {
        let machine = config().disk(Disk::new("root", image));
        let spec =
            StartSpec { deadline: Duration::from_millis(500), ..spec(directory.path(), machine.clone()) };
        let order = Mutex::new(Vec::new());
        let starting = async {
            let failed = start(spec).await.map(drop).unwrap_err();
            order.lock().unwrap().push("given up");
            failed
        };
        let answering = async {
            vm.resume().await.unwrap();
            vm.pause().await.unwrap();
            order.lock().unwrap().push("answered");
        };
        let (failed, ()) = tokio::join!(starting, answering);
        let StartError::Unanswered(unanswered) = &failed else { panic!("{failed:?}") };
        assert_eq!(unanswered.path, hangs.file());
        assert!(unanswered.source.to_string().contains("has not answered within 500ms"), "{failed:?}");
        assert!(!directory.path().join("run").exists(), "nothing was begun");
        assert_eq!(order.lock().unwrap()[0], "answered");
        // QEMU is not asked for what hangs here, and answers.
        let disk = &machine.disks[0];
        let plugged = tokio::time::timeout(Duration::from_millis(300), vm.plug_disk(disk)).await;
        assert!(plugged.is_err(), "{plugged:?}");
        vm.resume().await.unwrap();
        vm.pause().await.unwrap();
    }
    drop(hangs);
    assert_eq!(vm.quit(LONG).await.unwrap(), Exit::Code(0));
}

#[tokio::test]
async fn a_process_that_the_kernel_holds_is_told_and_ends_when_it_can() {
    let test = "a_process_that_the_kernel_holds_is_told_and_ends_when_it_can";
    if qemu_missing(test) || passes_elsewhere(test) {
        return;
    }
    let directory = scratch();
    let Some(hangs) = hanging(test, directory.path(), LONG) else { return };
    let tasks = Arc::new(Mutex::new(JoinSet::new()));
    let spawner = tasks.clone();
    let manager = Manager::new(Box::new(move |supervisor| {
        spawner.lock().unwrap().spawn(supervisor);
    }));
    let machine = config();
    let id = machine.uuid;
    let place = directory.path().to_owned();
    manager.create(id, move || spec(&place, machine.clone())).unwrap();
    manager.start(id).await.unwrap();
    let vm = manager.vm(id).unwrap();
    // QEMU itself opens it.
    let file = serde_json::json!({"driver": "file", "node-name": "hangs", "filename": hangs.file()});
    let serde_json::Value::Object(file) = file else { unreachable!("as above") };
    let opening = vm.qmp().with_deadline(None);
    let opening = opening.execute("blockdev-add", file);
    let hangs_now = async {
        while !hangs.holds_somebody() {
            tokio::task::yield_now().await;
        }
    };
    // Cancel safety: QEMU does not answer.
    tokio::select! {
        answer = opening => panic!("{answer:?}"),
        () = hangs_now => {}
    }
    let moment = Duration::from_millis(100);
    let ladder =
        || Ladder { button: Duration::ZERO, agent: None, quit: moment, terminate: moment, kill: moment };
    let held = manager.shutdown(id, ladder()).await.unwrap_err();
    let ManagerError::End { source, .. } = &held else { panic!("{held:?}") };
    assert!(Held::is(source) && source.kind() == std::io::ErrorKind::TimedOut, "{source:?}");
    assert!(source.to_string().contains("the kernel holds it until a file system or device"), "{source}");
    // It can be seen, and nobody waits for it.
    assert_eq!(manager.state(id).unwrap(), State::ShuttingDown);
    assert!(matches!(manager.start(id).await, Err(ManagerError::Started(_))));
    assert!(matches!(manager.shutdown(id, ladder()).await, Err(ManagerError::End { .. })));
    drop(hangs);
    assert_eq!(vm.exited().await, Exit::Signal(9));
    until(&vm, "told", |status| status.exit.is_some()).await;
    assert_eq!(manager.state(id).unwrap(), State::Stopped);
    manager.start(id).await.unwrap();
    assert_eq!(manager.state(id).unwrap(), State::Running);
    manager.destroy(id).await.unwrap();
}
