//! A guest moves to another QEMU while our disk writes into its memory.

use crate::observed;
use crate::shell::Shell;
use serde_json::json;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;
use vhost_user::backend::serve;
use vhost_user::devices::{Disk, OnFile};
use vhost_user::socket::Canceller;

const MIB: usize = 1 << 20;
/// Of each disk, a part of the guest's memory.
const SIZE: usize = 32 * MIB;

/// Serves a file to one front-end.
fn served(image: &Path, socket: &Path) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    let file = File::options().read(true).write(true).open(image).unwrap();
    observed::in_thread(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut disk = Disk::new(OnFile::new(file).unwrap(), 1);
        serve(&mut disk, observed::served_through(stream, "qemu"), &Canceller::new().unwrap()).unwrap();
    })
}

fn arguments(socket: &Path, packed: &str) -> Vec<String> {
    vec![
        "-chardev".to_owned(),
        format!("socket,id=disk,path={}", socket.display()),
        "-device".to_owned(),
        format!("vhost-user-blk-pci,chardev=disk,num-queues=1,packed={packed}"),
    ]
}

/// What the guest has read of its disk before it moved is in the memory that it finds at its destination, where the disk has nothing of it:
/// each page was sent before the disk wrote to it, and only the log says that it has to be sent again.
fn moves(test: &str, packed: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut random = seeded::Random::new(1);
    let content: Vec<u8> = std::iter::repeat_with(|| random.number() as u8).take(SIZE).collect();
    File::create(path("here")).unwrap().write_all(&content).unwrap();
    File::create(path("there")).unwrap().set_len(SIZE as u64).unwrap();
    let sum = Command::new("md5sum").arg(path("here")).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let sum = sum.split_whitespace().next().unwrap();

    let served = ["here", "there"].map(|end| served(&path(end), &path(&format!("{end}.sock"))));
    let Some(mut here) = Shell::start(test, directory.path(), &arguments(&path("here.sock"), packed)) else {
        return false;
    };
    let mut incoming = arguments(&path("there.sock"), packed);
    incoming.extend(["-incoming".to_owned(), format!("unix:{}", path("move.sock").display())]);
    let Some(mut there) = Shell::start(test, directory.path(), &incoming) else { return false };

    here.ready();
    // Who has it open keeps its pages in memory. Something else writes more than can be sent all the time, so that the move goes on until it
    // may end; not zeroes, of which nothing is sent.
    here.say("exec 3</dev/vda; busybox dd if=/dev/urandom of=/load bs=1M count=8; while :; do busybox dd if=/load of=/again bs=64k conv=notrunc; done 2>/dev/null & echo on''ward");
    here.until("onward");
    here.execute(
        "migrate-set-capabilities",
        json!({"capabilities": [{"capability": "events", "state": true}]}),
    );
    here.execute("migrate-set-parameters", json!({"max-bandwidth": 32 * MIB, "downtime-limit": 1}));
    here.execute("migrate", json!({"uri": format!("unix:{}", path("move.sock").display())}));
    here.told(|it| it["event"] == "MIGRATION_PASS" && it["data"]["pass"].as_u64() >= Some(2));
    // What is left takes minutes from now on, also where the guest has no processor to write more with.
    here.execute("migrate-set-parameters", json!({"max-bandwidth": MIB / 16}));
    here.say("busybox md5sum /dev/vda; echo read''y");
    let said = here.until("ready");
    assert!(said.contains(sum), "packed={packed}: it reads {said}, and the disk is {sum}");
    here.execute("migrate-set-parameters", json!({"max-bandwidth": 1024 * MIB, "downtime-limit": 10_000}));
    here.told(|it| it["event"] == "STOP");
    there.told(|it| it["event"] == "RESUME");

    there.say("busybox md5sum /dev/vda; echo aga''in");
    let said = there.until("again");
    assert!(said.contains(sum), "packed={packed}: it finds {said}, and read {sum}");
    // And the ring goes on where it was.
    there.say("echo written there | busybox dd of=/dev/vda bs=4096 conv=sync seek=1 && sync && echo o''ver");
    there.until("over");
    let image = File::open(path("there")).unwrap();
    let mut found = [0; 13];
    image.read_exact_at(&mut found, 4096).unwrap();
    assert_eq!(&found, b"written there");
    drop((here, there));
    served.into_iter().for_each(|served| served.join().unwrap());
    true
}

#[test]
fn a_guest_takes_along_what_our_disk_wrote_while_it_moved() {
    let test = "a_guest_takes_along_what_our_disk_wrote_while_it_moved";
    let _ = ["off", "on"].into_iter().all(|packed| moves(test, packed));
}
