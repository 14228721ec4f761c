//! Monitor connections that break.

use super::{LONG, config, qemu_missing, scratch, spec, started, until};
use qemu::{Adoption, Exit, Responsive, Supervision, Vm, adopt};
use qmp::commands::RunState;
use std::{fs, path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc::Sender,
    task::JoinSet,
};

/// Something between a machine and its manager that breaks connections.
pub(crate) enum Fault {
    /// Both ends are closed.
    Cut,
    /// The manager reads what no QEMU says.
    Garbage,
}

/// Serves one connection after the other; each but the first waits for the gate.
async fn proxy(
    listener: std::os::unix::net::UnixListener,
    real: PathBuf,
    mut faults: tokio::sync::mpsc::Receiver<Fault>,
    mut gate: tokio::sync::mpsc::Receiver<()>,
) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    loop {
        let (mut manager, _) = listener.accept().await.unwrap();
        let mut machine = UnixStream::connect(&real).await.unwrap();
        tokio::select! {
            // The manager gave it up, or the machine ended.
            _ = tokio::io::copy_bidirectional(&mut manager, &mut machine) => {}
            fault = faults.recv() => match fault {
                Some(Fault::Cut) => {}
                Some(Fault::Garbage) => {
                    manager.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.unwrap();
                    // Until the manager has had enough of it.
                    let _ = manager.read_to_end(&mut Vec::new()).await;
                }
                None => return,
            }
        }
        drop((manager, machine));
        if gate.recv().await.is_none() {
            return;
        }
    }
}

/// A machine whose monitor connections break when they are told to, and wait to be opened again.
pub(crate) struct Behind {
    pub(crate) vm: Vm,
    pub(crate) break_it: Sender<Fault>,
    pub(crate) open: Sender<()>,
    /// Where its monitor is.
    pub(crate) real: PathBuf,
    _tasks: JoinSet<Exit>,
}

impl Behind {
    /// Nobody asks it for anything of their own accord.
    pub(crate) async fn proxy((vm, tasks): (Vm, JoinSet<Exit>)) -> Self {
        let record = vm.record().clone();
        drop((vm, tasks));
        let real = record.qmp_socket.with_file_name("real.sock");
        fs::rename(&record.qmp_socket, &real).unwrap();
        let listener = qemu::socket::listen(&record.qmp_socket).unwrap();
        let (break_it, faults) = tokio::sync::mpsc::channel(1);
        let (open, gate) = tokio::sync::mpsc::channel(1);
        let mut tasks = JoinSet::new();
        let forwarded = real.clone();
        tasks.spawn(async move {
            proxy(listener, forwarded, faults, gate).await;
            Exit::Gone
        });
        let supervision = Supervision { interval: Duration::from_secs(600), patience: LONG };
        let Adoption::Adopted(vm, supervisor) = adopt(record, LONG, supervision).await.unwrap() else {
            panic!("not adopted")
        };
        tasks.spawn(supervisor);
        Self { vm, break_it, open, real, _tasks: tasks }
    }

    /// Breaks the connection.
    pub(crate) async fn cut(&self) {
        self.break_it.send(Fault::Cut).await.unwrap();
        until(&self.vm, "silence", |status| status.responsive != Responsive::Yes).await;
    }

    /// What another does with its monitor meanwhile.
    pub(crate) async fn other<T>(&self, does: impl AsyncFnOnce(&qmp::Client) -> T) -> T {
        let (client, driver) =
            qmp::client(UnixStream::connect(&self.real).await.unwrap(), qmp::Options::default());
        tokio::select! {
            done = does(&client) => done,
            reason = driver => panic!("{reason}"),
        }
    }
}

#[tokio::test]
async fn a_broken_monitor_connection_is_opened_again_and_the_machine_does_not_notice() {
    let test = "a_broken_monitor_connection_is_opened_again_and_the_machine_does_not_notice";
    if qemu_missing(test) {
        return;
    }
    let directory = scratch();
    let behind = Behind::proxy(started(spec(directory.path(), config())).await).await;
    let Behind { vm, break_it, open, .. } = &behind;
    vm.resume().await.unwrap();

    for (fault, reason) in
        [(Fault::Cut, "QEMU closed the connection"), (Fault::Garbage, "QEMU broke the protocol")]
    {
        break_it.send(fault).await.unwrap();
        until(
            vm,
            "silence",
            |status| matches!(&status.responsive, Responsive::No(why) if why.contains(reason)),
        )
        .await;
        assert_eq!(vm.status().run_state, RunState::Running, "what was known last");
        let refused = vm.pause().await.unwrap_err();
        assert!(matches!(refused, qmp::CallError::Closed { .. }), "{refused}");
        open.send(()).await.unwrap();
        until(vm, "an answer", |status| status.responsive == Responsive::Yes).await;
        vm.pause().await.unwrap();
        assert_eq!(vm.status().run_state, RunState::Paused);
        vm.resume().await.unwrap();
    }

    // What changes while nobody listens is seen afterwards: somebody else halts the machine through its own socket.
    behind.cut().await;
    behind.other(async |client| client.call(&qmp::commands::Stop {}).await.map(drop)).await.unwrap();
    open.send(()).await.unwrap();
    until(vm, "its new state", |status| {
        (&status.run_state, &status.responsive) == (&RunState::Paused, &Responsive::Yes)
    })
    .await;
    assert_eq!(vm.quit(LONG).await.unwrap(), Exit::Code(0));
}

#[tokio::test]
async fn a_machine_whose_monitor_is_lost_ends_by_a_signal() {
    let test = "a_machine_whose_monitor_is_lost_ends_by_a_signal";
    if qemu_missing(test) {
        return;
    }
    let directory = scratch();
    // Never opened again.
    let behind = Behind::proxy(started(spec(directory.path(), config())).await).await;
    behind.cut().await;
    let moment = Duration::from_millis(200);
    let ladder = qemu::Ladder {
        button: moment,
        agent: None,
        quit: moment,
        terminate: LONG,
        ..qemu::Ladder::default()
    };
    assert_eq!(behind.vm.shutdown(ladder).await.unwrap(), (qemu::Rung::Terminate, Exit::Code(0)));
}
