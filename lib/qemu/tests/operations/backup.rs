//! Copies of disks, compared byte for byte with what the guest had written.

use crate::{
    credentials::certificates,
    elsewhere::passes_elsewhere,
    guest::{Guest, LONG, config, missing, with_disk},
};
use qemu::{
    Config,
    config::{Access, Address, Aio, Cache, DetectZeroes, Disk, Format, Image, Source, Tls, TlsRole},
    vm::{Copied, CopyTarget, Notes, OperationError, Overlay, Pulled, Served},
};
use qmp::commands::{BlockDirtyBitmapDisable, DirtyBitmap, QueryNamedBlockNodes, QueryStatus, RunState};
use serde_json::{Value, json};
use std::{
    fs,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Ends with the test.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves a file for writing, at once: the socket is there before the server.
pub(crate) fn nbd_server(file: &Path, socket: &Path) -> Server {
    let listening = UnixListener::bind(socket).unwrap();
    let node = format!("driver=file,node-name=f,filename={}", file.display());
    let export = "type=nbd,id=e,node-name=f,name=copy,writable=on";
    // The shell gives it the number that the server is told.
    let server = "exec qemu-storage-daemon --blockdev \"$0\" --nbd-server addr.type=fd,addr.str=3 --export \"$1\" 3<&0 0</dev/null";
    let child = Command::new("sh")
        .args(["-c", server, &node, export])
        .stdin(Stdio::from(OwnedFd::from(listening)))
        .spawn()
        .unwrap();
    Server(child)
}

pub(crate) fn convert(from: &str, format: &str, to: &Path) -> bool {
    let mut command = Command::new("qemu-img");
    command
        .args(["convert", "-f", format, "-O", "raw", from])
        .arg(to)
        .status()
        .is_ok_and(|status| status.success())
}

async fn writing(directory: &Path) -> Guest {
    let image = directory.join("disk.raw");
    fs::write(&image, vec![0; 8 << 20]).unwrap();
    let mut guest = Guest::linux(directory, config().disk(Disk::new("root", Image::raw(image)))).await;
    guest.run("dd if=/dev/urandom of=/dev/vda bs=1M count=4 2>/dev/null; sync").await;
    guest
}

#[tokio::test]
async fn a_whole_backup_and_what_changed_since_are_pushed_to_an_nbd_server() {
    let test = "a_whole_backup_and_what_changed_since_are_pushed_to_an_nbd_server";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut guest = writing(directory.path()).await;
    fs::write(at("copy.raw"), vec![0; 8 << 20]).unwrap();
    let _server = nbd_server(&at("copy.raw"), &at("nbd.sock"));
    let target = CopyTarget::Nbd { server: Address::Unix(at("nbd.sock")), export: "copy".into(), tls: None };
    guest.vm.add_bitmap("root", "since", Notes::InMemory).await.unwrap();
    guest.vm.push_backup("root", &target, None).await.unwrap().done().await.unwrap();
    assert!(fs::read(at("copy.raw")).unwrap() == fs::read(at("disk.raw")).unwrap(), "the whole disk");
    guest.run("dd if=/dev/urandom of=/dev/vda bs=64k count=1 seek=90 2>/dev/null; sync").await;
    let changed = guest.vm.changed_bytes("root", "since").await.unwrap();
    assert!((64 << 10..1 << 20).contains(&changed), "{changed}");
    guest.vm.push_backup("root", &target, Some("since")).await.unwrap().done().await.unwrap();
    assert!(fs::read(at("copy.raw")).unwrap() == fs::read(at("disk.raw")).unwrap(), "what changed since");
    assert_eq!(guest.vm.changed_bytes("root", "since").await.unwrap(), 0);
    guest.vm.remove_bitmap("root", "since").await.unwrap();
    let gone = guest.vm.push_backup("root", &target, Some("since")).await.unwrap_err();
    assert!(matches!(gone, OperationError::Unknown { .. }), "{gone:?}");
    // To a file, while the guest overwrites it: as it was when it began.
    let before = fs::read(at("disk.raw")).unwrap();
    let file = CopyTarget::file(at("copy, 2.qcow2"), Format::Qcow2);
    let mut backup = guest.vm.push_backup("root", &file, None).await.unwrap();
    guest.run("dd if=/dev/zero of=/dev/vda bs=1M count=4 2>/dev/null; sync").await;
    backup.done().await.unwrap();
    assert!(convert(at("copy, 2.qcow2").to_str().unwrap(), "qcow2", &at("second.raw")));
    assert!(fs::read(at("second.raw")).unwrap() == before, "as it was when it began");
    guest.quit().await;
}

#[tokio::test]
async fn a_disk_is_pulled_as_it_was_while_the_guest_goes_on() {
    let test = "a_disk_is_pulled_as_it_was_while_the_guest_goes_on";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut guest = writing(directory.path()).await;
    let before = fs::read(at("disk.raw")).unwrap();
    let listen = Address::Unix(at("pull.sock"));
    let served = Served::new("root", at("scratch.qcow2"), listen, "as-it-was");
    let pull = guest.vm.pull_backup(&served).await.unwrap();
    guest.run("dd if=/dev/zero of=/dev/vda bs=1M count=8 2>/dev/null; sync").await;
    assert!(fs::read(at("disk.raw")).unwrap() != before);
    let place = format!("nbd+unix:///as-it-was?socket={}", at("pull.sock").display());
    assert!(convert(&place, "raw", &at("pulled.raw")));
    assert!(fs::read(at("pulled.raw")).unwrap() == before, "as it was when it began");
    pull.finish(Pulled::Whole).await.unwrap();
    // Nothing is left: again.
    let again = Served::new("root", at("scratch, 2.qcow2"), Address::Unix(at("2.sock")), "x");
    drop(guest.vm.pull_backup(&again).await.unwrap());
    // Whoever comes later finds it.
    let again = guest.vm.pulled_backup("root").await.unwrap().unwrap();
    again.finish(Pulled::GivenUp).await.unwrap();
    assert_eq!(guest.vm.active_node("root").await.unwrap(), "root");
    assert!(guest.vm.pulled_backup("root").await.unwrap().is_none());
    let nodes = guest.nodes().await;
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    // For notes that nobody has begun nothing is begun.
    let third = Served::new("root", at("scratch-3"), Address::Unix(at("3.sock")), "x");
    let absent = guest.vm.pull_backup(&Served { since: Some("absent".into()), ..third.clone() }).await;
    assert!(matches!(absent, Err(OperationError::Unknown { what: "bitmap", .. })), "{absent:?}");
    // A snapshot that is taken meanwhile stays.
    let pull = guest.vm.pull_backup(&third).await.unwrap();
    guest.vm.snapshot_disks(&[Overlay::new("root", at("overlay.qcow2"))]).await.unwrap();
    pull.finish(Pulled::Whole).await.unwrap();
    assert_eq!(guest.vm.active_node("root").await.unwrap(), "root-s1");
    let below = fs::read(at("disk.raw")).unwrap();
    guest.run("dd if=/dev/urandom of=/dev/vda bs=1M count=1 conv=fsync 2>/dev/null").await;
    assert!(fs::read(at("disk.raw")).unwrap() == below, "what lies below is not written to");
    guest.quit().await;
}

#[tokio::test]
async fn a_disk_is_pulled_over_tls_and_not_in_the_clear() {
    let test = "a_disk_is_pulled_over_tls_and_not_in_the_clear";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("disk.raw"), vec![b'd'; 4 << 20]).unwrap();
    certificates(&at("tls"));
    let mut machine = config().disk(Disk::new("root", Image::raw(at("disk.raw"))));
    let id = "readers".to_owned();
    machine.tls = vec![Tls { id, directory: at("tls"), role: TlsRole::Server, verify_peer: true }];
    let guest = Guest::paused(directory.path(), machine).await;
    let served = Served::new("root", at("scratch"), Address::Unix(at("pull.sock")), "x");
    let pull = guest.vm.pull_backup(&Served { tls: Some("readers".into()), ..served }).await.unwrap();
    let read = |secured: bool, to: &str| {
        let (socket, tls) = (at("pull.sock").display().to_string(), at("tls").display().to_string());
        let credentials = format!("tls-creds-x509,id=c,endpoint=client,dir={tls}");
        let mut image = format!("driver=nbd,export=x,server.type=unix,server.path={socket}");
        let mut command = Command::new("qemu-img");
        command.arg("convert");
        if secured {
            image.push_str(",tls-creds=c,tls-hostname=destination.test");
            command.args(["--object", &credentials]);
        }
        command.args(["--image-opts", &image, "-O", "raw"]).arg(at(to)).stderr(Stdio::null());
        command.status().unwrap().success()
    };
    assert!(!read(false, "clear.raw"), "whoever does not speak TLS reads nothing");
    assert!(read(true, "read.raw"));
    assert!(fs::read(at("read.raw")).unwrap() == fs::read(at("disk.raw")).unwrap());
    pull.finish(Pulled::Whole).await.unwrap();
    guest.quit().await;
}

/// A file system of so many MiB, which ends with this.
pub(crate) struct Small(PathBuf);

impl Small {
    pub(crate) fn of(directory: PathBuf, mib: u32) -> Option<Self> {
        fs::create_dir(&directory).unwrap();
        let size = format!("size={mib}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&directory).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(directory))
    }
}

impl Small {
    /// Makes room.
    pub(crate) fn grow(&self, mib: u32) {
        let size = format!("remount,size={mib}m");
        // Without what it has already: an owner who is nobody in this namespace is refused.
        let mut mount = Command::new("mount");
        mount.args(["--options-mode", "ignore", "-o", &size]).arg(&self.0);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily, as QEMU may end a moment later.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_guest_goes_on_when_there_is_no_room_for_what_it_overwrites() {
    let test = "a_guest_goes_on_when_there_is_no_room_for_what_it_overwrites";
    if missing(test, true) || passes_elsewhere(test) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let Some(_small) = Small::of(at("small"), 2) else {
        return println!("not run: {test}: a file system of its own (root, or user namespaces)");
    };
    let mut guest = writing(directory.path()).await;
    let listen = Address::Unix(at("pull.sock"));
    let pull = guest.vm.pull_backup(&Served::new("root", at("small/scratch"), listen, "x")).await.unwrap();
    guest.run("dd if=/dev/urandom of=/dev/vda bs=1M count=8 conv=fsync 2>/dev/null").await;
    assert_eq!(guest.vm.status().run_state, RunState::Running);
    // A reader is not told what is not so.
    let place = format!("nbd+unix:///x?socket={}", at("pull.sock").display());
    assert!(!convert(&place, "raw", &at("pulled.raw")));
    pull.finish(Pulled::GivenUp).await.unwrap();
    guest.run("dd if=/dev/urandom of=/dev/vda bs=1M count=1 conv=fsync 2>/dev/null").await;
    guest.quit().await;
}

#[tokio::test]
async fn a_disk_moves_to_its_mirror() {
    let test = "a_disk_moves_to_its_mirror";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut guest = writing(directory.path()).await;
    let target = |name: &str| CopyTarget::file(at(name), Format::Raw);
    let before = guest.node_names().await;
    // Given up before it is of any use: nothing is left of it.
    let mut mirror = guest.vm.mirror_disk("root", &target("given-up.raw")).await.unwrap();
    mirror.abandon().await.unwrap();
    assert_eq!(guest.node_names().await, before);
    // As it is told, or as the disk.
    let of =
        |access| CopyTarget::File { path: at("moved, 1.raw"), format: Format::Raw, access: Some(access) };
    let native = Access { aio: Some(Aio::Native), ..Access::default() };
    let refused = guest.vm.mirror_disk("root", &of(native)).await.unwrap_err();
    assert!(matches!(refused, OperationError::Config(_)), "{refused:?}");
    let hasty = Access { cache: Cache::Unsafe, detect_zeroes: DetectZeroes::On, ..Access::default() };
    let mut mirror = guest.vm.mirror_disk("root", &of(hasty)).await.unwrap();
    mirror.ready().await.unwrap();
    let copy = mirror.target().to_owned();
    // What another is about to use is not closed with what the disk used before.
    let Value::Object(anothers) = json!({"driver": "null-co", "node-name": "root-s77", "size": 1 << 20})
    else {
        unreachable!("an object")
    };
    guest.vm.qmp().execute("blockdev-add", anothers).await.unwrap();
    guest.run("printf written >/dev/vda; sync").await;
    mirror.complete().await.unwrap();
    guest.run("printf AFTER.. >/dev/vda; sync").await;
    assert!(fs::read(at("disk.raw")).unwrap().starts_with(b"written"), "both until the end");
    assert!(fs::read(at("moved, 1.raw")).unwrap().starts_with(b"AFTER.."), "the mirror from then on");
    assert_eq!(guest.vm.active_node("root").await.unwrap(), copy);
    let used = guest.nodes().await;
    let used = used.into_iter().find(|node| node.node_name.as_ref() == Some(&copy)).unwrap();
    assert!(used.cache.no_flush && used.detect_zeroes.as_str() == "on", "{used:?}");
    guest.vm.forget_node("root-s77").await.unwrap();
    assert_eq!(
        guest.node_names().await,
        [copy.clone(), format!("{copy}-file")],
        "what it used before is closed"
    );
    guest.quit().await;
}

/// How many places the guest below writes, one after the other, each 64 KiB from the next.
const PLACES: usize = 48;

/// The numbers that the guest below has written at its places.
fn numbers(disk: &[u8]) -> Vec<u64> {
    let number = |place: usize| {
        let text = &disk[place << 16..][..12];
        std::str::from_utf8(text).unwrap().trim_matches(['\0', '\n', ' ']).parse().unwrap_or(0)
    };
    (0..PLACES).map(number).collect()
}

#[tokio::test]
async fn a_mirror_that_parts_leaves_one_moment_of_a_guest_that_writes_all_the_time() {
    let test = "a_mirror_that_parts_leaves_one_moment_of_a_guest_that_writes_all_the_time";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut guest = writing(directory.path()).await;
    // Every number is on the disk before the next one is written: a moment has numbers that fall once, by one.
    let write = "printf '%-511d\\n' $n | dd of=/dev/vda bs=512 seek=$((p * 128)) oflag=direct conv=notrunc 2>/dev/null";
    let one_round = format!("p=0; while [ $p -lt {PLACES} ]; do {write}; p=$((p + 1)); done");
    guest.run(&format!("n=1000; {one_round}; true")).await;
    guest.run(&format!("(while :; do n=$((n + 1)); {one_round}; done) & true")).await;
    for round in 0..4 {
        let path = at(&format!("copy-{round}.raw"));
        let target = CopyTarget::file(path.clone(), Format::Raw);
        let mut mirror = guest.vm.mirror_disk("root", &target).await.unwrap();
        mirror.ready().await.unwrap();
        guest.run("sleep 0.3").await;
        mirror.part().await.unwrap();
        let numbers = numbers(&fs::read(&path).unwrap());
        let first = numbers[0];
        let fall = numbers.iter().position(|number| *number != first).unwrap_or(PLACES);
        assert!(first >= 1000, "{numbers:?}");
        assert!(numbers[fall..].iter().all(|number| *number == first - 1), "round {round}: {numbers:?}");
    }
    guest.quit().await;
}

/// QEMU 7.2 would hang for ever with its guest: it is not told to stop before it has let go of who says nothing.
#[tokio::test]
async fn a_reader_who_says_nothing_costs_the_guest_nothing() {
    let test = "a_reader_who_says_nothing_costs_the_guest_nothing";
    if missing(test, false) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let machine = with_disk(directory.path());
    let guest = Guest::start(directory.path(), machine).await;
    let served = Served::new("root", at("scratch"), Address::Unix(at("pull.sock")), "x");
    let begun = guest.vm.pull_backup(&served).await.unwrap();
    let mut silent = tokio::net::UnixStream::connect(at("pull.sock")).await.unwrap();
    let mut greeting = [0; 18];
    tokio::io::AsyncReadExt::read_exact(&mut silent, &mut greeting).await.unwrap();
    assert!(greeting.starts_with(b"NBDMAGIC"), "{greeting:?}");
    drop(begun);
    // Whoever comes later finds it, and where it is served.
    let found = guest.vm.pulled_backup("root").await.unwrap().unwrap();
    let finished = async {
        found.finish(Pulled::Whole).await.unwrap();
        guest.vm.pull_backup(&Served { scratch: at("second"), ..served.clone() }).await.unwrap()
    };
    let answers = async {
        while at("pull.sock").exists() {
            guest.vm.qmp().call(&QueryStatus {}).await.unwrap();
        }
        assert!(tokio::net::UnixStream::connect(at("pull.sock")).await.is_err(), "nobody new is let in");
        assert!(guest.vm.qmp().call(&QueryStatus {}).await.unwrap().running);
    };
    let (again, ()) = tokio::time::timeout(LONG, async { tokio::join!(finished, answers) }).await.unwrap();
    again.finish(Pulled::Whole).await.unwrap();
    guest.quit().await;
}

#[tokio::test]
async fn several_disks_are_backed_up_at_one_moment() {
    let test = "several_disks_are_backed_up_at_one_moment";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut machine = config();
    for name in ["a", "b"] {
        fs::write(at(name), vec![b'0'; 4 << 20]).unwrap();
        machine = machine.disk(Disk::new(name, Image::raw(at(name))));
    }
    let mut guest = Guest::linux(directory.path(), machine).await;
    // First on one, then on the other: at any moment the second is as far as the first, or one behind.
    let write = |disk: &str| {
        format!("printf '%-511d\\n' $n | dd of=/dev/{disk} bs=512 oflag=direct conv=notrunc 2>/dev/null")
    };
    guest
        .run(&format!("(n=1000; while :; do {}; {}; n=$((n + 1)); done) & true", write("vda"), write("vdb")))
        .await;
    guest.run_until("[ $(head -c 4 /dev/vdb) -gt 1000 ]").await;
    let copied = |round: usize, disk: &str| Copied {
        disk: disk.into(),
        to: CopyTarget::file(at(&format!("{disk}-{round}")), Format::Raw),
        since: None,
    };
    for round in 0..5 {
        for mut backup in guest.vm.push_backups(&[copied(round, "a"), copied(round, "b")]).await.unwrap() {
            backup.done().await.unwrap();
        }
        one_moment(&["a", "b"].map(|disk| at(&format!("{disk}-{round}"))));
    }
    // The same for who reads them.
    let socket = at("pull.sock");
    let served = |disk: &str, listen: &Path| {
        Served::new(disk, at(&format!("{disk}-scratch")), Address::Unix(listen.to_owned()), disk)
    };
    let pulled = |disk: &str| {
        let to = at(&format!("{disk}-pulled"));
        let from = format!("nbd+unix:///{disk}?socket={}", socket.display());
        convert(&from, "raw", &to).then_some(to)
    };
    for _ in 0..5 {
        let both = [served("a", &socket), served("b", &socket)];
        let [a, b] = guest.vm.pull_backups(&both).await.unwrap().try_into().unwrap();
        one_moment(&["a", "b"].map(|disk| pulled(disk).unwrap()));
        // One may be done before the other, which is served on.
        a.finish(Pulled::Whole).await.unwrap();
        assert!(pulled("a").is_none() && pulled("b").is_some());
        b.finish(Pulled::Whole).await.unwrap();
        assert_eq!(guest.node_names().await, ["a", "a-file", "b", "b-file"]);
        for disk in ["a", "b"] {
            fs::remove_file(at(&format!("{disk}-scratch"))).unwrap();
        }
    }
    guest.run("true").await;
    let elsewhere = [served("a", &socket), served("b", &at("other.sock"))];
    assert!(matches!(guest.vm.pull_backups(&elsewhere).await, Err(OperationError::Config(_))));
    // One of them cannot be: none is begun, and nothing is left.
    let absent = Copied { disk: "c".into(), ..copied(9, "a") };
    let refused = guest.vm.push_backups(&[copied(8, "a"), absent]).await.unwrap_err();
    assert!(matches!(refused, OperationError::Unknown { what: "disk", .. }), "{refused:?}");
    assert!(guest.vm.jobs().await.unwrap().is_empty());
    let nodes = guest.nodes().await;
    assert_eq!(nodes.len(), 4, "{nodes:?}");
    guest.quit().await;
}

/// Copies of two disks, of which the guest writes first one and then the other.
fn one_moment(copies: &[PathBuf; 2]) {
    let [a, b] = copies.each_ref().map(|copy| {
        let text = String::from_utf8(fs::read(copy).unwrap()[..12].to_vec()).unwrap();
        text.trim().parse::<u64>().unwrap()
    });
    assert!(a == b || a == b + 1, "{a} and {b}");
}

/// What `qemu-img` is told of the parts of an export that changed, in bytes.
fn changed(place: &str, bitmap: &str) -> u64 {
    let options = format!(
        "driver=nbd,export=changed,server.type=unix,server.path={place},x-dirty-bitmap=qemu:dirty-bitmap:{bitmap}"
    );
    let map =
        Command::new("qemu-img").args(["map", "--output=json", "--image-opts", &options]).output().unwrap();
    assert!(map.status.success(), "{}", String::from_utf8_lossy(&map.stderr));
    let parts: Vec<serde_json::Value> = serde_json::from_slice(&map.stdout).unwrap();
    // Through this door a part that changed looks like one without data.
    let dirty = parts.iter().filter(|part| part["data"] == false);
    dirty.map(|part| part["length"].as_u64().unwrap()).sum()
}

/// A machine with an empty disk that can keep bitmaps.
fn with_qcow2(image: &Path) -> Config {
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(image).arg("8M").status();
    assert!(made.unwrap().success());
    config().disk(Disk::new("root", Image::new(Source::Path(image.to_owned()), Format::Qcow2)))
}

#[tokio::test]
async fn a_reader_is_told_what_changed_and_notes_outlive_the_process() {
    let test = "a_reader_is_told_what_changed_and_notes_outlive_the_process";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let machine = with_qcow2(&at("disk.qcow2"));
    let mut guest = Guest::linux(directory.path(), machine.clone()).await;
    guest.vm.add_bitmap("root", "since", Notes::InTheImage).await.unwrap();
    guest.run("dd if=/dev/urandom of=/dev/vda bs=64k count=1 seek=9 2>/dev/null; sync").await;
    let round = async |guest: &mut Guest, number: usize, pulled: Pulled| {
        let (listen, scratch) = (at(&format!("{number}.sock")), at(&format!("scratch-{number}")));
        let served = Served::new("root", scratch, Address::Unix(listen.clone()), "changed");
        let served = Served { since: Some("since".into()), ..served };
        let pull = guest.vm.pull_backup(&served).await.unwrap();
        // Meanwhile the guest goes on: not part of it.
        guest.run("dd if=/dev/urandom of=/dev/vda bs=64k count=1 seek=30 2>/dev/null; sync").await;
        let changed = changed(listen.to_str().unwrap(), "since");
        pull.finish(pulled).await.unwrap();
        changed
    };
    assert_eq!(round(&mut guest, 0, Pulled::GivenUp).await, 64 << 10);
    assert_eq!(guest.vm.changed_bytes("root", "since").await.unwrap(), 128 << 10, "nothing is forgotten");
    assert_eq!(round(&mut guest, 1, Pulled::Whole).await, 128 << 10);
    assert_eq!(
        guest.vm.changed_bytes("root", "since").await.unwrap(),
        64 << 10,
        "what was written meanwhile"
    );
    guest.quit().await;
    let guest = Guest::paused(directory.path(), machine).await;
    assert_eq!(guest.vm.changed_bytes("root", "since").await.unwrap(), 64 << 10, "kept in the image");
    guest.quit().await;
}

/// A guest that powers off in the middle of a backup: what was written since the last whole one is still known, and is noted further.
#[tokio::test]
async fn notes_are_whole_also_where_the_process_ends_before_the_reader_has_all() {
    let test = "notes_are_whole_also_where_the_process_ends_before_the_reader_has_all";
    if missing(test, true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let machine = with_qcow2(&at("disk.qcow2"));
    let write =
        |seek: u8| format!("dd if=/dev/urandom of=/dev/vda bs=64k count=1 seek={seek} 2>/dev/null; sync");
    let mut guest = Guest::linux(directory.path(), machine.clone()).await;
    guest.vm.add_bitmap("root", "since", Notes::InTheImage).await.unwrap();
    guest.run(&write(9)).await;
    let served = Served::new("root", at("scratch"), Address::Unix(at("served.sock")), "changed");
    let served = Served { since: Some("since".into()), ..served };
    guest.vm.pull_backup(&served).await.unwrap();
    guest.run(&write(30)).await;
    guest.quit().await;
    let mut guest = Guest::linux(directory.path(), machine).await;
    assert!(guest.vm.pulled_backup("root").await.unwrap().is_none());
    assert_eq!(guest.vm.changed_bytes("root", "since").await.unwrap(), 128 << 10);
    guest.run(&write(40)).await;
    let copy = CopyTarget::file(at("copy.raw"), Format::Raw);
    guest.vm.push_backup("root", &copy, Some("since")).await.unwrap().done().await.unwrap();
    let (disk, copy) = (at("disk.raw"), fs::read(at("copy.raw")).unwrap());
    // One that stands still says nothing of what was written meanwhile.
    let node = guest.vm.qmp().call(&QueryNamedBlockNodes { flat: Some(true) }).await.unwrap();
    let node = node.into_iter().find(|node| node.dirty_bitmaps.is_some()).and_then(|node| node.node_name);
    let bitmap = DirtyBitmap { node: node.unwrap(), name: "since".into() };
    guest.vm.qmp().call(&BlockDirtyBitmapDisable(bitmap)).await.unwrap();
    for refused in [
        guest.vm.changed_bytes("root", "since").await.unwrap_err(),
        guest
            .vm
            .push_backup("root", &CopyTarget::file(at("no"), Format::Raw), Some("since"))
            .await
            .unwrap_err(),
        guest.vm.pull_backup(&served).await.unwrap_err(),
    ] {
        assert!(matches!(refused, OperationError::Unknown { .. }), "{refused:?}");
    }
    guest.quit().await;
    assert!(convert(at("disk.qcow2").to_str().unwrap(), "qcow2", &disk));
    let disk = fs::read(disk).unwrap();
    let part = |of: &[u8], seek: usize| of[seek << 16..(seek + 1) << 16].to_vec();
    for seek in [9, 30, 40] {
        assert!(part(&disk, seek) == part(&copy, seek), "{seek}");
    }
}
