//! What is in a machine's directory when its process has ended.

use super::{LONG, config, qemu_missing, scratch, signal, spec, started};
use qemu::{Adoption, Ladder, Supervision, Vm, adopt};
use rustix::process::Signal;
use std::{fs, path::Path};

fn names(run: &Path) -> Vec<String> {
    let names = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

const KEPT: [&str; 4] = ["console.log", "lock", "qemu.log", "record.json"];
const SERVED: [&str; 6] = ["console.log", "console.sock", "lock", "qemu.log", "qmp.sock", "record.json"];

#[tokio::test]
async fn sockets_go_with_their_process_however_it_ends() {
    if qemu_missing("sockets_go_with_their_process_however_it_ends") {
        return;
    }
    let directory = scratch();
    let run = directory.path().join("run");
    let machine = || spec(directory.path(), config());

    // By whoever ends it, before he is told; also where nobody supervises it.
    for is_supervised in [true, false] {
        for way in 0..3 {
            let (vm, mut tasks) = started(machine()).await;
            assert_eq!(names(&run), SERVED);
            if !is_supervised {
                tasks.shutdown().await;
            }
            match way {
                0 => drop(vm.quit(LONG).await.unwrap()),
                1 => drop(vm.kill().await.unwrap()),
                _ => drop(vm.shutdown(Ladder { terminate: LONG, ..Ladder::default() }).await.unwrap()),
            }
            assert_eq!(names(&run), KEPT, "{way}, supervised: {is_supervised}");
        }
    }

    // By supervision.
    let (vm, mut tasks) = started(machine()).await;
    signal(&vm, Signal::KILL);
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(names(&run), KEPT);

    // By the next manager, which finds it gone, or sees it go.
    let (vm, mut tasks) = started(machine()).await;
    tasks.shutdown().await;
    let adopted = async |vm: &Vm| adopt(vm.record().clone(), LONG, Supervision::default()).await.unwrap();
    let Adoption::Adopted(again, supervisor) = adopted(&vm).await else { panic!("not adopted") };
    signal(&again, Signal::KILL);
    supervisor.await;
    assert_eq!(names(&run), KEPT);
    let (vm, mut tasks) = started(machine()).await;
    tasks.shutdown().await;
    signal(&vm, Signal::KILL);
    vm.exited().await;
    assert_eq!(names(&run), SERVED, "nobody has seen it end");
    // Whoever started it does not listen there: nobody connects to what will never greet.
    let refused = qemu::socket::connect(&vm.record().qmp_socket).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(matches!(adopted(&vm).await, Adoption::Gone(_)));
    assert_eq!(names(&run), KEPT);
}

#[tokio::test]
async fn whoever_clears_up_late_leaves_the_next_start_its_sockets() {
    if qemu_missing("whoever_clears_up_late_leaves_the_next_start_its_sockets") {
        return;
    }
    let directory = scratch();
    let (first, mut tasks) = started(spec(directory.path(), config())).await;
    tasks.shutdown().await;
    signal(&first, Signal::KILL);
    first.exited().await;
    let (second, _tasks) = started(spec(directory.path(), config())).await;
    first.kill().await.unwrap();
    let gone = adopt(first.record().clone(), LONG, Supervision::default()).await.unwrap();
    assert!(matches!(gone, Adoption::Gone(_)), "{gone:?}");
    assert_eq!(names(&directory.path().join("run")), SERVED);
    qemu::socket::connect(&second.record().console_socket).await.unwrap();
    second.kill().await.unwrap();
    assert_eq!(names(&directory.path().join("run")), KEPT);
}
