//! Starts that come to nothing.

use super::*;

#[tokio::test]
async fn a_program_that_says_nothing_is_ended_at_the_deadline() {
    let directory = scratch();
    let machine = config();
    let binary = program(directory.path(), "echo one moment >&2; exec sleep 1000");
    let deadline = Duration::from_millis(300);
    let spec = StartSpec { binary, deadline, ..spec(directory.path(), machine.clone()) };
    let Err(StartError::Silent { message, .. }) = start(spec).await.map(drop) else { panic!("not silent") };
    assert_eq!(message, "one moment");
    // A lock that can be had again proves that the process is gone.
    let lock = fs::File::open(directory.path().join("run/lock")).unwrap();
    tokio::task::spawn_blocking(move || lock.lock()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_program_that_fails_or_is_missing_is_reported_with_its_cause() {
    let directory = scratch();
    let binary = program(directory.path(), "echo no luck today >&2; exit 3");
    let failed = StartSpec { binary, ..spec(directory.path(), config()) };
    let error = start(failed).await.map(drop).unwrap_err();
    assert_eq!(error.to_string(), "QEMU ended at start (exit status 3): no luck today");
    let binary = directory.path().join("nothing");
    let missing = StartSpec { binary, ..spec(directory.path(), config()) };
    let error = start(missing).await.map(drop).unwrap_err();
    assert!(error.to_string().ends_with("nothing"), "{error}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("No such file"));
}

/// More than any pipe holds, and nobody has read it: it is written all the same, and its end is what is reported.
#[tokio::test]
async fn a_program_that_says_more_than_a_pipe_holds_is_not_held_up() {
    let directory = scratch();
    let says = "head -c 1500000 /dev/zero | tr '\\0' x";
    let binary = program(directory.path(), &format!("{says} >&2; {says}; echo; echo the end >&2; exit 3"));
    let error = start(StartSpec { binary, ..spec(directory.path(), config()) }).await.map(drop).unwrap_err();
    let StartError::Ended { exit: Exit::Code(3), message } = &error else { panic!("{error:?}") };
    assert!(message.ends_with("x\nthe end") && message.len() <= 16 << 10, "{} bytes", message.len());
    let written = fs::metadata(directory.path().join("run/qemu.log")).unwrap().len();
    assert_eq!(written, 3_000_009);
}

/// As the child of another start holds it between fork and exec.
#[tokio::test]
async fn a_lock_that_is_held_for_a_moment_is_no_other_qemu() {
    let directory = scratch();
    fs::create_dir(directory.path().join("run")).unwrap();
    let held = fs::File::create(directory.path().join("run/lock")).unwrap();
    held.lock().unwrap();
    let failed = || {
        let binary = program(directory.path(), "echo no luck today >&2; exit 3");
        start(StartSpec { binary, ..spec(directory.path(), config()) })
    };
    let error = failed().await.map(drop).unwrap_err();
    assert!(matches!(error, StartError::Occupied { .. }), "{error}");
    let mut starts = Box::pin(failed());
    tokio::select! {
        biased;
        _ = &mut starts => panic!("it is held"),
        () = std::future::ready(()) => drop(held),
    }
    let error = starts.await.map(drop).unwrap_err();
    assert_eq!(error.to_string(), "QEMU ended at start (exit status 3): no luck today");
}

/// A runtime that cannot watch a descriptor stands for every reason why the process, started already, cannot be held.
#[test]
fn a_process_that_cannot_be_watched_is_ended() {
    let directory = scratch();
    let place = directory.path().to_owned();
    let refused = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let binary = program(&place, "exec sleep 1000");
        runtime.block_on(start(StartSpec { binary, ..spec(&place, config()) })).map(drop)
    });
    assert!(refused.join().unwrap().is_err(), "the thread that starts it panics: there is no reactor");
    let lock = fs::File::open(directory.path().join("run/lock")).unwrap();
    // What another test forks just now has a copy of it until it executes.
    let (tells, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tells.send(lock.lock().is_ok()));
    assert_eq!(told.recv_timeout(LONG), Ok(true), "the process lives");
}

#[tokio::test]
async fn what_a_program_says_in_place_of_a_greeting_is_kept() {
    let directory = scratch();
    // It takes its listening socket and answers as another protocol.
    let script = r#"exec perl -e 'for (@ARGV) { $fd = $1 if /id=qmp,fd=(\d+)/ } open(S, "+<&=", $fd); accept(C, S);
        syswrite(C, "SSH-2.0-hello\r\n"); sleep 1000' -- "$@""#;
    let binary = program(directory.path(), script);
    let spec = StartSpec { binary, ..spec(directory.path(), config()) };
    let error = start(spec).await.map(drop).unwrap_err();
    assert!(matches!(error, StartError::Silent { after: None, .. }), "{error:?}");
    let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let chain: Vec<String> = chain.map(ToString::to_string).collect();
    assert!(chain.last().unwrap().contains("SSH-2.0-hello"), "{chain:?}");
}

#[tokio::test]
async fn a_directory_in_which_others_may_write_is_refused() {
    let directory = scratch();
    let run = directory.path().join("run");
    fs::create_dir(&run).unwrap();
    for (mode, is_refused) in [(0o770, true), (0o707, true), (0o755, false)] {
        fs::set_permissions(&run, fs::Permissions::from_mode(mode)).unwrap();
        let binary = directory.path().join("nothing");
        let error =
            start(StartSpec { binary, ..spec(directory.path(), config()) }).await.map(drop).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause.contains("others may write"), is_refused, "{mode:o}: {error}: {cause}");
    }
}

/// Also where they mean something to whoever calls: QEMU has another directory.
#[tokio::test]
async fn relative_paths_are_refused_or_made_whole() {
    let directory = scratch();
    let relative = Path::new("disk.raw");
    let refused = [
        Config { disks: vec![Disk::new("root", Image::raw(relative))], ..config() },
        Config {
            boot: qemu::config::Boot {
                kernel: Some(qemu::config::DirectKernel {
                    kernel: "vmlinuz".into(),
                    initrd: None,
                    cmdline: String::new(),
                }),
                ..qemu::config::Boot::default()
            },
            ..config()
        },
    ];
    for machine in refused {
        let error = start(spec(directory.path(), machine)).await.map(drop).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("relative"), "{error}: {cause}");
    }
    if qemu_missing("relative_paths_are_refused_or_made_whole") {
        return;
    }
    // The run directory is ours to look for.
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let run_dir = up.join(directory.path().strip_prefix("/").unwrap()).join("run");
    assert!(run_dir.is_relative());
    let (vm, _tasks) = started(StartSpec { run_dir, ..spec(directory.path(), config()) }).await;
    assert!(vm.record().qmp_socket.is_absolute() && vm.record().qmp_socket.exists());
    vm.quit(LONG).await.unwrap();
}
