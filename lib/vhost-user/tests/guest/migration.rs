//! A guest that reads from our disk all the time moves to another machine: what the back-end writes into its memory meanwhile is in the dirty
//! log, or it would be lost.

use crate::shell::Shell;
use serde_json::json;
use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::Path;
use vhost_user::backend::serve;
use vhost_user::devices::{Disk, OnFile};
use vhost_user::socket::Canceller;

const BYTES: usize = 24 << 20;

/// A machine whose disk is served by a back-end of its own, on the same file.
fn machine(test: &str, directory: &Path, packed: &str, incoming: Option<&str>) -> Option<Shell> {
    std::fs::create_dir_all(directory).unwrap();
    let socket = directory.join("blk.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let disk = directory.parent().unwrap().join("disk");
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let file = File::options().read(true).write(true).open(&disk).unwrap();
        let mut disk = Disk::new(OnFile::new(file).unwrap(), 1);
        let _ = serve(&mut disk, stream, &Canceller::new().unwrap());
    });
    let mut arguments = vec![
        "-chardev".to_owned(),
        format!("socket,id=disk,path={}", socket.display()),
        "-device".to_owned(),
        format!("vhost-user-blk-pci,chardev=disk,num-queues=1,packed={packed}"),
    ];
    if let Some(from) = incoming {
        arguments.extend(["-incoming".to_owned(), from.to_owned()]);
    }
    Shell::start(test, directory, &arguments)
}

/// What the guest read, by its sum: the word behind `sum=`.
fn sum(guest: &mut Shell) -> String {
    guest.until("sum=");
    guest.until("\n").trim().to_owned()
}

#[test]
fn a_guest_that_reads_all_the_time_moves_with_its_memory() {
    let test = "a_guest_that_reads_all_the_time_moves_with_its_memory";
    for packed in ["off", "on"] {
        let directory = tempfile::tempdir().unwrap();
        let content: Vec<u8> =
            (0..BYTES as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        std::fs::write(directory.path().join("disk"), &content).unwrap();
        let Some(mut guest) = machine(test, &directory.path().join("source"), packed, None) else { return };
        guest.ready();
        // Nothing stays in its cache: each round reads the disk again, into pages that it had otherwise used before.
        guest.say(
            "while :; do echo 3 >/proc/sys/vm/drop_caches; echo su''m=$(busybox md5sum </dev/vda); done",
        );
        let expected = sum(&mut guest);
        assert_eq!(expected.len(), "d41d8cd98f00b204e9800998ecf8427e  -".len(), "{expected}");
        assert_eq!(sum(&mut guest), expected);

        let uri = format!("unix:{}", directory.path().join("migration").display());
        let target = directory.path().join("target");
        let Some(mut there) = machine(test, &target, packed, Some(&uri)) else { return };
        // Slow enough that the guest reads meanwhile.
        guest.execute("migrate-set-parameters", json!({ "max-bandwidth": 24 << 20 }));
        guest.execute("migrate", json!({ "uri": uri }));
        let mut rounds = 0;
        loop {
            let state = guest.execute("query-migrate", json!({}));
            match state["status"].as_str() {
                Some("completed") => {
                    assert!(state["ram"]["dirty-sync-count"].as_u64().unwrap() > 1, "{state}");
                    break;
                }
                Some("failed" | "cancelled") | None => panic!("{state}"),
                Some(_) if rounds < 2 => {
                    assert_eq!(sum(&mut guest), expected, "while it moves");
                    rounds += 1;
                    // Enough was seen: now it is to come to an end.
                    if rounds == 2 {
                        guest.execute("migrate-set-parameters", json!({ "max-bandwidth": 1_u64 << 32 }));
                    }
                }
                Some(_) => std::thread::yield_now(),
            }
        }
        for round in 0..3 {
            assert_eq!(sum(&mut there), expected, "round {round} in the other machine, packed={packed}");
        }
    }
}
